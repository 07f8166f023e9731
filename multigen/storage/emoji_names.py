"""Emoji characters as words: text encoders know the words, and file systems keep them."""

from __future__ import annotations

import re
import unicodedata

# Whose names in the Unicode standard say how they were printed, not what they show.
_OWN = {
    "❤": "red heart", "♥": "heart", "🖤": "black heart", "☕": "coffee", "⭐": "star", "☀": "sun", "☁": "cloud",
    "☂": "umbrella", "☔": "umbrella", "⛄": "snowman", "☃": "snowman", "⚡": "lightning bolt", "☎": "telephone",
    "☺": "smiley", "✈": "airplane", "✂": "scissors", "✉": "envelope", "✏": "pencil", "✔": "check mark", "✖": "cross",
    "♠": "spade", "♣": "club", "♦": "diamond", "⚽": "soccer ball", "⚾": "baseball", "🚗": "car", "🚘": "car",
    "🛸": "flying saucer", "🌶": "hot pepper", "🍽": "plate with fork and knife", "🎸": "guitar", "🐈": "cat",
}  # fmt: skip
_JOINER, _FLAG_A = "\u200d", 0x1F1E6
# Variation selectors, the keycap, skin tones and tags: they change how an emoji looks.
_SILENT = re.compile("[\ufe00-\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")


def with_emoji_names(text: str) -> str:
    """Return the text with each emoji as its name, set apart by blanks: "two 🍎" becomes "two red apple".

    Flags become "flag" and their two letters. Text without emoji is returned as it is.
    """
    if text.isascii() or not any(_is_emoji(c) for c in text):
        return text
    text = re.sub("([\U0001f1e6-\U0001f1ff])([\U0001f1e6-\U0001f1ff])", _flag, _SILENT.sub("", text))
    parts = [f" {_name(c)} " if _is_emoji(c) else c for c in text.replace(_JOINER, " ")]
    return re.sub(r" +([,.;:!?)])", r"\1", " ".join("".join(parts).split()))


def _is_emoji(character: str) -> bool:
    """Whether it is a pictograph, of those that Unicode counts as other symbols."""
    return ord(character) >= 0x2190 and unicodedata.category(character) == "So"


def _name(character: str) -> str:
    name = _OWN.get(character) or unicodedata.name(character, "").lower()
    return re.sub(r"^(white|black|heavy|medium) (?=(white|black|heavy|medium) )|[^a-z0-9 ]", " ", name)


def _flag(match: re.Match[str]) -> str:
    letters = "".join(chr(ord("a") + ord(c) - _FLAG_A) for c in match.groups())
    return f" flag {letters} "
