"""Truths from a CSV file, a mapping or a list, put beside the photos that they belong to."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from vlcam.contracts import InputError, shorten
from vlcam.files import read_text, refuse_broken, show_path, unescape_cell
from vlcam.runs.photo_list import SEVERAL, PhotoList, get_text

PHOTO_NAMES: Final = ("photo", "path", "image", "file", "filename", "file_name", "image_path", "key", "name")
LABEL_NAMES: Final = ("label", "truth", "class", "answer", "true")
FOLDERS: Final = "folders"
"""The truth of photos that lie in a folder for each class."""

_WHAT: Final = "a CSV file with a header, and columns photo and label"


def read_truths(truth: Any, photos: PhotoList) -> list[str | None]:
    """One truth, or None, for each photo. Raises InputError for what can't be read or fits no photo."""
    if truth == FOLDERS:
        return name_folders(photos)
    if isinstance(truth, (str, Path)):
        return match_truths(read_truth_file(Path(truth)), photos, show_path(truth))
    if isinstance(truth, Mapping):
        return match_truths({str(key): _write(value) for key, value in truth.items()}, photos, "truth")
    if isinstance(truth, Sequence):
        if len(truth) != len(photos):
            raise InputError(f"{len(truth)} truths were given for {len(photos)} photos; expected one for each, or None")
        return [None if one is None else _write(one) for one in truth]
    raise InputError(
        f"truth={shorten(repr(truth), 60)} was given; expected the path of a CSV file, {FOLDERS!r}, a mapping, or a list"
    )


def _write(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return SEVERAL.join(map(str, value))
    return str(value)


def name_folders(photos: PhotoList) -> list[str | None]:
    """The name of the folder that each photo lies in. Raises InputError if they aren't files, or all in one folder."""
    found = [None if path is None else PurePath(path).parent.name for path in photos.paths or [None] * len(photos)]
    if len({one for one in found if one is not None}) < 2:
        raise InputError(
            f"truth={FOLDERS!r} was given, but the photos don't lie in several folders; expected a folder for each class"
        )
    return found


def read_truth_file(path: Path) -> dict[str, str]:
    """The truths of a CSV file by photo; several rows of one photo are several truths. Raises InputError."""
    text = read_text(path, _WHAT, keep_line_ends=True)
    with refuse_broken(show_path(path), _WHAT):
        rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=find_delimiter(text)) if any(row)]
    if not rows:
        raise InputError(f"{show_path(path)} is empty; expected {_WHAT}")
    head = [one.strip().lower() for one in rows[0]]
    photo, label = find_column(head, PHOTO_NAMES), find_column(head, LABEL_NAMES)
    if photo is None or label is None:
        raise InputError(f"{show_path(path)} has the columns {shorten(', '.join(rows[0]), 80)}; expected {_WHAT}")
    found: dict[str, list[str]] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) <= max(photo, label):
            raise InputError(
                f"line {number} of {show_path(path)} has {len(row)} cells; expected {len(head)}, as in the header"
            )
        value = unescape_cell(row[label].strip())
        if value:
            found.setdefault(unescape_cell(row[photo].strip()), []).append(value)
    return {key: SEVERAL.join(dict.fromkeys(values)) for key, values in found.items()}


def find_delimiter(text: str) -> str:
    """What separates the cells of a table, by its first line: a tab or semicolon where that is there and no comma."""
    first = text.partition("\n")[0]
    return next((one for one in "\t;" if one in first and "," not in first), ",")


def find_column(head: Sequence[str], names: Sequence[str]) -> int | None:
    """The place of the first column with one of some names."""
    return next((head.index(name) for name in names if name in head), None)


def match_truths(truths: Mapping[str, str], photos: PhotoList, where: str) -> list[str | None]:
    """The truth of each photo: by its key or path, or where the one path ends as the other does, if only one truth is meant so.

    The ending of a file's name may be missing. Raises InputError if no photo has a truth.
    """
    by_name: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for key, value in truths.items():
        by_name.setdefault(_get_parts(key)[-1], []).append((_get_parts(key), value))
        if PurePath(key).suffix:
            by_name.setdefault(PurePath(key).stem, []).append((_get_parts(PurePath(key).with_suffix("")), value))
    found = []
    for place, key in enumerate(photos.keys):
        path = get_text(photos.paths, place)
        exact = next((truths[one] for one in (key, path) if one is not None and one in truths), None)
        found.append(_find_near(by_name, key, path) if exact is None else exact)
    if all(one is None for one in found):
        some = shorten(", ".join(list(truths)[:3]), 80)
        raise InputError(
            f"none of the {len(truths)} photos in {where} (such as {some}) is one of the {len(photos)} photos of the run (such as "
            f"{shorten(photos.keys[0], 60)}); expected their paths or names"
        )
    return found


def _find_near(by_name: Mapping[str, list[tuple[tuple[str, ...], str]]], key: str, path: str | None) -> str | None:
    """The one truth whose path ends as that of a photo does, or the other way round; None if there are several, or none."""
    whole = PurePath(path or key)
    for with_ending in (True, False):
        own, long = (_get_parts(one if with_ending else one.with_suffix("")) for one in (PurePath(key), whole))
        values = {
            value
            for parts, value in by_name.get(long[-1], ())
            if parts == long[-len(parts) :] or own == parts[-len(own) :]
        }
        if len(values) == 1:
            return values.pop()
    return None


def _get_parts(path: str | PurePath) -> tuple[str, ...]:
    return PurePath(path).parts or ("",)
