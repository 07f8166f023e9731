"""Autoencoding: training helps, both networks resume exactly, and the critic and losses point to the real."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.datasets import Item
from multigen.errors import RecipeError
from multigen.modalities.image import Image
from multigen.recipe.schema import Train
from multigen.registry import Part
from multigen.training.autoencoding import Autoencoding
from multigen.training.coding import build_critic
from multigen.training.critics import Patches
from multigen.training.trainer import Trainer
from tests.codecs.vaes import MODALITIES, vae
from tests.training.codec_trainings import check_goes_on_exactly

PLAIN = Part("pictures", {"perceptual": 0})


class Shapes:
    """Discs, pitches or moving discs: 12 media of a modality, 4 held out."""

    classes: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.shape, self.bad = MODALITIES[name].shape(), dict[str, str]()

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Item:
        k = 5 * index % 12
        if len(self.shape) == 2:
            media = 0.5 * torch.sin(0.05 * (k + 2) * torch.arange(self.shape[1]))[None]
        else:
            rows, columns = torch.meshgrid(*(torch.arange(n) for n in self.shape[-2:]), indexing="ij")
            frames = [((rows - k) ** 2 + (columns - 8 - t) ** 2 < 20).float() for t in range(3)]
            tint = torch.tensor([1.0, k / 6 - 1, -0.5])
            media = torch.stack([(2 * f - 1) * tint[:, None, None] for f in frames], 1)
            media = media if len(self.shape) == 4 else media[:, 0]
        return {"media": media, "id": f"{index}"}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[range, range]:
        return range(8), range(8, 12)


def trainer(
    folder: Path, *, name: str = "image", critic: Part | None = None, steps: int = 6, **settings: object
) -> Trainer:
    data, device = Shapes(name), torch.device("cpu")
    torch.manual_seed(0)
    codec, modality = vae(name), MODALITIES[name]
    settings = {"reconstruction": None if name == "audio" else PLAIN, **settings}
    quiet = {"tensorboard": False, "held_out_every": 0, "preview_every": 0, "checkpoint_every": 3}
    train = Train(**{"steps": steps, "batch": 4, "lr": 4e-3, "warmup": 1, **quiet, **settings}, critic=critic)  # type: ignore[arg-type]
    task = Autoencoding(codec=codec, modality=modality, dataset=data, settings=train, seed=0, device=device)
    return Trainer(task=task, dataset=data, settings=train, seed=0, folder=folder, device=device, quiet=True)


def critic(start: float = 0.0, name: str = "patches") -> Part:
    own = {"channels": 4, "layers": 2} if name == "patches" else {"ffts": [128, 64], "channels": 2}
    return Part(name, {**own, "start": start})


@pytest.mark.parametrize(
    ("name", "steps", "keys"),
    [("image", 120, {"psnr", "ssim"}), ("audio", 40, {"psnr", "log-mel"}), ("video", 60, {"psnr", "ssim"})],
)
def test_training_brings_held_out_copies_nearer(
    tmp_path: Path, name: str, steps: int, keys: set[str]
) -> None:
    judge = critic(start=0.7, name="spectrograms" if name == "audio" else "patches")
    t = trainer(tmp_path, name=name, critic=judge, steps=steps, ema_decay=0.9)
    before = t.task.measure()
    t.run()
    with t.ema.applied():
        after = t.task.measure()
    assert set(after) == {*keys, "mean", "seen"}
    assert after["mean"] < 0.8 * before["mean"]
    if name != "audio":
        assert after["psnr"] > before["psnr"] + 3
        assert after["ssim"] > before["ssim"]


def test_both_networks_learn_and_go_on_exactly(tmp_path: Path) -> None:
    check_goes_on_exactly(
        tmp_path,
        lambda folder: trainer(folder, critic=critic()),
        ("model.codec.network.decoder.leave.weight", "critic.judges.0.layers.0.bias"),
    )


def test_a_codec_learns_in_half_precision_with_weights_in_full(tmp_path: Path) -> None:
    t = trainer(tmp_path)
    assert isinstance(t.task, Autoencoding)
    media = torch.stack([Shapes("image")[k]["media"] for k in range(4)])
    full = t.task.copies(media, 0)
    t.task.precision = torch.bfloat16
    half = t.task.copies(media, 0)
    assert half.made.dtype == torch.float32
    assert 0 < (half.made - full.made).abs().max() < 0.1
    assert half.loss.item() == pytest.approx(full.loss.item(), rel=0.05)


def test_copies_are_keyed_by_step_and_place(tmp_path: Path) -> None:
    task = trainer(tmp_path).task
    assert isinstance(task, Autoencoding)
    media = torch.stack([Shapes("image")[k]["media"] for k in range(4)])
    one, same, other = (task.copies(media, step).made for step in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one - other).abs().max() > 1e-3
    torch.testing.assert_close(task.copies(media[:2], 1).made, one[:2], atol=1e-5, rtol=1e-5)


def test_the_divergence_weighs_as_it_is_told(tmp_path: Path) -> None:
    task = trainer(tmp_path).task
    assert isinstance(task, Autoencoding)
    media = torch.stack([Shapes("image")[k]["media"] for k in range(4)])
    divergence = task.codec.posterior(media).divergence().item()
    losses = []
    for kl in (0.0, 1.0):
        task.codec.kl = kl
        losses.append(task.copies(media, 0).loss.item())
    assert losses[1] - losses[0] == pytest.approx(divergence, rel=1e-3)
    assert divergence > 0


@pytest.mark.parametrize("name", ["image", "video"])
def test_the_critic_learns_to_tell_and_its_lesson_points_to_the_real(name: str) -> None:
    torch.manual_seed(1)
    judge = build_critic(critic(), MODALITIES[name])
    assert isinstance(judge, Patches)
    optimizer = torch.optim.Adam(judge.parameters(), 4e-3)
    real = torch.stack([Shapes(name)[k]["media"] for k in range(8)])
    made = real + 0.2 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(60):
        optimizer.zero_grad()
        judge.loss(real, made).backward()
        optimizer.step()
    assert judge.loss(real, made) < 1.0  # 2 at the start, 0 where all is told
    with torch.no_grad():
        assert judge.teach(real, real) < judge.teach(real, made)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"train.critic.name: 'spectrograms'.*Allowed: patches, null"):
        build_critic(critic(name="spectrograms"), Image(size=16))
    with pytest.raises(RecipeError, match=r"train.critic.name: 'patches'.*Allowed: spectrograms, null"):
        build_critic(critic(), MODALITIES["audio"])
    with pytest.raises(RecipeError, match="train.accumulate: 2 is not allowed for a codec"):
        trainer(tmp_path, accumulate=2)
