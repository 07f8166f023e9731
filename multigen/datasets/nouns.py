"""English nouns of captions: plurals, articles, and which names can stand beside others."""

from __future__ import annotations

import re

# Not counted, or never said in the plural.
_MASS = {
    "rice", "bread", "bacon", "butter", "garlic", "sushi", "spaghetti", "broccoli", "ice", "sake", "food", "salt",
    "ginger", "wood", "money", "music", "luggage", "paper", "bamboo", "coral", "hockey", "lacrosse", "hurdle",
    "luge", "karate", "clothing", "fuji", "liberty", "hut", "corn", "cricket", "ping", "pong", "golf", "game",
    "construction", "dna", "badminton", "foggy", "oden", "popcorn", "thread", "yarn", "metro", "rail", "die",
    "soap", "sunrise", "sunset", "cityscape", "custard", "reminder",
}  # fmt: skip
_IRREGULAR = {
    "man": "men", "woman": "women", "person": "people", "child": "children", "mouse": "mice", "goose": "geese",
    "fish": "fish", "blowfish": "blowfish", "jellyfish": "jellyfish", "sheep": "sheep", "deer": "deer",
    "bison": "bison", "moose": "moose", "knife": "knives", "leaf": "leaves", "wolf": "wolves", "loaf": "loaves",
    "scarf": "scarves", "sheaf": "sheaves", "foot": "feet", "tooth": "teeth", "ox": "oxen", "tomato": "tomatoes",
    "potato": "potatoes", "mango": "mangoes", "volcano": "volcanoes", "mosquito": "mosquitoes",
}  # fmt: skip
# Words of place and order of a name's own, which would be read as the caption's.
_ORDERING = {
    "and", "left", "right", "above", "below", "under", "facing", "with", "without", "in", "at", "on", "no",
}  # fmt: skip


def sayable(name: str) -> bool:
    """Whether a name is short and of plain words: it can be counted, placed, and stand beside another."""
    words = name.split()
    plain = re.fullmatch(r"[a-zé' -]+", name) is not None
    return plain and len(words) <= 3 and not _ORDERING & set(words)


def plural(name: str) -> str | None:
    """A name in the plural: "slice of pizza" is "slices of pizza". None for what is not counted, or plural already."""
    head, of, rest = name.partition(" of ")
    *before, last = head.split() or [""]
    if not sayable(name) or last in _MASS or last.endswith("ing"):
        return None
    if last in _IRREGULAR:
        said = _IRREGULAR[last]
    elif last.endswith("s") and not last.endswith(("ss", "us")):
        return None
    elif last.endswith(("s", "x", "ch", "sh", "z")):
        said = last + "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        said = last[:-1] + "ies"
    else:
        said = last + "s"
    return " ".join([*before, said]) + of + rest


def with_article(name: str) -> str:
    """ "a car", "an owl"; "a unicorn" by its sound."""
    return f"{'an' if name[0] in 'aeiou' and not name.startswith('uni') else 'a'} {name}"
