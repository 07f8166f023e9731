"""Labels of the user's files: from metadata or from sub-folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from multigen.datasets.metadata import Metadata
from multigen.datasets.scan import METADATA, Listing
from multigen.errors import RecipeError

Labels = Literal["auto", "folders", "none"]
Labelled = tuple[tuple[str, ...], dict[Path, int]]  # names of the classes, the label of each file
_MAX_CLASSES = 100_000


def labels_of(found: Listing, metadata: Metadata, how: Labels) -> Labelled:
    """Names of the classes and the label of each file; both empty without labels.

    "auto" takes the labels of the metadata, else the top sub-folders if there are several and every file lies in
    one. RecipeError if labels are incomplete or inconsistent.
    """
    if how == "none":
        return (), {}
    given = {path: row.label for path, row in metadata.rows.items() if row.label is not None}
    if how == "auto" and given:
        return _from_metadata(found, given)
    tops = {path: found.name(path).split("/") for path in found.media}
    loose = [path for path, parts in tops.items() if len(parts) == 1]
    names = tuple(sorted({parts[0] for parts in tops.values() if len(parts) > 1}))
    if how == "auto" and (loose or len(names) < 2):
        return (), {}
    if loose or not names:
        raise RecipeError(
            f"data.labels: folders, but {len(loose)} of {len(found.media)} files lie in no sub-folder of {found.root}, "
            f"the first: {loose[0].name}"
        )
    return names, {path: names.index(parts[0]) for path, parts in tops.items()}


def _from_metadata(found: Listing, given: Mapping[Path, str | int]) -> Labelled:
    """Class names as given, sorted; or, for whole numbers, "0" to the largest."""
    unlabelled = [path for path in found.media if path not in given]
    if unlabelled:
        raise RecipeError(
            f"data.labels: {METADATA} or .csv gives a label to {len(given)} of {len(found.media)} files, none to "
            f"{found.name(unlabelled[0])}; label all of them, or set data.labels=none"
        )
    numbers = [v for v in given.values() if isinstance(v, int)]
    if numbers and len(numbers) < len(given):
        raise RecipeError(f"data.labels: {METADATA} mixes names and numbers as labels")
    if numbers and not 0 <= min(numbers) <= max(numbers) < _MAX_CLASSES:
        raise RecipeError(
            f"data.labels: {METADATA} has labels from {min(numbers)} to {max(numbers)}; "
            f"allowed: 0 to {_MAX_CLASSES - 1}"
        )
    if numbers:
        return tuple(map(str, range(max(numbers) + 1))), {path: int(v) for path, v in given.items()}
    names = tuple(sorted({str(v) for v in given.values()}))
    places = {name: i for i, name in enumerate(names)}
    return names, {path: places[str(v)] for path, v in given.items()}
