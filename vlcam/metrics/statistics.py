"""Many values as one number with its uncertainty: the mean, a 95 % bootstrap interval, and how many values there were.

The bootstrap (Efron 1979) draws as many values as there are, with replacement, again and again; between the 2.5 % and the 97.5 %
quantile of the means of such draws lies the interval. Values of one photo belong together, so whole photos are drawn where
``clusters`` names them: an interval over the words of a few photos would else be far too narrow. Metrics that have no answer are NaN;
they are left out and counted.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor

from vlcam.contracts import InputError

RESAMPLES = 2000
LEVEL = 0.95
_AT_ONCE = 2**22
"""How many drawn values are held at once."""


@final
@dataclass(frozen=True)
class Summary:
    """A mean with its interval.

    ``n`` values count, ``undefined`` were NaN and don't. ``low`` and ``high`` bound the bootstrap interval. With n = 0 the three
    numbers are NaN.
    """

    n: int
    undefined: int
    mean: float
    low: float
    high: float


def summarise(
    values: Sequence[float | int] | Tensor | Shaped[np.ndarray, " values"],
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> Summary:
    """The mean of the values with a 95 % percentile bootstrap interval; the same seed gives the same interval.

    ``clusters`` names the photo (or whatever is drawn as a whole) of every value: then photos are resampled with all their values,
    and the mean is still over values. NaN is left out. Hits may be given as True and False. An infinite value makes the mean
    infinite; the interval's ends are means that were drawn, never a mixture of two.

    Raises InputError for clusters of another number than values, or ``resamples`` below 1.

    >>> summarise([1.0, 0.0, float("nan"), 1.0, 1.0], seed=0)
    Summary(n=4, undefined=1, mean=0.75, low=0.25, high=1.0)
    """
    flat = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64).reshape(-1)
    if clusters is not None and len(clusters) != len(flat):
        raise InputError(
            f"{len(clusters)} clusters for {len(flat)} values were given; expected the cluster of every value"
        )
    defined = ~np.isnan(flat)
    kept = flat[defined]
    if not len(kept):
        return Summary(0, len(flat), math.nan, math.nan, math.nan)
    numbers = _number_clusters(
        None if clusters is None else [c for c, d in zip(clusters, defined, strict=True) if d], len(kept)
    )
    sums, counts = np.zeros(int(numbers.max()) + 1), np.bincount(numbers)
    with np.errstate(invalid="ignore"):  # of both infinities there is no mean: NaN
        np.add.at(sums, numbers, kept)
        means = np.concatenate(
            [sums[drawn].sum(1) / counts[drawn].sum(1) for drawn in _draw_clusters(len(counts), resamples, seed)]
        )
        mean = float(kept.mean())
    return Summary(len(kept), len(flat) - len(kept), mean, *_compute_interval(means))


def summarise_by(
    statistic: Callable[[Int[np.ndarray, " drawn"]], float],
    n: int,
    *,
    seed: int,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> Summary:
    """Any number that is computed from ``n`` records at once, such as a mean over classes or a best threshold, with its interval.

    ``statistic`` gets the positions of the records that count, some of them more than once. It runs ``resamples`` + 1 times. Where a
    draw has no answer (NaN) it is left out of the interval. ``mean`` is the statistic of all records.

    Raises InputError for no records, or clusters of another number than records.

    >>> from statistics import median
    >>> times = [1.0, 2.0, 3.0, 4.0, 90.0]
    >>> summarise_by(lambda drawn: median(times[i] for i in drawn), 5, seed=0)
    Summary(n=5, undefined=0, mean=3.0, low=1.0, high=90.0)
    """
    if n < 1 or (clusters is not None and len(clusters) != n):
        raise InputError(
            f"{n} records and {n if clusters is None else len(clusters)} clusters were given; expected at least one record, and the "
            "cluster of every record"
        )
    numbers = _number_clusters(clusters, n)
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    drawn = (
        np.concatenate([members[i] for i in row])
        for rows in _draw_clusters(len(members), resamples, seed)
        for row in rows
    )
    found = np.array([statistic(records) for records in drawn], dtype=np.float64)
    return Summary(n, 0, float(statistic(np.arange(n))), *_compute_interval(found[~np.isnan(found)]))


def _number_clusters(clusters: Sequence[Hashable] | None, n: int) -> Int[np.ndarray, " values"]:
    """Each value's cluster as a number from 0, in order of appearance; every value its own without clusters."""
    if clusters is None:
        return np.arange(n)
    order: dict[Hashable, int] = {}
    return np.array([order.setdefault(cluster, len(order)) for cluster in clusters], dtype=np.int64)


def _draw_clusters(clusters: int, resamples: int, seed: int) -> Iterator[Int[np.ndarray, "some clusters"]]:
    if resamples < 1:
        raise InputError(
            f"resamples={resamples} was given; expected at least 1 draw, {RESAMPLES} for a steady interval"
        )
    rng = np.random.default_rng(seed)
    some = max(1, _AT_ONCE // clusters)
    for start in range(0, resamples, some):
        yield rng.integers(0, clusters, (min(some, resamples - start), clusters))


def _compute_interval(found: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    if not len(found) or np.isnan(found).any():
        return math.nan, math.nan
    low = np.quantile(found, (1 - LEVEL) / 2, method="lower")
    return float(low), float(np.quantile(found, (1 + LEVEL) / 2, method="higher"))


def average_precision(scores: Float[Tensor, " samples"], positive: Bool[Tensor, " samples"]) -> float:
    """The mean over the positives, from the highest score down, of the share of positives among all that are as high or higher.

    That is the area under the stepped precision-recall curve, not VOC 2007's eleven points. NaN without a positive.

    >>> import torch
    >>> average_precision(torch.tensor([0.9, 0.8, 0.1]), torch.tensor([True, False, True]))
    0.8333333333333333
    """
    if not bool(positive.any()):
        return nan
    own = scores[positive]
    above = [(float((own >= one).sum()), float((scores >= one).sum())) for one in own]
    return sum(hits / every for hits, every in above) / len(above)


def mean_average_precision(
    scores: Float[Tensor, "samples classes"], positive: Bool[Tensor, "samples classes"]
) -> float:
    """The mean of the average precisions of the classes that have a positive; NaN if none has."""
    found = [average_precision(scores[:, one], positive[:, one]) for one in range(scores.shape[1])]
    known = [one for one in found if not isnan(one)]
    return sum(known) / len(known) if known else nan


def auroc(scores: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve: the share of pairs of a positive and a negative in which the positive scores higher, ties half.

    By ranks (Mann and Whitney 1947), so it is exact. NaN without a positive or without a negative.

    >>> auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    positives = int(truth.sum())
    if not 0 < positives < len(truth):
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


_SCENE_RESAMPLES: Final = 1000


def resample_scenes(n: int, seed: int) -> Int64[np.ndarray, "resamples scenes"]:
    """Bootstrap samples of ``n`` scenes."""
    return np.random.default_rng([seed, n]).integers(0, n, (_SCENE_RESAMPLES, n))


def bootstrap_share(
    right: Float[np.ndarray, " scenes"],
    total: Float[np.ndarray, " scenes"],
    samples: Int64[np.ndarray, "resamples scenes"],
) -> dict[str, Any]:
    """A share with its 95 % bootstrap interval over scenes: ``{"value", "interval", "n"}``; None where nothing was counted."""
    if not total.sum():
        return {"value": None, "interval": None, "n": 0}
    below = total[samples].sum(1)
    found = right[samples].sum(1)[below > 0] / below[below > 0]
    low, high = np.quantile(found, (0.025, 0.975)).tolist()
    return {"value": float(right.sum() / total.sum()), "interval": [low, high], "n": round(float(total.sum()))}


def bootstrap_effect(
    values: Float[np.ndarray, " rows"],
    scenes: Int64[np.ndarray, " rows"],
    samples: Int64[np.ndarray, "resamples scenes"],
) -> dict[str, Any]:
    """Mean difference and its standardised size (mean / standard deviation), both with 95 % bootstrap intervals over scenes."""
    if len(values) < 2:
        return {"mean": None, "interval": None, "size": None, "size_interval": None, "n": len(values)}
    n = samples.shape[1]
    sums = [np.bincount(scenes, weights, n) for weights in (np.ones(len(values)), values, values * values)]
    many, first, second = (one[samples].sum(1) for one in sums)
    many, first, second = (one[many > 1] for one in (many, first, second))
    mean = first / many
    sizes = mean / np.sqrt(np.maximum(second / many - mean * mean, 1e-24))
    return {
        "mean": float(values.mean()),
        "interval": np.quantile(mean, (0.025, 0.975)).tolist(),
        "size": float(values.mean() / max(values.std(), 1e-12)),
        "size_interval": np.quantile(sizes, (0.025, 0.975)).tolist(),
        "n": len(values),
    }
