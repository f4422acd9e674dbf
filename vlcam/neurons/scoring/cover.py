"""Scores over the full range of a unit's activation: Pearson correlation and average precision with what cells show.

The highest activations are a small part of what a unit does, so IoU at one threshold is not all there is to say. Both scores compare
each cell of the raw map (not scaled up) with the share of the cell that a concept covers, in the cells where its category is labelled.

- correlation: ``r = cov(a, y) / (sd(a) sd(y))`` of activation a and covered share y;
- average precision: cells sorted by activation, ``AP = sum over levels of precision x gain in recall``, a cell counted as covered
  to its share. The levels are :data:`LEVELS` steps, each the same factor rarer; cells between two levels are ties.

Of about 18 measures of neuron names, these two and IoU are among the few that notice missing and extra labels.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from vlcam.engine.chunks import count_chunk
from vlcam.metrics.statistics import average_precision_by_level
from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.scoring.fired import Stored

LEVELS: Final = 100
_UNITS: Final = 2**26  # activations in memory at a time while binning: 256 MB
_LEAST: Final = 1e-12


@final
@dataclass(frozen=True, eq=False)
class Cover:
    """The covered share of every cell of the maps' grid, as a sparse table.

    Entry e says that ``column[e]`` (see :class:`vlcam.neurons.probes.marks.Marks`) covers the share ``weight[e]`` of ``cell[e]`` of picture
    ``image[e]``; ``square`` is the share's square over that of the category's labelled part, for the variance.
    """

    images: int
    cells: int
    known: int
    category: Int64[np.ndarray, " concepts"]
    width: int
    image: NDArray[np.int64]
    cell: NDArray[np.int64]
    column: NDArray[np.int64]
    weight: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def from_marks(cls, marks: Marks, grid: tuple[int, int]) -> "Cover":
        """The cover of all pictures on the maps' own grid."""
        parts: list[tuple[NDArray[np.float64], ...]] = []
        category, known = marks.category, len(marks.concepts)
        for image in range(len(marks)):
            columns, shares = marks.measure_coverage(image, grid)
            row, cell = (one.numpy() for one in shares.nonzero(as_tuple=True))
            weight = shares.numpy()[row, cell].astype(np.float64)
            valid = np.ones((marks.width, shares.shape[1]))
            valid[columns[columns >= known]] = shares.numpy()[columns >= known]
            column = columns[row]
            own = known + category[np.minimum(column, known - 1)]
            square = np.where(column < known, weight**2 / np.maximum(valid[own, cell], _LEAST), weight)
            parts.append((np.full(len(row), float(image)), cell.astype(float), column.astype(float), weight, square))
        image_of, cell_of, column_of, weight, square = (np.concatenate(one) for one in zip(*parts, strict=True))
        return cls(
            images=len(marks),
            cells=grid[0] * grid[1],
            known=known,
            category=category,
            width=marks.width,
            image=image_of.astype(np.int64),
            cell=cell_of.astype(np.int64),
            column=column_of.astype(np.int64),
            weight=weight,
            square=square,
        )

    def sum_columns(self, weight: NDArray[np.float64]) -> Float[np.ndarray, " columns"]:
        """The sum of the entries' ``weight`` in each column."""
        return np.bincount(self.column, weight, self.width)


def flatten_maps(maps: Stored) -> Float[np.ndarray, "images cells units"]:
    """Maps with the units last."""
    return np.ascontiguousarray(maps.transpose(0, 2, 3, 1).reshape(len(maps), -1, maps.shape[1]))


def correlations(
    maps: Stored,
    cover: Cover,
    *,
    order: Int64[np.ndarray, " images"] | None = None,
    times: NDArray[np.float64] | None = None,
) -> Float[np.ndarray, "units concepts"]:
    """Pearson's r of every unit and concept; 0 where one of them never changes.

    ``order``: picture i's maps with picture ``order[i]``'s labels; ``times``: how often each picture counts (its labels').
    """
    source = np.arange(cover.images) if order is None else np.argsort(order)
    often = np.ones(cover.images) if times is None else times
    weight, square = cover.weight * often[cover.image], cover.square * often[cover.image]
    products = np.zeros((cover.width, maps.shape[1]))
    squares = np.zeros((cover.width, maps.shape[1]))
    bounds = np.searchsorted(cover.image, np.arange(cover.images + 1))
    step = count_chunk(2**24, cover.cells * maps.shape[1])
    for start in range(0, cover.images, step):
        stop = min(start + step, cover.images)
        part = slice(bounds[start], bounds[stop])
        values = torch.from_numpy(
            flatten_maps(np.asarray(maps[source[start:stop]])).reshape(-1, maps.shape[1])
        ).double()
        places = (cover.image[part] - start) * cover.cells + cover.cell[part]
        where = torch.from_numpy(np.stack([cover.column[part], places]))
        sparse = torch.sparse_coo_tensor(
            where, torch.from_numpy(weight[part]), (cover.width, len(values)), check_invariants=False
        )
        products += torch.sparse.mm(sparse, values).numpy()
        squares += torch.sparse.mm(sparse, values.square()).numpy()
    own = cover.known + cover.category
    total, sums, squared = (
        cover.sum_columns(weight)[own],
        cover.sum_columns(weight)[: cover.known],
        cover.sum_columns(square)[: cover.known],
    )
    count = np.maximum(total, _LEAST)[:, None]
    covariance = products[: cover.known] - products[own] * sums[:, None] / count
    spread = (squares[own] - products[own] ** 2 / count) * (squared - sums**2 / count[:, 0])[:, None]
    size = np.maximum(squares[own] * squared[:, None], _LEAST)
    found = np.where(spread > 1e-10 * size, covariance / np.sqrt(np.maximum(spread, _LEAST * size)), 0.0)
    clipped: NDArray[np.float64] = np.clip(found, -1.0, 1.0).T
    return clipped


def bin_levels(maps: Stored) -> NDArray[np.uint8]:
    """For every unit and cell ``(units, images * cells)`` its level: 0 for the lowest activations, up to LEVELS - 1.

    The edges are the unit's own quantiles, each level a constant factor rarer than the one below; ties share a level.
    """
    units, positions = maps.shape[1], len(maps) * maps.shape[2] * maps.shape[3]
    ranks = np.unique(np.geomspace(1, positions, LEVELS).astype(np.int64))[:-1]
    out = np.empty((units, positions), np.uint8)
    each = count_chunk(_UNITS, positions)
    for start in range(0, units, each):
        some = np.asarray(maps[:, start : start + each]).transpose(1, 0, 2, 3).reshape(-1, positions)
        for unit, values in enumerate(some, start):
            edges = np.unique(np.sort(values)[positions - ranks])
            out[unit] = np.searchsorted(edges, values, side="right")
    return out


def compute_precisions(maps: Stored, cover: Cover, concept: Int64[np.ndarray, " units"]) -> Float[np.ndarray, " units"]:
    """The average precision of each unit and one concept, a bounded number of units at a time."""
    rows = [
        np.flatnonzero((cover.column == c) | (cover.column == cover.known + cover.category[c]))
        for c in range(cover.known)
    ]
    place = cover.image * cover.cells + cover.cell
    out = np.zeros(len(concept))
    each = count_chunk(_UNITS, len(maps) * cover.cells)
    for start in range(0, len(concept), each):
        for unit, level in enumerate(bin_levels(maps[:, start : start + each]), start):
            some = rows[concept[unit]]
            own = cover.column[some] == concept[unit]
            table = np.bincount(own * LEVELS + level[place[some]], cover.weight[some], 2 * LEVELS).reshape(2, LEVELS)
            out[unit] = average_precision_by_level(table[1:], table[:1])[0]
    return out


def average_precisions(
    found: NDArray[np.uint8],
    cover: Cover,
    *,
    order: Int64[np.ndarray, " images"] | None = None,
    times: NDArray[np.float64] | None = None,
) -> Float[np.ndarray, "units concepts"]:
    """Average precision of every unit and concept, from :func:`bin_levels`; 0 for a concept that is nowhere.

    ``order`` and ``times`` as in :func:`correlations`. A unit that says nothing gets the concept's share of the labelled cells.
    """
    source = np.arange(cover.images) if order is None else np.argsort(order)
    weight = cover.weight if times is None else cover.weight * times[cover.image]
    place = source[cover.image] * cover.cells + cover.cell
    base = cover.column * LEVELS
    own = cover.known + cover.category
    out = np.zeros((len(found), cover.known))
    for unit, level in enumerate(found):
        table = np.bincount(base + level[place], weight, cover.width * LEVELS).reshape(cover.width, LEVELS)
        out[unit] = average_precision_by_level(table[: cover.known], table[own])
    return out
