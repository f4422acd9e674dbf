"""A folder of photos with a JSON of boxes: ``some_photos/`` and ``some_photos.json`` beside it, for photos that were cropped or resized.

The JSON is a list of ``{"file": "a.jpg", "label": 282, "boxes": [[left, top, right, bottom], ...]}`` with boxes in pixels of the photos
as they lie in the folder, pixel i covering ``[i, i + 1)``, and ``label`` the class's number. A list of class names,
``some_photos_classes.json`` or ``imagenet_classes.json``, lies beside it; without one, classes are called by their numbers.
"""

import re
from pathlib import Path
from typing import Any, Final

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import DataLayout, MissingLayout, list_files, open_annotated, read_start
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoObject
from vlcam.files import MAX_CLASSES, check_number, check_whole, read_json, refuse_broken, show_value

_EXPECTED: Final = 'a list of {"file": "a.jpg", "label": 282, "boxes": [[left, top, right, bottom]]}'
_IMAGENET: Final = 1000


def _open(root: Path, split: str | None, _needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    files = [file for file in _find_candidates(root, split) if _is_boxes_json(file)]
    if not files:
        return MissingLayout("no JSON list of files, labels and boxes")
    path = files[0]
    folder = path.with_suffix("")
    if not folder.is_dir():
        return MissingLayout(f"{str(path)!r} lists boxes, but its folder of photos {str(folder)!r} is missing", True)
    records = read_json(path, _EXPECTED)
    for record in records if isinstance(records, list) else [records]:
        _check(record, path)
    there = set(list_files(folder))
    gone = [record["file"] for record in records if record["file"] not in there]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(records)} photos of {str(path)!r} are missing, such as {str(folder / gone[0])!r}"
        )
    labels = _read_labels(path, max(int(record["label"]) for record in records))

    def at(number: int) -> LabelledPhoto:
        record = records[number]
        image, size = open_annotated(folder / record["file"])
        objects = tuple(
            PhotoObject(labels[record["label"]], _read_box(box, size, record["file"], path), record["label"])
            for box in record["boxes"]
        )
        return LabelledPhoto(Path(record["file"]).stem, image, size, objects)

    return NumberedWorld(
        path.stem,
        f"the photos of {path.stem} with boxes",
        labels,
        frozenset({"boxes"}),
        len(records),
        at,
        indexed=len(labels) == _IMAGENET,
        facts={"kind": "photos with a JSON of boxes", "path": str(path), "photos": len(records)},
    )


def _find_candidates(root: Path, split: str | None) -> list[Path]:
    if root.is_file():
        return [root]
    found = [root.parent / f"{root.name}.json"] + [root / name for name in list_files(root, ".json")]
    return [file for file in found if file.is_file() and split in (None, file.stem)]


def _is_boxes_json(file: Path) -> bool:
    start = read_start(file)
    return (
        file.suffix.lower() == ".json"
        and bool(re.match(r"\[\s*\{", start))
        and '"boxes"' in start
        and '"file"' in start
    )


def _check(record: Any, path: Path) -> None:
    good = isinstance(record, dict) and isinstance(record.get("file"), str) and isinstance(record.get("boxes"), list)
    if not good or type(record.get("label")) is not int or record["label"] < 0 or not record["boxes"]:
        raise InputError(f"{str(path)!r} has the record {show_value(record)}; expected {_EXPECTED}")
    with refuse_broken(repr(str(path)), _EXPECTED, fault="has the {}"):
        check_whole(record["label"], "label", MAX_CLASSES - 1)


def _read_box(box: Any, size: tuple[int, int], file: str, path: Path) -> tuple[float, float, float, float]:
    try:
        left, top, right, bottom = (check_number(one, "side") for one in box)
    except (TypeError, ValueError):
        left = top = right = bottom = float("nan")
    if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
        raise InputError(
            f"{str(path)!r} has the box {show_value(box)} for {file}, which is empty or outside its {size[0]} x {size[1]} pixels"
        )
    return (left, top, right, bottom)


def _read_labels(path: Path, last: int) -> tuple[str, ...]:
    for name in (f"{path.stem}_classes.json", "imagenet_classes.json", "classes.json"):
        if (file := path.parent / name).is_file():
            names = read_json(file, "a list of class names")
            if not isinstance(names, list) or not all(isinstance(one, str) for one in names) or len(names) <= last:
                raise InputError(
                    f"{str(file)!r} is not a list of at least {last + 1} class names, which {str(path)!r} needs"
                )
            return tuple(names)
    return tuple(f"class {number}" for number in range(last + 1))


BOXES_JSON: Final = DataLayout(
    "boxes-json",
    "a folder of photos with a JSON of boxes",
    "a folder of photos and beside it a JSON of the same name: " + _EXPECTED,
    frozenset({"boxes"}),
    _open,
)
