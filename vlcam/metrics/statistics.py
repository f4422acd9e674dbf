"""The statistics that every room shares: the one bootstrap, the one area under the ROC curve, the one average precision.

The bootstrap (Efron 1979) draws as many values as there are, with replacement, again and again; between the 2.5 % and the 97.5 %
quantile of what such draws give lies the interval. Values of one photo belong together, so whole photos are drawn where ``clusters``
names them: an interval over the words of a few photos would else be far too narrow. Metrics that have no answer are NaN; they are left
out and counted.

:func:`summarise` is for means and :func:`summarise_by` for anything else that is computed from records. :func:`bootstrap` is below
both. Where values are crossed (every rater sees every photo), both sides are drawn: :func:`summarise_crossed`.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from vlcam.contracts import InputError

RESAMPLES = 2000
LEVEL = 0.95
_ENDS = (0.025, 0.975)
_AT_ONCE = 2**22
"""How many drawn values are held at once."""
_LEAST = 1e-12

Seed = int | Sequence[int]
"""What numpy's generators take as a seed: one number, or several."""


@final
@dataclass(frozen=True)
class Summary:
    """A mean (or another statistic) with its interval.

    ``n`` values count, ``undefined`` were NaN and don't. ``low`` and ``high`` bound the bootstrap interval. With n = 0 the three
    numbers are NaN.
    """

    n: int
    undefined: int
    mean: float
    low: float
    high: float


# --- the bootstrap ----------------------------------------------------------------------------------------------------------


def bootstrap(
    statistic: Callable[[Int[np.ndarray, "draws clusters"]], Float[np.ndarray, "draws *values"]],
    clusters: int,
    *,
    seed: Seed,
    resamples: int = RESAMPLES,
) -> Float[np.ndarray, "resamples *values"]:
    """The statistic of every resample: as many clusters as there are, drawn with replacement.

    ``statistic`` gets the numbers (from 0) of the drawn clusters, a row for each of some resamples at once, and gives a row of values
    for each; NaN where a resample has no answer. The same seed draws the same clusters.

    Raises InputError without a cluster, or for ``resamples`` below 1.

    >>> heights = np.array([1.0, 2.0, 6.0])
    >>> bootstrap(lambda drawn: heights[drawn].max(axis=1), 3, seed=0, resamples=4).tolist()
    [6.0, 1.0, 1.0, 6.0]
    """
    _check_draws(clusters, resamples)
    rng = np.random.default_rng(seed)
    some = max(1, _AT_ONCE // clusters)
    return np.concatenate(
        [
            statistic(rng.integers(0, clusters, (min(some, resamples - start), clusters)))
            for start in range(0, resamples, some)
        ]
    )


def draw_times(n: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resamples n"]:
    """How often each of ``n`` is drawn in each resample, for what is weighted rather than repeated.

    Raises InputError without anything to draw, or for ``resamples`` below 1.

    >>> draw_times(3, 2, np.random.default_rng(0)).sum(axis=1).tolist()
    [3.0, 3.0]
    """
    _check_draws(n, resamples)
    return rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)


def bootstrap_crossed(
    sums: Float[np.ndarray, "*groups rows columns"],
    counts: Float[np.ndarray, "*groups rows columns"],
    *,
    seed: Seed,
    resamples: int = RESAMPLES,
) -> Float[np.ndarray, "*groups resamples"]:
    """Means of values that have a row and a column, such as a photo and a rater: both are drawn, the same for every group.

    ``sums`` are the sums of each cell's values and ``counts`` how many there are. A value counts with the product of how often its row
    and its column were drawn (Owen 2007, "The pigeonhole bootstrap", which errs on the wide side). A single row or column is in every
    resample once. NaN where a resample has no value.
    """
    rng = np.random.default_rng(seed)
    rows, columns = (draw_times(many, resamples, rng) for many in sums.shape[-2:])
    total = ((rows @ sums) * columns).sum(-1)
    count = ((rows @ counts) * columns).sum(-1)
    means: Float[np.ndarray, "*groups resamples"] = np.divide(
        total, count, out=np.full_like(total, np.nan), where=count > 0
    )
    return means


def compute_interval(found: Float[np.ndarray, " draws"], *, interpolate: bool = False) -> tuple[float, float]:
    """The 95 % percentile interval of what a bootstrap found, NaN left out; NaN if nothing else is there.

    The ends are values that were drawn, the outer of the two beside the quantile: a mean may be infinite, and a mixture of two is then
    no number. ``interpolate`` mixes the two, for statistics that are finite.

    >>> compute_interval(np.array([0.0, 20.0])), compute_interval(np.array([0.0, 20.0]), interpolate=True)
    ((0.0, 20.0), (0.5, 19.5))
    """
    kept = found[~np.isnan(found)]
    if not len(kept):
        return math.nan, math.nan
    if interpolate:
        low, high = np.quantile(kept, _ENDS)
    else:
        low, high = np.quantile(kept, _ENDS[0], method="lower"), np.quantile(kept, _ENDS[1], method="higher")
    return float(low), float(high)


def _check_draws(n: int, resamples: int) -> None:
    if n < 1:
        raise InputError(f"{n} clusters were given; expected at least one to draw from")
    if resamples < 1:
        raise InputError(
            f"resamples={resamples} was given; expected at least 1 draw, {RESAMPLES} for a steady interval"
        )


# --- numbers with their intervals -------------------------------------------------------------------------------------------


def summarise(
    values: Sequence[float | int] | Tensor | Shaped[np.ndarray, " values"],
    *,
    seed: Seed,
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
        means = bootstrap(
            lambda drawn: sums[drawn].sum(1) / counts[drawn].sum(1), len(counts), seed=seed, resamples=resamples
        )
        mean = float(kept.mean())
    low, high = (math.nan, math.nan) if math.isnan(mean) else compute_interval(means)
    return Summary(len(kept), len(flat) - len(kept), mean, low, high)


def summarise_by(
    statistic: Callable[[Int[np.ndarray, " drawn"]], float],
    n: int,
    *,
    seed: Seed,
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
    found = bootstrap(
        lambda drawn: np.array(
            [statistic(np.concatenate([members[i] for i in row])) for row in drawn], dtype=np.float64
        ),
        len(members),
        seed=seed,
        resamples=resamples,
    )
    return Summary(n, 0, float(statistic(np.arange(n))), *compute_interval(found))


def summarise_share(
    right: Float[np.ndarray, " photos"],
    total: Float[np.ndarray, " photos"],
    *,
    seed: Seed,
    resamples: int = RESAMPLES,
) -> Summary:
    """A share of counts, ``right`` of ``total`` in every photo, with its interval over photos. n = 0 and NaN where nothing was counted.

    >>> summarise_share(np.array([2.0, 0.0, 1.0]), np.array([2.0, 1.0, 1.0]), seed=0)
    Summary(n=4, undefined=0, mean=0.75, low=0.0, high=1.0)
    """
    if not total.sum():
        return Summary(0, 0, math.nan, math.nan, math.nan)

    def divide(drawn: Int[np.ndarray, "draws photos"]) -> Float[np.ndarray, " draws"]:
        above, below = right[drawn].sum(1), total[drawn].sum(1)
        shares: Float[np.ndarray, " draws"] = np.divide(above, below, out=np.full(len(drawn), np.nan), where=below > 0)
        return shares

    found = bootstrap(divide, len(total), seed=seed, resamples=resamples)
    share = float(right.sum() / total.sum())
    return Summary(round(float(total.sum())), 0, share, *compute_interval(found, interpolate=True))


def summarise_effect(
    values: Float[np.ndarray, " values"],
    photos: Int[np.ndarray, " values"],
    n: int,
    *,
    seed: Seed,
    resamples: int = RESAMPLES,
) -> tuple[Summary, Summary]:
    """A mean difference and its standardised size (mean by standard deviation), both with intervals over ``n`` photos.

    ``photos`` has each value's photo, a number below ``n``; photos without a value are drawn as well. Fewer than two values have no
    answer: NaN.
    """
    if len(values) < 2:
        nothing = Summary(len(values), 0, math.nan, math.nan, math.nan)
        return nothing, nothing
    sums = [np.bincount(photos, weights, n) for weights in (np.ones(len(values)), values, values * values)]

    def measure(drawn: Int[np.ndarray, "draws photos"]) -> Float[np.ndarray, "draws 2"]:
        many, first, second = (one[drawn].sum(1) for one in sums)
        many = np.where(many > 1, many, np.nan)
        mean = first / many
        return np.stack([mean, mean / np.sqrt(np.maximum(second / many - mean * mean, 1e-24))], axis=1)

    found = bootstrap(measure, n, seed=seed, resamples=resamples)
    mean, size = float(values.mean()), float(values.mean() / max(values.std(), 1e-12))
    one, other = (
        Summary(len(values), 0, value, *compute_interval(draws, interpolate=True))
        for value, draws in zip((mean, size), found.T, strict=True)
    )
    return one, other


def summarise_crossed(values: Float[np.ndarray, "rows columns"], *, seed: Seed, resamples: int = RESAMPLES) -> Summary:
    """The mean of values that have a row and a column, with the interval of :func:`bootstrap_crossed`. NaN is left out and counted."""
    there = ~np.isnan(values)
    if not there.any():
        return Summary(0, values.size, math.nan, math.nan, math.nan)
    filled = np.where(there, values, 0.0)
    means = bootstrap_crossed(filled, there.astype(np.float64), seed=seed, resamples=resamples)
    mean = float(filled.sum() / there.sum())
    return Summary(int(there.sum()), int((~there).sum()), mean, *compute_interval(means, interpolate=True))


def _number_clusters(clusters: Sequence[Hashable] | None, n: int) -> Int[np.ndarray, " values"]:
    """Each value's cluster as a number from 0, in order of appearance; every value its own without clusters."""
    if clusters is None:
        return np.arange(n)
    order: dict[Hashable, int] = {}
    return np.array([order.setdefault(cluster, len(order)) for cluster in clusters], dtype=np.int64)


# --- scores against the truth -----------------------------------------------------------------------------------------------

Scores = Float[Tensor, " samples"] | Float[np.ndarray, " samples"]
Truth = Bool[Tensor, " samples"] | Bool[np.ndarray, " samples"]


def average_ranks(values: Float[Tensor, " values"]) -> Float[Tensor, " values"]:
    """Ranks from 1 up, float64; equal values share the mean of the ranks that they take up together. NaN must be gone.

    >>> average_ranks(torch.tensor([0.5, 0.0, 0.0, 7.0])).tolist()
    [3.0, 1.5, 1.5, 4.0]
    """
    _, place, count = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = count.cumsum(0).double() - (count - 1) / 2
    return ranks[place]


def auroc(scores: Scores, truth: Truth) -> float:
    """Area under the ROC curve: the share of pairs of a positive and a negative in which the positive scores higher, ties half.

    By ranks (Mann and Whitney 1947), so it is exact. NaN without a positive or without a negative.

    >>> auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    values, positive = _to_tensor(scores), _to_tensor(truth)
    many, others = int(positive.sum()), int((~positive).sum())
    if not many or not others:
        return math.nan
    ranks = float(average_ranks(values)[positive].sum())
    return (ranks - many * (many + 1) / 2) / (many * others)


def average_precision(scores: Scores, truth: Truth) -> float:
    """The mean over the positives of the share of positives among all that score as high or higher. NaN without a positive.

    That is the area under the precision-recall curve as a step function, ``sum over levels of precision x gain in recall``, equal scores
    being one level: of what a threshold can't part, no order counts. It is not VOC 2007's eleven points.

    >>> average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True]))
    0.8333333333333333
    >>> average_precision(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([True, True, False]))
    0.6666666666666666
    """
    values, positive = _to_tensor(scores), _to_tensor(truth)
    if not bool(positive.any()):
        return math.nan
    levels, place = values.unique(return_inverse=True)
    own, every = (torch.bincount(one, minlength=len(levels)).double().numpy() for one in (place[positive], place))
    return float(average_precision_by_level(own[None], every[None])[0])


def average_precision_by_level(
    own: Float[np.ndarray, "rows levels"], every: Float[np.ndarray, "rows levels"]
) -> Float[np.ndarray, " rows"]:
    """:func:`average_precision` of scores that are counted by level, the lowest first: how many positives each has, and how many in all.

    Counts may be weights. 0 for a row without a positive.

    >>> average_precision_by_level(np.array([[1.0, 0.0, 1.0]]), np.array([[1.0, 1.0, 1.0]])).tolist()
    [0.8333333333333333]
    """
    above = own[:, ::-1].cumsum(axis=1)
    precision = above / np.maximum(every[:, ::-1].cumsum(axis=1), _LEAST)
    found: Float[np.ndarray, " rows"] = (precision * own[:, ::-1]).sum(axis=1) / np.maximum(above[:, -1], _LEAST)
    return found


def mean_average_precision(
    scores: Float[Tensor, "samples classes"] | Float[np.ndarray, "samples classes"],
    truth: Bool[Tensor, "samples classes"] | Bool[np.ndarray, "samples classes"],
) -> float:
    """The mean of the average precisions of the classes that have a positive; NaN if none has."""
    found = [average_precision(scores[:, one], truth[:, one]) for one in range(scores.shape[1])]
    known = [one for one in found if not math.isnan(one)]
    return float(np.mean(known)) if known else math.nan


def _to_tensor(values: Tensor | np.ndarray) -> Tensor:
    return values.detach().cpu() if isinstance(values, Tensor) else torch.tensor(values, device="cpu")
