"""The connected parts of a set of pixels: which touch at sides or corners, how large each is, and its box."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from vlcam.image.geometry import Box


class ConnectedPart(NamedTuple):
    """One connected part: its number of pixels, and the tight box around it."""

    size: int
    box: Box


def find_connected_parts(inside: Bool[np.ndarray, "height width"]) -> list[ConnectedPart]:
    """The 8-connected parts, in the reading order of their first pixels: rows are cut into runs, and touching runs are joined.

    >>> find_connected_parts(np.array([[True, False, False], [False, True, False], [False, False, False], [True, False, False]]))
    [ConnectedPart(size=2, box=(0.0, 0.0, 2.0, 2.0)), ConnectedPart(size=1, box=(0.0, 3.0, 1.0, 4.0))]
    """
    edges = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8))
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    runs = list(zip(rows.tolist(), starts.tolist(), ends.tolist(), strict=True))
    parent = list(range(len(runs)))
    above = 0
    for here, (row, start, end) in enumerate(runs):
        while runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] < start):
            above += 1
        before = above
        while runs[before][0] == row - 1 and runs[before][1] <= end:
            one, other = sorted((_find_root(parent, before), _find_root(parent, here)))
            parent[other] = one
            before += 1
    sizes: dict[int, int] = {}
    boxes: dict[int, tuple[int, int, int, int]] = {}
    for here, (row, start, end) in enumerate(runs):
        part = _find_root(parent, here)
        sizes[part] = sizes.get(part, 0) + end - start
        left, top, right, _ = boxes.get(part, (start, row, end, row))
        boxes[part] = (min(left, start), top, max(right, end), row + 1)
    return [
        ConnectedPart(sizes[part], (float(left), float(top), float(right), float(bottom)))
        for part, (left, top, right, bottom) in boxes.items()
    ]


def _find_root(parent: list[int], run: int) -> int:
    """The first run of the part that a run belongs to; the way there gets shorter."""
    while parent[run] != run:
        parent[run] = run = parent[parent[run]]
    return run
