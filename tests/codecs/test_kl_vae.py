"""The KL-VAE: one set of layers for three kinds of media, latents of unit variance, weights that travel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import multigen
from multigen.codecs.kl_vae import KLVAE
from multigen.codecs.trained_vae import Layout, Posterior
from multigen.errors import MultigenError, RecipeError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.model.autoencoders import load_vae
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.runs.initial import initialize
from tests.codecs.vaes import MODALITIES, SOUND, TINY, saved_vae, vae

LATENT = ["backbone.widths=[8,16]", "backbone.attention=[false,false]", "conditioner.name=none"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_vae(tmp_path_factory.mktemp("vae"))


def media(name: str, n: int = 2) -> torch.Tensor:
    shape = MODALITIES[name].shape()
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def using(weights: Path | str, **settings: object) -> KLVAE:
    return KLVAE(
        **{"modality": MODALITIES["image"], "load_vae": load_vae, "weights": str(weights), **settings}  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "shape"), [("image", (3, 4, 4)), ("audio", (3, 512)), ("video", (3, 3, 4, 4))]
)
def test_media_of_every_kind_shrink_by_the_factor_and_come_back(name: str, shape: tuple[int, ...]) -> None:
    codec, x = vae(name), media(name)
    assert codec.factor == 4
    assert codec.shape(tuple(x.shape[1:])) == shape
    z = codec.encode(x)
    assert tuple(z.shape[1:]) == shape
    assert codec.decode(z).shape == x.shape
    assert codec.decode(z).abs().max() <= 1
    with torch.no_grad():  # a decoder that goes beyond full scale, whatever its random weights are
        codec.get_parameter("network.decoder.leave.bias").fill_(3.0)
    assert codec.unclamped(z).abs().max() > 1 >= codec.decode(z).abs().max()
    # What a row becomes does not depend on the others.
    torch.testing.assert_close(codec.encode(x[1:]), z[1:], atol=1e-5, rtol=1e-5)
    assert (codec.encode(-x) - z).abs().max() > 1e-3


def test_sizes_are_grown_to_multiples_of_the_factor() -> None:
    assert vae().whole((3, 13, 16)) == (3, 16, 16)
    assert vae("audio").whole((1, 801)) == (1, 804)
    assert vae("video").whole((3, 5, 15, 14)) == (3, 5, 16, 16)
    assert vae("audio").shape((1, 803)) == (3, 200)  # a sound's last samples are left out
    assert vae("audio").encode(media("audio")[..., :803]).shape == (2, 3, 200)


def test_a_latent_is_kept_where_its_whole_block_is() -> None:
    keep = torch.ones(16, 16, dtype=torch.bool)
    keep[5, 9] = False
    assert (~vae().latent_mask(keep)).nonzero().tolist() == [[1, 2]]
    clip = torch.ones(3, 16, 16, dtype=torch.bool)
    clip[1, 15, 0] = False
    assert (~vae("video").latent_mask(clip)).nonzero().tolist() == [[1, 3, 0]]
    sound = torch.arange(2048) != 1000
    assert (~vae("audio").latent_mask(sound)).nonzero().tolist() == [[250]]


def test_the_posterior_is_a_normal_distribution() -> None:
    moments = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    found = Posterior.of(moments)
    ours = torch.distributions.Normal(found.mean, (0.5 * found.log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    exact = torch.distributions.kl_divergence(ours, standard).mean()
    torch.testing.assert_close(found.divergence(), exact)
    noise = torch.randn(found.mean.shape)
    torch.testing.assert_close(found.sample(noise), ours.mean + ours.stddev * noise)


def test_latents_have_unit_variance_over_the_media_of_the_training(trained: Path) -> None:
    codec = using(trained)
    items = list(media("image", 12))
    plain = codec.encode(torch.stack(items))
    codec.fit(items)
    z = codec.encode(torch.stack(items)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    assert plain.transpose(0, 1).flatten(1).std(1).max() < 0.9  # an untrained VAE's are not
    torch.testing.assert_close(
        codec.decode(codec.encode(media("image"))), using(trained).decode(using(trained).encode(media("image"))),
        atol=1e-5, rtol=0,
    )  # fmt: skip
    learning = vae()
    learning.fit(items)
    assert torch.equal(learning.scale, torch.ones(3))


def test_the_layout_comes_with_the_weights(trained: Path) -> None:
    codec = using(trained)
    assert codec.layout == Layout(latents=3, widths=(8, 16))
    assert not codec.learns and not any(p.requires_grad for p in codec.parameters())
    learned = Model(load_recipe("vae_folder", TINY), device="cpu").codec
    assert torch.equal(codec.encode(media("image")), learned.encode(media("image")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modality": Image(size=16, channels=1)}, "channels: 3 there, 1 here"),
        ({"modality": MODALITIES["audio"]}, "axes: 2 there, 1 here"),
        ({"widths": (8, 16, 24)}, r"widths: \[8, 16\] there, \[8, 16, 24\] here"),
        ({"latents": 5}, "latents: 3 there, 5 here"),
    ],
)
def test_a_vae_of_other_media_or_another_layout_is_refused(
    trained: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(RecipeError, match=f"codec.weights: the VAE .*vae.safetensors is another .*{said}"):
        using(trained, **settings)


def test_a_vae_of_another_rate_is_refused(tmp_path: Path) -> None:
    path = saved_vae(tmp_path, SOUND)
    with pytest.raises(RecipeError, match="rate: 8000 Hz there, 16000 Hz here"):
        using(path, modality=Audio(rate=16000, seconds=0.3))


def test_what_is_no_vae_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"codec\.weights: '.*gone': there is no such file or folder"):
        using(tmp_path / "gone")
    other = Model(
        load_recipe("image_digits", ["backbone.widths=[8]", "backbone.attention=[true]"]), device="cpu"
    )
    path = other.save(tmp_path / "digits.safetensors")
    with pytest.raises(
        RecipeError, match=r"digits\.safetensors holds no VAE: the codec of its recipe.* is pixels"
    ):
        using(path)
    with pytest.raises(MultigenError, match="not a run folder"):
        using(tmp_path)


def test_sizes_and_media_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="the VAE's factor 4 does not divide the size 18 x 16"):
        vae().shape((3, 18, 16))
    with pytest.raises(ValueError, match=r"takes pictures of 3 channels, not media of shape \(1, 16, 16\)"):
        vae().shape((1, 16, 16))
    with pytest.raises(ValueError, match="3 samples are too short: the VAE's factor is 4"):
        vae("audio").shape((1, 3))
    for settings, said in (
        ({"latents": 0}, "latents: 0"),
        ({"widths": ()}, r"widths: \[\]"),
        ({"kernel": 4}, "kernel: 4"),
        ({"kl": -1.0}, "kl: -1.0"),
        ({"patch": 0}, "patch: 0"),
    ):
        with pytest.raises(ValueError, match=said):
            vae(**settings)


@pytest.mark.parametrize(
    ("recipe", "overrides", "said"),
    [
        (
            "image_latent",
            [],
            r"codec \(kl_vae\): it learns in a recipe of its own.*codec.weights=runs/vae_folder",
        ),
        ("vae_folder", ["codec.name=pixels", "train.critic=null"], "backbone: missing.*codec.name=kl_vae"),
        ("vae_folder", ["modality.size=130"], "factor 4 does not divide the size 130 x 130"),
        ("vae_folder", ["train.critic.name=spectrograms"], "train.critic.name: 'spectrograms'.*patches"),
        ("vae_folder", ["train.reconstruction={name: sounds}"], "for image take pictures"),
        ("image_digits", ["train.reconstruction={name: pictures}"], "train.reconstruction: only a VAE"),
    ],
)
def test_recipes_that_cannot_work_are_refused_before_any_data(
    recipe: str, overrides: list[str], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        check_combination(load_recipe(recipe, overrides))


def test_a_model_of_latents_carries_its_vae(trained: Path, tmp_path: Path) -> None:
    """The run folder names the VAE; the file that is passed on needs nothing else."""
    own = [*LATENT, "modality.size=16", f"codec.weights={trained}"]
    model = Model(load_recipe("image_latent", own), device="cpu")
    model.codec.fit(list(media("image", 4)))
    path = model.save(tmp_path / "latent.safetensors")
    again = multigen.load(path, device="cpu")
    assert again.recipe.codec.args["weights"] == "included"
    assert str(tmp_path) not in str(again.recipe.codec)
    assert again.weights_hash() == model.weights_hash()
    assert torch.equal(again.generate(steps=2, seed=1)[0].tensor, model.generate(steps=2, seed=1)[0].tensor)
    # And another training can take the VAE from there.
    other, own_vae = using(path), using(trained)
    x = media("image")
    assert torch.equal(other.encode(x), own_vae.encode(x))


def test_a_vae_that_should_come_with_weights_does_not_go_without(trained: Path) -> None:
    codec = using("included", latents=3, widths=(8, 16))
    with pytest.raises(
        MultigenError, match="codec.weights: included stands for the weights of a trained model"
    ):
        codec.fit(list(media("image")))


def test_weights_of_another_vaes_latents_do_not_start_a_training(trained: Path, tmp_path: Path) -> None:
    own = [*LATENT, "modality.size=16"]
    init = Model(load_recipe("image_latent", [*own, f"codec.weights={trained}"]), device="cpu").state_dict()
    same = Model(load_recipe("image_latent", [*own, f"codec.weights={trained}"]), device="cpu")
    initialize(same, None, init)  # type: ignore[arg-type]  # the data are not read
    (tmp_path / "other").mkdir()
    other = saved_vae(tmp_path / "other", [*TINY, "seed=1"])
    model = Model(load_recipe("image_latent", [*own, f"codec.weights={other}"]), device="cpu")
    with pytest.raises(RecipeError, match=r"train\.init .*latents of another VAE than codec\.weights names"):
        initialize(model, None, init)  # type: ignore[arg-type]
