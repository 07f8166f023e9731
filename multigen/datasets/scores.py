"""Scores to sound: music21 reads, midirenderer plays. Run as a module it is a worker that `render_all` feeds.

Workers are processes of their own, started by command and not by fork or spawn: torch's threads do not survive a
fork, and spawn would run an unguarded script of the user's a second time.
"""

from __future__ import annotations

import contextlib
import io
import json
import lzma
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from multigen.datasets.general_midi import midi_file
from multigen.errors import MultigenError
from multigen.storage import files

TAIL = 1.5  # s that follow the last note, for it to die away
_LEVEL = 0.1  # root mean square of a whole piece: -20 dB below full scale
_PEAK = 0.95
BREATH = 0.25  # share of a note under a fermata that is rest, so that phrases end as when sung


@dataclass(frozen=True)
class Score:
    """A piece as numbers. `parts`: per voice, notes of (onset, length) in quarters and MIDI pitch."""

    tonic: int  # pitch class, 0 is C
    mode: str  # "major" or "minor"
    parts: tuple[tuple[tuple[float, float, int], ...], ...]


@dataclass(frozen=True)
class Render:
    """One piece played one way, and the FLAC file to put it in."""

    path: str
    program: int  # General MIDI, 0 to 127
    transpose: int  # semitones
    bpm: int  # quarters a minute


@dataclass(frozen=True)
class Job:
    """One piece and all that is to be rendered of it. `notes` caches the parsed score as JSON."""

    score: str
    notes: str
    soundfont: str  # SF2, which may be compressed as .xz
    rate: int  # Hz
    channels: int
    renders: tuple[Render, ...]


def load(score: Path, notes: Path) -> Score:
    """The score, from its cached JSON or parsed and put there."""
    if notes.is_file():
        found = json.loads(notes.read_text(encoding="utf-8"))
        parts = tuple(tuple((on, length, pitch) for on, length, pitch in part) for part in found["parts"])
        return Score(found["tonic"], found["mode"], parts)
    parsed = parse(score)
    save(parsed, notes)
    return parsed


def save(score: Score, notes: Path) -> None:
    """Write the JSON that `load` reads."""
    files.write_text(notes, json.dumps(asdict(score), separators=(",", ":")))


def parse(score: Path) -> Score:
    """Read any format that music21 reads; the key by its correlation of pitch durations (Krumhansl 1990)."""
    from music21 import converter, expressions

    read: Any = converter.parse(score, forceSource=True, storePickle=False)
    stream = read.stripTies()
    key = stream.analyze("key")
    parts = []
    for part in stream.parts:
        notes = []
        for note in part.flatten().notes:
            length = float(note.quarterLength)
            if length <= 0:  # a grace note
                continue
            if any(isinstance(e, expressions.Fermata) for e in note.expressions):
                length *= 1 - BREATH
            notes += [
                (round(float(note.offset), 4), round(length, 4), int(pitch.midi)) for pitch in note.pitches
            ]
        parts.append(tuple(sorted(notes)))
    return Score(key.tonic.pitchClass, key.mode, tuple(part for part in parts if part))


def play(score: Score, render: Render, soundfont: bytes, rate: int, channels: int) -> float:
    """Write the render as 16-bit FLAC at -20 dB root mean square; its length in s."""
    import av
    import numpy as np
    import soundfile
    from av.audio.frame import AudioFrame
    from midirenderer import render_wave_from

    parts = [[(on, length, pitch + render.transpose) for on, length, pitch in part] for part in score.parts]
    wave = render_wave_from(soundfont, midi_file(parts, render.program, render.bpm, TAIL))
    played, source = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
    sides = played.T if channels == 2 else played.mean(1)[None]
    layout = "stereo" if channels == 2 else "mono"
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(sides, dtype=np.float32), "fltp", layout)
    frame.sample_rate = source
    resampler = av.AudioResampler("fltp", layout, rate)
    sound = np.concatenate(
        [f.to_ndarray() for f in (*resampler.resample(frame), *resampler.resample(None))], 1
    )
    gain = min(
        _LEVEL / max(float(np.sqrt(np.square(sound).mean())), 1e-9),
        _PEAK / max(float(np.abs(sound).max()), 1e-9),
    )
    with files.atomic(Path(render.path)) as temporary:
        soundfile.write(temporary, (sound * gain).T, rate, format="FLAC", subtype="PCM_16")
    return sound.shape[1] / rate


def run_job(job: Job) -> list[float]:
    """Render what is missing of a piece; each render's length in s. Pieces without four voices give none."""
    import soundfile

    score = load(Path(job.score), Path(job.notes))
    if len(score.parts) != 4:
        return []
    soundfont, seconds = _bytes(job.soundfont), []
    for render in job.renders:
        if Path(render.path).is_file():
            seconds.append(soundfile.info(render.path).duration)
        else:
            seconds.append(play(score, render, soundfont, job.rate, job.channels))
    return seconds


def render_all(jobs: Iterable[Job], workers: int, done: Callable[[], Any]) -> list[list[float]]:
    """`run_job` of every job in `workers` processes, results in order; `done` is called after each.

    MultigenError with the worker's own words if a job fails.
    """
    lines = [json.dumps(asdict(job)) for job in jobs]
    started: list[subprocess.Popen[str]] = []
    mine, lock = threading.local(), threading.Lock()

    def start() -> None:
        command = [sys.executable, "-m", "multigen.datasets.scores"]
        pipe = subprocess.PIPE
        mine.worker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")
        with lock:
            started.append(mine.worker)

    def ask(line: str) -> list[float]:
        mine.worker.stdin.write(line + "\n")
        mine.worker.stdin.flush()
        answer = mine.worker.stdout.readline()
        if not answer:
            raise MultigenError(f"rendering ended early: its process gave up with code {mine.worker.wait()}")
        reply = json.loads(answer)
        if "error" in reply:
            raise MultigenError(f"{json.loads(line)['score']}: cannot be rendered ({reply['error']})")
        done()
        return reply["seconds"]

    pool = ThreadPoolExecutor(max(1, min(workers, len(lines))), initializer=start)
    try:
        return list(pool.map(ask, lines))
    finally:
        pool.shutdown(cancel_futures=True)
        for worker in started:
            worker.communicate()


@cache
def _bytes(path: str) -> bytes:
    content = Path(path).read_bytes()
    return lzma.decompress(content) if path.endswith(".xz") else content


def _serve() -> None:
    """Jobs as JSON lines in, answers as JSON lines out. Nothing else may write to standard output."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job = json.loads(line)
        renders = tuple(Render(**r) for r in job.pop("renders"))
        try:
            answer = {"seconds": run_job(Job(renders=renders, **job))}
        except Exception as error:  # the parent says it in its own words
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # the parent was interrupted too, and says so
        _serve()
