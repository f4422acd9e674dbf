"""Probes from data sets with object masks: COCO's instances and Pascal VOC's segmentation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from vlcam.contracts import InputError
from vlcam.image.coco import find_photo_folder, list_missing, read_instances
from vlcam.image.label_maps import read_label_map
from vlcam.image.outlines import fill_outline
from vlcam.image.pascal_voc import VOC_BORDER, VOC_CLASSES, check_voc_files, find_voc_home, read_split
from vlcam.neurons.probes.folders import CATEGORY
from vlcam.neurons.probes.probe import IGNORED, NOTHING, Concept, LabelMap, Sample, show_probe

VOC_PARTS: Final = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
"""The folders of Pascal VOC that a probe is made of."""


@final
class CocoInstances:
    """COCO's instances, or anything in their format. Satisfies :class:`vlcam.neurons.probes.probe.Probe`.

    All pictures that the file lists are in it, including those without an instance. Crowds count as their category.

    Args:
        annotations: the JSON file.
        images: the folder of photos; by default it is looked for beside the file (see :func:`vlcam.image.coco.list_photo_folders`).
        missing: what to do about photos that aren't there: ``error``, or ``skip`` them.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path | None = None,
        *,
        missing: str = "error",
    ) -> None:
        if missing not in ("error", "skip"):
            raise InputError(f"missing={missing!r} was given; expected error or skip")
        path = Path(annotations)
        file = read_instances(path)
        names = [photo.name for photo in file.photos]
        self.concepts: tuple[Concept, ...] = tuple(dict.fromkeys((name, CATEGORY) for name, _ in file.categories))
        self._places = tuple(self.concepts.index((name, CATEGORY)) for name, _ in file.categories)
        folder = find_photo_folder(path, names) if images is None else Path(images)
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r} is not a folder; expected the photos of {str(path)!r}")
        gone = list_missing(folder, names)
        if gone and (missing == "error" or len(gone) == len(names)):
            raise InputError(
                f"{len(gone)} of {len(names)} photos of {str(path)!r} aren't in {str(folder)!r}, such as {gone[0]!r}; "
                "give the folder that has them, or (in Python) missing='skip' to do without"
            )
        lost = set(gone)
        self._folder = folder
        self._photos = tuple(photo for photo in file.photos if photo.name not in lost)
        self.name = path.stem
        self.facts: Mapping[str, Any] = {
            "kind": "COCO instances",
            "path": str(path),
            "photos": str(folder),
            "images": len(self._photos),
            "skipped": len(gone),
            "concepts": len(self.concepts),
            "supercategories": dict(file.categories),
        }

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int, /) -> Sample:
        photo = self._photos[index]
        width, height = photo.size
        masks: dict[int, np.ndarray] = {}
        for one in photo.instances:
            concept = self._places[one.category]
            try:
                mask = fill_outline(one.outline, height, width)
            except InputError as error:
                raise InputError(f"an instance of {self.concepts[concept][0]!r} in {photo.name}: {error}") from error
            masks[concept] = masks[concept] | mask if concept in masks else mask
        return Sample(photo.name, self._folder / photo.name, frozenset({CATEGORY}), masks=tuple(sorted(masks.items())))


@final
class VocSegmentation:
    """Pascal VOC's class segmentation: ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation``.

    Satisfies :class:`vlcam.neurons.probes.probe.Probe`. The border around objects (255) is ignored.

    Args:
        root: the folder with these three, such as ``VOC2012``, or one or two folders above it (the latest year is taken).
        split: the name of a list in ``ImageSets/Segmentation``.
    """

    def __init__(self, root: str | Path, split: str = "val") -> None:
        home = find_voc_home(Path(root), VOC_PARTS)
        if home is None:
            raise InputError(
                f"{str(root)!r} is not a folder of Pascal VOC; expected JPEGImages, SegmentationClass and ImageSets/Segmentation in it, or "
                "in VOC2012 in it"
            )
        self._home = home
        self._stems = read_split(home, "Segmentation", split)
        check_voc_files(home, self._stems, ("JPEGImages", "SegmentationClass"))
        self.concepts: tuple[Concept, ...] = tuple((name, CATEGORY) for name in VOC_CLASSES)
        self.name = f"{home.resolve().name} {split}"
        self.facts: Mapping[str, Any] = {
            "kind": "Pascal VOC segmentation",
            "path": str(home),
            "split": split,
            "images": len(self._stems),
            "concepts": len(self.concepts),
        }

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, index: int, /) -> Sample:
        stem = self._stems[index]
        file = self._home / "SegmentationClass" / f"{stem}.png"
        numbers = read_label_map(file).astype(np.int32)
        wrong = (numbers > len(VOC_CLASSES)) & (numbers != VOC_BORDER)
        if wrong.any():
            raise InputError(f"{str(file)!r} holds {int(numbers[wrong][0])}; expected 0 to 20, or 255 for borders")
        values = np.where(numbers == VOC_BORDER, IGNORED, np.where(numbers == 0, NOTHING, numbers - 1))
        maps = (LabelMap(CATEGORY, values),)
        return Sample(stem, self._home / "JPEGImages" / f"{stem}.jpg", frozenset({CATEGORY}), maps=maps)
