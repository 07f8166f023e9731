# ruff: noqa: RUF001
"""One spelling of a prompt, on every way into a model."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import multigen
from multigen.cli.main import main
from multigen.cli.request_file import read_request
from multigen.conditioners.label import Label
from multigen.errors import MultigenError, RecipeError
from multigen.generation.request import EditRequest, Request
from multigen.prompts.lookalikes import LATIN, LOOSE, unmixed
from multigen.prompts.normal import LONGEST, clean, normalised

FAMILY, ENGLAND = "👨‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"
SAME = (
    "", "red apple", "two\nlines\tand a tab", "Äpfel", "赤いリンゴ", "красное яблоко", "κόκκινο μήλο", "🍎",
    "❤️‍🔥", "👍🏽", FAMILY, ENGLAND, "1️⃣", "ℹ️", "™", "x² + ½", "می‌خواهم", "क्‍ष", "ガラス，水", "β-carotene", "日本 café",
)  # fmt: skip
WRITTEN = {
    "red\u200bapple": "redapple", "\ufeffred apple": "red apple", "red\u00adapple": "redapple",
    "\u202eelppa\u202c der\u200f": "elppa der", "red\u00a0\u3000apple": "red  apple", "ｒｅｄ　１２": "red 12",
    "𝓇𝑒𝒹 𝐚𝐩𝐩𝐥𝐞 ﬁg ①": "red apple fig 1", "re\u0301d": "réd", "one\r\ntwo\rthree\u2028four": "one\ntwo\nthree\nfour",
    "red \u0430ppl\u0435": "red apple", "\u043f\u0430\u043dd\u0430": "\u043f\u0430\u043dd\u0430",
    "\u044f\u0431\u043b\u043eko": "\u044f\u0431\u043b\u043eko", "\u044f\u0431\u043b\u043e\u043ao": "яблоко",
    "a\ufe0fb": "ab", "a\u200db": "ab", "x\U000e0061": "x", "ﻣﺮﺣﺒﺎ": "مرحبا",
}  # fmt: skip


@pytest.mark.parametrize("text", SAME)
def test_what_says_something_stays(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("text", WRITTEN)
def test_disguises_go(text: str) -> None:
    assert clean(text) == WRITTEN[text]
    assert normalised(WRITTEN[text]) == WRITTEN[text]


def test_control_characters_and_long_prompts_are_refused() -> None:
    with pytest.raises(MultigenError, match=r"^prompt: it holds the control character U\+0007 at place 4\."):
        clean("red\x07 apple")
    for half in (
        "red \ud800apple",
        "red \udcffapple",
    ):  # of UTF-16; a byte of a command line that is no UTF-8
        with pytest.raises(MultigenError, match=r"^prompt: it is not valid Unicode at place 5 \(U\+D"):
            clean(half)
    for none in ("red \ufffeapple", "red \U0010ffff", "red \ufdd0"):
        with pytest.raises(
            MultigenError, match=r"^prompt: it is not valid Unicode at place 5 .* is no character\)"
        ):
            clean(none)
    with pytest.raises(MultigenError, match=r"^here: 60,000 characters; allowed: 4,000$"):
        clean("apple " * 10_000, "here")
    assert clean("a" * LONGEST) == "a" * LONGEST


def test_lookalikes_are_single_letters_of_other_alphabets() -> None:
    assert all(len(a) == len(b) == 1 and b.isascii() and not a.isascii() for a, b in LOOSE.items())
    assert set(LATIN) <= set(LOOSE)
    assert unmixed("TNF\u03b1") == "TNF\u03b1"  # no Latin letter
    assert unmixed("p\u0430y\u0440\u0430l") == "paypal"


def test_tags_count_near_their_flag_alone() -> None:
    england = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    assert normalised(england) == england
    assert normalised("\U0001f3f4" + "\U000e0061" * 3999) == "\U0001f3f4" + "\U000e0061" * 32
    assert normalised("a" + "\U000e0061" * 3999) == "a"


def test_requests_of_python() -> None:
    request = Request("red\u200b \u0430pple", negative_prompt="blu\u200be")
    assert (request.prompt, request.negative_prompt) == ("red apple", "blue")
    assert dataclasses.replace(request, prompt="\ufeffpear").prompt == "pear"
    assert EditRequest("a.png", invert="re\u200bd").invert == "red"
    with pytest.raises(MultigenError, match=r"^negative_prompt: it holds the control character U\+0000"):
        Request(negative_prompt="\0")
    with pytest.raises(MultigenError, match=r"^invert: 4,001 characters"):
        EditRequest("a.png", invert="a" * 4001)


@pytest.mark.parametrize("text", ["red\x07 apple", '{"prompt": "red\\u0007 apple"}'])
def test_files_of_requests(text: str) -> None:
    with pytest.raises(MultigenError, match=r"^request 3: prompt: it holds the control character U\+0007"):
        read_request(text, "request 3")
    assert (
        read_request(text.replace("\x07", "\u200b").replace("u0007", "u200b"), "request 3").prompt
        == "red apple"
    )


@pytest.mark.parametrize("key", ["prompts=[", "negative_prompt=", "opening=", "ending="])
def test_recipes(key: str) -> None:
    end = "]" if "[" in key else ""
    name = key.rstrip("=[") + (".0" if end else "")
    with pytest.raises(RecipeError, match=rf"sample\.{name}: 5,000 characters; allowed: 4,000"):
        multigen.load_recipe("image_digits", [f"sample.{key}{'a' * 5000}{end}"])


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(picture := tmp_path / "a.png")
    for argv in (["sample", "image_emoji"], ["edit", "image_emoji", "--input", str(picture)]):
        assert main([*argv, "--prompt", "word " * 10_000, "--out", str(tmp_path / "out")]) == 2
        assert "prompt: 50,000 characters; allowed: 4,000" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_of_classes() -> None:
    label = Label(classes=("ａ", "b"), width=2)
    assert [int(n) for n in label.from_prompts(["a", "ａ", "\u200bb", "B"])["label"]] == [0, 0, 1, 1]


def test_normalising_imports_nothing_heavy() -> None:
    code = "import multigen.prompts.normal, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
