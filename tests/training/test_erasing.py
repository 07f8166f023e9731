"""Erasing a concept: the exact answers that the student shall give, and a toy model that forgets one of its labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.core import Cond, Denoiser, plain, solve
from multigen.core.samplers import ddim
from multigen.core.schedules import flow
from multigen.core.timesteps import uniform
from multigen.errors import RecipeError
from multigen.registry import Part
from multigen.training.distillation import Lesson, Teacher
from multigen.training.erasing import Erase
from tests.training.test_distillation import exact, mean, no_noise, times
from tests.training.toys import diffusion, trainer

WORDS = {"": (0.0, 0.0), "one": (1.0, 0.0), "two": (0.0, 1.0), "other": (-1.0, 0.5)}


def vectors(*texts: str) -> Cond:
    return Cond(vector=torch.tensor([WORDS[text] for text in texts]))


def sequences(*texts: str) -> Cond:
    """Token states of different lengths: each word of a prompt is one, padded."""
    rows = [vectors(*text.split()).vector for text in texts]
    assert all(row is not None for row in rows)
    longest = max(len(row) for row in rows if row is not None)
    tokens, mask = torch.zeros(len(rows), longest, 2), torch.zeros(len(rows), longest, dtype=torch.bool)
    for k, row in enumerate(rows):
        assert row is not None
        tokens[k, : len(row)], mask[k, : len(row)] = row, True
    return Cond(tokens=tokens, mask=mask)


def method(encode: Callable[..., Cond] = vectors, **args: object) -> Erase:
    denoiser: Denoiser = exact(flow(), mean)
    teacher = Teacher(denoiser, lambda cond, null, scale: plain(cond, null))
    return Erase(teacher=teacher, encode=encode, **args)  # pyright: ignore[reportArgumentType]


def lesson(cond: Cond, u: Tensor) -> Lesson:
    x = torch.randn(len(u), 1, 8, generator=torch.Generator().manual_seed(0))
    null = vectors(*[""] * len(u))
    return Lesson(x, times(flow())[: len(u)], cond, null, u, 0)


def test_rows_about_the_concept_lead_away_and_others_stay() -> None:
    one = method(prompts=("one", "two"), share=0.4, scale=1.5)
    u = torch.tensor([0.1, 0.3, 0.5, 0.9])
    rows = lesson(vectors("other", "other", "other", "two"), u)
    teacher = one.teacher.denoiser
    null = teacher(rows.x, rows.t, rows.null)

    def led(k: int, word: str) -> Tensor:
        there = teacher(rows.x[k : k + 1], rows.t[k : k + 1], vectors(word))[0]
        return null[k] - 1.5 * (there - null[k])

    found = one.target(rows)
    torch.testing.assert_close(found[0], led(0, "one"))  # the first half of the share
    torch.testing.assert_close(found[1], led(1, "two"))  # the second
    torch.testing.assert_close(found[2], teacher(rows.x, rows.t, rows.cond)[2])
    torch.testing.assert_close(found[3], led(3, "two"))  # its own caption names the concept
    told = one.told(rows.cond, u)
    assert told.vector is not None
    torch.testing.assert_close(told.vector, vectors("one", "two", "other", "two").vector)


def test_captions_are_compared_word_by_word() -> None:
    one = method(sequences, prompts=("one two", "two"))
    cond = sequences("one two", "two", "one", "two one other").pad(7)
    assert one._named(cond).tolist() == [True, True, False, False]
    told = one.told(cond, torch.tensor([0.0, 0.9, 0.29, 0.9]))
    assert told.mask is not None and told.mask.sum(1).tolist() == [2, 1, 1, 3]


def test_a_scale_of_0_answers_as_without_a_prompt() -> None:
    one = method(prompts=("one",), scale=0.0)
    rows = lesson(vectors("one"), torch.tensor([0.99]))
    torch.testing.assert_close(one.target(rows), one.teacher.denoiser(rows.x, rows.t, rows.null))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"prompts": []}, "name the concept"),
        ({"prompts": ["one", " "]}, "name the concept"),
        ({"prompts": ["one"], "share": 1.0}, "share is above 0 and below 1"),
        ({"prompts": ["one"], "scale": -1.0}, "scale 0 or more"),
    ],
)
def test_what_is_refused(args: dict[str, object], said: str) -> None:
    given = {"teacher": method(prompts=("one",)).teacher, "encode": vectors}
    with pytest.raises(RecipeError, match=said):
        registry.build("distillation", Part("erase", args), where="train.distill.method", given=given)


def test_a_trained_model_forgets_one_label_and_keeps_the_other(tmp_path: Path) -> None:
    first = trainer(tmp_path / "teacher", steps=150, batch=32, lr=5e-3, ema_decay=0.98)
    first.run()
    known = diffusion(first)
    second = trainer(tmp_path / "student", steps=150, batch=32, lr=3e-3, ema_decay=0.98)
    task = diffusion(second)
    for learned, taught in ((task.denoiser, known.denoiser), (task.conditioner, known.conditioner)):
        learned.load_state_dict(taught.state_dict())
    task.conditioner.requires_grad_(False)

    def encode(*texts: str) -> Cond:
        return task.conditioner(task.conditioner.from_prompts(texts))

    teacher = Teacher(known.denoiser, lambda cond, null, scale: plain(cond, null))
    task.distilled = Erase(teacher=teacher, encode=encode, prompts=("high",), share=0.5)
    before = [made(task.denoiser, encode(word)) for word in ("low", "high")]
    second.run()
    after = [made(task.denoiser, encode(word)) for word in ("low", "high")]
    assert before[0] < -0.8 and before[1] > 0.8
    assert after[0] < -0.8  # kept
    assert after[1] < 0  # no longer the data of its label


def made(denoiser: Denoiser, cond: Cond) -> float:
    """The mean of what a model makes under a condition."""
    x = torch.randn(64, 1, 8, generator=torch.Generator().manual_seed(1))
    guide = plain(cond.expand(64), cond.expand(64))
    with torch.no_grad():
        return float(
            solve(
                ddim(denoiser.schedule, x, uniform(denoiser.schedule, 12), no_noise), guide, denoiser
            ).mean()
        )
