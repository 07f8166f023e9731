"""What weights know: the summary of their training's captions, beside them in a run folder or in one file with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from multigen.conditioners.knowledge import FILE, PREFIX, Knowledge, stored
from multigen.errors import MultigenError
from multigen.recipe.paths import WEIGHTS
from multigen.recipe.schema import WeightedLora
from multigen.storage.files import atomic
from multigen.storage.tensors import save_tensors


def knowledge_at(path: Path) -> Knowledge | None:
    """Return what the weights of a run folder or a file know; None where nothing says so."""
    beside = (path if path.is_dir() else path.parent) / FILE
    file = beside if (path.is_dir() or path.name == WEIGHTS) and beside.is_file() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as opened:
            names = [k for k in opened.keys() if k.startswith(PREFIX)]  # noqa: SIM118
            return stored({k: opened.get_tensor(k) for k in names}, str(file))
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{file}: not a readable safetensors file ({error})") from error


def write_knowledge(folder: Path, knowledge: Knowledge | None) -> None:
    """Write what weights know beside them; None: remove what is there."""
    path = folder / FILE
    if knowledge is None:
        path.unlink(missing_ok=True)
        return
    with atomic(path) as temporary:
        save_tensors(temporary, knowledge.tensors())


def without_knowledge(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights alone."""
    return {k: v for k, v in tensors.items() if not k.startswith(PREFIX)}


def with_loras(base: Knowledge | None, loras: Sequence[WeightedLora]) -> Knowledge | None:
    """Return what a model knows with LoRAs; None where one of them does not say what it was trained on."""
    for row in loras:
        path = Path(row.path).expanduser()
        own = knowledge_at(path if path.is_dir() else path.parent / WEIGHTS) if row.weight else base
        base = None if base is None or own is None else base.joined(own) if own is not base else base
    return base
