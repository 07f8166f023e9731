"""An edit as a user writes it: the options of `multigen edit`, which are also keys of a line of `--prompts`."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.edit_request import Change, Restoration
from multigen.generation.masking import spans
from multigen.generation.request import Start, Wish
from multigen.registry import Part
from multigen.storage.files import sha256

if TYPE_CHECKING:
    from multigen.generation.generate import Maker


@dataclass(frozen=True)
class EditText:
    """The options under their names. What a mask or a span means depends on the medium, and waits for the model.

    MultigenError for options that do not go together, or an operator that cannot be read.
    """

    input: str
    strength: float | None = None
    mask: str | None = None
    keep: str | None = None
    extend: str | int | None = None
    seam: float | None = None
    resample: int = 1
    invert: str | None = None
    restore: str | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.restore is None:
            return
        _part(self.restore)
        if others := [k for k in self.given if k not in ("input", "restore")]:
            raise MultigenError(f"--{others[0]} does not go with --restore")

    @property
    def given(self) -> dict[str, Any]:
        """The options that say something, by name."""
        options = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        return {k: value for k, (value, default) in options.items() if value != default}

    def start(self, model: Maker, wish: Wish) -> Start:
        """MultigenError for what cannot be read or does not fit, before any network call."""
        medium = model.read(self.input)
        if self.restore is not None:
            return Restoration(medium, _part(self.restore)).start(model, wish)
        return self._change(model, medium).start(model, wish)

    def _change(self, model: Maker, medium: Tensor) -> Change:
        axes, keep = medium.ndim - 1, None
        # Samples or frames a second.
        rate = 1.0 if axes == 2 else float(model.modality.shape(duration=8.0)[1]) / 8
        if self.mask is not None:
            keep = _mask(Path(self.mask), medium)
        if self.keep is not None:
            if axes == 2:
                raise MultigenError("--keep: a picture has no time; give --mask PICTURE")
            stays = spans(self.keep, medium.shape[1], rate).view(-1, *[1] * (axes - 1))
            keep = stays.expand(medium.shape[1:]) if keep is None else keep | stays
        extend = () if self.extend is None else amounts(str(self.extend), axes, rate)
        if self.seam is not None and not math.isfinite(self.seam):
            raise MultigenError(f"--seam {self.seam}: is not allowed; give seconds, or pixels")
        seam = None if self.seam is None else round(self.seam * (rate if axes == 1 else 1))
        return Change(medium, self.strength, keep, extend, seam, self.resample, self.invert)

    def facts(self) -> dict[str, Any]:
        """What a manifest tells of it."""
        source = Path(self.input)
        told = {k: v for k, v in self.given.items() if k not in ("input", "restore")}
        if self.restore is not None:
            part = _part(self.restore)
            told["operator"] = {"name": part.name, **part.args}
        return {**told, "source": source.name, "source_sha256": sha256(source)}


def _part(given: str | dict[str, Any]) -> Part:
    """`downsample`, or `{name: downsample, factor: 4}`; its name and arguments are checked where it is built."""
    import yaml

    try:
        data = yaml.safe_load(given) if isinstance(given, str) else given
    except yaml.YAMLError as error:
        raise MultigenError(f"--restore {given}: cannot be read ({error})") from None
    if isinstance(data, str):
        return Part(data)
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise MultigenError(
            f"--restore {given}: is not allowed; give a name, or {{name: downsample, factor: 4}}"
        )
    return Part(data["name"], {str(k): v for k, v in data.items() if k != "name"})


def _mask(path: Path, medium: Tensor) -> Tensor:
    """bool [*D]: True where the picture is darker than mid-grey."""
    if medium.ndim == 2:
        raise MultigenError("--mask: a picture is no mask for a sound; give spans, --keep 0:2.5s")
    from multigen.modalities.image import Image

    picture = Image(size=int(medium.shape[-1]), channels=1).read(path)[0]
    if picture.shape != medium.shape[-2:]:
        given, asked = (" x ".join(map(str, s)) for s in (picture.shape, medium.shape[-2:]))
        raise MultigenError(f"--mask {path}: {given} pixels; the medium has {asked}")
    return (picture < 0).expand(medium.shape[1:])


_AMOUNT = re.compile(r"(\d+\.?\d*)(s|f|px)?")


def amounts(text: str, axes: int, rate: float) -> list[int]:
    """How much a medium of so many `axes` grows, as `Model.edit` has it: before and after, from the last axis on.

    "8" or "8,0,8,0" pixels (left, top, right, bottom) of a picture; "3s" after, or "1s,3s" before and after, of what
    has a time, at `rate` per second. MultigenError for anything else.
    """
    parts = [_AMOUNT.fullmatch(p.strip()) for p in text.split(",")]
    allowed = (1, 4) if axes == 2 else (1, 2)
    units = {"px", None} if axes == 2 else {"s", "f", None}
    found = [p for p in parts if p is not None and p[2] in units]
    if len(found) != len(parts) or len(found) not in allowed:
        form = (
            "8 or 8,0,8,0 pixels (left, top, right, bottom)" if axes == 2 else "3s, or 1s,3s (before, after)"
        )
        raise MultigenError(f"--extend {text}: is not allowed; give {form}")
    if axes == 2:
        sizes = [round(float(p[1])) for p in found] * (4 if len(found) == 1 else 1)
        left, top, right, bottom = sizes
        return [left, right, top, bottom]
    sizes = [round(float(p[1]) * (1.0 if p[2] == "f" else rate)) for p in found]
    before, after = sizes if len(sizes) == 2 else (0, sizes[0])
    return [0, 0] * (axes - 1) + [before, after]
