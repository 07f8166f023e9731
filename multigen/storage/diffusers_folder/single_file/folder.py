"""A single file as a folder in diffusers' format: configurations and tokenizers, and notes of where the weights stand.

The folder lies in the cache. No weights are copied: `weights.json` in the folder of a part names the file, or the
folder, that has them. What a file does not say comes from `configs/`, or from a folder that the user gives.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError
from multigen.storage.cache_folder import cache_folder
from multigen.storage.diffusers_folder.layout import ELSEWHERE, read_json
from multigen.storage.diffusers_folder.single_file.convert import prefixes
from multigen.storage.diffusers_folder.single_file.header import (
    KNOWN,
    SD3,
    Shapes,
    check,
    kind_of,
    masked,
    settings,
    shapes_of,
)
from multigen.storage.files import atomic_folder
from multigen.storage.pipeline_place import INDEX

_CONFIGS = Path(__file__).parent / "configs"
_T5 = ("text_encoder_3", "tokenizer_3")  # which Stable Diffusion 3 does without
_VERSION = 1  # of the folders


def is_single_file(path: Path) -> bool:
    """Return whether a file holds the network of a pipeline by its published names."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    with suppress(MultigenError):
        return kind_of(shapes_of(path)) is not None
    return False


def folder_of(path: Path, config: Path | None = None) -> Path:
    """Return the folder that a single file unfolds to.

    config  a folder in diffusers' format: its configurations, tokenizers, and the parts that the file lacks

    MultigenError for a file of a kind that is not known, and where a tokenizer or another part is nowhere.
    """
    stat = path.stat()
    key = f"{_VERSION} {path.resolve()} {stat.st_size} {stat.st_mtime_ns} {config and config.resolve()}"
    return _unfolded(path.resolve(), config, hashlib.sha256(key.encode()).hexdigest()[:16])


@functools.lru_cache(maxsize=64)
def _unfolded(path: Path, config: Path | None, key: str) -> Path:
    shapes = shapes_of(path)
    kind = kind_of(shapes)
    if kind is None:
        raise MultigenError(f"{path}: no network that is known. Allowed: single files of {KNOWN}")
    check(shapes, kind, path)
    config = config or _at_hand(kind)
    target = cache_folder("single_file") / f"{path.stem[:60]}-{key}"
    if config is not None:
        shutil.rmtree(target, ignore_errors=True)  # what the folder says may have changed
    if not target.is_dir():
        with suppress(FileExistsError), atomic_folder(target) as temporary:
            _write(temporary, path, shapes, kind, config)
    return target


def _write(folder: Path, path: Path, shapes: Shapes, kind: str, config: Path | None) -> None:
    known = json.loads((_CONFIGS / f"{kind}.json").read_text(encoding="utf-8"))
    pipeline = known["inpainting" if masked(shapes, kind) else "pipeline"]
    index: dict[str, Any] = {"_class_name": pipeline, **known.get("index", {})}
    theirs = {} if config is None else read_json(config / INDEX)
    index |= {k: v for k, v in theirs.items() if not k.startswith("_") and not isinstance(v, list)}
    for name, part in known["parts"].items():
        place = folder / name
        own = any(k.startswith(p) for p in prefixes(kind, name) for k in shapes)
        if name == "scheduler" and (config is None or not (config / name).is_dir()):
            _json(place / "scheduler_config.json", part["config"])
        elif own:
            _part(place, name, part["config"], path, shapes, kind, config)
        elif config is not None and (config / name).is_dir():
            _taken(config / name, place)
            part = {"class": theirs.get(name, part["class"])}
        elif kind == SD3 and name in _T5:
            part = {"class": [None, None]}
        else:
            raise _absent(path, name, known["title"], config)
        index[name] = part["class"]
    if index.get(_T5[0]) == [None, None]:
        index |= {key: [None, None] for key in _T5}
    _json(folder / INDEX, index)


def _part(
    place: Path,
    name: str,
    usual: Mapping[str, Any],
    path: Path,
    shapes: Shapes,
    kind: str,
    config: Path | None,
) -> None:
    """A part whose weights stand in the file."""
    own = config / name / "config.json" if config is not None else None
    if own is not None and own.is_file():
        found = read_json(own)
    else:
        network = name in ("unet", "transformer")
        found = {**usual, **(settings(shapes, kind) if network else {})}
    _json(place / "config.json", found)
    _json(place / ELSEWHERE, {"file": str(path), "kind": kind, "size": path.stat().st_size,
                              "time": path.stat().st_mtime_ns})  # fmt: skip


def _taken(source: Path, place: Path) -> None:
    """A part that the file lacks, of the folder: its small files, and where its weights stand."""
    place.mkdir()
    for one in source.iterdir():
        if one.suffix in (".json", ".txt", ".model") and one.is_file() and one.name != ELSEWHERE:
            shutil.copyfile(one, place / one.name)
    if any(one.suffix == ".safetensors" for one in source.iterdir()):
        _json(place / ELSEWHERE, {"folder": str(source.resolve())})


def check_unchanged(file: Path, note: Mapping[str, Any]) -> None:
    """MultigenError where a single file is gone, or another than when it was unfolded."""
    if not file.is_file() or (file.stat().st_size, file.stat().st_mtime_ns) != (note["size"], note["time"]):
        raise MultigenError(f"{file}: this file was moved or changed since it was opened; open it again")


def _absent(path: Path, name: str, title: str, config: Path | None) -> MultigenError:
    where = "" if config is None else f", and neither has {config}"
    what = "tokenizer" if name.startswith("tokenizer") else name
    return MultigenError(
        f"{path}: it has no {what} ({name}){where}. Give a folder in diffusers' format of a {title} that has one: "
        'backbone.config=FOLDER (in Python load(..., config="FOLDER"))'
    )


def _at_hand(kind: str) -> Path | None:
    """A published pipeline of the kind that the hub's cache on this machine has whole; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    known = json.loads((_CONFIGS / f"{kind}.json").read_text(encoding="utf-8"))
    for name in known["repositories"]:
        found = try_to_load_from_cache(name, INDEX)
        tokenizer = next(part for part in known["parts"] if part.startswith("tokenizer"))
        if isinstance(found, str) and (folder := Path(found).parent) and (folder / tokenizer).is_dir():
            return folder
    return None


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
