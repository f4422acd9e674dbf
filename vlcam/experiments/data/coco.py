"""COCO's objects and captions (arXiv 1405.0312, 1504.00325): ``annotations/instances_*.json``, ``captions_*.json`` and the photos.

The files are read by :mod:`vlcam.image.coco`; masks are drawn when they are asked for.
"""

from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import DataLayout, MissingLayout, list_files, open_annotated, read_start
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoCaption, PhotoObject
from vlcam.image.coco import CocoInstance, find_photo_folder, list_missing, read_instances
from vlcam.image.outlines import fill_outline

_BEST: Final = ("val2014", "val2017")


def _open(root: Path, split: str | None, needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    files = _find_instances(root)
    if not files:
        there = any((root / folder).is_dir() for folder in ("annotations", "val2014", "val2017"))
        return MissingLayout("no annotations/instances_*.json", there)
    path = _choose_file(files, split)
    beside = path.with_name(f"captions_{_get_split(path)}.json")
    file = read_instances(path, boxes=True, captions=beside if beside.is_file() else None)
    said = any(one.captions for one in file.photos)
    if "captions" in needs and not said:
        return MissingLayout(f"{str(path)!r} is there, but {beside.name} is not beside it", True)
    names = [one.name for one in file.photos]
    folder = find_photo_folder(path, names)
    if gone := list_missing(folder, names):
        raise InputError(
            f"{len(gone)} of {len(names)} photos of {str(path)!r} are missing, such as {str(folder / gone[0])!r}"
        )
    labels = tuple(name for name, _ in file.categories)

    def at(number: int) -> LabelledPhoto:
        photo = file.photos[number]
        image, seen = open_annotated(folder / photo.name, photo.size)
        objects = tuple(_make_object(one, seen, labels, f"{photo.name} of {str(path)!r}") for one in photo.instances)
        captions = tuple(PhotoCaption(text) for text in photo.captions)
        return LabelledPhoto(Path(photo.name).stem, image, seen, objects, captions)

    return NumberedWorld(
        f"coco {_get_split(path)}" if "coco" not in path.stem else path.stem,
        f"COCO, {_get_split(path)}",
        labels,
        frozenset({"boxes", "masks", "captions"} if said else {"boxes", "masks"}),
        len(names),
        at,
        facts={"kind": "COCO", "path": str(path), "photos": str(folder), "images": len(names)},
    )


def _make_object(one: CocoInstance, size: tuple[int, int], labels: tuple[str, ...], where: str) -> PhotoObject:
    if one.box is None:
        raise InputError(f"an instance in {where} has no box; expected one for every instance")
    label = labels[one.category]
    outline = partial(_draw_mask, one.outline, size, f"{label!r} in {where}")
    return PhotoObject(label, one.box, one.category, crowd=one.crowd, outline=outline)


def _draw_mask(outline: Any, size: tuple[int, int], what: str) -> Bool[np.ndarray, "height width"]:
    try:
        return fill_outline(outline, size[1], size[0])
    except InputError as error:
        raise InputError(f"the outline of {what} is broken: {error}") from error


def _find_instances(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if _is_coco_json(root) else []
    found = [root / part / name for part in ("annotations", ".") for name in list_files(root / part, ".json")]
    named = [file for file in found if file.name.startswith("instances_")]
    beside = root.parent / f"{root.name}.json"
    others = [*([beside] if beside.is_file() else []), *found]
    return named or [file for file in others if _is_coco_json(file)]


def _is_coco_json(file: Path) -> bool:
    start = read_start(file)
    return file.name.startswith("instances_") or (
        start.startswith("{") and '"images"' in start and '"file_name"' in start
    )


def _choose_file(files: list[Path], split: str | None) -> Path:
    of = {_get_split(file): file for file in reversed(files)}
    if split is not None and split not in of:
        raise InputError(f"split={split!r} was given; the splits of COCO in the folder are: {', '.join(sorted(of))}")
    best = split or next((one for one in (*_BEST, *(name for name in of if "val" in name)) if one in of), None)
    return of[best] if best is not None else files[0]


def _get_split(path: Path) -> str:
    return path.stem.removeprefix("instances_")


COCO: Final = DataLayout(
    "coco",
    "COCO",
    "annotations/instances_*.json (with captions_*.json for captions) and the photos in val2014 or val2017; or one JSON in COCO's format "
    "with the photos in a folder of its name",
    frozenset({"boxes", "masks", "captions"}),
    _open,
)
