"""The boxes of a map's parts at a thousand thresholds in one pass.

Going down from the maximum, pixels are added one by one: each starts a part, or joins and merges those that it touches at sides and
corners (union-find; the tree of a map's level sets, Salembier et al. 1998). Only parts that changed since the last threshold are
compared with the true boxes again, so the work hardly depends on the number of thresholds.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vlcam.image.geometry import Box
from vlcam.metrics.localisation import iou


def sweep_thresholds(
    heat: Float[np.ndarray, "height width"],
    truths: Sequence[Box],
    thresholds: Float[np.ndarray, " levels"],
    *,
    largest: bool,
) -> Float[np.ndarray, " levels"]:
    """At each threshold, rising parts of the maximum that pixels must exceed, the best IoU of a part's box with a true box.

    With ``largest`` only the part with the most pixels counts; of equals, the first in reading order. 0 at thresholds that no pixel
    exceeds, and everywhere if nothing is positive or a value is infinite.
    """
    best = np.zeros(len(thresholds))
    flat = heat.ravel()
    order = np.argsort(np.where(np.isnan(flat), np.inf, -flat), kind="stable")
    order = order[: int((flat > 0).sum())]  # NaN is last, and never above 0
    if not len(order) or np.isinf(flat[order[0]]):
        return best
    falling = -flat[order]
    ends = np.searchsorted(falling, -thresholds * flat[order[0]], side="left")
    parts = _Parts(heat.shape[1], heat.shape[0])
    done = 0
    for level in range(len(thresholds) - 1, -1, -1):
        for pixel in order[done : ends[level]].tolist():
            parts.add(pixel)
        done = max(done, int(ends[level]))
        best[level] = parts.find_best_iou(truths, largest=largest)
    return best


class _Parts:
    """Growing parts of a picture, each with its extent, its size and its best IoU."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.wide = width, width + 2  # a border of one pixel that is never added
        self.parent = [-1] * (self.wide * (height + 2))
        self.extents: dict[int, tuple[int, int, int, int, int]] = {}  # left, top, right, bottom, first pixel
        self.sizes: dict[int, int] = {}
        self.scores: dict[int, float] = {}
        self.changed: set[int] = set()
        self.around = [down * self.wide + along for down in (-1, 0, 1) for along in (-1, 0, 1) if down or along]

    def add(self, pixel: int) -> None:
        """Adds the pixel at this place in reading order, and joins all parts that it touches."""
        row, column = divmod(pixel, self.width)
        place = (row + 1) * self.wide + column + 1
        parent, part = self.parent, place
        parent[place] = place
        left, top, right, bottom, first, size = column, row, column + 1, row + 1, pixel, 1
        for step in self.around:
            other = place + step
            if parent[other] < 0:
                continue
            while parent[other] != other:
                parent[other] = other = parent[parent[other]]
            if other == part:
                continue
            extent, more = self.extents.pop(other), self.sizes.pop(other)
            self.scores.pop(other, None)
            self.changed.discard(other)
            left, top, first = min(left, extent[0]), min(top, extent[1]), min(first, extent[4])
            right, bottom = max(right, extent[2]), max(bottom, extent[3])
            if more >= size:
                parent[part] = other
                part = other
            else:
                parent[other] = part
            size += more
        self.extents[part], self.sizes[part] = (left, top, right, bottom, first), size
        self.changed.add(part)

    def find_best_iou(self, truths: Sequence[Box], *, largest: bool) -> float:
        """The best IoU of any part, or that of the largest part."""
        if not self.sizes:
            return 0.0
        for part in self.changed:
            left, top, right, bottom, _ = self.extents[part]
            box = (float(left), float(top), float(right), float(bottom))
            self.scores[part] = max(iou(box, truth) for truth in truths)
        self.changed.clear()
        if largest:
            return self.scores[max(self.sizes, key=lambda part: (self.sizes[part], -self.extents[part][4]))]
        return max(self.scores.values())
