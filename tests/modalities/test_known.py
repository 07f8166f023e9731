"""What is known of the built-in modalities before they are imported is what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen import registry
from multigen.codecs.pixels import Pixels
from multigen.errors import MediaError, MultigenError
from multigen.modalities.known import KNOWN, check_extent, check_header, check_operator
from multigen.registry import Part


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_and_durations_are_those_that_its_media_have(name: str):
    modality, known = registry.build("modality", Part(name), where="modality"), KNOWN[name]
    assert modality.suffix in modality.writes == known.writes
    for given, allowed in (({"size": 16}, known.sized), ({"duration": 1.0}, known.timed)):
        asked = {"size": None, "duration": None} | given
        if allowed:
            modality.shape(**given)
            check_extent(name, **asked)
        else:
            with pytest.raises(ValueError, match="is not allowed"):
                modality.shape(**given)
            with pytest.raises(MultigenError, match="is not allowed"):
                check_extent(name, **asked)


@pytest.mark.parametrize("operator", registry.names("operator"))
@pytest.mark.parametrize("name", ["image", "video"])
def test_operators_are_those_that_can_be_built(name: str, operator: str):
    modality = registry.build("modality", Part(name), where="modality")
    given = {"modality": modality, "codec": Pixels()}
    if operator in KNOWN[name].restores:
        registry.build("operator", Part(operator), where="operator", given=given)
        check_operator(name, operator)
    else:
        with pytest.raises(MultigenError):
            registry.build("operator", Part(operator), where="operator", given=given)
        with pytest.raises(MultigenError, match=f"restore: {operator} is not for {name}; take"):
            check_operator(name, operator)


def test_what_is_not_built_in_is_left_to_its_own_checks(tmp_path: Path):
    check_extent("series", size=3, duration=3)
    check_operator("series", "downsample")
    check_operator("image", "mine")
    check_header("series", tmp_path / "none", {})


def test_limits_of_the_recipe_hold_for_headers(tmp_path: Path):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    for name in ("image", "video"):
        check_header(name, tmp_path / "a.png", {"size": 8})
        with pytest.raises(MediaError, match=r"a\.png: 40 x 30 pixels; the limit max_pixels is 100"):
            check_header(name, tmp_path / "a.png", {"size": 8, "max_pixels": 100})
