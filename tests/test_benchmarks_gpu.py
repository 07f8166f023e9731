"""`python -m benchmarks.gpu`, each part small on the CPU; packs give the batches of the ordinary way."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load

import multigen
from benchmarks.gpu import made, mixed, networks, speed, truth
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.encoder import trimmed, whole
from benchmarks.gpu.jobs import tasks
from benchmarks.gpu.pack import evaluation, pack, unpacked
from benchmarks.gpu.report import Report
from benchmarks.gpu.small import small
from multigen.conditioners.text import Text
from multigen.conditioners.text_encoder import TextEncoder, packaged_folder
from multigen.core.denoiser import Denoiser
from multigen.core.predictions import eps
from multigen.core.schedules import scaled_linear
from multigen.model.build import build_dataset
from multigen.recipe.load import load_recipe
from multigen.training.loader import Order, batches

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
STATES = 0.04  # rms error of states with variance 1; 0.015 to 0.025 found, 0.9 between two captions
CAPTIONS = ["red apple, 3D", "two zebras next to a xylophone", "person: medium-dark skin tone", ""]
NAMES = ("red apple", "blue car", "green frog", "purple tomato", "pink heart", "grey cat")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six captioned pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for k, name in enumerate(NAMES):
        Image.new("RGB", (16, 16), (40 * k, 20, 200 - 30 * k)).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text(name)
    return folder


SMALL = [
    "modality.size=16", "backbone.widths=[16,32]", "backbone.attention=[false,true]", "data.held_out=0.3",
    "train.batch=4", "train.log_every=1", "sample.steps=2", "sample.prompts=[red apple]",
]  # fmt: skip


@pytest.fixture(scope="module")
def packed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pack")
    sizes = pack("image_folder", out, overrides=[f"data.path={pictures}", *SMALL], draws=2)
    assert sum(sizes.values()) < 30 * 2**20
    return out


# --- packs ------------------------------------------------------------------------------------------------------


def test_a_trimmed_encoder_gives_the_states_to_8_bits(tmp_path: Path) -> None:
    count = trimmed(packaged_folder(), CAPTIONS[1:], tmp_path / "packed")
    assert 100 < count < 400
    assert (tmp_path / "packed" / "model.safetensors").stat().st_size < 12e6  # 21.5e6 in fp16
    unpacked = whole(tmp_path / "packed", tmp_path / "whole")
    full, part = (TextEncoder(folder, 48) for folder in (packaged_folder(), unpacked))
    for caption, a, b in zip(CAPTIONS, full.states(CAPTIONS, CPU), part.states(CAPTIONS, CPU), strict=True):
        if caption not in CAPTIONS[1:]:
            continue
        assert full.words(caption) == part.words(caption)
        assert (a - b).square().mean().sqrt() < STATES  # of states with variance 1
    assert "[UNK]" not in part.words("an aardvark on a yacht")


def test_batches_of_a_pack_are_those_of_the_recipe(packed: Path, pictures: Path, tmp_path: Path) -> None:
    plain = load_recipe("image_folder", [f"data.path={pictures}", *SMALL])
    recipe, public = unpacked(packed, tmp_path / "media")
    assert public.data.args["path"] is None and public.conditioner.args.get("path") is None
    states = []
    for one in (plain, recipe):
        dataset = build_dataset(one)
        batch = next(batches(dataset, Order(dataset.split()[0], 8, 3), 5, 0))
        conditioner = Text(path=one.conditioner.args.get("path"))
        states.append((batch, conditioner(batch.given)))
    (a, mine), (b, theirs) = states
    assert torch.equal(a.media, b.media)
    assert a.given == b.given and a.ids == b.ids
    assert mine.tokens is not None and theirs.tokens is not None and mine.vector is not None
    assert torch.equal(mine.mask, theirs.mask)  # type: ignore[arg-type]
    assert (mine.tokens - theirs.tokens).square().mean().sqrt() < STATES
    assert (mine.vector - theirs.vector).square().mean().sqrt() < STATES


def test_evaluation_asks_for_what_was_trained_on_and_what_was_not(pictures: Path) -> None:
    dataset = build_dataset(load_recipe("image_folder", [f"data.path={pictures}", *SMALL]))
    train, held = dataset.split()
    asked = evaluation(dataset)
    assert len(asked) == 1500
    assert set(asked) == {dataset[k]["text"] for k in (*train, *held)}  # type: ignore[typeddict-item]


def test_a_training_from_a_pack_starts_from_its_weights(pictures: Path, tmp_path: Path) -> None:
    former = multigen.Model(load_recipe("image_folder", [f"data.path={pictures}", *SMALL]), device="cpu")
    with torch.no_grad():
        for parameter in former.denoiser.backbone.parameters():
            parameter.normal_(0, 0.1)
    init = former.save(tmp_path / "former.safetensors")
    overrides = [f"data.path={pictures}", *SMALL, f"train.init={init}"]
    pack("image_folder", tmp_path / "pack", overrides=overrides, draws=2)
    assert "former" not in (tmp_path / "pack" / "recipe.yaml").read_text()
    out = tmp_path / "out"
    still = ["--set", "train.lr=1e-12"]
    given = ["--train", str(tmp_path / "pack"), "--minutes", "0.3", "--device", "cpu", "--out", str(out)]
    assert main([*given, *still]) == 0
    made = load(b"".join(p.read_bytes() for p in sorted(out.glob("weights.part*"))))
    for name, value in former.denoiser.backbone.state_dict().items():
        torch.testing.assert_close(made[f"backbone.{name}"].float(), value, rtol=1e-3, atol=1e-6)


# --- training ---------------------------------------------------------------------------------------------------


def test_training_from_a_pack_leaves_weights_that_load_and_pictures(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["--train", str(packed), "--minutes", "0.4", "--device", "cpu", "--out", str(out)]
    assert main(given) == 0
    report = json.loads((out / "gpu-cpu-training.json").read_text())
    rows = {row["what"]: row for row in report["sections"]["training"]}
    assert rows["training"]["steps"] > 0
    assert not [row for row in rows.values() if "error" in row]
    assert len(list(out.iterdir())) <= 8
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"".join(p.read_bytes() for p in sorted(out.glob("weights.part*"))))
    model = multigen.load(weights, device="cpu")
    assert model.recipe.data.args["path"] is None
    assert model.generate("red apple", steps=1)[0].tensor.shape == (3, 16, 16)
    with tarfile.open(out / "samples.tar") as archive:
        names = archive.getnames()
        lines = archive.extractfile("evaluation/metadata.jsonl")
        assert lines is not None
        assert len(lines.read().splitlines()) == len([n for n in names if n.startswith("evaluation/0")])
    assert {"sheet.png", "sheet.json", "log.jsonl"} <= set(names)


def test_weights_are_cut_into_parts(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, public = unpacked(packed, tmp_path / "media")
    model = multigen.Model(recipe, device="cpu")
    monkeypatch.setattr(made, "PART", 100_000)
    row = made.weights(model, public, tmp_path)
    parts = sorted(tmp_path.glob("weights.part*"))
    assert row["parts"] == len(parts) > 1
    assert sum(p.stat().st_size for p in parts) == row["bytes"]
    assert model.recipe == recipe


# --- truth and speed --------------------------------------------------------------------------------------------


def test_truth_finds_a_wrong_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(tmp_path / "truth", CPU)
    rows = list(truth.every_sampler(report, CPU, ("image",), ["heun"]))
    assert [row["ok"] for row in rows] == [True]
    calls = []

    def wrong(kind: str, device: torch.device, precision: torch.dtype | None = None) -> Denoiser:
        made = small(kind, device, precision)
        calls.append(kind)
        if len(calls) == 2:
            with torch.no_grad():
                next(made.parameters()).add_(0.05)
        return made

    monkeypatch.setattr(truth, "small", wrong)
    assert [row["ok"] for row in truth.every_sampler(report, CPU, ("image",), ["heun"])] == [False]
    assert truth.judged("nothing", float("nan"))["ok"] is False


@pytest.mark.parametrize("check", [truth.half, truth.company])
def test_truth_holds_on_the_cpu(check) -> None:
    rows = list(check(CPU, ("image",)))
    assert rows
    assert all(row["ok"] for row in rows)


def test_across_and_one_rank() -> None:
    assert all(row["ok"] for row in [*truth.across(CPU), *truth.one_rank(CPU)])


def test_a_check_that_fails_is_a_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    report = Report(tmp_path / "r", CPU)
    with report.guarded("truth", "a check"):
        raise RuntimeError("device-side assert\nsecond line")
    report.add("truth", {"what": "another", "ok": True})
    kept = json.loads((tmp_path / "r.json").read_text())["sections"]["truth"]
    assert kept[0]["error"] == "RuntimeError: device-side assert"
    assert "test_benchmarks_gpu" in kept[0]["trace"]
    assert "| another |" in (tmp_path / "r.md").read_text()
    assert len(report.failures) == 1


def test_the_pair_has_equal_flops() -> None:
    meta = torch.device("meta")
    ours, peer = (networks.measured(make, 16) for make in networks.pair((32, 64), 16, meta))
    assert ours.flops == peer.flops > 0
    assert ours.parameters == pytest.approx(peer.parameters, rel=0.02)


def test_a_foreign_network_goes_through_the_driver_as_through_a_bare_loop() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(networks.stable(networks.SMALL, CPU, torch.float32), scaled_linear(), eps())
    with torch.no_grad():
        (row,) = mixed.driver_rows("small", denoiser, networks.SMALL, CPU, True)
        assert row["ratio"] > 0
        (row,) = mixed.mixed_rows("small", denoiser, networks.SMALL, CPU, True)
    assert 0 < row["ratio"] < 2
    assert row["pictures_per_s"] > 0


def test_speed_measures_in_processes_and_holds_to_the_bars(tmp_path: Path) -> None:
    out = tmp_path / "out"
    only = ["ours eager forward 1", "diffusers eager forward 1", "image_emoji eager 512"]
    given = [
        "--speed",
        "--tiny",
        "--recipe",
        "image_emoji",
        "--device",
        "cpu",
        "--out",
        str(out),
        "--budget",
        "8",
    ]
    assert main([*given, *(x for name in only for x in ("--only", name))]) == 0
    sections = json.loads((out / "gpu-cpu.json").read_text())["sections"]
    assert not [row for rows in sections.values() for row in rows if "error" in row]
    assert len(sections["speed"]) == 3
    (bar,) = sections["bars"]
    assert bar["ratio"] > 0


def test_bars_compare_what_was_measured_alike() -> None:
    rows = [
        {"what": "ours, compiled, forward, batch 32", "ms": 8.0},
        {"what": "diffusers, compiled, forward, batch 32", "ms": 10.0},
        {"what": "ours, compiled, training step, batch 32", "ms": 9.5},
        {"what": "diffusers, compiled, training step, batch 32", "ms": 10.0},
        {"what": "ours, eager, forward, batch 8", "ms": 5.0},
    ]
    found = {row["what"]: row for row in speed.bars(rows)}
    assert found["compiled, forward, batch 32: ours over diffusers"]["ok"] is True
    assert found["compiled, training step, batch 32: ours over diffusers"]["ok"] is False
    assert len(found) == 2
    assert len({t.name for t in tasks("image_emoji")}) == len(tasks("image_emoji"))
