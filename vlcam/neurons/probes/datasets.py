"""Probes from data sets with object masks: COCO's instances and Pascal VOC's segmentation.

COCO (arXiv 1405.0312, section 4) outlines each instance by polygons, and crowds by run lengths: the numbers of pixels, column by
column, that are outside and inside in turn. Its compressed form writes each run less the one two before it, in digits of five bits
from the lowest to the highest, one letter a digit from ``0`` on; bit 6 says that more digits follow, bit 5 of the last is the sign.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Int64

from vlcam.contracts import InputError
from vlcam.files import list_subfolders, read_json, read_text
from vlcam.neurons.probes.folders import CATEGORY, read_numbers
from vlcam.neurons.probes.probe import IGNORED, NOTHING, Concept, LabelMap, Sample

VOC_CLASSES: Final = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
    "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The twenty classes of Pascal VOC in the order of their numbers, from 1."""

_VOC_BORDER: Final = 255
_COCO: Final = "COCO's instances: a JSON object with images, annotations (with segmentation) and categories"


@final
class CocoInstances:
    """COCO's instances, or anything in their format. Satisfies :class:`vlcam.neurons.probes.probe.Probe`.

    All pictures that the file lists are in it, also those without an instance. Crowds count as their category, too.

    Args:
        annotations: the JSON file.
        images: the folder of photos; by default it is looked for beside the file (see :func:`list_image_folders`).
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
        listed, instances, kinds = _split_coco(read_json(path, _COCO), path)
        try:
            ordered = sorted(kinds, key=lambda one: int(one["id"]))
            self.concepts: tuple[Concept, ...] = tuple(dict.fromkeys((str(one["name"]), CATEGORY) for one in ordered))
            of_kind = {one["id"]: self.concepts.index((str(one["name"]), CATEGORY)) for one in ordered}
            pictures = {one["id"]: (str(one["file_name"]), int(one["height"]), int(one["width"])) for one in listed}
            of_picture: dict[Any, list[tuple[int, Any]]] = {number: [] for number in pictures}
            for one in instances:
                of_picture[one["image_id"]].append((of_kind[one["category_id"]], one["segmentation"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{str(path)!r} has no, or a wrong, {error}; expected {_COCO}") from error
        folder = (
            _find_photo_folder(path, [name for name, _, _ in pictures.values()]) if images is None else Path(images)
        )
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r} is not a folder; expected the photos of {str(path)!r}")
        there = {file.name for file in folder.iterdir()}
        gone = [name for name, _, _ in pictures.values() if name not in there and not (folder / name).is_file()]
        if gone and (missing == "error" or len(gone) == len(pictures)):
            raise InputError(
                f"{len(gone)} of {len(pictures)} photos of {str(path)!r} aren't in {str(folder)!r}, such as {gone[0]!r}; "
                "give the folder that has them, or (in Python) missing='skip' to do without"
            )
        lost = set(gone)
        self._folder = folder
        self._pictures = tuple(
            (*picture, tuple(of_picture[number])) for number, picture in pictures.items() if picture[0] not in lost
        )
        self.name = path.stem
        self.facts: Mapping[str, Any] = {
            "kind": "COCO instances",
            "path": str(path),
            "photos": str(folder),
            "images": len(self._pictures),
            "skipped": len(gone),
            "concepts": len(self.concepts),
            "supercategories": {str(one["name"]): str(one.get("supercategory", "")) for one in ordered},
        }

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int, /) -> Sample:
        name, height, width, instances = self._pictures[index]
        masks: dict[int, np.ndarray] = {}
        for concept, outline in instances:
            try:
                mask = fill_outline(outline, height, width)
            except InputError as error:
                raise InputError(f"an instance of {self.concepts[concept][0]!r} in {name}: {error}") from error
            masks[concept] = masks[concept] | mask if concept in masks else mask
        return Sample(name, self._folder / name, frozenset({CATEGORY}), masks=tuple(sorted(masks.items())))


@final
class VocSegmentation:
    """Pascal VOC's class segmentation: ``JPEGImages``, ``SegmentationClass`` and ``ImageSets/Segmentation``.

    Satisfies :class:`vlcam.neurons.probes.probe.Probe`. The border around objects (255) is ignored.

    Args:
        root: the folder with these three, such as ``VOC2012``, or one or two folders above it (the latest year is taken).
        split: the name of a list in ``ImageSets/Segmentation``.
    """

    def __init__(self, root: str | Path, split: str = "val") -> None:
        home = find_voc_root(Path(root))
        if home is None:
            raise InputError(
                f"{str(root)!r} is not a folder of Pascal VOC; expected JPEGImages, SegmentationClass and ImageSets/Segmentation in it, or "
                "in VOC2012 in it"
            )
        lists = home / "ImageSets" / "Segmentation"
        listed = lists / f"{split}.txt"
        if not listed.is_file():
            have = ", ".join(sorted(one.stem for one in lists.glob("*.txt"))) or "none"
            raise InputError(f"split={split!r} was given, but the splits of {str(home)!r} are: {have}")
        self._home = home
        self._stems = tuple(read_text(listed, "one photo's name a line").split())
        if not self._stems:
            raise InputError(f"the list {str(listed)!r} is empty; expected one photo's name a line")
        for part, ending in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png")):
            there = {file.name for file in (home / part).iterdir()}
            gone = [stem for stem in self._stems if stem + ending not in there]
            if gone:
                raise InputError(f"{len(gone)} files are missing in {str(home / part)!r}, such as {gone[0] + ending!r}")
        self.concepts: tuple[Concept, ...] = tuple((name, CATEGORY) for name in VOC_CLASSES)
        self.name = f"{home.resolve().name} {split}"
        self.facts: Mapping[str, Any] = {
            "kind": "Pascal VOC segmentation",
            "path": str(home),
            "split": split,
            "images": len(self._stems),
            "concepts": len(self.concepts),
        }

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, index: int, /) -> Sample:
        stem = self._stems[index]
        file = self._home / "SegmentationClass" / f"{stem}.png"
        numbers = read_numbers(file).astype(np.int32)
        wrong = (numbers > len(VOC_CLASSES)) & (numbers != _VOC_BORDER)
        if wrong.any():
            raise InputError(f"{str(file)!r} holds {int(numbers[wrong][0])}; expected 0 to 20, or 255 for borders")
        values = np.where(numbers == _VOC_BORDER, IGNORED, np.where(numbers == 0, NOTHING, numbers - 1))
        maps = (LabelMap(CATEGORY, values),)
        return Sample(stem, self._home / "JPEGImages" / f"{stem}.jpg", frozenset({CATEGORY}), maps=maps)


def find_voc_root(root: Path) -> Path | None:
    """The folder of Pascal VOC at, or at most two folders below, a path; None if there is none."""
    parts = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
    below = [one for one in (list_subfolders(root) if root.is_dir() else []) if one.name.startswith("VOC")]
    deeper = [two for one in below for two in list_subfolders(one) if two.name.startswith("VOC")]
    for home in (root, *reversed(below), *reversed(deeper)):
        if all((home / part).is_dir() for part in parts):
            return home
    return None


def list_image_folders(annotations: Path) -> list[Path]:
    """Where the photos of a COCO file may be, the likeliest first.

    >>> [one.as_posix() for one in list_image_folders(Path("coco/annotations/instances_val2017.json"))][:3]
    ['coco/annotations/instances_val2017', 'coco/annotations/val2017', 'coco/val2017']
    """
    stem, here = annotations.stem, annotations.parent
    split = stem.rsplit("_", 1)[-1]
    usual = [f"{part}{year}" for year in (2017, 2014) for part in ("val", "train", "test")]
    found = [here / stem, here / split, here.parent / split, here.parent / "images" / split, here / "images" / split]
    found += [above / "images" for above in (here, here.parent)] + [here]
    found += [above / name for name in usual for above in (here, here.parent, here.parent / "images")]
    return list(dict.fromkeys(found))


def fill_outline(outline: Any, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The mask of a COCO ``segmentation``: polygons, run lengths, or compressed run lengths.

    >>> fill_outline([[1, 0, 3, 0, 3, 2, 1, 2]], 2, 4).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    >>> fill_outline({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if isinstance(outline, Mapping):
        try:
            size = tuple(int(one) for one in outline["size"])
            counts = outline["counts"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"run lengths without a good {error} were given; expected size and counts") from error
        if size != (height, width):
            raise InputError(f"run lengths of size {size} were given; expected the picture's, {(height, width)}")
        return _fill_run_lengths(expand_run_lengths(counts) if isinstance(counts, str) else counts, height, width)
    found = np.zeros((height, width), np.bool_)
    for polygon in outline if isinstance(outline, list) else [None]:
        points = np.array(polygon, np.float64) if _is_polygon(polygon) else None
        if points is None or not np.isfinite(points).all():
            raise InputError(
                f"the outline {str(polygon)[:60]} was given; expected polygons [x, y, x, y, ...] or run lengths"
            )
        found |= _fill_polygon(points.reshape(-1, 2), height, width)
    return found


def expand_run_lengths(text: str) -> list[int]:
    """The run lengths of COCO's compressed form.

    >>> expand_run_lengths("15f0M")
    [1, 5, 22, 2]
    """
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64:
            raise InputError(f"compressed run lengths with {letter!r} were given; expected letters from '0' to 'o'")
        number |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise InputError("compressed run lengths that break off were given; copy the file again")
    return counts


def _fill_run_lengths(counts: Any, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    good = isinstance(counts, Sequence) and all(isinstance(one, int) and one >= 0 for one in counts)
    if not good or sum(counts) != height * width:
        raise InputError(f"run lengths that don't add up to {height} x {width} pixels were given")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.array(counts, np.int64)).reshape(width, height).T


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 4
        and len(polygon) % 2 == 0
        and all(isinstance(one, int | float) for one in polygon)
    )


def _fill_polygon(corners: np.ndarray, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres are inside a polygon, by the even-odd rule: each row toggles where an edge crosses it."""
    found = np.zeros((height, width), np.bool_)
    after = np.roll(corners, -1, axis=0)
    first = _find_first_centre(np.minimum(corners[:, 1], after[:, 1]), height)
    count = _find_first_centre(np.maximum(corners[:, 1], after[:, 1]), height) - first  # rows that each edge crosses
    if not count.any():
        return found
    edges = np.repeat(np.arange(len(corners)), count)
    rows = np.arange(len(edges)) + np.repeat(first - np.cumsum(count) + count, count)
    start, way = corners[edges], (after - corners)[edges]
    columns = _find_first_centre(start[:, 0] + (rows + 0.5 - start[:, 1]) * way[:, 0] / way[:, 1], width)
    top, left = int(rows.min()), int(columns.min())
    high, wide = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    toggles = np.bincount((rows - top) * wide + columns - left, minlength=high * wide).reshape(high, wide)
    box = found[top : top + high, left : left + wide]  # one column less where the polygon reaches the picture's edge
    box[:] = (np.cumsum(toggles, axis=1) % 2 == 1)[:, : box.shape[1]]
    return found


def _find_first_centre(at: np.ndarray, count: int) -> Int64[np.ndarray, " any"]:
    """The first of ``count`` pixels whose centre lies at, or behind, a coordinate; ``count``: none."""
    found: np.ndarray = np.ceil(at - 0.5).clip(0, count).astype(np.int64)
    return found


def _split_coco(found: Any, path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    parts = [found.get(name) if isinstance(found, dict) else None for name in ("images", "annotations", "categories")]
    images, annotations, categories = (one if isinstance(one, list) else [] for one in parts)
    if not images or not categories or not isinstance(parts[1], list):
        raise InputError(f"{str(path)!r} has no images, annotations or categories; expected {_COCO}")
    return images, annotations, categories


def _find_photo_folder(path: Path, names: Sequence[str]) -> Path:
    """The folder with the photos of a COCO file: the first likely one that has any of them."""
    tried = [folder for folder in list_image_folders(path) if folder.is_dir()]
    for folder in tried:
        there = {file.name for file in folder.iterdir()}
        if any(name in there for name in names) or any((folder / name).is_file() for name in names[:20]):
            return folder
    where = ", ".join(repr(str(folder)) for folder in tried[:6])
    raise InputError(
        f"the photos of {str(path)!r} (such as {names[0]!r}) aren't in {where}; put them in one of these, or into a folder images"
    )
