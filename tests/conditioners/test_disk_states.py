"""States of texts on disk: the same numbers found as made, by every setting and file that they depend on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multigen.conditioners import Conditioner
from multigen.conditioners.diffusers import Diffusers
from multigen.conditioners.text import Text
from multigen.recipe.load import load_recipe
from multigen.runs import jobs as runs
from multigen.storage.disk_cache import DiskCache
from multigen.training import log as training_log
from tests.conditioners.test_text import small_folder
from tests.model.pipelines import WORDS, tiny_pipeline

BATCH = {"text": ["dog", "cat", "dog cat", "dog"]}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("texts")
    small_folder(home / "bert", "bert")
    tiny_pipeline(home / "pipeline")
    return home


def encoded(conditioner: Conditioner, batch: dict[str, list[str]]) -> tuple[torch.Tensor, int, int]:
    """Tokens, and how many texts were found and made."""
    states = conditioner.use_cache(DiskCache(0.01))
    assert states is not None
    tokens = conditioner(batch).tokens
    assert tokens is not None
    return tokens, states.hits, states.misses


def test_texts_are_encoded_once(home: Path) -> None:
    plain = Text(path=str(home / "bert"))(BATCH)
    made, hits, misses = encoded(Text(path=str(home / "bert")), BATCH)
    assert (hits, misses) == (0, 3)  # each once
    torch.testing.assert_close(made, plain.tokens)
    again = Text(path=str(home / "bert"))
    found, hits, misses = encoded(again, BATCH)
    assert (hits, misses) == (3, 0) and torch.equal(found, made)
    assert again.encoder.encoded == 0 and not again.encoder.model.is_loaded  # not even loaded
    again.use_cache(None)
    torch.testing.assert_close(again(BATCH).vector, plain.vector)
    assert again.encoder.encoded == 3


def test_prompts_of_stable_diffusion_are_encoded_once(home: Path) -> None:
    batch = {"text": ["red apple", *WORDS, "red apple"]}
    plain = Diffusers(path=str(home / "pipeline"))(batch)
    made, hits, misses = encoded(Diffusers(path=str(home / "pipeline")), batch)
    assert (hits, misses) == (0, 6)
    assert plain.tokens is not None
    torch.testing.assert_close(made, plain.tokens)
    again = Diffusers(path=str(home / "pipeline"))
    again.encoders[0].encoder.load = None  # type: ignore[assignment]  # only the cache can answer now
    found, hits, misses = encoded(again, batch)
    assert (hits, misses) == (6, 0) and torch.equal(found, made)


@pytest.mark.parametrize("what", ["weights", "vocabulary", "length"])
def test_another_encoder_finds_nothing(tmp_path: Path, what: str) -> None:
    folder = small_folder(tmp_path / "bert", "bert")
    encoded(Text(path=str(folder)), BATCH)
    if what == "weights":
        tensors = load_file(folder / "model.safetensors")
        tensors["embeddings.word_embeddings.weight"][7, 3] += 1e-3
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    elif what == "vocabulary":
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace('"dog"', '"fox"'))
    tokens = 12 if what == "length" else 48
    _, hits, misses = encoded(Text(path=str(folder), max_tokens=tokens), BATCH)
    assert (hits, misses) == (0, 3)


def test_damaged_states_are_made_again(tmp_path: Path, home: Path) -> None:
    made, *_ = encoded(Text(path=str(home / "bert")), BATCH)
    for path, how in zip(sorted((tmp_path / "cache").rglob("*.f32")), ("flip", "cut", "row"), strict=True):
        content = bytearray(path.read_bytes())
        content[9] ^= how == "flip"
        path.write_bytes(content[: {"flip": None, "cut": -2, "row": 4 + 4 * 24}[how]])
    again, hits, misses = encoded(Text(path=str(home / "bert")), BATCH)
    assert (hits, misses) == (0, 3) and torch.equal(again, made)


def test_a_training_on_texts_is_the_same_with_them(
    tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"conditioner={{name: text, path: {home / 'bert'}}}"
    options = [
        "weights=null",
        text,
        "train.steps=3",
        "train.batch=4",
        "backbone.widths=[8,8]",
        "sample.prompts=[dog]",
    ]
    options += [
        "train.minutes=null",
        "train.tensorboard=false",
        "train.log_every=1",
        "train.held_out_every=0",
    ]
    with caplog.at_level(logging.INFO, "multigen"):
        for name, cache in (("a", 0), ("b", 0.01), ("c", 0.01)):  # none, filling, filled
            recipe = load_recipe("image_digits", [*options, f"train.cache={cache}"])
            runs.train(recipe, out=tmp_path / name, device="cpu", quiet=True)
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("texts: ")]
    assert len(said) == 2 and said[0].startswith("texts: 0 from") and said[1].endswith(" 0 computed")
    assert "so they are not cached" in caplog.text  # digits are moved a little each time
    a, b, c = ([r["loss"] for r in training_log.read(tmp_path / name)] for name in "abc")
    assert b == c and b == pytest.approx(a, rel=1e-5)
