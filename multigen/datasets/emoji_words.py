"""What captions say about emoji beside their names: style, count, place, company and keywords."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from multigen.datasets.nouns import plural, sayable
from multigen.datasets.sprites import Emoji

# Style -> how captions say it; ids say the first. A style that is none of these says its own name.
STYLES: dict[str, tuple[str, ...]] = {
    "classic": ("classic", "twemoji"),
    "detailed": ("detailed", "noto"),
    "flat": ("flat", "flat design"),
    "3d": ("3D", "3D render"),
}
# Middle in shares of the width and height, and how captions say it.
PLACES: tuple[tuple[float, float, str], ...] = (
    (0.27, 0.5, "on the left"),
    (0.73, 0.5, "on the right"),
    (0.5, 0.27, "at the top"),
    (0.5, 0.73, "at the bottom"),
    (0.27, 0.27, "in the top left corner"),
    (0.73, 0.27, "in the top right corner"),
    (0.27, 0.73, "in the bottom left corner"),
    (0.73, 0.73, "in the bottom right corner"),
)
COUNTS = ("one", "two", "three")
# Where the second of two is -> how captions say it; ids say the first.
PAIRS: dict[str, tuple[str, ...]] = {
    "beside": ("{a} and {b}", "{a} and {b}", "{a} next to {b}", "{a} on the left and {b} on the right"),
    "below": ("{a} above {b}", "{a} above {b}", "{b} below {a}", "{b} under {a}"),
}

_THINGS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
_NOT_THINGS = (
    *("time", "sky-weather", "place-map", "place-geographic", "hotel", "sound", "transport-sign"),
    "lock",
)
_PERSONS = ("person", "person-role", "person-fantasy")


def counts(emoji: Emoji) -> bool:
    """Whether captions say how many of it there are."""
    hearts = emoji.group == "heart" and emoji.name.endswith("heart")
    return (_thing(emoji) or hearts) and plural(emoji.name) is not None


def pairs(emoji: Emoji) -> bool:
    """Whether captions put it beside another."""
    return (_thing(emoji) or emoji.group in _PERSONS) and sayable(emoji.name)


def placed(emoji: Emoji) -> bool:
    """Whether captions say where it is."""
    return emoji.category not in ("Flags", "Symbols") and sayable(emoji.name)


def _thing(emoji: Emoji) -> bool:
    return emoji.category in _THINGS and not emoji.group.startswith(_NOT_THINGS)


def spoken(emoji: Emoji, vocabulary: Container[str]) -> list[str]:
    """The name, and the synonyms that are plain words: "apple" of a red apple, not "tada" of a party popper."""
    return [emoji.name, *(o for o in emoji.others if sayable(o) and all(w in vocabulary for w in o.split()))]


def in_style(text: str, style: str, u: float) -> str:
    """A caption with the word of a style in one of the ways that `u` in [0, 1) picks."""
    words = STYLES.get(style, (style,))
    if u < 0.7:
        return f"{text}, {words[int(u > 0.5) % len(words)]}"
    return f"{words[0]} {text}" if u < 0.85 else f"{text} in {words[0]} style"


def with_style(name: str, style: str) -> str:
    """An id: the name and the first word of the style."""
    return f"{name}, {STYLES.get(style, (style,))[0]}"


def with_keyword(name: str, keywords: Sequence[str], u: float, w: float) -> str:
    """A name and one of its keywords or, as often, two keywords without the name; `u` and `w` in [0, 1) choose."""
    first = int(w * len(keywords))
    if u < 0.5 or len(keywords) < 2:
        return f"{name}, {keywords[first]}"
    second = (first + 1 + int((u - 0.5) * 2 * (len(keywords) - 1))) % len(keywords)
    return f"{keywords[first]}, {keywords[second]}"


def look_up(known: Mapping[str, int], name: str, styles: Sequence[str]) -> int | None:
    """What an id calls a thing, in `known`: less one of the `styles`, its place and its count."""
    name = without_style(name, styles)
    if name in known:
        return known[name]
    for _, _, where in PLACES:
        name = name.removesuffix(f" {where}")
    number, _, rest = name.partition(" ")
    return known.get(rest if number in COUNTS else name)


def count_of(known: Container[str], name: str, styles: Sequence[str]) -> int | None:
    """How many an id asks for; None where it says no number, or the number is part of a name, as in "two hearts"."""
    name = without_style(name, styles)
    number, _, rest = name.partition(" ")
    return COUNTS.index(number) + 1 if number in COUNTS and name not in known and rest in known else None


def style_of(name: str, styles: Sequence[str]) -> str | None:
    """The style that an id says, if it says one."""
    return next((s for s in styles if name.endswith(with_style("", s))), None)


def without_style(name: str, styles: Sequence[str]) -> str:
    """An id less its style."""
    style = style_of(name, styles)
    return name if style is None else name.removesuffix(with_style("", style))
