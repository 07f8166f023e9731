"""Notes: pieces of music as musicians write them, read and written as MIDI and MusicXML, and played as sound.

A medium is a piano roll [1, T, P + 1, 128]: T steps, P parts and the conductor (`multigen.modalities.roll`). Its time
is counted in quarters, where that of other media is counted in seconds: `duration=16` is four bars of four quarters.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import html
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from multigen.errors import MediaError, MultigenError, RecipeError, message
from multigen.modalities import Info, Limits, Modality
from multigen.modalities.audio import Audio
from multigen.modalities.file_check import check_file
from multigen.modalities.general_midi import program
from multigen.modalities.known import KNOWN
from multigen.modalities.member import Source, as_source, open_source
from multigen.modalities.midi import midi_of
from multigen.modalities.musicxml import musicxml_of
from multigen.modalities.note_file import piece_of_file
from multigen.modalities.note_picture import draw_pieces
from multigen.modalities.note_sound import RATE, sound_of
from multigen.modalities.note_words import named
from multigen.modalities.roll import (
    MOST_PARTS,
    PITCHES,
    PROGRAM,
    TEMPO,
    Piece,
    cut,
    grown,
    metre_of,
    piece_of,
    roll_of,
)  # fmt: skip
from multigen.options import BUILTIN
from multigen.storage.files import atomic
from multigen.storage.packages import check_installed

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)
MIDI, SCORES = (".mid", ".midi"), (".musicxml", ".mxl", ".xml")
STEPS = (
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
)  # a quarter: those whose lengths have symbols, and that divide MIDI's ticks
_PLAYER = 22_050  # Hz, of the player of a report


class Notes(Modality):
    """The modality of notes: parts that sound one pitch at a time, with metre, key and tempo.

    parts        1 to 15. A file with chords, or with more parts, is divided into so many voices by height
    names        of the parts, from the highest on; for four parts soprano, alto, tenor and bass
    steps        of a quarter, the grid of time: 4 for sixteenths, 12 for triplets, too
    quarters     natural length
    instruments  General MIDI names or programs that play what is made: one for all parts, or one for each
    soundfont    SF2 file that plays them; null: the sounds that multigen carries, nearest instruments for others
    max_bytes, max_quarters  of a file that is opened

    Raises ValueError for values out of range, RecipeError for an unknown instrument.
    """

    name = "notes"
    suffixes = (*MIDI, *SCORES)
    writes = KNOWN["notes"].writes
    suffix = ".mid"
    animation = ""
    options = BUILTIN["notes"]
    time_unit = "quarters"

    def __init__(
        self,
        *,
        parts: int = 4,
        names: tuple[str, ...] | None = None,
        steps: int = 4,
        quarters: float = 32.0,
        instruments: tuple[str | int, ...] = ("church organ",),
        soundfont: str | None = None,
        max_bytes: int = 16 * 1024**2,
        max_quarters: float = 20_000.0,
    ) -> None:
        if not 1 <= parts <= MOST_PARTS:
            raise ValueError(f"parts: {parts} is not allowed. Allowed: 1 to {MOST_PARTS}.")
        if steps not in STEPS:
            raise ValueError(f"steps: {steps} is not allowed. Allowed: {', '.join(map(str, STEPS))}.")
        usual = ("soprano", "alto", "tenor", "bass") if parts == 4 else ()
        self.names = names or usual or tuple(f"part {k + 1}" for k in range(parts))
        if len(self.names) != parts or len({n.lower() for n in self.names}) < parts:
            raise ValueError(f"names: {list(self.names)} is not allowed. Allowed: {parts} different names.")
        found = tuple(program(i, "instruments") for i in instruments)
        if len(found) not in (1, parts):
            raise ValueError(f"instruments: {len(found)} are not allowed. Allowed: one, or {parts}.")
        self.parts, self.steps, self.quarters = parts, steps, quarters
        self.programs = found * parts if len(found) == 1 else found
        self.soundfont = None if soundfont is None else Path(soundfont)
        self.limits = Limits(max_bytes=max_bytes, max_seconds=max_quarters)
        self._conductor: Tensor | None = None  # [T, 128] of a file that this is the native modality of
        self.shape()  # raises for `quarters` out of range

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        """Return (1, T, P + 1, 128) of the natural length, or of a duration in quarters. ValueError for a size."""
        if size is not None:
            raise ValueError(f"size: {size} is not allowed. Notes have none; give a duration in quarters.")
        quarters = self.quarters if duration is None else duration
        if not 0 < quarters <= self.limits.max_seconds:
            raise ValueError(
                f"duration: {quarters:g} quarters are not allowed. Allowed: over 0 to {self.limits.max_seconds:g}."
            )
        return 1, max(1, round(quarters * self.steps)), self.parts + 1, PITCHES

    def info(self, path: str | Source) -> Info:
        """The length in quarters, as `duration`. MediaError if the file is unreadable or over a limit."""
        return Info(duration=self._piece(as_source(path))[0].length / self.steps)

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read a roll [1, T, P + 1, 128]: the whole file, or `duration` quarters from the quarter nearest to `start`.

        Says how many notes lie beside the grid or find no voice. MediaError if the file is missing, unreadable or over
        a limit, or ends before `start`; MultigenError without the package that reads its format.
        """
        source = as_source(path)
        piece, moved, lost = self._piece(source)
        if moved or lost:
            count = sum(map(len, piece.parts))
            log.info(
                "%s: %d of %d notes were moved to the grid of %d steps a quarter, %d were left out (of %d voices none "
                "was free for them, or no step; or they are drums or grace notes)",
                source, moved, count + lost, self.steps, lost, self.parts,
            )  # fmt: skip
        roll = roll_of(piece)
        if start == 0 and duration is None:
            return roll
        first = round(start) * self.steps
        if not 0 <= first < piece.length:
            raise MediaError(f"{source}: it ends at quarter {piece.length / self.steps:g}, before {start:g}")
        return cut(roll, first, piece.length if duration is None else first + round(duration * self.steps))

    def native(self, source: str | Source | Tensor) -> Notes:
        """This modality with the metre, the keys, the tempi and the instruments of a file, or of a roll."""
        roll = source if isinstance(source, Tensor) else self.read(source)
        made = copy.copy(self)
        made._conductor = roll[0, :, -1].detach().float().cpu().clone()
        return made

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        """A roll with the conductor of the file that `to` is the native modality of.

        Of a longer roll the tempo and the instruments alone are the file's last.
        """
        assert isinstance(to, Notes)
        theirs = to._conductor
        if theirs is None:
            return media
        media = media.clone()
        if len(theirs) == media.shape[1]:
            media[0, :, -1] = theirs.to(media)
        else:
            for column in (TEMPO, *range(PROGRAM, PROGRAM + self.parts)):
                media[0, :, -1, column] = theirs[-1, column].to(media)
        return media

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Crop a roll to T steps, from its start or, with `rng`, from a random quarter; short ones get rests."""
        length, spare = shape[1], media.shape[1] - shape[1]
        if spare > 0:
            places = spare // self.steps + 1
            first = 0 if rng is None else self.steps * int(torch.randint(places, (1,), generator=rng))
            return cut(media, first, first + length)
        return grown(media, length, 4 * self.steps)

    def write(self, media: Tensor, path: str | Path) -> None:
        """Write a roll as MIDI, as MusicXML, or as the sound that it makes (.wav, .flac, .ogg, .mp3).

        MediaError for another suffix; MultigenError for sound without midirenderer; OSError for faults of the disk.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in self.writes:
            raise MediaError(message(f"{path}: the suffix", path.suffix, self.writes))
        if suffix not in (*MIDI, *SCORES):
            Audio(rate=RATE, channels=2).write(self.sound(media), path)
            return
        piece = piece_of(media)
        midi = suffix in MIDI
        if midi:
            check_installed("mido", "writing MIDI", "notes")
        content = (
            midi_of(piece, self.steps, self.names) if midi else musicxml_of(piece, self.steps, self.names)
        )
        with atomic(path) as temporary:
            temporary.write_bytes(content)

    def sound(self, media: Tensor) -> Tensor:
        """Play a roll: stereo [2, N] at 48 kHz. MultigenError without midirenderer."""
        return sound_of(piece_of(media), self.steps, self.soundfont)

    def preview(self, media: list[Tensor]) -> Image:
        """Draw rolls one above the other: time to the right, pitch upwards, a colour for each part."""
        return draw_pieces([piece_of(one) for one in media], self.steps)

    def html(self, media: Tensor) -> str:
        """Return the roll as a picture, with a player of its sound and its MIDI file, or with what they need."""
        picture, played = io.BytesIO(), Audio(rate=_PLAYER)
        self.preview([media]).save(picture, format="PNG", optimize=True)
        shown = f'<img src="{_data("image/png", picture.getvalue())}" alt="piano roll" style="width:100%">'
        try:
            player = played.html(Audio(rate=RATE, channels=2).convert(self.sound(media), played))
            midi = _data("audio/midi", midi_of(piece_of(media), self.steps, self.names))
        except MultigenError as error:  # a package is missing: the picture is there
            return f"<div>{shown}<p>{html.escape(str(error))}</p></div>"
        return f'<div>{shown}{player}<a download="notes.mid" href="{midi}">MIDI</a></div>'

    def describe(self, shape: Sequence[int]) -> str:
        """Say quarters and parts of a shape [1, T, P + 1, 128]."""
        parts = shape[2] - 1
        return f"{shape[1] / self.steps:g} quarters of {parts} part{'s' if parts > 1 else ''}"

    def facts(self, media: Tensor) -> dict[str, str]:
        """Tempo, metre and number of notes of a roll."""
        piece = piece_of(media)
        beats, beat = metre_of(piece.metre(4 * self.steps), piece.beat, self.steps)
        return {
            "tempo": f"{60e6 / piece.tempi[0][1]:.4g} bpm",
            "metre": f"{beats}/{beat}",
            "notes": f"{sum(map(len, piece.parts))} notes",
        }

    def finish(self, media: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Set the tempo and the instruments of a roll where `bpm` or `instrument` is asked for."""
        bpm, programs = options.get("bpm"), self._programs(options)
        piece = piece_of(media)
        if bpm is not None:
            piece = dataclasses.replace(piece, tempi=((0, round(60e6 / bpm)),))
        if programs is not None:
            piece = dataclasses.replace(piece, programs=programs)
        return roll_of(piece)

    def check_options(self, options: Mapping[str, Any]) -> None:
        """RecipeError for an unknown instrument, or for as many as there are no parts."""
        self._programs(options)

    def _programs(self, options: Mapping[str, Any]) -> tuple[int, ...] | None:
        """What plays the parts where `instrument` is asked for."""
        if (asked := options.get("instrument")) is None:
            return None
        names = [name.strip() for name in asked.split(",")]
        if len(names) not in (1, self.parts):
            raise RecipeError(f"instrument: {len(names)} are not allowed. Allowed: one, or {self.parts}.")
        programs = tuple(program(name, "instrument") for name in names)
        return programs * self.parts if len(programs) == 1 else programs

    def kept(self, media: Tensor, words: str) -> Tensor | None:
        """What "soprano", "bars 1-2, bass" or "all but bars 3-4" names in a roll: bool [T, P + 1, 128]; None: spans.

        The conductor is kept with any of them. MultigenError for a bar or a part that is not there.
        """
        return named(words, piece_of(media), self.names)

    def _piece(self, source: Source) -> tuple[Piece, int, int]:
        check_file(source, self.limits)
        with open_source(source) as file:
            content = file.read()
        midi = PurePosixPath(str(source)).suffix.lower() in MIDI
        check_installed("mido" if midi else "music21", f"reading {'MIDI' if midi else 'MusicXML'}", "notes")
        try:
            return piece_of_file(content, self.steps, self.parts, self.limits, midi=midi)
        except ValueError as error:
            raise MediaError(f"{source}: {error}") from error


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
