"""Limits on JSON text."""

from __future__ import annotations

import json
import time

import pytest

from multigen.serving.guard.json_text import fault


def test_depth_is_counted_outside_strings() -> None:
    assert fault(b"[" * 16 + b"]" * 16, 16) is None
    assert "deep" in (fault(b"[" * 17, 16) or "")
    assert "deep" in (fault(b'{"a":' * 17, 16) or "")
    assert fault(json.dumps({"prompt": "[" * 1000 + '"{{{\\'}).encode(), 16) is None
    assert "20,000 values" in (fault(b"[" + b"1," * 20_000, 16) or "")
    assert "Extra data" in (fault(b"[]" * 1000, 16) or "")  # not deep, but not JSON


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"prompt": "3", "prompt": "4"}', "'prompt' comes twice"),
        (b'{"sampler": {"name": "ddim", "eta": 0, "eta": 1}}', "'eta' comes twice"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1} {"b": 2}', "Extra data"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"", "not JSON"),
    ],
)
def test_what_is_no_json_is_told(text: bytes, said: str) -> None:
    assert said in (fault(text, 16) or "")


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"9" * 4301])
def test_numbers_that_json_does_not_have_are_refused(number: bytes) -> None:
    assert fault(b'{"n": ' + number + b"}", 16) is not None
    assert fault(b'{"n": "' + number + b'"}', 16) is None


@pytest.mark.parametrize("before", [0, 1, 65_137, 65_335, 65_336, 65_534, 65_535, 65_536, 131_000])
@pytest.mark.parametrize("token", [b"NaN", b"9" * 400, b"-" + b"9" * 400])
def test_no_number_hides_between_two_pieces(before: int, token: bytes) -> None:
    assert "digits" in (said := fault(b" " * before + token, 16) or "") or "NaN" in said


@pytest.mark.parametrize(
    "inner", ["", "\\", '"', '\\"', 'a"b', "a\\", "\\\\", '"[[["', "é\n[", "/" * 70_000 + '"]']
)
def test_strings_end_where_json_says(inner: str) -> None:
    deep = "[" * 16 + json.dumps(inner) + "," + json.dumps({inner: inner}) + "]" * 16
    assert "deep" in (fault(deep.encode(), 16) or "")
    assert fault(deep.encode(), 17) is None


def test_escapes_are_counted() -> None:
    assert fault(json.dumps("\\" * 100_000).encode(), 16) is None
    assert "backslashes" in (fault(json.dumps("\\" * 100_001).encode(), 16) or "")


@pytest.mark.parametrize(
    "text",
    [b'"' + b"\\" * 1_000_001, b'"' * 1_000_000, b'"' + b'\\"' * 500_000, b"[" * 16 + b"[]," * 300_000, b"9" * 10**6,
     b"\x00" * 10**6, b'"' + b"a" * 4_000_000 + b'"'],
    ids=["backslashes", "quotes", "escapes", "wide", "digits", "zeros", "long"],
)  # fmt: skip
def test_no_text_takes_long(text: bytes) -> None:
    begun = time.process_time()
    fault(text, 17)
    assert time.process_time() - begun < 2.0
