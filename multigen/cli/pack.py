"""`multigen pack`: a folder or a built-in dataset as shards."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from multigen.cli.arguments import (
    Command,
    Parser,
    add_overrides,
    add_quiet,
    new_parser,
    path,
    positive,
    show_log,
)
from multigen.errors import MultigenError, message

MODALITIES = ("image", "audio", "video")
DESCRIPTION = """\
Write media as shards: WebDataset tars with an index, which data.name=shards reads. Re-running the same command resumes
one that was stopped. `multigen verify DIR` checks the shards.
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("pack", DESCRIPTION)
    parser.add_argument(
        "source", metavar="SOURCE", help="a folder of media, a recipe, or the name of a dataset"
    )
    add_overrides(parser, "data.captions=name or modality.seconds=4")
    parser.add_argument("--out", type=path, metavar="DIR", required=True, help="a new or empty folder")
    parser.add_argument(
        "--modality", choices=MODALITIES, help="which media to pack, of a folder that holds several kinds"
    )
    parser.add_argument(
        "--shard-size",
        type=positive,
        default=256.0,
        metavar="MB",
        help="approximate size of a shard (default: 256)",
    )
    add_quiet(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    show_log(a.quiet)
    from multigen.recipe.load import load_recipe
    from multigen.storage.claim import check_folder

    check_folder(a.out, f"--out {a.out}")
    source, overrides = _recipe(a.source, a.modality)
    recipe = load_recipe(source, [*overrides, *a.overrides])
    if (
        Path(a.source).expanduser().is_dir()
        and recipe.data.name == "folder"
        and recipe.data.args.get("path") is None
    ):
        data = dataclasses.replace(
            recipe.data, args={**recipe.data.args, "path": str(Path(a.source).expanduser())}
        )
        recipe = dataclasses.replace(recipe, data=data)
    from multigen.runs.pack import pack

    count, bad = pack(recipe, a.out, shard_bytes=round(a.shard_size * 1e6), quiet=a.quiet)
    for why in bad.values():
        print(f"multigen: left out: {why}", file=sys.stderr)
    left = f"; {len(bad)} left out" if bad else ""
    if not a.quiet:
        print(f"{count} media{left}. Read them with: data.name=shards data.path={a.out}", file=sys.stderr)
    print(a.out)
    return 0


def _recipe(source: str, modality: str | None) -> tuple[str, list[str]]:
    """The recipe that describes the media of a source, and overrides of it."""
    path = Path(source).expanduser()
    if path.is_dir() and not (path / "recipe.yaml").is_file():
        return f"{modality or _guess(path)}_folder", []
    if modality is not None:
        raise MultigenError("--modality goes with a folder; a recipe names its modality")
    from multigen import registry
    from multigen.recipe.reader import read
    from multigen.recipe.source import shipped

    if source in shipped() or path.suffix in (".yaml", ".yml") or path.is_dir():
        return source, []
    sets = {read(p).data.get("data", {}).get("name"): name for name, p in sorted(shipped().items())[::-1]}
    if source in sets and source != "folder":
        return sets[source], []
    if source in registry.names("dataset"):
        raise MultigenError(
            f"{source}: give a recipe that names its modality, such as: image_folder data.name={source}"
        )
    allowed = [*shipped(), *(str(s) for s in sets if s and s != "folder")]
    raise MultigenError(message("SOURCE", source, allowed, hint="Or a folder of media."))


def _guess(folder: Path) -> str:
    """The modality of the files in a folder; MultigenError if there are none, or of several kinds."""
    from multigen import registry
    from multigen.datasets.scan import walk

    suffixes = {name: registry.lookup("modality", name).suffixes for name in ("image", "video", "audio")}
    known = tuple({s for group in suffixes.values() for s in group})
    found = Counter(
        next(name for name, group in suffixes.items() if path.suffix.lower() in group)
        for path in walk(folder, known).media
    )
    if not found:
        raise MultigenError(f"{folder}: it holds no pictures, sounds or videos")
    if len(found) > 1:
        there = ", ".join(f"{count} {name}" for name, count in found.most_common())
        raise MultigenError(
            f"{folder}: it holds several kinds of media ({there}); choose one with --modality"
        )
    return next(iter(found))


COMMAND = Command(
    "pack", "SOURCE --out DIR", "write a folder or a dataset as shards, for training", parser, run
)
