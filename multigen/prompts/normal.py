"""One spelling for what looks the same: marks that nobody sees go, letters in disguise become letters.

Prompts of the command line, of Python, recipes, files of requests and servers, and the captions of a training, all pass
here, so that a model hears the same text wherever it came from.
"""

from __future__ import annotations

import re
import unicodedata

from multigen.errors import MultigenError
from multigen.prompts.lookalikes import unmixed

LONGEST = 4000  # characters of a prompt; the longest text encoders read some 2,000
_SPACES = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_LINES = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# Soft hyphens, marks of direction, of joining, of invisible arithmetic, of annotations; tags; variation selectors.
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_HALF = re.compile("[\ud800-\udfff]")  # of a pair of UTF-16, and bytes of a command line that are no UTF-8
# Code points that never are characters, and that no XML may hold.
_NONE = re.compile(
    f"[\ufdd0-\ufdef{''.join(chr((k << 16) + 0xFFFE) + chr((k << 16) + 0xFFFF) for k in range(17))}]"
)
_JOINERS, _PICTURE, _FLAG = "\u200c\u200d", "\ufe0f", "\U0001f3f4"
# Kinds of Unicode's compatibility forms that are the same letter in another dress. Powers and fractions say more.
_DRESS = ("<wide>", "<narrow>", "<font>", "<initial>", "<medial>", "<final>", "<isolated>", "<circle>")
_TAGS = 32  # most tags of a flag; those in use have 6
_INFORMATION = "\u2139"  # a letter for Unicode, and an emoji


def clean(text: str, where: str = "prompt") -> str:
    """The prompt as a model hears it. MultigenError for one that is too long, or holds what is no text."""
    if len(text) > LONGEST:
        raise MultigenError(f"{where}: {len(text):,} characters; allowed: {LONGEST:,}")
    if found := _CONTROL.search(text):
        raise MultigenError(
            f"{where}: it holds the control character U+{ord(found[0]):04X} at place {found.start() + 1}. "
            "Allowed: text, with line breaks and tabs."
        )
    if found := _HALF.search(text):
        raise MultigenError(
            f"{where}: it is not valid Unicode at place {found.start() + 1} (U+{ord(found[0]):04X}, half of a "
            "character). Allowed: text in UTF-8."
        )
    if found := _NONE.search(text):
        raise MultigenError(
            f"{where}: it is not valid Unicode at place {found.start() + 1} (U+{ord(found[0]):04X}, which is no "
            "character). Allowed: text in UTF-8."
        )
    return normalised(text)


def normalised(text: str) -> str:
    """Write text in one way; what is ASCII stays as it is.

    Marks that show nothing go, except where an emoji or a script that joins its letters needs them. Compatibility forms
    of letters, digits and blanks become plain ones (NFKC), powers, fractions, symbols and emoji stay. Letters that look
    like those of the word's own alphabet become those. All is composed (NFC).

    >>> normalised("\\u202ered\\u200b \\uff41pple"), normalised("x\\u00b2")
    ('red apple', 'x\\u00b2')
    """
    text = _LINES.sub("\n", text)
    if text.isascii():
        return text
    text = _SPACES.sub(" ", text)
    text = _UNSEEN.sub(lambda found: found[0] if _is_needed(text, found.start()) else "", text)
    plain = "".join(c if c.isascii() else _undressed(c) for c in text)
    return unmixed(unicodedata.normalize("NFC", plain))


def _is_needed(text: str, place: int) -> bool:
    """Whether a mark that shows nothing changes what is around it."""
    mark, before, after = text[place], text[max(place - 1, 0) : place], text[place + 1 : place + 2]
    if mark == _PICTURE:
        return bool(before) and (before in "#*0123456789" or _is_symbol(before) or before == _INFORMATION)
    if mark in _JOINERS and before and after:
        joins = before == _PICTURE or _is_symbol(before) or "\U0001f3fb" <= before <= "\U0001f3ff"
        return (mark == "\u200d" and joins and _is_symbol(after)) or (
            _is_joined(before) and _is_joined(after)
        )
    if "\U000e0020" <= mark <= "\U000e007f":  # of the flags of England, Scotland, Wales
        start = place
        while start and place - start < _TAGS and "\U000e0020" <= text[start] <= "\U000e007f":
            start -= 1
        return text[start] == _FLAG
    return False


def _is_symbol(character: str) -> bool:
    return ord(character) > 0xA0 and unicodedata.category(character) in ("So", "Sm", "Po")


def _is_joined(character: str) -> bool:
    """Whether it is of a script whose letters change where they meet: Arabic, those of India and their kin."""
    return 0x0600 <= ord(character) <= 0x1CFF and unicodedata.category(character)[0] in "LM"


def _undressed(character: str) -> str:
    """A letter or digit without its dress."""
    kind = unicodedata.decomposition(character).partition(" ")[0]
    if (
        not kind.startswith("<")
        or unicodedata.category(character)[0] not in "LN"
        or character == _INFORMATION
    ):
        return character
    plain = unicodedata.normalize("NFKC", character)
    return (
        plain if kind in _DRESS or (kind == "<compat>" and plain.isascii() and plain.isalnum()) else character
    )
