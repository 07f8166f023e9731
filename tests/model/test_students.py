"""A student is distilled from shipped weights by the one trainer, and samples beside them with `fast`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import multigen
from multigen.errors import MultigenError, RecipeError
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, override_recipe, parse_recipe
from multigen.recipe.manifest import read as read_manifest
from multigen.recipe.sampling import sampling_recipe
from multigen.recipe.students import sampling_of, student_file
from multigen.runs import jobs
from multigen.runs.sample import sample
from multigen.storage import lora

DISTILLED = [
    "weights=null", "train.init=image_digits", "train.adapter={name: lora, rank: 2, alpha: 2, targets: [linears]}",
    "+train.distill={teacher: image_digits, method: {name: progressive, substeps: 2}}", "train.cond_dropout=0",
    "sampler={name: ddim}", "guide={name: plain}", "sample.steps=2", "train.steps=2", "train.minutes=null",
    "train.batch=2", "train.warmup=0", "train.ema_decay=0", "train.preview_every=0", "train.tensorboard=false",
    "train.held_out_every=0", "train.precision=fp32", "train.lr=0.1",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run folder of a distillation of the shipped digits."""
    folder = tmp_path_factory.mktemp("distilled") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        yield jobs.train(load_recipe("image_digits", DISTILLED), out=folder, device="cpu", quiet=True)


def test_the_header_of_a_student_says_how_it_samples(run: Path) -> None:
    how = sampling_of(run / lora.FILE)
    assert how["sampler"] == {"name": "ddim"} and how["guide"] == {"name": "plain"}
    assert how["sample"]["steps"] == 2
    assert student_file(None, str(run)) == run / lora.FILE
    assert sampling_of(multigen_weights()) == {}


def multigen_weights() -> Path:
    from multigen.recipe.paths import shipped_weights

    return shipped_weights()["image_digits"]


def test_fast_samples_as_the_student_does_and_overrides_win(run: Path) -> None:
    teacher = load_recipe("image_digits")
    fast = load_recipe("image_digits", [f"fast={run}"])
    assert fast.fast == str(run) and fast.weights == "image_digits"
    assert (fast.sampler.name, fast.guide.name, fast.sample.steps) == ("ddim", "plain", 2)
    assert fast.sample.prompts == teacher.sample.prompts and fast.modality == teacher.modality
    assert load_recipe("image_digits", [f"fast={run}", "sample.steps=5"]).sample.steps == 5
    assert parse_recipe(to_yaml(fast), "here") == fast
    assert (
        override_recipe(fast, ["sample.steps=3"]).sample.steps == 3
    )  # the student's settings are not laid over it
    assert sampling_recipe(teacher, [f"fast={run}"]).sampler.name == "ddim"
    with pytest.raises(RecipeError, match="fast: false is not allowed"):
        override_recipe(fast, ["fast=false"])


def test_a_recipe_file_that_asks_for_it_says_more_than_the_student(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\ndefaults: [image_digits]\nfast: {run}\nsample: {{steps: 7}}\n")
    mine = load_recipe(str(path))
    assert (mine.sampler.name, mine.sample.steps) == ("ddim", 7)


def test_it_makes_other_media_than_its_teacher_and_the_manifest_says_that_it_did(
    run: Path, tmp_path: Path
) -> None:
    teacher, student = (multigen.load("image_digits", fast=fast, device="cpu") for fast in (False, str(run)))
    made = [model.generate("3", seed=4)[0].tensor for model in (teacher, student)]
    assert not torch.equal(*made)
    assert student.weights_hash() != teacher.weights_hash()
    with student.bare():
        assert student.weights_hash() == teacher.weights_hash()
    own = multigen.load(run, device="cpu").generate("3", seed=4)[0].tensor
    torch.testing.assert_close(made[1], own)
    fast = [f"fast={run}", "sample.prompts=['3']"]
    folder = sample(
        "image_digits", overrides=fast, seed=4, n=1, out=tmp_path / "out", device="cpu", quiet=True
    )
    manifest = read_manifest(Path(folder))
    assert manifest is not None
    (entry,) = manifest["files"]
    assert entry["fast"]["student"] == f"run/{lora.FILE}" and len(entry["fast"]["sha256"]) == 64
    assert entry["steps"] == 2 and entry["sampler"] == {"name": "ddim"}
    assert entry["weights_hash"] == student.weights_hash()


def test_exported_in_half_it_makes_nearly_the_same(run: Path, tmp_path: Path) -> None:
    file = multigen.export(run, tmp_path / "fast.safetensors", half=True)
    assert file.stat().st_size < 0.6 * (run / lora.FILE).stat().st_size
    whole, half = (multigen.load("image_digits", fast=str(one), device="cpu") for one in (run, file))
    made = [model.generate("3", seed=4)[0].tensor for model in (whole, half)]
    assert float((made[0] - made[1]).abs().mean()) < 0.02
    merged = half.save(tmp_path / "whole.safetensors")
    torch.testing.assert_close(multigen.load(merged, device="cpu").generate("3", seed=4)[0].tensor, made[1])


def test_what_has_no_student_is_refused(run: Path) -> None:
    for name in ("image_digits", "lora_emoji"):
        with pytest.raises(RecipeError, match=r"fast: .* has no student that is shipped"):
            load_recipe(name, ["fast=true"])
    with pytest.raises(RecipeError, match=r"fast: 'nowhere' is not allowed|fast: .*nowhere"):
        load_recipe("image_digits", ["fast=nowhere"])
    with pytest.raises(RecipeError, match="is no student: its header does not say how it samples"):
        load_recipe("image_digits", [f"fast={multigen_weights()}"])
    with pytest.raises(RecipeError, match="is a LoRA itself"):
        multigen.load(run, fast=str(run), device="cpu")
    student = multigen.load("image_digits", fast=str(run), device="cpu")
    with pytest.raises(MultigenError, match=r"guidance_scale: 3 is not allowed with fast"):
        student.generate("3", guidance_scale=3)
    with pytest.raises(MultigenError, match="the requests of one model share its weights"):
        multigen.load("image_digits", device="cpu").batcher(multigen.Request("3", overrides=(f"fast={run}",)))


def test_a_teacher_of_another_kind_is_refused(tmp_path: Path) -> None:
    wrong = [*DISTILLED, "train.distill.teacher=image_emoji", "train.init=image_digits"]
    with pytest.raises(
        RecipeError, match=r"train.distill.teacher: image_emoji was trained with other settings"
    ):
        jobs.train(load_recipe("image_digits", wrong), out=tmp_path / "run", device="cpu", quiet=True)


@pytest.mark.parametrize("how", ["train.keep_best=true", "train.patience=2"])
def test_a_loss_that_does_not_tell_students_apart_chooses_none(how: str, tmp_path: Path) -> None:
    method = "+train.distill={teacher: image_digits, method: {name: consistency}}"
    others = [one for one in DISTILLED if "distill" not in one]
    recipe = load_recipe("image_digits", [*others, method, "train.held_out_every=1", how])
    with pytest.raises(
        RecipeError, match=r"is not allowed with train.distill.method consistency.*normalised"
    ):
        jobs.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)


def test_it_resumes_bit_for_bit(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from multigen.training.trainer import Trainer

    inner, made = Trainer._update, []

    def stopped(self: Trainer, batch):  # type: ignore[no-untyped-def]
        made.append(1)
        if len(made) == 2:
            raise KeyboardInterrupt
        return inner(self, batch)

    recipe = load_recipe("image_digits", [*DISTILLED, "train.checkpoint_every=1"])
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", stopped)
        with pytest.raises(KeyboardInterrupt):
            jobs.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    jobs.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    whole, parts = (lora.read(folder / lora.FILE).pairs for folder in (run, tmp_path / "parts"))
    assert all(
        torch.equal(whole[k].down, parts[k].down) and torch.equal(whole[k].up, parts[k].up) for k in whole
    )
