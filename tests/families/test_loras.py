"""LoRA files on every family, text encoders included: the latents of diffusers' own pipeline with the same files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from multigen.errors import MultigenError
from tests.families.test_families import Loaded, compare, latents
from tests.families.test_families import opened as open_row

import diffusers  # isort: skip  # after tests.families.folders, which makes torchaudio importable

# Layers of networks, by the ends of their names, that have a LoRA in these tests.
LAYERS = (
    "attn1.to_q",
    "attn2.to_k",
    "attn.to_q",
    "attn.add_k_proj",
    "q_proj",
    "out_proj",
    "mlp.fc1",
    "proj_in",
    "conv1",
)
ALPHA = 6.0


@dataclass(frozen=True)
class Pair:
    layer: str  # in its component
    down: Tensor
    up: Tensor


def pairs(network: nn.Module, seed: int) -> list[Pair]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for name, module in network.named_modules():
        if "motion_modules" in name and name.endswith("proj_in"):
            continue  # diffusers calls it in a way that peft does not know
        if name.endswith(LAYERS) and isinstance(module, nn.Linear | nn.Conv2d):
            size, kernel = module.weight.shape[:2], module.weight.shape[2:]
            rank = 2 if name.endswith("to_k") else 3
            down = torch.randn(rank, size[1], *kernel, generator=generator) / size[1] ** 0.5 / 2
            up = torch.randn(size[0], rank, *(1 for _ in kernel), generator=generator) / 8
            found.append(Pair(name, down, up))
    assert found
    return found


def clip(name: str) -> str:
    """A layer of CLIP as files name it, whatever this version of transformers calls it."""
    return f"text_model.{name.removeprefix('text_model.')}"


def written(pipe: Any, style: str, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a file with layers in the network, and in each CLIP encoder."""
    tensors: dict[str, Tensor] = {}
    for component, network in pipe.components.items():
        text = component.startswith("text_encoder")
        if not (component in ("unet", "transformer") or (text and "CLIP" in type(network).__name__)):
            continue
        for pair in pairs(network, seed + len(tensors)):
            layer = clip(pair.layer) if text else pair.layer
            if style == "diffusers":
                ends = {"lora_A.weight": pair.down, "lora_B.weight": pair.up * ALPHA / len(pair.down)}
                tensors |= {f"{component}.{layer}.{end}": value for end, value in ends.items()}
            else:
                number = component.removeprefix("text_encoder").removeprefix("_") or "1"
                prefix = (f"lora_te{number}" if "SDXL" in style else "lora_te") if text else "lora_unet"
                flat = f"{prefix}_{layer.replace('.', '_')}"
                flat = original(flat) if "original" in style else flat
                ends = {
                    "lora_down.weight": pair.down,
                    "lora_up.weight": pair.up,
                    "alpha": torch.tensor(ALPHA),
                }
                tensors |= {f"{flat}.{end}": value for end, value in ends.items()}
    return tensors


def original(flat: str) -> str:
    """The names that kohya's trainer gives the layers of SDXL, of a U-Net with one layer in a block."""
    for ours, theirs in {
        "down_blocks_0_attentions_0": "input_blocks_1_1",
        "down_blocks_0_resnets_0_conv1": "input_blocks_1_0_in_layers_2",
        "down_blocks_1_resnets_0_conv1": "input_blocks_3_0_in_layers_2",
        "mid_block_attentions_0": "middle_block_1", "mid_block_resnets_0_conv1": "middle_block_0_in_layers_2",
        "mid_block_resnets_1_conv1": "middle_block_2_in_layers_2",
        "up_blocks_0_resnets_0_conv1": "output_blocks_0_0_in_layers_2",
        "up_blocks_0_resnets_1_conv1": "output_blocks_1_0_in_layers_2",
        "up_blocks_1_attentions_0": "output_blocks_2_1", "up_blocks_1_attentions_1": "output_blocks_3_1",
        "up_blocks_1_resnets_0_conv1": "output_blocks_2_0_in_layers_2",
        "up_blocks_1_resnets_1_conv1": "output_blocks_3_0_in_layers_2",
    }.items():  # fmt: skip
        flat = flat.replace(ours, theirs)
    return flat


def opened(name: str, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return open_row(name, tmp_path_factory.mktemp("loras"))


STYLES = [
    ("stable diffusion 1", "diffusers"), ("stable diffusion 1", "kohya"), ("stable diffusion xl", "diffusers"),
    ("stable diffusion xl", "original SDXL"), ("stable diffusion 3", "diffusers"), ("flux", "diffusers"),
    ("wan", "diffusers"),
]  # fmt: skip
SLOW = [
    ("stable diffusion 2, v, zero snr", "kohya"), ("stable diffusion xl", "kohya SDXL"), ("animatediff", "diffusers"),
    ("ltx", "diffusers"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "style"), [*STYLES, *(pytest.param(*row, marks=pytest.mark.slow) for row in SLOW)]
)
def test_two_files_with_weights_make_what_diffusers_makes(
    name: str,
    style: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = opened(name, tmp_path_factory)
    pipe = diffusers.DiffusionPipeline.from_pretrained(loaded.folder, local_files_only=True)
    for file, seed in {"a": 0, "b": 100}.items():
        save_file(written(pipe, style, seed), tmp_path / f"{file}.safetensors")

    def change(pipe: Any) -> None:
        for file in "ab":
            pipe.load_lora_weights(tmp_path, weight_name=f"{file}.safetensors", adapter_name=file)
        pipe.set_adapters(["a", "b"], [0.7, -0.4])

    plain = latents(loaded.model, [loaded.request(seed=7)])
    loaded.model.adapt({str(tmp_path / "a.safetensors"): 0.7, str(tmp_path / "b.safetensors"): -0.4})
    made = compare(loaded, monkeypatch, change)
    assert (made[:1] - plain).abs().max() > 0.003 * plain.abs().max()
    loaded.model.adapt({})
    assert torch.equal(latents(loaded.model, [loaded.request(seed=7)]), plain)


AUTHORS = {
    "flux": {
        "lora_unet_double_blocks_0_img_attn_qkv": (32, 96), "lora_unet_double_blocks_0_txt_attn_proj": (32, 32),
        "lora_te1_text_model_encoder_layers_1_self_attn_out_proj": (32, 32),
    },
    "wan": {"diffusion_model.blocks.0.self_attn.q": (24, 24), "diffusion_model.blocks.1.cross_attn.k": (24, 24)},
    "ltx": {"diffusion_model.transformer_blocks.0.attn1.to_q": (32, 32)},
}  # fmt: skip


@pytest.mark.parametrize("name", AUTHORS)
def test_names_of_the_authors_of_a_network(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flux's q, k and v are one layer there."""
    loaded, tensors = opened(name, tmp_path_factory), {}
    generator = torch.Generator().manual_seed(0)
    for layer, (size, out) in AUTHORS[name].items():
        ends = ("lora_down", "lora_up") if layer.startswith("lora_") else ("lora_A", "lora_B")
        tensors[f"{layer}.{ends[0]}.weight"] = torch.randn(2, size, generator=generator) / 3
        tensors[f"{layer}.{ends[1]}.weight"] = torch.randn(out, 2, generator=generator) / 3
        if layer.startswith("lora_"):
            tensors[f"{layer}.alpha"] = torch.tensor(1.0)
    save_file(tensors, tmp_path / "a.safetensors")
    plain = latents(loaded.model, [loaded.request(seed=7)])
    loaded.model.adapt({str(tmp_path / "a.safetensors"): 1.0})
    made = compare(
        loaded, monkeypatch, lambda pipe: pipe.load_lora_weights(tmp_path, weight_name="a.safetensors")
    )
    assert (made[:1] - plain).abs().max() > 0.003 * plain.abs().max()


def test_a_second_network_has_layers_of_its_own(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = opened("wan 2.2", tmp_path_factory).model
    second = model.denoiser.backbone.hosts()[1].load()
    before = {name: value.clone() for name, value in second.named_parameters()}
    layer = "blocks.0.attn1.to_q"
    ends = {"lora_A.weight": torch.ones(2, 24), "lora_B.weight": torch.ones(24, 2)}
    save_file(
        {f"transformer_2.{layer}.{end}": value for end, value in ends.items()}, tmp_path / "a.safetensors"
    )
    model.adapt({str(tmp_path / "a.safetensors"): 0.5})
    moved = [name for name, value in second.named_parameters() if not torch.equal(value, before[name])]
    assert moved == [f"{layer}.weight"]
    weight = dict(second.named_parameters())[f"{layer}.weight"]
    torch.testing.assert_close(weight, before[f"{layer}.weight"] + 1)


def text_of_peft(layer: str) -> dict[str, Tensor]:
    ends = {"lora_A.weight": torch.ones(2, 32), "lora_B.weight": torch.ones(32, 2)}
    return {f"base_model.model.{layer}.{end}": value for end, value in ends.items()}


def test_peft_s_own_file_of_a_text_encoder(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    loaded = opened("stable diffusion 1", tmp_path_factory)
    save_file(text_of_peft("text_model.encoder.layers.0.self_attn.q_proj"), tmp_path / "a.safetensors")
    before = loaded.model.encode("red apple").tokens
    loaded.model.adapt({str(tmp_path / "a.safetensors"): 1.0})
    after = loaded.model.encode("red apple").tokens
    assert before is not None and after is not None and not torch.allclose(before, after)


def test_a_file_for_another_family_is_refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    xl = opened("stable diffusion xl", tmp_path_factory)
    one = opened("stable diffusion 1", tmp_path_factory)
    pipe = diffusers.DiffusionPipeline.from_pretrained(xl.folder, local_files_only=True)
    file = tmp_path / "xl.safetensors"
    save_file(written(pipe, "diffusers"), file)
    with pytest.raises(
        MultigenError,
        match=r"xl.safetensors: this LoRA is for another network than .*: there is no such layer",
    ):
        one.model.adapt({str(file): 1.0})
    save_file(written(pipe, "original SDXL"), file)
    with pytest.raises(MultigenError, match=r"this LoRA is for another network than pipeline: lora_te1_"):
        one.model.adapt({str(file): 1.0})


def test_layers_of_a_text_encoder_that_is_not_there_are_left_out_aloud(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    one = opened("stable diffusion 1", tmp_path_factory)
    ends = {"lora_A.weight": torch.ones(2, 32), "lora_B.weight": torch.ones(32, 2)}
    layers = [
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
        "text_encoder_2.text_model.a.q_proj",
    ]
    tensors = {f"{layer}.{end}": value.clone() for layer in layers for end, value in ends.items()}
    save_file(tensors, tmp_path / "both.safetensors")
    with caplog.at_level(logging.WARNING):
        one.model.adapt({str(tmp_path / "both.safetensors"): 1.0})
    assert "both.safetensors: 1 layers are of a text encoder that pipeline does not have" in caplog.text
    save_file({k: v for k, v in tensors.items() if k.startswith(layers[1])}, tmp_path / "only.safetensors")
    with pytest.raises(
        MultigenError, match=r"text_encoder_2.text_model.a.q_proj: there is no such text encoder"
    ):
        one.model.adapt({str(tmp_path / "only.safetensors"): 1.0})
