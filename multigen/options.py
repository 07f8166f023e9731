"""Options: what a request can say. The command line, lines of JSON and a server derive from these declarations."""

from __future__ import annotations

import math
import numbers
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multigen.errors import MultigenError, message


@dataclass(frozen=True)
class Option:
    """One setting of a request.

    name      as in Python and JSON; on the command line with dashes: `--guidance-scale`
    type      of its value as text or JSON gives it: str, int, float, bool, or a union of them
    default   the value of a request that does not say; None: the recipe's
    help      one line for a user
    low, high the allowed range of a number, both ends included
    above     a number must be more than this
    choices   the allowed values; empty: any
    edits     whether it also goes with edits, which give back what they keep as it was
    metavar   what stands for the value in a usage line
    media     the modality of the medium that the value is: a file, in Python also the medium itself; "": it is none
    heard     an edit that leaves it open takes it from its medium (`Conditioner.heard`), not from `default`
    needs     the option that it says something of; "": it stands alone
    """

    name: str
    type: Any = str
    default: Any = None
    help: str = ""
    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    choices: tuple[Any, ...] = ()
    edits: bool = True
    metavar: str = ""
    media: str = ""
    heard: bool = False
    needs: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def check(self, value: Any) -> Any:
        """The value; MultigenError where it lies outside the range or is none of the choices."""
        if value is None:
            return value
        flag = isinstance(value, bool) and bool in typing.get_args(self.type)
        if self.choices and value not in self.choices and not flag:
            raise MultigenError(message(self.name, value, self.choices))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not (self.above < value and self.low <= value <= self.high and math.isfinite(value)):
            raise MultigenError(f"{self.name}: {value} is not allowed; {self._range()}")
        return value

    def check_type(self, value: Any) -> None:
        """MultigenError for a value from Python that is of another kind than a text, a number, a flag or a size."""
        kinds = typing.get_args(self.type) or (self.type,)
        if value is None and self.default is None:
            return
        if not any(_is(kind, value) for kind in kinds):
            said = " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)
            said += (
                " or (height, width)" if len(kinds) > len([kind for kind in kinds if kind in _WORDS]) else ""
            )
            raise MultigenError(f"{self.name}: {value!r} is not allowed; give {said}")

    def _range(self) -> str:
        if math.isfinite(self.above):
            return f"give a number above {self.above:g}" + (
                f", to {self.high:g}" if math.isfinite(self.high) else ""
            )
        if math.isfinite(self.high):
            return f"give a number from {self.low:g} to {self.high:g}"
        return f"give {self.low:g} or more" if math.isfinite(self.low) else "give a finite number"


def unknown_option(where: str, name: str, declared: Mapping[str, Option], model: str) -> str:
    """What is said of an option that a model does not declare."""
    hint = f"{model} {'has these options' if declared else 'has no options'}."
    return message(where, name, declared, hint)


_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False"}


def _is(kind: Any, value: Any) -> bool:
    """Whether a value is of a kind. NumPy's numbers are numbers; True is no number."""
    if kind in (str, bool):
        return isinstance(value, kind)
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, Sequence) and len(value) == 2 and all(_is(int, side) for side in value)


# What the built-in modalities declare, so that a command line is checked before they are imported, and torch with them.
BUILTIN: Mapping[str, tuple[Option, ...]] = {
    "image": (),
    "audio": (
        Option(
            "lufs",
            float,
            None,
            "loudness of each sound in LUFS, such as -14 (streaming) or -23 (broadcast); peaks stay under -1 dB",
            low=-60,
            high=0,
            edits=False,
            metavar="LUFS",
        ),
    ),
    "video": (),
    "embedding": (),
    "volume": (),
    "notes": (
        Option("bpm", float, None, "tempo of the files, quarters a minute", low=20, high=480, edits=False),
        Option(
            "instrument",
            str,
            None,
            "what plays the parts: a General MIDI name, or one for each part, with commas",
            edits=False,
            metavar="NAME",
        ),
    ),
}


PURIFY_CONDITION = "purify_condition"  # the option of conditioners that follow a medium


def _condition(args: Mapping[str, Any]) -> tuple[Option, ...]:
    """The options of conditioners that follow a medium; the modality is that of their argument `source`."""
    source = args.get("source")
    kind = source.get("name") if isinstance(source, Mapping) else None
    about = f"the {kind or 'medium'} to make it for"
    return (
        Option("condition", str, None, about, metavar="FILE", media=kind if isinstance(kind, str) else ""),
        Option(
            PURIFY_CONDITION,
            float,
            None,
            "put noise of this level (sigma/alpha, such as 0.3) on the condition and let the model remove it first; "
            "the condition must be of the kind that the model makes",
            low=0.001,
            high=100,
            metavar="LEVEL",
            needs="condition",
        ),
    )


def _speech(args: Mapping[str, Any]) -> tuple[Option, ...]:
    voices = tuple(map(str, args.get("voices") or ()))
    return (
        Option(
            "voice", str, next(iter(voices), None), "who speaks", choices=voices, metavar="NAME", heard=True
        ),
        Option("speed", float, 1.0, "how fast; 2 is twice as fast", low=0.25, high=4.0, metavar="X"),
    )


# The same of built-in conditioners, from their arguments; those that are missing declare nothing.
CONDITIONERS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Option, ...]]] = {
    "media": _condition,
    "media_text": _condition,
    "speech": _speech,
}
