"""LoRAs as other programs write them, DoRA among them: each changes the weights as peft does, or is refused by name."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import multigen
from multigen.errors import MultigenError
from multigen.storage import lora
from tests.model.pipelines import tiny_pipeline

import peft  # isort: skip
from diffusers import UNet2DConditionModel  # isort: skip

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
TARGETS = [f"{ATTENTION}.to_k", f"{ATTENTION}.to_out.0", CONVOLUTION]
# Of the largest weight. fp32 makes 1e-7 of it in each of a few sums; DoRA taken for LoRA changes 3e-1.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sd")
    tiny_pipeline(home / "tiny")
    return home


def unet(home: Path) -> Any:
    return UNet2DConditionModel.from_pretrained(home / "tiny" / "unet", local_files_only=True)


def tuned(home: Path, **options: Any) -> Any:
    """A peft model with random matrices and magnitudes."""
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=TARGETS, **options)
    model = peft.get_peft_model(unet(home), config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_magnitude" in name:
                value.mul_(1 + 0.5 * torch.rand(value.shape, generator=generator))
            elif "lora_" in name:
                value.copy_(torch.randn(value.shape, generator=generator) / 4)
    return model


def merged(model: Any) -> dict[str, Tensor]:
    return dict(model.merge_and_unload().named_parameters())


def ours(home: Path, file: Path, weight: float = 1.0) -> dict[str, Tensor]:
    model = multigen.load(home / "tiny", loras={str(file): weight}, device="cpu")
    prefix = lora.prefixes(model.denoiser.backbone)[1]
    return {k.removeprefix(prefix): v for k, v in model.state_dict().items() if k.startswith(prefix)}


def check(home: Path, file: Path, theirs: dict[str, Tensor]) -> None:
    made, base = ours(home, file), dict(unet(home).named_parameters())
    changed = [name for name, value in theirs.items() if not torch.equal(value, base[name])]
    assert sorted(changed) == sorted(f"{t}.weight" for t in TARGETS)
    for name, value in theirs.items():
        torch.testing.assert_close(made[name], value, rtol=0, atol=TOLERANCE * float(value.abs().max()))


@pytest.mark.parametrize("options", [
    {}, {"use_dora": True}, {"use_rslora": True}, {"alpha_pattern": {CONVOLUTION: 2}}, {"rank_pattern": {"to_k": 5}},
], ids=str)  # fmt: skip
def test_what_peft_saves_is_read_as_peft_does(home: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    model = tuned(home, **options)
    model.save_pretrained(tmp_path / "peft")
    names = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.down_blocks") for name in names)
    check(home, tmp_path / "peft", merged(model))
    check(home, tmp_path / "peft" / "adapter_model.safetensors", merged(model))


def test_peft_without_its_configuration_is_warned_of(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tuned(home).save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").unlink()
    with caplog.at_level(logging.WARNING):
        adapter = lora.read(tmp_path / "adapter_model.safetensors")
    assert {pair.scale for pair in adapter.pairs.values()} == {1.0}
    assert "there is no adapter_config.json beside it, so alpha is taken to be the rank" in caplog.text


def pairs(model: Any) -> dict[str, dict[str, Tensor]]:
    """Layer -> its matrices and magnitude, from a peft model."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in model.named_parameters():
        layer, mark, part = name.removeprefix("base_model.model.").partition(".lora_")
        if mark:
            found.setdefault(layer, {})[part.split(".")[0].removesuffix("_vector")] = value.detach().clone()
    return found


def test_save_attn_procs(home: Path, tmp_path: Path) -> None:
    """Old diffusers: no `unet.`, and the layers' names inside the processor."""
    tensors = {}
    for layer, parts in pairs(tuned(home)).items():
        if ".attn" in layer:
            head, _, name = layer.removesuffix(".0").rpartition(".")
            tensors[f"{head}.processor.{name}_lora.down.weight"] = parts["A"]
            tensors[f"{head}.processor.{name}_lora.up.weight"] = 2 * parts["B"]  # alpha is in it
        else:
            tensors[f"{layer}.lora.down.weight"], tensors[f"{layer}.lora.up.weight"] = (
                parts["A"],
                2 * parts["B"],
            )
    save_file(tensors, tmp_path / "pytorch_lora_weights.safetensors")
    check(home, tmp_path, merged(tuned(home)))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("written", ["adapter", "kohya"])
def test_diffusers_and_kohya(home: Path, tmp_path: Path, written: str, dora: bool) -> None:
    file = tmp_path / "a.safetensors"
    if written == "adapter":  # diffusers' save_lora_adapter
        tensors = {}
        for layer, parts in pairs(tuned(home, use_dora=dora)).items():
            tensors[f"{layer}.lora_A.weight"], tensors[f"{layer}.lora_B.weight"] = parts["A"], parts["B"]
            if dora:
                tensors[f"{layer}.lora_magnitude_vector"] = parts["magnitude"]
        save_file(tensors, file, metadata={"lora_adapter_metadata": json.dumps({"r": 3, "lora_alpha": 6})})
    else:
        save_file(_kohya(pairs(tuned(home, use_dora=dora))), file)
    check(home, file, merged(tuned(home, use_dora=dora)))


def _kohya(layers: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    tensors = {}
    for layer, parts in layers.items():
        flat = f"lora_unet_{layer.replace('.', '_')}"
        tensors[f"{flat}.lora_down.weight"], tensors[f"{flat}.lora_up.weight"] = parts["A"], parts["B"]
        tensors[f"{flat}.alpha"] = torch.tensor(6.0)
        if "magnitude" in parts:
            shape = (-1, 1, 1, 1) if layer == CONVOLUTION else (-1, 1)
            tensors[f"{flat}.dora_scale"] = parts["magnitude"].reshape(shape)
    return tensors


def test_magnitudes_of_columns(home: Path, tmp_path: Path) -> None:
    """LyCORIS by default, and OneTrainer: a length for each input, [1, in]."""
    layers = pairs(tuned(home))
    base = dict(unet(home).named_parameters())
    expected = {}
    tensors = _kohya(layers)
    for layer, parts in layers.items():
        weight = base[f"{layer}.weight"].detach()
        changed = weight + 2 * torch.einsum("or,ri...->oi...", parts["B"].flatten(1), parts["A"]).view_as(
            weight
        )
        across = [a for a in range(weight.ndim) if a != 1]
        size = weight.pow(2).sum(across, keepdim=True).sqrt() * 1.3
        tensors[f"lora_unet_{layer.replace('.', '_')}.dora_scale"] = size
        expected[f"{layer}.weight"] = changed * size / changed.pow(2).sum(across, keepdim=True).sqrt()
    save_file(tensors, tmp_path / "a.safetensors")
    check(home, tmp_path / "a.safetensors", {**base, **expected})
    adapter = lora.read(tmp_path / "a.safetensors")
    names = {f"lora_unet_{layer.replace('.', '_')}": layer for layer in layers}
    again = lora.read(lora.write(tmp_path / "b.safetensors", adapter))
    for layer, pair in again.pairs.items():
        weight = base[names[layer] + ".weight"].detach()
        torch.testing.assert_close(pair.delta(weight), adapter.pairs[layer].delta(weight))


def test_weights_of_dora_run_from_the_base(home: Path, tmp_path: Path) -> None:
    tuned(home, use_dora=True).save_pretrained(tmp_path)
    base, whole = dict(unet(home).named_parameters()), ours(home, tmp_path)
    none, half = ours(home, tmp_path, 0.0), ours(home, tmp_path, 0.5)
    for name, value in base.items():
        assert torch.equal(none[name], value)
        torch.testing.assert_close(half[name], (value + whole[name]) / 2, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("keys", "kind"), [
    (["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"], "LoHa"), (["lokr_w1", "lokr_w2_a"], "LoKr"),
    (["lora_mid.weight", "lora_down.weight"], "LoCon with a Tucker decomposition"), (["oft_blocks"], "OFT"),
    (["diff", "diff_b"], "full weights"), (["a1.weight", "b1.weight"], "GLoRA"), (["weight", "on_input"], r"\(IA\)3"),
])  # fmt: skip
def test_other_kinds_are_refused_by_name(tmp_path: Path, keys: list[str], kind: str) -> None:
    name = "lora_unet_" + f"{ATTENTION}.to_k".replace(".", "_")
    file = tmp_path / "a.safetensors"
    save_file({f"{name}.{key}": torch.zeros(2, 2) for key in keys}, file)
    for act in (lora.read, multigen.load):
        with pytest.raises(MultigenError, match=rf"a\.safetensors: its kind is {kind}, which is not applied"):
            act(file)


def test_other_kinds_of_peft_are_refused_by_name(tmp_path: Path) -> None:
    save_file(
        {f"base_model.model.{ATTENTION}.to_k.x": torch.zeros(2)}, tmp_path / "adapter_model.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "XLORA"}')
    with pytest.raises(
        MultigenError, match=r"the adapter's kind is XLORA, which is not applied\. Applied: LORA\."
    ):
        lora.read(tmp_path / "adapter_model.safetensors")


def test_magnitudes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = {"unet.a.lora_A.weight": torch.ones(2, 8), "unet.a.lora_B.weight": torch.ones(4, 2)}
    save_file({**tensors, "unet.a.lora_magnitude_vector": torch.ones(8)}, tmp_path / "a.safetensors")
    with pytest.raises(MultigenError, match="unet.a: 8 magnitudes, for a weight of 4 x 8"):
        lora.read(tmp_path / "a.safetensors")
