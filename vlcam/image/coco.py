"""COCO's files: instances with boxes and outlines, captions, and the folder of their photos (arXiv 1405.0312, 1504.00325).

Boxes are ``[left, top, width, height]`` in the file. Polygons are packed while the file is read, at eight bytes a number: the 290,000
instances of a validation set fit into memory. Outlines are drawn by :func:`vlcam.image.outlines.fill_outline`.
"""

from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from vlcam.contracts import InputError
from vlcam.files import check_number, check_size, check_whole, is_there, read_json, refuse_broken, show_path
from vlcam.image.geometry import Box

INSTANCES: Final = (
    "COCO's instances: a JSON object with images, annotations (image_id, category_id, segmentation) and categories"
)
_FAULT: Final = "has no, or a wrong, {}"
CAPTIONS: Final = "COCO's captions: a JSON object with annotations (image_id, caption)"


@final
@dataclass(frozen=True)
class CocoInstance:
    """One object of a photo, or a crowd: the place of its category in the file's list, its box in pixels, and its outline as stored."""

    category: int
    box: Box | None
    crowd: bool
    outline: Any


@final
@dataclass(frozen=True)
class CocoPhoto:
    """A photo that a COCO file lists: its file name, its width and height, what is in it and what people said about it."""

    name: str
    size: tuple[int, int]
    instances: tuple[CocoInstance, ...]
    captions: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class CocoFile:
    """A file of instances. ``categories`` are in the order of their ids: (name, supercategory)."""

    path: Path
    photos: tuple[CocoPhoto, ...]
    categories: tuple[tuple[str, str], ...]


def read_instances(path: Path, *, boxes: bool = False, captions: Path | None = None) -> CocoFile:
    """Read COCO's instances, or anything in their format.

    Args:
        path: the JSON file.
        boxes: whether every instance has to have its box, cut at the edges of the photo; else boxes aren't looked at.
        captions: a file of captions for the same photos; by default those that stand in the file itself, if any do.

    Raises:
        InputError: a file can't be read or has something else in it.
    """
    read = read_json(path, INSTANCES, hook=_pack_polygons)
    images, annotations, categories = _split(read, path)
    with refuse_broken(show_path(path), INSTANCES, fault=_FAULT):
        ordered = sorted(categories, key=lambda one: check_whole(one["id"], "id"))
        places = {one["id"]: place for place, one in enumerate(ordered)}
        listed = {one["id"]: (str(one["file_name"]), check_size(one["width"], one["height"])) for one in images}
        instances: dict[Any, list[CocoInstance]] = {key: [] for key in listed}
        for one in annotations:
            key = one["image_id"]
            box = _cut_box(one["bbox"], listed[key][1]) if boxes else None
            found = CocoInstance(places[one["category_id"]], box, bool(one.get("iscrowd", 0)), one["segmentation"])
            instances[key].append(found)
        kinds = tuple((str(one["name"]), str(one.get("supercategory", ""))) for one in ordered)
    said = _collect_captions(path, read.get("captions", [])) if captions is None else _read_captions(captions)
    photos = (CocoPhoto(*about, tuple(instances[key]), tuple(said.get(key, ()))) for key, about in listed.items())
    return CocoFile(path, tuple(photos), kinds)


def find_photo_folder(path: Path, names: Sequence[str]) -> Path:
    """The folder with the photos of a COCO file: the first likely one that has any of them. Raises InputError if none has."""
    tried = [folder for folder in list_photo_folders(path) if folder.is_dir()]
    for folder in tried:
        if len(list_missing(folder, names)) < len(names):
            return folder
    where = ", ".join(show_path(folder) for folder in tried[:6]) or "any folder beside it"
    raise InputError(
        f"the photos of {show_path(path)} (such as {names[0]!r}) aren't in {where}; put them in one of these, or into a folder images"
    )


def list_missing(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of the files that aren't in a folder; a name may have a folder of its own in front."""
    there = {file.name for file in folder.iterdir()}
    return [name for name in names if name not in there and not ("/" in name and is_there(folder / name))]


def list_photo_folders(annotations: Path) -> list[Path]:
    """Where the photos of a COCO file may be, the likeliest first.

    >>> [one.as_posix() for one in list_photo_folders(Path("coco/annotations/instances_val2017.json"))][:3]
    ['coco/annotations/instances_val2017', 'coco/annotations/val2017', 'coco/val2017']
    """
    stem, here = annotations.stem, annotations.parent
    split = stem.rsplit("_", 1)[-1]
    usual = [f"{part}{year}" for year in (2017, 2014) for part in ("val", "train", "test")]
    found = [here / stem, here / split, here.parent / split, here.parent / "images" / split, here / "images" / split]
    found += [above / "images" for above in (here, here.parent)] + [here]
    found += [above / name for name in usual for above in (here, here.parent, here.parent / "images")]
    return list(dict.fromkeys(found))


def _split(read: Any, path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    found = [read.get(name) if isinstance(read, dict) else None for name in ("images", "annotations", "categories")]
    images, annotations, categories = (one if isinstance(one, list) else [] for one in found)
    if not images or not categories or not isinstance(found[1], list):
        raise InputError(f"{show_path(path)} has no images, annotations or categories; expected {INSTANCES}")
    return images, annotations, categories


def _read_captions(path: Path) -> dict[Any, list[str]]:
    read = read_json(path, CAPTIONS)
    with refuse_broken(show_path(path), CAPTIONS, fault=_FAULT):
        listed = read["annotations"]
    return _collect_captions(path, listed)


def _collect_captions(path: Path, listed: Any) -> dict[Any, list[str]]:
    """The captions of each image."""
    found: dict[Any, list[str]] = {}
    with refuse_broken(show_path(path), CAPTIONS, fault=_FAULT):
        for one in listed:
            found.setdefault(one["image_id"], []).append(" ".join(str(one["caption"]).split()))
    return found


def _pack_polygons(record: dict[str, Any]) -> dict[str, Any]:
    """Polygons as arrays of doubles; what isn't made of points is left as it is, to be complained about when it is drawn."""
    polygons = record.get("segmentation")
    if isinstance(polygons, list) and all(isinstance(one, list) and len(one) % 2 == 0 for one in polygons):
        with suppress(TypeError, OverflowError):
            record["segmentation"] = [array("d", one) for one in polygons]
    return record


def _cut_box(numbers: Any, size: tuple[int, int]) -> Box:
    box = [check_number(number, "bbox") for number in numbers]
    if len(box) != 4:
        raise ValueError(f"bbox {box}")
    left, top, width, height = box
    return (max(left, 0.0), max(top, 0.0), min(left + width, float(size[0])), min(top + height, float(size[1])))
