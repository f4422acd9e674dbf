"""The data of a gallery as script files, since a page on disk may load scripts but may not fetch anything.

``index-0000.js`` and on: the columns that are filtered, sorted and searched, for some thousand photos each. ``tiles-0000.js``: thumbnails
and small maps, and ``page-0-0000.js``: the documents of the interactive page (of the second run ``page-1-``), in files of a few hundred
kilobytes, so that what is on the screen is all that is loaded.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from vlcam.gallery.run_tables import FLAGS, MapRow, PhotoEntry
from vlcam.render.html import embed

PHOTOS_A_PART: Final = 5000
"""Photos of one part of the index."""

_TILE_BYTES: Final = 300_000
_PAGE_BYTES: Final = 400_000
_MOST_ROWS: Final = 65_535
_LEVELS: Final = 127
_NUMBERS: Final = {"probability": "probability", "gain": "gain", "p": "p", "faint": "faintness"}
"""Columns of numbers in the index, and where they come from."""

Pair = tuple[MapRow | None, ...]
"""The same target in each of the runs; None in one that lacks it."""


@final
class DataWriter:
    """Takes photos one after the other and writes the data files of a gallery; keeps no more than one file's content of each kind.

    Args:
        folder: an empty folder.
        sides: how many runs the gallery is of, 1 or 2.
    """

    def __init__(self, folder: Path, sides: int = 1) -> None:
        self._folder, self._sides = folder, sides
        self._tiles = _FileCutter(folder, "tiles", _TILE_BYTES)
        self._pages = [_FileCutter(folder, f"page-{side}", _PAGE_BYTES) for side in range(sides)]
        self._part = _IndexPart(sides)
        self.photos = self.rows = self.parts = self.errors = self.truths = self.right = 0
        self.has = dict.fromkeys((*_NUMBERS, "question"), False)

    def add(self, photos: Sequence[PhotoEntry], pairs: Sequence[Pair], apart: Sequence[float] = ()) -> None:
        """Put one photo in: as each run has it, its targets as pairs of rows, and how unlike the two maps of each pair are."""
        pairs = pairs[:_MOST_ROWS]
        self._part.add(photos, pairs, apart)
        shown = next((one for one in photos if one.thumbnail), photos[0])
        tile = {
            "jpeg": None if shown.thumbnail is None else base64.b64encode(shown.thumbnail).decode("ascii"),
            "size": list(shown.size),
            "sides": [[None if pair[side] is None else _encode_map(pair[side]) for pair in pairs] for side in range(self._sides)],
        }  # fmt: skip
        self._tiles.add(embed(tile))
        for cutter, one in zip(self._pages, photos, strict=True):
            cutter.add(embed([_clean(one.name), one.document, None if one.error is None else _clean(one.error)]))
        self.photos += 1
        self.rows += len(pairs)
        self.errors += any(one.error is not None for one in photos)
        self.truths += photos[0].correct is not None
        self.right += photos[0].correct is True
        self.has["question"] |= photos[0].question is not None
        for name, field in _NUMBERS.items():
            if not self.has[name]:
                self.has[name] = any(
                    row is not None and not math.isnan(getattr(row, field)) for pair in pairs for row in pair
                )
        if self._part.photos >= PHOTOS_A_PART:
            self._write_part()

    def finish(self) -> dict[str, Any]:
        """Write what is left, and return where everything is: the first photo of each file, and counts."""
        if self._part.photos:
            self._write_part()
        return {
            "photos": self.photos,
            "rows": self.rows,
            "parts": self.parts,
            "errors": self.errors,
            "truths": self.truths,
            "has": self.has,
            "tiles": self._tiles.finish(),
            "pages": [cutter.finish() for cutter in self._pages],
        }

    def _write_part(self) -> None:
        write_script(self._folder, "index", self.parts, embed(self._part.pack()))
        self.parts += 1
        self._part = _IndexPart(self._sides)


def write_script(folder: Path, kind: str, number: int, content: str) -> None:
    """Write one data file; ``content`` is JSON that is safe in a script."""
    text = f'vlcamGallery.take("{kind}",{number},{content});\n'
    (folder / f"{kind}-{number:04d}.js").write_text(text, encoding="ascii")


class _FileCutter:
    """Entries in files of about so many bytes."""

    def __init__(self, folder: Path, kind: str, most: int) -> None:
        self._folder, self._kind, self._most = folder, kind, most
        self._entries: list[str] = []
        self._bytes = self._count = 0
        self._starts: list[int] = []

    def add(self, entry: str) -> None:
        if not self._entries:
            self._starts.append(self._count)
        self._entries.append(entry)
        self._bytes += len(entry)
        self._count += 1
        if self._bytes >= self._most:
            self._write()

    def finish(self) -> list[int]:
        """The number of the first entry of each file."""
        if self._entries:
            self._write()
        return self._starts

    def _write(self) -> None:
        write_script(self._folder, self._kind, len(self._starts) - 1, f"[{','.join(self._entries)}]")
        self._entries, self._bytes = [], 0


class _IndexPart:
    """The columns of some photos; texts by their numbers in one list."""

    def __init__(self, sides: int) -> None:
        self._sides = sides
        self._strings: dict[str, int] = {}
        self._names: list[str] = []
        self._photos: list[tuple[Sequence[PhotoEntry], int]] = []
        self._rows: list[Pair] = []
        self._apart: list[float] = []

    @property
    def photos(self) -> int:
        return len(self._names)

    def add(self, photos: Sequence[PhotoEntry], pairs: Sequence[Pair], apart: Sequence[float]) -> None:
        light = [_drop_heavy(one) for one in photos]
        self._names.append(_clean(photos[0].name))
        self._photos.append((light, len(pairs)))
        self._rows += [tuple(None if row is None else replace(row, map=None) for row in pair) for pair in pairs]
        self._apart += apart

    def pack(self) -> dict[str, Any]:
        first = [photos[0] for photos, _ in self._photos]
        found = {
            "names": self._names,
            "counts": _pack([count for _, count in self._photos], "<u2"),
            "truth": self._pack_texts([next((one.truth for one in photos if one.truth is not None), None) for photos, _ in self._photos]),
            "question": self._pack_texts([one.question for one in first]),
            "kind": _pack([_number_kind(next((row.kind for row in pair if row is not None), "")) for pair in self._rows], "<u1"),
            "apart": _pack(self._apart, "<f4") if self._apart else None,
            "sides": [self._pack_side(side) for side in range(self._sides)],
        }  # fmt: skip
        return {**found, "strings": list(self._strings)}

    def _pack_side(self, side: int) -> dict[str, Any]:
        photos = [one[side] for one, _ in self._photos]
        rows = [pair[side] for pair in self._rows]
        found: dict[str, Any] = {
            "said": self._pack_texts([one.label for one in photos]),
            "correct": _pack([2 if one.correct is None else int(one.correct) for one in photos], "<u1"),
            "errors": [[number, _clean(one.error)] for number, one in enumerate(photos) if one.error is not None],
            "target": self._pack_texts([None if row is None else row.target for row in rows]),
            "number": _pack([0 if row is None else min(row.number, _MOST_ROWS) for row in rows], "<u2"),
            "flag": _pack([FLAGS.index("nonfinite" if row is None else row.flag) for row in rows], "<u1"),
        }
        for name, field in _NUMBERS.items():
            values = [math.nan if row is None else getattr(row, field) for row in rows]
            if any(not math.isnan(value) for value in values):
                found[name] = _pack(values, "<f4")
        if any(row is not None and row.neurons for row in rows):
            names = [[self._number(one) for one in row.neurons] if row is not None else [] for row in rows]
            ends = np.cumsum([len(one) for one in names])
            found["neurons"] = [_pack(ends, "<i4"), _pack([number for one in names for number in one], "<i4")]
        return found

    def _pack_texts(self, texts: Sequence[str | None]) -> str:
        return _pack([-1 if text is None else self._number(text) for text in texts], "<i4")

    def _number(self, text: str) -> int:
        return self._strings.setdefault(_clean(text), len(self._strings))


def _drop_heavy(photo: PhotoEntry) -> PhotoEntry:
    """The photo without what the index doesn't need."""
    return replace(photo, thumbnail=None, document=None, rows=())


def _number_kind(kind: str) -> int:
    """Kinds of targets are few; in the page they only need to be told apart."""
    known = ("class", "word", "caption", "answer", "contrast")
    return known.index(kind) if kind in known else len(known)


def _encode_map(row: MapRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    heat = None
    if row.map is not None:
        levels = np.rint(np.clip(row.map, -1, 1) * _LEVELS).astype("<i1")
        heat = [*row.map.shape, float(f"{row.peak:.4g}"), base64.b64encode(levels.tobytes()).decode("ascii")]
    return {
        "kind": _number_kind(row.kind),
        "signed": row.signed,
        "place": [round(value, 5) for value in row.place],
        "map": heat,
    }


def _pack(values: Any, kind: str) -> str:
    return base64.b64encode(np.asarray(values, dtype=kind).tobytes()).decode("ascii")


def _clean(text: str) -> str:
    """The text without the one sign that no page shows."""
    return text.replace("\x00", "\ufffd")
