"""Pictures for a study, and which categories are in each: generated scenes, or photos with annotations.

The paper took the photos of VOC 2007 val with exactly two annotated categories.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from vlcam.contracts import InputError, show_record
from vlcam.files import is_there, read_text, refuse_broken, show_path
from vlcam.image.pascal_voc import read_categories, read_split
from vlcam.neurons.probes.datasets import CocoInstances
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make

LIST_FILE: Final = "categories.csv"
"""The file in a folder of photos that says what is in them."""

SIDE: Final = 384
"""Side of a generated picture, in pixels."""

_EXPECTED: Final = (
    f"a folder of photos with {LIST_FILE} in it (a photo's file name and its categories in each line), a folder of Pascal VOC with "
    "Annotations, or the JSON file of COCO's instances"
)


@final
@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and its annotated categories. ``image`` is anything that :func:`vlcam.explain` takes."""

    name: str
    image: Any
    categories: tuple[str, ...]

    __repr__ = show_record


def iterate_scenes(split: Split = "test", *, objects: int = 2, side: int = SIDE) -> Iterator[Picture]:
    """Generated pictures of so many objects of different classes (such as "red star"), without end; ``side`` is in pixels.

    >>> next(iterate_scenes()).categories
    ('purple circle', 'orange triangle')
    """
    for seed in count():
        scene = make(seed, split)
        found = tuple(dict.fromkeys(" ".join(obj.pair) for obj in scene.objects))
        if len(scene.objects) == objects == len(found):
            yield Picture(f"scene:{split}:{seed}", scene.image(side), found)


def iterate_photos(path: str | Path, *, split: str = "val", seed: int = 0) -> Iterator[Picture]:
    """Annotated photos in an order shuffled by the seed.

    Args:
        path: a folder of photos with ``categories.csv`` in it: a photo's file name and its categories in each line; a folder of
            Pascal VOC (``Annotations``, ``JPEGImages`` and ``ImageSets/Main``; objects marked as difficult count as well); or the JSON
            file of COCO's instances.
        split: which list of ``ImageSets/Main`` to take.
        seed: of the order.

    Raises:
        InputError: the path is none of these, or what it holds is damaged.
    """
    root = Path(path)
    if root.is_file() and root.suffix.lower() == ".json":
        return _read_coco(root, seed)
    if (root / LIST_FILE).is_file():
        return _shuffle(_read_list(root), seed)
    if (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir():
        return _read_voc(root, split, seed)
    raise InputError(f"{str(path)!r} was given as the photos of a study; expected {_EXPECTED}")


def _draw_order(length: int, seed: int) -> list[int]:
    found: list[int] = np.random.default_rng(seed).permutation(length).tolist()
    return found


def _shuffle(pictures: Sequence[Picture], seed: int) -> Iterator[Picture]:
    return (pictures[index] for index in _draw_order(len(pictures), seed))


def _read_list(folder: Path) -> list[Picture]:
    """The photos of ``categories.csv``; a first line that begins with "file" is its head."""
    path = folder / LIST_FILE
    lines = csv.reader(StringIO(read_text(path, "a CSV file in UTF-8", keep_line_ends=True), newline=""))
    with refuse_broken(show_path(path), "a CSV file in UTF-8"):
        rows = [(number, [cell.strip() for cell in row]) for number, row in enumerate(lines, 1) if row]
    found = []
    for number, (name, *categories) in rows:
        if number == 1 and name.lower() == "file":
            continue
        photo = folder / name
        if not name or not is_there(photo):
            raise InputError(
                f"{str(path)!r}, line {number}: there is no photo {name!r} beside the list; correct the name"
            )
        known = tuple(dict.fromkeys(one for one in categories if one))
        if not known:
            raise InputError(f"{str(path)!r}, line {number}: {name!r} has no category; expected FILE,CATEGORY,CATEGORY")
        found.append(Picture(name, photo, known))
    if not found:
        raise InputError(f"{str(path)!r} names no photo; expected lines such as dogs.jpg,boxer,tiger cat")
    return found


def _read_voc(root: Path, split: str, seed: int) -> Iterator[Picture]:
    stems = read_split(root, "Main", split)
    return (
        Picture(stem, root / "JPEGImages" / f"{stem}.jpg", read_categories(root / "Annotations" / f"{stem}.xml"))
        for stem in (stems[index] for index in _draw_order(len(stems), seed))
    )


def _read_coco(path: Path, seed: int) -> Iterator[Picture]:
    probe = CocoInstances(path, missing="skip")
    for index in _draw_order(len(probe), seed):
        sample = probe[index]
        yield Picture(sample.name, sample.photo, tuple(probe.concepts[number][0] for number, _ in sample.masks))
