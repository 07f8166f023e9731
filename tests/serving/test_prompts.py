"""Prompts in disguise, and prompts that are none: one answer in Python, of a command, of a file and of a server."""

# ruff: noqa: RUF001
from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.model.model import Model
from multigen.recipe.manifest import read
from multigen.recipe.schema import Safety
from multigen.registry import Part
from multigen.safety.guard import Guard
from tests.generation.test_trace import emoji
from tests.serving.hosted import Hosted, hosted

ZALGO, FAMILY = "a\u0301" + "\u0316" * 3000, "👨‍👩‍👧"
HEARD: Mapping[str, tuple[str, str]] = {
    "homoglyphs": ("red \u0430ppl\u0435", "red apple"),
    "zero-width": ("re\u200bd ap\u2060p\u200dle\ufeff", "red apple"),
    "right-to-left marks": ("\u202ered\u202c\u200f apple\u061c", "red apple"),
    "tags and variation selectors": ("red\U000e0061 app\ufe0fle", "red apple"),
    "wide letters and blanks": ("ｒｅｄ　ａｐｐｌｅ", "red apple"),
    "mathematical letters": ("𝓇𝑒𝒹 𝐚𝐩𝐩𝐥𝐞", "red apple"),
    "decomposed": ("re\u0301d apple", "r\u00e9d apple"),
    "thousands of marks": (ZALGO, "\u00e1" + "\u0316" * 3000),
    "emoji with joiners": (FAMILY, FAMILY),
    "line ends": ("red\r\napple\u2028", "red\napple\n"),
    "nothing that shows": ("\u200b\u2060", ""),
    "markup": ("<b>%s{0}${HOME}\\", "<b>%s{0}${HOME}\\"),
}  # fmt: skip
REFUSED: Mapping[str, tuple[str, str]] = {
    "10,000 words": ("apple " * 10_000, "60,000 characters; allowed: 4,000"),
    "NUL": ("red\0", "it holds the control character U+0000 at place 4"),
    "a bell": ("red\x07", "it holds the control character U+0007 at place 4"),
    "C1": ("red\x86", "it holds the control character U+0086 at place 4"),
    "half of a pair": ("red\ud800", "it is not valid Unicode at place 4 (U+D800, half of a character)"),
    "a byte that is no UTF-8": ("red\udcff", "it is not valid Unicode at place 4 (U+DCFF, half of a character)"),
    "no character": ("red\ufffe", "it is not valid Unicode at place 4 (U+FFFE, which is no character)"),
}  # fmt: skip
FILTERED: Mapping[str, str] = {
    "plain": "naked", "homoglyphs": "n\u0430k\u0435d", "small capitals": "ɴᴀᴋᴇᴅ", "leetspeak": "n4k3d",
    "zero-width": "na\u200bked", "right-to-left marks": "\u202ena\u202cked",
    "a thousand marks": "na\u0338" + "\u0301" * 999 + "ked",
    "wide": "ｎａｋｅｄ", "circles": "ⓝⓐⓚⓔⓓ", "raised": "ⁿᵃᵏᵉᵈ", "apart": "n a k e d", "late": "apple " * 600 + "naked",
    "tags": "na\U000e0061ked", "weights": "(na)ked",
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return emoji().save(tmp_path_factory.mktemp("prompts") / "emoji.safetensors")


@pytest.fixture(scope="module")
def filtered(weights: Path) -> Model:
    model = multigen.load(weights, device="cpu")
    model.guard = Guard(Safety((Part("words"),)), "emoji")
    return model


@pytest.fixture(scope="module")
def server(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with hosted(weights, tmp_path_factory.mktemp("store")) as one:
        (engine,) = one.server.models.engines
        engine.model.guard = Guard(Safety((Part("words"),)), "emoji")
        yield one


def asked(server: Hosted, prompt: str) -> tuple[int, Any]:
    """Status and body of the answer for one picture."""
    body = json.dumps({"prompt": prompt, "steps": 1, "seed": 1}).encode()
    url, kind = f"http://127.0.0.1:{server.port}/v1/images/generations", {"content-type": "application/json"}
    answer = httpx.post(url, content=body, headers=kind, timeout=60)
    return answer.status_code, answer.json()


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


def lines(prompts: list[str], path: Path) -> list[str]:
    path.write_text("".join(json.dumps({"prompt": p, "seed": 1}) + "\n" for p in prompts))
    return ["--prompts", str(path)]


def files_of(folder: Path) -> list[dict[str, Any]]:
    """What a folder's manifest says of each file."""
    found = read(folder)
    assert found is not None
    return found["files"]


def test_what_is_heard_is_the_same_everywhere(
    filtered: Model, server: Hosted, weights: Path, tmp_path: Path
) -> None:
    given = [text for text, _ in HEARD.values()]
    heard = [text for _, text in HEARD.values()]
    common = [str(weights), "--steps", "1", "-n", "1", "--quiet", "safety.filters=[{name: words}]"]
    flags = [word for text in given for word in ("--prompt", text)]
    assert main(["sample", *common, *flags, "--seed", "1", "--out", str(tmp_path / "flags")]) == 0
    assert (
        main(["sample", *common, *lines(given, tmp_path / "a.jsonl"), "--out", str(tmp_path / "lines")]) == 0
    )
    rows = {name: files_of(tmp_path / name) for name in ("flags", "lines")}
    for name in rows:
        assert [one["prompt"] for one in rows[name]] == heard
    files = [tmp_path / "lines" / one["file"] for one in rows["lines"]]
    for kind, file, (text, plain) in zip(HEARD, files, HEARD.values(), strict=True):
        medium = filtered.generate(text, steps=1, seed=1)[0]
        medium.save(tmp_path / "python.png")
        status, body = asked(server, text)
        assert (status, medium.prompt) == (200, plain), kind
        by = [(tmp_path / "python.png").read_bytes(), base64.b64decode(body["data"][0]["b64_json"])]
        for data in by:
            assert np.abs(pixels(data) - pixels(file.read_bytes())).max() <= 1, kind


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_prompt_is_refused_in_the_same_words(
    kind: str,
    filtered: Model,
    server: Hosted,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text, said = REFUSED[kind]
    with pytest.raises(MultigenError) as error:
        filtered.generate(text, steps=1)
    message = str(error.value)
    assert message.startswith(f"prompt: {said}")
    status, body = asked(server, text)
    assert (status, body["error"]["param"], body["error"]["message"]) == (400, "prompt", message)
    for given in (["--prompt", text], lines([text], tmp_path / "a.jsonl")):
        assert main(["sample", str(weights), *given, "--quiet", "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_disguise_passes_the_filter_anywhere(
    filtered: Model, server: Hosted, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "prompt: refused by the filter words (sexual)"
    for kind, text in FILTERED.items():
        with pytest.raises(MultigenError) as error:
            filtered.generate(f"a {text} woman", steps=1)
        assert str(error.value) == said, kind
        status, body = asked(server, f"a {text} woman")
        assert (status, body["error"]["code"], body["error"]["message"]) == (
            400,
            "content_policy_violation",
            said,
        ), kind
    common = [
        str(weights),
        "--steps",
        "1",
        "--quiet",
        "safety.filters=[{name: words}]",
        "--out",
        str(tmp_path / "out"),
    ]
    for given in (["--prompt", FILTERED["circles"]], lines([FILTERED["raised"]], tmp_path / "a.jsonl")):
        assert main(["sample", *common, *given]) == 2
        assert said in capsys.readouterr().err
