"""Factors of what a model makes: what divides its sides, known from a recipe without building its codec."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.model.autoencoders import size_multiple
from multigen.recipe.load import load_recipe
from tests.codecs.vaes import NETWORK, TINY, saved_vae


def test_what_divides_the_sides_is_known_from_the_recipe(tmp_path: Path) -> None:
    assert size_multiple(load_recipe("image_digits", ["codec.unshuffle=1"])) == 1
    assert size_multiple(load_recipe("image_emoji")) == 2
    assert size_multiple(load_recipe("vae_folder")) == 4
    assert size_multiple(load_recipe("vae_folder", ["codec.patch=4"])) == 8
    path = saved_vae(tmp_path, [NETWORK.replace("[8,16]", "[8,8,8]"), *TINY[1:]])
    assert size_multiple(load_recipe("image_latent", [f"codec.weights={path}"])) == 8
    with pytest.raises(MultigenError, match="gone"):
        size_multiple(load_recipe("image_latent", [f"codec.weights={tmp_path / 'gone'}"]))
