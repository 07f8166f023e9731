"""Recipe files: find them by path or name, and read those that they extend."""

from __future__ import annotations

import difflib
from pathlib import Path

from multigen.errors import RecipeError, message
from multigen.recipe.home import expanded_path
from multigen.recipe.reader import Source, read, show
from multigen.storage.hub_id import looks_like_id
from multigen.storage.pipeline_place import INDEX

MAX_FILES = 16


def shipped_folder() -> Path:
    """Return the folder of the shipped recipes: in the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped() -> dict[str, Path]:
    """Return the shipped recipes by name, sorted."""
    return {p.stem: p for p in sorted(shipped_folder().glob("*.yaml"))}


def find_recipe(path_or_name: str) -> Path:
    """Return the file of a path, a run folder or a shipped recipe's name. RecipeError with the nearest match."""
    path = Path(expanded_path(path_or_name))
    if path.is_file():
        return path
    if (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    known = shipped()
    if path_or_name in known:
        return known[path_or_name]
    if (path / INDEX).is_file():
        how = f"multigen sample {path_or_name}, or: multigen run image_stable_diffusion backbone.path={path_or_name}"
        raise RecipeError(f"{path_or_name}: a folder in diffusers' format, not a recipe. Use: {how}")
    if path.is_dir():
        raise RecipeError(f"{path_or_name}: not a run folder: there is no recipe.yaml in it.")
    if looks_like_id(path_or_name) and path.suffix not in (".yaml", ".yml") and not path.parent.is_dir():
        raise RecipeError(f"{path_or_name}: no such file or folder. A model on the hub: hf:{path_or_name}")
    if len(path.parts) > 1 or path.suffix in (".yaml", ".yml"):
        beside = [str(p) for p in sorted(path.parent.glob("*.y*ml"))] if path.parent.is_dir() else []
        near = difflib.get_close_matches(str(path), beside, n=1) or [path.stem] * (path.stem in known)
        hint = f" Did you mean {near[0]!r}?" if near else f" Shipped recipes: {', '.join(known)}."
        raise RecipeError(f"{path_or_name}: no such file.{hint}")
    raise RecipeError(
        message(
            "recipe",
            path_or_name,
            known,
            "Also allowed: the path of a .yaml file, or of the folder of a run or a pipeline.",
        )
    )


def chain(path: Path) -> list[Source]:
    """Read a file and all that it extends, in the order of merging: later ones win."""
    layers: list[Source] = []
    _extend(path, (), layers)
    return layers


def _extend(path: Path, above: tuple[Path, ...], layers: list[Source]) -> None:
    source = read(path)
    above = (*above, path.resolve())
    for name in source.defaults:
        if name == "_self_":
            layers.append(source)
            continue
        at = f"{source.shown}:{source.lines['defaults']}: defaults"
        target = _sibling(name, path, at)
        if target.resolve() in above:
            raise RecipeError(f"{at}: {name!r} extends itself, through {show(target)}.")
        if any(layer.path is not None and target.resolve() == layer.path.resolve() for layer in layers):
            raise RecipeError(f"{at}: {name!r} is extended twice. List each recipe once.")
        if len(above) + len(layers) >= MAX_FILES:
            raise RecipeError(f"{at}: more than {MAX_FILES} recipes extend one another.")
        _extend(target, above, layers)


def _sibling(name: str, path: Path, at: str) -> Path:
    """Return the recipe that `defaults` names: beside the file, or shipped. Its own name means the shipped one."""
    known = shipped()
    beside = path.with_name(f"{name}.yaml")
    if beside.is_file() and beside.resolve() != path.resolve():
        return beside
    if name in known:
        return known[name]
    siblings = [p.stem for p in path.parent.glob("*.yaml") if p.stem != path.stem]
    raise RecipeError(
        message(
            at, name, sorted({*siblings, *known}), "Allowed are recipes beside the file and shipped ones."
        )
    )
