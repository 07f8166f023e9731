"""Weights in prompts, by hand."""

from __future__ import annotations

import pytest

from multigen.conditioners.weighted_prompts import Span, plain, spans
from multigen.errors import MultigenError


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("", [("", 1)]),
        ("a red apple", [("a red apple", 1)]),
        ("a (red:1.3) apple", [("a ", 1), ("red", 1.3), (" apple", 1)]),
        ("(a (red:1.5) apple:0.5)", [("a ", 0.5), ("red", 0.75), (" apple", 0.5)]),
        ("a (small) apple", [("a (small) apple", 1)]),  # brackets without a weight are text
        (r"\(red:1.3)", [("(red:1.3)", 1)]),
        ("at 5:30) or (so", [("at 5:30) or (so", 1)]),
        ("(two words : 2 ) end", [("two words ", 2), (" end", 1)]),
        ("((x) y:2)", [("(x) y", 2)]),
    ],
)
def test_spans(prompt: str, found: list[tuple[str, float]]) -> None:
    assert spans(prompt) == [Span(*pair) for pair in found]
    assert plain(prompt) == "".join(text for text, _ in found)


@pytest.mark.parametrize("weight", ["-1", "11"])
def test_weights_out_of_range_are_refused(weight: str) -> None:
    with pytest.raises(MultigenError, match=f"the weight {weight} is not allowed. Allowed: 0 to 10"):
        spans(f"a (red:{weight}) apple")
