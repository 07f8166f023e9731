"""What conditioners share: columns of a batch, and prompts as valid text."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multigen.errors import MultigenError, message
from multigen.prompts.normal import normalised

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
    """Return a prompt or caption in its one spelling. MultigenError for what is no text, or invalid Unicode."""
    if not isinstance(prompt, str):
        raise MultigenError(message("prompt", prompt, ["text"]))
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MultigenError(f"prompt: {prompt!r} is not valid Unicode ({error.reason})") from error
    return normalised(prompt)


def no_prompt(prompts: Sequence[str]) -> None:
    """MultigenError for a prompt to a model that follows none: it would be ignored."""
    for prompt in prompts:
        if check_text(prompt).strip():
            raise MultigenError(
                f"prompt: {prompt!r} is not allowed. This model was trained without a condition, "
                "so it cannot follow a prompt. Allowed: '' (or no prompt)."
            )


def unread(words: Sequence[str], pieces: Callable[[str], Sequence[str]], unknown: str | None) -> list[str]:
    """Return the words that a tokenizer does not know: those with its unknown token, or spelt out letter by letter.

    pieces   splits a word into tokens
    unknown  the token for what is not in the vocabulary, if there is one
    """
    return [word for word in words if not word.isascii() and _is_unread(word, pieces(word), unknown)]


def _is_unread(word: str, tokens: Sequence[str], unknown: str | None) -> bool:
    if unknown is not None and unknown in tokens:
        return True
    names = [unicodedata.name(c, "") for c in word if c.isalpha()]
    foreign = [n for n in names if not n.startswith(("LATIN", "CJK"))]
    return len(foreign) >= 2 and len(tokens) >= len(names)


def warn_of_words(words: Sequence[str]) -> None:
    """Warn of the words that were not understood."""
    if words:
        said = ", ".join(words)
        warnings.warn(
            f"the text encoder does not know these words, so they say nothing: {said}", stacklevel=1
        )


def warn_of_length(text: str, tokens: int) -> None:
    """Warn, once for each text, of a prompt whose end is ignored; `text` is that end where it is known."""
    shown = text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + " ..."
    warnings.warn(f"the prompt has over {tokens} tokens; its end is ignored: {shown!r}", stacklevel=1)
