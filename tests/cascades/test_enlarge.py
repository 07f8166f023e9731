"""The condition of a super-resolution network: its channels, the noise on it, and values that it refuses."""

from __future__ import annotations

import pytest
import torch

from multigen import registry
from multigen.cascades import Cascade
from multigen.codecs.pixels import Pixels
from multigen.core.noise import normal
from multigen.errors import RecipeError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part


def enlarge(modality: object = None, unshuffle: int = 2, **args: object) -> Cascade:
    given = {"modality": modality or Image(size=32), "codec": Pixels(unshuffle=unshuffle)}
    return registry.build("cascade", Part("enlarge", args), where="cascade", given=given)


def test_the_condition_is_the_enlarged_medium_with_noise_and_a_channel_that_says_how_much() -> None:
    one, media = enlarge(factor=4, noise=0.9, level=0.1), normal((2, 3, 32, 32), 0).clamp(-1, 1)
    seen = one.seen(one.reduced(media), (32, 32))
    assert one.width == 13 and seen.shape == (2, 12, 16, 16)
    noise, level = normal((2, 12, 16, 16), 1), torch.tensor([0.0, 0.6])
    made = one.condition(seen, level, noise)
    assert torch.equal(made[0, :12], seen[0])
    assert torch.allclose(made[1, :12], 0.8 * seen[1] + 0.6 * noise[1])  # the variance of both stays 1
    assert made[:, 12].flatten(1).unique(dim=1).flatten().tolist() == pytest.approx([0, 0.6])


def test_shapes_of_before_and_after() -> None:
    one = enlarge(factor=4)
    assert one.before((3, 256, 192)) == (3, 64, 48) and one.before((3, 30, 9)) == (3, 8, 3)
    assert one.after((3, 64, 48)) == (3, 256, 192)
    assert enlarge(Video(size=32, frames=8), factor=4).before((3, 8, 32, 32)) == (3, 8, 8, 8)
    assert enlarge(Video(size=32, frames=8), factor=(2, 1, 1)).before((3, 8, 32, 32)) == (3, 4, 32, 32)
    assert enlarge(Audio(rate=8000, seconds=1), unshuffle=1).before((1, 8000)) == (1, 2000)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"factor": 1}, "factor: 1 is not allowed"),
        ({"factor": [2]}, r"factor: .* a list of 2"),
        ({"factor": [1, 1]}, "factor: "),
        ({"noise": 1}, "noise: 1.* is not allowed"),
        ({"noise": 0.1, "level": 0.2}, "level: 0.2 is not allowed.*noise, 0.1"),
    ],
)
def test_values_out_of_range_are_refused(args: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        enlarge(**args)
