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
_WHAT: Final = "a CSV file with a header, and columns photo and label"


def read_truths(truth: Any, photos: PhotoList) -> list[str | None]:
    """One truth, or None, for each photo. Raises InputError for what can't be read or fits no photo."""
    if isinstance(truth, (str, Path)):
        return match_truths(read_truth_file(Path(truth)), photos, show_path(truth))
    if isinstance(truth, Mapping):
        return match_truths({str(key): _write(value) for key, value in truth.items()}, photos, "truth")
    if isinstance(truth, Sequence):
        if len(truth) != len(photos):
            raise InputError(f"{len(truth)} truths were given for {len(photos)} photos; expected one for each, or None")
        return [None if one is None else _write(one) for one in truth]
    raise InputError(
        f"truth={shorten(repr(truth), 60)} was given; expected the path of a CSV file, a mapping from photos to labels, or a list"
    )


def _write(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return SEVERAL.join(map(str, value))
    return str(value)


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
    """The truth of each photo: by its key, its path, or else the name of its file, with or without the ending, if only one has it.

    Raises InputError if no photo has one.
    """
    by_name = _index_names(truths)
    found = []
    for place, key in enumerate(photos.keys):
        path = get_text(photos.paths, place)
        name = PurePath(path or key).name
        ways = (key, path, name, PurePath(name).stem)
        exact = next((truths[one] for one in ways if one is not None and one in truths), None)
        near = next((by_name[one] for one in ways[2:] if one is not None and by_name.get(one) is not None), None)
        found.append(exact if exact is not None else near)
    if all(one is None for one in found):
        some = shorten(", ".join(list(truths)[:3]), 80)
        raise InputError(
            f"none of the {len(truths)} photos in {where} (such as {some}) is one of the {len(photos)} photos of the run (such as "
            f"{shorten(photos.keys[0], 60)}); expected their paths or names"
        )
    return found


def _index_names(truths: Mapping[str, str]) -> dict[str, str | None]:
    """The truths by the names of files, with and without their endings; None for a name that several different ones share."""
    found: dict[str, str | None] = {}
    for key, value in truths.items():
        for name in {PurePath(key).name, PurePath(key).stem}:
            found[name] = value if found.get(name, value) == value else None
    return found
