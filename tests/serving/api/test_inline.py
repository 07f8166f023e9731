"""Files in JSON."""

from __future__ import annotations

import base64
import json
import random

import pytest

from multigen.serving.api.inline import JSON, Inline, decode, encode


def test_files_stand_where_they_were_put() -> None:
    one, other = random.Random(0).randbytes(1_000_003), b""
    data = {"n": 1, "data": [{"b64_json": Inline(one), "said": 'é " \u2028'}, {"b64_json": Inline(other)}]}
    shown = {
        "n": 1,
        "data": [{"b64_json": base64.b64encode(one).decode(), "said": 'é " \u2028'}, {"b64_json": ""}],
    }
    assert json.loads(encode(data)) == shown
    assert json.loads(JSON(data).body) == shown
    assert encode({"a": [1, None, "b"]}) == json.dumps({"a": [1, None, "b"]}).encode()
    with pytest.raises(TypeError, match="object is no JSON"):
        encode({"a": object()})


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 1_000_003])
def test_what_was_encoded_is_decoded(size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert decode(base64.b64encode(content).decode()) == content


@pytest.mark.parametrize(
    "text", ["a", "ab", "abc", "a===", "ab=c", "ab==cdef", "é", "ab\ncd", "=" * 4, "AB==" * 65_536 + "ABCD"]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="padding|base64|ASCII|data"):
        decode(text)
