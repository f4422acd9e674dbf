"""Labels of a picture on a grid over the model's input.

Network Dissection (arXiv 1704.05796, section 2) compares a unit's map, enlarged to the size of the label masks, with these masks.
Here the labels come to the grid instead: each cell has a few points inside, every point goes through the inverse of the input's
geometry to the photo, ``x_photo = (x_input - offset) / scale``, and from there to the nearest pixel of the labels. So the margins of
a letterbox and what a crop leaves out are accounted for, and labels may have another resolution than the photo.

A point outside the photo, or one whose label is IGNORED in any map of a category, is not valid for it. A cell is valid if at least half
of its points are, and shows a concept if at least half of its valid points do.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt8

from vlcam.contracts import Geometry, InputError
from vlcam.neurons.probes.probe import IGNORED, Concept, GridLabels, LabelMap, Sample, list_categories

POINTS: Final = 4
"""Points a cell and side: an even number, so that none lies on the middle line of a cell, where labels often change."""

_EDGE: Final = 1e-9  # pixels: rounding, so that a point on an edge always lies on the same side of it


def rasterise(
    sample: Sample, concepts: Sequence[Concept], geometry: Geometry, grid: tuple[int, int], *, points: int = POINTS
) -> GridLabels:
    """The labels of one picture on a grid of cells over the model's input.

    Args:
        sample: the picture of a probe.
        concepts: those of the probe; the sample's indices refer to them.
        geometry: where the model's input lies on the photo.
        grid: rows and columns.
        points: points a cell and side.

    Raises:
        InputError: for a grid or a number of points below 1, indices that are not concepts, or labels that lie crosswise to the photo.
    """
    rows, columns = grid
    if min(rows, columns, points) < 1 or points > 15:
        raise InputError(
            f"a grid of {rows} x {columns} cells with {points} points a side was given; expected 1 cell or more, and 1 to 15 points"
        )
    down = _spread_points(geometry, 1, rows * points)
    across = _spread_points(geometry, 0, columns * points)
    inside = _is_within(down, geometry.photo_size[1])[:, None] & _is_within(across, geometry.photo_size[0])[None, :]

    seen = partial(_pick_labels, sample, geometry, down, across)
    every = list_categories(concepts)
    labelled = [number for number, category in enumerate(every) if category in sample.categories]
    known = {every[number]: inside for number in labelled}
    maps = [(one, seen(one.values)) for one in sample.maps if one.category in known]
    for one, values in maps:
        known[one.category] = known[one.category] & (values != IGNORED)

    have = {one: _find_present(one, values, sample, len(concepts)) for one, values in maps}
    named = {index for found in have.values() for index in found}
    named |= {index for index, _ in sample.masks} | set(sample.whole)
    _check_indices(sample, named, len(concepts))
    order = sorted(index for index in named if concepts[index][1] in known)
    place = {index: number for number, index in enumerate(order)}
    shown = np.zeros((len(order), *inside.shape), np.bool_)
    for one, values in maps:
        for index in have[one]:
            if index in place:
                shown[place[index]] |= values == index
    for index, mask in sample.masks:
        if index in place:
            shown[place[index]] |= seen(mask)
    for index in sample.whole:
        if index in place:
            shown[place[index]] = True

    full = np.stack([known[every[number]] for number in labelled]) if labelled else np.zeros((0, *inside.shape), bool)
    counted = _count_by_cell(full, points)
    valid = 2 * counted.astype(np.int16) >= points * points
    of_category = {every[number]: row for row, number in enumerate(labelled)}
    rows_of = np.array([of_category[concepts[index][1]] for index in order], np.int64)
    shown &= full[rows_of]
    masks = (2 * _count_by_cell(shown, points).astype(np.int16) >= counted[rows_of]) & valid[rows_of]
    kept = masks.any(axis=(1, 2))
    return GridLabels(np.array(order, np.int64)[kept], masks[kept], np.array(labelled, np.int64), valid)


def _spread_points(geometry: Geometry, axis: int, count: int) -> np.ndarray:
    """``count`` evenly spread points of the input along one axis (0: x, 1: y), in pixels of the photo."""
    on_input = (np.arange(count) + 0.5) * (geometry.input_size[axis] / count)
    found: np.ndarray = (on_input - geometry.offset[axis]) / geometry.scale[axis]
    return found


def _is_within(at: np.ndarray, length: int) -> np.ndarray:
    found: np.ndarray = (at >= -_EDGE) & (at < length - _EDGE)
    return found


def _find_nearest(at: np.ndarray, length: int, count: int) -> Int64[np.ndarray, " points"]:
    """Which of ``count`` label pixels over ``length`` photo pixels each point lies in."""
    found: np.ndarray = np.floor(at * (count / length) + _EDGE).clip(0, count - 1).astype(np.int64)
    return found


def _pick_labels(
    sample: Sample, geometry: Geometry, down: np.ndarray, across: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Labels of the whole photo at the points; what lies outside the photo is that of its nearest edge."""
    _check_upright(sample, labels, geometry)
    width, height = geometry.photo_size
    rows = labels.take(_find_nearest(down, height, labels.shape[0]), axis=0)
    picked: np.ndarray = rows.take(_find_nearest(across, width, labels.shape[1]), axis=1)
    return picked


def _find_present(one: LabelMap, values: Int[np.ndarray, "height width"], sample: Sample, concepts: int) -> list[int]:
    """The concepts at the points of a label map, and nothing else in it but NOTHING and IGNORED."""
    low, high = int(values.min()), int(values.max())
    if low < IGNORED or high >= concepts:
        raise InputError(
            f"the {one.category!r} map of {sample.name} holds {low if low < IGNORED else high}; expected 0 to {concepts - 1} "
            "for the concepts, -1 (none of them) or -2 (ignored)"
        )
    counts = np.bincount(values.ravel().astype(np.int64) - IGNORED)
    found: list[int] = [int(number) + IGNORED for number in np.flatnonzero(counts)]
    return [number for number in found if number >= 0]


def _count_by_cell(shown: Bool[np.ndarray, "any rows columns"], points: int) -> UInt8[np.ndarray, "any height width"]:
    """How many points of each cell are set: first additions of whole rows, then of columns, as sums over inner axes are slow."""
    each = shown.view(np.uint8)
    of_rows = each[:, ::points].copy()
    for row in range(1, points):
        of_rows += each[:, row::points]
    total = of_rows[:, :, ::points].copy()
    for column in range(1, points):
        total += of_rows[:, :, column::points]
    return total


def _check_indices(sample: Sample, named: set[int], concepts: int) -> None:
    wrong = sorted(index for index in named if not 0 <= index < concepts)
    if wrong:
        raise InputError(f"{sample.name} is labelled with concept {wrong[0]}; expected 0 to {concepts - 1}")


def _check_upright(sample: Sample, labels: np.ndarray, geometry: Geometry) -> None:
    """Labels that were drawn on a photo before its EXIF orientation was applied would be read crosswise."""
    width, height = geometry.photo_size
    if width != height and labels.shape == (width, height):
        raise InputError(
            f"the labels of {sample.name} are {height} wide and {width} high, its photo (turned as its EXIF says) is {width} wide "
            f"and {height} high; turn the labels, or save the photo without its EXIF orientation"
        )
