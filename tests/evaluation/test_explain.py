"""Explanations tell the truth: what is left out, what is swapped, and that the medium stays what it is."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import math
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import multigen
from multigen.cli.main import main
from multigen.conditioners.speech import Speech
from multigen.core.noise import normal
from multigen.evaluation.explain import swap as module
from multigen.evaluation.explain.picture import decides_picture
from multigen.evaluation.explain.swap import Swapped, moved, place, row, swap
from multigen.evaluation.explain.words import tell_words
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.groups import wilson
from multigen.generation.batching import Batcher
from multigen.generation.noise_levels import Interval
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.generation.swap import Swap
from multigen.modalities.audio import Audio
from multigen.model.guarding import guarded
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.recipe.load import override_recipe
from tests.generation.test_trace import emoji
from tests.model.test_model import small

PLAIN = ("sampler={name: euler}", "guide={name: plain}", "modifiers=[]", "sample.polish.passes=0")


class Values(Feature):
    """The medium itself."""

    facts = Facts("values", 3, "any", "none", "none")

    def __call__(self, media: torch.Tensor) -> torch.Tensor:
        return media.flatten(1)[:, None]


def planned(model: Model, prompt: str, n: int, steps: int, *overrides: str) -> list[Job]:
    return jobs(model, [Request(prompt, seed=5, steps=steps, cache="off", overrides=overrides)], n, 5)


def quiet() -> Progress:
    return Progress("explain", 1, quiet=True)


def seeds(n: int, width: int, count: int) -> list[torch.Tensor]:
    """Features of `count` sets of media [n, width], the same seeds of which are alike."""
    noise = torch.Generator().manual_seed(n)
    shared, *own = torch.randn(count + 1, n, width, generator=noise, dtype=torch.float64)
    return [0.7 * (shared + one) for one in own]


def test_how_far_lies_what_is_moved() -> None:
    a, b = seeds(6, 20, 2)
    way = torch.randn(20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for share in (0.0, 0.25, 1.0):  # of the same seed's own way, whatever the seed
        assert moved(a, a + 5 * way, a + share * 5 * way) == pytest.approx((share, 0), abs=1e-9)
    b = b + way
    assert moved(a, b, b) == pytest.approx((1, 0), abs=1e-9)  # whatever noise there is
    turned = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0]
    there = a + 0.3 * way
    assert moved(a @ turned + 3, b @ turned + 3, there @ turned + 3) == pytest.approx(moved(a, b, there))
    assert all(math.isnan(one) for one in moved(a, a, b))  # the other prompt makes the same
    assert place(a, a, b).tolist() == [0.5] * 6
    far, near = seeds(400, 3, 2)
    turned = (place(far, near, far) > 0.5).double().mean()
    assert abs(float(turned) - 0.5) < 0.1  # no medium is scored by itself


@pytest.mark.parametrize("n", [4, 8])
def test_half_the_way_is_half_and_its_error_is_honest(n: int) -> None:
    """Of few seeds, whose noise is as large as the way: 300 experiments of known truth."""
    width, experiments = 40, 300
    way = torch.zeros(width, dtype=torch.float64)
    way[0] = 5.0
    a, b, between = (one.split(n) for one in seeds(n * experiments, width, 3))
    scores = [moved(x, way + y, 0.5 * way + z) for x, y, z in zip(a, b, between, strict=True)]
    values, errors = torch.tensor(scores, dtype=torch.float64).T
    assert float(values.mean()) == pytest.approx(0.5, abs=0.03)
    said, true = float(errors.square().mean().sqrt()), float(values.std())
    assert (
        0.9 * true < said < 1.5 * true
    )  # the jackknife's is never too small in the mean (Efron & Stein 1981)
    inside = ((values - 0.5).abs() < 1.96 * errors).double().mean()
    assert float(inside) > 0.88


def test_what_is_left_out_is_what_the_network_answers_without_it() -> None:
    """A model of classes in one step: the change is that of two answers of the network at pure noise."""
    model = small("image_digits")
    told = tell_words(model, planned(model, "3", 2, 1, *PLAIN), 4)
    assert told.words == ("3",) and told.attention is None and len(told.levels) == 1
    shares = []
    for seed in (5, 6):
        shape = model.codec.shape(model.modality.shape())
        x = normal(shape, seed, "start", 0)[None]
        t = torch.ones(1, dtype=torch.float64)
        with torch.no_grad():
            known, unknown = (model.denoiser(x, t, model.encode(prompt)) for prompt in ("3", ""))
        shares.append(float(((known - unknown).square().mean() / known.square().mean()).sqrt()))
        if seed == 5:
            where = (known - unknown).square().mean(1)
            torch.testing.assert_close(told.where[1, 0].float(), where, rtol=1e-3, atol=1e-7)
    mean, error = sum(shares) / 2, abs(shares[0] - shares[1]) / 2
    assert told.change[0][0] == pytest.approx(mean, rel=1e-3)
    assert told.error[0][0] == pytest.approx(error, rel=1e-2, abs=1e-6)


def test_attention_to_words_adds_up_and_the_medium_is_the_same() -> None:
    model = emoji()
    own = planned(model, "red apple", 1, 4)
    told = tell_words(model, own, 2)
    assert told.words == ("red", "apple", "all words")
    assert [word.text for word in told.tokens] == ["red", "apple", "(start and end)"]
    assert told.attention is not None
    torch.testing.assert_close(told.attention.sum(1), torch.ones_like(told.attention.sum(1)))
    plain = model.generate("red apple", seed=5, steps=4)[0]
    assert torch.equal(told.medium.tensor, plain.tensor)
    assert told.where.shape[:2] == (3, 3) and bool((told.where[0] > 0).any())


def test_a_prompt_that_takes_over_for_good_is_that_prompt() -> None:
    """In one interval of all noise levels; in two, the first half of the way is the prompt's."""
    model = emoji()
    own, other = planned(model, "red apple", 2, 4, *PLAIN), planned(model, "blue car", 2, 4, *PLAIN)
    (found,) = swap(model, own, [other], 1, Values(), quiet())
    a, taken, b = found.media
    assert torch.equal(taken, b) and not torch.equal(a, b)
    (both,) = swap(model, own, [other], 2, Values(), quiet())
    first, second = both.media[1:3]
    assert not torch.equal(first, a) and not torch.equal(second, a)
    assert not torch.equal(first, b) and not torch.equal(second, b)


def test_the_prompts_own_media_are_made_once_for_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = emoji()
    own, *others = (planned(model, one, 4, 2, *PLAIN) for one in ("red apple", "blue car", "lemon"))
    alone = [swap(model, own, [other], 1, Values(), quiet())[0] for other in others]
    batches: list[int] = []
    made = Batcher.__init__

    def counted(self: Batcher, parts: Model, jobs: list[Job], *args: Any) -> None:
        batches.append(len(jobs))
        made(self, parts, jobs, *args)

    monkeypatch.setattr(Batcher, "__init__", counted)
    together = swap(model, own, others, 1, Values(), quiet())
    assert batches == [4 * (1 + 2 * 2)]
    for one, same in zip(together, alone, strict=True):
        assert one.other == same.other and one.right == same.right and one.turned == same.turned
        assert one.moved == pytest.approx(same.moved, abs=1e-3)
        for a, b in zip(one.media, same.media, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_media_are_not_all_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the first of each set there are no more than the features take at a time."""
    model = small("image_digits")
    own, other = (planned(model, prompt, 16, 1, *PLAIN) for prompt in ("3", "8"))
    seen: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    read = module.extract

    def counted(feature: Feature, media: Iterable[torch.Tensor], **more: Any) -> torch.Tensor:
        def each() -> Iterator[torch.Tensor]:
            for one in media:
                seen.append(weakref.ref(one))
                alive.append(sum(ref() is not None for ref in seen))
                yield one

        return read(feature, each(), **more)

    monkeypatch.setattr(module, "extract", counted)
    (found,) = swap(model, own, [other], 2, Values(), quiet())
    assert len(seen) == 16 * 3 and len(found.media) == 3  # of one step there is one interval
    assert max(alive) <= 3 + 16 + 1


def test_a_speech_is_left_out_as_a_whole() -> None:
    conditioner = Speech(modality=Audio(rate=16000), voices=("slt", "rms"))
    left = conditioner.left_out("slt: Good morning.")
    assert [word for word, _ in left] == ["slt", "all words"]
    assert left[0][1].strip() == "Good morning." and left[1][1] == ""
    assert conditioner.left_out("") == []


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = [
        "explain",
        "image_digits",
        "--prompt",
        "3",
        "--against",
        "8",
        "-n",
        "4",
        "--levels",
        "2",
        "--quiet",
    ]
    line += [
        "sample.steps=2",
        "evaluate.feature={name: thumbnail, side: 4}",
        "--device",
        "cpu",
        "--out",
        "out",
    ]
    assert main(line) == 0
    assert capsys.readouterr().out.strip() == "out"
    found = json.loads(Path("out/explanation.json").read_text())
    assert found["measures"] == ["left out"] and found["feature"] == "thumbnail of 4"
    assert len(found["levels"]) == 2 and found["levels"][0][0] is None  # begins with noise alone
    assert len(found["words"]["3"]["change"]) == 3
    assert [len(one["intervals"]) for one in found["swapped"].values()] == [2]
    report = Path("out/report.html").read_text()
    for name in ("left-out.png", "decides.png", "swaps-0.png"):
        picture = base64.b64encode(Path("out", name).read_bytes()).decode()
        assert f"data:image/png;base64,{picture}" in report
    assert "How far the answers move without each word" in report and "words measured by" in report
    assert not Path("out/attention.png").exists() and Path("out/medium.png").is_file()
    assert main(line) == 2
    assert "it holds another explanation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "--prompt: '' has no words"),
        (
            ("\u200b", "-n", "1"),
            "--prompt: '\\u200b' has no words",
        ),  # nothing is left of it once it is cleaned
        (("3", "--against", "3"), "is the prompt itself"),
        (("3", "--against", " 3 "), "is the prompt itself"),
        (("3", "--against", "\uff13\u200b"), "is the prompt itself"),
        (("3", "--against", "8\x07"), "--against: it holds the control character U+0007"),
        (("3", "--against", "8", "-n", "3"), "-n: 3 is not allowed; give 4 or more"),
        (("3", "--against", "eleven"), "prompt: 'eleven' is not allowed"),
        (("30",), "prompt: '30' is not allowed"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["explain", "image_digits", "--out", str(tmp_path / "out"), "--quiet", "--prompt", *arguments]
    assert main(line) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_in_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(multigen.MultigenError, match="stages"):
        multigen.explain("image_emoji", "apple", "stages=[image_digits]", out=tmp_path / "out", quiet=True)


def filtered(model: Model, tmp_path: Path, action: str) -> None:
    (tmp_path / "words.txt").write_text("green\n")
    own = f"{{name: words, path: {tmp_path}/words.txt, own_only: true, action: {action}}}"
    model.guard = guarded(override_recipe(model.recipe, [f"safety.filters=[{own}]"]))


def test_filters_hear_the_prompt_that_takes_over(tmp_path: Path) -> None:
    model = emoji()
    filtered(model, tmp_path, "flag")
    own, other = planned(model, "red apple", 1, 2, *PLAIN), planned(model, "green apple", 1, 2, *PLAIN)
    taken = own[0]._replace(plan=dataclasses.replace(own[0].plan, swap=Swap(other[0].prompt, 0.0, 1.0)))
    flagged = [bool(medium.flags) for medium in Batcher(model, [*own, taken, *other], 3).in_order()]
    assert flagged == [False, True, True]


@pytest.mark.parametrize("prompts", [("red apple", "green apple"), ("green apple", "red apple")])
def test_what_is_blurred_is_not_scored(prompts: tuple[str, str], tmp_path: Path) -> None:
    model = emoji()
    filtered(model, tmp_path, "blur")
    own, other = (planned(model, prompt, 4, 1, *PLAIN) for prompt in prompts)
    with pytest.raises(multigen.MultigenError, match="a filter blurs what these prompts make"):
        swap(model, own, [other], 1, Values(), quiet())


def test_a_prompt_that_changes_nothing_has_no_curve() -> None:
    one = Swapped("the same", [math.nan] * 2, [math.nan] * 2, [wilson(2, 4)] * 2, wilson(4, 8), [])
    assert row(one, 0) == {"moved": None, "error": None, "turned": wilson(2, 4)}
    levels = [Interval(math.inf, 0.5, math.inf, 1.0), Interval(0.5, -math.inf, 1.0, 0.0)]
    bare, other = (decides_picture([k], levels) for k in (one, one._replace(moved=[0.0, 1.0])))
    assert bare.size == other.size and bare.tobytes() != other.tobytes()


def test_a_guard_against_copies_is_told_to_be_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The seed's own first try is explained, however near it is to a training item."""
    settings = "sample.novelty={distance: 1e9, tries: 2}", "sample.steps=1"
    with caplog.at_level(logging.WARNING, "multigen.runs.explain"):
        multigen.explain(
            "image_digits", "3", *settings, n=1, levels=1, out=tmp_path / "out", quiet=True, device="cpu"
        )
    assert "sample.novelty is on" in caplog.text
