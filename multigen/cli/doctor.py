"""`multigen doctor`: versions, devices, codecs, the cache folder and optional packages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from multigen.cli.arguments import Command, Parser, new_parser

PACKAGES = ("diffusers", "transformers", "av", "hydra-core", "numpy", "pillow")
# What media files commonly hold, as FFmpeg names it.
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "aac", "mp3", "flac", "opus", "vorbis", "pcm_s16le")
# Extras for developing multigen, not for using it.
DEVELOPMENT = frozenset({"test", "dev", "bench", "docs"})


def parser() -> Parser:
    """The parser of the command."""
    return new_parser("doctor", "Show versions, devices, codecs, the cache folder and optional packages.")


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    parser().parse(argv)
    print(report())
    return 0


def report() -> str:
    """All sections as one text."""
    sections = {
        "versions": _versions(),
        "devices": _devices(),
        "codecs (through PyAV)": _codecs(),
        "cache": _cache(),
        "optional packages": list(_optional()),
    }
    return "\n\n".join("\n".join([title, *(f"  {row}" for row in rows)]) for title, rows in sections.items())


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _versions() -> list[str]:
    import platform

    import torch  # noqa: F401  # its own version says more than that of its installation

    from multigen.storage.packages import torch_version
    from multigen.storage.torchaudio_shim import state
    from multigen.version import __version__

    rows = [f"multigen {__version__}", f"python {platform.python_version()} ({platform.platform()})"]
    rows += [f"torch {torch_version()}"]
    rows += [f"{name} {_version(name) or 'not installed'}" for name in PACKAGES]
    return [*rows, f"torchaudio {state()}"]


def _devices() -> list[str]:
    from multigen.device import choose_device, choose_precision, describe, devices
    from multigen.recipe.schema import Sample, Train

    default = choose_device()
    trains = choose_precision(Train().precision, default)
    samples = choose_precision(Sample().precision, default)
    rows = [
        f"default: {describe(default, trains)} for training, {'bf16' if samples else 'fp32'} for sampling"
    ]
    return [*rows, f"available: {', '.join(devices())}", f"processors: {os.cpu_count()}"]


def _codecs() -> list[str]:
    return [f"{name:10} {codec_state(name)}" for name in CODECS]


def codec_state(name: str) -> str:
    """What PyAV can do with a codec: "reads and writes", "reads", "writes" or "missing"."""
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
    from multigen.storage.cache_folder import cache_folder

    folder = cache_folder()
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(_size(p) for p in files)
    return [f"{folder}: {size / 1e6:.1f} MB in {len(files)} files (MULTIGEN_CACHE sets another folder)"]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0


def _optional() -> Iterator[str]:
    from multigen.storage.packages import extras, install

    for extra, packages in extras().items():
        for name in packages if extra not in DEVELOPMENT else ():
            yield f"{name:32} {_version(name) or f'missing: {install(extra)}'}"


COMMAND = Command(
    "doctor", "", "show versions, devices, codecs, the cache and optional packages", parser, run
)
