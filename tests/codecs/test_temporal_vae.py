"""VAEs of videos and sound: sizes that they make, and what of a kept medium the latents know."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.codecs.frame_vae import FrameVAE
from multigen.codecs.oobleck import Oobleck
from multigen.codecs.temporal_vae import TemporalVAE
from multigen.core.noise import normal
from multigen.errors import MultigenError
from multigen.generation.circles import check_time
from tests.families import moving

import diffusers  # isort: skip  # after tests.families, which makes torchaudio importable


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> TemporalVAE:
    return TemporalVAE(path=str(moving.wan(tmp_path_factory.mktemp("wan"))), multiple=2)


def test_sizes_that_cannot_be_made_name_the_nearest(wan: TemporalVAE) -> None:
    assert wan.shape((3, 9, 16, 24)) == (4, 3, 4, 6)
    with pytest.raises(ValueError, match=r"10 frames are not allowed. Allowed: 4 k \+ 1; the nearest is 9"):
        wan.shape((3, 10, 16, 16))
    with pytest.raises(ValueError, match=r"18 pixels .* multiples of 4; the nearest is 16"):
        wan.shape((3, 9, 18, 16))
    with pytest.raises(ValueError, match="videos of 3 channels"):
        wan.shape((1, 9, 16, 16))
    assert wan.whole((3, 10, 18, 16)) == (3, 13, 24, 16)


def test_latents_know_frames_that_are_all_kept(wan: TemporalVAE) -> None:
    keep = torch.ones(9, 16, 16, dtype=torch.bool)
    keep[5] = False  # in the last four frames
    keep[0, :, 8:] = False
    known = wan.latent_mask(keep)
    assert known.shape == (3, 4, 4)
    assert known[1].all()
    assert not known[2].any()
    assert known[0, :, :2].all()
    assert not known[0, :, 2:].any()


def test_statistics_of_each_channel_are_undone(wan: TemporalVAE) -> None:
    video = normal((3, 5, 16, 16), 1, "media").mul(0.4).clamp(-1, 1)[None]
    x = wan.encode(video)
    network = wan.network.on(torch.device("cpu"))
    z = network.encode(video).latent_dist.mode()
    mean, std = (
        torch.tensor(row).view(4, 1, 1, 1)
        for row in (network.config.latents_mean, network.config.latents_std)
    )
    torch.testing.assert_close(x, (z - mean) / std)
    torch.testing.assert_close(wan.decode(x), network.decode(z).sample.clamp(-1, 1), rtol=0, atol=1e-5)


def test_frames_are_those_of_pictures(tmp_path: Path) -> None:
    codec = FrameVAE(path=str(moving.modelscope(tmp_path)))
    video = normal((3, 3, 16, 16), 2, "media").clamp(-1, 1)[None]
    x = codec.encode(video)
    torch.testing.assert_close(x[:, :, 1], codec.frame.encode(video[:, :, 1]))
    torch.testing.assert_close(codec.decode(x)[:, :, 2], codec.frame.decode(x[:, :, 2]))
    with pytest.raises(ValueError, match="takes videos"):
        codec.shape((3, 16, 16))


def test_a_sound_is_the_beginning_of_a_window(tmp_path: Path) -> None:
    codec = Oobleck(path=str(moving.stable_audio(tmp_path)), window=12)
    assert codec.whole((2, 20)) == (2, 96)
    assert codec.whole((2, 100)) == (2, 104)
    assert codec.shape((2, 20)) == (4, 3)
    keep = torch.ones(20, dtype=torch.bool)
    keep[9] = False
    assert codec.latent_mask(keep).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="2 channels"):
        codec.shape((1, 20))


def test_a_decoder_that_removes_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pipeline decodes of the same latents, with the same noise in them."""
    folder = moving.ltx_timed(tmp_path / "pipeline")
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    start = normal((4, 2, 8, 8), 1, "start")[None].repeat(2, 1, 1, 1, 1)
    made: dict[str, torch.Tensor] = {}
    noise = torch.stack([normal((4, 2, 8, 8), 5 + k, "decoding") for k in range(2)])
    monkeypatch.setattr("diffusers.pipelines.ltx.pipeline_ltx.randn_tensor", lambda *_, **__: noise)
    for kind in ("latent", "pt"):
        options = {"latents": pipe._pack_latents(start), "height": 32, "width": 32, "num_frames": 5}
        options |= {"num_inference_steps": 2, "decode_timestep": 0.05, "decode_noise_scale": 0.3}
        made[kind] = pipe(moving.PROMPTS, output_type=kind, **options).frames
    x = pipe._unpack_latents(made["latent"], 2, 8, 8)
    codec = TemporalVAE(path=str(folder), decode_timestep=0.05, decode_noise=0.3)
    ours = codec.decode(x, seed=5)
    wanted = made["pt"].transpose(1, 2) * 2 - 1
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-4)
    assert (TemporalVAE(path=str(folder)).decode(x) - ours).abs().max() > 0.01
    torch.testing.assert_close(codec.decode(x[1:], seed=6), ours[1:], rtol=0, atol=1e-5)


def test_a_decoder_that_removes_none_is_told_of_none(tmp_path: Path) -> None:
    folder = str(moving.ltx(tmp_path / "pipeline"))
    with pytest.raises(ValueError, match=r"the decoder of .* removes no noise. Allowed: 0"):
        TemporalVAE(path=folder, decode_timestep=0.05)
    with pytest.raises(ValueError, match="decode_noise: 2 is not allowed. Allowed: 0 to 1"):
        TemporalVAE(path=folder, decode_noise=2)


def test_no_loop_is_made_of_latents_that_hold_a_first_frame(wan: TemporalVAE) -> None:
    for count in (1, 5, 9):
        with pytest.raises(MultigenError, match="loop: the codec of this model holds the first frame"):
            check_time(wan, (3, count, 16, 16))
