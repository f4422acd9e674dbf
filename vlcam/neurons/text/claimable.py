"""What a text may say of each channel in one image, from how strongly it fires there.

A unit may be claimed to see what its own calibrated claims allow at its maximum, and what the units of its name allow together
(:mod:`vlcam.neurons.scoring.claims`). So a unit may stand for several names at once: "red star", "red" and "star".
"""

from collections.abc import Sequence

from vlcam.neurons.names.record import AbstractNeuronNames, Alternative, NeuronName
from vlcam.neurons.text.wording import Key


def list_claims(unit: NeuronName) -> tuple[Alternative, ...]:
    """What may be said of a unit above which activation, most specific first.

    A unit that was never calibrated is taken at its word above T_k. Nothing is claimed at or below T_k.
    """
    if unit.name is None or unit.state == "dead":
        return ()
    if unit.claims is None:
        return ((unit.name, unit.category, unit.threshold),)
    return tuple((name, category, max(level, unit.threshold)) for name, category, level in unit.claims)


def list_claimable(names: AbstractNeuronNames, peaks: Sequence[float]) -> list[tuple[Key, ...]]:
    """For every unit the names that it may be claimed to see, most specific first; ``peaks`` are the units' maxima in the image.

    What units of one name claim together is said of those of them that fire above their own T_k.
    """
    found = [
        [(name, category) for name, category, level in list_claims(unit) if peak > level]
        for unit, peak in zip(names.units, peaks, strict=True)
    ]
    for group in names.together:
        if any(names.units[unit].name != group.name for unit in group.units):
            continue  # some of its names were dropped since
        score = sum(weight * peaks[unit] for unit, weight in zip(group.units, group.weights, strict=True))
        claimed = [(name, category) for name, category, level in group.claims if score > level]
        for unit in group.units:
            if peaks[unit] > names.units[unit].threshold:
                found[unit] = [*claimed, *(one for one in found[unit] if one not in claimed)]
    return [tuple(one) for one in found]
