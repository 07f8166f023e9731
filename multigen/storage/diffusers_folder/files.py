"""The weights of one part in its folder: which files, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from multigen.storage.diffusers_folder.layout import WEIGHTS
from multigen.storage.tensors import Span, spans

Wanted = Callable[[str], torch.dtype]  # of the tensor of a name, where it is a floating-point one


class Place(NamedTuple):
    """Where one tensor stands."""

    path: Path
    span: Span

    def read(self) -> Tensor:
        """Return the tensor in memory of its own."""
        found = torch.empty(self.span.shape, dtype=self.span.dtype)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.span.start)
            left: Any = memoryview(found.flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]
            while left:
                count = file.readinto(left)
                if not count:
                    raise OSError(f"{self.path}: it ends too early")
                left = left[count:]
        return found


def variant(place: Path) -> str | None:
    """Return None if there are weights without a variant; else "fp16" or "bf16"."""
    found = {m["variant"] for p in place.iterdir() if (m := WEIGHTS.fullmatch(p.name))}
    return None if None in found or not found else sorted(str(v) for v in found)[-1]


def places(place: Path) -> dict[str, Place]:
    """Return where the tensors of a part stand, by name, of one precision."""
    wanted = variant(place)
    files = ((path, WEIGHTS.fullmatch(path.name)) for path in sorted(place.iterdir()))
    chosen = [path for path, match in files if match and match["variant"] == wanted]
    return {name: Place(path, span) for path in chosen for name, span in spans(path).items()}


def weights(place: Path, wanted: Wanted) -> Iterator[tuple[str, Tensor]]:
    """Yield a part's tensors by name.

    Of a file whose dtypes are what is wanted they are the file's own memory, of which only what is used is read. Else
    they are read and cast one after another, so that two copies are of one tensor alone.
    """
    found = places(place)
    for path in dict.fromkeys(one.path for one in found.values()):
        own = {name: one for name, one in found.items() if one.path == path}
        if all(dtype_of(one.span.dtype, name, wanted) == one.span.dtype for name, one in own.items()):
            with safe_open(path, "pt") as file:
                yield from ((name, file.get_tensor(name)) for name in own)
            continue
        for name, one in own.items():
            yield name, one.read().to(dtype_of(one.span.dtype, name, wanted))


def dtype_of(stored: torch.dtype, name: str, wanted: Wanted) -> torch.dtype:
    """Return what a tensor shall be: integers stay."""
    return wanted(name) if stored.is_floating_point else stored


def reader(place: Path) -> Callable[[str], Tensor | None]:
    """Return what reads one weight, each time in memory of its own; it answers None to names that are not there."""
    found = places(place)

    def read(name: str) -> Tensor | None:
        return found[name].read() if name in found else None

    return read
