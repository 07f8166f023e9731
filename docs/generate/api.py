"""The API reference: a page for what `import multigen` shows, and one for each room of the package."""

from __future__ import annotations

from pathlib import Path

import multigen
from docs.generate.markdown import plain

PACKAGE = Path(multigen.__file__).parent

ROOMS = {
    "core": "The mathematics: schedules, samplers, guides, the driver. It imports torch and einops only.",
    "generation": "From a request to media: plans, guidance, edits, batches.",
    "model": "The Python API: a model, and loading one.",
    "training": "The trainer, its tasks, checkpoints and logs.",
    "evaluation": "Metrics, features, distances and the report.",
    "datasets": "Where training media come from.",
    "codecs": "Media to model space and back.",
    "marks": "The watermark in the signal of media: adding it, and finding it again.",
    "conditioners": "Prompts and labels to conditions.",
    "prompts": "Prompts as text: their one spelling, and rules about what they ask for.",
    "safety": "Filters of prompts and finished media.",
    "backbones": "The networks.",
    "modalities": "Kinds of media: reading, writing, previews.",
    "recipe": "Recipes: the dataclasses, composition, checks, the manifest.",
    "storage": "Files, locks, caches, tensors.",
    "runs": "What a command does to a folder.",
}
# Modules beside the rooms that authors of parts meet.
SHARED = ("registry", "errors", "device", "options")

_OPTIONS = "    options:\n      heading_level: {level}\n      show_root_full_path: true\n"


def pages() -> dict[str, str]:
    """Name of a page -> its Markdown, in which mkdocstrings fills in the objects."""
    made = {"multigen": _face()}
    made |= {room: _room(room, about) for room, about in ROOMS.items()}
    shared = "\n".join(_object(f"multigen.{name}") for name in SHARED if (PACKAGE / f"{name}.py").is_file())
    made["shared"] = f"# Shared modules\n\nWhat every room may use.\n\n{shared}"
    return made


def _face() -> str:
    text = "# import multigen\n\nThe public API: exactly what `dir(multigen)` lists.\n\n"
    for name in sorted(multigen.__all__, key=str.casefold):
        thing = getattr(multigen, name)
        if name == "__version__":
            text += f"## multigen.{plain(name)}\n\nThe version, a string: `{thing}`.\n\n"
        elif name == "core":
            text += f"## multigen.{plain(name)}\n\nThe mathematics, usable alone: [core](core.md).\n\n"
        else:
            text += f"## multigen.{plain(name)}\n\n"
            text += f"::: {thing.__module__}.{thing.__qualname__}\n{_OPTIONS.format(level=3)}\n"
    return text


def _room(room: str, about: str) -> str:
    folder = PACKAGE / room
    files = [p for p in sorted(folder.rglob("*.py")) if not p.name.startswith("_") or p.name == "__init__.py"]
    names = [_module(path) for path in files if path.stat().st_size]
    return f"# multigen.{room}\n\n{about}\n\n" + "\n".join(_object(name) for name in names)


def _module(path: Path) -> str:
    parts = ["multigen", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _object(name: str) -> str:
    return f"::: {name}\n{_OPTIONS.format(level=2)}\n"
