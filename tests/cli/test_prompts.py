"""Prompts and seeds as people type them: each makes its medium, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import multigen
from multigen.cli.main import main


def sampled(folder: Path, *argv: str) -> list[dict[str, object]]:
    argv = ("sample", "image_emoji", "-n", "1", "--steps", "1", "sample.polish.passes=0", *argv)
    assert main([*argv, "--out", str(folder), "--quiet"]) == 0
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]


PROMPTS = {
    "": "000_seed0.png", "   ": "000_seed0.png", 'red=apple, [a] {b} (c:1.3) "q" $HOME ${x} \\ / | * ?': None,
    "-red": "000_red_seed0.png", "--seed": "000_seed_seed0.png", "赤いリンゴ": "000_赤いリンゴ_seed0.png",
    "🍎": "000_red-apple_seed0.png", "красное яблоко": "000_красное-яблоко_seed0.png",
    "red\napple": "000_red-apple_seed0.png", "red\tapple": "000_red-apple_seed0.png",
    "red apple, " * 60: None, "a": "000_a_seed0.png", "../../../etc/x": "000_etc-x_seed0.png",
}  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.filterwarnings("ignore")
def test_any_prompt_is_kept_as_it_was_typed(tmp_path: Path, prompt: str) -> None:
    (entry,) = sampled(tmp_path / "out", f"--prompt={prompt}")
    assert entry["prompt"] == prompt
    file = Path(str(entry["file"]))
    assert (tmp_path / "out" / file).is_file()
    assert PROMPTS[prompt] in (None, file.name)


@pytest.mark.parametrize(
    "prompts", [["red apple", "a=b"], ["red, green apple"], ["красное яблоко"], ["50% #1 (new)"]]
)
@pytest.mark.filterwarnings("ignore")
def test_prompts_as_an_override(tmp_path: Path, prompts: list[str]) -> None:
    override = f"sample.prompts={json.dumps(prompts, ensure_ascii=False)}"
    assert [entry["prompt"] for entry in sampled(tmp_path / "out", override)] == prompts


def test_two_emoji_are_two_pictures(tmp_path: Path) -> None:
    model = multigen.load("image_emoji", device="cpu")
    apple, banana, words = (model.generate(p, seed=3, steps=4)[0].tensor for p in ("🍎", "🍌", "red apple"))
    assert (apple - banana).abs().max() > 0.5
    assert (apple - words).abs().max() < 1e-5


def test_words_that_are_not_understood_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="so they say nothing: красное, яблоко"):
        sampled(tmp_path / "out", "--prompt", "красное яблоко")


@pytest.mark.parametrize("seed", [0, 4294967296, 2**62 - 1])
def test_seeds_at_the_edges(tmp_path: Path, seed: int) -> None:
    (entry,) = sampled(tmp_path / "out", "--prompt", "red apple", f"--seed={seed}")
    assert entry["seed"] == seed


@pytest.mark.parametrize(("argv", "words"), [
    (["--seed=-1"], "'-1' is not allowed; give a whole number from 0 to 2^62 - 1"),
    ([f"--seed={2**62}"], f"'{2**62}' is not allowed"), ([f"--seed={2**64}"], f"'{2**64}' is not allowed"),
    (["--seed=1e3"], "'1e3' is not allowed; give a whole number"), (["--seed=random"], "'random' is not allowed"),
])  # fmt: skip
def test_other_seeds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    whole = [
        "sample",
        "image_emoji",
        "--prompt",
        "red apple",
        *argv,
        "--out",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert main(whole) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out" / "media").exists()


def test_seeds_that_count_beyond_the_last_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "sample",
        "image_emoji",
        "--prompt",
        "red apple",
        "-n",
        "2",
        "--steps",
        "1",
        f"--seed={2**62 - 1}",
    ]
    assert main([*argv, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "is not allowed with n = 2; seeds count on" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "prompts", "one"), [
    ("image_emoji", ["red apple", "green leaf " * 20], "red apple"), ("image_digits", ["3", "3"], "3"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_a_medium_alone_is_that_of_a_batch(name: str, prompts: list[str], one: str) -> None:
    """Beside a long prompt, too; 1e-4 of full scale is what the documentation promises."""
    model = multigen.load(name, device="cpu")
    many = model.generate(prompts, n=3, seed=5, steps=4)
    (alone,) = model.generate(one, n=1, seed=7, steps=4)
    assert float((many[2].tensor - alone.tensor).abs().max()) < 2e-4
