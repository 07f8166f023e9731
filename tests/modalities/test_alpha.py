"""Alpha: premultiplied where pictures are averaged, resized and learned, and kept from the file to the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.cascades.resample import enlarged, reduced
from multigen.codecs.pixels import Pixels
from multigen.datasets.augment import Augment
from multigen.generation.request import EditRequest
from multigen.modalities.alpha import premultiplied, straight
from multigen.modalities.image import Image
from tests.model.test_model import SMALL, small


def disc(side: int, hidden: tuple[int, int, int] = (0, 255, 0)) -> Tensor:
    """A red disc with a soft edge; under what is clear lies another colour, which nobody sees."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = np.clip(side * 0.35 - np.hypot(x, y) + 0.5, 0, 1)
    levels = np.zeros((side, side, 4))
    levels[..., :3] = np.where(alpha[..., None] > 0, (255, 0, 0), hidden)
    levels[..., 3] = alpha * 255
    return torch.from_numpy(levels).float().movedim(-1, 0) / 127.5 - 1


def green(media: Tensor) -> float:
    """The most green that shows anywhere on black, 0 to 1."""
    return float(((media[1] + 1) / 2 * (media[3] + 1) / 2).max())


def test_there_and_back() -> None:
    media = torch.rand(2, 4, 5, 6) * 2 - 1
    media[:, 3] = media[:, 3].clamp(-0.8, 1)
    torch.testing.assert_close(straight(premultiplied(media, 1), 1), media, rtol=0, atol=1e-5)
    clear = disc(8)
    assert float(premultiplied(clear)[:, 0, 0].max()) == -1  # no light at all
    back = straight(premultiplied(clear))
    assert float(back[3, 0, 0]) == -1 and back[:3, 0, 0].tolist() == pytest.approx([1, -1, -1], abs=1e-5)


@pytest.mark.parametrize("side", [16, 24, 96])
def test_nothing_hidden_bleeds_into_edges(side: int) -> None:
    """Enlarged and reduced, by training's reader, by edits' views and by cascades."""
    media = disc(48)
    assert green(media) < 0.01
    made = Image(size=side, channels=4).fit(media, (4, side, side))
    assert made.shape == (4, side, side) and green(made) < 0.01
    assert float(made[3].amax()) > 0.99 and float(made[3].amin()) < -0.99
    if side == 96:
        assert green(enlarged(media[None], (96, 96))[0]) < 0.01
    else:
        assert green(reduced(media[None], (48 // side,) * 2)[0]) < 0.01


@pytest.mark.parametrize("unshuffle", [1, 2])
def test_the_codec_learns_what_shows(unshuffle: int) -> None:
    """Two pictures that look the same are the same to the network."""
    codec = Pixels(unshuffle=unshuffle)
    one, other = disc(16, (0, 255, 0))[None], disc(16, (7, 8, 9))[None]
    assert torch.equal(codec.encode(one), codec.encode(other))
    made = codec.decode(codec.encode(one))
    torch.testing.assert_close(premultiplied(made, 1), premultiplied(one, 1), rtol=0, atol=1e-5)


def test_sounds_of_four_channels_have_no_alpha() -> None:
    sound = torch.randn(1, 4, 64)
    assert torch.equal(Pixels().encode(sound), sound)


def test_augmentation_leaves_alpha_alone() -> None:
    media = disc(16)
    augment = Augment(flip=True, hue=90, brightness=0.5, contrast=0.5)
    augment.check(("flip", "hue", "brightness", "contrast"), 4, "image")
    for seed in range(4):
        made = augment.change_picture(media, torch.Generator().manual_seed(seed))
        assert torch.equal(made[3], media[3]) and not torch.equal(made[:3], media[:3])


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_samples_and_edits_keep_alpha_in_files(suffix: str, tmp_path: Path) -> None:
    model = small(
        "image_latent",
        [*(o for o in SMALL["image_latent"] if not o.startswith("codec")), "codec={name: pixels, unshuffle: 2}",
         "modality.channels=4"],
    )  # fmt: skip
    (made,) = model.generate(seed=1, steps=2)
    assert made.tensor.shape == (4, 32, 32)
    made.save(tmp_path / f"a{suffix}")
    with PillowImage.open(tmp_path / f"a{suffix}") as file:
        assert file.mode == "RGBA"
        alpha = np.asarray(file)[..., 3]
    assert alpha.std() > 5
    Image(channels=4).write(disc(48), tmp_path / "sprite.png")
    keep = torch.ones(48, 48, dtype=torch.bool)
    keep[:20] = False
    (edited,) = model.edit(tmp_path / "sprite.png", keep=keep, feather=0, steps=2)
    edited.save(tmp_path / "b.png")
    before, after = (np.asarray(PillowImage.open(tmp_path / name)) for name in ("sprite.png", "b.png"))
    assert after.shape == (48, 48, 4) and np.array_equal(before[20:], after[20:])
    assert not np.array_equal(before[:20, :, 3], after[:20, :, 3])  # its alpha is made, too


def test_an_edit_by_a_model_without_alpha_keeps_the_files(tmp_path: Path) -> None:
    model = small("image_digits")
    Image(channels=4).write(disc(28), tmp_path / "sprite.png")
    (edited,) = model.batcher([_varied(tmp_path / "sprite.png")])
    assert torch.equal(edited[1].tensor[3], Image(channels=4).read(tmp_path / "sprite.png")[3])


def _varied(path: Path):
    from multigen.generation.request import Request

    return Request("3", steps=2, edit=EditRequest(path, strength=0.6))
