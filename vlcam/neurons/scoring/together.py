"""What a unit matches besides its name, and combinations of concepts: counts of pairs of concepts where a unit fires.

Two questions are answered from the counts ``|M & A & B|`` (M where the unit fires, A and B concepts) and ``|A & B|``:

- does the unit fire for B where its name A is not? (a polysemantic unit): the IoU of M and B, both outside A;
- does a formula of up to three concepts, joined by OR, AND and AND NOT, match better than one? (Mu and Andreas, "Compositional
  Explanations of Neurons", NeurIPS 2020, arXiv 2006.14032, section 2: a beam search over formulas by IoU.) Pairs are all tried
  exactly; the third concept is added to the :data:`BEAM` best pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray

from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.scoring.fired import Firings

OPERATORS: Final = ("OR", "AND", "AND NOT")
BEAM: Final = 5


@final
@dataclass(frozen=True)
class Formula:
    """``concepts`` joined by ``operators`` from left to right: ((a o1 b) o2 c); indices into the probe's concepts."""

    concepts: tuple[int, ...]
    operators: tuple[int, ...]
    iou: float

    def to_text(self, names: Sequence[str]) -> str:
        """The formula in words.

        >>> Formula((0, 1, 2), (0, 2), 0.5).to_text(["red", "orange", "star"])
        '(red OR orange) AND NOT star'
        """
        out = names[self.concepts[0]]
        for n, (operator, concept) in enumerate(zip(self.operators, self.concepts[1:], strict=True)):
            out = f"({out})" if n else out
            out = f"{out} {OPERATORS[operator]} {names[concept]}"
        return out


@final
@dataclass(frozen=True)
class PairCounts:
    """Counts of pairs: ``within[k]`` (columns, columns) where unit k fires, over its ``columns[k]``; ``anywhere`` for all columns."""

    columns: tuple[NDArray[np.int64], ...]
    within: tuple[NDArray[np.int64], ...]
    anywhere: Int64[np.ndarray, "columns columns"]


def choose_candidates(scores: Float[np.ndarray, "units concepts"], most: int) -> Int64[np.ndarray, "units most"]:
    """Each unit's best concepts, best first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :most].astype(np.int64)


def count_pairs(
    fired: Firings,
    marks: Marks,
    chosen: Int64[np.ndarray, "units most"],
    order: Int64[np.ndarray, " images"] | None = None,
) -> PairCounts:
    """The counts for each unit's candidates (and all categories); with ``order`` picture i's firing with picture ``order[i]``'s labels."""
    categories = np.arange(len(marks.concepts), marks.width)
    columns = tuple(np.concatenate([one, categories]) for one in chosen)
    within = tuple(np.zeros((len(one), len(one)), np.float32) for one in columns)
    anywhere = np.zeros((marks.width, marks.width), np.float64)
    inverse = np.arange(len(marks)) if order is None else np.argsort(order)
    for image in range(len(marks)):
        here, table = make_full_table(marks, image)
        anywhere[np.ix_(here, here)] += table.T @ table
        slot = np.full(marks.width, -1)
        slot[here] = np.arange(len(here))
        for unit, places in list_firings(fired, int(inverse[image])):
            own = slot[columns[unit]]
            there = np.flatnonzero(own >= 0)
            found = table[places][:, own[there]]
            within[unit][np.ix_(there, there)] += found.T @ found
    return PairCounts(columns, tuple(one.astype(np.int64) for one in within), anywhere.astype(np.int64))


def make_full_table(
    marks: Marks, image: int
) -> tuple[Int64[np.ndarray, " columns"], Float[np.ndarray, "cells columns"]]:
    """All columns of a picture, including those of categories that are labelled everywhere, and 0 or 1 for each cell."""
    one = marks.pictures[image]
    table = np.concatenate([marks.unpack_masks(image).T, np.ones((marks.cells, len(one.whole)), np.bool_)], 1)
    return np.concatenate([one.columns, one.whole]), table.astype(np.float32)


def list_firings(fired: Firings, image: int) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """The units that fire in a picture, and where."""
    unit = fired.unit[fired.first[image] : fired.first[image + 1]]
    place = fired.place[fired.first[image] : fired.first[image + 1]]
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    stops = np.append(starts[1:], len(unit))[: len(starts)]
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        yield int(unit[start]), place[start:stop]


def compute_iou_outside(found: PairCounts, marks: Marks, unit: int, name: int, other: int) -> float:
    """The IoU of unit and ``other`` outside ``name``, in the pictures that are labelled for both."""
    m, at = found.within[unit], {int(c): n for n, c in enumerate(found.columns[unit])}
    a, b = at[name], at[other]
    valid = at[len(marks.concepts) + int(marks.category[name])]
    fires = m[find_category_column(at, marks, other), valid] - m[a, find_category_column(at, marks, other)]
    both = m[b, valid] - m[a, b]
    area = int(found.anywhere[other, len(marks.concepts) + int(marks.category[name])] - found.anywhere[name, other])
    union = fires + area - both
    return float(both / union) if union > 0 else 0.0


def find_category_column(at: dict[int, int], marks: Marks, concept: int) -> int:
    """Where the concept's category stands among a unit's columns."""
    return at[len(marks.concepts) + int(marks.category[concept])]


def find_best_pairs(found: PairCounts, marks: Marks, unit: int, most: int = BEAM) -> list[Formula]:
    """The best formulas of two of a unit's candidates, best first; exact, in the cells that are labelled for both."""
    m, columns = found.within[unit], found.columns[unit]
    many = len(columns) - (marks.width - len(marks.concepts))
    concepts = columns[:many]
    rooms = many + marks.category[concepts]
    wide = found.anywhere[np.ix_(columns, columns)]
    results: list[tuple[float, int, int, int]] = []
    own, other = np.arange(many)[:, None], np.arange(many)[None]
    room_a, room_b = rooms[:, None], rooms[None]
    inside = m[room_a, room_b]
    with_a, with_b, with_both = m[own, room_b], m[other, room_a], m[own, other]
    a, b, both = wide[own, room_b], wide[other, room_a], wide[own, other]
    for operator, (hit, area) in enumerate(
        ((with_a + with_b - with_both, a + b - both), (with_both, both), (with_a - with_both, a - both))
    ):
        iou = hit / np.maximum(inside + area - hit, 1)
        if operator == 2:
            np.fill_diagonal(iou, -1.0)
        else:
            iou[np.tril_indices(many)] = -1.0
        for place in np.argsort(-iou, axis=None, kind="stable")[:most]:
            first, second = divmod(int(place), many)
            results.append((float(iou[first, second]), operator, int(concepts[first]), int(concepts[second])))
    results.sort(key=lambda one: -one[0])
    return [Formula((a, b), (operator,), iou) for iou, operator, a, b in results[:most] if iou > 0]


def evaluate_formula(formula: Formula, columns: dict[int, NDArray[np.bool_]], cells: int) -> Bool[np.ndarray, " cells"]:
    """Where a formula is true, from the masks of its concepts; a concept that isn't there is nowhere."""
    nowhere = np.zeros(cells, np.bool_)
    out = columns.get(formula.concepts[0], nowhere)
    for operator, concept in zip(formula.operators, formula.concepts[1:], strict=True):
        mask = columns.get(concept, nowhere)
        out = out | mask if operator == 0 else out & mask if operator == 1 else out & ~mask
    return out


def find_best_triples(
    fired: Firings,
    marks: Marks,
    beams: Sequence[Sequence[Formula]],
    chosen: Int64[np.ndarray, "units most"],
    order: Int64[np.ndarray, " images"] | None = None,
) -> list[Formula | None]:
    """Each unit's best formula of three concepts: its beam of pairs with each of its candidates added."""
    known, width = len(marks.concepts), marks.width
    by_key = {(one.concepts, one.operators): one for beam in beams for one in beam}
    rooms = {key: known + marks.category[list(key[0])] for key in by_key}
    numbers = {key: n for n, key in enumerate(by_key)}
    anywhere = np.zeros((len(by_key), width))  # formula & column, where the formula's categories are labelled
    alone = np.zeros((len(by_key), width))  # column, where they are
    within = [np.zeros((len(beam), 2, width)) for beam in beams]  # the same, where the unit fires
    inverse = np.arange(len(marks)) if order is None else np.argsort(order)
    for image in range(len(marks)):
        here, table = make_full_table(marks, image)
        masks = {int(c): table[:, n] > 0 for n, c in enumerate(here)}
        nowhere = np.zeros(marks.cells, np.bool_)
        true: dict[int, NDArray[np.float32]] = {}
        for key, formula in by_key.items():
            room = np.logical_and.reduce([masks.get(int(one), nowhere) for one in rooms[key]])
            if not room.any():
                continue
            both = np.stack([evaluate_formula(formula, masks, marks.cells) & room, room], 1).astype(np.float32)
            true[numbers[key]] = both
            sums = both.T @ table
            anywhere[numbers[key], here] += sums[0]
            alone[numbers[key], here] += sums[1]
        for unit, places in list_firings(fired, int(inverse[image])):
            cells = table[places]
            for row, formula in enumerate(beams[unit]):
                found = true.get(numbers[formula.concepts, formula.operators])
                if found is not None:
                    within[unit][row][:, here] += found[places].T @ cells
    return [
        _find_best_triple(marks, beam, chosen[unit], within[unit], anywhere, alone, numbers)
        for unit, beam in enumerate(beams)
    ]


def _find_best_triple(
    marks: Marks,
    beam: Sequence[Formula],
    chosen: Int64[np.ndarray, " most"],
    within: Float[np.ndarray, "beam 2 columns"],
    anywhere: Float[np.ndarray, "formulas columns"],
    alone: Float[np.ndarray, "formulas columns"],
    numbers: dict[tuple[tuple[int, ...], tuple[int, ...]], int],
) -> Formula | None:
    best: Formula | None = None
    room = len(marks.concepts) + marks.category
    for row, formula in enumerate(beam):
        number = numbers[formula.concepts, formula.operators]
        with_f, fires = within[row, 0, room], within[row, 1, room]
        with_both, with_c = within[row, 0, : len(room)], within[row, 1, : len(room)]
        f, c, both = anywhere[number, room], alone[number, : len(room)], anywhere[number, : len(room)]
        for operator, (hit, area) in enumerate(
            ((with_f + with_c - with_both, f + c - both), (with_both, both), (with_f - with_both, f - both))
        ):
            iou = hit / np.maximum(fires + area - hit, 1)
            for concept in chosen.tolist():
                if concept not in formula.concepts and (best is None or iou[concept] > best.iou):
                    best = Formula((*formula.concepts, concept), (*formula.operators, operator), float(iou[concept]))
    return best
