"""A table in several Parquet files of one schema, and some of its rows: read file by file, filtered, written as one."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from itertools import accumulate
from operator import and_, index
from pathlib import Path
from typing import Any, Final, SupportsIndex, final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from vlcam.contracts import InputError, find_name, shorten
from vlcam.errors import import_extra
from vlcam.files import escape_cell, name_unwritable, refuse_broken, replace_file, show_path

_LIMITS: Final = ("min_", "max_")
_WHAT: Final = "a shard of a run of vlcam; remove it and run again"


@final
@dataclass(frozen=True, eq=False)
class ShardedTable:
    """Rows of several files. ``chosen`` has for each file the numbers of its rows that count, in order."""

    paths: tuple[Path, ...]
    schema: pa.Schema
    chosen: tuple[np.ndarray, ...]

    @staticmethod
    def open(paths: Sequence[Path], schema: pa.Schema) -> "ShardedTable":
        """All rows of some files. Raises InputError for a file that is no such table."""
        chosen = []
        for path in paths:
            with refuse_broken(show_path(path), _WHAT), pq.ParquetFile(path) as file:
                if not set(schema.names) <= set(file.schema_arrow.names):
                    lacks = next(one for one in schema.names if one not in file.schema_arrow.names)
                    raise InputError(f"{show_path(path)} has no column {lacks!r}; expected {_WHAT}")
                chosen.append(np.arange(file.metadata.num_rows))
        return ShardedTable(tuple(paths), schema, tuple(chosen))

    def __len__(self) -> int:
        return sum(map(len, self.chosen))

    def read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one file that count. Raises InputError if it can't be read."""
        path = self.paths[number]
        names = tuple(self.schema.names if columns is None else columns)
        stamp = path.stat().st_mtime_ns if path.exists() else 0
        table = _read_file(path, names, stamp) if columns is None else _read_file.__wrapped__(path, names, stamp)
        rows = self.chosen[number]
        return table if len(rows) == len(table) else table.take(rows)

    def iterate(self) -> Iterator[dict[str, Any]]:
        """Every row, file by file."""
        for number in range(len(self.paths)):
            if len(self.chosen[number]):
                yield from self.read(number).to_pylist()

    def get(self, place: SupportsIndex) -> dict[str, Any]:
        """One row. Raises IndexError if there is none at that place."""
        wanted, count = index(place), len(self)
        if not -count <= wanted < count:
            raise IndexError(f"row {wanted} was asked for; there are {count}")
        wanted %= count
        ends = list(accumulate(map(len, self.chosen)))
        number = int(np.searchsorted(ends, wanted, side="right"))
        within = wanted - (ends[number] - len(self.chosen[number]))
        found: dict[str, Any] = self.read(number).slice(within, 1).to_pylist()[0]
        return found

    def where(self, expression: ds.Expression) -> "ShardedTable":
        """The rows for which an expression holds. Raises InputError for one that makes no sense."""
        chosen = []
        for path, rows in zip(self.paths, self.chosen, strict=True):
            if not len(rows):
                chosen.append(rows)
                continue
            try:
                found = ds.dataset(path, schema=self.schema).to_table(columns={"keep": expression})["keep"]
                keep = np.asarray(found.fill_null(False).combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
            except (pa.ArrowException, TypeError, ValueError) as error:
                raise InputError(
                    f"the rows can't be filtered by {shorten(str(expression), 100)}: {shorten(str(error), 200)}; expected a comparison "
                    "of columns with values of their type"
                ) from error
            chosen.append(rows[keep[rows]])
        return replace(self, chosen=tuple(chosen))

    def to_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in one table. Raises InputError for a column that there isn't."""
        names = (
            list(self.schema.names)
            if columns is None
            else [find_name(one, self.schema.names, "column") for one in columns]
        )
        parts = [self.read(number, names) for number in range(len(self.paths)) if len(self.chosen[number])]
        schema = pa.schema([self.schema.field(name) for name in names], metadata=self.schema.metadata)
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def to_frame(self, columns: Sequence[str] | None = None) -> Any:
        """All rows as a data frame of pandas. Raises InputError if that isn't installed."""
        import_extra("pandas", "datasets")
        return self.to_table(columns).to_pandas()

    def to_csv(self, path: Path, *, without: Sequence[str] = ()) -> Path:
        """Write all rows as CSV, file by file; lists are joined with semicolons."""
        names = [one for one in self.schema.names if one not in without]
        with name_unwritable(path), replace_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for number in range(len(self.paths)):
                if len(self.chosen[number]):
                    columns = [self.read(number, names)[name].to_pylist() for name in names]
                    writer.writerows([_write_cell(one) for one in row] for row in zip(*columns, strict=True))
        return path


@lru_cache(maxsize=2)
def _read_file(path: Path, columns: tuple[str, ...], stamp: int) -> pa.Table:
    """A file's columns; ``stamp`` is when it was written, so that a new file is read anew."""
    with refuse_broken(show_path(path), _WHAT), pq.ParquetFile(path) as file:
        return file.read(columns=list(columns))


def make_filter(schema: pa.Schema, expression: Any, wanted: Mapping[str, Any]) -> ds.Expression:
    """An expression and conditions on columns as one expression (see :meth:`vlcam.runs.Run.where`). Raises InputError."""
    if expression is not None and not isinstance(expression, ds.Expression):
        raise InputError(
            f"a {type(expression).__name__} was given as expression; expected one of pyarrow, such as pyarrow.compute.field('p') < 0.05"
        )
    parts = [] if expression is None else [expression]
    parts += [_make_condition(schema, name, value) for name, value in wanted.items()]
    return reduce(and_, parts) if parts else ds.scalar(True)


def _make_condition(schema: pa.Schema, name: str, value: Any) -> ds.Expression:
    bound = next((one for one in _LIMITS if name.startswith(one) and name not in schema.names), None)
    column = find_name(name if bound is None else name.removeprefix(bound), schema.names, "column")
    field = ds.field(column)
    if bound is not None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"{name}={value!r} was given; expected a number")
        return field >= value if bound == "min_" else field <= value
    if value is None:
        return field.is_null()
    return field.isin(list(value)) if isinstance(value, (list, tuple, set, frozenset)) else field == value


def _write_cell(value: Any) -> Any:
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    return escape_cell(value) if isinstance(value, str) else value
