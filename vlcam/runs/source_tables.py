"""Lists of photos in text files, CSV tables and Parquet files."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa
import pyarrow.parquet as pq

from vlcam.contracts import InputError, shorten
from vlcam.files import is_there, read_text, refuse_broken, show_path, unescape_cell
from vlcam.image.decode import open_bytes
from vlcam.runs.photo_list import LoadFile, PhotoList, make_unique
from vlcam.runs.read_truth import LABEL_NAMES, PHOTO_NAMES, find_column, find_delimiter

QUESTION_NAMES: Final = ("question", "query")
CAPTION_NAMES: Final = ("caption", "sentence")
_LIST: Final = "a list of photos: a path on each line"
_TABLE: Final = f"a table with a header and a column of photos ({', '.join(PHOTO_NAMES[:3])})"


def list_text_file(path: Path) -> PhotoList:
    """The photos of a text file, a path on each line; lines that begin with ``#`` are passed over. Raises InputError."""
    lines = [line.strip() for line in read_text(path, _LIST).splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise InputError(f"{show_path(path)} has no lines; expected {_LIST}")
    return make_file_list(found, path.parent)


def make_file_list(names: Sequence[str], folder: Path, **texts: Any) -> PhotoList:
    """Files by the paths in a list, which are relative to the list's folder, or else to the current one."""
    home = folder if is_there(folder / names[0]) or not is_there(names[0]) else Path()
    files = [str(home / one) for one in names]
    here = Path.cwd()
    return PhotoList(make_unique(names), LoadFile(files), paths=[str(here / one) for one in files], **texts)


def list_csv(path: Path) -> PhotoList:
    """The photos of a CSV table with their questions, captions and labels, as far as it has them. Raises InputError."""
    text = read_text(path, _TABLE, keep_line_ends=True)
    with refuse_broken(show_path(path), _TABLE):
        rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=find_delimiter(text)) if any(row)]
    head = [one.strip().lower() for one in rows[0]] if rows else []
    photo = find_column(head, PHOTO_NAMES)
    if photo is None:
        raise InputError(
            f"{show_path(path)} has the columns {shorten(', '.join(head), 80) or 'nothing'}; expected {_TABLE}"
        )
    body = rows[1:]
    if not body:
        raise InputError(f"{show_path(path)} has no photos in it; expected {_TABLE}")
    uneven = next((number for number, row in enumerate(body, 2) if len(row) <= photo or not row[photo].strip()), None)
    if uneven is not None:
        raise InputError(f"row {uneven} of {show_path(path)} has no photo; expected {_TABLE}")

    def column(names: Sequence[str]) -> list[str | None] | None:
        place = find_column(head, names)
        if place is None:
            return None
        return [unescape_cell(row[place].strip()) or None if place < len(row) else None for row in body]

    names = [unescape_cell(row[photo].strip()) for row in body]
    return make_file_list(
        names,
        path.parent,
        questions=column(QUESTION_NAMES),
        captions=column(CAPTION_NAMES),
        truths=column([one for one in LABEL_NAMES if one not in PHOTO_NAMES]),
    )


def list_parquet(path: Path) -> PhotoList:
    """The photos of a Parquet file: a column of paths, of bytes, or of Hugging Face's pictures ``{bytes, path}``. Raises InputError."""
    what = f"{_TABLE}, or of pictures"
    with refuse_broken(show_path(path), what), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        head = [name.lower() for name in schema.names]
        place = find_column(head, PHOTO_NAMES)
        if place is None:
            raise InputError(
                f"{show_path(path)} has the columns {shorten(', '.join(schema.names), 80)}; expected {what}"
            )
        name, kind = schema.names[place], schema.types[place]
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        texts = _read_texts(file, head)
        count = sum(groups)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            paths = [str(one) for one in file.read(columns=[name])[name].to_pylist()]
            if paths:
                return make_file_list(paths, path.parent, **texts)
        inside = [kind.field(number).name for number in range(kind.num_fields)] if pa.types.is_struct(kind) else []
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or "bytes" in inside):
            raise InputError(
                f"column {name!r} of {show_path(path)} has {kind}; expected paths, bytes, or pictures {{bytes, path}}"
            )
        keys: list[Any] = [None] * count
        if "path" in inside:
            keys = [one and one["path"] for one in file.read(columns=[f"{name}.path"])[name].to_pylist()]
    if not count:
        raise InputError(f"{show_path(path)} has no photos in it; expected {what}")
    named = make_unique(key or f"{path.name}:{row}" for row, key in enumerate(keys))
    return PhotoList(named, LoadFromParquet(str(path), name, tuple(groups)), **texts)


def _read_texts(file: pq.ParquetFile, head: Sequence[str]) -> dict[str, Any]:
    names = {"questions": QUESTION_NAMES, "captions": CAPTION_NAMES, "truths": [*LABEL_NAMES, "fine_label"]}
    known = _read_class_names(file.schema_arrow)
    found: dict[str, Any] = {}
    for what, wanted in names.items():
        place = find_column(head, [one for one in wanted if one not in PHOTO_NAMES])
        if place is None:
            continue
        name = file.schema_arrow.names[place]
        values = file.read(columns=[name])[name].to_pylist()
        found[what] = [write_label(one, known.get(name)) for one in values]
    return found


def write_label(value: Any, classes: Sequence[str] | None) -> str | None:
    """A label of a data set as a text: the name of its class, where the data set has names."""
    if value is None or value == "":
        return None
    if isinstance(value, (list, tuple)):
        return "; ".join(filter(None, (write_label(one, classes) for one in value))) or None
    if classes is not None and isinstance(value, int) and not isinstance(value, bool):
        return classes[value] if 0 <= value < len(classes) else None
    return str(value)


def _read_class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of columns, as Hugging Face's datasets write them into a Parquet file."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(text)["info"]["features"] if text else {}
        return {name: list(one["names"]) for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


@final
@dataclass(frozen=True)
class LoadFromParquet:
    """Opens a photo whose file's bytes are in a Parquet file."""

    path: str
    column: str
    groups: tuple[int, ...]

    def __call__(self, place: int) -> Any:
        """The picture in a row. Raises InputError for a row without one."""
        group, row = 0, place
        while row >= self.groups[group]:
            row -= self.groups[group]
            group += 1
        value = _read_group(self.path, self.column, group)[row].as_py()
        return open_stored(value, f"{Path(self.path).name}:{place}", Path(self.path).parent)


def open_stored(value: Any, name: str, folder: Path | None = None) -> Any:
    """A picture as data sets store it: its file's bytes, or ``{bytes, path}``. Raises InputError if there is neither."""
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if data is not None:
        return open_bytes(data, path or name)
    if path is not None:
        return path if folder is None or is_there(path) else str(folder / path)
    raise InputError(f"{name} has no picture")


@lru_cache(maxsize=2)
def _read_group(path: str, column: str, group: int) -> Any:
    """The pictures of one row group, which are read together."""
    with refuse_broken(show_path(path), "a Parquet file of pictures"), pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column])[column].combine_chunks()
