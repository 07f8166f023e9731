"""Every family of pipelines and every task, on tiny random pipelines in diffusers' own format."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import multigen
from multigen import Request
from multigen.core import Noise
from multigen.core.noise import normal
from multigen.errors import MultigenError, RecipeError
from multigen.generation.plan import plan
from multigen.model.model import Model
from multigen.model.source import find, named
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import override_recipe, parse_recipe
from multigen.recipe.sampling import sampling_recipe
from multigen.registry import Part
from tests.families import begun, folders, moving, sounding, unclip

import diffusers  # isort: skip  # after tests.families.folders, which makes torchaudio importable

# DDIM of diffusers steps to t - N // n, which is the next of the grid where n divides N.
SIZE, SHAPE, STEPS, SEED = folders.SIZE, (4, 8, 8), 5, 7
PROMPTS = ("a red apple", "blue car, lighthouse on the left")


@dataclass(frozen=True)
class Row:
    """One family.

    make       writes its folder
    call       options of its pipeline's call
    request    the same of a request of ours
    scheduler  of diffusers, in place of the folder's
    latent     shape of a sample; media: of its medium
    options    of a request, for the size
    modality   arguments of a small modality, where the folder does not say how large its media are
    prompts    two of them
    edits      whether its media can be edited as those of most families
    before     folder beside its own, of the stage before it
    pipeline   folder -> its pipeline, where diffusers does not find it
    theirs     (pipeline, start) -> its latents, where its call is another than a picture's
    begins     with a picture
    """

    make: Callable[[Path], Path]
    call: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    scheduler: Any = None
    text: bool = True
    prompts: tuple[str, str] = PROMPTS
    latent: tuple[int, ...] = SHAPE
    media: tuple[int, ...] = (3, SIZE, SIZE)
    options: dict[str, Any] = field(default_factory=lambda: {"size": SIZE})
    modality: dict[str, Any] = field(default_factory=dict)
    edits: bool = True
    before: str = ""
    pipeline: Callable[[Path], Any] | None = None
    theirs: Callable[[Any, Tensor, int], Tensor] | None = None
    begins: bool = False

    @property
    def guided(self) -> bool:
        """Whether it has a condition."""
        return self.text or self.begins


def moving_row(make: Callable[[Path], Path], latent: tuple[int, ...], rate: int, size: int = SIZE) -> Row:
    """A family of videos: five frames."""
    return Row(
        make,
        latent=latent,
        media=(3, 5, size, size),
        options={"size": size, "duration": 5 / rate},
        modality={"size": size, "frames": 5},
        theirs=moving.video_latents,
    )


def sounding_row(
    make: Callable[[Path], Path], theirs: Callable[[Any, Tensor, int], Tensor], samples: int = 64
) -> Row:
    """A family of sound through a mel spectrogram."""
    return Row(make, latent=(32, 8), media=(1, samples), options={"duration": samples / 1600}, theirs=theirs)


def begun_row(
    make: Callable[[Path], Path],
    latent: tuple[int, ...],
    theirs: Callable[[Any, Tensor, int], Tensor],
    size: int = SIZE,
    *,
    last: bool = False,
    text: bool = True,
) -> Row:
    """A family of videos that begin with a picture."""
    return Row(
        make,
        text=text,
        latent=latent,
        media=(3, 5, size, size),
        options=begun.begun(size, last=last),
        modality={"size": size, "frames": 5},
        theirs=theirs,
        begins=True,
    )


def consistency_pixels(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """The pipeline scales its start to the largest sigma, and draws the noise of the steps as the test says."""
    start = start / pipe.scheduler.init_noise_sigma
    options = {"class_labels": [1, 2], "num_inference_steps": steps, "output_type": "pt"}
    return pipe(len(start), latents=start, **options).images * 2 - 1


# Schedulers that work on x / alpha.
ON_SIGMA = (
    diffusers.EulerDiscreteScheduler,
    diffusers.CosineDPMSolverMultistepScheduler,
    diffusers.EDMDPMSolverMultistepScheduler,
)
ALL_NEW = {"image": torch.zeros(2, 3, SIZE, SIZE), "mask_image": torch.ones(2, 1, SIZE, SIZE)}
STABLE_AUDIO = Row(
    moving.stable_audio,
    latent=(4, 12),
    media=(2, 80),
    options={"duration": 0.05},
    theirs=moving.stable_audio_latents,
)
ROWS: dict[str, Row] = {
    "stable diffusion 1": Row(folders.stable_diffusion, scheduler=diffusers.DDIMScheduler),
    "stable diffusion 2, v, zero snr": Row(folders.stable_diffusion_2, scheduler=diffusers.DDIMScheduler),
    "stable diffusion inpainting": Row(folders.inpainting, ALL_NEW),
    "latent consistency": Row(folders.latent_consistency, {"guidance_scale": 5.0}, {"guidance_scale": 5.0}),
    "stable diffusion xl": Row(folders.stable_diffusion_xl),
    "stable diffusion 3": Row(folders.stable_diffusion_3),
    "flux": Row(folders.flux, {"guidance_scale": 2.0}, {"guidance_scale": 2.0}),
    "flux, true cfg": Row(
        folders.flux,
        {"guidance_scale": 3.5, "true_cfg_scale": 3.0, "negative_prompt": ["", ""]},
        {"guide": {"name": "cfg", "scale": 3.0}},
    ),
    "unconditional": Row(
        folders.unconditional, text=False, latent=(3, 8, 8), media=(3, 8, 8), options={"size": 8}
    ),
    "consistency model": Row(
        folders.consistency_model,
        latent=(3, 8, 8),
        media=(3, 8, 8),
        options={"size": 8},
        prompts=("1", "2"),
        theirs=consistency_pixels,
    ),
    "kandinsky": Row(folders.kandinsky, before="prior", theirs=unclip.kandinsky),
    "kandinsky, prior": Row(
        folders.kandinsky_prior, latent=(32, 1), media=(32, 1), options={}, edits=False, theirs=unclip.prior
    ),
    "stable unclip": Row(folders.stable_unclip, theirs=unclip.stable),
    "unclip, decoder": Row(
        unclip.decoder_folder,
        latent=(3, 8, 8),
        media=(3, 8, 8),
        options={"size": 8},
        pipeline=unclip.pipeline,
        theirs=unclip.decoder,
    ),
    "unclip": Row(
        folders.unclip,
        latent=(3, 16, 16),
        edits=False,
        pipeline=unclip.pipeline,
        theirs=unclip.upscaled,
    ),
    "stable audio": STABLE_AUDIO,
    "audioldm 2": sounding_row(sounding.audioldm2, sounding.audioldm2_latents),
    "musicldm": sounding_row(sounding.musicldm, sounding.musicldm_latents),
    "modelscope": moving_row(moving.modelscope, (4, 5, 8, 8), 8),
    "animatediff": moving_row(moving.animatediff, (4, 5, 8, 8), 8),
    "wan": moving_row(moving.wan, (4, 2, 4, 4), 16),
    "wan 2.2": moving_row(moving.wan_2_2, (4, 2, 4, 4), 16),
    "ltx": moving_row(moving.ltx, (4, 2, 8, 8), 25, 32),
    "wan image-to-video": begun_row(begun.wan_image, (4, 2, 4, 4), begun.wan_latents),
    "ltx image-to-video": begun_row(begun.ltx_image, (4, 2, 8, 8), begun.ltx_latents, 32),
    "stable video diffusion": begun_row(
        begun.stable_video_diffusion, (4, 5, 8, 8), begun.svd_latents, text=False
    ),
}
# Networks of the same families that differ in what they are shown, or how they are sampled.
VARIANTS: dict[str, Row] = {
    "stable audio, edm": dataclasses.replace(STABLE_AUDIO, make=moving.stable_audio_edm),
    "wan, both ends heard": begun_row(
        begun.wan_both_ends, (4, 2, 4, 4), begun.wan_latents_of_both_ends, last=True
    ),
    "wan 2.2 image-to-video, both ends shown": begun_row(
        begun.wan_image_2_2, (4, 2, 4, 4), functools.partial(begun.wan_latents, last=True), last=True
    ),
    "wan 2.2 5B, a picture": begun_row(begun.wan_each_token, (4, 2, 4, 4), begun.wan_latents),
    "ltx with conditions, text": moving_row(begun.ltx_condition, (4, 2, 8, 8), 25, 32),
    "ltx with conditions, both ends": begun_row(
        begun.ltx_condition, (4, 2, 8, 8), begun.ltx_condition_latents, 32, last=True
    ),
    "wan 2.2 5B, text": moving_row(begun.wan_each_token_of_text, (4, 2, 4, 4), 16),
}


@dataclass(frozen=True)
class Loaded:
    row: Row
    folder: Path
    model: Model

    @property
    def shape(self) -> tuple[int, ...]:
        return self.row.latent

    def request(self, prompt: str | None = None, **options: Any) -> Request:
        base: dict[str, Any] = {"steps": STEPS} | self.row.options | self.row.request
        prompt = self.row.prompts[0] if prompt is None else prompt
        return Request(prompt if self.row.text else "", **base | options)


# Rows whose network, VAE and text streams others have too, in another combination: the rest runs with them in CI.
LIKE_OTHERS = (
    "stable diffusion 2, v, zero snr", "flux, true cfg", "ltx image-to-video", "wan 2.2", "modelscope", "musicldm",
    "unclip, decoder", "stable unclip",
)  # fmt: skip


# One of each kind of network and of prediction. What hangs on these alone, and not on a family's own inputs, is tried
# with them at every run of the tests.
KINDS = (
    "stable diffusion 1", "stable diffusion xl", "flux", "consistency model", "stable audio", "wan",
    "stable video diffusion",
)  # fmt: skip


def slow_but(quick: Iterable[str]) -> list[Any]:
    """All rows, as parameters; those that are not `quick` are slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]


of_each_kind = pytest.mark.parametrize("loaded", slow_but(KINDS), indirect=True, scope="module")


@pytest.fixture(scope="module", params=slow_but([name for name in ROWS if name not in LIKE_OTHERS]))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return opened(request.param, tmp_path_factory.mktemp("families"))


def opened(name: str, home: Path) -> Loaded:
    """A family's pipeline, made in a folder."""
    row = (ROWS | VARIANTS)[name]
    folder = row.make(home / "pipeline")
    found = find(folder)
    modality = Part(found.recipe.modality.name, {**found.recipe.modality.args, **row.modality})
    recipe = dataclasses.replace(found.recipe, modality=modality)
    if row.before:
        recipe = dataclasses.replace(recipe, stages=(str(folder.with_name(row.before)),))
    return Loaded(row, folder, Model.of(found, recipe, device="cpu"))


def latents(model: Model, requests: list[Request], **options: Any) -> Tensor:
    """What `stream` hands to the codec."""
    made: list[Tensor] = []
    decode = model.codec.decode
    model.codec.decode = lambda x, **kw: (made.append(x), decode(x, **kw))[1]  # type: ignore[method-assign]
    try:
        list(model.stream(requests, **options))
    finally:
        model.codec.decode = decode  # type: ignore[method-assign]
    return torch.cat(made)


def close(ours: Tensor, other: Tensor, share: float = 1e-4) -> None:
    """Equal to a share of the largest value: random weights under guidance let latents grow."""
    assert other.std() > 0.1  # a sample that died out would agree with anything
    torch.testing.assert_close(ours, other, rtol=0, atol=share * float(other.abs().max()))


# --- the same latents -----------------------------------------------------------------------------------------------


def theirs(
    loaded: Loaded,
    start: Tensor,
    alpha: float,
    noise: Noise,
    change: Callable[[Any], None] | None = None,
    folder: Path | None = None,
) -> Tensor:
    """The latents of the pipeline from our x at the first time, alpha its share of data.

    change  what is done to the pipeline before; folder: another than that of the row
    """
    load = loaded.row.pipeline or functools.partial(
        diffusers.DiffusionPipeline.from_pretrained, local_files_only=True
    )
    pipe = load(folder or loaded.folder)
    if change is not None:
        change(pipe)
    pipe.set_progress_bar_config(disable=True)
    if loaded.row.scheduler is not None:
        pipe.scheduler = loaded.row.scheduler.from_config(pipe.scheduler.config)
    if isinstance(pipe.scheduler, ON_SIGMA):  # works on x / alpha
        pipe.scheduler.set_timesteps(STEPS)
        start = start / alpha / pipe.scheduler.init_noise_sigma
    if loaded.row.theirs is not None:
        return loaded.row.theirs(pipe, start, STEPS)
    if not loaded.row.text:
        return unconditional(pipe, start)
    if isinstance(pipe, diffusers.FluxPipeline):
        packed = pipe._pack_latents(start, len(start), *SHAPE)
        options = {"height": SIZE, "width": SIZE, **loaded.row.call}
        made = pipe(
            list(PROMPTS), latents=packed, num_inference_steps=STEPS, output_type="latent", **options
        ).images
        return pipe._unpack_latents(made, SIZE, SIZE, pipe.vae_scale_factor)
    options = {"height": SIZE, "width": SIZE, **loaded.row.call}
    return pipe(
        list(PROMPTS), latents=start, num_inference_steps=STEPS, output_type="latent", **options
    ).images


@torch.no_grad()
def unconditional(pipe: Any, x: Tensor) -> Tensor:
    """By hand: the pipeline takes no start."""
    pipe.scheduler.set_timesteps(STEPS)
    for t in pipe.scheduler.timesteps:
        x = pipe.scheduler.step(pipe.unet(x, t).sample, t, x, use_clipped_model_output=True).prev_sample
    return x


def test_latents_are_those_of_the_pipeline(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(loaded, monkeypatch)


@pytest.mark.parametrize("name", VARIANTS)
def test_so_are_those_of_its_variants(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(opened(name, tmp_path), monkeypatch)


def compare(
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], None] | None = None,
    folder: Path | None = None,
) -> Tensor:
    """Our latents, which are equal to those of the pipeline after a change to it."""
    model, noise = loaded.model, Noise([SEED, SEED + 1], loaded.shape)
    requests = [loaded.request(prompt, seed=SEED + k) for k, prompt in enumerate(loaded.row.prompts)]
    ours = latents(model, requests)
    ts = plan(model, requests[0]).ts
    alpha, sigma = (float(level) for level in model.denoiser.schedule(ts[:1]))
    drawn = iter(range(STEPS))
    autoencoder = "diffusers.models.autoencoders.vae.DiagonalGaussianDistribution"
    monkeypatch.setattr(f"{autoencoder}.sample", lambda posterior, *_: posterior.mode())
    monkeypatch.setattr(
        "diffusers.schedulers.scheduling_cosine_dpmsolver_multistep.BrownianTreeNoiseSampler",
        lambda *_, **__: lambda *_: noise("step", next(drawn)),
    )
    for module in ("lcm", "consistency_models"):
        monkeypatch.setattr(
            f"diffusers.schedulers.scheduling_{module}.randn_tensor",
            lambda *_, **__: noise("step", next(drawn)),
        )
    monkeypatch.setattr(f"{begun.WAN}.prompt_clean", str)  # it forgets that ftfy may be missing
    monkeypatch.setattr(f"{begun.SVD}.randn_tensor", lambda *_, **__: begun.known_noise(SEED, SIZE))
    other = theirs(loaded, noise("start") * sigma, alpha, noise, change, folder)
    assert (other[0] - other[1]).abs().max() > 0.1
    close(ours, other)
    return ours


def test_the_folder_as_a_recipe_goes_with_itself(loaded: Loaded) -> None:
    """Written out, its recipe is one that `run` and `train` take; with other parts it is refused."""
    recipe = parse_recipe(to_yaml(loaded.model.recipe), "here")
    assert named(recipe, "here").recipe == loaded.model.recipe
    other = "x0" if recipe.prediction.name == "eps" else "eps"
    with pytest.raises(RecipeError, match=f"prediction: '{other}' is not what .* was trained with"):
        named(override_recipe(recipe, [f"prediction.name={other}"]), "here")


def test_numbers_change_for_sampling(tmp_path: Path) -> None:
    recipe = multigen.load(folders.stable_diffusion_xl(tmp_path / "pipeline"), device="cpu").recipe
    changed = sampling_recipe(recipe, ["conditioner.numbers={crop: [0, 8]}"])
    model = Model(changed, device="cpu")
    assert model.encode("red").extra["crop"].tolist() == [[0, 8]]
    with pytest.raises(MultigenError, match="numbers: the requests of one model share them"):
        model.batcher(Request("", steps=1, size=SIZE, overrides=("conditioner.numbers={crop: [8, 8]}",)))


def test_every_network_learns(loaded: Loaded) -> None:
    """A loss for each sample, with condition dropout, and a gradient in every layer that it uses."""
    if loaded.model.recipe.masked or loaded.model.cascade is not None:
        pytest.skip("what it is shown is drawn by the trainer, or made by the stage before")
    denoiser, conditioner = loaded.model.denoiser, loaded.model.conditioner
    prompts = loaded.row.prompts if loaded.row.text else ("", "")
    cond = conditioner(conditioner.from_prompts(prompts))
    keep = torch.tensor([True, False])
    cond = cond.where(keep, conditioner.null(2)) if loaded.row.text else cond
    x0, eps = (normal((2, *loaded.shape), k, "x") for k in range(2))
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    loss = denoiser.loss(x0, t, cond, eps)
    learned = [p for p in denoiser.parameters() if p.requires_grad]
    assert loss.shape == (2,) and bool(loss.isfinite().all())
    gradients = torch.autograd.grad(loss.sum(), learned, allow_unused=True)
    assert sum(g is not None for g in gradients) > 0.9 * len(gradients)


# --- what the pipeline does not do ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def usual(loaded: Loaded) -> Tensor:
    """With the sampler and guide of the folder."""
    return latents(loaded.model, [loaded.request(seed=SEED)])


@of_each_kind
@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m_sde", "restart"])
def test_samplers_that_the_pipeline_lacks(sampler: str, loaded: Loaded, usual: Tensor) -> None:
    if sampler == loaded.model.recipe.sampler.name:
        sampler = "unipc"
    made = latents(loaded.model, [loaded.request(seed=SEED, sampler=sampler)])
    assert made.isfinite().all()
    assert 0.1 < made.std() < 100
    assert (made - usual).abs().max() > 1e-3


@pytest.fixture(scope="module")
def guided(loaded: Loaded) -> Tensor:
    """With classifier-free guidance."""
    return latents(loaded.model, [loaded.request(seed=SEED, guide={"name": "cfg", "scale": 4.0})])


@of_each_kind
@pytest.mark.parametrize("guide", ["cfg_zero", "apg", "rescale"])
def test_variants_of_guidance(guide: str, loaded: Loaded, request: pytest.FixtureRequest) -> None:
    if not loaded.row.guided:
        pytest.skip("it has no condition")
    if guide == "rescale":
        options: dict[str, Any] = {
            "guide": {"name": "cfg", "scale": 4.0},
            "overrides": ("modifiers=[rescale]",),
        }
    else:
        options = {"guide": {"name": guide, "scale": 4.0}}
    made = latents(loaded.model, [loaded.request(seed=SEED, **options)])
    assert made.isfinite().all()
    assert (made - request.getfixturevalue("guided")).abs().max() > 1e-3


def test_edits(loaded: Loaded) -> None:
    """What is kept comes back as it was; a variation goes as far as asked."""
    if not loaded.row.edits:
        pytest.skip("tests/families/test_unclip.py")
    model, shape = loaded.model, loaded.row.media
    media = normal(shape, 1, "media").mul(0.4).clamp(-1, 1)
    prompt = loaded.row.prompts[0] if loaded.row.text else ""
    options = {"guide": {"name": "distilled" if model.denoiser.backbone.distilled else "plain"}}
    keep = torch.ones(shape[1:], dtype=torch.bool)
    keep[..., shape[-1] // 2 :] = False
    keep[0] |= loaded.row.begins
    filled = model.edit(media, prompt, keep=keep, feather=0, steps=3, **options)[0].tensor
    assert torch.equal(filled[:, keep], media[:, keep])
    assert (filled[:, ~keep] - media[:, ~keep]).abs().mean() > 0.01
    copy = model.codec.decode(model.codec.encode(media[None]))[0][tuple(map(slice, shape))]
    near, far = (
        model.edit(media, prompt, strength=share, steps=4, **options)[0].tensor for share in (0.002, 1.0)
    )
    assert (near - copy).abs().mean() < 0.7 * (far - copy).abs().mean()


# --- many at once ---------------------------------------------------------------------------------------------------


@of_each_kind
def test_image_3_of_8_is_its_seed_alone(loaded: Loaded) -> None:
    asked = [loaded.request(steps=3)]
    together = latents(loaded.model, asked, n=8, seed=20, batch=8)
    alone = latents(loaded.model, asked, n=1, seed=23)
    close(together[3:4], alone)


def test_a_mixed_batch_of_eight_requests(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps, guidance and prompts differ; they share network calls, and each is what it is alone."""
    requests = [
        loaded.request(loaded.row.prompts[k % 2], steps=2 + k % 3, seed=40 + k, **mixed(loaded, k))
        for k in range(8)
    ]
    sizes: list[int] = []
    network = loaded.model.denoiser.backbone
    forward = type(network).forward
    monkeypatch.setattr(
        type(network),
        "forward",
        lambda self, x, *rest, **kw: (sizes.append(len(x)), forward(self, x, *rest, **kw))[1],
    )
    found: dict[int, Tensor] = {}
    decode = loaded.model.codec.decode
    batcher = loaded.model.batcher(requests, batch=8)
    made: list[Tensor] = []
    monkeypatch.setattr(loaded.model.codec, "decode", lambda x, **kw: (made.append(x), decode(x, **kw))[1])
    for place, _ in batcher:
        found[place] = made[-1]
    monkeypatch.setattr(loaded.model.codec, "decode", decode)
    assert max(sizes) >= 8
    assert len(sizes) < sum(request.steps or 0 for request in requests)
    for place in (0, 4, 5):  # one of each number of steps, both prompts
        close(found[place], latents(loaded.model, [requests[place]]), 1e-3)


def mixed(loaded: Loaded, k: int) -> dict[str, Any]:
    """Another guidance scale for each, where there is one."""
    if not loaded.row.guided:
        return {}
    guide = loaded.row.request.get("guide")
    return {"guide": {**guide, "scale": 1.5 + k}} if guide else {"guidance_scale": 1.5 + k}
