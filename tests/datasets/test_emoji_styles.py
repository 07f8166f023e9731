"""Emoji of a folder, in several styles: what is drawn is what the caption says, and what is held out is never drawn."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets.colours import HUES, hue_of
from multigen.datasets.emoji import Emoji
from multigen.datasets.emoji_items import held_pair
from multigen.errors import MediaError, MultigenError
from multigen.evaluation.sets import pools_of
from multigen.modalities.image import Image

FOLDER = Path(__file__).with_name("emoji")
STYLES = ("classic", "detailed", "flat", "3d")
WORDS = {"classic": "classic", "twemoji": "classic", "detailed": "detailed", "noto": "detailed", "flat": "flat",
         "3D": "3d"}  # fmt: skip


def emoji(
    *,
    names: tuple[str, ...] | None = None,
    styles: tuple[str, ...] = STYLES,
    path: Path = FOLDER,
    recolour: bool = False,
    recoloured: float = 0.5,
    unstyled: float = 0.0,
    keywords: float = 0.0,
    several: float = 0.0,
    placed: float = 0.0,
    pairs: float = 0.0,
    held_out: float = 0.0,
    augment: bool = True,
    channels: int = 3,
) -> Emoji:
    return Emoji(
        modality=Image(size=64, channels=channels),
        names=names,
        styles=styles,
        path=str(path),
        recolour=recolour,
        recoloured=recoloured,
        unstyled=unstyled,
        keywords=keywords,
        several=several,
        placed=placed,
        pairs=pairs,
        held_out=held_out,
        augment=augment,
    )


def ink(media: Tensor) -> Tensor:
    """Where a picture is not white [H, W]."""
    return media[:3].amin(0) < 0.8


def blobs(mask: Tensor, least: int = 12) -> int:
    """How many connected parts of at least so many pixels there are, counted by filling each from its first pixel."""
    left, count = {(int(y), int(x)) for y, x in mask.nonzero()}, 0
    while left:
        todo, size = [left.pop()], 0
        while todo:
            y, x = todo.pop()
            size += 1
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        count += size >= least
    return count


# --- items --------------------------------------------------------------------------------------------------------


def test_an_item_for_each_emoji_and_style() -> None:
    data = emoji()
    texts = [data[i].get("text") for i in range(len(data))]
    assert len(set(texts)) == len(texts)
    for word in ("classic", "detailed", "flat", "3D"):
        assert f"red apple, {word}" in texts
    assert [t for t in texts if t and t.startswith("flag of france")] == ["flag of france, classic"]
    assert Counter(t.rpartition(", ")[0] for t in texts if t)["pizza"] == 4
    assert data[0]["id"] == data[0].get("text")
    apple = texts.index("red apple, 3D")
    assert data.classes[data[apple].get("label", -1)] == "Food & Drink"
    with pytest.raises(IndexError):
        data[len(data)]


def test_one_style_alone_and_its_order() -> None:
    data = emoji(styles=("3d",), names=("pizza", "dog"))
    assert [data[i].get("text") for i in range(len(data))] == ["pizza, 3D", "dog, 3D"]
    with pytest.raises(MultigenError, match="there is no emoji named 'flag of france'"):
        emoji(styles=("3d",), names=("flag of france",))  # drawn in no other style than classic


def test_styles_differ_and_nothing_is_cut() -> None:
    data = emoji(names=("red apple", "grinning face"))
    own = [data[i]["media"] for i in range(4)]
    assert all(float((a - b).abs().mean()) > 0.02 for k, a in enumerate(own) for b in own[:k])
    for i in range(len(data)):
        for seed in range(30):
            media = data.draw(i, stream(seed, i))["media"]
            edge = torch.cat([media[:, 0], media[:, -1], media[:, :, 0], media[:, :, -1]], 1)
            assert float(edge.min()) > 0.2, (i, seed)


def test_alpha_is_kept() -> None:
    item = emoji(names=("red heart",), channels=4)[0]["media"]
    assert item.shape == (4, 64, 64)
    assert float(item[3, 0, 0]) == -1
    assert float(item[3, 32, 32]) == 1


# --- captions -----------------------------------------------------------------------------------------------------


def test_draws_are_keyed_and_say_the_style() -> None:
    data = emoji(names=("rocket",))
    said = set()
    for seed in range(240):
        index = seed % len(data)
        one, other = (data.draw(index, stream(seed)) for _ in range(2))
        assert torch.equal(one["media"], other["media"])
        assert one.get("text") == other.get("text")
        text = one.get("text") or ""
        words = [w for w in WORDS if w in text.replace(",", "").split()]
        assert {WORDS[w] for w in words} == {STYLES[index]}, text
        assert one["id"] == data[index]["id"]
        said.add(text)
    assert {"rocket, 3D", "3D rocket", "rocket in 3D style", "rocket, 3D render", "rocket, noto"} <= said


def test_unstyled_captions_are_as_many_as_asked_for() -> None:
    data = emoji(names=("rocket", "dog"), unstyled=0.4)
    items = [data.draw(k % len(data), stream(k)) for k in range(400)]
    plain = [i for i in items if i["id"] in ("rocket", "dog")]
    assert len(plain) / len(items) == pytest.approx(0.4, abs=0.08)
    assert not any(w in (i.get("text") or "") for i in plain for w in ("3D", "flat", "classic", "detailed"))


def test_keywords_come_out_of_the_annotations() -> None:
    data = emoji(names=("red apple",), styles=("flat",), keywords=1.0)
    known = set(data.emoji[0].keywords)
    assert "fruit" in known
    for seed in range(40):
        text = (data.draw(0, stream(seed)).get("text") or "").replace(" in flat style", "")
        words = {p.removeprefix("flat ") for p in text.removesuffix(", flat design").split(", ")} - {"flat"}
        assert words & known, text
        assert words <= known | set(data.emoji[0].names), text


@pytest.mark.parametrize("style", STYLES)
def test_counts_are_drawn_as_said(style: str) -> None:
    data = emoji(names=("red heart", "lemon"), styles=(style,), several=1.0, unstyled=1.0)
    seen = Counter()
    for seed in range(60):
        item = data.draw(seed % 2, stream(seed, style))
        number = item["id"].split()[0]
        count = ("one", "two", "three").index(number) + 1
        assert blobs(ink(item["media"])) == count, item.get("text")
        assert (item.get("text") or "").split()[0] in (number, str(count))
        assert item["id"].endswith(("heart", "lemon") if count == 1 else ("hearts", "lemons"))
        seen[count] += 1
    assert min(seen[k] for k in (1, 2, 3)) >= 8


def test_places_are_where_they_are_said() -> None:
    data = emoji(names=("lemon",), styles=("flat",), placed=1.0, unstyled=1.0)
    seen = set()
    for seed in range(60):
        item = data.draw(0, stream(seed))
        y, x = ink(item["media"]).nonzero().float().mean(0).tolist()
        text = item.get("text") or ""
        assert (x < 26, x > 38) == ("left" in text, "right" in text), text
        assert (y < 26, y > 38) == ("top" in text, "bottom" in text), text
        seen.add(item["id"].removeprefix("lemon "))
    assert len(seen) == 8


def test_pairs_stand_in_the_order_that_they_are_said() -> None:
    data = emoji(names=("red apple", "lemon"), styles=("flat",), pairs=1.0, unstyled=1.0)
    ways = set()
    for seed in range(60):
        item = data.draw(seed % 2, stream(seed))
        first, rest = ("red apple", "lemon") if item["id"].startswith("red") else ("lemon", "red apple")
        assert item["id"] in (f"{first} and {rest}", f"{first} above {rest}")
        media = item["media"] if " and " in item["id"] else item["media"].transpose(1, 2)
        hues = [hue_of(media[:, :, :32]), hue_of(media[:, :, 32:])]
        assert all(h is not None for h in hues)
        red = [abs((h - 0 + 180) % 360 - 180) < 25 for h in hues if h is not None]
        assert red == [first == "red apple", rest == "red apple"], item.get("text")
        ways.add((item.get("text") or "").replace("red apple", "a").replace("lemon", "b"))
    assert {"a and b", "a next to b", "a above b", "b below a", "a on the left and b on the right"} <= ways


# --- colours ------------------------------------------------------------------------------------------------------


def test_recoloured_things_have_the_hue_that_is_said() -> None:
    data = emoji(names=("red apple", "automobile", "pizza", "rocket"), recolour=True, recoloured=1.0)
    right, seen = [], set()
    for seed in range(160):
        item = data.draw(seed % len(data), stream(seed))
        colour = next((w for w in item["id"].split() if w in HUES), None)
        if colour is None or item["id"].startswith("red apple"):
            continue
        hue = hue_of(item["media"])
        assert hue is not None, item["id"]
        right.append(abs((hue - HUES[colour] + 180) % 360 - 180) <= 30)
        seen.add(colour)
        assert colour in (item.get("text") or "")
    assert seen == set(HUES)
    assert sum(right) / len(right) >= 0.95


def test_the_body_turns_and_the_rest_stays() -> None:
    """A blue strawberry has green leaves."""
    data = emoji(names=("strawberry",), styles=("flat",), recolour=True, recoloured=1.0, augment=False)
    plain = data[0]["media"]
    blue = next(
        i["media"] for i in (data.draw(0, stream(s)) for s in range(99)) if i["id"].startswith("blue")
    )
    leaves = (plain[1] > plain[0] + 0.3) & (plain[1] > plain[2] + 0.3)
    body = (plain[0] > plain[1] + 0.8) & (plain[0] > plain[2] + 0.8)
    assert int(leaves.sum()) > 50
    assert int(body.sum()) > 500
    assert float((blue - plain)[:, leaves].abs().mean()) < 0.05
    assert float((blue[2] - blue[0])[body].mean()) > 0.5


def test_people_and_flags_keep_their_colours() -> None:
    data = emoji(names=("mage", "flag of france"), recolour=True, recoloured=1.0)
    ids = {data.draw(i, stream(s))["id"] for i in range(len(data)) for s in range(10)}
    assert not {w for i in ids for w in i.split()} & set(HUES)


# --- what is held out ---------------------------------------------------------------------------------------------


def test_combinations_are_held_out_and_their_parts_are_not() -> None:
    data = emoji(recolour=True, pairs=0.4, several=0.3, placed=0.2, held_out=0.2)
    train, new = data.split()
    assert sorted([*train, *new]) == list(range(len(data)))
    assert sorted(i for some in data.held_kinds().values() for i in some) == list(new)
    assert set(data.held_kinds()) == {"style", "colour", "pair"}
    names = {e.name for e in data.emoji}
    styles = {data[i]["id"] for i in data.held_kinds()["style"]}
    trained = {data[i]["id"] for i in train}
    assert not styles & trained
    assert {t.rpartition(", ")[0] for t in trained} == names
    assert {t.rpartition(", ")[2] for t in trained} == {"classic", "detailed", "flat", "3D"}


def test_held_out_combinations_are_never_drawn_in_training() -> None:
    data = emoji(recolour=True, pairs=0.3, several=0.2, placed=0.2, held_out=0.2, unstyled=0.0)
    train, _ = data.split()
    styles = {data[i]["id"] for i in data.held_kinds()["style"]}
    colours = {data[i]["id"].rpartition(", ")[0] for i in data.held_kinds()["colour"]}
    singular = {e.name for e in data.emoji}
    pairs = 0
    for i in train:
        for seed in range(60):
            shown, _, style = data.draw(i, stream(seed, i))["id"].rpartition(", ")
            parts = [p for how in (" and ", " above ") if how in shown for p in shown.split(how)] or [shown]
            if len(parts) == 2:
                pairs += 1
                assert not held_pair(parts[0], parts[1], 0.2), shown
            for part in parts:
                name = next((n for n in singular if part.startswith(n)), None)
                if name is not None:
                    assert f"{name}, {style}" not in styles, shown
                assert not any(part.endswith(c) or part.startswith(c) for c in colours), shown
    assert pairs > 50


def test_held_out_items_say_and_show_what_they_are() -> None:
    data = emoji(recolour=True, pairs=0.3, held_out=0.2, unstyled=0.5)
    kinds = data.held_kinds()
    for i in kinds["style"]:
        style = data[i]["id"].rpartition(", ")[2]
        assert all(data.draw(i, stream(s))["id"] == data[i]["id"] for s in range(5))
        assert style.lower() in (data.draw(i, stream(0)).get("text") or "").lower().replace(
            "twemoji", "classic"
        ).replace("noto", "detailed")
    for i in kinds["colour"]:
        shown = data[i]["id"].rpartition(", ")[0]
        drawn = {data.draw(i, stream(s))["id"] for s in range(20)}
        assert all(d == shown or d.startswith(f"{shown}, ") for d in drawn)
        assert shown in drawn
    for i in kinds["pair"]:
        one, other = data[i]["id"].rpartition(", ")[0].split(" and ")
        assert held_pair(one, other, 0.2)


def test_nothing_is_held_out_of_none() -> None:
    data = emoji(recolour=True, pairs=0.3)
    assert data.held_kinds() == {}
    assert list(data.split()[1]) == []


def test_the_evaluator_measures_each_kind() -> None:
    data = emoji(recolour=True, pairs=0.3, held_out=0.2)
    found = pools_of(data)
    assert [p.name for p in found] == ["seen", "new style", "new colour", "new pair"]
    assert [p.name for p in pools_of(emoji(held_out=0.2))] == ["seen", "new"]


def test_the_catalogue_finds_what_ids_say() -> None:
    data = emoji(recolour=True, pairs=0.3, several=0.2, placed=0.1, held_out=0.2)
    catalogue = data.catalogue()
    apple = catalogue.names.index("red apple")
    for name in ("red apple", "red apple, 3D", "two red apples, flat", "red apple in the top left corner, classic",
                 "blue apple", "three blue apples, 3D", "one red apple"):  # fmt: skip
        assert catalogue.find(name) == apple, name
    assert catalogue.find("green apple") == catalogue.names.index("green apple")  # an emoji of its own
    assert catalogue.find("bicycle") is None
    assert len(catalogue.pictures(apple)) == 4 + 2  # each style, and two colours
    for i in data.split()[1]:
        for seed in range(4):
            thing = catalogue.find(data.draw(i, stream(seed))["id"])
            assert thing is not None
            assert all(p.shape == (3, 64, 64) for p in catalogue.pictures(thing))
    pair = data[data.held_kinds()["pair"][0]]["id"].rpartition(", ")[0]
    assert catalogue.names[catalogue.find(pair) or 0] == pair


# --- the folder ---------------------------------------------------------------------------------------------------


def test_the_folder_needs_no_other_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert emoji(names=("rocket",))[0]["media"].shape == (3, 64, 64)


def test_a_folder_in_the_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    with pytest.raises(MultigenError, match="get it with: multigen datasets fetch emoji"):
        Emoji(modality=Image(size=64), styles=STYLES)
    shutil.copytree(FOLDER, tmp_path / "datasets" / "emoji")
    assert len(Emoji(modality=Image(size=64), styles=STYLES)) == len(emoji())


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match=r"data.styles: '3D' is not allowed.*Did you mean '3d'"):
        emoji(styles=("3D",))
    with pytest.raises(MultigenError, match="there is no emoji folder at"):
        emoji(path=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"several \+ placed \+ pairs: 1.2 is more than 1"):
        emoji(several=0.4, placed=0.4, pairs=0.4)
    with pytest.raises(ValueError, match=r"unstyled: 2.* is not allowed"):
        emoji(unstyled=2.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda index: index.update(format=2), "no index of emoji of format 1"),
        (lambda index: index.pop("styles"), "is no index of emoji"),
        (lambda index: index["emoji"][0].pop("name"), "is no index of emoji"),
        (lambda index: index["emoji"][0]["files"].update(flat="../../secret.png"), "is no index of emoji"),
        (lambda index: index["emoji"][0]["files"].update(flat="/etc/secret.png"), "is no index of emoji"),
    ],
)
def test_an_index_that_is_none(tmp_path: Path, change: object, says: str) -> None:
    folder = tmp_path / "emoji"
    shutil.copytree(FOLDER, folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert callable(change)
    change(index)
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(MultigenError, match=says):
        emoji(path=folder)
    (folder / "index.json").write_text("{", encoding="utf-8")
    with pytest.raises(MultigenError, match="cannot be read"):
        emoji(path=folder)


def test_pictures_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "emoji"
    shutil.copytree(FOLDER, folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    file = folder / next(e for e in index["emoji"] if e["name"] == "rocket")["files"]["flat"]
    PillowImage.new("RGBA", (600, 600)).save(file, "WEBP")
    data = emoji(path=folder, names=("rocket",), styles=("flat",))
    with pytest.raises(MediaError, match="600 x 600 pixels"):
        data.draw(0, stream(0))
    file.write_bytes(b"RIFF")
    with pytest.raises(MediaError, match="cannot be read as a picture"):
        emoji(path=folder, names=("rocket",), styles=("flat",))[0]
