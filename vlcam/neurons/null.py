"""How well would a unit match some concept by chance? The null test of :mod:`vlcam.neurons.dissect`.

Each of R draws breaks the tie between what a unit sees and what is there, counts all IoUs again and keeps each unit's best one over
*all* concepts (which pays for having chosen the best). How the tie is broken depends on the concept:

- one that varies from picture to picture: the pictures' masks are permuted against their activations, the same way for all
  units. Where a unit tends to fire, how smooth its maps are, and where things tend to lie (in the centre) stay as they are;
- one that is the same in all pictures (a region, "upper left") would not notice that. Instead each picture's activations are
  shifted around the edges by a random step. How much and how clustered a unit fires stays, where it fires does not. This null is
  too narrow: maps that are scaled up fire more often at the edge, where they aren't interpolated, than within, and shifting
  evens that out. A small p for a region says little; it is the least IoU (``min_iou``) that keeps noise from being named.

p-values: a unit's null values are standardised by their own mean and deviation and pooled over the layer, ``p = (1 + #{null >=
observed}) / (R * units + 1)``: with R = 200 draws alone no p is below 1/201, and Benjamini-Hochberg over 512 units could name none
unless a tenth of them passed. As the pooling assumes that the standardised tails are alike, a unit must also beat 95 % of its *own*
draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

_TABLE: Final = 2**26  # numbers in one table of masks: 256 MB


@final
@dataclass(frozen=True)
class Fired:
    """Where units fire, sorted by unit: ``sizes`` (units,) counts, then the image and the grid position of each firing."""

    sizes: Int64[np.ndarray, " units"]
    image: Int32[np.ndarray, " firings"]
    place: Int32[np.ndarray, " firings"]

    def tally(
        self, table: Float[Tensor, "rows concepts"], rows: Int64[np.ndarray, " firings"]
    ) -> Int64[np.ndarray, "units concepts"]:
        """For each unit the sum of the table's rows at its firings: the sparse form of the matrix product of M and L."""
        starts = torch.from_numpy(np.concatenate(([0], np.cumsum(self.sizes)[:-1])))
        exact = (
            table if int(self.sizes.max(initial=0)) < 2**24 else table.double()
        )  # float32 counts exactly up to 2**24
        counts: NDArray[np.float32] = embedding_bag(torch.from_numpy(rows), exact, starts, mode="sum").numpy()
        return counts.astype(np.int64)


@final
@dataclass(frozen=True)
class Masks:
    """Concept masks of a probe as bits: ``packed`` (images, concepts, bytes) over a ``grid`` of (height, width) cells."""

    packed: UInt8[np.ndarray, "images concepts bytes"]
    grid: tuple[int, int]

    @property
    def cells(self) -> int:
        """Cells of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def positions(self) -> int:
        """Cells of all images."""
        return len(self.packed) * self.cells

    @property
    def sizes(self) -> Int64[np.ndarray, " concepts"]:
        """``|L_c|``: cells of each concept in all images."""
        counts: NDArray[np.int64] = np.bitwise_count(self.packed).sum(axis=(0, 2), dtype=np.int64)
        return counts

    @property
    def constant(self) -> Bool[np.ndarray, " concepts"]:
        """Which concepts have the same mask in every image."""
        same: NDArray[np.bool_] = (self.packed == self.packed[:1]).all(axis=(0, 2))
        return same

    def table(self, concepts: Int64[np.ndarray, " some"], images: int | None = None) -> Float[Tensor, "rows some"]:
        """0/1 for each cell of (the first ``images`` of) all images: row ``image * cells + place``."""
        bits = np.unpackbits(self.packed[:images, concepts], axis=-1, count=self.cells)
        return torch.from_numpy(bits).permute(0, 2, 1).reshape(-1, len(concepts)).float()

    def groups(self, concepts: Int64[np.ndarray, " some"]) -> list[Int64[np.ndarray, " _"]]:
        """The concepts in groups whose tables fit into memory."""
        each = max(1, _TABLE // self.positions)
        return [concepts[start : start + each] for start in range(0, len(concepts), each)]

    def count(self, fired: Fired) -> Int64[np.ndarray, "units concepts"]:
        """``|M_k & L_c|`` of all units and concepts."""
        rows = fired.image.astype(np.int64) * self.cells + fired.place
        every = np.arange(self.packed.shape[1])
        return np.concatenate([fired.tally(self.table(group), rows) for group in self.groups(every)], axis=1)


def intersection_over_union(
    inter: Int64[np.ndarray, "units concepts"],
    units: Int64[np.ndarray, " units"],
    concepts: Int64[np.ndarray, " concepts"],
) -> Float[np.ndarray, "units concepts"]:
    """IoU from the counts ``|M & L|``, ``|M|`` and ``|L|`` (section 2.2.3, eq. 1); 0 where both are empty."""
    union = units[:, None] + concepts[None] - inter
    ratio: NDArray[np.float64] = inter / np.maximum(union, 1)
    return ratio


def permuted_best(
    fired: Fired, masks: Masks, draws: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> Float[np.ndarray, "draws units"]:
    """Each unit's best IoU over all concepts in each draw of the null."""
    permuting, shifting = (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(2))
    images = len(masks.packed)
    orders = np.stack([permuting.permutation(images) for _ in range(draws)])
    down = shifting.integers(masks.grid[0], size=(draws, images))
    across = shifting.integers(masks.grid[1], size=(draws, images))
    best = np.zeros((draws, len(fired.sizes)))
    sizes, constant = masks.sizes, masks.constant
    y, x = np.divmod(fired.place, masks.grid[1])
    groups = [(group, False) for group in masks.groups(np.flatnonzero(~constant & (sizes > 0)))]
    groups += [(group, True) for group in masks.groups(np.flatnonzero(constant & (sizes > 0)))]
    for number, (group, fixed) in enumerate(groups):
        table = masks.table(group, 1 if fixed else None)
        for draw in range(draws):
            if fixed:
                rows = (y + down[draw, fired.image]) % masks.grid[0] * masks.grid[1]
                rows += (x + across[draw, fired.image]) % masks.grid[1]
            else:
                rows = orders[draw, fired.image] * masks.cells + fired.place
            iou = intersection_over_union(fired.tally(table, rows), fired.sizes, sizes[group])
            np.maximum(best[draw], iou.max(axis=1), out=best[draw])
            if progress is not None:
                progress(number * draws + draw + 1, len(groups) * draws)
    return best


def passes(
    observed: Float[np.ndarray, " units"],
    null: Float[np.ndarray, "draws units"],
    live: Bool[np.ndarray, " units"],
    level: float,
) -> tuple[Float[np.ndarray, " units"], Bool[np.ndarray, " units"]]:
    """The pooled p-value of each unit (1 where it never fires), and whether it passes both conditions of the module's text.

    Benjamini and Hochberg 1995: the largest i with ``p_(i) <= level * i / units`` and all below pass.
    """
    p = np.ones(len(observed))
    passed = np.zeros(len(observed), dtype=np.bool_)
    if not live.any():
        return p, passed
    own = null[:, live]
    spread = np.maximum(own.std(axis=0), 1e-12)
    pool = np.sort(((own - own.mean(axis=0)) / spread).ravel())
    score = (observed[live] - own.mean(axis=0)) / spread
    p[live] = (1 + len(pool) - np.searchsorted(pool, score - 1e-9)) / (1 + len(pool))
    order = np.sort(p[live])
    below = np.flatnonzero(order <= level * np.arange(1, len(order) + 1) / len(order))
    limit = order[below[-1]] if len(below) else -1.0
    own_p = (1 + (own >= observed[live] - 1e-12).sum(axis=0)) / (1 + len(own))
    passed[live] = (p[live] <= limit) & (own_p <= level)
    return p, passed
