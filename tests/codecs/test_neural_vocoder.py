"""The neural vocoder: in tune before it has learned anything, keyed by seeds, shared between codecs of one kind."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import multigen
from multigen.codecs.mel import Mel
from multigen.codecs.neural_vocoder import NeuralVocoder
from multigen.datasets.flite import speak
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.audio import detune
from multigen.modalities.audio import Audio
from multigen.model.model import Model
from multigen.model.vocoders import load_vocoder
from multigen.recipe.load import load_recipe
from multigen.storage.tensors import load_tensors
from tests.codecs.test_mel import AUDIO, RATE, TRAINED, chord, fitted

__all__ = ["fitted"]

SMALL = ["codec.width=16", "codec.blocks=2", "codec.components=32"]


@pytest.fixture(scope="module")
def neural(fitted: Mel) -> Mel:
    torch.manual_seed(0)
    codec = Mel(modality=AUDIO, vocoder="neural", width=32, blocks=2)
    codec.load_state_dict(fitted.state_dict(), strict=False)
    return codec


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Weights of a small vocoder whose network answers something."""
    model = Model(load_recipe("vocoder_music", SMALL), device="cpu")
    model.codec.fit(chord(seed) for seed in range(TRAINED))
    with torch.no_grad():
        for k, p in enumerate(model.codec.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    return model.save(tmp_path / "vocoder.safetensors")


def test_the_shortest_sound_that_is_taken_is_made(neural: Mel, fitted: Mel) -> None:
    channels, frames = neural.shape((1, 1536))
    for codec in (neural, fitted):
        sound = codec.decode(torch.zeros(1, channels, frames), seed=0)
        assert sound.shape == (1, 1, 1536)
        assert sound.isfinite().all()


def with_vocoder(source: Path | str, **changes: object) -> Mel:
    args = {"components": 32, "vocoder": str(source), **changes}
    return Mel(modality=AUDIO, load_vocoder=load_vocoder, **args)  # type: ignore[arg-type]


@pytest.mark.parametrize("frequency", [446.3, 1234.5])
def test_a_steady_tone_between_multiples_of_the_frame_rate_keeps_its_frequency(
    neural: Mel, frequency: float
) -> None:
    """A network of frames alone could only give multiples of 43 Hz; phases that go on by themselves give any."""
    t = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    tone = 0.1 * torch.sin(2 * math.pi * frequency * t).float()[None]
    mel = (neural.log_mel(tone).exp() - neural.floor).clamp_min(0).transpose(1, 2)
    with torch.no_grad():
        sound = neural.vocoder(mel, seeds=[3])[0, 0]
    level = torch.fft.rfft(sound[8192 : 8192 + 16384] * torch.hann_window(16384)).abs()
    assert abs(level.argmax().item() * RATE / 16384 - frequency) < 4


def test_chords_are_nearly_in_tune_before_training(neural: Mel) -> None:
    media = torch.stack([chord(seed) for seed in (100, 101)])
    with torch.no_grad():
        back = neural.decode(neural.encode(media), seed=5)
    assert back.shape == (2, 1, 86 * 512)
    assert (detune(back, RATE) - detune(media, RATE)).max() < 0.08


def test_rounds_make_a_sound_as_loud_as_its_spectrum_says(neural: Mel) -> None:
    """Random phases disagree: the sound's own spectrum is far from the asked magnitudes without the rounds."""
    vocoder = neural.vocoder
    assert isinstance(vocoder, NeuralVocoder)
    sound = chord(3)[None]
    asked = torch.stft(sound[0], vocoder.fft, vocoder.hop, window=vocoder.window, return_complex=True).abs()
    phase = 2 * math.pi * torch.rand(asked.shape, generator=torch.Generator().manual_seed(0))
    spectrum = torch.polar(asked, phase).requires_grad_()

    def apart(made: torch.Tensor) -> torch.Tensor:
        got = torch.stft(made, vocoder.fft, vocoder.hop, window=vocoder.window, return_complex=True).abs()
        return (got - asked).norm() / asked.norm()

    made = vocoder.sound(spectrum)[:, 0]
    plain = torch.istft(spectrum, vocoder.fft, vocoder.hop, window=vocoder.window, length=made.shape[-1])
    assert apart(made) < 0.6 * apart(plain)
    apart(made).backward()
    assert spectrum.grad is not None and bool(spectrum.grad.abs().sum() > 0)


def test_a_sound_is_keyed_by_its_seed_whatever_the_batch(neural: Mel) -> None:
    x = neural.encode(torch.stack([chord(seed) for seed in (1, 2, 3)]))
    with torch.no_grad():
        all_three, alone = neural.decode(x, seed=7), neural.decode(x[2:], seed=9)
        other = neural.decode(x[2:], seed=10)
    torch.testing.assert_close(all_three[2:], alone, atol=1e-4, rtol=0)
    assert (alone - other).abs().max() > 0.01


def test_the_network_decides_the_magnitudes(neural: Mel) -> None:
    vocoder = neural.vocoder
    assert isinstance(vocoder, NeuralVocoder)
    mel = neural.magnitudes(neural.encode(chord(4)[None]))
    with torch.no_grad():
        before = vocoder.spectrum(mel, seeds=[0]).abs()
        vocoder.head.bias[:1025] += math.log(2)
        after = vocoder.spectrum(mel, seeds=[0]).abs()
        vocoder.head.bias[:1025] -= math.log(2)
    # Of logarithms up to 10 in size, one rounding is 5e-7, of several some 4e-6.
    torch.testing.assert_close(after, 2 * before, rtol=1e-4, atol=1e-6)


def test_what_is_trained_here_is_saved_and_what_is_borrowed_is_not(trained: Path, fitted: Mel) -> None:
    borrowed = with_vocoder(trained)
    assert not [k for k in borrowed.state_dict() if k.startswith("vocoder")]
    assert not [p for p in borrowed.parameters() if p.requires_grad]
    assert [k for k in Mel(modality=AUDIO, vocoder="neural", width=8).state_dict() if k.startswith("vocoder")]
    # Its statistics load as without it, and nothing is missed.
    plain = with_vocoder("griffin_lim")
    plain.fit(chord(seed) for seed in range(TRAINED))
    borrowed.load_state_dict(plain.state_dict())
    model = Model(load_recipe("vocoder_music", SMALL), device="cpu")
    model.load_weights(load_tensors(trained), "here")
    x = plain.encode(chord(9)[None])
    with torch.no_grad():
        torch.testing.assert_close(
            borrowed.decode(x, seed=2), model.codec.decode(x, seed=2), atol=2e-3, rtol=0
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"floor": 1e-4}, "floor: 3e-05 there, 0.0001 here"),
        ({"hop": 256}, "hop: 512 there, 256 here"),
        ({"components": 64}, "components: 32 there, 64 here"),
        ({"high": 8000.0}, "high: 11025.0 there, 8000.0 here"),
    ],
)
def test_other_mel_settings_are_refused(trained: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match="trained on other mel spectrograms") as error:
        with_vocoder(trained, **change)
    assert said in str(error.value)
    assert "griffin_lim" in str(error.value)


def test_weights_without_a_vocoder_are_refused(tmp_path: Path) -> None:
    small = ["backbone.widths=[16,16]", "backbone.attention=[false,true]", "conditioner.name=none"]
    path = Model(load_recipe("audio_music", small), device="cpu").save(tmp_path / "music.safetensors")
    with pytest.raises(RecipeError, match="holds no vocoder: its recipe, audio_music"):
        with_vocoder(path)
    with pytest.raises(RecipeError, match="codec.vocoder"):
        with_vocoder(tmp_path / "nothing.safetensors")


def test_a_recipe_trains_a_backbone_or_its_codec() -> None:
    from multigen.model.compatibility import check_combination

    for overrides, said in (
        (["backbone=null"], "backbone: missing.*codec.vocoder=neural"),
        (["codec.vocoder=neural"], "learns in a recipe of its own"),
        (["+train.critic={name: spectrograms}"], "train.critic: only a codec that learns"),
    ):
        with pytest.raises(RecipeError, match=said):
            check_combination(load_recipe("audio_music", ["weights=null", *overrides]))
    with pytest.raises(MultigenError, match="trains its codec"):
        Model(load_recipe("vocoder_music", SMALL), device="cpu").generate("flute")


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
def test_the_shipped_vocoder_of_speech_is_nearer_to_the_voices_than_griffin_lim(
    voice: str, tmp_path: Path
) -> None:
    """By STFT magnitudes at a length that neither was made with."""
    said = speak("The committee asked for nine red bicycles.", voice, 1.0, tmp_path / "said.wav").sound
    sound = torch.from_numpy(said.astype(np.float32) / 32768)[None, None]
    sound = sound[..., : sound.shape[-1] // 1024 * 1024]
    neural = multigen.load("audio_speech", device="cpu").codec
    assert isinstance(neural, Mel) and isinstance(neural.vocoder, NeuralVocoder)
    args = load_recipe("audio_speech").codec.args
    plain = Mel(modality=Audio(rate=16000, channels=1, seconds=4.096), **{**args, "vocoder": "griffin_lim"})
    plain.load_state_dict(neural.state_dict())

    def away(codec: Mel) -> float:
        made = codec.decode(codec.encode(sound), seed=0)
        window = torch.hann_window(600)
        one, own = (
            torch.stft(s[0], 600, 150, window=window, return_complex=True).abs() for s in (made, sound)
        )
        return float((one - own).norm() / own.norm())

    assert away(neural) < 0.8 * away(plain)
