"""MNIST, CIFAR-10 and CelebA in their exact formats on disk, sound and broken."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen import registry
from multigen.core.noise import stream
from multigen.errors import MediaError, RecipeError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.registry import Part

RNG = np.random.default_rng(0)


def build(name: str, path: Path, modality: Any = None, **args: Any) -> Any:
    given = {"modality": modality or Image(size=28, channels=1)}
    return registry.build("dataset", Part(name, {"path": str(path), **args}), where="data", given=given)


# --- MNIST ----------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def digits(
    folder: Path, n: int, part: str = "train", end: str = "", dot: str = "-"
) -> tuple[np.ndarray, np.ndarray]:
    images = RNG.integers(0, 256, (n, 28, 28), np.uint8)
    labels = (np.arange(n) % 10).astype(np.uint8)
    put(folder / f"{part}-images{dot}idx3-ubyte{end}", idx(images))
    put(folder / f"{part}-labels{dot}idx1-ubyte{end}", idx(labels))
    return images, labels


@pytest.mark.parametrize(
    ("end", "below", "dot"), [("", "", "-"), (".gz", "", "-"), ("", "MNIST/raw", "-"), (".gz", "raw", ".")]
)
def test_mnist_is_read_to_the_bit(tmp_path: Path, end: str, below: str, dot: str) -> None:
    images, labels = digits(tmp_path / below, 30, end=end, dot=dot)
    tests, _ = digits(tmp_path / below, 10, "t10k", end, dot)
    data = build("mnist", tmp_path)
    assert len(data) == 40
    assert data.classes == tuple("0123456789")
    for i in (0, 13, 29):
        item = data[i]
        assert item["label"] == labels[i]
        assert item["text"] == str(labels[i])
        assert np.array_equal(((item["media"][0] + 1) * 127.5).round().numpy(), images[i])
    assert np.array_equal(((data[33]["media"][0] + 1) * 127.5).round().numpy(), tests[3])
    train, held_out = data.split()
    assert list(train) == list(range(30))
    assert list(held_out) == list(range(30, 40))


def test_mnist_alone_holds_out_a_tenth_and_fits_the_modality(tmp_path: Path) -> None:
    digits(tmp_path, 200)
    data = build("mnist", tmp_path, Image(size=(32, 48), channels=3))
    train, held_out = map(set, data.split())
    assert train | held_out == set(range(200))
    assert not train & held_out
    assert 8 <= len(held_out) <= 36
    assert data[0]["media"].shape == (3, 32, 48)
    assert torch.equal(data[0]["media"][0], data[0]["media"][2])


def test_mnist_takes_other_names_for_its_classes(tmp_path: Path) -> None:
    digits(tmp_path, 20)
    names = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"]
    assert build("mnist", tmp_path, classes=names)[12]["text"] == "Pullover"
    with pytest.raises(RecipeError, match=r"label 9, but data.classes names 3"):
        build("mnist", tmp_path, classes=names[:3])


GOOD = idx(np.zeros((20, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "train-images-idx3-ubyte",
            GOOD[:-1],
            r"train-images-idx3-ubyte: truncated: 15,680 bytes for 20 x 28 x 28",
        ),
        ("train-images-idx3-ubyte", GOOD + b"\0", "longer than its header says"),
        ("train-images-idx3-ubyte", GOOD[:10], "truncated within its header"),
        ("train-images-idx3-ubyte", b"", "starts with nothing"),
        (
            "train-images-idx3-ubyte",
            b"\0\0\x08\x01" + GOOD[4:],
            "starts with 00000801; an idx file of 3 axes",
        ),
        (
            "train-images-idx3-ubyte",
            bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 28),
            "which is impossible",
        ),
        ("train-labels-idx1-ubyte", idx(np.zeros(19, np.uint8)), "19 labels for 20 pictures"),
        ("train-labels-idx1-ubyte", idx(np.full(20, 10, np.uint8)), "label 10, but data.classes names 10"),
    ],
)
def test_broken_mnist_is_refused(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    digits(tmp_path, 20)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError, match=text):
        build("mnist", tmp_path)


def test_broken_gz_and_missing_parts_of_mnist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is not an MNIST folder. Looked for: train-images-idx3-ubyte"):
        build("mnist", tmp_path)
    digits(tmp_path, 20, end=".gz")
    images = tmp_path / "train-images-idx3-ubyte.gz"
    content = images.read_bytes()
    images.write_bytes(content[: len(content) // 2])
    with pytest.raises(RecipeError, match=r"train-images-idx3-ubyte.gz: damaged or truncated"):
        build("mnist", tmp_path)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    images.write_bytes(flipped)
    with pytest.raises(RecipeError, match=r"train-images-idx3-ubyte.gz: damaged or truncated"):
        build("mnist", tmp_path)
    images.write_bytes(b"this is no gz file")
    with pytest.raises(RecipeError, match=r"train-images-idx3-ubyte.gz: damaged or truncated"):
        build("mnist", tmp_path)
    images.unlink()
    with pytest.raises(RecipeError, match="labels-idx1-ubyte.gz is there, but no train-images file"):
        build("mnist", tmp_path)


# --- CIFAR-10 -------------------------------------------------------------------------------------------------

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar(folder: Path, n: int = 40, meta: bool = True) -> np.ndarray:
    """Rows [6, n, 3073] as published: label, then the red, green and blue planes."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = RNG.integers(0, 256, (6, n, 3073), np.uint8)
    rows[:, :, 0] = np.arange(n) % 10
    for batch, name in zip(rows, [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"], strict=True):
        (folder / f"{name}.bin").write_bytes(batch.tobytes())
    if meta:
        (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return rows


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar_is_read_to_the_bit(tmp_path: Path, below: str) -> None:
    rows = cifar(tmp_path / below)
    data = build("cifar10", tmp_path, Image(size=32))
    assert len(data) == 240
    assert data.classes == NAMES
    for i in (0, 57, 199, 205):
        row = rows[i // 40, i % 40]
        item = data[i]
        assert item["label"] == row[0]
        assert item["text"] == NAMES[row[0]]
        levels = ((item["media"] + 1) * 127.5).round().to(torch.uint8).numpy()
        assert np.array_equal(levels, row[1:].reshape(3, 32, 32))
    train, held_out = data.split()
    assert (list(train), list(held_out)) == (list(range(200)), list(range(200, 240)))


def test_cifar_flips_where_asked_and_fits_the_modality(tmp_path: Path) -> None:
    cifar(tmp_path, meta=False)
    plain, flipped = (
        build("cifar10", tmp_path, Image(size=32)),
        build("cifar10", tmp_path, Image(size=32), flip=True),
    )
    assert plain.classes == NAMES
    whole = plain[3]["media"]
    assert torch.equal(flipped[3]["media"], whole)
    drawn = [flipped.draw(3, stream(k))["media"] for k in range(40)]
    mirrored = [torch.equal(d, whole.flip(-1)) for d in drawn]
    assert all(m or torch.equal(d, whole) for m, d in zip(mirrored, drawn, strict=True))
    assert 8 < sum(mirrored) < 32
    assert torch.equal(plain.draw(3, stream(0))["media"], whole)
    assert build("cifar10", tmp_path, Image(size=16, channels=1))[0]["media"].shape == (1, 16, 16)


def _cut(folder: Path) -> None:
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-100])


def _lose_rows(folder: Path) -> None:
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[: -3073 * 2])


def _empty(folder: Path) -> None:
    (folder / "data_batch_1.bin").write_bytes(b"")


def _lose(folder: Path) -> None:
    (folder / "data_batch_2.bin").unlink()
    (folder / "data_batch_5.bin").unlink()


def _mislabel(folder: Path) -> None:
    path = folder / "test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])


def _unname(folder: Path) -> None:
    (folder / "batches.meta.txt").write_text("\n")


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (_cut, r"data_batch_3.bin: 122,820 bytes: truncated"),
        (_lose_rows, r"data_batch_3.bin: truncated: 38 pictures; the others have 40"),
        (_empty, r"data_batch_1.bin: 0 bytes: truncated"),
        (_lose, r"lacks data_batch_2.bin, data_batch_5.bin"),
        (_mislabel, r"test_batch.bin: label 10, but there are 10 classes"),
        (_unname, r"batches.meta.txt: names no classes"),
    ],
)
def test_broken_cifar_is_refused(tmp_path: Path, harm: Callable[[Path], None], text: str) -> None:
    cifar(tmp_path)
    harm(tmp_path)
    with pytest.raises(RecipeError, match=text):
        build("cifar10", tmp_path, Image(size=32))


def test_pickled_cifar_is_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for k in range(1, 6):
        (folder / f"data_batch_{k}").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(RecipeError, match=r"pickles.*Take the binary version \(cifar-10-binary.tar.gz"):
        build("cifar10", tmp_path, Image(size=32))
    assert not (tmp_path / "ran").exists()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RecipeError, match=r"is not a CIFAR-10 folder. Looked for: data_batch_1.bin"):
        build("cifar10", tmp_path / "nothing", Image(size=32))


# --- CelebA ---------------------------------------------------------------------------------------------------

ATTRIBUTES = ("Eyeglasses", "Smiling", "Wavy_Hair")


def celeba(folder: Path, n: int = 12, partition: bool = True) -> None:
    """Face k has attribute j where bit j of k is set; its grey level is 20 k. Pictures are 178 x 218."""
    (folder / "img_align_celeba").mkdir(parents=True)
    rows = []
    for k in range(n):
        name = f"{k + 1:06}.jpg"
        PillowImage.new("RGB", (178, 218), (20 * k,) * 3).save(folder / "img_align_celeba" / name)
        rows.append(f"{name}  " + " ".join(" 1" if k >> j & 1 else "-1" for j in range(3)))
    (folder / "list_attr_celeba.txt").write_text(f"{n}\n{' '.join(ATTRIBUTES)} \n" + "\n".join(rows) + "\n")
    if partition:
        parts = [f"{k + 1:06}.jpg {0 if k < 8 else 1 if k < 10 else 2}" for k in range(n)]
        (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")


@pytest.mark.parametrize("below", ["", "celeba"])
def test_celeba_pictures_captions_and_parts(tmp_path: Path, below: str) -> None:
    celeba(tmp_path / below)
    data = build("celeba", tmp_path, Image(size=32))
    assert len(data) == 12
    assert data.classes == ()
    assert data[7]["media"].shape == (3, 32, 32)
    assert data[7]["media"].mean().item() == pytest.approx(140 / 127.5 - 1, abs=0.02)
    assert data[7]["text"] == "eyeglasses, smiling, wavy hair"
    assert data[4]["text"] == "wavy hair"
    assert data[0]["text"] == ""
    assert "label" not in data[0]
    train, held_out = data.split()
    assert (list(train), list(held_out)) == (list(range(8)), [8, 9])


def test_celeba_attribute_as_label(tmp_path: Path) -> None:
    celeba(tmp_path, partition=False)
    data = build("celeba", tmp_path, Image(size=16), label="Wavy_Hair", flip=True)
    assert data.classes == ("not wavy hair", "wavy hair")
    assert [data.draw(k, stream(k))["label"] for k in range(12)] == [k >> 2 & 1 for k in range(12)]
    train, held_out = data.split()
    assert sorted([*train, *held_out]) == list(range(12))
    assert held_out
    with pytest.raises(
        RecipeError, match=r"data.label: 'Wavy_Hiar' is not allowed.*Did you mean 'Wavy_Hair'\?"
    ):
        build("celeba", tmp_path, Image(size=16), label="Wavy_Hiar")


def test_celeba_names_missing_and_broken_pictures(tmp_path: Path) -> None:
    celeba(tmp_path)
    gone = tmp_path / "img_align_celeba" / "000003.jpg"
    gone.unlink()
    broken = tmp_path / "img_align_celeba" / "000005.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    data = build("celeba", tmp_path, Image(size=16))
    assert len(data) == 11
    assert list(data.bad) == [str(gone)]
    assert "no such file" in data.bad[str(gone)]
    assert (list(data.split()[0]), list(data.split()[1])) == (list(range(7)), [7, 8])
    with pytest.raises(MediaError, match=r"000005.jpg"):
        data[3]


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return harm


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (
            _edit("list_attr_celeba.txt", "12\n", "13\n"),
            r"list_attr_celeba.txt: truncated: 12 rows; its first line says 13",
        ),
        (_edit("list_attr_celeba.txt", "12\n", ""), "line 1 must be the number of pictures"),
        (
            _edit("list_attr_celeba.txt", "000002.jpg   1", "000002.jpg  "),
            r"line 4: not a file name and 3 values",
        ),
        (
            _edit("list_attr_celeba.txt", "000002.jpg   1", "000002.jpg   2"),
            r"line 4: not a file name and 3 values",
        ),
        (_edit("list_attr_celeba.txt", "000002.jpg", "../2.jpg"), r"line 4: '../2.jpg' is not allowed"),
        (_edit("list_eval_partition.txt", "000002.jpg 0\n", ""), "truncated: 000002.jpg is not in it"),
        (
            _edit("list_eval_partition.txt", "000002.jpg 0", "000002.jpg 3"),
            "line 2: not a file name and 0, 1 or 2",
        ),
        (lambda folder: (folder / "list_attr_celeba.txt").unlink(), "is not a CelebA folder"),
        (lambda folder: (folder / "img_align_celeba").rename(folder / "x"), "is not a CelebA folder"),
    ],
)
def test_broken_celeba_lists_are_refused(tmp_path: Path, harm: Callable[[Path], Any], text: str) -> None:
    celeba(tmp_path)
    harm(tmp_path)
    with pytest.raises(RecipeError, match=text):
        build("celeba", tmp_path, Image(size=16))


# --- all of them ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "cifar10", "celeba"])
def test_a_path_is_needed_and_the_modality_must_be_pictures(tmp_path: Path, name: str) -> None:
    given = {"modality": Image(size=28)}
    with pytest.raises(RecipeError, match=r"data.path: say where your files are"):
        registry.build("dataset", Part(name), where="data", given=given)
    digits(tmp_path, 20)
    cifar(tmp_path)
    celeba(tmp_path)
    with pytest.raises(RecipeError, match=f"{name} holds pictures; set modality.name=image instead of audio"):
        build(name, tmp_path, Audio())
