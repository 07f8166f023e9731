"""Many requests at once: each as it is alone, whatever runs beside it; what is wrong is said before any begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.cli import main
from multigen.errors import MultigenError
from multigen.sampling import Wish
from multigen.wishes import wish

from .test_model import small

WISHES = [
    Wish("3", seed=1, steps=4),
    Wish("8", seed=2, steps=2, overrides=("sampler.name=ddim",)),
    Wish("1", seed=3, steps=3, scale=1.0),
    Wish("3", seed=4, steps=2, negative="5", overrides=("modifiers=[{name: rescale}]",)),
    Wish("7", seed=5, steps=5, size=20),
    Wish("0"),
]


def test_each_equals_the_same_alone_and_they_share_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("image_digits")
    sizes: list[int] = []
    forward = model.denoiser.forward

    def counted(x: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(len(x))
        return forward(x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model.denoiser, "forward", counted)
    made = dict(model.many(WISHES, batch=4))
    assert sorted(made) == list(range(6))
    shared = len(sizes)
    for place, one in enumerate(WISHES):
        ((_, alone),) = model.many([Wish(**{**vars(one), "seed": one.seed or model.recipe.seed + place})])
        torch.testing.assert_close(made[place].tensor, alone.tensor, rtol=0, atol=1e-4)
        assert made[place].prompt == one.prompt
    assert made[4].tensor.shape == (1, 20, 20)
    assert made[5].seed == model.recipe.seed + 5
    assert shared < 0.8 * (len(sizes) - shared)
    assert max(sizes) > 4


def test_no_more_than_a_batch_are_under_way() -> None:
    model = small("image_digits")
    under_way: set[int] = set()
    most = [0]

    def watch(progress) -> None:
        under_way.add(id(progress.request))
        most[0] = max(most[0], len(under_way))
        if progress.sample is not None:
            under_way.discard(id(progress.request))

    assert len(list(model.many([Wish("3", steps=2 + k % 3) for k in range(7)], batch=3, watch=watch))) == 7
    assert most[0] == 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Wish("3", steps=0), "request 2: steps: 0"),
        (Wish("twelve"), "request 2: .*twelve"),
        (Wish("3", overrides=("train.lr=1",)), "request 2: train: this belongs to the training"),
        (Wish("3", overrides=("sampler.name=heum",)), "request 2: .*Did you mean 'heun'"),
        (Wish("3", seed=-1), "request 2: seed"),
        (Wish("3", duration=2.0), "request 2: size or duration"),
    ],
)
def test_a_wrong_request_is_named_before_any_begins(bad: Wish, said: str) -> None:
    with pytest.raises(MultigenError, match=said):
        small("image_digits").many([Wish("3"), bad])


def test_a_line_is_a_prompt_or_json() -> None:
    assert wish("red apple", "here") == Wish("red apple")
    line = '{"prompt": "red apple", "seed": 3, "size": [20, 24], "overrides": ["sampler.name=ddim"]}'
    assert wish(line, "here") == Wish("red apple", seed=3, size=(20, 24), overrides=("sampler.name=ddim",))
    for text, said in (
        ('{"promt": "x"}', "here: promt.*Did you mean 'prompt'"),
        ('{"seed": "3"}', "here: seed"),
        ('{"seed": 3', "here: not JSON"),
    ):
        with pytest.raises(MultigenError, match=said):
            wish(text, "here")


def test_a_file_of_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text('3\n{"prompt": "8", "steps": 2, "seed": 9}\n\n1\n')
    argv = ["sample", "image_digits", "--prompts", "prompts.txt", "--steps", "3", "-n", "2", "--quiet"]
    assert main([*argv, "--device", "cpu", "--out", "out"]) == 0
    names = sorted(p.name for p in Path("out/media").glob("*.png"))
    assert names == [
        "000_3_seed0.png", "001_3_seed1.png", "002_8_seed9.png", "003_8_seed10.png", "004_1_seed4.png",
        "005_1_seed5.png",
    ]  # fmt: skip
    Path("prompts.txt").write_text('3\n{"promt": "8"}\n')
    assert main([*argv, "--out", "none"]) == 2
    assert "prompts.txt: request 2: promt" in capsys.readouterr().err
