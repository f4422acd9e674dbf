"""Pascal VOC 2007 and 2012 with boxes and, where photos were segmented, masks (Everingham et al. 2010).

Boxes come from ``Annotations/*.xml``, whose corners count from 1 and are inclusive. Of segmented photos ``SegmentationObject`` numbers
the objects in the order of the XML file, ``SegmentationClass`` their classes; 255 marks borders and what nobody could tell, which is
given as ``Sample.void``. Where the pictures and the XML disagree about the objects, the pictures count: they are what is scored.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Integer

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import (
    DataLayout,
    MissingLayout,
    XmlObject,
    list_files,
    open_annotated,
    read_annotation,
)
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoObject
from vlcam.files import list_subfolders, read_text
from vlcam.neurons.probes.datasets import VOC_CLASSES
from vlcam.neurons.probes.folders import read_numbers

_BORDER: Final = 255
_SPLITS: Final = ("val", "test", "trainval", "train")
_PICTURES: Final = ("SegmentationObject", "SegmentationClass")


def _open(root: Path, split: str | None, needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    homes = _find_homes(root)
    home = next((one for one in homes if not _find_missing(one)), None)
    if home is None:
        return (
            MissingLayout(f"{str(homes[0])!r} lacks {_find_missing(homes[0])[0]}", True)
            if homes
            else MissingLayout("no folder VOC20xx")
        )
    masks = "masks" in needs
    lists = home / "ImageSets" / ("Segmentation" if masks else "Main")
    have = [name[:-4] for name in list_files(lists, ".txt") if "_" not in name]  # dog_val.txt is a list for one class
    if masks and (not have or not all((home / part).is_dir() for part in _PICTURES)):
        return MissingLayout(
            f"{str(home)!r} has boxes, but no masks: it lacks ImageSets/Segmentation, {' or '.join(_PICTURES)}", True
        )
    chosen = split or next((one for one in _SPLITS if one in have), None)
    if chosen not in have:
        raise InputError(f"split={chosen!r} is not in {str(lists)!r}; there are: {', '.join(have) or 'none'}")
    listed = lists / f"{chosen}.txt"
    stems = [line.split()[0] for line in read_text(listed, "one photo's name a line").splitlines() if line.strip()]
    if not stems:
        raise InputError(f"the list {str(listed)!r} is empty; expected one photo's name a line")
    endings = {"JPEGImages": ".jpg", "Annotations": ".xml"} | (dict.fromkeys(_PICTURES, ".png") if masks else {})
    for part, ending in endings.items():
        there = set(list_files(home / part, ending))
        gone = [stem for stem in stems if stem + ending not in there]
        if gone:
            raise InputError(
                f"{len(gone)} of the {len(stems)} files of {str(listed)!r} are missing, such as {str(home / part / (gone[0] + ending))!r}"
            )
    year = home.resolve().name.lower()
    return NumberedWorld(
        f"{year} {chosen}" + (" segmented" if masks else ""),
        f"Pascal {home.resolve().name}, {chosen}" + (", segmented photos" if masks else ""),
        VOC_CLASSES,
        frozenset({"boxes", "masks"} if masks else {"boxes"}),
        len(stems),
        _make_reader(home, stems, masks),
        facts={"kind": "Pascal VOC", "split": chosen, "path": str(home), "photos": len(stems), "masks": masks},
    )


def _make_reader(home: Path, stems: list[str], masks: bool) -> Callable[[int], LabelledPhoto]:
    def at(number: int) -> LabelledPhoto:
        stem = stems[number]
        file = home / "Annotations" / f"{stem}.xml"
        size, objects = read_annotation(file, first=1)
        unknown = [one.name for one in objects if one.name not in VOC_CLASSES]
        if unknown:
            raise InputError(f"{str(file)!r} names the class {unknown[0]!r}; expected one of {', '.join(VOC_CLASSES)}")
        image, seen = open_annotated(home / "JPEGImages" / f"{stem}.jpg", size)
        if not masks:
            return LabelledPhoto(stem, image, seen, tuple(_make_object(one) for one in objects))
        numbers, classes = (_read_picture(home / part / f"{stem}.png", seen) for part in _PICTURES)
        border = (numbers == _BORDER) | (classes == _BORDER)
        found = _find_objects(objects, np.where(border, 0, numbers), np.where(border, 0, classes), file)
        return LabelledPhoto(stem, image, seen, found, unlabelled=partial(_mask_number, border, True))

    return at


def _find_objects(
    objects: tuple[XmlObject, ...],
    numbers: Integer[np.ndarray, "height width"],
    classes: Integer[np.ndarray, "height width"],
    file: Path,
) -> tuple[PhotoObject, ...]:
    """The objects that the pictures show, with the boxes of the XML where both agree, else with those of the masks."""
    found = []
    for number in np.unique(numbers[numbers > 0]).tolist():
        pixels = numbers == number
        kinds = np.bincount(classes[pixels].astype(np.int64), minlength=1)
        kind = int(kinds.argmax())
        if not 1 <= kind <= len(VOC_CLASSES):
            raise InputError(
                f"object {number} beside {str(file)!r} has the class {kind}; expected 1 to {len(VOC_CLASSES)}"
            )
        name = VOC_CLASSES[kind - 1]
        agree = number <= len(objects) and objects[number - 1].name == name
        one = objects[number - 1] if agree else XmlObject(name, _find_box(pixels), False)
        found.append(_make_object(one, partial(_mask_number, numbers, number)))
    return tuple(found)


def _make_object(one: XmlObject, outline: Callable[[], Bool[np.ndarray, "height width"]] | None = None) -> PhotoObject:
    return PhotoObject(one.name, one.box, VOC_CLASSES.index(one.name), one.difficult, outline=outline)


def _mask_number(numbers: np.ndarray, number: int) -> Bool[np.ndarray, "height width"]:
    found: Bool[np.ndarray, "height width"] = numbers == number
    return found


def _find_box(pixels: Bool[np.ndarray, "height width"]) -> tuple[float, float, float, float]:
    down, across = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    return (float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1))


def _read_picture(path: Path, size: tuple[int, int]) -> Integer[np.ndarray, "height width"]:
    numbers = read_numbers(path)
    if numbers.shape != (size[1], size[0]):
        raise InputError(
            f"{str(path)!r} has {numbers.shape[1]} x {numbers.shape[0]} pixels, its photo {size[0]} x {size[1]}; put the original there"
        )
    return numbers


def _find_homes(root: Path) -> list[Path]:
    """What may be folders of Pascal VOC at, or at most two folders below, a path; the latest year first."""
    below = [one for one in (list_subfolders(root) if root.is_dir() else []) if one.name.upper().startswith("VOC")]
    deeper = [two for one in below for two in list_subfolders(one) if two.name.upper().startswith("VOC")]
    found = [one for one in (*reversed(deeper), *reversed(below)) if one.name.upper() != "VOCDEVKIT"]
    return ([root] if (root / "JPEGImages").is_dir() or (root / "Annotations").is_dir() else []) + found


def _find_missing(home: Path) -> list[str]:
    return [part for part in ("JPEGImages", "Annotations", "ImageSets/Main") if not (home / part).is_dir()]


VOC: Final = DataLayout(
    "voc",
    "Pascal VOC 2007 or 2012",
    "VOCdevkit/VOC20xx with JPEGImages, Annotations and ImageSets/Main; for masks also SegmentationObject, SegmentationClass and "
    "ImageSets/Segmentation",
    frozenset({"boxes", "masks"}),
    _open,
)
