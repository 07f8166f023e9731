"""Single files as the community publishes them are models like their folders."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.model.export.pipeline import write_diffusers
from multigen.storage.diffusers_folder.single_file import flux as flux_names
from multigen.storage.diffusers_folder.single_file import header
from tests.families import folders, single_files, single_flows

SIZE = 16
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
Make = Callable[[Path], Path]
Write = Callable[[Path, Path], Path]
UNET, FLOW = ("unet", "vae", "text_encoder"), ("transformer", "vae", "text_encoder", "text_encoder_2")


def stable_diffusion_3(folder: Path) -> Path:
    """Its first encoder's projection is the identity, which the authors' files leave out."""
    file = folders.stable_diffusion_3(folder) / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {"text_projection.weight": torch.eye(folders.TEXT)}, file, metadata={"format": "pt"})
    return folder


# How the folder is made, how its single file, and which parts that holds.
FILES: dict[str, tuple[Make, Write, tuple[str, ...]]] = {
    "stable diffusion": (folders.stable_diffusion, single_files.stable_diffusion, UNET),
    "inpainting": (folders.inpainting, single_files.stable_diffusion, UNET),
    "stable diffusion xl": (
        folders.stable_diffusion_xl,
        single_files.stable_diffusion_xl,
        (*UNET, "text_encoder_2"),
    ),
    "the refiner": (folders.refiner, single_files.refiner, ("unet", "vae", "text_encoder_2")),
    "stable diffusion 3": (stable_diffusion_3, single_flows.stable_diffusion_3, (*FLOW, "text_encoder_3")),
    "flux's transformer": (folders.flux, single_flows.flux_transformer, FLOW[:1]),
    "flux": (folders.flux, single_flows.flux_whole, FLOW),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of Stable Diffusion, and the same as a single file."""
    place = tmp_path_factory.mktemp("single")
    folder = folders.stable_diffusion(place / "folder")
    return folder, single_files.stable_diffusion(folder, place / "v1-5-pruned.safetensors")


def picture(source: Path, **options: Any) -> Tensor:
    model = multigen.load(source, device="cpu", **options)
    (made,) = model.generate("a red apple", n=1, seed=3, steps=2, size=SIZE)
    return made.tensor


@pytest.mark.parametrize("name", FILES)
def test_a_single_file_makes_what_its_folder_makes(name: str, tmp_path: Path) -> None:
    """Its configurations from the folder; the weights of the parts that the file holds are gone there."""
    make, write, held = FILES[name]
    folder = make(tmp_path / "folder")
    file = write(folder, tmp_path / "file.safetensors")
    wanted = picture(folder)
    for weights in (path for part in held for path in (folder / part).glob("*.safetensors")):
        weights.unlink()
    torch.testing.assert_close(picture(file, config=str(folder)), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (header.SD1, "stable diffusion"),
        (header.SDXL, "stable diffusion xl"),
        (header.REFINER, "the refiner"),
        (header.FLUX, "flux's transformer"),
    ],
)
def test_kinds_are_known_by_their_header(kind: str, name: str, tmp_path: Path) -> None:
    make, write, _ = FILES[name]
    folder = make(tmp_path / "folder")
    shapes = header.shapes_of(write(folder, tmp_path / "file.safetensors"))
    assert header.kind_of(shapes) == kind
    config = json.loads(
        (folder / ("transformer" if kind == header.FLUX else "unet") / "config.json").read_text()
    )
    said = header.settings(shapes, kind)
    assert said
    assert {k: v for k, v in said.items() if k != "axes_dims_rope"} == {
        k: config[k] for k in said if k != "axes_dims_rope"
    }


@pytest.mark.parametrize("kind", [header.SD1, header.SD2, header.SDXL, header.REFINER, header.SD3])
def test_what_is_packaged_describes_networks_of_the_published_size(kind: str) -> None:
    import diffusers

    place = Path(header.__file__).parent / "configs" / f"{kind}.json"
    parts = json.loads(place.read_text())["parts"]
    name = "transformer" if kind == header.SD3 else "unet"
    more = {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "out_channels": 16,
            "joint_attention_dim": 4096, "pooled_projection_dim": 2048, "pos_embed_max_size": 192}  # fmt: skip
    with torch.device("meta"):
        network = getattr(diffusers, parts[name]["class"][1])(
            **{k: v for k, v in parts[name]["config"].items() if not k.startswith("_")},
            **(more if kind == header.SD3 else {}),
        )
        vae = diffusers.AutoencoderKL(
            **{k: v for k, v in parts["vae"]["config"].items() if not k.startswith("_")}
        )
    sizes = {header.SD1: 860, header.SD2: 866, header.SDXL: 2567, header.REFINER: 2260, header.SD3: 2028}
    millions = sizes[kind]
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(1e6 * millions, rel=1e-2)
    assert sum(p.numel() for p in vae.parameters()) == pytest.approx(83.7e6, rel=1e-2)


def test_names_of_flux_are_those_of_diffusers_at_the_published_width() -> None:
    """diffusers' converter takes that width alone, so no weights are made for it."""
    import diffusers
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

    with torch.device("meta"):
        network = diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=1, guidance_embeds=True)
        original = single_flows.flux(network.state_dict())
        theirs = convert_flux_transformer_checkpoint_to_diffusers(dict(original))
    ours = flux_names.renamed(original)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    assert ours.keys() == network.state_dict().keys()


def test_what_a_file_lacks_is_asked_for(plain: tuple[Path, Path]) -> None:
    folder, file = plain
    with pytest.raises(MultigenError, match=r"it has no tokenizer .* backbone\.config=FOLDER") as caught:
        multigen.load(file)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(MultigenError, match=r"goes with a single file, and .* is a whole folder"):
        multigen.load(folder, config=str(folder))


def test_a_published_folder_at_hand_says_it(
    plain: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the hub's cache, without the network."""
    hub = tmp_path / "hub" / "models--runwayml--stable-diffusion-v1-5"
    shutil.copytree(plain[0], hub / "snapshots" / "abc")
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    torch.testing.assert_close(picture(plain[1]), picture(plain[0]), rtol=0, atol=1e-6)


def test_the_command_line_and_recipes_take_it(
    plain: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, file = plain
    monkeypatch.chdir(tmp_path)
    line = [
        "sample",
        str(file),
        f"backbone.config={folder}",
        "--prompt",
        "a red apple",
        "-n",
        "1",
        "--steps",
        "1",
    ]
    assert main([*line, "--size", str(SIZE), "--out", "made", "--quiet"]) == 0
    assert len(list((tmp_path / "made").glob("*.png"))) >= 1
    found = multigen.load(file, config=str(folder)).recipe
    assert found.network.args == {"path": str(file), "config": str(folder)}
    assert found.codec.args["config"] == str(folder)
    assert found.name == "v1-5-pruned"


def test_its_folder_is_exported_whole(plain: tuple[Path, Path], tmp_path: Path) -> None:
    model = multigen.load(plain[1], config=str(plain[0]), device="cpu")
    write_diffusers(model, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("weights.json"))
    torch.testing.assert_close(picture(tmp_path / "out"), picture(plain[0]), rtol=0, atol=1e-6)


def test_pickles_name_the_line_that_reads_them(
    plain: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint of Lightning: the weights under state_dict, and objects of the trainer beside them."""
    folder, file = plain
    pickled = tmp_path / "v1 5.ckpt"
    module = types.ModuleType("pytorch_lightning")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, module.__name__, module)
        beside = {"callbacks": {callback: callback()}, "optimizer_states": [{0: torch.ones(2)}]}
        torch.save({"state_dict": load_file(file), "global_step": 7, **beside}, pickled)
    with pytest.raises(MultigenError, match="never from pickles") as caught:
        multigen.load(pickled)
    line = shlex.split(str(caught.value).split("runs no code: ")[1])
    assert line[0] == "multigen"
    assert main(line[1:]) == 0
    converted = tmp_path / "v1 5.safetensors"
    torch.testing.assert_close(picture(converted, config=str(folder)), picture(folder), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"a.weight": torch.ones(1)}, "no recipe in its header"),
        ({FIRST: torch.ones(2, 8, 1, 1)}, "takes 8 channels. Allowed: 4 or 9"),
        ({FIRST: torch.ones(2, 4, 1, 1), "x.scale_weight": torch.ones(1)}, "scaled fp8"),
    ],
)
def test_other_files_are_refused(tensors: dict[str, Tensor], words: str, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "file.safetensors")
    with pytest.raises(MultigenError, match=words):
        multigen.load(tmp_path / "file.safetensors")


def test_a_variant_of_a_network_is_refused(plain: tuple[Path, Path], tmp_path: Path) -> None:
    folder, file = plain
    weights = load_file(file)
    short = {k: v for k, v in weights.items() if "middle_block.1" not in k}
    save_file(short, tmp_path / "short.safetensors")
    with pytest.raises(MultigenError, match=r"cannot be loaded as a UNet2DConditionModel .* weights missing"):
        multigen.load(tmp_path / "short.safetensors", config=str(folder))
