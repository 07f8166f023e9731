"""Parts of a recipe as a request names them: by name, as text, as data, or as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from multigen.errors import MultigenError, message

if TYPE_CHECKING:
    from multigen.registry import Part

# A part of a recipe: its name, {name: NAME, argument: value} as text or as data, or the part itself.
PartLike: TypeAlias = "str | Mapping[str, Any] | Part"


def check_part(part: Part, kind: str, where: str = "") -> None:
    """MultigenError for a name or arguments that are wrong, as far as that is known without importing the part."""
    from multigen import registry  # takes a tenth of a second

    if part.name not in (names := registry.names(kind)):
        raise MultigenError(message(where or f"{kind}.name", part.name, names))
    registry.check_written(kind, part, where)


def operator_part(given: PartLike) -> Part:
    """The operator of `restore`; see `part_of`."""
    return part_of(given, "restore", "downsample", "factor: 4")


def part_of(given: PartLike, what: str, name: str, argument: str) -> Part:
    """A part from its name, from `{name: NAME, argument: value}` as text or as data, or as it is.

    what            where it was given, for messages
    name, argument  an example of each, for messages

    Whether the part exists and takes its arguments is checked where it is built. MultigenError for anything else.
    """
    import yaml

    from multigen.registry import Part

    if isinstance(given, Part):
        return given
    if isinstance(given, str) and given.isidentifier():  # YAML 1.1 reads `off` as false
        return Part(given)
    try:
        data = yaml.safe_load(given) if isinstance(given, str) else given
    except yaml.YAMLError as error:
        raise MultigenError(f"{what} {given}: cannot be read ({error})") from None
    if isinstance(data, str):
        return Part(data)
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise MultigenError(f"{what} {given}: is not allowed; give a name, or {{name: {name}, {argument}}}")
    return Part(data["name"], {str(k): v for k, v in data.items() if k != "name"})
