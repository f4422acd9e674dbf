"""COCO's objects and captions (arXiv 1405.0312, 1504.00325): ``annotations/instances_*.json``, ``captions_*.json`` and the photos.

Boxes are ``[left, top, width, height]`` in the file; masks are polygons, or run lengths for crowds, and are drawn when they are asked
for. Polygons are packed while the file is read, at eight bytes a number: the 290,000 objects of a validation set fit into memory.
"""

from array import array
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import DataLayout, MissingLayout, list_files, open_annotated, read_start
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoCaption, PhotoObject
from vlcam.files import read_json
from vlcam.neurons.probes.datasets import fill_outline, list_image_folders

_EXPECTED: Final = "COCO's instances: a JSON object with images, annotations (image_id, category_id, bbox, segmentation) and categories"
_CAPTIONS: Final = "COCO's captions: a JSON object with annotations (image_id, caption)"
_BEST: Final = ("val2014", "val2017")


def _open(root: Path, split: str | None, needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    files = _find_instances(root)
    if not files:
        there = any((root / folder).is_dir() for folder in ("annotations", "val2014", "val2017"))
        return MissingLayout("no annotations/instances_*.json", there)
    path = _choose_file(files, split)
    beside = path.with_name(f"captions_{_get_split(path)}.json")
    read = read_json(path, _EXPECTED, hook=_pack_polygons)
    try:
        pictures = [
            (one["id"], str(one["file_name"]), (int(one["width"]), int(one["height"]))) for one in read["images"]
        ]
        ordered = sorted(read["categories"], key=lambda one: int(one["id"]))
        labels = tuple(str(one["name"]) for one in ordered)
        place = {one["id"]: number for number, one in enumerate(ordered)}
        instances: dict[Any, list[Any]] = {number: [] for number, _, _ in pictures}
        for one in read["annotations"]:
            box, kind = [float(number) for number in one["bbox"]], place[one["category_id"]]
            if len(box) != 4:
                raise ValueError(f"bbox {box}")
            instances[one["image_id"]].append((kind, tuple(box), bool(one.get("iscrowd", 0)), one["segmentation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{str(path)!r} has no, or a wrong, {error}; expected {_EXPECTED}") from error
    if not pictures or not labels:
        raise InputError(f"{str(path)!r} lists no images, or no categories; expected {_EXPECTED}")
    said = (
        _collect_captions(beside, read_json(beside, _CAPTIONS)) if beside.is_file() else _collect_captions(path, read)
    )
    if "captions" in needs and not said:
        return MissingLayout(f"{str(path)!r} is there, but {beside.name} is not beside it", True)
    folder = find_folder(path, [name for _, name, _ in pictures])

    def at(number: int) -> LabelledPhoto:
        key, name, size = pictures[number]
        image, seen = open_annotated(folder / name, size)
        objects = tuple(_make_object(one, seen, labels, f"{name} of {str(path)!r}") for one in instances[key])
        return LabelledPhoto(
            Path(name).stem, image, seen, objects, tuple(PhotoCaption(text) for text in said.get(key, ()))
        )

    return NumberedWorld(
        f"coco {_get_split(path)}" if "coco" not in path.stem else path.stem,
        f"COCO, {_get_split(path)}",
        labels,
        frozenset({"boxes", "masks", "captions"} if said else {"boxes", "masks"}),
        len(pictures),
        at,
        facts={"kind": "COCO", "path": str(path), "photos": str(folder), "images": len(pictures)},
    )


def _make_object(one: Any, size: tuple[int, int], labels: tuple[str, ...], where: str) -> PhotoObject:
    kind, (left, top, width, height), crowd, outline = one
    box = (max(left, 0.0), max(top, 0.0), min(left + width, float(size[0])), min(top + height, float(size[1])))
    return PhotoObject(
        labels[kind], box, kind, crowd=crowd, outline=partial(_draw_mask, outline, size, f"{labels[kind]!r} in {where}")
    )


def _draw_mask(outline: Any, size: tuple[int, int], what: str) -> Bool[np.ndarray, "height width"]:
    plain = [list(one) if isinstance(one, array) else one for one in outline] if isinstance(outline, list) else outline
    try:
        return fill_outline(plain, size[1], size[0])
    except InputError as error:
        raise InputError(f"the outline of {what} is broken: {error}") from error


def _pack_polygons(record: dict[str, Any]) -> dict[str, Any]:
    """Polygons as arrays of doubles; what isn't made of numbers is left as it is, to be complained about when it is drawn."""
    if isinstance(polygons := record.get("segmentation"), list):
        with suppress(TypeError, OverflowError):
            record["segmentation"] = [array("d", one) for one in polygons]
    return record


def _collect_captions(path: Path, read: Any) -> dict[Any, list[str]]:
    """The captions of each image, from a file of captions or from one that has them beside the objects."""
    whole = isinstance(read, dict) and "categories" in read
    found: dict[Any, list[str]] = {}
    try:
        for one in read.get("captions", []) if whole else read["annotations"]:
            found.setdefault(one["image_id"], []).append(" ".join(str(one["caption"]).split()))
    except (KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} has no, or a wrong, {error}; expected {_CAPTIONS}") from error
    return found


def find_folder(path: Path, names: list[str]) -> Path:
    """The folder that has the photos of a COCO file. Raises InputError that names a missing photo."""
    tried = [folder for folder in list_image_folders(path) if folder.is_dir()]
    for folder in tried:
        there = set(list_files(folder))
        gone = [name for name in names if name not in there and not ("/" in name and (folder / name).is_file())]
        if len(gone) < len(names):
            if gone:
                raise InputError(
                    f"{len(gone)} of {len(names)} photos of {str(path)!r} are missing, such as {str(folder / gone[0])!r}"
                )
            return folder
    where = ", ".join(repr(str(folder)) for folder in tried[:6]) or "any folder beside it"
    raise InputError(
        f"the photos of {str(path)!r}, such as {names[0]!r}, aren't in {where}; put them into one of these"
    )


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
        raise InputError(f"split={split!r} was given; of COCO there are: {', '.join(sorted(of))}")
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
