"""Where units fire: thresholds from one pass over the maps, positions from another (Network Dissection, steps 1 and 2).

Bau et al. 2017 (arXiv 1704.05796), section 2.2: ``T_k`` is the level with ``P(a_k > T_k) = quantile`` over all positions of the raw maps
of all pictures; ``M_k`` are the maps upsampled (bilinear, half-pixel centres), strictly above ``T_k``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from vlcam.contracts import InputError
from vlcam.engine.chunks import count_chunk

Stored = NDArray[np.float32]
"""Maps ``(images, channels, rows, columns)``, possibly a memory map."""

_CHUNK: Final = 2**25  # numbers at a time: 128 MB


@final
@dataclass(frozen=True)
class Firings:
    """Where units fire, sorted by picture, then unit.

    ``unit`` and ``place`` (position on the grid) have one entry a firing, ``first`` the start of each picture in them and the end.
    """

    units: int
    unit: NDArray[np.int32]
    place: NDArray[np.int32]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def sizes(self) -> Int64[np.ndarray, " units"]:
        """``|M_k|`` over all cells of all pictures."""
        return np.bincount(self.unit, minlength=self.units).astype(np.int64)

    @property
    def image(self) -> NDArray[np.int64]:
        """The picture of each firing."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def get_picture(
        self, image: int
    ) -> tuple[Int64[Tensor, " here"], Int64[Tensor, " here"], Int64[Tensor, " firings"]]:
        """The units that fire in one picture, where each of them starts in the third, and the positions."""
        unit = self.unit[self.first[image] : self.first[image + 1]]
        place = self.place[self.first[image] : self.first[image + 1]]
        starts = np.flatnonzero(np.diff(unit, prepend=-1))
        found = (unit[starts].astype(np.int64), starts, place.astype(np.int64))
        return tuple(torch.from_numpy(one) for one in found)  # type: ignore[return-value]

    def get_pictures(
        self, images: Int64[np.ndarray, " some"]
    ) -> tuple[Int64[Tensor, " here"], Int64[Tensor, " here"], Int64[Tensor, " here"], Int64[Tensor, " firings"]]:
        """``of`` for several pictures at once: units, which of the pictures, where each starts in the last, and the positions."""
        firsts, lasts = self.first[images], self.first[images + 1]
        unit = np.concatenate([self.unit[a:b] for a, b in zip(firsts, lasts, strict=True)])
        place = np.concatenate([self.place[a:b] for a, b in zip(firsts, lasts, strict=True)])
        which = np.repeat(np.arange(len(images)), lasts - firsts)
        starts = np.flatnonzero(np.diff(which * self.units + unit, prepend=-1))
        found = (unit[starts].astype(np.int64), which[starts], starts, place.astype(np.int64))
        return tuple(torch.from_numpy(one) for one in found)  # type: ignore[return-value]

    def count_positions(self, image: int) -> Int64[Tensor, " here"]:
        """At how many positions each unit fires in one picture, for the units that do."""
        _, starts, places = self.get_picture(image)
        return torch.diff(starts, append=torch.tensor([len(places)], device="cpu"))


def split_chunks(maps: Stored, factor: int = 1) -> Iterator[tuple[int, Float[Tensor, "some channels rows columns"]]]:
    """The maps as tensors, a bounded number of pictures at a time, each with the number of its first; ``factor``: growth to expect."""
    each = count_chunk(_CHUNK, int(np.prod(maps.shape[1:])) * factor)
    for start in range(0, len(maps), each):
        yield start, torch.from_numpy(np.array(maps[start : start + each], np.float32))


def find_thresholds(maps: Stored, quantile: float) -> Float[Tensor, " channels"]:
    """``T_k``: the level that at most the share ``quantile`` of a unit's positions strictly exceeds.

    Exact and streaming: of every unit only its highest values so far are kept.
    """
    positions = len(maps) * maps.shape[2] * maps.shape[3]
    above = int(positions * quantile + 1e-9)
    if above < 1:
        raise InputError(
            f"the probe has {positions} positions a unit, of which a quantile of {quantile} is less than one; give more images"
        )
    highest = torch.full((maps.shape[1], 0), -torch.inf, device="cpu")
    for _, some in split_chunks(maps, 2):
        every = torch.cat([highest, some.permute(1, 0, 2, 3).flatten(1)], 1)
        highest = every.topk(min(above + 1, every.shape[1]), dim=1, sorted=False).values
    return highest.min(dim=1).values


def find_firings(maps: Stored, thresholds: Float[Tensor, " channels"], grid: tuple[int, int]) -> Firings:
    """Where every unit fires on a grid of (rows, columns) cells."""
    parts: list[NDArray[np.int32]] = []
    many: list[NDArray[np.int64]] = []
    growth = -(-grid[0] * grid[1] // (maps.shape[2] * maps.shape[3]))
    for _, some in split_chunks(maps, growth + 1):
        # A unit whose raw map stays below T_k fires nowhere: interpolation makes no new maxima.
        image, unit = (some.amax((2, 3)) > thresholds).nonzero(as_tuple=True)
        up = interpolate(some[image, unit][:, None], size=grid, mode="bilinear", align_corners=False).flatten(1)
        row, place = (up > thresholds[unit, None]).nonzero(as_tuple=True)
        parts.append(torch.stack((unit[row], place)).numpy().astype(np.int32))
        many.append(torch.bincount(image[row], minlength=len(some)).numpy())
    unit_of, place_of = np.concatenate(parts, axis=1)
    return Firings(maps.shape[1], unit_of, place_of, np.concatenate(([0], np.cumsum(np.concatenate(many)))))
