"""The folder of emoji out of archives like the real ones, with drawings made here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.datasets.emoji import Emoji
from multigen.datasets.fetch import emoji as source
from multigen.datasets.fetch import emoji_3d as large
from multigen.datasets.fetch.drawings import fit, iconify, key
from multigen.datasets.fetch.names import named, plain
from multigen.datasets.folder import Folder
from multigen.errors import MultigenError
from multigen.modalities.image import Image
from tests.datasets.test_fetch import archive

GROUPS = {
    "groups": {},
    "subgroups": {"42": "food-fruit", "98": "country-flag", "34": "animal-mammal", "32": "skin"},
}
NAMES = [
    {"label": "red apple", "hexcode": "1F34E", "tags": ["apple", "fruit", "5th"], "order": 3, "group": 4,
     "subgroup": 42},
    {"label": "cat face", "hexcode": "1F431", "tags": ["pet"], "order": 1, "group": 3, "subgroup": 34},
    {"label": "cat", "hexcode": "1F408", "order": 2, "group": 3, "subgroup": 34},
    {"label": "flag: France", "hexcode": "1F1EB-1F1F7", "order": 4, "group": 9, "subgroup": 98},
    {"label": "light skin tone", "hexcode": "1F3FB", "order": 5, "group": 2, "subgroup": 32},
    {"label": "regional indicator A", "hexcode": "1F1E6"},
]  # fmt: skip
SQUARE = '<path fill="{}" d="M{a} {a}H{b}V{b}H{a}z"/>'


def icons(height: int, colour: str, border: int) -> bytes:
    body = SQUARE.format(colour, a=border, b=height - border)
    return json.dumps(
        {
            "icons": {
                "red-apple": {"body": body},
                "cat": {"body": body},
                "spy": {"body": '<image href="file:///etc/passwd"/>'},
            },
            "width": height,
            "height": height,
        }
    ).encode()


CHARS = json.dumps({"1f34e": "red-apple", "1f408": "cat", "1f431": "spy"}).encode()


def webp(colour: tuple[int, int, int], border: int, side: int = 256) -> bytes:
    picture = PillowImage.new("RGBA", (side, side), (0, 0, 0, 0))
    picture.paste((*colour, 255), (border, border, side - border, side - border))
    out = io.BytesIO()
    picture.save(out, "WEBP", lossless=True)
    return out.getvalue()


@pytest.fixture
def archives(tmp_path: Path) -> dict[source.Package, Path]:
    files = {
        source.NAMES: {
            "en/data.json": json.dumps(NAMES).encode(),
            "meta/groups.json": json.dumps(GROUPS).encode(),
        },
        source.NOTO: {"icons.json": icons(128, "#c00", 4), "chars.json": CHARS},
        source.FLAT: {"icons.json": icons(32, "#e00", 2), "chars.json": CHARS},
        source.SOLID: {
            "assets/1f34e.webp": webp((240, 0, 0), 16),
            "assets/1f1eb-1f1f7.webp": webp((0, 0, 240), 16),
            "assets/1f408-fe0f.webp": webp((90, 60, 30), 40),
        },
    }
    out = {}
    for number, (package, content) in enumerate(files.items()):
        out[package] = tmp_path / f"{number}.tgz"
        out[package].write_bytes(archive(content))
    return out


def test_the_folder_is_whole_and_readable(archives: dict[source.Package, Path], tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    folder = tmp_path / "emoji"
    folder.mkdir()
    source.build(archives, folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert [e["name"] for e in index["emoji"]] == ["cat face", "cat", "red apple", "flag of france"]
    files = {e["name"]: sorted(e["files"]) for e in index["emoji"]}
    assert files["red apple"] == ["3d", "classic", "detailed", "flat"]
    assert files["cat face"] == ["classic"]  # what refers to other files is no drawing
    assert files["flag of france"] == ["classic"]  # that package's flags are another hand's
    assert all((folder / file).is_file() for e in index["emoji"] for file in e["files"].values())
    apple = next(e for e in index["emoji"] if e["name"] == "red apple")
    assert apple["keywords"] == ["fruit"]
    assert "apple" in apple["others"]
    assert apple["hues"]["flat"] == pytest.approx(0, abs=2)
    assert set(index["styles"]) == {"classic", "detailed", "flat", "3d"}
    text = (folder / "LICENCES.txt").read_text(encoding="utf-8")
    assert all(w in text for w in ("CC-BY 4.0", "Apache License", "Microsoft", "Unicode"))
    for style in ("detailed", "flat", "3d"):
        media = Emoji(modality=Image(size=64), styles=(style,), path=str(folder), names=("red apple",))[0][
            "media"
        ]
        assert float(media[0, 32, 32]) > 0.5
        assert float(media[1, 32, 32]) < -0.9
        edge = int((media[1, 32] < 0).nonzero()[0])
        assert 2 <= edge <= 4, style  # the border of each hand is cut: all are as large


def test_the_large_ones_are_a_folder_with_captions(
    archives: dict[source.Package, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    large.build(archives, folder)
    data = Folder(modality=Image(size=128), path=str(folder), held_out=0)
    assert [(data[k]["text"], data[k]["id"]) for k in range(len(data))] == [
        ("red apple", "1f34e.webp"),
        ("cat", "1f408.webp"),
    ]  # no flags: they are of another hand
    assert data.classes == ("Animals & Nature", "Food & Drink")
    media = data[0]["media"]
    assert media.shape == (3, 128, 128)
    assert media[:, 0, 0].tolist() == [1, 1, 1] and float(media[0, 64, 64]) > 0.8 > -0.9 > float(
        media[1, 64, 64]
    )
    assert "Microsoft" in (folder / "LICENCES.txt").read_text(encoding="utf-8")
    small = {source.NAMES: archives[source.NAMES], source.SOLID: tmp_path / "small.tgz"}
    small[source.SOLID].write_bytes(archive({"assets/1f408.webp": webp((1, 2, 3), 4, side=64)}))
    with pytest.raises(MultigenError, match=r"1f408\.webp has 64 x 64 pixels, fewer than 256"):
        large.build(small, folder)


def test_names_are_the_annotations(archives: dict[source.Package, Path]) -> None:
    found = named(source.NAMES, archives[source.NAMES])
    assert [(n.codepoints, n.name, n.category, n.group) for n in found] == [
        ("1f431", "cat face", "Animals & Nature", "animal-mammal"),
        ("1f408", "cat", "Animals & Nature", "animal-mammal"),
        ("1f34e", "red apple", "Food & Drink", "food-fruit"),
        ("1f1eb-1f1f7", "flag of france", "Flags", "country-flag"),
    ]
    assert "cat" not in found[0].others  # the name of another


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("keycap: 3", "keycap 3"),
        ("flag: Côte d’Ivoire", "flag of côte d'ivoire"),  # noqa: RUF001
        ("woman: red hair", "woman with red hair"),
        ("man: bald", "bald man"),
        ("person walking: facing right", "person walking facing right"),
        ("family: man, boy", "family of man, boy"),
        ("kiss: woman, man", "kiss, woman, man"),
        ("Japanese “here” button", "japanese here button"),
    ],
)
def test_labels_become_captions(label: str, name: str) -> None:
    assert plain(label) == name


def test_one_spelling_of_code_points() -> None:
    assert {key("00A9-FE0F"), key("a9"), key("00a9")} == {"a9"}
    assert key("1F468-200D-2695-FE0F") == "1f468-200d-2695"


def test_fitting_cuts_the_border_and_nothing_else() -> None:
    picture = PillowImage.new("RGBA", (256, 256), (0, 0, 0, 0))
    picture.paste((200, 10, 10, 255), (16, 16, 240, 240))
    assert np.asarray(fit(picture, 16 / 256, 8))[..., 3].min() > 150
    wide = picture.copy()
    wide.paste((200, 10, 10, 255), (0, 100, 256, 150))  # reaches the edges: nothing may be cut
    alpha = np.asarray(fit(wide, 16 / 256, 8))[..., 3]
    assert alpha[36, 0] > 200
    assert alpha[36, -1] > 200
    assert alpha[0].max() == 0
    small = PillowImage.new("RGBA", (256, 256), (0, 0, 0, 0))
    small.paste(
        (200, 10, 10, 255), (100, 100, 156, 156)
    )  # stays small: the border is the hand's, not its own
    area = (np.asarray(fit(small, 16 / 256, 8))[..., 3] > 127).sum()
    assert area == pytest.approx((56 * 72 / 224) ** 2, rel=0.2)
    tall = PillowImage.new("RGBA", (100, 256), (10, 10, 200, 255))
    alpha = np.asarray(fit(tall, 0.0, 8))[..., 3]
    assert alpha[:, 36].min() == 255
    assert alpha[:, 5].max() == 0
    rounded = np.asarray(fit(picture, 16 / 256, 6))
    assert abs(int(rounded[36, 36, 0]) - 200) <= 2
    assert set(rounded[36, :, 0] % 4) == {0}


def test_packages_that_are_no_icons(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(archive({"icons.json": b"{}"}))
    with pytest.raises(MultigenError, match=r"icons.json and chars.json are not both there"):
        list(iconify(source.NOTO, path))
    with pytest.raises(MultigenError, match="are not both there"):
        named(source.NAMES, path)


def test_every_package_is_pinned() -> None:
    for package in source.PACKAGES:
        assert len(package.sha512) == 88
        assert package.size < 64e6
        assert package.licence


def test_the_large_folder_holds_finer_drawings(archives: dict[source.Package, Path], tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    folder = tmp_path / "emoji_large"
    folder.mkdir()
    source.build_large(archives, folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert index["side"] == 222 and set(index["styles"]) == {"detailed", "flat", "3d"}
    assert not (folder / "classic").exists()  # Twemoji's have 72 pixels
    with PillowImage.open(folder / "flat" / "1f34e.webp") as picture:
        assert picture.size == (222, 222)
    common = {"styles": ("flat",), "path": str(folder), "names": ("red apple",)}
    small, large = (Emoji(modality=Image(size=side), **common)[0]["media"] for side in (64, 256))  # pyright: ignore[reportArgumentType]
    assert large.shape == (3, 256, 256)
    assert torch.nn.functional.avg_pool2d(large, 4).sub(small).abs().mean() < 0.05  # the same, as large
    # An edge is as wide as a pixel: it is not an enlarged one.
    row = large[1, 128]
    assert int(((row > -0.8) & (row < 0.8)).sum()) <= 6
    with pytest.raises(ValueError, match="large: true is not allowed without styles"):
        Emoji(modality=Image(size=256), large=True)
    with pytest.raises(MultigenError, match="get it with: multigen datasets fetch emoji_large"):
        Emoji(modality=Image(size=256), large=True, styles=("flat",))


@pytest.mark.parametrize("side", [70, 4000, "many"])
def test_an_index_of_a_strange_side_is_refused(
    side: object, archives: dict[source.Package, Path], tmp_path: Path
) -> None:
    (tmp_path / "index.json").write_text(
        json.dumps({"format": 1, "side": side, "styles": {"flat": {}}, "emoji": []})
    )
    with pytest.raises(MultigenError, match="is no index of emoji"):
        Emoji(modality=Image(size=64), styles=("flat",), path=str(tmp_path))
