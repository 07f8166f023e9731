"""LoRA: trained beside a frozen base, read by diffusers, added by weight, refused where it does not fit."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor

import multigen
from multigen.cli.main import main
from multigen.core import Cond, CondSpec, Noise
from multigen.errors import MultigenError, RecipeError
from multigen.model.compatibility import check_combination
from multigen.model.export import export
from multigen.model.loras import warn_of_base
from multigen.model.model import Model
from multigen.model.source import read_weights
from multigen.model.weights import base_hashes
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, parse_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part, build
from multigen.runs import jobs as runs
from multigen.storage import lora
from multigen.training import checkpoint as checkpoints
from multigen.training.adapter import Lora
from multigen.training.trainer import Trainer

SMALL = [
    "train.minutes=null",
    "train.batch=4",
    "train.lr=1e-2",
    "train.warmup=0",
    "train.held_out_every=0",
    "train.preview_every=0",
    "train.tensorboard=false",
    "conditioner.name=none",
    "modality.size=16",
    "sample.steps=2",
    "sample.n=1",
    "sample.prompts=['']",
]
NETWORK = ["backbone.widths=[16,16]", "backbone.attention=[false,true]"]


def pictures(folder: Path, n: int = 4) -> Path:
    folder.mkdir()
    for k in range(n):
        image = Image.new("RGB", (16, 16), (20, 40, 110))
        ImageDraw.Draw(image).ellipse((2 + k, 3, 11 + k % 3, 13), outline=(170, 215, 255))
        image.save(folder / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures, a base that was trained a little, and a LoRA on it: pictures/, base/, tuned/."""
    home = tmp_path_factory.mktemp("lora")
    pictures(home / "pictures")
    recipe = load_recipe(
        "image_folder", [*SMALL, *NETWORK, f"data.path={home / 'pictures'}", "train.steps=3"]
    )
    runs.train(recipe, out=home / "base", device="cpu", quiet=True)
    runs.train(tuning(home), out=home / "tuned", device="cpu", quiet=True)
    return home


def tuning(home: Path, *overrides: str) -> Recipe:
    adapter = "train.adapter={name: lora, rank: 2, alpha: 3, targets: [attention, convolutions]}"
    options = [*SMALL, *NETWORK, f"data.path={home / 'pictures'}", "train.steps=6", "train.ema_decay=0.5"]
    options += [f"train.init={home / 'base'}", adapter, "data.held_out=0", "name=tuned", "weights=null"]
    return load_recipe("image_folder", [*options, *overrides])


def made(model: Model) -> Tensor:
    return model.generate("", n=2, seed=3, steps=3)[1].tensor


# --- training ---------------------------------------------------------------------------------------------------


def test_only_the_adapter_learns_and_is_kept(home: Path) -> None:
    newest = checkpoints.newest(home / "tuned" / "checkpoints")
    assert newest is not None
    tensors = checkpoints.load(newest).tensors
    for name in ("weights", "ema"):
        assert tensors[name]
        assert all(".lora_A." in k or ".lora_B." in k for k in tensors[name])
    assert not (home / "tuned" / "weights.safetensors").exists()
    base, tuned = multigen.load(home / "base", device="cpu"), multigen.load(home / "tuned", device="cpu")
    before, after = base.state_dict(), tuned.state_dict()
    assert before.keys() == after.keys()
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved
    assert all(before[k].ndim > 1 for k in moved)
    assert not any(".film." in k for k in moved)  # linear, but in no attention
    assert any("attention.query" in k for k in moved) and any("conv1" in k for k in moved)
    size = (home / "tuned" / lora.FILE).stat().st_size
    assert size < (home / "base" / "weights.safetensors").stat().st_size


def test_resume_is_exact(home: Path, tmp_path: Path) -> None:
    inner = Trainer._update

    def stop_at_four(self: Trainer, batch: Any) -> dict[str, float]:
        if self.step == 4:
            raise KeyboardInterrupt
        return inner(self, batch)

    recipe = tuning(home, "train.checkpoint_every=3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_update", stop_at_four)
        with pytest.raises(KeyboardInterrupt):
            runs.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    assert [p.name for p in checkpoints.found(tmp_path / "parts" / "checkpoints")] == ["step-00000003"]
    half = multigen.load(tmp_path / "parts", device="cpu")  # its average so far, on its base
    assert half.loras.own is not None and half.loras.own.about["base_hash"]
    runs.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    for file in ("weights", "ema", "optimizer"):
        one, two = (
            load_file(f / "checkpoints" / "step-00000006" / f"{file}.safetensors")
            for f in (home / "tuned", tmp_path / "parts")
        )
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)
    assert (home / "tuned" / lora.FILE).read_bytes() == (tmp_path / "parts" / lora.FILE).read_bytes()


def test_another_base_is_refused_on_resume(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "tuned", tmp_path / "tuned")
    shutil.copytree(home / "base", tmp_path / "base")
    path = tmp_path / "base" / "weights.safetensors"
    model = multigen.load(home / "base", device="cpu")
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(0.1)
    model.save(path)
    # The same path, other weights: what the recipe says has not changed.
    text = (
        (tmp_path / "tuned" / "recipe.yaml").read_text().replace(str(home / "base"), str(tmp_path / "base"))
    )
    (tmp_path / "tuned" / "recipe.yaml").write_text(text)
    recipe = load_recipe(str(tmp_path / "tuned"), ["train.steps=8"])
    with pytest.raises(MultigenError, match="the adapter was trained on other weights"):
        runs.train(recipe, out=tmp_path / "tuned", device="cpu", quiet=True)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_change_is_what_peft_computes_in_every_modality(axes: int) -> None:
    """Our sum of matrices, added to the weights, answers as peft's layers beside the weights do."""
    given = {"axes": axes, "channels": 2, "out_channels": 2, "cond": CondSpec(tokens=6)}
    part = Part("unet", {"widths": [8, 16], "blocks": 1, "attention": [False, True]})
    torch.manual_seed(0)
    plain, adapted = build("backbone", part, given=given), build("backbone", part, given=given)
    with torch.no_grad():
        for p in plain.parameters():
            p.add_(0.1 * torch.randn(p.shape))  # what starts at zero answers nothing
    adapted.load_state_dict(plain.state_dict())
    adapter = Lora(rank=3, alpha=5.0, targets=("linears", "convolutions"))
    layers = adapter.layers(plain)
    over_time = [n for n in layers if "time_" in n]
    assert bool(over_time) == (axes == 3)
    adapter.inject(adapted, build("conditioner", Part("none")), seed=1)
    learned = {f"backbone.{n}": p for n, p in adapted.named_parameters() if ".lora_" in n}
    with torch.no_grad():
        for p in learned.values():
            p.normal_(std=0.2)
    pairs = adapter.learned(learned, adapted.published)
    assert len(pairs) == len(layers)
    x = Noise([1, 2], (2, *(4,) * (axes - 1), 8))("start")
    cond = Cond(tokens=torch.randn(2, 3, 6), mask=torch.ones(2, 3, dtype=torch.bool))
    with torch.no_grad():
        wanted, before = adapted(x, torch.ones(2), cond), plain(x, torch.ones(2), cond)
        made = lora.Adapter(pairs, {}, "test")
        lora.MergedWeights().set([(lora.deltas(made, plain.hosts(), "test"), 1.0)])
        torch.testing.assert_close(plain(x, torch.ones(2), cond), wanted, rtol=1e-3, atol=1e-4)
    assert (wanted - before).abs().max() > 0.1


# --- sampling ---------------------------------------------------------------------------------------------------


def test_weights_add_up_and_zero_is_the_base(home: Path, tmp_path: Path) -> None:
    first = lora.read(home / "tuned" / lora.FILE)
    other = {k: lora.Pair(p.down.flip(0) * 2, p.up.roll(1, 0), 1.5) for k, p in first.pairs.items()}
    file = lora.write(tmp_path / "other.safetensors", lora.Adapter(other, first.about, "other"))
    base = multigen.load(home / "base", device="cpu")
    before = {k: v.clone() for k, v in base.state_dict().items()}
    plain = made(base)
    base.adapt({str(home / "tuned"): 0.0, str(file): 0})
    assert torch.equal(made(base), plain)
    base.adapt({str(home / "tuned"): 0.7, str(file): -0.4})
    both = base.state_dict()
    for layer, pair in first.pairs.items():
        name = f"{layer}.weight"
        second = other[layer]
        change = 0.7 * torch.einsum("or,ri...->oi...", pair.up.flatten(1), pair.down)
        change = change - 0.4 * 1.5 * torch.einsum("or,ri...->oi...", second.up.flatten(1), second.down)
        torch.testing.assert_close(both[name], before[name] + change, rtol=1e-4, atol=1e-6)
    assert (made(base) - plain).abs().max() > 1e-3
    with base.bare():
        assert torch.equal(made(base), plain)
    base.adapt({str(home / "tuned"): 1.0})
    assert torch.equal(made(base), made(multigen.load(home / "tuned", device="cpu")))
    base.adapt({})
    assert all(torch.equal(v, before[k]) for k, v in base.state_dict().items())


def test_python_recipe_and_command_say_the_same(home: Path, tmp_path: Path, capsys: Any) -> None:
    model = multigen.load(home / "base", loras={str(home / "tuned"): 0.5}, device="cpu")
    out = tmp_path / "out"
    argv = ["sample", str(home / "base"), f"loras=[{{path: {home / 'tuned'}, weight: 0.5}}]", "-n", "2"]
    assert main([*argv, "--seed", "3", "--steps", "3", "--out", str(out), "--quiet"]) == 0
    files = json.loads((out / "manifest.json").read_text())["files"]
    assert files[0]["loras"] == [{"path": str(home / "tuned"), "weight": 0.5}]
    assert files[0]["weights_hash"] == model.weights_hash()
    picture = model.modality.read(out / files[1]["file"])
    assert (picture - made(model)).abs().max() < 0.01
    recipe = model.recipe
    assert parse_recipe(to_yaml(recipe), "again") == recipe
    assert load_recipe("image_emoji", ["loras=[a, {path: b, weight: 2}]"]).loras[0].weight == 1


def test_export_gives_the_lora_or_all_in_one(home: Path, tmp_path: Path) -> None:
    small = export(home / "tuned", tmp_path / "small.safetensors")
    assert small.read_bytes() == (home / "tuned" / lora.FILE).read_bytes()
    assert str(home).encode() not in small.read_bytes()
    whole = export(home / "tuned", tmp_path / "whole.safetensors", merge=True)
    assert str(home).encode() not in whole.read_bytes()
    model = multigen.load(whole, device="cpu")
    assert model.loras.own is None
    assert torch.equal(made(model), made(multigen.load(home / "tuned", device="cpu")))
    assert read_weights(whole).keys() == model.state_dict().keys()  # what another training can start from


# --- refusals ---------------------------------------------------------------------------------------------------


def said(capsys: Any, *argv: str) -> str:
    assert main(list(argv)) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    return err


def test_a_lora_for_another_network_says_which(home: Path, tmp_path: Path, capsys: Any) -> None:
    path = home / "tuned" / lora.FILE
    text = said(capsys, "sample", "image_digits", f"loras=[{path}]", "--out", str(tmp_path / "o"))
    assert "is for another network than image_digits: backbone." in text
    assert "is for weights [16, 16" in text or "there is no such layer" in text
    assert "It was made for base." in text
    foreign = {f"unet.{k}": v for k, v in load_file(path).items()}
    save_file(foreign, tmp_path / "foreign.safetensors")
    model = multigen.load(home / "base", device="cpu")
    with pytest.raises(MultigenError, match=r"unet\..*there is no such layer.*and \d+ more.*does not name"):
        model.adapt({str(tmp_path / "foreign.safetensors"): 1})
    assert torch.equal(made(model), made(multigen.load(home / "base", device="cpu")))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loras=[{path: nowhere, weight: 1}]", "loras: nowhere: no such file"),
        ("loras=[{path: PICTURES}]", "there is no LoRA in this folder"),
        ("loras=[{path: BASE}]", "there is no LoRA in this folder"),
        ("loras=[{path: BASE/weights.safetensors}]", "is not a tensor of a LoRA in diffusers' format"),
        ("loras=[{path: PICKLE}]", "never from pickles"),
        ("loras=[{path: DAMAGED}]", "not a readable safetensors file"),
        ("loras=[{path: TUNED, weight: much}]", r"loras.0.weight: 'much' is not allowed"),
        ("loras=[{path: TUNED, weight: .inf}]", "weight|finite"),
        ("loras=[{path: TUNED, wieght: 1}]", "Did you mean 'weight'"),
        ("loras=[{weight: 1}]", r"loras.0.path: missing"),
    ],
)
def test_what_is_no_lora_is_refused_in_one_line(
    home: Path, tmp_path: Path, capsys: Any, override: str, words: str
) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "lora.bin")
    (tmp_path / "damaged.safetensors").write_bytes((home / "tuned" / lora.FILE).read_bytes()[:999])
    places = {"PICTURES": home / "pictures", "BASE": home / "base", "TUNED": home / "tuned"}
    places |= {"PICKLE": tmp_path / "lora.bin", "DAMAGED": tmp_path / "damaged.safetensors"}
    for name, path in places.items():
        override = override.replace(name, str(path))
    text = said(capsys, "sample", str(home / "base"), override, "--out", str(tmp_path / "out"))
    assert re.search(words, text), text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.adapter.rank=0", r"rank: 0 is not allowed. Allowed: a whole number, at least 1"),
        ("train.adapter.rank=two", "train.adapter.rank: 'two' is not allowed"),
        ("train.adapter.alpha=0", "alpha: 0.0 is not allowed"),
        ("train.adapter.targets=[]", "targets: .. is not allowed"),
        ("train.adapter.targets=[atention]", "Did you mean 'attention'"),
        ("train.adapter.name=dora", "Did you mean 'lora'"),
        ("train.init=null", "train.init: null is not allowed with train.adapter"),
    ],
)
def test_wrong_adapters_are_refused_before_any_work(home: Path, override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_combination(tuning(home, override))


def test_without_peft_training_says_so_and_sampling_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "peft" else find(n, *a))
    with pytest.raises(RecipeError, match=r'needs the package peft: pip install -e ".*\[lora\]"'):
        runs.train(tuning(home), out=tmp_path / "new", device="cpu", quiet=True)
    assert not (tmp_path / "new").exists()
    assert multigen.load(home / "tuned", device="cpu").generate("", steps=1)


def test_a_lora_is_no_model_and_no_start(home: Path, tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match="a LoRA is no model by itself; it was made for base"):
        multigen.load(home / "tuned" / lora.FILE)
    with pytest.raises(MultigenError, match="holds a LoRA, no whole model.*--merge"):
        runs.train(tuning(home, f"train.init={home / 'tuned'}"), out=tmp_path / "x", device="cpu", quiet=True)
    with pytest.raises(MultigenError, match="no LoRA to merge"):
        export(home / "base", tmp_path / "b.safetensors", merge=True)
    pairs = {"backbone.enter": lora.Pair(torch.full((1, 2), torch.nan), torch.zeros(3, 1))}
    lora.write(tmp_path / "nan.safetensors", lora.Adapter(pairs, {}, ""))
    with pytest.raises(MultigenError, match="backbone.enter: contains non-finite numbers"):
        lora.read(tmp_path / "nan.safetensors")


def test_a_lora_for_other_weights_of_the_network_is_warned_of(home: Path, caplog: Any) -> None:
    model = multigen.load(home / "base", device="cpu")
    adapter = lora.read(home / "tuned" / lora.FILE)
    assert adapter.about["base_hash"] == {"fp32": model.weights_hash()}
    warn_of_base([adapter], model.state_dict())
    assert not caplog.records
    other = dataclasses.replace(adapter, about={**adapter.about, "base_hash": {"fp32": "other"}})
    warn_of_base([other], model.state_dict())
    assert "was trained on other weights" in caplog.text


def test_a_base_held_in_another_dtype_is_known_again(home: Path, caplog: Any) -> None:
    """fp32 rounds to bf16 as bf16 is held; bf16 and fp16 cannot be compared."""
    weights = multigen.load(home / "base", device="cpu").state_dict()
    held = {d: {n: t.to(d) for n, t in weights.items()} for d in (torch.bfloat16, torch.float16)}
    adapter = lora.read(home / "tuned" / lora.FILE)
    for trained, used in [
        (weights, held[torch.bfloat16]),
        (held[torch.float16], weights),
        (held[torch.bfloat16], held[torch.float16]),
    ]:
        about = {**adapter.about, "base_hash": base_hashes(trained, pretrained=True)}
        warn_of_base([dataclasses.replace(adapter, about=about)], used)
        assert not caplog.records
        other = {name: t + 0.1 if t.is_floating_point() else t for name, t in used.items()}
        warn_of_base([dataclasses.replace(adapter, about=about)], other)
        comparable = trained is weights or used is weights
        assert len(caplog.records) == comparable
        caplog.clear()


@pytest.mark.parametrize("entry", ["multigen", "lora_adapter_metadata"])
def test_a_header_nested_without_end_is_damaged(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "deep.safetensors"
    save_file({"a.lora_A.weight": torch.zeros(1, 1)}, path, {entry: "[" * 100_000})
    with pytest.raises(MultigenError, match="its header is damaged"):
        lora.read(path)
