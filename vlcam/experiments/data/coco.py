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
from vlcam.experiments.data.layouts import Layout, Missing, as_annotated, files_of, load_json, opening_of
from vlcam.experiments.data.samples import Has, Listed, Said, Sample, Thing
from vlcam.neurons.probes.datasets import image_folders, outlined

_EXPECTED: Final = "COCO's instances: a JSON object with images, annotations (image_id, category_id, bbox, segmentation) and categories"
_CAPTIONS: Final = "COCO's captions: a JSON object with annotations (image_id, caption)"
_BEST: Final = ("val2014", "val2017")


def _open(root: Path, split: str | None, needs: frozenset[Has]) -> Listed | Missing:
    files = _instances(root)
    if not files:
        there = any((root / folder).is_dir() for folder in ("annotations", "val2014", "val2017"))
        return Missing("no annotations/instances_*.json", there)
    path = _chosen(files, split)
    beside = path.with_name(f"captions_{_split(path)}.json")
    read = load_json(path, _EXPECTED, _packed)
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
    said = _captions(beside, load_json(beside, _CAPTIONS)) if beside.is_file() else _captions(path, read)
    if "captions" in needs and not said:
        return Missing(f"{str(path)!r} is there, but {beside.name} is not beside it", True)
    folder = folder_of(path, [name for _, name, _ in pictures])

    def at(number: int) -> Sample:
        key, name, size = pictures[number]
        image, seen = as_annotated(folder / name, size)
        things = tuple(_thing(one, seen, labels, f"{name} of {str(path)!r}") for one in instances[key])
        return Sample(Path(name).stem, image, seen, things, tuple(Said(text) for text in said.get(key, ())))

    return Listed(
        f"coco {_split(path)}" if "coco" not in path.stem else path.stem,
        f"COCO, {_split(path)}",
        labels,
        frozenset({"boxes", "masks", "captions"} if said else {"boxes", "masks"}),
        len(pictures),
        at,
        facts={"kind": "COCO", "path": str(path), "photos": str(folder), "images": len(pictures)},
    )


def _thing(one: Any, size: tuple[int, int], labels: tuple[str, ...], where: str) -> Thing:
    kind, (left, top, width, height), crowd, outline = one
    box = (max(left, 0.0), max(top, 0.0), min(left + width, float(size[0])), min(top + height, float(size[1])))
    return Thing(
        labels[kind], box, kind, crowd=crowd, outline=partial(_drawn, outline, size, f"{labels[kind]!r} in {where}")
    )


def _drawn(outline: Any, size: tuple[int, int], what: str) -> Bool[np.ndarray, "height width"]:
    plain = [list(one) if isinstance(one, array) else one for one in outline] if isinstance(outline, list) else outline
    try:
        return outlined(plain, size[1], size[0])
    except InputError as error:
        raise InputError(f"the outline of {what} is broken: {error}") from error


def _packed(record: dict[str, Any]) -> dict[str, Any]:
    """Polygons as arrays of doubles; what isn't made of numbers is left as it is, to be complained about when it is drawn."""
    if isinstance(polygons := record.get("segmentation"), list):
        with suppress(TypeError, OverflowError):
            record["segmentation"] = [array("d", one) for one in polygons]
    return record


def _captions(path: Path, read: Any) -> dict[Any, list[str]]:
    """The captions of each image, from a file of captions or from one that has them beside the objects."""
    whole = isinstance(read, dict) and "categories" in read
    found: dict[Any, list[str]] = {}
    try:
        for one in read.get("captions", []) if whole else read["annotations"]:
            found.setdefault(one["image_id"], []).append(" ".join(str(one["caption"]).split()))
    except (KeyError, TypeError) as error:
        raise InputError(f"{str(path)!r} has no, or a wrong, {error}; expected {_CAPTIONS}") from error
    return found


def folder_of(path: Path, names: list[str]) -> Path:
    """The folder that has the photos of a COCO file. Raises InputError that names a missing photo."""
    tried = [folder for folder in image_folders(path) if folder.is_dir()]
    for folder in tried:
        there = set(files_of(folder))
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


def _instances(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if _looks_right(root) else []
    found = [root / part / name for part in ("annotations", ".") for name in files_of(root / part, ".json")]
    named = [file for file in found if file.name.startswith("instances_")]
    beside = root.parent / f"{root.name}.json"
    others = [*([beside] if beside.is_file() else []), *found]
    return named or [file for file in others if _looks_right(file)]


def _looks_right(file: Path) -> bool:
    start = opening_of(file)
    return file.name.startswith("instances_") or (
        start.startswith("{") and '"images"' in start and '"file_name"' in start
    )


def _chosen(files: list[Path], split: str | None) -> Path:
    of = {_split(file): file for file in reversed(files)}
    if split is not None and split not in of:
        raise InputError(f"split={split!r} was given; of COCO there are: {', '.join(sorted(of))}")
    best = split or next((one for one in (*_BEST, *(name for name in of if "val" in name)) if one in of), None)
    return of[best] if best is not None else files[0]


def _split(path: Path) -> str:
    return path.stem.removeprefix("instances_")


COCO: Final = Layout(
    "coco",
    "COCO",
    "annotations/instances_*.json (with captions_*.json for captions) and the photos in val2014 or val2017; or one JSON in COCO's format "
    "with the photos in a folder of its name",
    frozenset({"boxes", "masks", "captions"}),
    _open,
)
