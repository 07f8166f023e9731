"""Every sampler x schedule x prediction x modality runs or is refused; a sampler's arguments are checked at once."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.core import Denoiser, Noise, Progress, Sampling, drive, plain, timesteps
from multigen.core.samplers import sampler_traits
from multigen.errors import RecipeError
from multigen.modalities.media import Media
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.registry import Part
from tests.core.networks import InDouble
from tests.model.test_model import small

SAMPLERS = registry.names("sampler")
SCHEDULES: dict[str, Part] = {
    **{name: Part(name) for name in registry.names("schedule")},
    "discrete": Part("discrete", {"alphas_cumprod": [0.99, 0.9, 0.5, 0.1, 0.01]}),
    "zero_terminal": Part("scaled_linear", {"zero_terminal_snr": True}),
}
# Small, and cheap in what they do not need to show here: a budget for the sampler that would ask most.
ARGUMENTS: dict[str, dict[str, Any]] = {"adaptive": {"budget": 11}, "restart": {"steps": 1, "repeats": 1}}
MODALITIES = {
    "image": ("image_digits", ["backbone.widths=[8,16]", "backbone.attention=[false,true]"]),
    "audio": (
        "audio_music",
        [
            "backbone.widths=[16]",
            "backbone.attention=[false]",
            "modality.seconds=0.5",
            "sample.duration=null",
            "conditioner.name=none",
        ],
    ),
    "video": (
        "video_moving_emoji",
        [
            "backbone.widths=[8,16]",
            "backbone.attention=[false,false]",
            "modality.size=8",
            "modality.frames=2",
            "conditioner.name=none",
        ],
    ),
    "latents": (
        "image_latent",
        [
            "codec={name: kl_vae, weights: included, latents: 3, widths: [8,16]}",
            "backbone.widths=[8,16]",
            "backbone.attention=[false,false]",
            "modality.size=16",
            "conditioner.name=none",
        ],
    ),
}
STEPS = 2


@functools.cache
def model_of(modality: str) -> Model:
    name, overrides = MODALITIES[modality]
    return small(name, [*overrides, "backbone.blocks=1"])


def sampled(model: Model, denoiser: Denoiser, part: Part, *seeds: int) -> Tensor:
    """A sample for each seed, in one trajectory or in as many as the sampler wants."""
    shape = model.codec.shape(model.modality.shape())
    ts = timesteps.uniform(denoiser.schedule, STEPS)
    denoiser.remember(ts)
    sampler = registry.build("sampler", part)
    groups = (
        [[s] for s in seeds]
        if sampler_traits(registry.lookup("sampler", part.name)).one_sample
        else [list(seeds)]
    )
    requests = []
    for group in groups:
        noise, null = Noise(group, shape), model.conditioner.null(len(group))
        x = noise("start") * float(denoiser.schedule(ts[:1]).sigma)
        requests.append(Sampling(sampler(denoiser.schedule, x, ts, noise), plain(null, null), denoiser))
    for _ in drive(requests):
        pass
    return torch.cat([request.sample for request in requests if request.sample is not None])


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("prediction", registry.names("prediction"))
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_combination(sampler: str, schedule: str, prediction: str, modality: str) -> None:
    """From the schedule's end at t = 1 to the data, with the modality's own codec and network."""
    model, calls = model_of(modality), []
    denoiser = Denoiser(
        model.denoiser.backbone,
        registry.build("schedule", SCHEDULES[schedule]),
        registry.build("prediction", Part(prediction)),
    )
    counter = denoiser.backbone.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        begins_in_noise = float(denoiser.schedule(torch.ones(1, dtype=torch.float64)).alpha) == 0
        if prediction in ("eps", "consistency") and begins_in_noise:
            with pytest.raises(
                ValueError, match=f"prediction {prediction} does not determine x0 at alpha = 0"
            ):
                sampled(model, denoiser, Part(sampler, ARGUMENTS.get(sampler, {})), 3)
            assert not calls
            return
        x = sampled(model, denoiser, Part(sampler, ARGUMENTS.get(sampler, {})), 3)
    finally:
        counter.remove()
    assert len(calls) >= STEPS
    assert x.shape == (1, *model.codec.shape(model.modality.shape()))
    assert bool(torch.isfinite(x).all())
    if schedule == "flow":
        media = model.codec.decode(x, seed=3)
        assert media.ndim == 1 + len(model.modality.shape())
        assert bool(torch.isfinite(media).all())


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_the_same_in_any_batch(sampler: str, modality: str) -> None:
    """The modality's own network, in float64: no rounding of it is left for a sampler to enlarge, by up to 270."""
    model = model_of(modality)
    own = model.denoiser
    denoiser = Denoiser(InDouble(own.backbone), own.schedule, own.prediction)
    part = Part(sampler, {"tolerance": 0.1} if sampler == "adaptive" else ARGUMENTS.get(sampler, {}))
    together = sampled(model, denoiser, part, 5, 6, 7)
    torch.testing.assert_close(sampled(model, denoiser, part, 6)[0], together[1], atol=1e-4, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.1


@pytest.mark.parametrize("sampler", ["adaptive", "restart", "edm", "unipc"])
def test_a_model_makes_them_whatever_the_batch(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `generate`: an adaptive sampler has a trajectory of its own for each medium, of the same times always.

    A rounding of 6e-8 in each answer of this untrained network becomes up to 270 times that in the sample (adaptive;
    restart 130, the others 3). In float64 all answers are equal, and the samples too; 2e-4, which is 1e-4 of full
    scale, leaves a factor of ten should each round otherwise. Noise shared by the rows, or another row's: 1.2 or
    more; a network that lets a thousandth of another row in: 2e-3.
    """
    own = [f"sampler.name={sampler}", *(["sampler.tolerance=0.1"] if sampler == "adaptive" else [])]
    model = small("image_digits", [*MODALITIES["image"][1], "backbone.blocks=1", *own])
    model.denoiser.backbone = InDouble(model.denoiser.backbone)

    sizes: list[int] = []
    forward = model.denoiser.forward

    def counted(x: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(len(x))
        return forward(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model.denoiser, "forward", counted)

    def made(n: int, seed: int, batch: int) -> tuple[list[Media], list[list[float]]]:
        times: dict[Sampling, list[float]] = {}

        def watch(progress: Progress) -> None:
            times.setdefault(progress.sampling, []).append(progress.query.t.item())

        media = model.generate("3", n=n, seed=seed, steps=3, batch=batch, on_progress=watch)
        return media, list(times.values())

    four, times = made(4, 40, 4)
    assert max(sizes) >= 4  # they share network calls
    (two, _), (alone, own_times) = made(4, 40, 2), made(1, 42, 4)
    assert times[2] == own_times[0]
    assert four[2].seed == two[2].seed == alone[0].seed == 42
    for other in (four[2], two[2]):
        torch.testing.assert_close(other.tensor, alone[0].tensor, atol=2e-4, rtol=0)
    assert (four[1].tensor - four[2].tensor).abs().max() > 1e-2


# --- arguments --------------------------------------------------------------------------------------------------


def foreign() -> list[tuple[str, str]]:
    """Each sampler with each argument that another has and it lacks."""
    known = {name: [a.name for a in registry.arguments("sampler", name)] for name in SAMPLERS}
    every = sorted(set(itertools.chain(*known.values())))
    return [(name, argument) for name in SAMPLERS for argument in every if argument not in known[name]]


@pytest.mark.parametrize(("sampler", "argument"), foreign())
def test_an_argument_that_a_sampler_lacks_is_refused(sampler: str, argument: str) -> None:
    with pytest.raises(RecipeError) as error:
        registry.build("sampler", Part(sampler, {argument: 1}), where="sampler")
    text = str(error.value)
    assert f"sampler.{argument}: '{argument}' is not allowed." in text
    assert f"It is not an argument of sampler {sampler}." in text
    for own in registry.arguments("sampler", sampler):
        assert own.name in text


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sampler.name=heun", "sampler.eta=0.5"], r"sampler\.eta.*not an argument of sampler heun"),
        (["sampler.name=unipc", "sampler.order=4"], r"sampler \(unipc\).*order is 1, 2 or 3, not 4"),
        (["sampler.name=unipc", "sampler.order=2.5"], r"sampler\.order: 2\.5 is not allowed.*int"),
        (["sampler.name=adaptive", "sampler.budget=2"], r"sampler \(adaptive\).*budget is 5 queries or more"),
        (["sampler.name=restart", "sampler.low=2"], r"sampler \(restart\).*0 < low < high"),
        (["timesteps={name: list, values: [1, 0.5]}", "sample.steps=3"], r"timesteps \(list\).*Ask for 2"),
        (["timesteps={name: table, values: [0.5, 1]}"], r"timesteps \(table\).*fall towards the data"),
        (["timesteps={name: beta, of: index}"], r"timesteps\.of: 'index' is not allowed. Allowed: t, sigma"),
    ],
)
def test_mistakes_are_said_before_anything_is_built(overrides: list[str], words: str) -> None:
    """What every command does first: read the recipe, and try its parts together on nothing."""
    with pytest.raises(RecipeError, match=words):
        check_combination(load_recipe("image_digits", overrides))
