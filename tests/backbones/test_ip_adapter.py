"""IP-Adapters: the pictures of diffusers' own pipelines, beside ControlNets, pictures of requests, refusals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from multigen.core import Noise
from multigen.errors import MultigenError
from multigen.generation.plan import plan
from multigen.model.model import Model
from multigen.recipe.schema import WeightedAdapter
from tests.backbones.test_controlnet import PROMPT, SEED, SIZE, STEPS, latents, model_of, request
from tests.families import folders, moving
from tests.model.pipelines import stir

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable
import transformers as t  # isort: skip

SIDE, WIDTH, STATES = 16, 24, 32  # of the encoder's pictures, embeddings and hidden states
PLUS_NAMES = (
    ("ln0", "0.norm1"),
    ("ln1", "0.norm2"),
    ("attn.to_out.0", "0.to_out"),
    ("attn.to_q", "0.to_q"),
    ("ff.0", "1.0"),
    ("ff.1.net.0.proj", "1.1"),
    ("ff.1.net.2", "1.3"),
)


FULL_NAMES = {"ff.net.0.proj": "proj.0", "ff.net.2": "proj.2", "norm": "proj.3"}


def published(projection: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a projection of diffusers under the names of published files."""
    if "ff.net.2.weight" in projection:
        return {
            f"{FULL_NAMES[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": p for n, p in projection.items()
        }
    if "image_embeds.weight" in projection:
        return {n.replace("image_embeds", "proj"): p for n, p in projection.items()}
    found = {}
    for name, tensor in projection.items():
        if "attn.to_v" in name:
            continue
        if "attn.to_k" in name:
            tensor = torch.cat([tensor, projection[name.replace("to_k", "to_v")]])
            name = name.replace("attn.to_k", "0.to_kv")
        for theirs, ours in PLUS_NAMES:
            name = name.replace(theirs, ours)
        found[name] = tensor
    return found


def written(folder: Path, unet: Any, plus: bool, full: bool = False) -> Path:
    """An IP-Adapter as it is published, its image encoder beside it."""
    width = unet.config.cross_attention_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plus)
        if full:
            projection: Any = d.models.embeddings.IPAdapterFullImageProjection(STATES, width)
        elif plus:
            projection = d.models.embeddings.IPAdapterPlusImageProjection(
                embed_dims=STATES, output_dims=width, hidden_dims=16, depth=4, heads=1, num_queries=5
            )
        else:
            projection = d.models.embeddings.ImageProjection(WIDTH, width, 4)
        stir(projection)
        tensors = {f"image_proj.{n}": p for n, p in published(projection.state_dict()).items()}
        places = [n for n in unet.attn_processors if "attn2" in n and "motion" not in n]
        for k, place in enumerate(places):
            inner = unet.get_submodule(place.removesuffix(".processor")).to_k.out_features
            for name in ("to_k_ip", "to_v_ip"):
                tensors[f"ip_adapter.{2 * k + 1}.{name}.weight"] = 0.3 * torch.randn(inner, width)
        if not (folder / "image_encoder").is_dir():
            config = t.CLIPVisionConfig(
                hidden_size=STATES,
                projection_dim=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                image_size=SIDE,
                patch_size=8,
                intermediate_size=37,
            )
            encoder = t.CLIPVisionModelWithProjection(config)
            stir(encoder)
            encoder.save_pretrained(folder / "image_encoder")
    path = folder / f"ip-adapter{'-plus' if plus else '-full' if full else ''}.safetensors"
    save_file({n: p.detach().contiguous() for n, p in tensors.items()}, path)
    return path


def picture(path: Path, seed: int, side: int = SIDE) -> str:
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return str(path)


@pytest.fixture(scope="module", params=["stable_diffusion", "stable_diffusion_xl"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return getattr(folders, request.param)(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def adapters(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> list[WeightedAdapter]:
    """A plain one and one that is "plus", each with its picture; a ControlNet; and one that is "full"."""
    folder = tmp_path_factory.mktemp("ip_adapter")
    unet = d.UNet2DConditionModel.from_pretrained(pipeline / "unet")
    found = []
    for k, weight in enumerate((0.8, 1.3)):
        path = written(folder, unet, plus=bool(k))
        image = picture(folder / f"{k}.png", k)
        found.append(WeightedAdapter(str(path), image, name="ip_adapter", weight=weight))
    net = d.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        stir(net)
    net.save_pretrained(folder / "controlnet")
    found.append(WeightedAdapter(str(folder / "controlnet"), picture(folder / "edges.png", 5), weight=0.7))
    path = written(folder, unet, plus=False, full=True)
    found.append(WeightedAdapter(str(path), picture(folder / "full.png", 6), name="ip_adapter", weight=0.8))
    return found


def theirs(pipeline: Path, adapters: Sequence[WeightedAdapter], model: Model) -> Tensor:
    """The latents of diffusers' own pipeline."""
    xl = (pipeline / "text_encoder_2").is_dir()
    nets = [d.ControlNetModel.from_pretrained(one.path) for one in adapters if one.name == "controlnet"]
    prompts = [one for one in adapters if one.name == "ip_adapter"]
    name = f"StableDiffusion{'XL' if xl else ''}{'ControlNet' if nets else ''}Pipeline"
    more: dict[str, Any] = {"controlnet": nets[0]} if nets else {}
    pipe = getattr(d, name).from_pretrained(pipeline, local_files_only=True, **more)
    pipe.set_progress_bar_config(disable=True)
    files = [Path(one.path) for one in prompts]
    pipe.load_ip_adapter(
        str(files[0].parent), subfolder="", weight_name=[file.name for file in files], local_files_only=True
    )
    pipe.set_ip_adapter_scale([one.weight for one in prompts])
    if not xl:
        pipe.scheduler = d.DDIMScheduler.from_config(pipe.scheduler.config)
    start = Noise([SEED], (4, 8, 8))("start")
    if not xl:
        start = start * float(model.denoiser.schedule(plan(model, request()).ts[:1]).sigma)
    else:  # Euler of diffusers works on x / alpha, and scales what it is given to the first sigma
        pipe.scheduler.set_timesteps(STEPS)
        start = start * float(pipe.scheduler.sigmas[0]) / float(pipe.scheduler.init_noise_sigma)
    options: dict[str, Any] = {"height": SIZE, "width": SIZE, "num_inference_steps": STEPS}
    if nets:
        (led,) = (one for one in adapters if one.name == "controlnet")
        options |= {"image": Image.open(str(led.image)), "controlnet_conditioning_scale": led.weight}
    shown = [Image.open(str(one.image)) for one in prompts]
    return pipe(PROMPT, ip_adapter_image=shown, latents=start, output_type="latent", **options).images


def close(ours: Tensor, other: Tensor, share: float = 2e-4) -> None:
    assert other.std() > 0.1
    torch.testing.assert_close(ours, other, rtol=0, atol=share * float(other.abs().max()))


@pytest.mark.parametrize(
    "used", [(0,), (1,), (3,), (0, 1), (0, 2)], ids=["plain", "plus", "full", "both", "controlnet"]
)
def test_latents_are_those_of_the_pipeline(
    used: tuple[int, ...], pipeline: Path, adapters: list[WeightedAdapter]
) -> None:
    chosen = [adapters[k] for k in used]
    model = model_of(pipeline, *chosen)
    ours = latents(model, request())
    close(ours, theirs(pipeline, chosen, model))
    assert (ours - latents(model_of(pipeline), request())).abs().max() > 0.05


def test_each_request_has_pictures_of_its_own(
    pipeline: Path, adapters: list[WeightedAdapter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch; the model's own picture is the default, and one in memory is as good as a file."""
    model = model_of(pipeline, adapters[0], adapters[2])
    other, edges = picture(tmp_path / "a.png", 8, 24), picture(tmp_path / "b.png", 9, 32)
    tensor = model.modality.read(Path(other))
    requests = [
        request(),
        request(images=[other]),
        request(images=(None, edges), guidance_scale=3.0),
        request(images=(tensor, edges), seed=SEED + 1),
    ]
    sizes: list[int] = []
    forward = type(model.denoiser.backbone).forward
    monkeypatch.setattr(
        type(model.denoiser.backbone),
        "forward",
        lambda self, x, *rest, **kw: (sizes.append(len(x)), forward(self, x, *rest, **kw))[1],
    )
    together = latents(model, *requests)
    assert max(sizes) == 8 and len(sizes) == STEPS
    for number, one in enumerate(requests):
        close(together[number : number + 1], latents(model, one))
    changed = model_of(pipeline, dataclasses.replace(adapters[0], image=other), adapters[2])
    close(together[1:2], latents(changed, request()))
    assert (together[0] - together[1]).abs().max() > 0.01
    blend = model.blend((request(images=[other]), request(images=[other], seed=9)), n=2)
    assert len(blend) == 2
    with pytest.raises(MultigenError, match="its ends may differ by prompt and seed alone"):
        model.blend((request(images=[other]), request(images=[edges])), n=2)


def test_windows_see_image_prompts(pipeline: Path, adapters: list[WeightedAdapter]) -> None:
    made = latents(model_of(pipeline, adapters[0]), request(size=(SIZE, 24), sliding_window=True, steps=2))
    assert made.shape == (1, 4, 8, 12)


def test_a_network_is_as_it_was_without(pipeline: Path, adapters: list[WeightedAdapter]) -> None:
    """An adapter is no part of the weights; at weight 0 it is not there."""
    bare, model = model_of(pipeline), model_of(pipeline, dataclasses.replace(adapters[1], weight=0.0))
    close(latents(model, request()), latents(bare, request()), 1e-5)
    assert model.weights_hash() == bare.weights_hash()


def test_animatediff_takes_image_prompts(tmp_path: Path) -> None:
    folder = moving.animatediff(tmp_path / "pipeline")
    unet = d.UNetMotionModel.from_pretrained(folder / "unet")
    path = written(tmp_path, unet, plus=False)
    one = WeightedAdapter(str(path), picture(tmp_path / "a.png", 1), name="ip_adapter")
    options = {"duration": 0.5, "steps": 2}
    led, bare = (latents(model_of(folder, *used), request(**options)) for used in ((one,), ()))
    assert led.isfinite().all() and (led - bare).abs().max() > 1e-3


def test_what_does_not_go_together_is_refused(
    pipeline: Path, adapters: list[WeightedAdapter], tmp_path: Path
) -> None:
    plain = adapters[0]
    other = written(tmp_path, folders.unet(block_out_channels=(16, 32), cross_attention_dim=24), plus=False)
    face = tmp_path / "ip-adapter-faceid.safetensors"
    names = ("image_proj.norm.weight", "image_proj.proj.0.weight", "ip_adapter.0.to_q_lora.down.weight")
    save_file({name: torch.ones(2) for name in names}, face)
    for replaced, words in (
        ({"path": str(other)}, r"is an IP-Adapter of another network: .* attentions, to tokens of 24, and"),
        ({"path": str(pipeline / "vae" / "diffusion_pytorch_model.safetensors")}, "not an IP-Adapter"),
        ({"path": str(face)}, "a FaceID IP-Adapter, .* not supported. Allowed: IP-Adapters of pictures"),
        ({"path": str(tmp_path / "none.safetensors")}, "none.safetensors"),
        ({"encoder": str(tmp_path / "gone")}, "there is no image encoder at .*gone. Give its folder"),
        ({"encoder": str(pipeline / "text_encoder")}, "the image encoder at .*text_encoder gives"),
        ({"image": str(tmp_path / "gone.png")}, "gone.png"),
    ):
        with pytest.raises(MultigenError, match=words) as caught:
            model_of(pipeline, dataclasses.replace(plain, **replaced))
        assert len(str(caught.value).splitlines()) == 1
    empty = model_of(pipeline, dataclasses.replace(plain, image=None))
    with pytest.raises(MultigenError, match=r"no picture for adapter 1 \(ip_adapter\). Give one: --image"):
        empty.generate(PROMPT, size=SIZE, steps=1)
    with pytest.raises(MultigenError, match="images: 2 pictures are not allowed. Allowed: up to 1"):
        latents(empty, request(images=["a.png", "b.png"]))
    with pytest.raises(MultigenError, match="images: 1 pictures are not allowed. Allowed: none; adapters="):
        latents(model_of(pipeline), request(images=["a.png"]))
    with pytest.raises(MultigenError, match=r"images: shape \[2, 4, 4\] is not allowed"):
        latents(empty, request(images=[torch.zeros(2, 4, 4)]))
    with pytest.raises(MultigenError, match="images: 'a.png' is not allowed; give a list"):
        request(images="a.png")
    with pytest.raises(MultigenError, match="takes no ip_adapter. Allowed: none"):
        model_of(moving.modelscope(tmp_path / "modelscope"), plain)
