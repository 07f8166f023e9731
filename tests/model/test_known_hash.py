"""The hash of weights that files name: computed once, beside the sampling, and never that of others."""

from __future__ import annotations

import threading

import pytest
import torch

from multigen.model import weights
from multigen.model.weights import KnownHash, hash_of
from tests.model.test_model import small


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads that hash, one for each time."""
    seen: list[str] = []
    real = hash_of

    def counted(tensors: dict[str, torch.Tensor]) -> str:
        seen.append(threading.current_thread().name)
        return real(tensors)

    monkeypatch.setattr(weights, "hash_of", counted)
    return seen


def test_it_is_computed_once_beside_what_follows(hashed: list[str]) -> None:
    tensors = {"a": torch.arange(6.0), "b": torch.ones(2, 2)}
    known = KnownHash(least=0)
    known.begin(tensors)
    known.begin(tensors)
    assert known.of(tensors) == hash_of(tensors)
    known.begin(tensors)
    assert known.of(dict(tensors)) == hash_of(tensors)
    assert len(hashed) == 1 and hashed[0].startswith("hash")


def test_what_changes_meanwhile_is_read_again(hashed: list[str]) -> None:
    tensors = {"a": torch.arange(6.0)}
    known = KnownHash(least=0)
    known.begin(tensors)
    tensors["a"].add_(1)
    assert known.of(tensors) == hash_of({"a": torch.arange(6.0) + 1})
    replaced = {"a": torch.zeros(6)}
    known.begin(tensors)
    assert known.of(replaced) == hash_of(replaced)
    assert known.of(tensors) == hash_of(tensors)


def test_small_weights_need_no_thread(hashed: list[str]) -> None:
    tensors = {"a": torch.arange(6.0)}
    known = KnownHash()
    known.begin(tensors)
    assert hashed == [] and known.of(tensors) == hash_of(tensors)
    assert hashed == [threading.current_thread().name]


def test_a_model_begins_with_it_before_it_samples(hashed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("image_digits")
    model._hash = KnownHash(least=0)
    media = [model.generate("3", seed=seed, steps=1)[0] for seed in (1, 2)]
    assert {medium.made.weights_hash for medium in media if medium.made} == {hash_of(model.state_dict())}
    assert len(hashed) == 1 and hashed[0].startswith("hash")


def test_weights_of_inference_mode_are_read_each_time() -> None:
    """They count no changes: a thread that began before one would give another model's hash."""
    with torch.inference_mode():
        tensors = {"a": torch.arange(6.0)}
        known = KnownHash(least=0)
        known.begin(tensors)
        before = known.of(tensors)
        known.begin(tensors)
        tensors["a"].add_(1)
        assert known.of(tensors) == hash_of({"a": torch.arange(6.0) + 1}) != before
