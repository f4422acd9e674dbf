"""Probes that anyone can make from folders: one folder a class, or photos beside label maps.

Class folders need no drawing at all: each photo shows its class somewhere, so the class holds of the whole picture (as scenes and
textures do in Network Dissection, arXiv 1704.05796, section 2.1). Label maps say for every pixel which concept it shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Int32

from vlcam.contracts import InputError
from vlcam.files import list_subfolders, read_json, read_text
from vlcam.image.label_maps import MAX_LABELS, read_label_map
from vlcam.image.photo import list_photos
from vlcam.neurons.probes.probe import IGNORED, NOTHING, Concept, LabelMap, Sample, show_probe

LabelNames = Mapping[Any, Any] | Sequence[Any] | str | Path

CATEGORY: Final = "object"
"""The category of names that come without one."""

_UNKNOWN: Final = -3


@final
class ClassFolders:
    """A folder with one subfolder of photos a class: ``birds/crane/*.jpg``. Satisfies :class:`vlcam.neurons.probes.probe.Probe`.

    Args:
        path: the folder. Hidden folders and files that are not photos are passed over.
        names: what folders are called, where their names are codes: a mapping, or the path of a JSON file with one
            (``{"n02012849": "crane"}``). Folders of the same name are one class.
        each: at most so many photos of each folder, the first in the order of their names.
    """

    def __init__(
        self, path: str | Path, *, names: Mapping[str, str] | str | Path | None = None, each: int | None = None
    ) -> None:
        root = Path(path)
        if each is not None and each < 1:
            raise InputError(f"each={each} was given; expected how many photos of a class to take, 1 or more")
        folders = list_subfolders(root)
        if not folders:
            raise InputError(f"the folder {str(root)!r} has no folders in it; expected one folder of photos a class")
        called = _name_classes(folders, names)
        classes = tuple(dict.fromkeys(called))
        self.concepts: tuple[Concept, ...] = tuple((name, "class") for name in classes)
        place = {name: number for number, name in enumerate(classes)}
        self._photos = tuple(
            (file, place[name])
            for folder, name in zip(folders, called, strict=True)
            for file in list_photos(folder)[:each]
        )
        self.name = root.resolve().name
        self.facts: Mapping[str, Any] = {
            "kind": "class folders",
            "path": str(root),
            "images": len(self._photos),
            "concepts": len(classes),
        } | ({} if each is None else {"each": each})

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int, /) -> Sample:
        photo, concept = self._photos[index]
        return Sample(f"{photo.parent.name}/{photo.name}", photo, frozenset({"class"}), whole=(concept,))


@final
class LabelMaps:
    """A folder of photos and one of label maps: PNGs whose pixels are numbers, with the names of the photos (``a.jpg``, ``a.png``).

    Satisfies :class:`vlcam.neurons.probes.probe.Probe`. Maps are grey (8 or 16 bits) or have a palette, and may have another resolution
    than the photo.

    Args:
        images: the folder of photos.
        labels: the folder of label maps.
        names: what the numbers mean: a mapping ``{1: "sky"}`` or ``{1: ("sky", "scene")}`` with the category, a list (which counts
            from 0), or the path of a file: such a JSON, or text with one name a line (the first is that of 0). A number with an
            empty name (or null) is none of the concepts, and so is 0 if it has no name.
        ignore: the number of unlabelled pixels, if it has no name; None: there is none.
        category: that of names without one.
    """

    def __init__(
        self,
        images: str | Path,
        labels: str | Path,
        names: LabelNames,
        *,
        ignore: int | None = 255,
        category: str = CATEGORY,
    ) -> None:
        if not Path(labels).is_dir():
            raise InputError(f"labels={str(labels)!r} is not a folder; expected a folder of label maps (PNG)")
        if Path(labels).resolve() == Path(images).resolve():
            raise InputError(f"photos and labels are both in {str(labels)!r}; expected a folder for each")
        numbered = read_names(names, category)
        self.concepts: tuple[Concept, ...] = tuple(dict.fromkeys(one for one in numbered.values() if one))
        if not self.concepts:
            raise InputError("names without a single name were given; expected what the label maps' numbers mean")
        place = {concept: number for number, concept in enumerate(self.concepts)}
        self._table = np.full(MAX_LABELS, _UNKNOWN, np.int32)
        self._table[0] = NOTHING
        if ignore is not None:
            if not 0 <= ignore < MAX_LABELS:
                raise InputError(
                    f"ignore={ignore} was given; expected a pixel's number from 0 to {MAX_LABELS - 1}, or None"
                )
            self._table[ignore] = IGNORED
        for number, concept in numbered.items():
            self._table[number] = place[concept] if concept else NOTHING
        self._categories = tuple(dict.fromkeys(one[1] for one in self.concepts))
        self._files = tuple((photo, _find_label_map(photo, Path(labels))) for photo in list_photos(images))
        self.name = Path(images).resolve().name
        self.facts: Mapping[str, Any] = {
            "kind": "label maps",
            "path": str(images),
            "labels": str(labels),
            "images": len(self._files),
            "concepts": len(self.concepts),
            "ignore": ignore,
        }

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int, /) -> Sample:
        photo, labels = self._files[index]
        values = self._table[read_label_map(labels)]
        if (values == _UNKNOWN).any():
            wrong = sorted(np.unique(read_label_map(labels)[values == _UNKNOWN]).tolist())
            raise InputError(
                f"the label map {str(labels)!r} holds {', '.join(map(str, wrong[:5]))}, which names doesn't name; expected numbers with "
                "a name, 0 or those to ignore (lists of names count from 0)"
            )
        maps = tuple(LabelMap(category, self._select_category(values, category)) for category in self._categories)
        return Sample(photo.name, photo, frozenset(self._categories), maps=maps)

    def _select_category(
        self, values: Int32[np.ndarray, "height width"], category: str
    ) -> Int32[np.ndarray, "height width"]:
        """The map with the concepts of one category only."""
        if len(self._categories) == 1:
            return values
        other = np.array([one[1] != category for one in self.concepts])
        found = values.copy()
        found[(values >= 0) & other[values.clip(0)]] = NOTHING
        return found


def read_names(names: LabelNames, category: str = CATEGORY) -> dict[int, Concept | None]:
    """What numbers mean, from a mapping, a list or the path of a file (see :class:`LabelMaps`); None: no concept."""
    expected = 'names as in {"1": "sky"}, {"1": ["sky", "scene"]}, or a list that counts from 0'
    found: Any = names
    if isinstance(names, str | Path):
        if Path(names).suffix.lower() == ".json":
            found = read_json(names, expected)
        else:
            found = read_text(names, "text with one name a line").splitlines()
    if isinstance(found, Sequence) and not isinstance(found, str):
        found = dict(enumerate(found))
    if not isinstance(found, Mapping):
        raise InputError(f"names hold a {type(found).__name__}; expected {expected}")
    out: dict[int, Concept | None] = {}
    for key, value in found.items():
        pair = (value, category) if value is None or isinstance(value, str) else value
        try:
            number, (name, kind) = int(key), pair
            good = 0 <= number < MAX_LABELS and (name is None or isinstance(name, str)) and isinstance(kind, str)
        except (TypeError, ValueError):
            good = False
        if not good:
            raise InputError(f"names hold {str(key)[:40]!r}: {str(value)[:80]!r}; expected {expected}")
        name = (name or "").strip()
        out[number] = (name, kind.strip() or category) if name else None
    return out


def _name_classes(folders: Sequence[Path], names: Mapping[str, str] | str | Path | None) -> list[str]:
    """What the classes of folders are called."""
    if names is None:
        return [folder.name for folder in folders]
    known = names if isinstance(names, Mapping) else read_json(names, 'a mapping as in {"n02012849": "crane"}')
    if not isinstance(known, Mapping):
        raise InputError('names hold no mapping; expected what folders are called, as in {"n02012849": "crane"}')
    for folder in folders:
        if not isinstance(known.get(folder.name), str) or not known[folder.name].strip():
            raise InputError(f"names have no name for the folder {folder.name!r}; expected one for every class folder")
    return [known[folder.name].strip() for folder in folders]


def _find_label_map(photo: Path, labels: Path) -> Path:
    """The label map of a photo. Raises InputError if there is none."""
    for ending in (".png", ".PNG"):
        found = labels / f"{photo.stem}{ending}"
        if found.is_file():
            return found
    raise InputError(f"the photo {photo.name!r} has no label map: there is no {photo.stem}.png in {str(labels)!r}")
