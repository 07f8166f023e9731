"""Overrides from the command line, as Hydra's grammar reads them: `key=value`, `+key=value`, `~key`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from multigen.errors import MultigenError, RecipeError
from multigen.recipe.home import expanded_path
from multigen.recipe.quoting import quoted_words
from multigen.recipe.safety import check_key, check_text, check_top_key, check_value

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override as HydraOverride

COMMAND_LINE = "command line"
PATH_KEYS = frozenset({"path", "soundfont", "init", "weights", "vocoder"})  # last segments of keys of paths


@dataclass(frozen=True)
class Override:
    """One override: the key that it sets or deletes, the value, and its text for Hydra."""

    kind: Literal["set", "add", "delete"]
    key: str
    value: Any
    text: str

    @property
    def leaves(self) -> dict[str, Any]:
        """Dotted keys of single values: `sampler={name: heun}` sets `sampler.name`."""
        return _leaves(self.key, self.value)


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides, and check them like the content of recipe files. RecipeError for the first wrong one."""
    return [_parse(text) for text in overrides]


def parse_text(text: str) -> HydraOverride:
    """Parse one override with Hydra's grammar, without other checks. RecipeError if it is not an override."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(as_hydra_reads(text))
    except MultigenError:
        raise
    except (HydraException, ValueError, RecursionError) as error:  # too many digits; nested too deep
        raise RecipeError(f"{COMMAND_LINE}: {text}: not an override. {_advice(text, error)}") from None


def _advice(text: str, error: Exception) -> str:
    """How an override is written that Hydra's grammar does not read."""
    key, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"\+{0,2}[A-Za-z_][\w.-]*", key):
        return "Write key=value, +key=value or ~key."
    if isinstance(error, ValueError | RecursionError):
        return f"{value[:20]}... is too long or too deep."
    return f"Write lists as {key}=[one, two], mappings as {key}={{name: value}}, and text with such signs in quotes."


def as_hydra_reads(text: str) -> str:
    """An override with quotes where Hydra's grammar needs them and a shell user does not write them."""
    return quoted_words(quoted_path(text))


def quoted_path(text: str) -> str:
    """An override whose value is a path, as a shell user writes it, with the path in Hydra's quotes.

    That is a value that begins with the home folder, `data.path=~/songs`, or that is there as it stands, whatever signs
    of Hydra's grammar are in its name: `data.path=photos (2024), [best]`. Other overrides are returned as they are.
    """
    from hydra.core.override_parser.types import Quote, QuotedString

    key, sign, value = text.partition("=")
    if not sign or key.rpartition(".")[2] not in PATH_KEYS or value[:1] in ("", "'", '"'):
        return text
    path = expanded_path(value)
    plain = re.fullmatch(r"[\w./:-]*", value)
    if path == value and (plain or "${" in value or not os.path.exists(path)):
        return text
    return f"{key}={QuotedString(path, Quote.single).with_quotes()}"


def check_override_key(key: str, package: str | None, at: str) -> str:
    """Return the key of an override. RecipeError for Hydra's own settings, config groups and packages."""
    if key.startswith(("hydra.", "hydra/")):
        raise RecipeError(f"{at}: Hydra's own settings are for sweeps only: add -m.")
    if package is not None or "/" in key or "@" in key:
        raise RecipeError(f"{at}: a recipe has no config groups or packages. Write key.key=value.")
    segments = [check_key(segment, at) for segment in key.split(".")]
    check_top_key(segments[0], at)
    if segments[0] == "defaults":
        raise RecipeError(f"{at}: `defaults` is set in a file, not on the command line.")
    return key


def _check_path(text: str, at: str) -> None:
    """RecipeError for a path that is there as it stands, but that the recipe would read as a reference."""
    key, _, value = text.partition("=")
    if key.rpartition(".")[2] in PATH_KEYS and "${" in value and os.path.exists(expanded_path(value)):
        raise RecipeError(
            f"{at}: in a recipe ${{...}} is the value of another key, in paths too. Rename what has it in its name, or "
            "give a link to it."
        )


def _parse(text: str) -> Override:
    from hydra.core.override_parser.types import OverrideType

    at = f"{COMMAND_LINE}: {text}"
    _check_path(text, at)
    check_text(text, at)
    if text.startswith("launch="):  # short for launch.name=
        text = f"launch.name={text.removeprefix('launch=')}"
    override = parse_text(text)
    text = as_hydra_reads(text)
    key = check_override_key(override.key_or_group, override.package, at)
    if override.is_sweep_override():
        raise RecipeError(f"{at}: several values make a sweep: add -m, or quote the value.")
    value = override.value()
    check_value(value, key, at)
    if override.type is OverrideType.DEL:
        return Override("delete", key, None, text)
    if override.type is OverrideType.ADD:
        return Override("add", key, value, text)
    # `key=value` may set a key that the recipe does not contain. Our own validation checks it, not Hydra's.
    return Override("set", key, value, f"++{text}" if override.type is OverrideType.CHANGE else text)


def _leaves(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, child in value.items() for k, v in _leaves(f"{key}.{name}", child).items()}
