"""The files of a run: a shard of rows and a shard of photos each, written whole or not at all; and the manifest that says what they are of.

The photos are written before the rows, so that rows that are there are complete. Whoever starts again does what isn't there.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlcam.contracts import InputError, shorten
from vlcam.files import (
    dump_json,
    is_there,
    make_folder,
    name_unwritable,
    read_json,
    replace_file,
    show_path,
    sweep_parts,
    write_text,
)
from vlcam.runs.table import COMPRESSION, PHOTOS, ROWS, SCHEMA_VERSION

MANIFEST: Final = "_manifest.json"
PHOTOS_FOLDER: Final = "_photos"
DATASETS_FILE: Final = ".huggingface.yaml"
_DATASETS: Final = f"""configs:
- config_name: rows
  default: true
  data_files: "part-*.parquet"
- config_name: photos
  data_files: "{PHOTOS_FOLDER}/part-*.parquet"
"""
"""Which files are which table, for ``datasets.load_dataset(folder)``, which would mix them."""

_WHAT: Final = f"the manifest of a run of vlcam ({MANIFEST}, which vlcam run writes)"
_GROUP: Final = 4096


def name_shard(number: int) -> str:
    """The name of a shard's file.

    >>> name_shard(123)
    'part-000123.parquet'
    """
    return f"part-{number:06d}.parquet"


def write_shard(out: Path, number: int, rows: Sequence[Mapping[str, Any]], photos: Sequence[Mapping[str, Any]]) -> None:
    """Write one shard: its photos, then its rows. Raises InputError if that can't be done."""
    for folder, schema, records in ((out / PHOTOS_FOLDER, PHOTOS, photos), (out, ROWS, rows)):
        path = folder / name_shard(number)
        table = pa.Table.from_pylist(list(records), schema=schema)
        with name_unwritable(path), replace_file(path) as part:
            pq.write_table(table, part, compression=COMPRESSION, row_group_size=_GROUP)


def is_done(out: Path, number: int) -> bool:
    """Whether a shard has been written."""
    return is_there(out / name_shard(number))


def list_shards(folder: Path) -> list[Path]:
    """The shards of rows that there are, in order."""
    return sorted(one for one in folder.glob("part-*.parquet") if one.is_file())


def has_shards(folder: Path) -> bool:
    """Whether there is any shard of rows."""
    return any(folder.glob("part-*.parquet"))


def start_folder(out: Path, job: Mapping[str, Any]) -> bool:
    """Make the folder with its manifest, or check that the folder is of this very job. Returns whether it was there before.

    Raises:
        InputError: the folder can't be written, has the results of another job (the text says what differs), or of something else.
    """
    manifest = out / MANIFEST
    if not manifest.exists() and has_shards(out):
        raise InputError(f"{show_path(out)} has Parquet files, but no {MANIFEST}; give another folder")
    make_folder(out / PHOTOS_FOLDER)
    sweep_parts(out)
    sweep_parts(out / PHOTOS_FOLDER)
    text = dump_json({"format": "vlcam run", "schema": SCHEMA_VERSION, "job": job}, indent=1)
    with name_unwritable(manifest):
        mine = _write_new(manifest, text)
        if not mine and not has_shards(out) and _list_differences(read_manifest(out)["job"], job):
            write_text(manifest, text + "\n")  # nothing of that other job is there yet
        if mine or not (out / DATASETS_FILE).exists():
            write_text(out / DATASETS_FILE, _DATASETS)
    check_manifest(out, job)
    return not mine


def check_manifest(out: Path, job: Mapping[str, Any]) -> None:
    """Raise InputError that names what differs, unless a folder is of this very job."""
    differ = _list_differences(read_manifest(out)["job"], job)
    if differ:
        parts = [f"{key} is {_show(there)} there and {_show(here)} here" for key, there, here in differ[:3]]
        more = f", and {len(differ) - 3} more" if len(differ) > 3 else ""
        raise InputError(
            f"{show_path(out)} has the results of another job: {'; '.join(parts)}{more}; give another folder, or remove that one"
        )


def _write_new(path: Path, text: str) -> bool:
    """Write a file that isn't there yet, all of it at once; False if it is there already."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write_text(part, text + "\n")
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links here
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text + "\n")
        except FileExistsError:
            return False
    finally:
        with suppress(OSError):
            part.unlink()
    return True


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run. Raises InputError if there is none, or one of a later version."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {show_path(folder)} (looked from {Path.cwd()}); check the path")
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{show_path(folder)} has no {MANIFEST}; expected a folder that vlcam run wrote")
    found = read_json(folder / MANIFEST, _WHAT)
    if not isinstance(found, dict) or not isinstance(found.get("job"), dict) or type(found.get("schema")) is not int:
        raise InputError(f"{show_path(folder / MANIFEST)} is something else; expected {_WHAT}")
    if found["schema"] > SCHEMA_VERSION:
        raise InputError(
            f"{show_path(folder)} was written by a later version of vlcam (schema {found['schema']}; this one reads {SCHEMA_VERSION}); "
            "install that version"
        )
    return found


def _list_differences(have: Mapping[str, Any], job: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs between two jobs, as JSON has them: its name, and the two values."""
    there, ours = _flatten(have), _flatten(json.loads(dump_json(job)))
    return [
        (key, there.get(key), ours.get(key))
        for key in dict.fromkeys((*ours, *there))
        if there.get(key) != ours.get(key)
    ]


def _flatten(job: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of a job by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in job.items():
        found.update(_flatten(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value})
    return found


def _show(value: Any) -> str:
    return "nothing" if value is None else shorten(dump_json(value), 80)
