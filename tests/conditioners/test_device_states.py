"""States kept on an accelerator are those that the CPU's path gives, whatever was asked before."""

from __future__ import annotations

import pytest
import torch

from multigen.conditioners import text_encoder
from multigen.conditioners.device_states import STEP, DeviceStates
from multigen.conditioners.text_encoder import TextEncoder, packaged_folder

from .test_text import CAPTIONS

CPU = torch.device("cpu")


def check(made: TextEncoder, captions: list[str], states: list[torch.Tensor]) -> None:
    found = made.device_states(captions, CPU)
    assert found.tokens.shape[1] % STEP == 0
    for row, mask, mean, state in zip(found.tokens, found.mask, found.means, states, strict=True):
        assert mask.sum() == len(state) and bool(mask[: len(state)].all())
        torch.testing.assert_close(row[: len(state)], state, rtol=0, atol=1e-5)
        assert not row[len(state) :].any()
        torch.testing.assert_close(mean, state.mean(0), rtol=0, atol=1e-5)


def test_gathered_are_the_states_and_each_is_encoded_once() -> None:
    folder = packaged_folder()
    made, other = TextEncoder(folder, 48), TextEncoder(folder, 48)
    captions = [*CAPTIONS, CAPTIONS[0], "", " ".join(["cat"] * 30)]
    states = other.states(captions, CPU)
    check(made, captions, states)
    count = made.encoded
    assert count == len(set(captions))
    check(made, captions[::-1], states[::-1])
    check(made, captions[:1], states[:1])
    assert made.encoded == count


def test_a_full_table_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = packaged_folder()
    made, other = TextEncoder(folder, 48), TextEncoder(folder, 48)
    captions = [f"{a} cat" for a in ("red", "blue", "a", "dog", "cat")]
    monkeypatch.setattr(text_encoder, "DEVICE_NUMBERS", 4 * STEP * made.model.width)
    for caption in captions:
        check(made, [caption], other.states([caption], CPU))
    check(made, captions[:3], other.states(captions[:3], CPU))
    assert made.encoded > 5


def test_a_table_grows_and_keeps_what_it_has() -> None:
    table = DeviceStates(2, CPU, 10**9)
    sent = {}
    for k in range(40):
        long = 3 + k % 3 + (STEP if k > 30 else 0)
        names, states = [f"{k}.{i}" for i in range(20)], torch.randn(20, long, 2)
        lengths = [1 + i % long for i in range(20)]
        table.put(names, states, lengths)
        sent |= {name: s[:n] for name, s, n in zip(names, states, lengths, strict=True)}
    assert table.missing([*sent, "new", "new"]) == ["new"]
    asked = list(sent)[::7]
    found = table.gather(asked)
    for name, row, mask in zip(asked, found.tokens, found.mask, strict=True):
        assert torch.equal(row[mask], sent[name])
