"""Prompts of pipelines: weights, chunks, what is cut, and the numbers that a network is told."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from multigen.conditioners.diffusers import Diffusers
from multigen.errors import MultigenError
from tests.families import folders
from tests.model.pipelines import tiny_pipeline

LONG = "lighthouse " * 100


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Diffusers:
    return Diffusers(path=str(tiny_pipeline(tmp_path_factory.mktemp("clip") / "pipeline")))


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.stable_diffusion_xl(tmp_path_factory.mktemp("xl") / "pipeline")


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Diffusers:
    return Diffusers(path=str(folders.stable_diffusion_3(tmp_path_factory.mktemp("sd3") / "pipeline")))


def tokens(conditioner: Diffusers, *prompts: str) -> torch.Tensor:
    cond = conditioner(conditioner.from_prompts(prompts))
    assert cond.tokens is not None
    return cond.tokens


def test_weights_move_states_away_from_the_empty_prompt(clip: Diffusers) -> None:
    plain, none, half, double, empty = tokens(
        clip, "red apple", "(red:0) apple", "(red:0.5) apple", "(red:2) apple", ""
    )
    red = 1  # after the start
    torch.testing.assert_close(none[red], empty[red])
    torch.testing.assert_close(half[red], (plain[red] + empty[red]) / 2)
    torch.testing.assert_close(double[red], 2 * plain[red] - empty[red])
    others = [k for k in range(77) if k != red]
    torch.testing.assert_close(double[others], plain[others])
    assert torch.equal(*tokens(clip, "red apple", "(red apple:1)"))


def test_long_prompts_are_heard_in_chunks(clip: Diffusers) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cond = clip(clip.from_prompts([LONG, "lighthouse " * 75, "a red apple"]))
    assert cond.tokens is not None and cond.mask is not None
    assert cond.tokens.shape == (3, 2 * 77, 32)
    assert cond.mask.sum(1).tolist() == [154, 77, 77]
    torch.testing.assert_close(cond.tokens[0, :77], cond.tokens[1, :77])  # the first chunk is full of it
    torch.testing.assert_close(cond.tokens[0, 77:], tokens(clip, "lighthouse " * 25)[0])
    torch.testing.assert_close(cond.tokens[2, :77], tokens(clip, "a red apple")[0])


def test_what_is_cut_is_said(sd3: Diffusers) -> None:
    with pytest.warns(UserWarning, match=r"over 77 tokens; its end is ignored: 'red red'"):
        sd3.from_prompts(["apple " * 75 + "red red"])


def test_a_prompt_of_invalid_weight_is_refused(clip: Diffusers) -> None:
    with pytest.raises(MultigenError, match="the weight 99 is not allowed"):
        clip.from_prompts(["(red:99) apple"])


def test_numbers(xl: Path) -> None:
    usual = Diffusers(path=str(xl))({"text": ["red", "blue"]})
    assert usual.extra["crop"].tolist() == [[0, 0], [0, 0]]
    given = Diffusers(path=str(xl), numbers={"crop": (8.0, 16.0)})({"text": ["red"]})
    assert given.extra["crop"].tolist() == [[8, 16]]
    with pytest.raises(
        ValueError, match="numbers: 'crops' is not allowed. Allowed: original_size, crop. Did you"
    ):
        Diffusers(path=str(xl), numbers={"crops": (0.0, 0.0)})
    with pytest.raises(ValueError, match=r"numbers.crop: 3.0 is not allowed. Allowed: 2 numbers"):
        Diffusers(path=str(xl), numbers={"crop": 3.0})


def test_zeros_are_the_unconditional_condition_where_the_pipeline_says_so(xl: Path) -> None:
    null = Diffusers(path=str(xl)).null(2)
    assert null.tokens is not None and null.vector is not None
    assert not null.tokens.any() and not null.vector.any() and null.tokens.shape == (2, 77, 64)
    assert null.extra["crop"].shape == (2, 2)


def test_t5_may_be_left_out(tmp_path: Path) -> None:
    folder = folders.stable_diffusion_3(tmp_path / "pipeline")
    folders.edit(folder / "model_index.json", {"text_encoder_3": [None, None], "tokenizer_3": [None, None]})
    cond = Diffusers(path=str(folder))({"text": ["red"]})
    assert cond.tokens is not None and cond.tokens.shape == (1, 77 + 256, 80)
    assert not cond.tokens[:, 77:].any()


def test_a_pipeline_without_text_is_refused(tmp_path: Path) -> None:
    folder = folders.unconditional(tmp_path / "pipeline")
    with pytest.raises(
        ValueError, match="unconditional diffusion follows no prompt; use the conditioner none"
    ):
        Diffusers(path=str(folder))
