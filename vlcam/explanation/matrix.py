"""Which named neurons speak for which words: a matrix of an explanation's targets by the names in their texts."""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float

from vlcam.contracts import show_record
from vlcam.explanation.record import AbstractExplanation

NAMES: Final = 16
"""How many names a matrix has at most: those with the largest shares."""


@final
@dataclass(frozen=True, eq=False)
class NameMatrix:
    """R targets by C names.

    ``targets`` are positions in the explanation, ``names`` (name, category), ``units`` the channels that may be claimed to see it.
    ``shares`` is the contribution of those channels as a share of all positive contributions to the target or, where it is negative, of
    all negative ones. ``told`` marks names that the target's own text tells; the others are shown for comparison.
    """

    targets: tuple[int, ...]
    names: tuple[tuple[str, str | None], ...]
    units: tuple[tuple[int, ...], ...]
    shares: Float[np.ndarray, "targets names"]
    told: Bool[np.ndarray, "targets names"]

    __repr__ = show_record


def make_matrix(explanation: AbstractExplanation, most: int = NAMES) -> NameMatrix | None:
    """The matrix of all targets but the whole caption; None where fewer than two have a text, or no text tells a name.

    The columns are in the order of the rows that they are strongest in.
    """
    texts = explanation.neurons or ()
    rows = [view.index for view in explanation if view.target.kind != "caption" and view.index < len(texts)]
    units: dict[tuple[str, str | None], set[int]] = {}
    told: set[tuple[int, tuple[str, str | None]]] = set()
    channels = explanation.contributions.shape[1]
    for row in rows:
        for one in texts[row].named:
            if one.case in ("supports", "opposes"):
                key = one.name, one.category
                units.setdefault(key, set()).update(unit for unit in one.units if unit < channels)
                told.add((row, key))
    if len(rows) < 2 or not units:
        return None
    parts = explanation.contributions[rows].double().cpu().numpy()
    parts = np.where(np.isfinite(parts), parts, 0.0)
    whole = np.stack([parts.clip(min=0).sum(1), -parts.clip(max=0).sum(1)])
    names = list(units)
    sums = np.stack([parts[:, sorted(units[key])].sum(1) for key in names], 1)
    divisor = np.where(sums > 0, whole[0][:, None], whole[1][:, None])
    shares = np.divide(sums, divisor, out=np.zeros_like(sums), where=divisor > 0)
    strongest = np.abs(shares).max(0)
    kept = sorted(range(len(names)), key=lambda n: (-strongest[n], str(names[n])))[:most]
    kept.sort(key=lambda n: (int(shares[:, n].argmax()), -float(shares[:, n].max()), str(names[n])))
    return NameMatrix(
        tuple(rows),
        tuple(names[n] for n in kept),
        tuple(tuple(sorted(units[names[n]])) for n in kept),
        shares[:, kept],
        np.array([[(row, names[n]) in told for n in kept] for row in rows], np.bool_),
    )
