"""What conditioners share: columns of a batch, and prompts as valid text."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from multigen.errors import MultigenError, message

_SHOWN = 60  # characters of a prompt that a warning repeats


def column(batch: Mapping[str, Any], name: str, conditioner: str) -> Sequence[Any]:
    """Return batch[name]. MultigenError names the conditioner that needs it, and what the items have instead."""
    if name not in batch:
        have = ", ".join(sorted(batch)) or "nothing"
        raise MultigenError(
            f"conditioner {conditioner}: the data's items have no {name!r} (they have {have})"
        )
    return batch[name]


def check_text(prompt: object) -> str:
    """Return a prompt that is text. MultigenError for other types and for invalid Unicode."""
    if not isinstance(prompt, str):
        raise MultigenError(message("prompt", prompt, ["text"]))
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MultigenError(f"prompt: {prompt!r} is not valid Unicode ({error.reason})") from error
    return prompt


def warn_of_length(prompt: str, tokens: int) -> None:
    """Warn, once for each prompt, that its end is ignored."""
    shown = prompt if len(prompt) <= _SHOWN else prompt[:_SHOWN].rstrip() + " ..."
    warnings.warn(f"the prompt has over {tokens} tokens; its end is ignored: {shown!r}", stacklevel=1)
