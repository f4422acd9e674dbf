"""What a layer's maps say of each unit without any labels: maxima, ranges, histograms and means.

The maps may be a memory map of a file larger than memory, so they are read in pieces, twice from start to end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Int64

from vlcam.contracts import InputError
from vlcam.engine.chunks import count_chunk

BINS: Final = 40
CLASSES: Final = 5
_CHUNK: Final = 2**23  # activations at a time


@final
@dataclass(frozen=True, eq=False)
class Survey:
    """Maxima and means of every picture and unit; of every unit the range, the share of zeros, and counts in equal bins of the range."""

    peaks: Float[np.ndarray, "images units"]
    means: Float[np.ndarray, "images units"]
    low: Float[np.ndarray, " units"]
    high: Float[np.ndarray, " units"]
    zeros: Float[np.ndarray, " units"]
    counts: Int64[np.ndarray, "units bins"]


def survey(maps: Float[np.ndarray, "images units rows columns"]) -> Survey:
    """Two passes: maxima, means and ranges; then histograms. Raises InputError if an activation is not finite."""
    images, units = maps.shape[:2]
    peaks, means = np.zeros((images, units), np.float32), np.zeros((images, units), np.float32)
    low, high = np.full(units, np.inf), np.full(units, -np.inf)
    zeros = np.zeros(units)
    for start, some in _split_chunks(maps):
        stop = start + len(some)
        peaks[start:stop], means[start:stop] = some.max(axis=2), some.mean(axis=2)
        low, high = np.minimum(low, some.min(axis=(0, 2))), np.maximum(high, some.max(axis=(0, 2)))
        zeros += (some == 0).sum(axis=(0, 2))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError("some activations are not finite; expected finite ones: check the model and its pictures")
    counts = np.zeros(units * BINS, np.int64)
    width = np.where(high > low, (high - low) / BINS, 1.0).astype(np.float32)[:, None]
    base = np.arange(units)[:, None] * BINS
    for _, some in _split_chunks(maps):
        bins = ((some - low.astype(np.float32)[:, None]) / width).astype(np.int64).clip(0, BINS - 1)
        counts += np.bincount((bins + base).ravel(), minlength=units * BINS)
    cells = images * maps.shape[2] * maps.shape[3]
    return Survey(peaks, means, low, high, zeros / cells, counts.reshape(units, BINS))


def _split_chunks(
    maps: Float[np.ndarray, "images units rows columns"],
) -> Iterator[tuple[int, Float[np.ndarray, "some units cells"]]]:
    """Pieces of the maps that fit into memory, with the number of their first picture."""
    step = count_chunk(_CHUNK, int(np.prod(maps.shape[1:])))
    for start in range(0, len(maps), step):
        some = np.asarray(maps[start : start + step])
        yield start, some.reshape(*some.shape[:2], -1)


def average_by_class(
    means: Float[np.ndarray, "images units"], groups: Sequence[str | None]
) -> list[tuple[tuple[str, float], ...]]:
    """Each unit's mean activation in the pictures of a class: the highest, if there are two classes or more."""
    every = sorted({group for group in groups if group is not None})
    if len(every) < 2:
        return [()] * means.shape[1]
    number = {group: row for row, group in enumerate(every)}
    known = [image for image, group in enumerate(groups) if group is not None]
    rows = [number[group] for group in groups if group is not None]
    sums = np.zeros((len(every), means.shape[1]))
    np.add.at(sums, rows, means[known].astype(np.float64))
    table = sums / np.bincount(rows, minlength=len(every))[:, None]
    order = np.argsort(-table, axis=0, kind="stable")[:CLASSES]
    return [tuple((every[row], float(table[row, k])) for row in order[:, k]) for k in range(means.shape[1])]
