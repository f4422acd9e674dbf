"""The folder of a run, read photo by photo: what a gallery needs of it, with maps as they are drawn."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float

from vlcam.errors import InputError
from vlcam.files import refuse_broken, show_path
from vlcam.image.display import STEPS, apply_steps
from vlcam.runs.shards import PHOTOS_FOLDER, list_shards, read_manifest
from vlcam.runs.table import PHOTOS, ROWS

FLAGS: Final = ("ok", "zero", "negative", "nonfinite")
_WHAT: Final = "the folder of a run, as vlcam run writes it"
_ROW_COLUMNS: Final = (
    *("photo_index", "photo", "target_index", "label", "question", "truth", "correct", "target", "kind", "probability"),
    *(
        "gain",
        "p",
        "p_corrected",
        "flag",
        "map",
        "map_unit",
        "rows",
        "columns",
        "relu",
        "steps",
        "faintness",
        "photo_width",
    ),
    *("photo_height", "input_width", "input_height", "scale_x", "scale_y", "offset_x", "offset_y", "neurons", "error"),
    *("task", "model", "revision", "layer", "method"),
)
_PHOTO_COLUMNS: Final = ("photo_index", "photo", "name", "sha256", "width", "height", "thumbnail", "document", "error")
_FACTS: Final = ("task", "model", "revision", "layer", "method")
_MOST_CELLS: Final = 4096
"""Of a map that is kept as it is, such as 64 x 64; a finer one is averaged down to that many cells, which a small picture can't show."""


@final
@dataclass(frozen=True, kw_only=True)
class MapRow:
    """One target of one photo; ``number`` counts those of the explanation from 0.

    ``place`` takes the photo (0 to 1) to the model's input (0 to 1): scale and offset for x, then for y. ``map`` is drawn as it is: after
    the method's ReLU and the display steps, in parts of its ``peak``, which is in the target's units.
    """

    number: int
    target: str
    kind: str
    probability: float
    gain: float
    p: float
    flag: str
    faintness: float
    neurons: tuple[str, ...]
    place: tuple[float, float, float, float]
    signed: bool
    map: Float[np.ndarray, "rows columns"] | None
    peak: float


@final
@dataclass(frozen=True, kw_only=True)
class PhotoEntry:
    """One photo of a run; ``document`` is the JSON text that the interactive page draws, ``facts`` say how it was made."""

    key: str
    name: str
    sha256: str | None
    size: tuple[int, int]
    thumbnail: bytes | None
    document: str | None
    label: str | None
    question: str | None
    truth: str | None
    correct: bool | None
    error: str | None
    rows: tuple[MapRow, ...]
    facts: dict[str, str]


def list_parts(folder: str | Path) -> list[Path]:
    """The Parquet files of a run in their order; none for a run that has not written any yet.

    Raises:
        InputError: there is no such folder, or it isn't one of a run, or one of a later version.
    """
    read_manifest(Path(folder))
    return list_shards(Path(folder))


def count_planned(folder: Path) -> int:
    """How many photos the job of a run has, done or not; 0 if the manifest doesn't say."""
    photos = read_manifest(folder)["job"].get("photos")
    count = photos.get("count") if isinstance(photos, dict) else None
    return count if type(count) is int else 0


def read_photos(part: Path) -> Iterator[PhotoEntry]:
    """The photos of one part of a run, in the job's order.

    Raises:
        InputError: a file can't be read, lacks columns, or holds something else.
    """
    rows = _read_table(part, ROWS, _ROW_COLUMNS)
    photos = _read_table(part.parent / PHOTOS_FOLDER / part.name, PHOTOS, _PHOTO_COLUMNS)
    with refuse_broken(show_path(part), _WHAT):
        columns = {name: rows.column(name).to_pylist() for name in _ROW_COLUMNS if name != "map"}
        drawn = _draw_maps(rows.column("map"), columns)
        of_photo: dict[int, list[int]] = defaultdict(list)
        for number, index in enumerate(columns["photo_index"]):
            of_photo[index].append(number)
        for record in sorted(photos.to_pylist(), key=lambda one: one["photo_index"]):
            yield _make_photo(record, of_photo.pop(record["photo_index"], []), columns, drawn)
        for numbers in of_photo.values():  # of photos that the second table lacks
            yield _make_photo({}, numbers, columns, drawn)


def _read_table(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> pa.Table:
    with refuse_broken(show_path(path), _WHAT):
        there = pq.read_schema(path)
        lacking = [name for name in names if name not in there.names]
        if lacking:
            raise InputError(f"{show_path(path)} lacks the columns {', '.join(lacking)}; expected {_WHAT}")
        table = pq.read_table(path, columns=list(names), partitioning=None)
        return table.cast(pa.schema([schema.field(name).with_nullable(True) for name in names]))


def _make_photo(
    record: dict[str, Any],
    numbers: list[int],
    columns: dict[str, list[Any]],
    drawn: dict[int, tuple[np.ndarray, float]],
) -> PhotoEntry:
    def first(name: str) -> Any:
        return next((columns[name][number] for number in numbers if columns[name][number] is not None), None)

    key = record.get("photo") or first("photo") or ""
    size = record.get("width") or first("photo_width") or 0, record.get("height") or first("photo_height") or 0
    rows = [_make_row(number, columns, drawn) for number in numbers if columns["target"][number] is not None]
    return PhotoEntry(
        key=key,
        name=record.get("name") or key,
        sha256=record.get("sha256"),
        size=size,
        thumbnail=record.get("thumbnail"),
        document=record.get("document"),
        label=first("label"),
        question=first("question"),
        truth=first("truth"),
        correct=first("correct"),
        error=record.get("error") or first("error"),
        rows=tuple(rows),
        facts={name: str(value) for name in _FACTS if (value := first(name)) is not None},
    )


def _make_row(number: int, columns: dict[str, list[Any]], drawn: dict[int, tuple[np.ndarray, float]]) -> MapRow:
    def get(name: str) -> Any:
        return columns[name][number]

    heat, peak = drawn.get(number, (None, 0.0))
    flag = get("flag") if get("flag") in FLAGS else "nonfinite"
    corrected, raw = get("p_corrected"), get("p")
    return MapRow(
        number=get("target_index") or 0,
        target=get("target"),
        kind=get("kind") or "",
        probability=_get_number(get("probability")),
        gain=_get_number(get("gain")),
        p=_get_number(raw if corrected is None else corrected),
        flag=flag,
        faintness=_get_number(get("faintness")),
        neurons=tuple(dict.fromkeys(name for name in get("neurons") or () if name)),
        place=_place(
            *((get(f"photo_{side}"), get(f"input_{side}"), get(f"scale_{axis}"), get(f"offset_{axis}"))
              for side, axis in (("width", "x"), ("height", "y")))
        ),
        signed=get("relu") is False,
        map=heat if flag == "ok" else None,
        peak=peak if flag == "ok" else 0.0,
    )  # fmt: skip


def _get_number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)


def _place(*axes: tuple[int | None, int | None, float | None, float | None]) -> tuple[float, float, float, float]:
    """Photo to input in parts of both; the whole photo where the table doesn't say."""
    found: list[float] = []
    for photo, model, scale, offset in axes:
        if photo and model and scale and scale > 0 and offset is not None and math.isfinite(scale + offset):
            found += [scale * photo / model, offset / model]
        else:
            found += [1.0, 0.0]
    across, left, down, top = found
    return across, left, down, top


def _draw_maps(column: pa.ChunkedArray, columns: dict[str, list[Any]]) -> dict[int, tuple[np.ndarray, float]]:
    """Of each row with a usable map: the map as drawn, in parts of its peak (float32), and the peak. Equal grids are worked on together."""
    kinds: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, (rows, across) in enumerate(zip(columns["rows"], columns["columns"], strict=True)):
        if columns["flag"][number] == "ok" and rows and across:
            kinds[(rows, across, columns["relu"][number] is not False, columns["steps"][number] or "")].append(number)
    found: dict[int, tuple[np.ndarray, float]] = {}
    for (rows, across, relu, steps), numbers in kinds.items():
        values = column.take(pa.array(numbers))
        lengths = {len(one) if one.is_valid else -1 for one in values}
        if lengths != {rows * across}:
            raise InputError(f"a map of {rows} x {across} cells has {sorted(lengths)} values")
        flat = values.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        maps = torch.from_numpy(flat.astype(np.float32).reshape(-1, rows, across))
        if relu:
            names = [name for one in steps.split(",") if (name := one.strip()) in STEPS]
            maps = apply_steps(maps.clamp_min(0), names)
        parts, peaks = _take_peaks(maps)
        for number, part, peak in zip(numbers, _shrink(parts), peaks, strict=True):
            unit = _get_number(columns["map_unit"][number])
            if peak > 0 and math.isfinite(peak):
                found[number] = part, peak * (1.0 if math.isnan(unit) else abs(unit))
    return found


def _take_peaks(
    maps: Float[torch.Tensor, "maps rows columns"],
) -> tuple[Float[torch.Tensor, "maps rows columns"], list[float]]:
    peaks = maps.abs().amax((1, 2))
    return maps / peaks.clamp_min(1e-30)[:, None, None], peaks.tolist()


def _shrink(maps: Float[torch.Tensor, "maps rows columns"]) -> Float[np.ndarray, "maps _ _"]:
    """Maps with few enough cells, averaged, each again with a peak of 1."""
    rows, columns = maps.shape[1:]
    if rows * columns <= _MOST_CELLS:
        return maps.numpy()
    scale = math.sqrt(_MOST_CELLS / (rows * columns))
    small = torch.nn.functional.adaptive_avg_pool2d(maps, (max(1, int(rows * scale)), max(1, int(columns * scale))))
    return _take_peaks(small)[0].numpy()
