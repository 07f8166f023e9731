"""The beat beside the words: where it lies, who is told of it, and that a network learns to keep it."""

from __future__ import annotations

import math

import pytest
import torch

from multigen.conditioners.beat import Beat
from multigen.conditioners.music_text import CHANNELS, MusicText, beat_of, course
from multigen.core.guides import Query
from multigen.generation import trajectory as generation
from multigen.generation.parts import encode_prompts
from multigen.generation.plan import Job, plan
from multigen.generation.request import EditRequest, Request
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.model.model import Model
from tests.model.test_model import SMALL, small

UNKNOWN = math.inf


@pytest.fixture(scope="module")
def model() -> Model:
    own = ["conditioner={name: music_text}", "guide={name: cfg, scale: 2}", "modifiers=[]"]
    model = small("audio_music", [*SMALL["audio_music"], *own])
    with torch.no_grad():
        model.denoiser.backbone.get_parameter("leave.weight").normal_(std=0.02)
    return model


@pytest.mark.parametrize(
    ("prompt", "beat"),
    [
        ("church organ, G major, 92 bpm", Beat(0, 92, 0, UNKNOWN)),
        ("a waltz at 120.5 BPM, in three", Beat(0, 120.5, 3, UNKNOWN)),
        ("oboe, 4/4, 60 beats per minute, ending", Beat(0, 60, 4, None)),
        ("flute", Beat(0, 0, 0, UNKNOWN)),
        ("100000 bpm, 0 bpm", Beat(0, 0, 0, UNKNOWN)),  # no tempo that one plays
        ("a happy ending", Beat(0, 0, 0, None)),
        ("bending, a396 bpm", Beat(0, 0, 0, UNKNOWN)),
    ],
)
def test_what_a_prompt_says_of_the_beat(prompt: str, beat: Beat) -> None:
    assert beat_of(prompt) == beat


def test_the_beat_is_where_the_tempo_puts_it() -> None:
    rows = course(Beat(first=0.5, bpm=90, metre=3, left=UNKNOWN), seconds=6.0, places=6000)
    t = (torch.arange(6000) + 0.5) / 1000
    quarters = 0.5 + t * 1.5
    for row, angle in ((0, quarters), (2, quarters / 3)):
        assert torch.allclose(rows[row], torch.sin(2 * torch.pi * angle), atol=1e-3)
        assert torch.allclose(rows[row + 1], torch.cos(2 * torch.pi * angle), atol=1e-3)
    tops = 1 + (rows[1][1:-1] > rows[1][:-2]).logical_and(rows[1][1:-1] >= rows[1][2:]).nonzero().flatten()
    assert torch.allclose(t[tops], torch.arange(1, 10) / 1.5 - 0.5 / 1.5, atol=2e-3)  # s, of each beat
    assert not rows[4:].any()


def test_a_piece_that_goes_on_has_the_phase_of_its_place() -> None:
    """A part of a long course is the course of the part."""
    whole = course(Beat(0, 100, 4, 17.0), seconds=20.0, places=2000)
    part = course(Beat(12 * 100 / 60, 100, 4, 5.0), seconds=8.0, places=800)
    assert torch.allclose(whole[:, 1200:], part, atol=1e-5)


@pytest.mark.parametrize("bpm", [60, 73, 0])
def test_the_end_announces_itself_and_falls_on_a_beat(bpm: float) -> None:
    rows = course(Beat(0, bpm, 0, None), seconds=10.0, places=10_000)
    over = int(rows[5].nonzero()[0]) / 1000
    fade = 10.0 - over
    assert 0.74 <= fade <= 0.76 + (60 / bpm if bpm else 0)
    if bpm:
        assert abs(over * bpm / 60 - round(over * bpm / 60)) < 0.01
    assert rows[4, int((over - 4.01) * 1000)] == 0 < rows[4, int((over - 3.9) * 1000)]
    assert (rows[4].diff() >= 0).all() and rows[4, -1] == 1


def test_without_a_beat_all_is_zero_and_only_sound_has_one() -> None:
    given = MusicText(modality=Audio(rate=8000, seconds=2.0))
    assert not given.along({"text": ["a", "b"]}, (1, 16000), (50,)).any()
    assert given.along({"text": ["a", "b"]}, (1, 16000), (50,)).shape == (2, CHANNELS, 50)
    with pytest.raises(ValueError, match="no beat"):
        MusicText(modality=Image(size=16))


def conditions(model: Model, job: Job) -> list[torch.Tensor | None]:
    """The grids of the calls that a trajectory's guide makes first."""
    _, guide = generation.trajectory(model, job)
    answers = guide(Query(torch.zeros(1, *job.plan.shape), torch.tensor(1.0, dtype=torch.float64)))
    calls = next(answers)
    answers.close()
    return [call.cond.grid for call in calls]


def test_guidance_leads_away_from_no_beat(model: Model) -> None:
    request = Request("flute, 90 bpm", negative_prompt="oboe, 70 bpm")
    job = Job(request.prompt, 0, plan(model, request))
    grids = [g for g in conditions(model, job) if g is not None]
    own = encode_prompts(model, request.prompt, media=job.plan.media, size=job.plan.shape[1:]).grid
    assert own is not None and len(grids) == 2
    assert sorted([bool(g.any()) for g in grids]) == [False, True]
    assert any(torch.equal(g, own) for g in grids)


def test_each_window_hears_its_part_of_one_beat(model: Model) -> None:
    request = Request("flute, 90 bpm", duration=4.0, sliding_window=True)
    job = Job(request.prompt, 0, plan(model, request))
    said = encode_prompts(model, "flute, 90 bpm, ending", media=job.plan.media, size=job.plan.shape[1:]).grid
    assert said is not None
    parts = [g for g in conditions(model, job) if g is not None and g.any()]
    assert len(parts) >= 4
    width = parts[0].shape[-1]
    assert torch.equal(parts[0], said[..., :width])
    assert torch.equal(parts[-1], said[..., -width:])
    assert parts[-1][0, 5].any() and not parts[0][0, 5].any()


@pytest.mark.parametrize("loop", [False, True])
def test_no_beat_is_put_under_what_has_one_of_its_own(model: Model, loop: bool) -> None:
    if loop:
        request = Request("flute, 90 bpm", duration=4.0, sliding_window=True, tile=True)
    else:
        source = model.generate("flute", steps=1)
        request = Request("flute, 90 bpm", edit=EditRequest(source[0], strength=0.5))
    grids = conditions(model, Job(request.prompt, 0, plan(model, request)))
    assert all(g is not None and not g.any() for g in grids)


def test_each_request_keeps_its_own_beat_in_a_batch(model: Model) -> None:
    prompts = ["flute, 90 bpm", "flute, 120 bpm", "flute"]
    together = [m.tensor for m in model.batcher([Request(p, seed=1) for p in prompts]).in_order()]
    for prompt, found in zip(prompts, together, strict=True):
        alone = model.generate(prompt, seed=1)[0].tensor
        assert (found - alone).norm() < 0.01 * alone.norm()  # Griffin-Lim amplifies the last digits
    for other in together[1:]:  # one seed, one instrument
        assert (together[0] - other).norm() > 0.1 * other.norm()
