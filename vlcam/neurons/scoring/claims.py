"""From which activation on may a text claim that a unit's concept is in the picture?

A unit named after red stars also fires, more weakly, for red circles: its name says what it fires for *most*, not what is there
whenever it fires. So a claim of presence is calibrated on the probe: from a level on, the concept must have been in at least
:data:`RELIABLE` of the pictures in which the unit's maximum was that high. What is compared is the lower end of Wilson's interval for that
share (one-sided, 95 %; Wilson 1927), so that few pictures are not enough. It must also be more than the share of all pictures that
have the concept: what is in every picture (a region of it, say) can't be claimed because a unit fires.

Where the name itself can't be claimed, something more general may: of "red star" still "red". So each unit has a list of claims, the
most specific first, each with its level.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

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
    present, labelled = find_presence(marks)
    out: list[tuple[Claim, ...]] = []
    for unit, name in enumerate(names):
        if name is None:
            out.append(())
            continue
        own = marks.concepts.index(name)
        here = present[:, own]
        always = (present[here] | ~labelled[here]).all(axis=0)
        implied = [
            c
            for c in np.flatnonzero(always).tolist()
            if c != own
            and related(name[0], marks.concepts[c][0])
            and not np.array_equal(present[:, own], present[:, c])  # neither is the more general one
        ]
        found: list[Claim] = []
        for c in [own, *sorted(implied, key=lambda one: int(present[:, one].sum()))]:
            known = labelled[:, c]
            level = find_claim_level(peaks[known, unit].astype(np.float64), present[known, c], float(thresholds[unit]))
            if level is not None:
                found.append((*marks.concepts[c], level))
        out.append(tuple(found))
    return out


def find_presence(marks: Marks) -> tuple[Bool[np.ndarray, "images concepts"], Bool[np.ndarray, "images concepts"]]:
    """Whether each concept is in each picture, and whether the picture is labelled for it at all."""
    areas = marks.measure_areas()
    known = len(marks.concepts)
    return areas[:, :known] > 0, areas[:, known + marks.category] > 0
