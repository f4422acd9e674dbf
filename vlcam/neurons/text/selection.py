"""Which names are told: those whose units have a large part of what can be told at all.

A unit that may be claimed to see a red star may be claimed to see something red and a star as well. So each name is weighed with all units
that may be claimed to see it. A name is told if that is at least :data:`LEAST` of the evidence of all units of which anything may be
claimed; behind it come the kinds of it that make up a part of its share: "stars", some of them "red stars".

Evidence in units that fire too weakly, or not at all, can't be told, so it does not count for the choice: it changes with the rest of the
picture, and would make names come and go that the target rests on as before.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from vlcam.neurons.text.firing import Members
from vlcam.neurons.text.wording import Group, Key

LEAST: Final = 0.36
"""Names with a smaller share of the evidence that can be told are not worth a word.

Chosen on 140 validation scenes of the bundled world, with the positive parts of 8 masked gradients: a larger one leaves out names of the
target itself, a smaller one tells more that is beside the point (``vlcam neurons evaluate``).
"""
INNER: Final = 0.1
"""A kind of a told name is told if it has this part of its share."""


def choose_names(
    members: Members,
    values: Sequence[float],
    most: int,
    *,
    least: float = LEAST,
    inner: float = INNER,
) -> tuple[Group, ...]:
    """The names that have a large part of the positive ``values``, strongest first, with their shares of all positive values.

    Args:
        members: the units that may be claimed to see each name.
        values: for every unit what it speaks for the target; give them with the opposite sign for what speaks against it.
        most: how many names at most.
        least: the smallest share, of the positive values of units that may be claimed to see anything, that is told.
        inner: the smallest part of a name's share that a kind of it must have.

    Returns:
        Groups of *all* units that may be claimed to see a name; units may be in several, so the shares do not add up.
    """
    whole = sum(value for value in values if value > 0)
    tellable = sum(values[unit] for unit in sorted(set().union(*members.values())) if values[unit] > 0)
    weight = {key: sum(values[unit] for unit in units) for key, units in members.items()}
    order = sorted((key for key in members if weight[key] > 0), key=lambda key: (-weight[key], str(key)))
    chosen = [
        key for key in order if weight[key] >= least * tellable and not any(is_kind(key, other) for other in order)
    ]
    told: list[Key] = []
    for key in chosen:
        kinds = [one for one in order if is_kind(one, key) and weight[one] >= inner * weight[key] and one not in told]
        told += [key, *kinds]
    return tuple(
        Group(key, tuple(sorted(members[key], key=lambda unit: (-values[unit], unit))), weight[key] / whole)
        for key in told[:most]
    )


def sum_share(groups: Sequence[Group], values: Sequence[float]) -> float:
    """The share of the positive part of ``values`` that the units of all groups have together, each counted once; 0 to 1."""
    whole = sum(value for value in values if value > 0)
    units = {unit for group in groups for unit in group.units}
    return min(max(sum(values[unit] for unit in units) / whole, 0.0), 1.0) if whole > 0 else 0.0


@lru_cache(maxsize=2**14)
def is_kind(one: Key, other: Key) -> bool:
    """Whether a name is a kind of another by its words: "red star" of "star", but not of itself."""
    words, fewer = set(one[0].split()), set(other[0].split())
    return fewer < words
