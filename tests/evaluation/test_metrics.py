"""Metrics on media whose answer is known: real ones score high, noise, the wrong prompt and the wrong way score low."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import normal, stream
from multigen.datasets import Dataset
from multigen.datasets.digits import Digits
from multigen.datasets.emoji import Emoji
from multigen.datasets.motions import DIRECTIONS, MOTIONS
from multigen.datasets.moving_emoji import MovingEmoji
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Score, Target, shuffled, skill
from multigen.evaluation.metrics.cut_out import cut_out, ink
from multigen.evaluation.metrics.motion import direction, track
from multigen.evaluation.metrics.motion_kind import motion, turn
from multigen.modalities.audio import Audio
from multigen.modalities.general_midi import key_classes
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part

RATE = 22050
SOUND = Audio(rate=RATE, channels=1, seconds=3.0)
NAMES = (
    "red apple",
    "banana",
    "carrot",
    "doughnut",
    "pizza",
    "broccoli",
    "octopus",
    "rocket",
    "soccer ball",
    "tulip",
)


def metric(name: str, modality: object, dataset: object, **arguments: object) -> Metric:
    given = {"modality": modality, "dataset": dataset}
    return registry.build("metric", Part(name, arguments), where="evaluate.metrics", given=given)


def chord(*pitches: float, seconds: float = 3.0) -> Tensor:
    t = torch.arange(int(seconds * RATE)) / RATE
    notes = [torch.sin(2 * math.pi * 440 * 2 ** ((p - 69) / 12) * t) for p in pitches]
    return 0.2 * torch.stack(notes).mean(0)[None]


# --- scores -----------------------------------------------------------------------------------------------------


def test_score_is_the_mean_of_what_is_known() -> None:
    score = Score.of([1.0, math.nan, 3.0])
    assert (score.value, score.error) == (2.0, pytest.approx(1.0))
    assert math.isnan(Score.of([math.nan]).value)
    assert math.isnan(Score.of([1.0]).error)
    assert skill(0.75, 0.5, 1.0) == 0.5
    assert math.isnan(skill(1.0, 1.0, 1.0))


def test_others_keep_nothing_and_lose_nothing() -> None:
    wanted = [Target(str(k)) for k in range(9)]
    for seed in range(20):
        given = shuffled(wanted, seed)
        assert sorted(w.prompt for w in given) == [str(k) for k in range(9)]
        assert all(a != b for a, b in zip(wanted, given, strict=True))
    assert shuffled(wanted[:1]) == wanted[:1]


# --- pictures ---------------------------------------------------------------------------------------------------


def test_retrieval_finds_what_was_drawn_and_not_what_was_not() -> None:
    data = Emoji(modality=Image(size=64), names=NAMES, recolour=True)
    measure = metric("retrieval", Image(size=64), data, top=1)
    drawn = [data.draw(i, stream(i, k)) for i in range(len(NAMES)) for k in range(2)]
    wanted = [Target(d.get("text", ""), d["id"]) for d in drawn]
    media = [d["media"] for d in drawn]
    assert measure(media, wanted).value >= 0.9
    assert measure(media, shuffled(wanted)).value <= 0.2
    noise = [normal((3, 64, 64), k, "n").clamp(-1, 1) for k in range(len(wanted))]
    assert measure(noise, wanted).value <= 0.3
    assert math.isnan(measure(media[:2], [Target("x"), Target("y")]).value)
    with pytest.raises(RecipeError, match=r"retrieval needs a dataset that can name"):
        metric("retrieval", Image(size=28, channels=1), Digits(modality=Image(size=28, channels=1)))


def test_hue_sees_the_colour_that_was_asked_for() -> None:
    data = Emoji(modality=Image(size=64), names=("red apple", "automobile", "banana"), recolour=True)
    measure = metric("hue", Image(size=64), data)
    drawn = [data.draw(k % 3, stream(k)) for k in range(90)]
    wanted = [Target(d.get("text", ""), d["id"]) for d in drawn]
    media = [d["media"] for d in drawn]
    right = measure(media, wanted)
    assert sum(not math.isnan(v) for v in right.values) >= 40
    assert right.value >= 0.95
    assert measure(media, shuffled(wanted)).value < 0.5
    assert measure([torch.ones(3, 64, 64)], [Target("red apple")]).value == 0
    assert math.isnan(measure(media[:1], [Target("an apple")]).value)


def test_cutting_out_undoes_size_and_place() -> None:
    small = Emoji(modality=Image(size=64), names=("red apple",), augment=False)[0]["media"]
    large = torch.ones(3, 128, 128)
    large[:, 50:114, 3:67] = small
    a, b = cut_out(small), cut_out(large)
    assert float((a - b).abs().mean()) < 0.03
    assert torch.equal(cut_out(torch.ones(3, 20, 30)), torch.ones(3, 96, 96))
    assert not ink(torch.ones(3, 5, 5)).any()


# --- motion -----------------------------------------------------------------------------------------------------


def test_direction_is_seen_and_its_reverse_is_another() -> None:
    video = Video(size=32, frames=16)
    data = MovingEmoji(modality=video, objects=("red heart", "panda", "banana", "ghost"))
    measure = metric("direction", video, data)
    drawn = [data.draw(i, stream(i)) for i in range(len(data))]
    wanted = [Target(d.get("text", ""), d["id"], d.get("label")) for d in drawn]
    media = [d["media"] for d in drawn]
    assert measure(media, wanted).value >= 0.97
    backwards = [m.flip(1) for m in media]
    moving = [w.label != list(DIRECTIONS).index("still") for w in wanted]
    assert not any(v for v, m in zip(measure(backwards, wanted).values, moving, strict=True) if m)
    assert direction(torch.ones(3, 16, 32, 32)) is None
    assert track(torch.ones(3, 2, 8, 8)).isnan().all()


MOVING = {"objects": ("red heart", "panda", "banana", "ghost", "rocket", "key"), "motions": tuple(MOTIONS)}


def test_fourteen_motions_are_seen_and_others_are_not() -> None:
    video = Video(size=32, frames=16)
    data = MovingEmoji(modality=video, **MOVING)  # type: ignore[arg-type]
    measure = metric("motion", video, data)
    drawn = [data.draw(i, stream(i)) for i in range(len(data))]
    wanted = [Target(d.get("text", ""), d["id"], d.get("label")) for d in drawn]
    media = [d["media"] for d in drawn]
    assert measure(media, wanted).value >= 0.97
    assert measure(media, [Target(w.prompt, "", w.label) for w in wanted]).value >= 0.97
    assert measure(media, shuffled(wanted)).value < 0.2
    mirrored = {"left": "right", "right": "left"}
    backwards = {"left": "right", "right": "left", "up": "down", "grow": "shrink", "shrink": "grow"}
    for one, target in zip(media, wanted, strict=True):
        asked = data.classes[target.label or 0]
        if asked in backwards:
            assert motion(one.flip(1)) == backwards[asked]
        if asked in mirrored:
            assert motion(one.flip(3)) == mirrored[asked]
    assert motion(torch.ones(3, 16, 32, 32)) is None
    assert math.isnan(measure(media[:1], [Target("a heart")]).value)
    with pytest.raises(RecipeError, match="motion needs a dataset whose labels are motions"):
        metric("motion", video, Emoji(modality=Image(), names=("red apple",)))


def test_turns_are_measured_in_degrees_and_direction() -> None:
    video = Video(size=64, frames=16)
    data = MovingEmoji(modality=video, objects=("key",), motions=("spin", "still"))
    spun = data[0]["media"]
    assert turn(spun) == pytest.approx(360 / 15, abs=3)
    assert turn(spun.flip(1)) == pytest.approx(-360 / 15, abs=3)
    assert turn(spun.flip(3)) == pytest.approx(-360 / 15, abs=3)
    assert turn(data[1]["media"]) == 0
    assert turn(torch.ones(3, 4, 8, 8)) == 0


def test_two_motions_are_each_a_half() -> None:
    video = Video(size=64, frames=16)
    data = MovingEmoji(
        modality=video, objects=("cat", "panda", "rocket"), motions=("up", "bounce"), pairs=1.0
    )
    measure = metric("motion", video, data)
    drawn = [data.draw(i % len(data), stream(i)) for i in range(24)]
    media, ids = [d["media"] for d in drawn], [d["id"] for d in drawn]
    assert measure(media, [Target("", i) for i in ids]).value >= 0.97
    swap = {"moving up": "bouncing", "bouncing": "moving up"}
    first = [" and ".join([f"x {swap[w]}" if k == 0 else f"x {w}" for k, w in enumerate(
        [m for p in i.split(" and ") for m in swap if p.endswith(m)])]) for i in ids]  # fmt: skip
    assert measure(media, [Target("", i) for i in first]).value == pytest.approx(0.5, abs=0.03)


def test_things_are_looked_for_when_they_are_seen_best() -> None:
    video = Video(size=64, frames=16)
    data = MovingEmoji(modality=video, **{**MOVING, "motions": ("spin", "grow", "shrink", "appear")})  # type: ignore[arg-type]
    measure = metric("retrieval", video, data, top=1)
    drawn = [data.draw(i, stream(i)) for i in range(len(data))]
    wanted = [Target(d.get("text", ""), d["id"]) for d in drawn]
    assert measure([d["media"] for d in drawn], wanted).value >= 0.95
    assert measure([d["media"] for d in drawn], shuffled(wanted)).value < 0.4


# --- sounds -----------------------------------------------------------------------------------------------------


def test_keys_have_their_notes() -> None:
    assert set(key_classes("C major")) == {0, 2, 4, 5, 7, 9, 11}
    assert set(key_classes("A minor")) == {9, 11, 0, 2, 4, 5, 7, 8}
    assert set(key_classes("B-flat major")) == {10, 0, 2, 3, 5, 7, 9}


def test_key_tells_asked_from_other_keys() -> None:
    measure = metric("key", SOUND, None)
    c_major, f_sharp = chord(60, 64, 67, 72), chord(66, 70, 73, 78)
    both, asked = [c_major, f_sharp], [Target("organ, C major, 90 bpm"), Target("a chorale in F-sharp major")]
    assert measure(both, asked).value > 0.98
    assert measure(both, asked[::-1]).value < 0.2
    assert math.isnan(measure([c_major], [Target("organ, 90 bpm")]).value)
    assert math.isnan(measure([torch.zeros(1, RATE)], asked[:1]).value)


def test_tonality_tells_a_key_from_its_relative() -> None:
    measure = metric("tonality", SOUND, None)
    chords = ((57, 60, 64), (50, 62, 65), (52, 64, 68), (57, 60, 64))
    piece = torch.cat([chord(*notes, seconds=0.7) for notes in chords], 1)
    asked = [Target("flute, A minor, 90 bpm"), Target("flute, C major, 90 bpm"), Target("flute, 90 bpm")]
    assert measure([piece] * 2, asked[:2]).values == (1.0, 0.0)
    assert math.isnan(measure([piece], asked[2:]).value)


def test_tempo_tells_asked_from_other_tempi() -> None:
    measure = metric("tempo", SOUND, None)
    beats = {bpm: torch.cat([chord(60 + k % 5, seconds=60 / bpm) for k in range(8)], 1) for bpm in (80, 100)}
    asked = [Target("flute, 80 bpm"), Target("flute, 100 bpm")]
    assert measure(list(beats.values()), asked).values == (1.0, 1.0)
    assert measure(list(beats.values()), asked[::-1]).values == (0.0, 0.0)
    assert measure([beats[80]] * 3, [Target("160 bpm"), Target("40 bpm"), Target("86 bpm")]).value == 1
    assert math.isnan(measure([beats[80]], [Target("flute, slow")]).value)
    assert math.isnan(measure([torch.zeros(1, RATE)], asked[:1]).value)


def test_a_drone_and_noise_are_unlike_music() -> None:
    entropy, detune, onsets = (metric(n, SOUND, None) for n in ("chroma_entropy", "detune", "onset_rate"))
    drone, noise = chord(60, 72), normal((1, 3 * RATE), 0, "n") * 0.1
    tune = torch.cat([chord(60 + k, 67 + k, seconds=0.5) for k in (0, 2, 4, 5, 7, 9)], 1)
    w = [Target("")]
    assert entropy([drone], w).value < 0.3 < 2.0 < entropy([tune], w).value < entropy([noise], w).value
    assert detune([tune], w).value < 0.1 < 0.2 < detune([noise], w).value
    assert onsets([drone], w).value < 1 < onsets([tune], w).value
    assert math.isnan(detune([torch.zeros(1, RATE)], w).value)
    with pytest.raises(RecipeError, match="detune takes sound; the modality is image"):
        metric("detune", Image(), None)


class Waves(Dataset):
    """Three made-up instruments at many pitches."""

    instruments = ("square", "sine", "square lead")

    def draw(self, index: int, rng: torch.Generator) -> dict[str, object]:
        kind = index % 3
        low = 50 + 20 * torch.rand((), generator=rng).item()
        wave = chord(low, low + 7)
        media = (wave, wave.sign() * 0.1, 0.5 * wave + 0.02 * wave.sign() * wave.roll(40, 1).sign())[kind]
        return {"media": media, "id": str(index), "text": f"{('sine', 'square', 'square lead')[kind]}, slow"}

    def split(self) -> tuple[list[int], list[int]]:
        return list(range(24)), [24, 25, 26]


def test_instruments_are_heard() -> None:
    data = Waves()
    measure = metric("instrument", SOUND, data)
    drawn = [data.draw(k, stream(k, "new")) for k in range(15)]
    media, wanted = [d["media"] for d in drawn], [Target(str(d["text"])) for d in drawn]
    assert measure(media, wanted).value >= 0.9  # type: ignore[arg-type]
    assert measure(media, shuffled(wanted)).value < 0.75  # type: ignore[arg-type]
    assert math.isnan(measure(media[:1], [Target("slow")]).value)  # type: ignore[arg-type]


# --- classes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits(modality=Image(size=28, channels=1))


@pytest.mark.slow
def test_classifiers_know_real_digits_and_not_noise(digits: Digits) -> None:
    modality = Image(size=28, channels=1)
    held = [digits[i] for i in digits.split()[1]]
    media, wanted = [i["media"] for i in held], [Target("", i["id"], i.get("label")) for i in held]
    real = metric("classifier", modality, digits, steps=150)
    assert real(media, wanted).value > 0.93
    assert real([normal((1, 28, 28), k, "n") for k in range(50)], wanted[:50]).value < 0.4


@pytest.mark.slow
def test_samples_of_one_kind_teach_little(digits: Digits) -> None:
    """A mode collapse: one right picture of each class, over and over."""
    modality = Image(size=28, channels=1)
    measure = metric("trained_on_samples", modality, digits, steps=100)
    train = [digits[i] for i in digits.split()[0][::8]]
    wanted = [Target("", i["id"], i.get("label")) for i in train]
    media = [i["media"] for i in train]
    first = {w.label: m for m, w in reversed(list(zip(media, wanted, strict=True)))}
    full = measure(media, wanted).value
    assert full > 0.85
    assert measure([first[w.label] for w in wanted], wanted).value < full - 0.3
    assert math.isnan(measure(media, [Target("")] * len(media)).value)
