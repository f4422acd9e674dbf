"""A probe from Broden, the data set of Network Dissection (arXiv 1704.05796, section 2.1), or anything in its layout.

``index.csv`` has a row a picture and a column a category. A cell of numbers (scenes, textures) holds of the whole picture; a cell of
file names leads to label maps in ``images``, where a pixel's label is ``red + 256 * green`` and 0 is none. Several maps of a category
are joined by semicolons. Labels are partial: **an empty cell means that nobody looked**, so such a picture counts neither for nor
against the concepts of that category. ``label.csv`` says what the numbers mean; a label may be of several categories
(``material(36);object(3)``), and is then one concept in each.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Int32

from vlcam.contracts import InputError
from vlcam.files import parse_whole, read_text, refuse_broken
from vlcam.image.label_maps import MAX_LABELS, read_label_picture
from vlcam.neurons.probes.probe import NOTHING, Concept, LabelMap, Sample, show_probe

_NO_CATEGORY: Final = ("image", "split", "ih", "iw", "sh", "sw")
_Row = tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]


@final
class Broden:
    """A folder in Broden's layout. Satisfies :class:`vlcam.neurons.probes.probe.Probe`.

    Args:
        root: the folder with ``index.csv``, ``label.csv`` and ``images``; ``category.csv`` is read if it is there.
        split: ``train`` or ``val``; by default all pictures.
    """

    def __init__(self, root: str | Path, split: str | None = None) -> None:
        home = Path(root)
        index, columns = _read_table(home / "index.csv", ("image", "split"))
        labels, _ = _read_table(home / "label.csv", ("number", "name", "category"))
        every = [one for one in columns if one not in _NO_CATEGORY]
        if (home / "category.csv").is_file():
            listed = {row["name"] for row in _read_table(home / "category.csv", ("name",))[0]}
            every = [one for one in every if one in listed]
        numbered = [
            (category, _parse_number(row["number"], home / "label.csv"), (_strip_suffix(row["name"]), category))
            for row in labels
            for category in _parse_categories(row["category"])
            if category in every
        ]
        self.concepts: tuple[Concept, ...] = tuple(dict.fromkeys(concept for _, _, concept in numbered))
        if not self.concepts:
            raise InputError(
                f"{str(home)!r} has no label of the categories {', '.join(every) or '(none)'} in label.csv"
            )
        place = {concept: number for number, concept in enumerate(self.concepts)}
        self._tables = {category: np.full(MAX_LABELS, NOTHING, np.int32) for category in every}
        self._known = np.zeros(MAX_LABELS, np.bool_)
        self._known[[0, *(_parse_number(row["number"], home / "label.csv") for row in labels)]] = True
        for category, number, concept in numbered:
            self._tables[category][number] = place[concept]
        self._home = home
        self._rows = tuple(_split_row(row, every) for row in index if split is None or row["split"] == split)
        if not self._rows:
            have = ", ".join(sorted({row["split"] for row in index})) or "none"
            raise InputError(f"{str(home)!r} has no pictures of split={split!r}; its splits are: {have}")
        self.name = home.resolve().name if split is None else f"{home.resolve().name} {split}"
        self.facts: Mapping[str, Any] = {
            "kind": "Broden",
            "path": str(home),
            "split": split,
            "images": len(self._rows),
            "concepts": len(self.concepts),
            "categories": every,
        }

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Sample:
        image, cells = self._rows[index]
        whole: list[int] = []
        maps: list[LabelMap] = []
        for category, parts in cells:
            for part in parts:
                if part.isdecimal():
                    with refuse_broken(repr(str(self._home / "index.csv")), "numbers of labels", fault="has the {}"):
                        number = parse_whole(part, "number")
                    concept = int(self._tables[category][self._check_numbers(np.array([[number]]), image)[0, 0]])
                    whole += [concept] if concept >= 0 else []
                else:
                    maps.append(LabelMap(category, self._tables[category][self._read_label_numbers(part)]))
        labelled = frozenset(category for category, _ in cells)
        photo = self._home / "images" / image
        return Sample(image, photo, labelled, whole=tuple(dict.fromkeys(whole)), maps=tuple(maps))

    def _read_label_numbers(self, part: str) -> Int32[np.ndarray, "height width"]:
        """The label numbers of a map."""
        pixels = np.asarray(read_label_picture(self._home / "images" / part).convert("RGB"), np.int32)
        return self._check_numbers(pixels[:, :, 0] + 256 * pixels[:, :, 1], part)

    def _check_numbers(self, numbers: np.ndarray, where: str) -> np.ndarray:
        """The same numbers, if each of them is a label."""
        good = self._known[numbers.clip(0, MAX_LABELS - 1)] & (numbers < MAX_LABELS)
        if not good.all():
            raise InputError(f"{where!r} of Broden holds {int(numbers[~good][0])}, which is not a number in label.csv")
        return numbers


def is_broden(root: Path) -> bool:
    """Whether a folder has the files of Broden."""
    return (root / "index.csv").is_file() and (root / "label.csv").is_file()


def _read_table(path: Path, needed: tuple[str, ...]) -> tuple[list[dict[str, str]], list[str]]:
    """The rows and the columns of a CSV file."""
    expected = f"a table of Broden with the columns {', '.join(needed)}"
    text = read_text(path, expected)
    with refuse_broken(repr(str(path)), expected):
        reader = csv.DictReader(io.StringIO(text))
        rows, columns = list(reader), list(reader.fieldnames or ())
    if not set(needed) <= set(columns) or any(None in row or None in row.values() for row in rows):
        raise InputError(f"{str(path)!r} is not {expected}, all of them in every row")
    return rows, columns


def _split_row(row: Mapping[str, str], categories: list[str]) -> _Row:
    """The picture of a row, and what its categories hold where they hold anything."""
    found = ((one, tuple(part.strip() for part in row[one].split(";") if part.strip())) for one in categories)
    return row["image"], tuple((category, parts) for category, parts in found if parts)


def _parse_number(text: str, path: Path) -> int:
    with refuse_broken(repr(str(path)), "numbers of labels", fault="has the {}"):
        return parse_whole(text, "number", MAX_LABELS - 1)


def _parse_categories(text: str) -> list[str]:
    """The categories of a label.

    >>> _parse_categories("material(36);object(3)")
    ['material', 'object']
    """
    return [re.sub(r"\(.*\)$", "", part.strip()) for part in text.split(";") if part.strip()]


def _strip_suffix(name: str) -> str:
    """A label's name without what tells colours and scenes from objects.

    >>> _strip_suffix("red-c"), _strip_suffix("street-s"), _strip_suffix("t-shirt")
    ('red', 'street', 't-shirt')
    """
    return re.sub("-[cs]$", "", name.strip())
