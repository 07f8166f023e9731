"""The table of families in the documentation, against the registry and the families themselves."""

from __future__ import annotations

import re
from pathlib import Path

from multigen import registry
from multigen.families import Family, open_family
from tests.families import begun, folders, moving, sounding, unclip

PAGE = Path(__file__).parents[2] / "docs" / "diffusers.md"


def rows() -> dict[str, list[str]]:
    """The cells of a family's row, by each of its classes."""
    found: dict[str, list[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 6:
            found |= dict.fromkeys(re.findall(r"`(\w+Pipeline(?:/\w+)?)`", cells[1]), cells)
    return found


def test_every_class_stands_in_the_table() -> None:
    assert sorted(rows()) == registry.names("family")


def test_the_table_says_what_the_families_say(tmp_path: Path) -> None:
    table = rows()
    makers = {
        "UnCLIPPipeline": folders.unclip,
        "UnCLIPPipeline/decoder": unclip.decoder_folder,
        "StableUnCLIPPipeline": folders.stable_unclip,
        "StableUnCLIPImg2ImgPipeline": folders.stable_unclip_variation,
        "KandinskyV22Pipeline": folders.kandinsky,
        "KandinskyV22PriorPipeline": folders.kandinsky_prior,
        "StableDiffusionPipeline": folders.stable_diffusion,
        "LatentConsistencyModelPipeline": folders.latent_consistency,
        "StableDiffusionXLPipeline": folders.stable_diffusion_xl,
        "StableDiffusion3Pipeline": folders.stable_diffusion_3,
        "FluxPipeline": folders.flux,
        "DDIMPipeline": folders.unconditional,
        "ConsistencyModelPipeline": folders.consistency_model,
        "StableAudioPipeline": moving.stable_audio,
        "TextToVideoSDPipeline": moving.modelscope,
        "AnimateDiffPipeline": moving.animatediff,
        "WanPipeline": moving.wan,
        "LTXPipeline": moving.ltx,
        "LTXConditionPipeline": begun.ltx_condition,
        "AudioLDM2Pipeline": sounding.audioldm2,
        "MusicLDMPipeline": sounding.musicldm,
        "WanImageToVideoPipeline": begun.wan_image,
        "StableVideoDiffusionPipeline": begun.stable_video_diffusion,
    }
    assert {tuple(table[name]) for name in makers} == set(map(tuple, table.values()))  # each row has a folder
    for name, make in makers.items():
        family: Family = open_family(make(tmp_path / name.replace("/", " ") / "pipeline"))
        _, _, prompt, long, guide, _ = table[name]
        assert prompt.startswith("yes") == bool(family.streams)
        assert (prompt == "a class") == bool(family.classes)
        assert (long == "in chunks") == any(stream.chunks for stream in family.streams)
        lengths = [stream.length for stream in family.streams if stream.length]
        assert re.findall(r"(?:CLAP|T5) hears (\d+)", long) == [str(length) for length in lengths]
        assert guide.startswith(f"`{family.guide.name}`")
