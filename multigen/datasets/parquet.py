"""metadata.parquet, as data sets of Hugging Face have it: captions and labels, read with pyarrow if it is there."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from multigen.errors import MediaError, RecipeError, reason
from multigen.modalities.guard import guarded

_MAX_BYTES = 256 * 1024**2  # of captions; media lie in files of their own
_MAX_ROWS = 5_000_000


def table_rows(source: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a table, each with its number from 1, as far as its columns are among these (in any case).

    RecipeError without pyarrow, and for what is no table. Other columns, such as media in the table, are not read.
    """
    if find_spec("pyarrow") is None:
        raise RecipeError(
            f"{source}: needs the package pyarrow: pip install pyarrow. Or write it as metadata.csv, or leave captions "
            "and labels away: data.captions=none data.labels=none"
        )
    if source.stat().st_size > _MAX_BYTES:
        raise RecipeError(f"{source}: {source.stat().st_size:,} bytes; the limit is {_MAX_BYTES:,}")
    try:
        rows = guarded(source, _read, source, tuple(columns))
    except MediaError as error:
        raise RecipeError(str(error)) from None
    yield from enumerate(rows, start=1)


def _read(source: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows, by lower-case names of columns. MediaError for a file that is no table. Runs in another process."""
    arrow: Any = importlib.import_module("pyarrow")
    parquet: Any = importlib.import_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(source) as file:
            if file.metadata.num_rows > _MAX_ROWS:
                raise MediaError(f"{source}: {file.metadata.num_rows:,} rows; the limit is {_MAX_ROWS:,}")
            names = [n for n in file.schema_arrow.names if n.strip().lower() in columns and "." not in n]
            names = [n for n in names if not arrow.types.is_struct(file.schema_arrow.field(n).type)]
            return [
                {k.strip().lower(): v for k, v in row.items() if v not in (None, "")}
                for row in file.read(columns=names).to_pylist()
            ]
    except (arrow.ArrowException, OSError) as error:
        raise MediaError(f"{source}: cannot be read ({reason(error)})") from error
