"""Masks from COCO's outlines (arXiv 1405.0312, section 4): polygons for instances, run lengths for crowds.

Run lengths are the numbers of pixels, column by column, that are outside and inside in turn. Their compressed form writes each run less
the one two before it, in digits of five bits from the lowest to the highest, one letter a digit from ``0`` on; bit 6 says that more
digits follow, bit 5 of the last is the sign.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from vlcam.contracts import InputError
from vlcam.files import MAX_COORDINATE, MAX_PIXELS, MAX_SIDE, check_whole, refuse_broken, show_value

_MOST_LETTERS = 7
"""Of one number in compressed run lengths: 35 bits."""


def fill_outline(outline: Any, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The mask of a COCO ``segmentation``: polygons, run lengths, or compressed run lengths. Raises InputError for anything else.

    >>> fill_outline([[1, 0, 3, 0, 3, 2, 1, 2]], 2, 4).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    >>> fill_outline({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if isinstance(outline, Mapping):
        with refuse_broken("run lengths", "size and counts", fault="without a good {} were given"):
            size = tuple(check_whole(one, "size", MAX_SIDE) for one in outline["size"])
            counts = outline["counts"]
        if size != (height, width):
            raise InputError(f"run lengths of size {size} were given; expected the picture's, {(height, width)}")
        if isinstance(counts, str) and len(counts) > _MOST_LETTERS * (height * width + 1):
            raise InputError(
                f"run lengths of {len(counts):,} letters were given for {height} x {width} pixels; copy the file again"
            )
        return _fill_run_lengths(expand_run_lengths(counts) if isinstance(counts, str) else counts, height, width)
    found = np.zeros((height, width), np.bool_)
    for polygon in outline if isinstance(outline, list) else [None]:
        with refuse_broken("an outline", "polygons [x, y, x, y, ...] or run lengths"):
            points = np.array(polygon, np.float64) if _is_polygon(polygon) else None
        if points is None or not (np.abs(points) <= MAX_COORDINATE).all():
            raise InputError(
                f"the outline {show_value(polygon)} was given; expected polygons [x, y, x, y, ...] or run lengths"
            )
        found |= _fill_polygon(points.reshape(-1, 2), height, width)
    return found


def expand_run_lengths(text: str) -> list[int]:
    """The run lengths of COCO's compressed form. Raises InputError for other texts.

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
        if shift > 5 * _MOST_LETTERS:
            raise InputError("compressed run lengths with a number without end were given; copy the file again")
        if not digit & 32:
            if digit & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise InputError("compressed run lengths that break off were given; copy the file again")
    return counts


def _fill_run_lengths(counts: Any, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    good = isinstance(counts, Sequence) and all(type(one) is int and one >= 0 for one in counts)
    if not good or sum(counts) != height * width:
        raise InputError(f"run lengths that don't add up to {height} x {width} pixels were given")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.array(counts, np.int64)).reshape(width, height).T


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, (list, array))
        and len(polygon) >= 4
        and len(polygon) % 2 == 0
        and (isinstance(polygon, array) or all(type(one) in (int, float) for one in polygon))
    )


def _fill_polygon(corners: np.ndarray, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres are inside a polygon, by the even-odd rule: each row toggles where an edge crosses it."""
    found = np.zeros((height, width), np.bool_)
    after = np.roll(corners, -1, axis=0)
    first = _find_first_centre(np.minimum(corners[:, 1], after[:, 1]), height)
    count = _find_first_centre(np.maximum(corners[:, 1], after[:, 1]), height) - first  # rows that each edge crosses
    if not count.any():
        return found
    if (crossed := int(count.sum())) > MAX_PIXELS:
        raise InputError(f"an outline whose edges cross {crossed:,} rows was given; expected at most {MAX_PIXELS:,}")
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
