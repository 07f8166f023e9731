"""A folder that diffusers loads: a pipeline with the weights that were trained here in place of its own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from multigen.errors import MultigenError, reason
from multigen.model.export.unet2d import write_unet
from multigen.model.model import Model
from multigen.storage.diffusers_folder import ELSEWHERE, Component, network, read_json
from multigen.storage.files import atomic_folder
from multigen.storage.pipeline_place import INDEX

# Weights in other formats, which nothing here reads.
_PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx", ".pb"})


@runtime_checkable
class Pipelined(Protocol):
    """A part of a model whose networks are components of a pipeline in diffusers' format."""

    folder: Path  # of the pipeline

    @property
    def components(self) -> Mapping[str, nn.Module]:
        """Its networks by their names in the pipeline, each a model of diffusers or transformers."""
        ...


def write_diffusers(model: Model, folder: Path) -> Path:
    """Write a folder that diffusers loads, with the same outputs.

    Of a model whose network is a pipeline's: that pipeline, with the weights as they are here, those of text encoders
    that LoRAs change among them. Of a `unet`: a
    `DDIMPipeline` with a `UNet2DModel`, where their layers are the same. MultigenError, with what differs, for others.
    """
    parts = [one for one in model.learned.values() if isinstance(one, Pipelined)]
    with atomic_folder(folder) as temporary:
        if not parts:
            write_unet(model, temporary)
            return folder
        base = parts[0].folder
        trained = {name: network for one in parts for name, network in one.components.items()}
        hosts = [*model.denoiser.backbone.hosts(), *model.conditioner.hosts()]
        trained |= model.loras.changed(hosts)
        listed = _listed(base)
        index = read_json(base / INDEX)
        if strange := sorted(set(trained) - set(listed)):
            raise MultigenError(f"{base / INDEX}: it lists no {strange[0]}")
        for name in listed:
            if name in trained:
                _save(trained[name], temporary / name)
            elif (base / name / ELSEWHERE).is_file():
                package, kind = index[name]
                _save(network(base, name, Component(package, (kind,))), temporary / name)
            elif (base / name).is_dir():
                _copy(base / name, temporary / name)
        shutil.copyfile(base / INDEX, temporary / INDEX)
    return folder


def _listed(base: Path) -> list[str]:
    """The components that a pipeline lists."""
    index = read_json(base / INDEX)
    return [name for name, value in index.items() if isinstance(value, list) and value and value[0]]


def _copy(source: Path, target: Path) -> None:
    """A component as it is, but for pickles. The files, not the links to them that a cache holds."""
    shutil.copytree(source, target, ignore=lambda _, names: [n for n in names if Path(n).suffix in _PICKLES])


def _save(network: Any, target: Path) -> None:
    try:
        network.save_pretrained(target, safe_serialization=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise MultigenError(
            f"{target.name}: it cannot be written in diffusers' format ({reason(error)})"
        ) from error
