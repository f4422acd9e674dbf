"""Photos of COCO and Pascal VOC, with what their annotations say of them."""

from pathlib import Path
from typing import Any, Final

from vlcam.contracts import InputError
from vlcam.files import read_json, refuse_broken, show_path
from vlcam.image.coco import find_photo_folder
from vlcam.image.pascal_voc import find_voc_home, list_voc_homes, read_categories, read_split
from vlcam.runs.photo_list import SEVERAL, LoadFile, PhotoList, make_unique

_COCO: Final = "COCO's instances or captions: a JSON object with images and annotations"


def list_coco(path: Path, kind: str) -> PhotoList:
    """The photos of a COCO file. What is true of them: for classifiers the categories in them, for captioners the captions.

    Raises InputError.
    """
    read = read_json(path, _COCO, hook=_drop_outlines)
    if not isinstance(read, dict) or not isinstance(read.get("images"), list) or not read["images"]:
        raise InputError(f"{show_path(path)} has no images; expected {_COCO}")
    with refuse_broken(show_path(path), _COCO, fault="has no, or a wrong, {}"):
        images = {one["id"]: str(one["file_name"]) for one in read["images"]}
        names = {one["id"]: str(one["name"]) for one in read.get("categories", [])}
        said: dict[Any, list[str]] = {}
        for one in (*read.get("annotations", []), *read.get("captions", [])):
            if kind == "classification" and "category_id" in one:
                said.setdefault(one["image_id"], []).append(names[one["category_id"]])
            elif kind == "captioning" and "caption" in one:
                said.setdefault(one["image_id"], []).append(" ".join(str(one["caption"]).split()))
    order = sorted(images, key=lambda key: images[key])
    files = [images[key] for key in order]
    folder = find_photo_folder(path, files)
    truths = [SEVERAL.join(dict.fromkeys(said.get(key, ()))) or None for key in order]
    return _make_list(files, folder, truths if said else None)


def _drop_outlines(record: dict[str, Any]) -> dict[str, Any]:
    record.pop("segmentation", None)
    return record


def list_voc(root: Path, kind: str) -> PhotoList:
    """All photos of a folder of Pascal VOC, or those of one of its lists (``ImageSets/Main/val.txt``). Raises InputError."""
    if root.suffix == ".txt":
        home, lists = root.parents[2], root.parent.name
        stems = list(read_split(home, lists, root.stem))
    else:
        found = find_voc_home(root, ("JPEGImages",))
        if found is None:
            raise InputError(f"{show_path(root)} has no folder JPEGImages; expected a folder of Pascal VOC")
        home = found
        stems = sorted(one.stem for one in (home / "JPEGImages").glob("*.jpg"))
    if not stems:
        raise InputError(
            f"{show_path(home / 'JPEGImages')} has no photos in it; expected files such as 2007_000027.jpg"
        )
    truths = None
    if kind == "classification" and (home / "Annotations").is_dir():
        truths = [_read_objects(home / "Annotations" / f"{stem}.xml") for stem in stems]
    return _make_list([f"{stem}.jpg" for stem in stems], home / "JPEGImages", truths)


def is_voc(path: Path) -> bool:
    """Whether a folder is one of Pascal VOC, or a file one of its lists."""
    if path.suffix == ".txt":
        return (
            len(path.parents) > 2 and path.parents[1].name == "ImageSets" and (path.parents[2] / "JPEGImages").is_dir()
        )
    return any((home / "JPEGImages").is_dir() and (home / "Annotations").is_dir() for home in list_voc_homes(path))


def _read_objects(path: Path) -> str | None:
    return SEVERAL.join(read_categories(path)) or None if path.is_file() else None


def _make_list(files: list[str], folder: Path, truths: list[str | None] | None) -> PhotoList:
    paths = [str(folder / one) for one in files]
    here = Path.cwd()
    return PhotoList(make_unique(files), LoadFile(paths), paths=[str(here / one) for one in paths], truths=truths)
