"""Prompts that are numbers of classes."""

from __future__ import annotations

import pytest

from multigen.conditioners.class_index import ClassIndex
from multigen.errors import MultigenError


def test_numbers_are_columns_and_all_else_is_refused() -> None:
    conditioner = ClassIndex(classes=12)
    assert conditioner(conditioner.from_prompts(["3", " 11 "])).extra["class"].tolist() == [[3], [11]]
    assert conditioner.null(2).extra["class"].tolist() == [[0], [0]]
    for prompt in ("", "12", "-1", "apple", "²"):
        with pytest.raises(MultigenError, match="Allowed: the number of a class, 0 to 11"):
            conditioner.from_prompts([prompt])
    with pytest.raises(ValueError, match="label outside 0 to 11"):
        conditioner({"label": [12]})
    with pytest.raises(ValueError, match="classes: 0 is not allowed"):
        ClassIndex(classes=0)
