"""From which activation on may a text claim that a unit's concept is in the picture?

A unit named after red stars also fires, more weakly, for red circles: its name says what it fires for *most*, not what is there
whenever it fires. So a claim of presence is calibrated on the probe: from a level on, the concept must have been in at least
:data:`RELIABLE` of the pictures in which the unit's maximum was that high. What is compared is the lower end of Wilson's interval for that
share (one-sided, 95 %; Wilson 1927), so that few pictures are not enough. It must also be more than the share of all pictures that
have the concept: what is in every picture (a region of it, say) can't be claimed because a unit fires.

Where the name itself can't be claimed, something more general may: of "red star" still "red". So each unit has a list of claims, the
most specific first, each with its level.

Several units of one name are surer than each of them. Their maxima are added up with the weights of Fisher's linear discriminant with a
diagonal covariance, ``w_k = (m1_k - m0_k) / s_k^2`` (Fisher 1936; the means with and without the concept, and the variance within the two),
and the sum is calibrated in the same way. What it claims is claimed by all of them.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from vlcam.neurons.names.record import NameGroup
from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.probes.probe import Concept

RELIABLE: Final = 0.90
_Z: Final = 1.6449  # one-sided 95 %

Claim = tuple[str, str | None, float]
"""A concept's name and category, and the activation from which on it may be claimed."""


def find_claim_level(
    peaks: Float[np.ndarray, " images"], present: Bool[np.ndarray, " images"], least: float
) -> float | None:
    """The lowest level that is at least ``least`` and reliable; None if there is none.

    Args:
        peaks: the unit's maximum in each picture (those labelled for the concept's category).
        present: whether the concept is there.
        least: the unit's threshold T_k: below it the unit counts as silent.
    """
    order = np.argsort(-peaks, kind="stable")
    ranked = peaks[order]
    many = np.arange(1, len(ranked) + 1)
    bound = wilson_lower_bound(np.cumsum(present[order]), many)
    last = np.append(ranked[1:] < ranked[:-1], True)  # a level can't part equal maxima
    usual = float(present.mean()) if len(present) else 1.0
    good = np.flatnonzero((bound >= RELIABLE) & (bound > usual) & last & (ranked > least))
    if not len(good):
        return None
    below = ranked[good[-1] + 1] if good[-1] + 1 < len(ranked) else least
    return float(max(below, least))


def wilson_lower_bound(hits: Float[np.ndarray, " n"] | NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.float64]:
    """The lower end of Wilson's interval for ``hits`` out of ``of``."""
    share = hits / of
    spread = _Z * np.sqrt(share * (1 - share) / of + _Z**2 / (4 * of**2))
    bound: NDArray[np.float64] = (share + _Z**2 / (2 * of) - spread) / (1 + _Z**2 / of)
    return bound


def find_claims(
    marks: Marks,
    peaks: Float[np.ndarray, "images units"],
    thresholds: Float[np.ndarray, " units"],
    names: Sequence[Concept | None],
    related: Callable[[str, str], bool],
) -> list[tuple[Claim, ...]]:
    """For every named unit what may be claimed, from which level on: its name first, then what the name implies, likeliest first.

    What a name implies are the probe's concepts that are always there with it ("red" with "red star", "animal" with "dog"), and are
    called something related.
    """
    tests = _Claims(marks, related)
    return [
        () if name is None else tests.find(name, peaks[:, unit].astype(np.float64), float(thresholds[unit]))
        for unit, name in enumerate(names)
    ]


def find_group_claims(
    marks: Marks,
    peaks: Float[np.ndarray, "images units"],
    names: Sequence[Concept | None],
    related: Callable[[str, str], bool],
) -> tuple[NameGroup, ...]:
    """For every name that several units have: what they may claim together, from which weighted sum of their maxima on.

    The weights are positive and sum to 1. Units that tell nothing are left out, and so are groups of fewer than two or without claims.
    """
    tests = _Claims(marks, related)
    groups: dict[Concept, list[int]] = {}
    for unit, name in enumerate(names):
        if name is not None:
            groups.setdefault(name, []).append(unit)
    out = []
    for name, every in groups.items():
        weights = tests.weigh(name, peaks[:, every].astype(np.float64))
        units = [unit for unit, weight in zip(every, weights, strict=True) if weight > 0]
        if len(units) > 1:
            weights = weights[weights > 0] / weights.sum()
            score = peaks[:, units].astype(np.float64) @ weights
            if found := tests.find(name, score, float(score.min())):
                out.append(NameGroup(*name, tuple(units), tuple(weights.tolist()), found))
    return tuple(out)


@final
class _Claims:
    """The labels of a probe, against which scores of pictures are calibrated."""

    def __init__(self, marks: Marks, related: Callable[[str, str], bool]) -> None:
        self.concepts, self.related = marks.concepts, related
        self.present, self.labelled = find_presence(marks)

    def weigh(self, name: Concept, peaks: Float[np.ndarray, "images some"]) -> Float[np.ndarray, " some"]:
        """How much each of some units tells of a concept; 0 for one that does not fire more where it is."""
        own = self.concepts.index(name)
        known = self.labelled[:, own]
        here, peaks = self.present[known, own], peaks[known]
        if here.all() or not here.any():
            return np.zeros(peaks.shape[1])
        spread = here.mean() * peaks[here].var(0) + (1 - here.mean()) * peaks[~here].var(0)
        apart: NDArray[np.float64] = np.maximum(peaks[here].mean(0) - peaks[~here].mean(0), 0.0)
        weights: NDArray[np.float64] = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
        return weights

    def find(self, name: Concept, scores: Float[np.ndarray, " images"], least: float) -> tuple[Claim, ...]:
        """What may be claimed from which score on: the name, and what it implies."""
        found: list[Claim] = []
        for c in self._list_implied(self.concepts.index(name)):
            known = self.labelled[:, c]
            level = find_claim_level(scores[known], self.present[known, c], least)
            if level is not None:
                found.append((*self.concepts[c], level))
        return tuple(found)

    def _list_implied(self, own: int) -> list[int]:
        """The concept itself, and then those that are always there with it, rarest first."""
        here = self.present[:, own]
        always = (self.present[here] | ~self.labelled[here]).all(axis=0)
        implied = [
            c
            for c in np.flatnonzero(always).tolist()
            if c != own
            and self.related(self.concepts[own][0], self.concepts[c][0])
            and not np.array_equal(here, self.present[:, c])  # neither is the more general one
        ]
        return [own, *sorted(implied, key=lambda one: int(self.present[:, one].sum()))]


def find_presence(marks: Marks) -> tuple[Bool[np.ndarray, "images concepts"], Bool[np.ndarray, "images concepts"]]:
    """Whether each concept is in each picture, and whether the picture is labelled for it at all."""
    areas = marks.measure_areas()
    known = len(marks.concepts)
    return areas[:, :known] > 0, areas[:, known + marks.category] > 0
