"""`multigen edit`: vary, fill, grow or restyle one medium."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from multigen.command_line import Parser, add_model_options, common, count, lines_of, log
from multigen.editing import spans
from multigen.errors import MultigenError
from multigen.model import Model
from multigen.registry import Part
from multigen.use import Change

ABOUT = """\
Vary, fill, grow or restyle one medium. Without --mask, --keep and --extend all of it is varied, by --strength.

  multigen edit image_emoji --input apple.png --prompt "green apple" --strength 0.5
  multigen edit image_emoji --input apple.png --mask white_is_new.png --prompt "slice of pizza"
  multigen edit audio_music --input start.wav --keep 0:2.5s --prompt "church organ, G major, 92 bpm"
  multigen edit audio_music --input start.wav --extend 3s
  multigen edit video_moving_emoji --input clip.mp4 --keep 0:4f,12f:16f
  multigen edit image_emoji --input small.png --restore downsample --prompt "red apple"
"""

# Options that say how a whole medium is edited, not restored.
_WHOLE = ("strength", "mask", "keep", "extend", "seam", "resample", "invert", "long", "wrap")


def edit(argv: list[str]) -> int:
    """Run the command; the exit code."""
    parser = _parser()
    a = parser.parse(argv)
    prompts = [*(a.prompt or []), *(lines_of(a.prompts) if a.prompts else [])]
    from multigen import run as pipeline

    given = [k for k in _WHOLE if getattr(a, k) != parser.get_default(k)]
    if a.restore is not None and given:
        raise MultigenError(f"--{given[0]} does not go with --restore")
    log(a.quiet)
    folder = pipeline.edit(
        a.source,
        a.input,
        change=_change(a) if a.restore is None else _part(a.restore),
        negative=a.negative,
        prompts=prompts or None,
        n=a.n or 1,
        seed=a.seed,
        steps=a.steps,
        overrides=a.overrides,
        out=a.out,
        device=a.device,
        quiet=a.quiet,
    )
    print(folder)
    return 0


def _parser() -> Parser:
    parser = common("edit", ABOUT)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model_options(parser)
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help="the medium to edit")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a text file, one prompt a line")
    parser.add_argument("--strength", type=float, metavar="X", help="over 0 (as it was) to 1 (all new)")
    parser.add_argument("--mask", type=Path, metavar="PICTURE", help="white is made anew, black is kept")
    parser.add_argument("--keep", metavar="SPANS", help="what stays of a sound or video: 0:2.5s,4s: or 0:4f")
    parser.add_argument(
        "--extend",
        metavar="N",
        help="pixels all round or left,top,right,bottom; 3s after, or 1s,3s before and after",
    )
    parser.add_argument(
        "--seam", type=float, metavar="X", help="fade between kept and new: seconds, or pixels"
    )
    parser.add_argument(
        "--resample", type=count, default=1, metavar="K", help="take each step K times (RePaint)"
    )
    parser.add_argument(
        "--invert", metavar="TEXT", help="restyle: keep the composition of the source, this its prompt"
    )
    parser.add_argument(
        "--restore", metavar="OPERATOR", help="make what gives the input: downsample, blur, frames, band_limit, or"
        " {name: downsample, factor: 4}",
    )  # fmt: skip
    return parser


def _part(text: str) -> Part:
    """`downsample`, or `{name: downsample, factor: 4}`; its name and arguments are checked where it is built."""
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise MultigenError(f"--restore {text}: cannot be read ({error})") from None
    if isinstance(data, str):
        return Part(data)
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise MultigenError(
            f"--restore {text}: is not allowed; give a name, or {{name: downsample, factor: 4}}"
        )
    return Part(data["name"], {str(k): v for k, v in data.items() if k != "name"})


def _change(a: argparse.Namespace) -> Callable[[Model, Tensor], Change]:
    """Its mask, by how much it grows, and the seam depend on the medium."""

    def change(model: Model, medium: Tensor) -> Change:
        axes = medium.ndim - 1
        keep = None
        if a.mask is not None:
            keep = _mask(a.mask, medium)
        if a.keep is not None:
            if axes == 2:
                raise MultigenError("--keep: a picture has no time; give --mask PICTURE")
            stays = spans(a.keep, medium.shape[1], _rate(model)).view(-1, *[1] * (axes - 1))
            keep = stays.expand(medium.shape[1:]) if keep is None else keep | stays
        extend = () if a.extend is None else _extend(a.extend, axes, _rate(model) if axes != 2 else 1.0)
        seam = None if a.seam is None else round(a.seam * (_rate(model) if axes == 1 else 1))
        return Change(a.strength, keep, extend, seam, a.resample, a.invert, a.long, a.wrap)

    return change


def _rate(model: Model) -> float:
    """Samples or frames a second."""
    return float(model.modality.shape(duration=8.0)[1]) / 8


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


def _extend(text: str, axes: int, rate: float) -> list[int]:
    """As `Model.edit` has it: pairs of before and after, from the last axis on."""
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
