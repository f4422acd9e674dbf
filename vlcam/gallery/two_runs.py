"""Two runs of the same photos side by side: other models, methods or layers."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pyarrow.parquet as pq

from vlcam.contracts import show_record
from vlcam.errors import InputError
from vlcam.files import make_slug, refuse_broken, show_path
from vlcam.gallery.data_files import DataWriter, Pair
from vlcam.gallery.disagreement import measure_disagreement
from vlcam.gallery.one_run import list_facts
from vlcam.gallery.run_tables import PhotoEntry, list_parts, read_photos
from vlcam.gallery.shell import Shell, write_gallery
from vlcam.runs.shards import PHOTOS_FOLDER

_PARTS_KEPT: Final = 4
_MOST_LISTED: Final = 10
_SORTS: Final = (
    ("labels", "Different labels first", ""),
    ("alike", "Most alike first", ""),
    ("mistakes", "Wrong first, the surest on top", "truth"),
    ("sure", "Confidence of A, high first", "probability"),
    ("name", "File name", ""),
)
_GROUPS: Final = (
    ("labels", "By the two labels", "said"),
    ("truth", "By what is true", "truth"),
    ("target", "By what the maps are of", ""),
)
_MEANING: Final = (
    "Disagreement of two maps is 1 less their rank correlation (Spearman's) on the part of the photo that both models saw: 0 if they rank "
    "all places alike, 1 if they have nothing to do with each other, 2 if they are opposite. It asks for no common unit.",
    "Both maps of a pair are drawn on one scale, so that the weaker one looks weaker. Where the two runs measure in other units, as other "
    "methods may, choose a scale for each map.",
    "Pairs are maps of the same photo, of the same word, class or answer. Where two runs have none in common, the first map of each is "
    "shown.",
)


@final
@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """What two runs have in common, and where they differ.

    Attributes:
        names: how the two runs are called: A, then B.
        page: the ``index.html`` of their gallery.
        photos: of each run, how many photos it has.
        matched: how many photos are in both.
        other_pixels: photos with the same key, but other pixels; they aren't matched.
        failed: matched photos that failed in at least one of the runs.
        same_label: matched photos of which both runs say the same.
        different_label: matched photos of which they don't.
        right: of each run, how many matched photos with a truth it has right.
        truths: matched photos with a truth in both runs.
        pairs: maps of the same target of the same photo.
        alone: of each run, how many targets on matched photos the other one doesn't have.
        compared: pairs whose disagreement is known; in the others a map shows nothing.
        disagreement: its quartiles (25, 50 and 75 %) over those; NaN without any.
        most: the pairs that disagree most: photo, target and disagreement, at most ten.
    """

    names: tuple[str, str]
    page: Path
    photos: tuple[int, int]
    matched: int
    other_pixels: int
    failed: int
    same_label: int
    different_label: int
    right: tuple[int, int]
    truths: int
    pairs: int
    alone: tuple[int, int]
    compared: int
    disagreement: tuple[float, float, float]
    most: tuple[tuple[str, str, float], ...]

    __repr__ = show_record


def compare_runs(
    a: str | Path,
    b: str | Path,
    out: str | Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> RunComparison:
    """Match two runs photo by photo and target by target, measure how unlike their maps are, and write a gallery of the pairs.

    Photos are matched by their keys (and pixels, where both runs know their SHA-256), or by their pixels alone; targets by their text and
    kind. Runs whose photos come in about the same order are compared fastest.

    Args:
        a: the folder of a run.
        b: that of another one.
        out: the folder for the gallery; by default ``_compared/NAME_OF_B`` in that of ``a``.
        progress: called with how many parts of ``a`` are done, and how many there are.

    Raises:
        InputError: a folder isn't that of a run, both are the same, no photo is in both, or ``out`` has something else in it.
    """
    folders = Path(a), Path(b)
    parts = [list_parts(one) for one in folders]
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"{show_path(a)} was given twice; expected the folders of two runs")
    names = _name_runs(folders)
    lookup = _Lookup(parts[1])
    tally = _Totals()

    def fill(writer: DataWriter) -> Callable[[dict[str, Any]], Shell]:
        for done, part in enumerate(parts[0]):
            if progress is not None:
                progress(done, len(parts[0]))
            matched = []
            for one in read_photos(part):
                tally.photos += 1
                other = lookup.find(one, tally)
                if other is not None:
                    matched.append(((one, other), _pair_rows(one, other, tally)))
            values = measure_disagreement([pair for _, pairs in matched for pair in pairs])
            for photos, pairs in matched:
                apart, values = values[: len(pairs)], values[len(pairs) :]
                writer.add(photos, pairs, apart)
                tally.add(photos, pairs, apart)
        if not tally.matched:
            raise InputError(
                f"no photo of {show_path(a)} ({tally.photos:,} photos) is in {show_path(b)} ({lookup.count:,}), neither by "
                "its name nor by its pixels; give two runs of the same photos"
            )
        if progress is not None:
            progress(len(parts[0]), len(parts[0]))
        return lambda counts: _make_shell(names, tally, lookup.count)

    where = folders[0] / "_compared" / make_slug(names[1]) if out is None else Path(out)
    page = write_gallery(where, 2, fill)
    quartiles = (
        [float(value) for value in np.quantile(tally.known, [0.25, 0.5, 0.75])] if tally.known else [float("nan")] * 3
    )
    return RunComparison(
        names=names,
        page=page,
        photos=(tally.photos, lookup.count),
        matched=tally.matched,
        other_pixels=tally.other_pixels,
        failed=tally.failed,
        same_label=tally.same,
        different_label=tally.different,
        right=(tally.right[0], tally.right[1]),
        truths=tally.truths,
        pairs=tally.pairs,
        alone=(tally.alone[0], tally.alone[1]),
        compared=len(tally.known),
        disagreement=(quartiles[0], quartiles[1], quartiles[2]),
        most=tuple((photo, target, value) for value, photo, target in tally.most),
    )


class _Totals:
    """What is counted on the way."""

    def __init__(self) -> None:
        self.photos = self.matched = self.other_pixels = self.failed = self.same = self.different = self.truths = (
            self.pairs
        ) = 0
        self.right, self.alone = [0, 0], [0, 0]
        self.known: list[float] = []
        self.most: list[tuple[float, str, str]] = []
        self.facts: tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]] = (Counter(), Counter())

    def add(self, photos: Sequence[PhotoEntry], pairs: Sequence[Pair], apart: Sequence[float]) -> None:
        self.matched += 1
        for one, facts in zip(photos, self.facts, strict=True):
            facts.update(one.facts.items())
        if any(one.error is not None for one in photos):
            self.failed += 1
        elif photos[0].label == photos[1].label:
            self.same += 1
        else:
            self.different += 1
        if all(one.correct is not None for one in photos):
            self.truths += 1
            self.right = [n + (one.correct is True) for n, one in zip(self.right, photos, strict=True)]
        found = [
            (value, photos[0].key, pair[0].target)
            for pair, value in zip(pairs, apart, strict=True)
            if pair[0] is not None and value == value
        ]
        self.known += [value for value, _, _ in found]
        self.most = sorted([*self.most, *found], key=lambda one: -one[0])[:_MOST_LISTED]


@final
class _Lookup:
    """Photos of a run by key and by pixels; a few parts are kept in memory, so order matters for speed only."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._parts = parts
        self._keys: dict[str, tuple[int, int, str | None]] = {}
        self._pixels: dict[str, tuple[int, int, str | None]] = {}
        self._kept: OrderedDict[int, dict[int, PhotoEntry]] = OrderedDict()
        self.count = 0
        for number, part in enumerate(parts):
            where = _photos_of(part)
            with refuse_broken(show_path(where), "the folder of a run, as vlcam run writes it"):
                columns = pq.read_table(where, columns=["photo", "sha256"], partitioning=None).to_pydict()
            for place, (key, pixels) in enumerate(zip(columns["photo"], columns["sha256"], strict=True)):
                self._keys[key] = number, place, pixels
                if pixels:
                    self._pixels.setdefault(pixels, (number, place, pixels))
            self.count += len(columns["photo"])

    def find(self, photo: PhotoEntry, tally: _Totals) -> PhotoEntry | None:
        """The same photo in this run, if it is there."""
        named = self._keys.get(photo.key)
        alike = named is not None and (not photo.sha256 or not named[2] or photo.sha256 == named[2])
        found = named if alike else self._pixels.get(photo.sha256 or "")
        if found is None:
            tally.other_pixels += named is not None
            return None
        return self._open(found[0])[found[1]]

    def _open(self, number: int) -> dict[int, PhotoEntry]:
        if number not in self._kept:
            order = (
                pq.read_table(_photos_of(self._parts[number]), columns=["photo"], partitioning=None)
                .column(0)
                .to_pylist()
            )
            photos = {one.key: one for one in read_photos(self._parts[number])}
            self._kept[number] = {place: photos[key] for place, key in enumerate(order)}
            while len(self._kept) > _PARTS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return self._kept[number]


def _photos_of(part: Path) -> Path:
    return part.parent / PHOTOS_FOLDER / part.name


def _pair_rows(one: PhotoEntry, other: PhotoEntry, tally: _Totals) -> list[Pair]:
    """Rows of the same target, each occurrence of a word by itself; or the first row of each, if no target is in both."""

    def key_rows(photo: PhotoEntry) -> dict[tuple[str, str, int], Any]:
        seen: Counter[tuple[str, str]] = Counter()
        found = {}
        for row in photo.rows:
            found[row.target, row.kind, seen[row.target, row.kind]] = row
            seen[row.target, row.kind] += 1
        return found

    mine, theirs = key_rows(one), key_rows(other)
    both = [(row, theirs[key]) for key, row in mine.items() if key in theirs]
    tally.pairs += len(both)
    tally.alone = [tally.alone[0] + len(mine) - len(both), tally.alone[1] + len(theirs) - len(both)]
    if both or not (mine or theirs):
        return list(both)
    return [(next(iter(mine.values()), None), next(iter(theirs.values()), None))]


def _name_runs(folders: tuple[Path, Path]) -> tuple[str, str]:
    """The folders' names, with as many of those above as tell them apart."""
    parts = [one.resolve().parts for one in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        one, other = ("/".join(names[-depth:]) for names in parts)
        if one != other:
            return one, other
    raise AssertionError("two folders with one path")


def _make_shell(names: tuple[str, str], tally: _Totals, others: int) -> Shell:
    facts = [list_facts(one) for one in tally.facts]
    differs = [name for name in dict.fromkeys([*facts[0], *facts[1]]) if facts[0].get(name) != facts[1].get(name)]
    sides = tuple(
        f"{name} ({', '.join(one[fact] for fact in differs if fact in one)})"
        if any(fact in one for fact in differs)
        else name
        for name, one in zip(names, facts, strict=True)
    )
    lost = [
        f"{tally.photos - tally.matched:,} photos only in A" if tally.photos > tally.matched else "",
        f"{others - tally.matched:,} only in B" if others > tally.matched else "",
        f"{tally.other_pixels:,} with the same name but other pixels" if tally.other_pixels else "",
        f"{tally.alone[0]:,} targets only in A" if tally.alone[0] else "",
        f"{tally.alone[1]:,} only in B" if tally.alone[1] else "",
    ]
    lead = [
        f"A: {sides[0]}",
        f"B: {sides[1]}",
        f"{tally.matched:,} photos and {tally.pairs:,} targets in both",
        f"{tally.different:,} photos with different labels",
    ]
    return Shell(
        title=f"{names[0]} and {names[1]}",
        lead=" · ".join(lead),
        sides=sides,
        facts=(
            *((f"A, {name[0].lower() + name[1:]}", text) for name, text in facts[0].items()),
            *((f"B, {name[0].lower() + name[1:]}", text) for name, text in facts[1].items()),
            ("Not matched", ", ".join(filter(None, lost)) or "nothing"),
        ),
        meaning=_MEANING,
        sorts=_SORTS,
        first_sort="Disagreement, large first",
        sort="apart",
        groups=_GROUPS,
        shows=(("", "Every pair of maps"), ("photos", "One pair for each photo")),
        rights=(
            ("both", "Both right"),
            ("first", "Only A right"),
            ("second", "Only B right"),
            ("neither", "Both wrong"),
            ("unknown", "Without a truth"),
        ),
        one_scale="One scale for both maps",
    )
