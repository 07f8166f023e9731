"""Negative prompts: the documented example does what it says, and none is ignored silently."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.generation.guidance import check_negative
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.registry import Part
from tests.model.test_model import small


@pytest.fixture(scope="module")
def emoji() -> Model:
    return multigen.load("image_emoji", device="cpu")


def colour(pictures: list[multigen.Media]) -> Tensor:
    """Mean level of the middle, [3]."""
    return torch.stack([(p.tensor[:, 28:44, 28:44].mean((1, 2)) + 1) * 127.5 for p in pictures]).mean(0)


@pytest.mark.slow
def test_the_documented_negative_prompt_works(emoji: Model) -> None:
    """A yellow pear comes out green, and yellow when guidance leads away from the green pear."""
    plain = colour(emoji.generate("yellow pear", n=2, seed=0, steps=8))
    red, green, blue = plain.tolist()
    assert green > red + 40
    led = colour(emoji.generate("yellow pear", n=2, seed=0, steps=8, negative_prompt="green pear"))
    red, green, blue = led.tolist()
    assert red > 200 and green > 150 and blue < 130


@pytest.mark.parametrize(("guide", "words"), [
    (Part("plain"), "no effect without guidance; give a guidance scale above 1"),
    (Part("cfg", {"scale": 1.0}), "no effect without guidance"), (Part("apg", {"scale": 1.0}), "without guidance"),
    (Part("cfg_zero", {"scale": 1}), "no effect without guidance"),
    (Part("autoguidance", {"weights": "x", "scale": 2.0}), "no effect with the guide autoguidance; use guide.name=cfg"),
], ids=str)  # fmt: skip
def test_one_that_has_no_effect_is_refused(guide: Part, words: str) -> None:
    with pytest.raises(MultigenError, match=f"negative_prompt: 'leaf' has {words}|{words}"):
        check_negative(guide, "leaf")
    for nothing in ("", "  "):
        check_negative(guide, nothing)


@pytest.mark.parametrize(
    "guide", [Part("cfg"), Part("cfg", {"scale": 0.5}), Part("apg"), Part("compose", {"scale": 1.0})]
)
def test_others_are_taken(guide: Part) -> None:
    check_negative(guide, "leaf")


def test_python_and_the_command_line_refuse_it_before_any_work(
    emoji: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MultigenError, match="negative_prompt: 'leaf' has no effect without guidance"):
        emoji.generate("red apple", negative_prompt="leaf", guidance_scale=1)
    argv = ["sample", "audio_music", "--prompt", "flute, E minor", "--negative-prompt", "oboe"]
    argv += ["guide.name=plain", "modifiers=[]"]
    assert main([*argv, "--out", str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert "negative_prompt: 'oboe' has no effect without guidance; give a guidance scale above 1" in said
    argv = ["sample", "image_digits", "--prompt", "4", "--negative-prompt", "9", "-n", "1", "--steps", "2"]
    assert main([*argv, "--out", str(tmp_path / "led"), "--quiet"]) == 0
    (entry,) = json.loads((tmp_path / "led" / "manifest.json").read_text())["files"]
    assert entry["negative_prompt"] == "9"
    assert math.isclose(entry["guide"]["scale"], 2.0)


def test_strong_guidance_is_said_when_the_medium_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a medium, after its last network call: to ask earlier would let the host wait for the device."""
    model = small("image_digits")
    order: list[str] = []
    forward = model.denoiser.forward
    monkeypatch.setattr(model.denoiser, "forward", lambda *given: order.append("call") or forward(*given))
    monkeypatch.setattr(warnings, "warn", lambda text, **_: order.append(str(text)))
    model.generate("3", steps=3, seed=1, guidance_scale=1.5)
    assert order == ["call"] * len(order)
    order.clear()
    model.generate("3", steps=3, seed=1, guidance_scale=400.0)
    assert order[:-1] == ["call"] * (len(order) - 1)
    assert order[-1].startswith("guidance 400 moves what is made by ")


@pytest.mark.parametrize("guide", ["plain", "cfg", "distilled"])
def test_a_guide_that_tells_a_network_no_scale_is_warned_of(
    guide: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A recipe of a network that takes the scale as an input is checked, before anything is trained or made."""
    lines = ["weights=null", "backbone.guided=true", "backbone.widths=[8,8]", f"guide={{name: {guide}}}"]
    check_combination(load_recipe("image_digits", lines))
    said = [
        r.getMessage() for r in caplog.records if "takes the guidance scale as an input" in r.getMessage()
    ]
    assert len(said) == (guide != "distilled")
    assert all(f"and {guide} tells it none" in text and "name: distilled" in text for text in said)
    caplog.clear()
    check_combination(
        load_recipe("image_digits", [f"guide={{name: {'plain' if guide == 'plain' else 'cfg'}}}"])
    )
    assert not caplog.records
