"""Requests: what a user asks a model for, as data. The command line, lines of JSON, Python and a server build them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from multigen.errors import MultigenError, message
from multigen.generation.edit_values import check_values
from multigen.generation.fields import declared
from multigen.generation.fields import option as _option
from multigen.generation.part_like import PartLike, check_part, operator_part, part_of
from multigen.generation.same import is_same, same_values
from multigen.options import Option
from multigen.prompts.normal import clean

if TYPE_CHECKING:
    from torch import Tensor

    from multigen.modalities.media import Media

# What of a mask is made anew, and how a medium of another size is seen.
MEANINGS = WHITE, BLACK, OPAQUE, TRANSPARENT = ("white", "black", "opaque", "transparent")
FITS = CROP, PAD, STRETCH = ("crop", "pad", "stretch")
TILES = ("x", "y", "xy", GLOBE := "globe")  # sides of a picture that meet
Size = int | tuple[int, int]
# A file, a medium, or a tensor [3, H, W] in [-1, 1].
Picture: TypeAlias = "str | Path | Media | Tensor"


@dataclass(frozen=True)
class Request:
    """One medium, or `n` of them. What is None comes from the recipe.

    prompt           what to make, as `multigen.prompts.normal` writes it
    negative_prompt  what guidance leads away from, likewise
    seed             of the first medium; medium k has seed + k. None: the recipe's, plus the place among the requests
    steps            of the sampler
    guidance_scale   1 turns guidance off
    size             pixels: the side, or (height, width)
    duration         seconds of audio or video
    sliding_window   what is larger than the model's own size is made in overlapping windows
    tile             sides of a picture, or of a video's frames, that meet without a seam: "x" (left and right), "y",
                     "xy" or True; "globe": "x", and an equirectangular panorama that goes on beyond its poles
    loop             the end of a sound or video meets its beginning
    sampler          another one than the recipe's: a name, {"name": "ddim", "eta": 0.5} or a `Part`
    guide            another way to guide: a name, {"name": "apg", "scale": 4} or a `Part`; guidance_scale goes with it
    cache            what is reused from step to step: "off", "auto" (what was measured of the weights), a name,
                     {"name": "deep", "every": 3} or a `Part`
    overrides        how it is sampled, as on the command line: ("sampler.name=ddim",)
    options          values of what the modality declares beside these (`Modality.options`), by name
    edit             the medium that it is made from; None: noise alone
    images           pictures for the model's adapters, in their order; None, and those left out: the adapter's own
    """

    prompt: str = field(default="", metadata=_option(str, "what to make", metavar="TEXT"))
    negative_prompt: str | None = field(
        default=None, metadata=_option(str, "what to avoid: guidance leads away from it", metavar="TEXT")
    )
    seed: int | None = field(
        default=None, metadata=_option(int, "seed of the first medium; medium k has seed + k", metavar="N")
    )
    steps: int | None = field(default=None, metadata=_option(int, "sampler steps", metavar="K", low=1))
    guidance_scale: float | None = field(
        default=None, metadata=_option(float, "guidance scale; 1 is off", metavar="X")
    )
    size: Size | None = field(
        default=None, metadata=_option(Size, "side, or WIDTHxHEIGHT, in pixels", metavar="PX")
    )
    duration: float | None = field(
        default=None, metadata=_option(float, "seconds of audio or video", metavar="S", above=0)
    )
    sliding_window: bool = field(
        default=False,
        metadata=_option(
            bool,
            "make what is larger than the model's own size in overlapping windows: things repeat or go on, and do not "
            "become larger",
        ),
    )
    tile: str | bool | None = field(
        default=None,
        metadata=_option(
            str | bool,
            "sides of a picture that meet without a seam: x (left and right), y, xy; globe: an equirectangular "
            "panorama, which goes on beyond its poles",
            choices=TILES,
        ),
    )
    loop: bool = field(
        default=False,
        metadata=_option(bool, "the end of a sound or video meets its beginning, without a click"),
    )
    sampler: PartLike | None = field(
        default=None, hash=False, metadata=_option(str | dict[str, Any], "another sampler", metavar="NAME")
    )
    guide: PartLike | None = field(
        default=None,
        hash=False,
        metadata=_option(str | dict[str, Any], "another way to guide", metavar="NAME"),
    )
    cache: PartLike | None = field(
        default=None,
        hash=False,
        metadata=_option(
            str | dict[str, Any], "what is reused from step to step: off, auto, deep ...", metavar="NAME"
        ),
    )
    overrides: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    edit: EditRequest | None = None
    images: tuple[Picture | None, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        _check_types(self)
        if isinstance(self.overrides, str):
            raise MultigenError(f"overrides: {self.overrides!r} is not allowed; give a list of texts")
        if not isinstance(self.images, tuple | list):
            raise MultigenError(f"images: {self.images!r} is not allowed; give a list of pictures")
        object.__setattr__(self, "images", tuple(self.images))
        _clean(self, "prompt", "negative_prompt")

    def differs(self, other: Request) -> bool:
        """Whether another request asks for anything else. Media in memory are the same where they are one."""
        pairs = zip(self.images, other.images, strict=False)
        same = all(is_same(a, b) for a, b in pairs) and same_values(self.options, other.options)
        left = dataclasses.replace(self, options={}) != dataclasses.replace(other, options={})
        return left or len(self.images) != len(other.images) or not same

    def check(self) -> None:
        """Raise MultigenError for parts that are wrong whatever the model is."""
        if self.sampler is not None:
            check_part(part_of(self.sampler, "sampler", "ddim", "eta: 0.5"), "sampler")
        if self.guide is not None:
            check_part(part_of(self.guide, "guide", "cfg", "scale: 3"), "guide")
        if self.cache is not None:
            check_part(part_of(self.cache, "cache", "deep", "every: 3"), "cache")


@dataclass(frozen=True, eq=False)
class EditRequest:
    """A medium to make another one from: a variation, inpainting, outpainting, a restyling or a restoration.

    media     a file, a `Media` or a tensor [C, *D] in [-1, 1]
    strength  how far back to noise, over 0 to 1: 0.6, or 1 where a part is kept
    mask      a picture: white is made anew, black stays; or one with transparency, a brush or an eraser
    mask_is   what of the mask is made anew: "white", "black", "opaque" or "transparent"; None: as its kind has it
    keep      what stays: spans of time such as "0:2.5s,4s:", words of the modality such as "bars 1-2", or a bool
              tensor, True where the medium stays, [*D] or over the first axis alone (samples, frames)
    extend    what is added: "8" or "8,0,8,0" pixels (left, top, right, bottom), "3s" after or "1s,3s" before and
              after; or numbers in samples, pixels or frames, before and after each axis from the last one on (as
              `torch.nn.functional.pad` takes them)
    fit       how a picture or video of another size than the model's is seen: "pad" shows all of it, "crop" the part
              around what is made anew at a finer scale, "stretch" all of it out of shape; None: "pad"
    feather   width of the cross-fade between kept and new: seconds of sound, pixels of pictures and videos
    resample  how often each step is taken, so that new and kept agree better (RePaint)
    invert    the source's prompt: start from the noise that leads to the source, which keeps its composition
    restore   the operator that gives the medium, to find what it was made from: "downsample", "blur", "frames",
              "band_limit", a `Part`, or {"name": "downsample", "factor": 4}
    noise     with `restore`: standard deviation of the noise in the medium, of full scale
    last      a picture, or a tensor [C, H, W]: the frame that a video ends with
    purify    noise (sigma/alpha) that is put on the medium and removed by the model before anything sees it: what was
              added to mislead a network goes, with fine detail; what is kept comes back as it was all the same

    MultigenError for options that do not go together.
    """

    media: Media | Tensor | str | Path = field(
        default="", metadata=_option(str, "the medium to edit", metavar="FILE")
    )
    strength: float | None = field(
        default=None, metadata=_option(float, "over 0 (as it was) to 1 (all new)", metavar="X")
    )
    mask: str | Path | None = field(
        default=None,
        metadata=_option(
            str,
            "a picture: white is made anew, black is kept; or a brush or an eraser on transparency",
            metavar="PICTURE",
        ),
    )
    mask_is: str | None = field(
        default=None,
        metadata=_option(str, "what of the mask is made anew (default: its kind says)", choices=MEANINGS),
    )
    keep: str | Tensor | None = field(
        default=None,
        metadata=_option(
            str, "what stays of a sound, a video or notes: 0:2.5s,4s:, 0:4f, bars 1-2", metavar="SPANS"
        ),
    )
    extend: str | int | Sequence[int] | None = field(
        default=None,
        metadata=_option(
            str | int,
            "pixels all round or left,top,right,bottom; 3s after, or 1s,3s before and after",
            metavar="N",
        ),
    )
    fit: str | None = field(
        default=None,
        metadata=_option(
            str,
            "how another size than the model's is seen: pad (all of it, the default), crop (the part around what is "
            "made anew), stretch",
            choices=FITS,
        ),
    )
    feather: float | None = field(
        default=None,
        metadata=_option(float, "width of the fade between kept and new: seconds, or pixels", metavar="X"),
    )
    resample: int = field(
        default=1, metadata=_option(int, "take each step K times (RePaint)", metavar="K", low=1)
    )
    invert: str | None = field(
        default=None,
        metadata=_option(str, "the source's own prompt: restyle it and keep its composition", metavar="TEXT"),
    )
    restore: PartLike | None = field(
        default=None,
        metadata=_option(
            str | dict[str, Any],
            "restore what a degraded input came from: downsample, blur, frames, band_limit, or "
            "{name: downsample, factor: 4}",
            metavar="OPERATOR",
        ),
    )
    noise: float = field(
        default=0.02,
        metadata=_option(float, "with --restore: noise in the input, of full scale", metavar="X"),
    )
    last: Tensor | str | Path | None = field(
        default=None,
        metadata=_option(str, "the frame that a video ends with, a picture", metavar="PICTURE"),
    )
    purify: float | None = field(
        default=None,
        metadata=_option(
            float,
            "put noise of this level (sigma/alpha, such as 0.3) on the input and let the model remove it, before the "
            "input conditions anything: hidden perturbations go",
            metavar="LEVEL",
        ),
    )

    def __post_init__(self) -> None:
        _check_types(self)
        _clean(self, "invert")
        if self.restore is None:
            return
        from multigen import registry  # takes a tenth of a second

        part = operator_part(self.restore)
        if part.name not in (names := registry.names("operator")):
            raise MultigenError(message("restore", part.name, names))
        if others := [k for k in self.given if k not in ("media", "restore", "noise")]:
            raise MultigenError(f"{others[0]}: it does not go with restore")

    def check(self) -> None:
        """Raise MultigenError for values that are wrong whatever the model and the medium are."""
        check_values(
            strength=self.strength, keep=self.keep, extend=self.extend, feather=self.feather, resample=self.resample,
            restore=self.restore, noise=self.noise, purify=self.purify,
        )  # fmt: skip

    @property
    def given(self) -> dict[str, Any]:
        """The options that say something, by name."""
        pairs = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self)}
        return {name: value for name, (value, default) in pairs.items() if value is not default}


def options(kind: type[Request] | type[EditRequest]) -> dict[str, Option]:
    """The options that a request or an edit declares, by name."""
    return declared(kind)


# Fields that take more in Python than a text can say: media, tensors, paths, parts.
_RICH = frozenset({"media", "mask", "keep", "extend", "sampler", "guide", "cache", "restore", "last"})


def _check_types(request: Request | EditRequest) -> None:
    """MultigenError for the first value of a wrong kind: no number is a text, no text a number."""
    for name, option in options(type(request)).items():
        if name not in _RICH:
            option.check_type(getattr(request, name))


def _clean(request: Request | EditRequest, *names: str) -> None:
    """Write its prompts as a model hears them. MultigenError for one that no model takes."""
    for name in names:
        if (text := getattr(request, name)) is not None:
            object.__setattr__(request, name, clean(text, name))
