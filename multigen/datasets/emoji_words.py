"""What captions say about emoji beside their names: style, count, place, and which names can be said so."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence

from multigen.datasets.sprites import Emoji

# Style -> how captions say it; the first goes into ids. A style of one's own folder says its name.
STYLES: dict[str, tuple[str, ...]] = {
    "classic": ("classic", "twemoji"),
    "detailed": ("detailed", "noto"),
    "flat": ("flat", "flat design"),
    "3d": ("3D", "3D render"),
}
# Place -> its middle in shares of the width and height, and how captions say it.
PLACES: dict[str, tuple[float, float, str]] = {
    "left": (0.27, 0.5, "on the left"),
    "right": (0.73, 0.5, "on the right"),
    "top": (0.5, 0.27, "at the top"),
    "bottom": (0.5, 0.73, "at the bottom"),
    "top left": (0.27, 0.27, "in the top left corner"),
    "top right": (0.73, 0.27, "in the top right corner"),
    "bottom left": (0.27, 0.73, "in the bottom left corner"),
    "bottom right": (0.73, 0.73, "in the bottom right corner"),
}
COUNTS = ("one", "two", "three")
# Where the second of two is beside the first -> how captions say it; the first goes into ids.
PAIRS: dict[str, tuple[str, ...]] = {
    "beside": ("{a} and {b}", "{a} and {b}", "{a} next to {b}", "{a} on the left and {b} on the right"),
    "below": ("{a} above {b}", "{a} above {b}", "{b} below {a}", "{b} under {a}"),
}

_THINGS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
_NOT_THINGS = (
    "time",
    "sky-weather",
    "place-map",
    "place-geographic",
    "hotel",
    "sound",
    "transport-sign",
    "lock",
)
_PERSONS = ("person", "person-role", "person-fantasy")
_MASS = {
    *("rice", "bread", "bacon", "butter", "garlic", "sushi", "spaghetti", "broccoli", "ice", "sake", "food", "salt"),
    *("ginger", "wood", "money", "music", "luggage", "paper", "bamboo", "coral", "hockey", "lacrosse", "hurdle"),
    *("luge", "karate", "clothing", "fuji", "liberty", "hut", "corn", "cricket", "ping", "pong", "golf", "game"),
    *("construction", "dna", "badminton", "foggy", "oden", "popcorn", "thread", "yarn", "metro", "rail", "die", "soap"),
    *("sunrise", "sunset", "cityscape", "custard", "reminder"),
}  # fmt: skip
_IRREGULAR = {
    "man": "men", "woman": "women", "person": "people", "child": "children", "mouse": "mice", "goose": "geese",
    "fish": "fish", "sheep": "sheep", "deer": "deer", "knife": "knives", "leaf": "leaves", "wolf": "wolves",
    "foot": "feet", "tooth": "teeth", "ox": "oxen", "shrimp": "shrimps", "tomato": "tomatoes", "potato": "potatoes",
    "mango": "mangoes", "squid": "squids", "bison": "bison", "moose": "moose", "aircraft": "aircraft", "loaf": "loaves", "scarf": "scarves",
    "sheaf": "sheaves",
    "volcano": "volcanoes",
    "pufferfish": "pufferfish", "blowfish": "blowfish", "jellyfish": "jellyfish",
}  # fmt: skip


def counts(emoji: Emoji) -> bool:
    """Whether captions say how many of it there are."""
    hearts = emoji.group == "heart" and emoji.name.endswith("heart")
    return (_thing(emoji) or hearts) and plural(emoji.name) is not None


def pairs(emoji: Emoji) -> bool:
    """Whether captions put it beside another."""
    return (_thing(emoji) or emoji.group in _PERSONS) and _sayable(emoji.name)


def placed(emoji: Emoji) -> bool:
    """Whether captions say where it is."""
    return emoji.category not in ("Flags", "Symbols") and _sayable(emoji.name)


def spoken(emoji: Emoji, vocabulary: Container[str]) -> list[str]:
    """The name, and the synonyms that are plain words: "apple" of a red apple, not "tada" of a party popper."""
    return [emoji.name, *(o for o in emoji.others if _sayable(o) and all(w in vocabulary for w in o.split()))]


def _thing(emoji: Emoji) -> bool:
    return emoji.category in _THINGS and not emoji.group.startswith(_NOT_THINGS)


def _sayable(name: str) -> bool:
    """Whether a name is short and can stand beside another: no side or order of its own."""
    words = name.split()
    return (
        len(words) <= 3
        and re.fullmatch(r"[a-zé' -]+", name) is not None
        and not {
            "and",
            "left",
            "right",
            "above",
            "below",
            "under",
            "facing",
            "with",
            "without",
            "in",
            "at",
            "on",
            "no",
        }
        & set(words)
    )


def plural(name: str) -> str | None:
    """A name in the plural: "slice of pizza" is "slices of pizza". None for what is not counted, or plural already."""
    head, of, rest = name.partition(" of ")
    words = head.split()
    last = words[-1] if words else ""
    if not _sayable(name) or last in _MASS or last.endswith("ing"):
        return None
    if last in _IRREGULAR:
        said = _IRREGULAR[last]
    elif last.endswith("s") and not last.endswith(("ss", "us", "octopus")):
        return None
    elif last.endswith(("s", "x", "ch", "sh", "z")):
        said = last + "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        said = last[:-1] + "ies"
    else:
        said = last + "s"
    return " ".join([*words[:-1], said]) + of + rest


def with_article(name: str) -> str:
    """ "a car", "an owl"; "a unicorn" by its sound."""
    return f"{'an' if name[0] in 'aeiou' and not name.startswith('uni') else 'a'} {name}"


def in_style(text: str, style: str, u: float) -> str:
    """A caption with the word of a style in one of the ways that `u` in [0, 1) picks."""
    words = STYLES.get(style, (style,))
    if u < 0.7:
        return f"{text}, {words[int(u > 0.5) % len(words)]}"
    return f"{words[0]} {text}" if u < 0.85 else f"{text} in {words[0]} style"


def with_style(name: str, style: str) -> str:
    """An id: the name and the first word of the style."""
    return f"{name}, {STYLES.get(style, (style,))[0]}"


def without_style(text: str) -> str:
    """An id less its style."""
    head, comma, word = text.rpartition(", ")
    return head if comma and any(word == words[0] for words in STYLES.values()) else text


def with_keyword(name: str, keywords: Sequence[str], u: float, w: float) -> str:
    """A name and one of its keywords or, as often, two keywords without the name; `u` and `w` in [0, 1) choose."""
    first = int(w * len(keywords))
    if u < 0.5 or len(keywords) < 2:
        return f"{name}, {keywords[first]}"
    second = (first + 1 + int((u - 0.5) * 2 * (len(keywords) - 1))) % len(keywords)
    return f"{keywords[first]}, {keywords[second]}"


def look_up(known: Mapping[str, int], name: str) -> int | None:
    """What an id calls a thing, in `known`: less its style, its place and its count."""
    name = without_style(name)
    if name in known:
        return known[name]
    for _, _, where in PLACES.values():
        name = name.removesuffix(f" {where}")
    number, _, rest = name.partition(" ")
    return known.get(rest if number in COUNTS else name)
