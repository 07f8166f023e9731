"""The VAE of AudioLDM: its frames, the sizes that it makes, and what of a kept sound the latents know."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from multigen.codecs.mel_vae import MelVAE
from multigen.core.noise import normal
from tests.families import sounding


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sounding.musicldm(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def codec(folder: Path) -> MelVAE:
    return MelVAE(path=str(folder), fft=256)


def test_frames_are_those_of_tacotron(codec: MelVAE) -> None:
    """Written out for one frame: log of Slaney's triangles over magnitudes of 256 samples under a Hann window."""
    sound = normal((1, 640), 1, "sound")
    found = codec.log_mel(sound)
    assert found.shape == (1, 160, 16)
    place = 100
    mirrored = np.pad(sound[0].numpy(), 128, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    magnitude = np.abs(np.fft.rfft(mirrored[place * 4 : place * 4 + 256] * window))
    edges = torch.linspace(0, to_mel(800), 18).numpy()
    hertz = np.array([to_hertz(float(m)) for m in edges])
    at = np.arange(129) * 1600 / 256
    for k in (0, 7, 15):
        low, middle, high = hertz[k : k + 3]
        triangle = np.clip(np.minimum((at - low) / (middle - low), (high - at) / (high - middle)), 0, None)
        wanted = math.log(max(float(triangle @ magnitude) * 2 / (high - low), 1e-5))
        assert float(found[0, place, k]) == pytest.approx(wanted, abs=1e-3)


def to_mel(hertz: float) -> float:
    """Slaney's scale under 1000 Hz."""
    return hertz * 3 / 200


def to_hertz(mel: float) -> float:
    return mel * 200 / 3


def test_silence_is_the_floor(codec: MelVAE) -> None:
    assert torch.equal(codec.log_mel(torch.zeros(1, 400)), torch.full((1, 100, 16), math.log(1e-5)))


def test_sizes(codec: MelVAE) -> None:
    assert codec.shape((1, 60)) == (32, 8)
    assert codec.whole((1, 61)) == (1, 64)
    with pytest.raises(ValueError, match=r"sound of 1 channel, not media of shape \(2, 64\)"):
        codec.shape((2, 64))


def test_encoding_is_the_vae_s_of_the_frames_and_decoding_the_vocoder_s(codec: MelVAE) -> None:
    sound = normal((2, 1, 60), 2, "sound").mul(0.3)
    x = codec.encode(sound)
    assert x.shape == (2, 32, 8)
    padded = torch.nn.functional.pad(sound[:, 0], (0, 4))
    z = codec.vae.encode(codec.log_mel(padded)[:, None]).latent_dist.mode() * 0.3
    torch.testing.assert_close(sounding.unfolded(x), z)
    made = codec.decode(x)
    frames = codec.vae.decode(sounding.unfolded(x) / 0.3).sample[:, 0]
    wanted = codec.vocoder.on(torch.device("cpu"))(frames)[:, :64]
    assert made.shape == (2, 1, 64)
    torch.testing.assert_close(made[:, 0], wanted)
    other = codec.encode(sound, seed=5)
    assert (other - x).abs().max() > 0.1
    torch.testing.assert_close(other[1], codec.encode(sound[1:], seed=6)[0])


def test_latents_know_samples_that_are_all_kept(codec: MelVAE) -> None:
    keep = torch.ones(60, dtype=torch.bool)
    keep[20] = False
    assert codec.latent_mask(keep).tolist() == [True, True, False, True, True, True, True, True]


def test_an_fft_that_leaves_filters_empty_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="mel filters lie between"):
        MelVAE(path=str(folder), fft=16)
