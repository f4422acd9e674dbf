"""How well would a unit match some concept by chance? The null test of neuron names.

A fixed IoU is passed by chance on small probes (17 % of random units at 100 pictures). So each of R draws breaks the tie between
what a unit sees and what is there, scores all concepts again and keeps each unit's best one over *all* concepts (which pays for
having chosen the best). How the tie is broken depends on the concept:

- one that varies from picture to picture: the pictures' labels are permuted against their activations, the same way for all
  units. Where a unit tends to fire, how smooth its maps are, and where objects tend to lie (in the centre) stay as they are;
- one that is the same in all pictures (a region, "upper left") would not notice that. Instead each picture's *raw* maps are shifted
  around the edges by a random step, and only then scaled up and compared: how much and how clustered a unit fires stays, and so
  does what scaling up does at the edges; where the unit fires does not.

p-values: a unit's null values are standardised by their own mean and deviation and pooled over the layer, ``p = (1 + #{null >=
observed}) / (R * units + 1)``: with R = 200 draws alone no p is below 1/201, and Benjamini-Hochberg over 512 units could name none
unless a tenth of them passed. As the pooling assumes that the standardised tails are alike, a unit must also beat 95 % of its *own*
draws.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.scoring.fired import Firings, Stored, find_firings, split_chunks

Progress = Callable[[int, int], None]

SHIFTS: Final = 24
"""Steps that the pictures' maps are shifted by; each draw takes one of them for each picture."""


def draw_orders(images: int, draws: int, seed: int) -> Int64[np.ndarray, "draws images"]:
    """The permutations of the pictures, the same for the same seed."""
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(2)[0])
    return np.stack([rng.permutation(images) for _ in range(draws)]).astype(np.int64)


def score_permuted(
    maps: Stored,
    thresholds: Float[Tensor, " channels"],
    fired: Firings,
    marks: Marks,
    draws: int,
    seed: int,
    progress: Progress | None = None,
) -> Float[np.ndarray, "draws units"]:
    """Each unit's best IoU over all concepts in each draw of the null."""
    sizes, fixed = marks.measure_sizes(), marks.find_constant()
    best = np.zeros((draws, fired.units))
    every, step = draw_orders(len(marks), draws, seed), marks.choose_batch_size(fired.units)
    step = min(step, max(1, draws // 10))  # and progress shows
    varies = ~fixed & (sizes[: len(fixed)] > 0)
    if varies.any():
        for start in range(0, draws, step):
            counts = marks.count_orders(fired, every[start : start + step])
            best[start : start + step] = marks.iou(counts, sizes)[..., varies].max(axis=-1)
            if progress is not None:
                progress(min(start + step, draws), draws)
    if fixed.any():
        np.maximum(best, score_shifted(maps, thresholds, marks, fixed, draws, seed), out=best)
    return best


def score_shifted(
    maps: Stored,
    thresholds: Float[Tensor, " channels"],
    marks: Marks,
    fixed: Bool[np.ndarray, " concepts"],
    draws: int,
    seed: int,
) -> Float[np.ndarray, "draws units"]:
    """Each unit's best IoU over the concepts that are the same in all pictures, each picture's maps shifted at random."""
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(2)[1])
    rows, columns = maps.shape[2:]
    steps = rng.permutation(rows * columns)[:SHIFTS]
    found = [_count_shifted(maps, thresholds, marks, fixed, divmod(int(one), columns)) for one in steps]
    inside, everywhere = np.stack([one for one, _ in found]), np.stack([one for _, one in found])
    areas = marks.measure_sizes()[: len(fixed)][fixed]
    out = np.zeros((draws, maps.shape[1]))
    images = np.arange(len(maps))
    for draw in range(draws):
        chosen = rng.integers(len(steps), size=len(maps))
        both = inside[chosen, images].sum(axis=0, dtype=np.int64)
        fires = everywhere[chosen, images].sum(axis=0, dtype=np.int64)
        union = np.maximum(fires[:, None] + areas - both, 1)
        out[draw] = (both / union).max(axis=1)
    return out


def _count_shifted(
    maps: Stored,
    thresholds: Float[Tensor, " channels"],
    marks: Marks,
    fixed: Bool[np.ndarray, " concepts"],
    step: tuple[int, int],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Firings of each picture's units within each fixed concept, and everywhere, after shifting all maps by one step."""
    here = dict(zip(marks.get_columns(0).tolist(), marks.unpack_masks(0), strict=True))
    table = torch.from_numpy(np.stack([here[c] for c in np.flatnonzero(fixed).tolist()], 1).astype(np.float32))
    inside = np.zeros((len(maps), maps.shape[1], table.shape[1]), np.int32)
    everywhere = np.zeros((len(maps), maps.shape[1]), np.int32)
    for start, some in split_chunks(maps, 4):
        moved = find_firings(torch.roll(some, step, (2, 3)).numpy(), thresholds, marks.grid)
        for image in range(len(moved)):
            units, starts, places = moved.get_picture(image)
            if len(units):
                counts = torch.nn.functional.embedding_bag(places, table, starts, mode="sum")
                inside[start + image, units.numpy()] = counts.numpy().astype(np.int32)
                everywhere[start + image, units.numpy()] = moved.count_positions(image).numpy().astype(np.int32)
    return inside, everywhere


def check_significance(
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
