"""Many requests at once: each as it is alone, whatever runs beside it; what is wrong is said before any begins."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch

from multigen.cli.main import main
from multigen.cli.request_file import read_request
from multigen.core.conditioning import Cond
from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request
from multigen.model.model import Model
from multigen.registry import Part
from tests.generation.test_edit import source
from tests.model.test_model import TOLERANCE, small, steady

REQUESTS = [
    Request("3", seed=1, steps=4),
    Request("8", seed=2, steps=2, overrides=("sampler.name=ddim",)),
    Request("1", seed=3, steps=3, guidance_scale=1.0),
    Request("3", seed=4, steps=2, negative_prompt="5", overrides=("modifiers=[{name: rescale}]",)),
    Request("7", seed=5, steps=5, size=20),
    Request("0"),
]


def counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The samples of each network call from now on."""
    sizes: list[int] = []
    forward = model.denoiser.forward

    def forwarded(x: torch.Tensor, *rest: object, **more: object) -> torch.Tensor:
        sizes.append(len(x))
        return forward(x, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(model.denoiser, "forward", forwarded)
    return sizes


def test_each_equals_the_same_alone_and_they_share_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    model = steady(small("image_digits"))
    sizes = counted(model, monkeypatch)
    made = dict(model.batcher(REQUESTS, batch=4))
    assert sorted(made) == list(range(6))
    shared = len(sizes)
    for place, one in enumerate(REQUESTS):
        ((_, alone),) = model.batcher(
            [Request(**{**vars(one), "seed": one.seed or model.recipe.seed + place})]
        )
        torch.testing.assert_close(made[place].tensor, alone.tensor, rtol=0, atol=1e-4)
        assert made[place].prompt == one.prompt
    assert made[4].tensor.shape == (1, 20, 20)
    assert made[5].seed == model.recipe.seed + 5
    assert shared < 0.8 * (len(sizes) - shared)
    assert max(sizes) > 4


def test_edits_equal_the_same_alone_and_share_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Varied, filled, grown, resampled, restyled, in windows and restored, beside one made from noise."""
    model = steady(small("image_digits"))
    media, keep = source("image_digits")
    wide = torch.cat([media, media.flip(2)], 2)
    blur = Part("blur", {"sigma": 1.5})
    edits = [
        ({"strength": 0.5}, EditRequest(media, strength=0.5)),
        ({"keep": keep, "feather": 1}, EditRequest(media, keep=keep, feather=1)),
        ({"extend": [4, 4, 2, 6]}, EditRequest(media[:, :20, :20], extend=[4, 4, 2, 6])),
        ({"keep": keep, "resample": 2}, EditRequest(media, keep=keep, resample=2)),
        ({"invert": "8", "strength": 0.4}, EditRequest(media, invert="8", strength=0.4)),
        ({"strength": 0.6, "sliding_window": True, "tile": True}, EditRequest(wide, strength=0.6)),
    ]
    requests = [
        Request(
            "3", seed=k, steps=3 + k, sliding_window="sliding_window" in how, tile="tile" in how, edit=change
        )
        for k, (how, change) in enumerate(edits)
    ]
    requests += [
        Request("7", seed=6, steps=4, edit=EditRequest(media, restore=blur)),
        Request("9", seed=7, steps=4),
    ]
    sizes = counted(model, monkeypatch)
    made = dict(model.batcher(requests, batch=8))
    shared = len(sizes)
    alone = [
        model.edit(change.media, "3", seed=k, steps=3 + k, **how)[0] for k, (how, change) in enumerate(edits)
    ]
    alone += model.edit(media, "7", restore=blur, seed=6, steps=4)
    alone += model.generate("9", seed=7, steps=4)
    assert shared < 0.5 * (len(sizes) - shared)
    for k, one in enumerate(alone):
        torch.testing.assert_close(made[k].tensor, one.tensor, rtol=0, atol=1e-4)
        assert (made[k].prompt, made[k].seed) == (one.prompt, one.seed)
    assert torch.equal(made[1].tensor[:, :13], media[:, :13])  # the seam takes its last row
    assert torch.equal(made[2].tensor[:, 2:20, 6:22], media[:, :18, 2:18])


@pytest.mark.parametrize("name", ["audio_music", "video_moving_emoji", "image_latent"])
def test_edits_of_sounds_videos_and_latents(name: str) -> None:
    model = small(name)
    media, keep = source(name)
    requests = [
        Request(seed=1, steps=2, edit=EditRequest(media, keep=keep, feather=0)),
        Request(seed=2, steps=3, edit=EditRequest(media, strength=0.6)),
        Request(seed=3, steps=2),
    ]
    made = dict(model.batcher(requests))
    alone = model.edit(media, keep=keep, feather=0, steps=2, seed=1)[0]
    n = alone.tensor.shape[1]
    torch.testing.assert_close(made[0].tensor, alone.tensor, rtol=0, atol=TOLERANCE[name])
    kept = keep[:n].expand_as(alone.tensor)
    assert torch.equal(made[0].tensor[kept], media[:, :n][kept])
    torch.testing.assert_close(
        made[2].tensor, model.generate(steps=2, seed=3)[0].tensor, rtol=0, atol=TOLERANCE[name]
    )


def test_a_cancelled_request_frees_its_place_at_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("image_digits", ["guide.name=plain", "sampler.name=ddim"])
    sizes = counted(model, monkeypatch)
    requests = [Request("3", seed=1, steps=9), Request("4", seed=2, steps=7), Request("5", seed=3, steps=5)]

    def watch(progress) -> None:
        if len(sizes) == 4:
            many.cancel(0)

    many = model.batcher(requests, batch=2, on_progress=watch)
    made = dict(many)
    # Two side by side; from the fifth call on the one that waited has the place of the first, which never ends.
    assert sizes == [2] * 4 + [2] * 3 + [1] * 2
    assert sorted(made) == [1, 2]
    for place, medium in made.items():
        alone = model.generate(requests[place].prompt, seed=place + 1, steps=requests[place].steps)[0]
        torch.testing.assert_close(medium.tensor, alone.tensor, rtol=0, atol=1e-4)


def test_a_request_joins_while_others_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("image_digits", ["guide.name=plain", "sampler.name=ddim"])
    sizes = counted(model, monkeypatch)
    media, _ = source("image_digits")
    late = Request("5", steps=5, edit=EditRequest(media, strength=0.6))

    def watch(progress) -> None:
        if len(sizes) == 2 and progress.queries == 2:
            assert many.add(late) == 1

    many = model.batcher([Request("3", seed=1, steps=6)], on_progress=watch)
    made = dict(many)
    assert sizes == [1, 1, 2, 2, 2, 1]
    seed = model.recipe.seed + 1
    assert made[1].seed == seed
    alone = model.edit(media, "5", strength=0.6, steps=5, seed=seed)[0]
    torch.testing.assert_close(made[1].tensor, alone.tensor, rtol=0, atol=1e-4)
    assert many.add(Request("8", steps=1)) == 2  # all are made; it goes on
    assert [place for place, _ in many] == [2]
    with pytest.raises(MultigenError, match="^prompt: .*eleven"):
        many.add(Request("eleven"))


def test_requests_join_from_several_threads() -> None:
    model = small("image_digits")
    many, places = model.batcher([Request("3", steps=2)]), list[int]()

    def join() -> None:
        places.extend(many.add(Request(str(k), steps=1)) for k in range(10))

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    made = [place for place, _ in many]
    for thread in threads:
        thread.join()
    made += [place for place, _ in many]  # of those that came after the last was made
    assert sorted(places) == list(range(1, 41))
    assert sorted(made) == list(range(41))


def test_a_text_is_a_request_for_that_prompt() -> None:
    model = small("image_digits")
    made = dict(model.batcher(["3", Request("8")]))
    for place, prompt in enumerate(("3", "8")):
        (alone,) = model.generate(prompt, seed=model.recipe.seed + place)
        assert made[place].prompt == prompt
        torch.testing.assert_close(made[place].tensor, alone.tensor, rtol=0, atol=1e-4)


def test_the_prompts_of_one_edit_share_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = small("image_digits"), []
    model.modality.write(source("image_digits")[0], tmp_path / "a.png")
    native = model.modality.native
    monkeypatch.setattr(model.modality, "native", lambda path: read.append(path) or native(path))
    path = tmp_path / "a.png"
    edit, other = EditRequest(path, strength=0.5), EditRequest(path, strength=0.7)
    made = model.batcher(
        [Request(prompt, edit=edit, steps=2) for prompt in "38"] + [Request("3", edit=other, steps=2)]
    )
    assert len(read) == 2
    first, second, third = (job.plan for job in made.jobs.values())
    assert first is second and third.edit is not first.edit
    assert {place: medium.prompt for place, medium in made} == {0: "3", 1: "8", 2: "3"}


def test_what_waits_is_cancelled_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("image_digits", ["guide.name=plain", "sampler.name=ddim"])
    sizes = counted(model, monkeypatch)
    many = model.batcher([Request("3", steps=3), Request("4", steps=2), Request("5", steps=2)], batch=1)
    assert next(many)[0] == 0
    many.cancel(1)
    many.cancel(0)  # made already
    assert [place for place, _ in many] == [2]
    assert len(sizes) == 5
    for wrong in (-1, 3):
        with pytest.raises(MultigenError, match=f"cancel: {wrong} is not allowed; there are places 0 to 2"):
            many.cancel(wrong)


def test_no_more_than_a_batch_are_under_way() -> None:
    model = small("image_digits")
    under_way: set[int] = set()
    most = [0]

    def watch(progress) -> None:
        under_way.add(id(progress.sampling))
        most[0] = max(most[0], len(under_way))
        if progress.sample is not None:
            under_way.discard(id(progress.sampling))

    assert (
        len(
            list(model.batcher([Request("3", steps=2 + k % 3) for k in range(7)], batch=3, on_progress=watch))
        )
        == 7
    )
    assert most[0] == 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Request("3", steps=0), "request 2: steps: 0"),
        (Request("3", guidance_scale=float("nan")), "request 2: guidance_scale: nan is not allowed"),
        (Request("3", steps=10**12), "request 2: timesteps .* 1 to 100,000"),
        (
            Request("3", size=10**6),
            "request 2: a medium of 1000000 x 1000000",
        ),
        (Request("twelve"), "request 2: .*twelve"),
        (Request("3", overrides=("train.lr=1",)), "request 2: train: the weights of"),
        (Request("3", overrides=("sampler.name=heum",)), "request 2: .*Did you mean 'heun'"),
        (Request("3", seed=-1), "request 2: seed"),
        (Request("3", duration=2.0), "request 2: size or duration"),
        (Request("3", overrides=("seed=4",)), "request 2: seed"),
        (Request("3", overrides=("timesteps={name: trailing}",)), "request 2: timesteps"),
        (Request("3", overrides=("modifiers=[{name: rescale, share: 2}]",)), "request 2: .*share"),
        (Request("3", loop=True), "request 2: loop: a picture has no time; tile closes its sides"),
        (Request("3", tile="xz"), "request 2: tile: 'xz' is not allowed.*Did you mean 'xy'"),
        (Request("3", edit=EditRequest(torch.zeros(1, 28, 28), strength=2.0)), "request 2: strength: 2.0"),
        (Request("3", edit=EditRequest(torch.zeros(1, 28, 28), invert="eleven")), "request 2: .*eleven"),
        (Request("3", edit=EditRequest(torch.zeros(1, 28, 40), fit="zoom")), "request 2: fit: 'zoom'"),
        (Request("3", edit=EditRequest("none.png")), "request 2: .*none.png"),
        (
            Request(
                "3",
                sliding_window=True,
                edit=EditRequest(torch.zeros(1, 28, 28), extend=[10**6, 0, 0, 10**6]),
            ),
            "request 2: a medium of 1000028 x 1000028 is not allowed",
        ),
        (
            Request("3", edit=EditRequest(torch.zeros(1, 28, 28), feather=29)),
            "request 2: feather: 29 is not allowed; .* 0 to 28",
        ),
        (Request("3", size=20, edit=EditRequest(torch.zeros(1, 28, 28))), "request 2: size, duration"),
        (
            Request(
                "3",
                sliding_window=True,
                tile=True,
                edit=EditRequest(torch.zeros(1, 28, 28), restore=Part("blur")),
            ),
            "request 2: tile: it does not go with restore",
        ),
    ],
)
def test_a_wrong_request_is_named_before_any_begins(
    bad: Request, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small("image_digits")
    monkeypatch.setattr(model.denoiser, "forward", None)
    monkeypatch.setattr(model.codec, "encode", None)
    with pytest.raises(MultigenError, match=said):
        model.batcher([Request("3"), bad], n=2)


def test_a_line_is_a_prompt_or_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").touch()
    assert read_request("red apple", "here") == Request("red apple")
    line = '{"prompt": "red apple", "seed": 3, "size": [20, 24], "overrides": ["sampler.name=ddim"]}'
    assert read_request(line, "here") == Request(
        "red apple", seed=3, size=(20, 24), overrides=("sampler.name=ddim",)
    )
    line = '{"input": "a.png", "keep": "0:2s", "extend": 8, "feather": 1, "sliding_window": true}'
    edit = EditRequest("a.png", keep="0:2s", extend=8, feather=1.0)
    found = read_request(line, "here")
    assert found.edit is not None and vars(found.edit) == vars(edit)
    assert found == Request(sliding_window=True, edit=found.edit)
    for text, said in (
        ('{"strength": 0.5}', "here: strength: it goes with input"),
        ('{"input": "a.png", "strenght": 0.5}', "here: strenght.*Did you mean 'strength'"),
        ('{"input": "a.png", "strength": "half"}', "here: strength: 'half' is not allowed"),
        ('{"input": "a.png", "edit": {}}', "here: edit"),
        ('{"input": "a.png", "restore": "blur", "feather": 1}', "here: feather: it does not go with restore"),
        ('{"input": "a.png", "restore": {"factor": 2}}', "here: restore .*give a name"),
        ('{"input": "b.png"}', "here: b.png: no such file"),
        ('{"input": "a.png", "keep": "2s:1s"}', "here: keep 2s:1s: 2s:1s ends before it starts"),
        ('{"promt": "x"}', "here: promt.*Did you mean 'prompt'"),
        ('{"seed": "3"}', "here: seed"),
        ('{"seed": 3', "here: not JSON"),
        ('{"seed": 3, "seed": 4}', "here: not JSON .*'seed' comes twice"),
        ('{"guidance_scale": NaN}', "here: not JSON .*NaN is no number"),
        ('{"prompt": ' + "[" * 100_000, "here: not JSON"),
    ):
        with pytest.raises(MultigenError, match=said):
            read_request(text, "here")


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


def test_edits_in_a_file_are_those_of_the_edit_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = small("image_digits")
    media, _ = source("image_digits")
    model.modality.write(media, Path("a.png"))
    model.modality.write(torch.cat([-torch.ones(1, 28, 14), torch.ones(1, 28, 14)], 2), Path("mask.png"))
    model.modality.write(media[:, :14, :14], Path("low.png"))
    requests = [
        {
            "prompt": "3",
            "input": "a.png",
            "mask": "mask.png",
            "feather": 1,
            "steps": 3,
            "negative_prompt": "5",
        },
        {"prompt": "8", "input": "a.png", "invert": "3", "strength": 0.5, "overrides": ["sampler.name=ddim"]},
        {"prompt": "1", "input": "low.png", "restore": {"name": "downsample", "factor": 2}},
        {"prompt": "4", "input": "low.png", "extend": "7"},
    ]
    Path("requests.txt").write_text("\n".join(["2", *map(json.dumps, requests)]))
    common = ["image_digits", "--quiet", "--device", "cpu", "-n", "1"]
    assert main(["sample", *common, "--prompts", "requests.txt", "--steps", "2", "--out", "many"]) == 0
    files = sorted(Path("many/media").glob("*.png"))
    entries = json.loads(Path("many/manifest.json").read_text())["files"]
    assert "edit" not in entries[0]
    for k, request in enumerate(requests, 1):
        argv = [
            "edit",
            *common,
            "--seed",
            str(k),
            "--steps",
            str(request.pop("steps", 2)),
            "--out",
            f"out{k}",
        ]
        argv += request.pop("overrides", [])
        for option, value in request.items():
            argv += [
                f"--{option.replace('_', '-')}",
                json.dumps(value) if isinstance(value, dict) else str(value),
            ]
        assert main(argv) == 0
        (one,) = Path(f"out{k}/media").glob("*.png")
        a, b = (model.modality.read(path) for path in (files[k], one))
        assert (a - b).abs().max() <= 1.01 * 2 / 255  # a level: 1e-4 may round the other way
        (entry,) = json.loads(Path(f"out{k}/manifest.json").read_text())["files"]
        for key in ("edit", "sampler", "steps", "prompt", "seed", "negative_prompt"):
            assert entries[k].get(key) == entry.get(key), key
    assert (entries[1]["steps"], entries[1]["negative_prompt"]) == (3, "5")
    assert entries[1]["edit"]["mask"] == "mask.png"
    assert entries[2]["sampler"] == {"name": "ddim"}
    assert entries[2]["edit"]["inversion_error"] > 0
    assert entries[3]["edit"]["operator"] == {"name": "downsample", "factor": 2}
    assert torch.equal(
        model.modality.read(files[1])[:, :, :13], model.modality.read(Path("a.png"))[:, :, :13]
    )
    Path("requests.txt").write_text(
        '3\n{"prompt": "8", "input": "low.png", "mask": "mask.png", "mask_is": "red"}\n'
    )
    capsys.readouterr()
    assert main(["sample", *common, "--prompts", "requests.txt", "--out", "none"]) == 2
    assert "request 2: mask_is: 'red' is not allowed" in capsys.readouterr().err
    assert not Path("none").exists()


def refusing(model: Model, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """Let the network refuse every call that holds a sample of a prompt."""
    forward, vector = model.denoiser.forward, model.encode(bad).vector
    assert vector is not None

    def forwarded(x: torch.Tensor, t: torch.Tensor, cond: Cond, **more: object) -> torch.Tensor:
        assert cond.vector is not None
        if (cond.vector == vector).all(1).any():
            raise ArithmeticError(bad)
        return forward(x, t, cond, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(model.denoiser, "forward", forwarded)


def test_one_that_fails_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = steady(small("image_digits"))
    requests = [Request(prompt, seed=k, steps=2 + k) for k, prompt in enumerate("3843")]
    alone = [next(model.batcher(one))[1] for one in requests if one.prompt != "8"]
    with monkeypatch.context() as patch:
        refusing(model, patch, "8")
        many = model.batcher(requests)
        made = dict(next(many) for _ in range(3))
        assert sorted(made) == [0, 2, 3]
        for place, one in zip(sorted(made), alone, strict=True):
            torch.testing.assert_close(made[place].tensor, one.tensor, rtol=0, atol=1e-4)
        with pytest.raises(ArithmeticError, match="8"):  # when the others are made
            next(many)
        assert list(many) == []  # once
        in_order = model.stream(requests)
        torch.testing.assert_close(next(in_order).tensor, alone[0].tensor, rtol=0, atol=1e-4)
        with pytest.raises(ArithmeticError, match="8"):  # at its place
            next(in_order)


def test_a_medium_that_cannot_be_finished_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("image_digits")
    decode = model.codec.decode

    def decoded(x: torch.Tensor, *, seed: int) -> torch.Tensor:
        if seed == 8:
            raise ArithmeticError("codec")
        return decode(x, seed=seed)

    monkeypatch.setattr(model.codec, "decode", decoded)
    many = model.batcher([Request("3", seed=k, steps=2) for k in (7, 8, 9)])
    assert [next(many)[0], next(many)[0]] == [0, 2]
    with pytest.raises(ArithmeticError, match="codec"):
        next(many)
    assert list(many) == []
