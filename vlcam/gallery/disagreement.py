"""How unlike two maps of one photo are: 1 less their rank correlation on the pixels that both models saw."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from vlcam.gallery.run_tables import MapRow
from vlcam.metrics import spearman

POINTS: Final = 32
"""The maps are read at so many places along each side of the part of the photo that both models saw; grids are coarser than that."""


def measure_disagreement(pairs: Sequence[Sequence[MapRow | None]]) -> list[float]:
    """Of each pair ``1 - rho``: 0 for maps that rank all places alike, 1 for unrelated ones, 2 for opposite ones.

    NaN where there is nothing to compare: one of the two isn't there, is of something else, shows nothing or is the same everywhere, or
    the models saw no part in common. ``rho`` is Spearman's rank correlation of the maps as they are drawn, at 32 x 32 places of the
    common part.
    """
    found = [float("nan")] * len(pairs)
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for number, (one, other) in enumerate(pairs):
        if one is None or other is None or (one.target, one.kind) != (other.target, other.kind):
            continue
        if one.map is not None and other.map is not None:
            groups[one.map.shape, other.map.shape].append(number)
    for numbers in groups.values():
        sides = [[row for row in pair if row is not None] for pair in (pairs[number] for number in numbers)]
        low, high = _find_common_part(np.array([[row.place for row in rows] for rows in sides]))
        at = low[..., None] + (high - low)[..., None] * (np.arange(POINTS) + 0.5) / POINTS  # pairs, axes, points
        read = [
            _read(
                np.stack([row.map for rows in sides if (row := rows[side]).map is not None]),
                at * _pick(sides, side, 0) + _pick(sides, side, 1),
            )
            for side in (0, 1)
        ]
        rho = spearman(torch.from_numpy(read[0]), torch.from_numpy(read[1])).tolist()
        seen = np.all(high > low, axis=1).tolist()
        for number, value, usable in zip(numbers, rho, seen, strict=True):
            if usable:
                found[number] = 1 - value
    return found


def _pick(sides: Sequence[Sequence[MapRow]], side: int, which: int) -> Float[np.ndarray, "pairs axes 1"]:
    """Scales (0) or offsets (1) of photo to input, for x and y."""
    places = np.array([rows[side].place for rows in sides])
    return places[:, [which, 2 + which], None]


def _find_common_part(
    places: Float[np.ndarray, "pairs sides 4"],
) -> tuple[Float[np.ndarray, "pairs axes"], Float[np.ndarray, "pairs axes"]]:
    """The part of the photo (0 to 1, for x and y) that both models saw: its low and its high ends."""
    scale, offset = places[..., [0, 2]], places[..., [1, 3]]
    low = np.clip(-offset / scale, 0, 1).max(1)
    high = np.clip((1 - offset) / scale, 0, 1).min(1)
    return low, high


def _read(
    maps: Float[np.ndarray, "pairs rows columns"], at: Float[np.ndarray, "pairs axes points"]
) -> Float[np.ndarray, "pairs points points"]:
    """Values at places of the model's input, between the middles of cells by bilinear interpolation."""
    across = _interpolate(maps, at[:, 0])
    return _interpolate(across.swapaxes(1, 2), at[:, 1]).swapaxes(1, 2)


def _interpolate(
    maps: Float[np.ndarray, "pairs lines cells"], at: Float[np.ndarray, "pairs points"]
) -> Float[np.ndarray, "pairs lines points"]:
    cells = maps.shape[2]
    place = np.clip(at * cells - 0.5, 0, cells - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, cells - 1)
    weight = (place - low)[:, None, :]
    first, second = (np.take_along_axis(maps, ends[:, None, :], axis=2) for ends in (low, high))
    values: Float[np.ndarray, "pairs lines points"] = first * (1 - weight) + second * weight
    return values
