"""Pascal VOC's folders, lists and annotations (Everingham et al. 2010); ILSVRC's annotations have the same form.

``JPEGImages`` holds the photos, ``Annotations`` an XML file for each, ``ImageSets`` the lists; of segmented photos ``SegmentationClass``
and ``SegmentationObject`` are label maps, in which 255 marks borders and pixels of unknown class.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vlcam.contracts import InputError
from vlcam.files import check_size, list_subfolders, parse_whole, read_text, refuse_broken, show_path
from vlcam.image.geometry import Box

VOC_CLASSES: Final = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty classes of Pascal VOC in the order of their numbers, from 1."""

VOC_BORDER: Final = 255
"""The number of borders, and of pixels of unknown class, in label maps."""

ENDINGS: Final[Mapping[str, str]] = {
    "JPEGImages": ".jpg",
    "Annotations": ".xml",
    "SegmentationClass": ".png",
    "SegmentationObject": ".png",
}
"""How the files in each folder end."""

_ANNOTATION: Final = "an annotation in Pascal VOC's XML"
_LIST: Final = "one photo's name a line"


@final
@dataclass(frozen=True)
class AnnotatedObject:
    """One object of an annotation: the class's name or code, its box and whether it is marked as difficult."""

    name: str
    box: Box
    difficult: bool


def find_voc_home(root: Path, parts: tuple[str, ...]) -> Path | None:
    """The folder of Pascal VOC at, or at most two folders below, a path that has all these folders in it; the latest year first."""
    return next((home for home in list_voc_homes(root) if not list_missing_parts(home, parts)), None)


def list_voc_homes(root: Path) -> list[Path]:
    """What may be folders of Pascal VOC at, or at most two folders below, a path; below it the latest year first."""
    below = [one for one in (list_subfolders(root) if root.is_dir() else []) if one.name.upper().startswith("VOC")]
    deeper = [two for one in below for two in list_subfolders(one) if two.name.upper().startswith("VOC")]
    found = [one for one in (*reversed(deeper), *reversed(below)) if one.name.upper() != "VOCDEVKIT"]
    return ([root] if (root / "JPEGImages").is_dir() or (root / "Annotations").is_dir() else []) + found


def list_missing_parts(home: Path, parts: tuple[str, ...]) -> list[str]:
    """Those of the folders that a folder of Pascal VOC lacks."""
    return [part for part in parts if not (home / part).is_dir()]


def list_splits(home: Path, lists: str) -> list[str]:
    """The lists in ``ImageSets/Main`` (or another folder there) by name, without those for one class, such as dog_val."""
    return sorted(one.stem for one in (home / "ImageSets" / lists).glob("*.txt") if "_" not in one.stem)


def read_split(home: Path, lists: str, split: str) -> tuple[str, ...]:
    """The photos of a list, as the stems of their files. Raises InputError if there is no such list, or nothing in it."""
    listed = home / "ImageSets" / lists / f"{split}.txt"
    if not listed.is_file():
        have = ", ".join(list_splits(home, lists)) or "none"
        raise InputError(f"split={split!r} was given, but the splits of {show_path(home)} are: {have}")
    stems = tuple(line.split()[0] for line in read_text(listed, _LIST).splitlines() if line.strip())
    if not stems:
        raise InputError(f"the list {show_path(listed)} is empty; expected {_LIST}")
    return stems


def check_voc_files(home: Path, stems: tuple[str, ...], parts: tuple[str, ...]) -> None:
    """Raise InputError unless every listed photo has its file in each of these folders."""
    for part in parts:
        there = {file.name for file in (home / part).iterdir()}
        gone = [stem + ENDINGS[part] for stem in stems if stem + ENDINGS[part] not in there]
        if gone:
            raise InputError(
                f"{len(gone)} of the {len(stems)} files of a list are missing in {show_path(home / part)}, such as {gone[0]!r}"
            )


def read_annotation(path: Path, *, first: int = 1) -> tuple[tuple[int, int], tuple[AnnotatedObject, ...]]:
    """The photo's width and height, and the objects, of an annotation.

    Corners there name the first and the last pixel of a box, counted from ``first``: VOC counts from 1, ILSVRC from 0 (in its
    validation set left edges lie at 0 and right edges at the width less 1). So ``left - first, top - first, right - first + 1,
    bottom - first + 1`` is the same box in coordinates where pixel i covers ``[i, i + 1)``; it is cut at the edges of the photo.

    Raises:
        InputError: the file can't be read, isn't such XML, or has a box that is empty or outside the photo.
    """
    root = _parse(path)
    expected = "size, and objects with name and bndbox, as Pascal VOC has them"
    with refuse_broken(show_path(path), expected, fault="has no, or a wrong, {}"):
        width, height = check_size(
            *(parse_whole(_find_text(root, f"size/{side}"), side) for side in ("width", "height"))
        )
        found = []
        for one in root.iter("object"):
            left, top, right, bottom = (
                float(_find_text(one, f"bndbox/{side}")) - first for side in ("xmin", "ymin", "xmax", "ymax")
            )
            box = (max(left, 0.0), max(top, 0.0), min(right + 1, float(width)), min(bottom + 1, float(height)))
            if not (box[0] < box[2] and box[1] < box[3]):
                raise ValueError(f"box {(left, top, right, bottom)} in a photo of {width} x {height} pixels")
            found.append(AnnotatedObject(_find_text(one, "name"), box, one.findtext("difficult", "0").strip() == "1"))
    return (width, height), tuple(found)


def read_categories(path: Path) -> tuple[str, ...]:
    """The classes of the objects in an annotation, each once, wherever they are. Raises InputError if it can't be read."""
    names = ((one.findtext("name") or "").strip() for one in _parse(path).iter("object"))
    return tuple(dict.fromkeys(name for name in names if name))


def _parse(path: Path) -> ET.Element:
    text = read_text(path, _ANNOTATION)
    if "<!" in text.replace("<!--", ""):  # nothing of VOC declares entities, which can grow without end
        raise InputError(f"{show_path(path)} declares a document type; expected {_ANNOTATION}, which has none")
    with refuse_broken(show_path(path), f"{_ANNOTATION}: copy it again", fault="is not XML ({})"):
        return ET.fromstring(text)


def _find_text(element: ET.Element, name: str) -> str:
    found = (element.findtext(name) or "").strip()
    if not found:
        raise ValueError(name)
    return found
