"""Media objects: what `generate` returns. They save themselves, and display inline in notebooks."""

from __future__ import annotations

import dataclasses
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from multigen.modalities import Modality
from multigen.modalities.flag import Flag, Near
from multigen.provenance.made import Made, SourceFile
from multigen.provenance.marking import kept_source, write_marked
from multigen.storage.files import sha256

if TYPE_CHECKING:
    from PIL.Image import Image

_SHOWN = 64  # most media of a list that a notebook shows: each is embedded


@dataclass(frozen=True, eq=False, repr=False)
class Media:
    """One generated image, sound or video.

    tensor    [C, *D] in [-1, 1], on the CPU
    modality  writes, previews and plays it
    prompt    that it was made from
    seed      that it was made from
    made      how it was made, for its files; None: they do not say
    file      that it was read from; None: it was made
    kept      what of an edit's source is in it unchanged, bool [*D]; None: nothing
    flags     what filters found in it or its prompt
    near      how near it is to training items, where that is watched
    """

    tensor: Tensor
    modality: Modality
    prompt: str = ""
    seed: int = 0
    made: Made | None = None
    file: SourceFile | None = None
    kept: Tensor | None = None
    flags: tuple[Flag, ...] = ()
    near: Near | None = None

    def save(self, path: str | Path) -> Path:
        """Write a file in the format of its suffix, by default the modality's own, and return its path."""
        path = Path(path).expanduser()
        if not path.suffix:
            path = path.with_name(path.name + self.modality.suffix)
        self.write(path)
        return path

    def write(self, path: Path) -> str:
        """Write a file that says how it was made; the sha256 (hex) of its content without that.

        The same medium has the same sha256: what a file says may be signed, and signatures differ each time. MediaError
        before anything is encoded where the file cannot hold what the medium was made for.
        """
        self.modality.check_writes(path.suffix.lower())
        if self.made is None:
            self.modality.write(self.tensor, path)
            return sha256(path)
        made = kept_source(self.made, path)  # an edit may be written over its source
        return write_marked(path, made, lambda file: self.modality.write(self.tensor, file))

    def with_tensor(self, tensor: Tensor) -> Media:
        """Return the same medium with other values, [C, *D]."""
        return dataclasses.replace(self, tensor=tensor)

    def numpy(self) -> np.ndarray:
        """Copy the values to float32 [C, *D]."""
        return self.tensor.detach().cpu().float().numpy().copy()

    def __repr__(self) -> str:
        shape = list(self.tensor.shape)
        return f"Media({self.modality.name} {shape}, prompt={self.prompt!r}, seed={self.seed})"

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.modality.preview([self.tensor]).save(file, format="PNG")
        return file.getvalue()

    def _repr_html_(self) -> str:
        caption = html.escape(f"{self.prompt} · seed {self.seed}" if self.prompt else f"seed {self.seed}")
        return (
            '<figure style="display:inline-block;margin:4px">'
            f"{self.modality.html(self.tensor)}<figcaption>{caption}</figcaption></figure>"
        )


class MediaList(list[Media]):
    """Media that were made together: a list, which notebooks show as a grid.

    A slice of it is a plain list of media.
    """

    def preview(self) -> Image:
        """One picture of all: a grid of pictures, spectrograms or contact sheets. ValueError if the list is empty."""
        if not self:
            raise ValueError("there are no media to show")
        return self[0].modality.preview([m.tensor for m in self])

    def save(self, folder: str | Path) -> list[Path]:
        """Write all into a folder, which is made if need be, numbered; their paths."""
        folder = Path(folder).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        digits = max(3, len(str(len(self) - 1)))
        return [medium.save(folder / f"{k:0{digits}d}_seed{medium.seed}") for k, medium in enumerate(self)]

    def _repr_html_(self) -> str:
        figures = "".join(medium._repr_html_() for medium in self[:_SHOWN])
        more = f"<p>… and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        return f'<div style="display:flex;flex-wrap:wrap;align-items:flex-end">{figures}</div>{more}'
