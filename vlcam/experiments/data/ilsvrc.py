"""The validation set of ILSVRC 2012 with its boxes, for weakly supervised localisation (Russakovsky et al. 2015, arXiv 1409.0575).

Known in three forms: as on Kaggle (``ILSVRC/Data/CLS-LOC/val``, ``ILSVRC/Annotations/CLS-LOC/val``, ``LOC_synset_mapping.txt``); the
archives of image-net.org unpacked (photos and boxes in folders ``val``, or both in one; names of synsets beside them); and photos in one
folder per synset. A photo has all the boxes of its one class.

Classes are numbered by their synset ids in ascending order, as torchvision and nearly all models do; the development kit's own
numbers are another order and aren't used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import (
    DataLayout,
    MissingLayout,
    find_first_folder,
    list_files,
    open_annotated,
)
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoObject
from vlcam.files import MAX_CLASSES, list_subfolders, read_json, read_text
from vlcam.image.pascal_voc import read_annotation

_PREFIX: Final = "ILSVRC2012_val_"
_PHOTOS: Final = ("ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "ILSVRC2012_img_val", "val", "images/val", ".")
_BOXES: Final = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "ILSVRC2012_bbox_val_v3/val",
    "ILSVRC2012_bbox_val_v3",
    "bbox/val",
    "bbox",
    "Annotation/val",
    "Annotations/val",
    "annotations/val",
    "val",
    ".",
)
_NAMES: Final = ("LOC_synset_mapping.txt", "synset_words.txt", "map_clsloc.txt", "imagenet_class_index.json")
_KITS: Final = (".", "..", "ILSVRC", "devkit/data", "ILSVRC/devkit/data", "ILSVRC2012_devkit_t12/data", "val")


def _open(root: Path, split: str | None, _needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    folder = find_first_folder((root / one for one in _PHOTOS), lambda one: _find_photos(one, peek=True))
    if folder is None:
        return MissingLayout(f"no photos {_PREFIX}*.JPEG", (root / "ILSVRC").is_dir())
    boxes = find_first_folder(
        (root / one for one in _BOXES), lambda one: any(_is_val(name) for name in list_files(one, ".xml"))
    )
    if boxes is None:
        return MissingLayout(
            f"photos are in {str(folder)!r}, but no boxes {_PREFIX}*.xml were found, in ILSVRC/Annotations/CLS-LOC/val for instance",
            True,
        )
    names = _find_names_file(root)
    if names is None:
        return MissingLayout(
            f"photos and boxes are there, but none of {', '.join(_NAMES)} with the names of the synsets", True
        )
    if split not in (None, "val"):
        raise InputError(f"split={split!r} was given; vlcam reads only the split val of ILSVRC")
    synsets = read_synsets(names)
    codes = sorted(synsets)
    photos = _find_photos(folder)
    there = set(list_files(boxes, ".xml"))
    gone = [photo.stem for photo in photos if f"{photo.stem}.xml" not in there]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(photos)} photos have no boxes: {gone[0] + '.xml'!r} isn't in {str(boxes)!r}"
        )
    return NumberedWorld(
        "ilsvrc val",
        "ILSVRC 2012 validation photos with boxes",
        tuple(synsets[code] for code in codes),
        frozenset({"boxes"}),
        len(photos),
        _make_reader(photos, boxes, {code: place for place, code in enumerate(codes)}, synsets),
        indexed=len(codes) == 1000,
        facts={"kind": "ILSVRC", "split": "val", "path": str(root), "photos": len(photos)},
    )


def _make_reader(
    photos: list[Path], boxes: Path, places: dict[str, int], synsets: dict[str, str]
) -> Callable[[int], LabelledPhoto]:
    def at(number: int) -> LabelledPhoto:
        photo = photos[number]
        file = boxes / f"{photo.stem}.xml"
        size, objects = read_annotation(file, first=0)
        if not objects:
            raise InputError(f"{str(file)!r} has no object; expected the boxes of {photo.name}")
        unknown = [one.name for one in objects if one.name not in places]
        if unknown:
            raise InputError(f"{str(file)!r} names the synset {unknown[0]!r}, which isn't in the list of synsets")
        image, size = open_annotated(photo, size)
        found = tuple(PhotoObject(synsets[one.name], one.box, places[one.name], one.difficult) for one in objects)
        return LabelledPhoto(photo.stem, image, size, found)

    return at


def read_synsets(path: Path) -> dict[str, str]:
    """Synset ids and their names, from any of the usual files.

    ``LOC_synset_mapping.txt`` and ``synset_words.txt`` have one line per class, ``n01440764 tench, Tinca tinca``, ``map_clsloc.txt`` of the
    development kit ``n02119789 1 kit_fox``, ``imagenet_class_index.json`` ``{"0": ["n01440764", "tench"]}``.

    Raises:
        InputError: the file can't be read, is something else, or has a synset twice.
    """
    expected = "one synset and its names per line, such as 'n01440764 tench, Tinca tinca'"
    if path.suffix == ".json":
        read: Any = read_json(path, expected := '{"0": ["n01440764", "tench"], ...}')
        rows = [list(one) for one in read.values() if isinstance(one, list)] if isinstance(read, dict) else []
    else:
        rows = [line.split(None, 1) for line in read_text(path, expected).splitlines() if line.strip()]
        rows = [[code, _strip_number(name)] for code, name in (row if len(row) == 2 else (row[0], "") for row in rows)]
    found: dict[str, str] = {}
    for row in rows or [["", ""]]:
        code, name = (str(row[0]), str(row[1]).strip()) if len(row) == 2 else ("", "")
        if not (code[:1] == "n" and code[1:].isdigit() and name) or code in found or len(found) >= MAX_CLASSES:
            raise InputError(
                f"{str(path)!r} has the line {' '.join(map(str, row)).strip()[:60]!r}; expected {expected}, each synset once"
            )
        found[code] = name
    return found


def _strip_number(name: str) -> str:
    first, _, rest = name.strip().partition(" ")
    return rest.strip().replace("_", " ") if first.isdigit() and rest else name.strip()


def _find_names_file(root: Path) -> Path | None:
    tried = (root / kit / name for kit in _KITS for name in _NAMES)
    return next((file for file in tried if file.is_file()), None)


def _is_val(name: str) -> bool:
    return name.startswith(_PREFIX)


def _find_photos(folder: Path, *, peek: bool = False) -> list[Path]:
    """The photos in a folder, or in one folder per synset in it; ``peek``: those of the first such folder will do."""
    found = [folder / name for name in list_files(folder) if _is_val(name) and not name.endswith(".xml")]
    for below in list_subfolders(folder) if not found else ():
        if below.name[:1] == "n" and below.name[1:].isdigit():
            found += [below / name for name in list_files(below) if _is_val(name) and not name.endswith(".xml")]
            if peek and found:
                break
    return sorted(found, key=lambda one: one.name)


ILSVRC: Final = DataLayout(
    "ilsvrc",
    "ILSVRC 2012 validation photos with boxes",
    f"photos {_PREFIX}*.JPEG in ILSVRC/Data/CLS-LOC/val (or val), boxes {_PREFIX}*.xml in ILSVRC/Annotations/CLS-LOC/val (or beside the "
    "photos), and LOC_synset_mapping.txt (or synset_words.txt)",
    frozenset({"boxes"}),
    _open,
)
