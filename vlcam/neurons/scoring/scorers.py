"""The ways to compare units with concepts, behind one interface: scores, scores by chance, and how firm the winner is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vlcam.metrics.statistics import draw_times
from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.scoring import cover as covers
from vlcam.neurons.scoring.cover import Cover, average_precisions, correlations
from vlcam.neurons.scoring.fired import Firings, Stored, find_firings, find_thresholds
from vlcam.neurons.scoring.null import Progress, draw_orders, score_permuted
from vlcam.neurons.scoring.wpmi import (
    TOP,
    adaptive_similarity,
    expected_log_likelihood,
    log_likelihood,
    normalise_over_units,
)

SCORERS: Final = ("iou", "auprc", "correlation", "soft-wpmi", "www")
CANDIDATES: Final = 5


class Scorer(ABC):
    """Compares the units of a layer with concepts on one probe."""

    @abstractmethod
    def score_concepts(self) -> Float[np.ndarray, "units concepts"]:
        """How well each concept fits each unit."""

    def compute_test_statistic(self) -> Float[np.ndarray, " units"]:
        """What is compared with the null: each unit's best score."""
        best: NDArray[np.float64] = self.score_concepts().max(axis=1)
        return best

    @abstractmethod
    def score_by_chance(
        self, draws: int, seed: int, progress: Progress | None = None
    ) -> Float[np.ndarray, "draws units"]:
        """The same number in each draw of the null."""

    @abstractmethod
    def score_resampled(self, times: Float[np.ndarray, " images"]) -> Float[np.ndarray, "units concepts"]:
        """The scores if picture i had been in the probe ``times[i]`` times."""

    def measure_stability(self, samples: int, seed: int) -> Float[np.ndarray, " units"]:
        """The share of bootstrap samples of the pictures in which each unit's best concept is the same as on the probe."""
        best = self.score_concepts().argmax(axis=1)
        same = np.zeros(len(best))
        for times in draw_bootstraps(self.images, samples, seed):
            same += self.score_resampled(times).argmax(axis=1) == best
        return same / max(samples, 1)

    @property
    @abstractmethod
    def images(self) -> int:
        """Pictures of the probe."""


def draw_bootstraps(images: int, samples: int, seed: int) -> Float[np.ndarray, "samples images"]:
    """How often each picture is drawn in each sample."""
    return draw_times(images, samples, np.random.default_rng([seed, 1]))


@final
class OverlapScorer(Scorer):
    """Intersection over union of where a unit fires and where a concept is (Network Dissection)."""

    def __init__(self, maps: Stored, marks: Marks, quantile: float) -> None:
        self.maps, self.marks = maps, marks
        self.thresholds: Tensor = find_thresholds(maps, quantile)
        self.fired: Firings = find_firings(maps, self.thresholds, marks.grid)
        self.sizes = marks.measure_sizes()
        self.inter = marks.count(self.fired)
        self._scores = marks.iou(self.inter, self.sizes)
        self._areas = marks.measure_areas()

    @property
    def images(self) -> int:
        """Pictures of the probe."""
        return len(self.marks)

    def score_concepts(self) -> Float[np.ndarray, "units concepts"]:
        """IoU."""
        return self._scores

    def score_by_chance(
        self, draws: int, seed: int, progress: Progress | None = None
    ) -> Float[np.ndarray, "draws units"]:
        """See :mod:`vlcam.neurons.scoring.null`."""
        return score_permuted(self.maps, self.thresholds, self.fired, self.marks, draws, seed, progress)

    def score_resampled(self, times: Float[np.ndarray, " images"]) -> Float[np.ndarray, "units concepts"]:
        """IoU with counts weighted by picture; T_k stays."""
        unit, column, image, count = self._split_by_picture(np.ones_like(self.inter, np.bool_))
        return self._score_weighted(unit, column, image, count, times)

    def measure_stability(self, samples: int, seed: int) -> Float[np.ndarray, " units"]:
        """Among each unit's five best concepts."""
        order = np.argsort(-self._scores, axis=1, kind="stable")[:, :CANDIDATES]
        wanted = np.zeros(self.inter.shape, np.bool_)
        np.put_along_axis(wanted, order, True, axis=1)
        wanted[:, len(self.marks.concepts) :] = True
        found = self._split_by_picture(wanted)
        same = np.zeros(len(order))
        for times in draw_bootstraps(self.images, samples, seed):
            scores = self._score_weighted(*found, times)
            best = np.take_along_axis(scores, order, axis=1).argmax(axis=1)
            same += best == 0
        return same / max(samples, 1)

    def _split_by_picture(
        self, wanted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The counts that add up to ``inter``: unit, column, picture and count of each that is not 0."""
        parts: list[tuple[NDArray[np.int64], ...]] = []
        for image in range(self.images):
            units, columns, counts = self.marks.count_picture(self.fired, image)
            row, column = np.nonzero(counts * wanted[np.ix_(units, columns)])
            many = counts[row, column]
            parts.append((units[row], columns[column], np.full(len(row), image), many))
        unit, column, image_of, count = (np.concatenate(one) for one in zip(*parts, strict=True))
        return unit, column, image_of, count.astype(np.float64)

    def _score_weighted(
        self,
        unit: NDArray[np.int64],
        column: NDArray[np.int64],
        image: NDArray[np.int64],
        count: NDArray[np.float64],
        times: NDArray[np.float64],
    ) -> Float[np.ndarray, "units concepts"]:
        flat = np.bincount(unit * self.marks.width + column, count * times[image], self.inter.size)
        sizes = times @ self._areas
        return self.marks.iou(np.rint(flat).astype(np.int64).reshape(self.inter.shape), np.rint(sizes).astype(np.int64))


@final
class CoverScorer(Scorer):
    """Average precision or correlation of activation and covered share (:mod:`vlcam.neurons.scoring.cover`)."""

    def __init__(self, maps: Stored, cover: Cover, measure: str) -> None:
        self.maps, self.cover = maps, cover
        self._score: Callable[..., NDArray[np.float64]]
        self._score = self._compute_precisions if measure == "auprc" else self._compute_correlations
        self._levels = covers.bin_levels(maps) if measure == "auprc" else np.zeros((0, 0), np.uint8)
        self._scores: NDArray[np.float64] | None = None

    @property
    def images(self) -> int:
        """Pictures of the probe."""
        return self.cover.images

    def score_concepts(self) -> Float[np.ndarray, "units concepts"]:
        """Average precision, or r."""
        if self._scores is None:
            self._scores = self._score()
        return self._scores

    def score_by_chance(
        self, draws: int, seed: int, progress: Progress | None = None
    ) -> Float[np.ndarray, "draws units"]:
        """The pictures' labels permuted against their maps. Concepts that are the same in all pictures are left as they are."""
        out = np.empty((draws, self.maps.shape[1]))
        for draw, order in enumerate(draw_orders(self.images, draws, seed)):
            out[draw] = self._score(order=order).max(axis=1)
            if progress is not None:
                progress(draw + 1, draws)
        return out

    def score_resampled(self, times: Float[np.ndarray, " images"]) -> Float[np.ndarray, "units concepts"]:
        """With weights."""
        return self._score(times=times)

    def _compute_precisions(self, **options: Any) -> NDArray[np.float64]:
        return average_precisions(self._levels, self.cover, **options)

    def _compute_correlations(self, **options: Any) -> NDArray[np.float64]:
        return correlations(self.maps, self.cover, **options)


@final
class WordScorer(Scorer):
    """Words that an image-text encoder finds in the pictures where a unit is most active (:mod:`vlcam.neurons.scoring.wpmi`)."""

    def __init__(
        self, activity: Float[Tensor, "images units"], similarity: Float[Tensor, "images words"], how: str
    ) -> None:
        self.activity, self.similarity = activity, similarity
        self._how = how
        self._expected: Tensor | None = None
        self._scores: NDArray[np.float64] | None = None

    @property
    def images(self) -> int:
        """Pictures of the probe."""
        return len(self.activity)

    def score_concepts(self) -> Float[np.ndarray, "units words"]:
        """soft-WPMI in nats, or the sum of adaptive similarities."""
        if self._scores is None:
            self._scores = self._score_words(self.activity, self.similarity)[0].numpy()
        return self._scores

    def compute_test_statistic(self) -> Float[np.ndarray, " units"]:
        """For soft-WPMI how much likelier the best word is in the unit's pictures than in as many others.

        soft-WPMI itself can't be tested: it is bounded by the logarithm of the number of units, which the best word of almost any
        set of pictures reaches.
        """
        return self._compute_statistic(self.similarity)

    def score_by_chance(
        self, draws: int, seed: int, progress: Progress | None = None
    ) -> Float[np.ndarray, "draws units"]:
        """The pictures' similarities permuted against their activity."""
        out = np.empty((draws, self.activity.shape[1]))
        for draw, order in enumerate(draw_orders(self.images, draws, seed)):
            out[draw] = self._compute_statistic(self.similarity[torch.from_numpy(order)])
            if progress is not None:
                progress(draw + 1, draws)
        return out

    def score_resampled(self, times: Float[np.ndarray, " images"]) -> Float[np.ndarray, "units words"]:
        """With pictures repeated and left out."""
        again: Int64[Tensor, " drawn"] = torch.from_numpy(np.repeat(np.arange(len(times)), times.astype(np.int64)))
        return self._score_words(self.activity[again], self.similarity[again])[0].numpy()

    def _score_words(
        self, activity: Tensor, similarity: Tensor
    ) -> tuple[Float[Tensor, "units words"], Float[Tensor, "units words"]]:
        """The scores, and what of them is tested."""
        if self._how == "www":
            found = adaptive_similarity(activity, similarity)
            return found, found
        likely = log_likelihood(activity, similarity)
        if self._expected is None:  # the same for permuted pictures
            self._expected = expected_log_likelihood(self.similarity, min(TOP, self.images))
        return normalise_over_units(likely), likely - self._expected

    def _compute_statistic(self, similarity: Tensor) -> NDArray[np.float64]:
        scores, tested = self._score_words(self.activity, similarity)
        best: NDArray[np.float64] = tested.gather(1, scores.argmax(1, keepdim=True))[:, 0].numpy()
        return best
