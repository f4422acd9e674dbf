"""Open the folder of a run: its rows and photos, filters, errors, tables. What reads its files is in ``sharded``."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, final

import pyarrow as pa
import pyarrow.dataset as ds

from vlcam.contracts import InputError
from vlcam.files import show_path
from vlcam.runs.row_views import RunPhoto, RunRow
from vlcam.runs.sharded import ShardedTable, make_filter
from vlcam.runs.shards import PHOTOS_FOLDER, list_shards, read_manifest
from vlcam.runs.table import PHOTOS, ROWS


class Confusion(NamedTuple):
    """Photos that are one thing and were taken for another."""

    truth: str
    predicted: str
    photos: int


@final
@dataclass(frozen=True, eq=False)
class Run:
    """The rows of a run, one for each photo and target, in the order of the job; or those of them that a filter leaves.

    ``run[i]`` is a :class:`RunRow`, ``len(run)`` the number of rows. Nothing is kept in memory but where the rows are.
    """

    folder: Path
    manifest: dict[str, Any]
    table: ShardedTable
    photo_table: ShardedTable

    def __repr__(self) -> str:
        job = self.manifest["job"]
        return (
            f"Run({show_path(self.folder)}: {len(self)} rows, {len(self.photo_table)} of {job['photos']['count']} photos, "
            f"{job['model']}, {job['method']})"
        )[:298]

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[RunRow]:
        return map(RunRow, self.table.iterate())

    def __getitem__(self, place: SupportsIndex) -> RunRow:
        return RunRow(self.table.get(place))

    @property
    def photos(self) -> "RunPhotos":
        """One entry for each photo of the job that is done, whatever filter there is on the rows."""
        return RunPhotos(self.photo_table)

    @property
    def is_complete(self) -> bool:
        """Whether all photos of the job are done."""
        return len(self.photo_table) >= int(self.manifest["job"]["photos"]["count"])

    @property
    def errors(self) -> "Run":
        """The rows of photos that failed."""
        return self.where(~ds.field("error").is_null())

    @property
    def accuracy(self) -> float | None:
        """The share of right photos among those of which that is known; None if that is known of none."""
        first = self.where(ds.field("target_index") == 0).to_table(columns=["correct"])["correct"].drop_null()
        return sum(first.to_pylist()) / len(first) if len(first) else None

    def where(self, expression: Any = None, **wanted: Any) -> "Run":
        """The rows for which all of this holds, as a run.

        Args:
            expression: an expression of pyarrow, such as ``pyarrow.compute.field("score") > 0``.
            **wanted: a column with its value, or a list of values, or None for rows without one: ``label="dog"``, ``correct=False``;
                or ``min_`` or ``max_`` before the name of a column with numbers: ``min_probability=0.9``, ``max_p=0.05``.

        Raises:
            InputError: there is no such column, or the expression makes no sense for it.
        """
        return Run(
            self.folder, self.manifest, self.table.where(make_filter(ROWS, expression, wanted)), self.photo_table
        )

    def to_table(self, columns: list[str] | None = None) -> pa.Table:
        """The rows as a table of pyarrow; with all columns, or some."""
        return self.table.to_table(columns)

    def to_frame(self, columns: list[str] | None = None) -> Any:
        """The rows as a data frame of pandas. Raises InputError if pandas isn't installed."""
        return self.table.to_frame(columns)

    def to_csv(self, path: str | Path) -> Path:
        """Write the rows as a CSV file, without the maps; spreadsheets take no cell of it for a formula. Returns the path."""
        return self.table.to_csv(Path(path), without=("map",))

    def confusions(self) -> list[Confusion]:
        """Which true label was taken for which other one, and of how many photos, the most frequent first."""
        wrong = self.where((ds.field("target_index") == 0) & (ds.field("correct") == pa.scalar(False)))
        table = wrong.to_table(columns=["truth", "label"])
        pairs = Counter(zip(table["truth"].to_pylist(), table["label"].to_pylist(), strict=True))
        return [Confusion(*pair, count) for pair, count in sorted(pairs.items(), key=lambda one: (-one[1], one[0]))]


@final
@dataclass(frozen=True, eq=False)
class RunPhotos:
    """The photos of a run, in the order of the job: ``photos[i]`` is a :class:`RunPhoto`."""

    table: ShardedTable

    def __repr__(self) -> str:
        return f"RunPhotos({len(self)} photos)"

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[RunPhoto]:
        return map(RunPhoto, self.table.iterate())

    def __getitem__(self, place: SupportsIndex) -> RunPhoto:
        return RunPhoto(self.table.get(place))

    def where(self, expression: Any = None, **wanted: Any) -> "RunPhotos":
        """The photos for which all of this holds, as :meth:`Run.where` takes it."""
        return RunPhotos(self.table.where(make_filter(PHOTOS, expression, wanted)))

    def to_table(self, columns: list[str] | None = None) -> pa.Table:
        """The photos as a table of pyarrow; with all columns, or some."""
        return self.table.to_table(columns)


def open_run(folder: str | Path) -> Run:
    """Open the folder of a run, also of one that isn't finished.

    Raises:
        InputError: there is no such folder, it has no manifest, or that of a later version, or its files are broken.
    """
    home = Path(folder)
    manifest = read_manifest(home)
    shards = list_shards(home)
    photos = [home / PHOTOS_FOLDER / one.name for one in shards]
    missing = next((one for one in photos if not one.is_file()), None)
    if missing is not None:
        raise InputError(
            f"{show_path(missing)} is missing; remove the file of the same name in {show_path(home)} and run again"
        )
    return Run(home, manifest, ShardedTable.open(shards, ROWS), ShardedTable.open(photos, PHOTOS))
