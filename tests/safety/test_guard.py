"""The guard of a model: what is refused, blurred and noted, wherever media are made."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import multigen
from multigen import registry
from multigen.cli.main import main
from multigen.errors import MultigenError, RecipeError
from multigen.generation.asked_texts import asked_texts
from multigen.generation.plan import plan
from multigen.generation.request import Request
from multigen.model.guarding import guarded
from multigen.model.model import Model
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, override_recipe, parse_recipe
from multigen.recipe.paths import absolute, public
from multigen.registry import Part
from multigen.safety import Blocked, Finding
from multigen.safety.guard import Guard, with_standard
from multigen.safety.pictures import blurred, sampled
from tests.model.test_model import small


class Bright:
    """Media whose mean is above a threshold."""

    reads = ("image", "video", "audio")

    def __init__(
        self, *, threshold: float = -1.0, action: Literal["block", "blur", "flag"] = "block", only: str = ""
    ) -> None:
        self.action: Literal["block", "blur", "flag"] = action
        self.threshold = threshold
        self.seen: list[tuple[int, ...]] = []
        self.reads = (only,) if only else Bright.reads

    def look(self, content: str | Tensor) -> Finding | None:
        assert isinstance(content, Tensor)
        self.seen.append(tuple(content.shape))
        score = float(content.mean() + 1) / 2
        return (
            Finding("bright", score, (self.threshold + 1) / 2) if score > (self.threshold + 1) / 2 else None
        )


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {**registry._registered, ("filter", "bright"): Bright})


@pytest.fixture(scope="module")
def digits() -> Model:
    return small("image_digits")


def guard(model: Model, *filters: str, **more: str) -> Guard:
    rest = [f"safety.{k}={v}" for k, v in more.items()]
    return guarded(override_recipe(model.recipe, [f"safety.filters=[{','.join(filters)}]", *rest]))


def test_nothing_looks_unless_it_is_asked(digits: Model) -> None:
    assert not digits.guard.is_on
    (medium,) = digits.generate("7", steps=1)
    assert medium.flags == ()
    assert "safety" not in to_yaml(digits.recipe)


def test_block_refuses_prompts_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = multigen.load("image_emoji", device="cpu")
    monkeypatch.setattr(model, "guard", guard(model, "words"))
    monkeypatch.setattr(model.denoiser, "forward", lambda *_: pytest.fail("the network was called"))
    apple = torch.zeros(model.modality.shape())
    for asked in (
        lambda: model.generate("a n4ked man", steps=1),
        lambda: model.generate(["red apple", "nu\u200bde"], steps=1),
        lambda: model.generate(
            "apple", guide={"name": "compose", "prompts": ["n.u.d.e"], "weights": [1.0]}, steps=1
        ),
        lambda: model.edit(apple, "red apple", invert="naked", steps=1),
        lambda: model.blend(("red apple", "nude"), n=2),
        lambda: model.trace("nude"),
        lambda: model.stream([Request("apple"), Request("nude")]),
    ):
        with pytest.raises(Blocked, match=r"prompt: refused by the filter words \(sexual\)"):
            asked()
    # That is what is wished.
    safe = "modifiers=[{name: safe, concept: nudity}]"
    model.batcher(Request("apple", negative_prompt="nude", steps=1, overrides=(safe,)))


def test_a_negative_prompt_is_looked_at_where_guidance_leads_to_it(digits: Model) -> None:
    def heard(scale: float | None, **guide: Any) -> bool:
        part = Part(guide.pop("name", "cfg"), guide)
        own = Request("7", guide=part, guidance_scale=scale, negative_prompt="bad")
        theirs = dataclasses.replace(own, negative_prompt=None, overrides=("sample.negative_prompt=worse",))
        found = [
            "bad" in asked_texts(own, plan(digits, own)),
            "worse" in asked_texts(theirs, plan(digits, theirs)),
        ]
        assert found[0] is found[1]
        return found[0]

    for scale in (0.0, -2.0, 0.99):
        assert all(heard(scale, name=name) for name in ("cfg", "apg", "cfg_zero", "compose"))
    assert not any(heard(3, name=name) for name in ("cfg", "apg", "cfg_zero", "compose"))
    assert not heard(None) and not heard(3, first=1.0) and heard(3, first=0.0) and heard(1, first=0.5)
    assert heard(3, name="apg", norm=-1.0) and heard(3, name="apg", momentum=-1.5)
    assert heard(3, name="compose", prompts=["7"], weights=[-5.0])
    assert not heard(3, name="compose", prompts=["7"], weights=[1.0])
    model = small("image_digits")
    model.guard = guard(model, "words")
    with pytest.raises(Blocked):
        model.batcher(Request("7", negative_prompt="nude", guidance_scale=0.0))


def test_every_text_is_flagged(digits: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("5\n")
    own = f"{{name: words, action: flag, own_only: true, path: {tmp_path / 'own.txt'}}}"
    monkeypatch.setattr(digits, "guard", guard(digits, own))
    plain = digits.generate("7", steps=1)
    assert plain[0].flags == ()
    composed = {"name": "compose", "prompts": ["5", "5 "], "weights": [1.0, 1.0]}
    made = (
        digits.generate("7", guide=composed, steps=1),
        digits.generate("7", negative_prompt="5", guidance_scale=0.5, steps=1),
        digits.blend((Request("7", steps=1), Request("5", steps=1)), n=2),
        digits.edit(plain[0], "7", invert="5", steps=2),
    )
    for one in made:
        assert [(flag.filter, flag.label) for flag in one[0].flags] == [("words", "own")]


def test_actions_on_media(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = digits.generate("7", steps=1)[0].tensor
    monkeypatch.setattr(digits, "guard", guard(digits, "{name: bright, action: flag}"))
    (flagged,) = digits.generate("7", steps=1)
    assert torch.equal(flagged.tensor, plain)
    (flag,) = flagged.flags
    assert (flag.filter, flag.label, flag.action) == ("bright", "bright", "flag") and 0 < flag.score < 1
    monkeypatch.setattr(digits, "guard", guard(digits, "{name: bright, action: blur}"))
    (hidden,) = digits.generate("7", steps=1)
    assert torch.allclose(hidden.tensor, blurred(plain)) and not torch.allclose(
        hidden.tensor, plain, atol=0.05
    )
    monkeypatch.setattr(digits, "guard", guard(digits, "bright"))
    with pytest.raises(Blocked, match=r"refused by the filter bright \(bright 0\.\d\d, allowed below 0\)"):
        digits.generate("7", steps=1)
    monkeypatch.setattr(digits, "guard", guard(digits, "{name: bright, threshold: 0.99}"))
    assert digits.generate("7", steps=1)[0].flags == ()
    monkeypatch.setattr(digits, "guard", guard(digits, "{name: bright, only: audio}"))
    assert digits.generate("7", steps=1)[0].flags == ()


def test_one_that_is_refused_leaves_the_others(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = digits.generate("7", n=2, steps=1)
    between = float(first.tensor.mean() + second.tensor.mean()) / 2
    monkeypatch.setattr(digits, "guard", guard(digits, f"{{name: bright, threshold: {between}}}"))
    made, batcher = [], digits.batcher(Request("7", steps=1), n=2)
    with pytest.raises(Blocked):
        made += [place for place, _ in batcher] or made
    monkeypatch.setattr(
        digits, "guard", guard(digits, f"{{name: bright, threshold: {between}, action: flag}}")
    )
    again = digits.generate("7", n=2, steps=1)
    assert sorted(len(one.flags) for one in again) == [0, 1]


def test_edits_are_looked_at_whole(digits: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    one = guard(digits, "{name: bright, action: flag}")
    monkeypatch.setattr(digits, "guard", one)
    digits.edit(torch.zeros(3, 40, 32), "7", strength=0.5, steps=2)
    ((_, looked),) = one.filters
    assert isinstance(looked, Bright) and looked.seen == [(3, 40, 32)]


def test_sounds_are_silent_and_clips_are_blocks() -> None:
    assert blurred(torch.ones(2, 100)).abs().max() == 0
    clip = torch.rand(3, 4, 32, 64) * 2 - 1
    seen = blurred(clip)
    assert seen.shape == clip.shape and len(seen[0, 0].unique()) == 8 * 4
    assert torch.allclose(seen.mean(), clip.mean(), atol=1e-4)


def test_frames_are_sampled_evenly() -> None:
    clip = torch.linspace(-1, 1, 20).reshape(1, 20, 1, 1).expand(3, 20, 4, 4)
    levels = [one.getpixel((0, 0)) for one in sampled(clip, 3)]
    assert levels == [(0, 0, 0), (134, 134, 134), (255, 255, 255)]
    assert len(sampled(clip, 50)) == 20 and len(sampled(clip, 1)) == 1
    clear = torch.full((4, 2, 2), -1.0)
    assert sampled(clear, 1)[0].getpixel((0, 0)) == (255, 255, 255)


def test_the_log_holds_no_content(
    digits: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "safety.jsonl"
    monkeypatch.setattr(digits, "guard", guard(digits, "{name: bright, action: flag}", log=str(file)))
    with caplog.at_level(logging.INFO, "multigen.safety.guard"):
        digits.generate("7", steps=1, seed=5)
        with pytest.raises(Blocked):
            guard(digits, "words", log=str(file)).check_prompt(["a nude unicorn"])
    rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["filter"], row["label"], row["action"]) for row in rows] == [
        ("bright", "bright", "flag"), ("words", "sexual", "block"),
    ]  # fmt: skip
    assert set(rows[0]) == {"time", "model", "looked_at", "filter", "label", "score", "action"}
    assert "unicorn" not in file.read_text() + caplog.text and "safety: " in caplog.text
    with pytest.raises(MultigenError, match=r"safety\.log: .* cannot be written"):
        guard(digits, "words", log=str(tmp_path)).check_prompt(["nude"])
    with pytest.raises(RecipeError, match="safety.log: .* there is no folder"):  # before anything is found
        guard(digits, "words", log=str(tmp_path / "none" / "log")).check_prompt(["red"])


def test_previews_that_would_be_hidden_are_not_shown(digits: Model) -> None:
    (medium,) = digits.generate("7", steps=1)
    assert guard(digits, "{name: bright, action: flag}").passes(medium)
    assert not guard(digits, "{name: bright, action: blur}").passes(medium)
    assert digits.guard.passes(medium)


def test_the_manifest_says_what_was_found(tmp_path: Path, digits: Model) -> None:
    file = digits.save(tmp_path / "digits.safetensors")
    argv = ["sample", str(file), "--prompt", "7", "-n", "1", "--steps", "1", "--quiet", "--out"]
    assert main([*argv, str(tmp_path / "a"), "safety.filters=[{name: bright, action: flag}]"]) == 0
    (entry,) = json.loads((tmp_path / "a" / "manifest.json").read_text())["files"]
    (flag,) = entry["safety"]
    assert flag["filter"] == "bright" and flag["action"] == "flag"
    assert main([*argv, str(tmp_path / "b"), "safety.filters=[bright]"]) == 2
    assert not list((tmp_path / "b").glob("media/*"))


def test_a_trajectory_shows_nothing_that_is_blurred(
    tmp_path: Path, digits: Model, caplog: pytest.LogCaptureFixture
) -> None:
    file = digits.save(tmp_path / "digits.safetensors")
    argv = [
        "sample",
        str(file),
        "--prompt",
        "7",
        "-n",
        "1",
        "--steps",
        "1",
        "--quiet",
        "--trajectory",
        "--out",
    ]
    for action in ("flag", "blur"):
        assert (
            main([*argv, str(tmp_path / action), f"safety.filters=[{{name: bright, action: {action}}}]"]) == 0
        )
    assert list((tmp_path / "flag" / "trajectories").glob("*.png"))
    assert not list((tmp_path / "blur").glob("trajectories/*"))


def test_trainings_and_evaluations_are_not_filtered(digits: Model) -> None:
    from multigen.model.guarding import unguarded
    from multigen.runs.learner import model_of

    lines = ["safety.filters=[bright]", "sample.novelty={tries: 1}"]
    learner = model_of(override_recipe(digits.recipe, lines), "cpu")
    assert not learner.guard.is_on and learner.nearness is None
    assert learner.recipe.safety.filters and learner.recipe.sample.novelty is not None
    assert not unguarded(learner.recipe).is_on


def test_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("acme\n")
    lines = [
        f"safety.filters=[words,{{name: words, path: {tmp_path / 'own.txt'}}}]",
        f"safety.log={tmp_path}/log",
    ]
    recipe = load_recipe("image_digits", lines)
    assert parse_recipe(to_yaml(recipe), "text") == recipe == absolute(recipe)
    assert public(recipe).safety.filters == ()
    with pytest.raises(Blocked, match="own"):
        guarded(recipe).check_prompt(["ACME"])
    for wrong, said in (
        ("safety.filters=[wrods]", "Did you mean 'words'"),
        ("safety.filters=[{name: words, topisc: []}]", "topisc"),
        ("safety.checker=no", "safety.checker"),
        ("safety.filter=[]", "Did you mean 'filters'"),
    ):
        with pytest.raises(RecipeError, match=said):
            load_recipe("image_digits", [wrong])
    for wrong in (
        "{name: words, languages: [xx]}",
        "{name: nsfw, threshold: 2}",
        "{name: words, own_only: true}",
    ):
        with pytest.raises(MultigenError, match=r"safety\.filters\.0"):
            _ = guarded(load_recipe("image_digits", [f"safety.filters=[{wrong}]"])).filters


def test_a_request_changes_no_filters(digits: Model) -> None:
    with pytest.raises(MultigenError, match="safety: the requests of one model share"):
        digits.batcher(Request("7", overrides=("safety.filters=[words]",)))


def test_a_header_brings_no_filters_and_no_file_to_write(tmp_path: Path) -> None:
    from multigen.storage.tensors import read_header

    file = small("image_digits").save(tmp_path / "a.safetensors")
    assert "safety" not in read_header(file)["recipe"]
    _with_header(file, tmp_path / "b.safetensors", "safety: {filters: [words], log: /tmp/anything}\n")
    assert not multigen.load(tmp_path / "b.safetensors", device="cpu").guard.is_on


def _with_header(file: Path, out: Path, more: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(file, "pt") as opened:
        head = dict(opened.metadata())
    save_file(load_file(file), out, {**head, "recipe": head["recipe"] + more})


def test_standard_filters_are_added_once(digits: Model) -> None:
    names = [part.name for part in with_standard(digits.guard, "image").safety.filters]
    assert names == ["words", "nsfw"]
    assert [part.name for part in with_standard(digits.guard, "audio").safety.filters] == ["words"]
    own = guard(digits, "{name: words, action: flag}")
    kept = with_standard(own, "image").safety.filters
    assert [(part.name, part.args.get("action")) for part in kept] == [("words", "flag"), ("nsfw", None)]
