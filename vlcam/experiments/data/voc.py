"""Pascal VOC 2007 and 2012 with boxes and, where photos were segmented, masks (Everingham et al. 2010).

Boxes come from ``Annotations/*.xml``, whose corners count from 1 and are inclusive. Of segmented photos ``SegmentationObject`` numbers the
objects in the order of the XML file, ``SegmentationClass`` their classes; 255 marks borders and unclear pixels, which are given as
``LabelledPhoto.void``. Where the pictures and the XML disagree about the objects, the pictures count: they are what is scored.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Integer

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import DataLayout, MissingLayout, open_annotated
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoObject
from vlcam.image.label_maps import read_label_map
from vlcam.image.pascal_voc import (
    VOC_BORDER,
    VOC_CLASSES,
    AnnotatedObject,
    check_voc_files,
    find_voc_home,
    list_missing_parts,
    list_splits,
    list_voc_homes,
    read_annotation,
    read_split,
)

_PARTS: Final = ("JPEGImages", "Annotations", "ImageSets/Main")
_SPLITS: Final = ("val", "test", "trainval", "train")
_PICTURES: Final = ("SegmentationObject", "SegmentationClass")


def _open(root: Path, split: str | None, needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    home = find_voc_home(root, _PARTS)
    if home is None:
        meant = next(iter(list_voc_homes(root)), None)
        if meant is None:
            return MissingLayout("no folder VOC20xx")
        return MissingLayout(f"{str(meant)!r} lacks {list_missing_parts(meant, _PARTS)[0]}", True)
    masks = "masks" in needs
    lists = "Segmentation" if masks else "Main"
    have = list_splits(home, lists)
    if masks and (not have or list_missing_parts(home, _PICTURES)):
        return MissingLayout(
            f"{str(home)!r} has boxes, but no masks: it lacks ImageSets/Segmentation, {' or '.join(_PICTURES)}", True
        )
    chosen = split or next((one for one in _SPLITS if one in have), _SPLITS[0])
    stems = read_split(home, lists, chosen)
    check_voc_files(home, stems, ("JPEGImages", "Annotations", *(_PICTURES if masks else ())))
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


def _make_reader(home: Path, stems: tuple[str, ...], masks: bool) -> Callable[[int], LabelledPhoto]:
    def at(number: int) -> LabelledPhoto:
        stem = stems[number]
        file = home / "Annotations" / f"{stem}.xml"
        size, objects = read_annotation(file)
        unknown = [one.name for one in objects if one.name not in VOC_CLASSES]
        if unknown:
            raise InputError(f"{str(file)!r} names the class {unknown[0]!r}; expected one of {', '.join(VOC_CLASSES)}")
        image, seen = open_annotated(home / "JPEGImages" / f"{stem}.jpg", size)
        if not masks:
            return LabelledPhoto(stem, image, seen, tuple(_make_object(one) for one in objects))
        numbers, classes = (_read_picture(home / part / f"{stem}.png", seen) for part in _PICTURES)
        border = (numbers == VOC_BORDER) | (classes == VOC_BORDER)
        found = _find_objects(objects, np.where(border, 0, numbers), np.where(border, 0, classes), file)
        return LabelledPhoto(stem, image, seen, found, unlabelled=partial(_mask_number, border, True))

    return at


def _find_objects(
    objects: tuple[AnnotatedObject, ...],
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
        one = objects[number - 1] if agree else AnnotatedObject(name, _find_box(pixels), False)
        found.append(_make_object(one, partial(_mask_number, numbers, number)))
    return tuple(found)


def _make_object(
    one: AnnotatedObject, outline: Callable[[], Bool[np.ndarray, "height width"]] | None = None
) -> PhotoObject:
    return PhotoObject(one.name, one.box, VOC_CLASSES.index(one.name), one.difficult, outline=outline)


def _mask_number(numbers: np.ndarray, number: int) -> Bool[np.ndarray, "height width"]:
    found: Bool[np.ndarray, "height width"] = numbers == number
    return found


def _find_box(pixels: Bool[np.ndarray, "height width"]) -> tuple[float, float, float, float]:
    down, across = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    return (float(across[0]), float(down[0]), float(across[-1] + 1), float(down[-1] + 1))


def _read_picture(path: Path, size: tuple[int, int]) -> Integer[np.ndarray, "height width"]:
    numbers = read_label_map(path)
    if numbers.shape != (size[1], size[0]):
        raise InputError(
            f"{str(path)!r} has {numbers.shape[1]} x {numbers.shape[0]} pixels, but its photo has {size[0]} x {size[1]}; put the original "
            "there"
        )
    return numbers


VOC: Final = DataLayout(
    "voc",
    "Pascal VOC 2007 or 2012",
    "VOCdevkit/VOC20xx with JPEGImages, Annotations and ImageSets/Main; for masks also SegmentationObject, SegmentationClass and "
    "ImageSets/Segmentation",
    frozenset({"boxes", "masks"}),
    _open,
)
