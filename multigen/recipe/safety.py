"""What a recipe may not contain, whoever wrote it. Checked on the raw text of files and overrides, before Hydra.

A recipe is data. It names parts, never code, tags, the environment or Hydra's own settings.
"""

from __future__ import annotations

import math
import re
from typing import Any

from multigen.errors import RecipeError

# `${another.key}` and nothing else: no resolver, no relative path, no nesting.
REFERENCE = re.compile(r"\$\{([A-Za-z_]\w*(?:\.\w+)*)\}")
_KEY = re.compile(r"[\w-]+(?: [\w-]+)*")
_DUNDER = re.compile(r"_.*_|_")


def check_key(key: object, at: str) -> str:
    """Return the key. RecipeError unless it is a plain word that neither Hydra nor OmegaConf acts on."""
    if not isinstance(key, str):
        raise RecipeError(f"{at}: the key {key!r} is not allowed. Keys are words: quote it.")
    if key == "<<":
        raise RecipeError(
            f"{at}: merge keys (<<) are not allowed in a recipe. To extend one, use `defaults`."
        )
    if _DUNDER.fullmatch(key):
        raise RecipeError(
            f"{at}: the key {key!r} is not allowed. A recipe is data: no key begins and ends with an underscore. "
            "Only the `name` of a part refers to code."
        )
    if len(key) > 100 or not _KEY.fullmatch(key):
        raise RecipeError(
            f"{at}: the key {key!r} is not allowed. Keys are words of letters, digits, '_' and '-'; nested keys are "
            "written nested, and packages and config groups are not part of a recipe."
        )
    return key


def check_top_key(key: str, at: str) -> None:
    """Raise RecipeError for `hydra`, which does not belong in a recipe."""
    if key == "hydra":
        raise RecipeError(
            f"{at}: a `hydra` block is not allowed in a recipe. Set Hydra on the command line, with -m."
        )


def check_text(text: str, at: str) -> str:
    """Return the text. RecipeError for any interpolation other than `${another.key}`."""
    rest = REFERENCE.sub("", text)
    if "${" in rest or re.search(r"\\+\$\{", text):
        raise RecipeError(
            f"{at}: {text!r} is not allowed. The only interpolation in a recipe is ${{another.key}}: no resolvers "
            "(environment, time, code), no relative or nested ones, no escapes."
        )
    for match in REFERENCE.finditer(text):
        if match[1].split(".")[0] == "hydra":
            raise RecipeError(f"{at}: {text!r} is not allowed. A recipe cannot read Hydra's own settings.")
    return text


def check_number(value: float, at: str) -> float:
    """Return the number. RecipeError for nan and infinity, which JSON, and so a run folder, cannot store."""
    if not math.isfinite(value):
        raise RecipeError(f"{at}: {value} is not allowed. Numbers in a recipe are finite.")
    return value


def check_part_name(place: str, value: object, at: str) -> None:
    """Raise RecipeError for an import path in place of a part's name (`...name`, but not the recipe's own name)."""
    nested = "." in place
    if (
        nested
        and place.endswith(".name")
        and isinstance(value, str)
        and re.search(r"[./:\\]", REFERENCE.sub("", value))
    ):
        raise RecipeError(
            f"{at}: {value!r} is not allowed. Allowed: names that `multigen parts` lists, not import paths."
        )


def check_value(value: Any, place: str, at: str) -> None:
    """Check plain data at a dotted key with all of the above, recursively."""
    if isinstance(value, dict):
        for key, child in value.items():
            check_value(child, f"{place}.{check_key(key, at)}", at)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            check_value(child, f"{place}.{index}", at)
    elif isinstance(value, str):
        check_text(value, at)
        check_part_name(place, value, at)
    elif isinstance(value, float):
        check_number(value, at)
