"""Media as boards take them: pictures, sounds and clips, encoded."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from multigen.modalities.media import Media

# What a board plays, by a suffix that the medium's modality can write. Others are shown as a picture alone.
_PLAYED: dict[str, Literal["sound", "clip"]] = {".wav": "sound", ".gif": "clip"}


@dataclass(frozen=True)
class Shown:
    """Something for a board.

    name     "preview", or "preview/0" for one medium of several
    kind     "picture" (PNG), "sound" (WAV) or "clip" (GIF)
    content  of the file
    caption  what it was made from
    height, width      pixels of a picture or clip; 0 of a sound
    rate, length       Hz and samples of a sound; 0 of others
    channels           of a sound or picture
    """

    name: str
    kind: Literal["picture", "sound", "clip"]
    content: bytes
    caption: str
    height: int = 0
    width: int = 0
    rate: int = 0
    length: int = 0
    channels: int = 3


def shown(media: Sequence[Media]) -> list[Shown]:
    """One picture of all media, then each that sounds or moves, playable."""
    if not media:
        return []
    modality = media[0].modality
    picture = modality.preview([m.tensor for m in media]).convert("RGB")
    file = io.BytesIO()
    picture.save(file, "PNG")
    caption = ", ".join(dict.fromkeys(m.prompt for m in media if m.prompt))
    out = [Shown("preview", "picture", file.getvalue(), caption, picture.height, picture.width)]
    suffix = next((s for s in _PLAYED if s in modality.writes), None)
    if suffix is None:
        return out
    with tempfile.TemporaryDirectory() as folder:
        for number, medium in enumerate(media):
            path = medium.save(Path(folder, f"{number}{suffix}"))
            info = modality.info(path)
            out.append(
                Shown(
                    f"preview/{number}",
                    _PLAYED[suffix],
                    path.read_bytes(),
                    medium.prompt,
                    info.height,
                    info.width,
                    info.rate,
                    medium.tensor.shape[-1] if info.rate else 0,
                    info.channels,
                )
            )
    return out
