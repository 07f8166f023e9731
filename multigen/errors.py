"""Errors for users. Each message says where, what was given, what is allowed, and what is nearest."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class MultigenError(ValueError):
    """A mistake that the user can fix. The command line prints it without a traceback and exits with `code`."""

    code = 2


class RecipeError(MultigenError):
    """A mistake in a recipe or an override, raised before any work is done."""


class MediaError(MultigenError):
    """A media file that is missing, unreadable, truncated or over a limit."""


class TrainingError(MultigenError):
    """Training had to stop. What was saved is intact."""

    code = 1


class RankLost(TrainingError):
    """Another rank of the same training ended. Its own error gives the reason."""


class Interrupted(Exception):
    """A signal stopped the work, and everything is saved. The exit code is 128 + signum.

    signum  of the signal
    step    of the training, at which it stopped
    how     how to continue, for the message
    """

    def __init__(self, signum: int, step: int, how: str = "") -> None:
        super().__init__(
            f"stopped by {signal.Signals(signum).name} at step {step}; all is saved. {how}".strip()
        )
        self.code = 128 + signum
        self.step, self.how = step, how


class MediaInterrupted(Interrupted):
    """A signal stopped a command that makes media. Those that are finished are kept.

    done, total  how many media are finished, and how many the command makes
    folder       where they are
    """

    def __init__(self, signum: int, done: int, total: int, folder: Path) -> None:
        how = "go on with --resume" if done else "nothing was finished"
        text = (
            f"stopped after {done} of {total}: {folder}; {how}"
            if done
            else f"stopped after 0 of {total}: {how}"
        )
        Exception.__init__(self, text)
        self.code, self.step, self.how = 128 + signum, done, how


# Other tools' words for what is called something else here.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "upscale": ("downsample", "edit"), "upscaling": ("downsample", "edit"), "upsample": ("downsample", "edit"),
    "super_resolution": ("downsample", "edit"), "superres": ("downsample", "edit"), "sr": ("downsample",),
    "deblur": ("blur",), "interpolate": ("frames", "edit"), "img2img": ("edit",), "inpaint": ("edit",),
    "outpaint": ("edit",), "generate": ("sample", "run"), "txt2img": ("sample",), "finetune": ("train",),
    "fine_tune": ("train",), "fit": ("train",), "eval": ("evaluate",), "test": ("evaluate",), "k_euler": ("euler",),
    "k_euler_a": ("euler_ancestral",), "dpm_2m": ("dpmpp_2m",), "dpmsolver": ("dpmpp_2m",), "pndm": ("ipndm",),
    "plms": ("ipndm",), "none": ("plain",), "classifier_free": ("cfg",), "cfg_scale": ("guidance_scale",),
    "scale": ("guidance_scale",), "guidance": ("guidance_scale",), "negative": ("negative_prompt",),
    "width": ("size",), "height": ("size",), "resolution": ("size",), "seconds": ("duration",), "length": ("duration",),
    "output": ("out",), "output_dir": ("out",), "outdir": ("out",), "num_inference_steps": ("steps",),
    "num_steps": ("steps",), "image": ("input",), "init_image": ("input",), "init_img": ("input",),
    "denoising_strength": ("strength",), "denoise": ("strength",), "long": ("sliding_window",), "wrap": ("tile",),
    "seam": ("feather",), "mask_blur": ("feather",), "learning_rate": ("lr",), "batch_size": ("batch",),
    "gpu": ("cuda",), "epochs": ("steps",), "max_steps": ("steps",), "warmup_steps": ("warmup",), "ema": ("ema_decay",),
    "clip": ("grad_clip",), "dropout": ("cond_dropout",),
}  # fmt: skip


def nearest(given: str, names: Sequence[str]) -> str | None:
    """The name that was probably meant: one that it begins, what other tools call so, or one that is spelt alike.

    >>> nearest("euler_a", ["euler", "euler_ancestral"])
    'euler_ancestral'
    """
    plain = {_plain(name): name for name in reversed(names)}
    word = _plain(given)
    if word in plain:
        return plain[word]
    begun = sorted((name for name in plain if len(word) > 1 and name.startswith(word)), key=len)
    if begun and (len(begun) == 1 or "_" in word):
        return plain[begun[0]]
    for other in _ALIASES.get(word, ()):
        if other in plain:
            return plain[other]
    close = difflib.get_close_matches(word, plain, n=1, cutoff=0.5)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    """A name without the signs in which spellings differ: DPM++ 2M is dpmpp_2m."""
    return name.lower().strip().lstrip("-").replace("+", "p").replace("-", "_").replace(" ", "_")


def message(where: str, given: object, allowed: Iterable[object] = (), hint: str = "") -> str:
    """Write an error message: the place, what was given, what is allowed, the nearest match and a hint.

    >>> message("sampler.name", "ddimm", ["ddim", "heun"])
    "sampler.name: 'ddimm' is not allowed. Allowed: ddim, heun. Did you mean 'ddim'?"
    """
    names = [str(a) for a in allowed]
    text = f"{where}: {given!r} is not allowed."
    if names:
        text += f" Allowed: {', '.join(names)}."
        close = nearest(str(given), names)
        if close is not None:
            text += f" Did you mean {close!r}?"
    return f"{text} {hint}" if hint else text


def reason(error: BaseException) -> str:
    """Why something failed, in words alone: of an error of the system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and len(error.args) > 1 and isinstance(error.args[0], int):
        return str(error.args[1])  # FFmpeg's, which are no errors of the system but are made like them
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def errors_at(where: str, kind: type[MultigenError] = MultigenError) -> Iterator[None]:
    """Turn a ValueError inside the block into an error of this kind, with the place in front of its message."""
    try:
        yield
    except kind:
        raise
    except ValueError as error:
        raise kind(f"{where}: {error}") from error
