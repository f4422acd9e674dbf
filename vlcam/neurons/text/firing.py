"""What the named channels of a layer do in one image, whatever is explained: worked out once for all targets of the image."""

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, final

from vlcam.explanation.record import Standing
from vlcam.neurons.names.record import AbstractNeuronNames
from vlcam.neurons.text.claimable import list_claimable
from vlcam.neurons.text.wording import Key

_OBJECT_CATEGORIES: Final = frozenset({"colour", "shape", "texture", "size", "pair"})

Members = Mapping[Key, Sequence[int]]
"""The channels of each name, in the layer's order."""


@final
class Firing:
    """Which channels fire in one image, and what may be said of them; ``peaks`` are the channels' maxima there.

    ``active``: above T_k; ``standing``: see :data:`vlcam.explanation.record.Standing`; ``claimable``: the names that a channel may be
    claimed to see; ``seen``: the channels that may be claimed to see a name; ``named``: the channels of each name; ``absent``: the silent
    channels of each name that no firing channel has or implies. All by position in the layer.
    """

    def __init__(self, names: AbstractNeuronNames, peaks: Sequence[float]) -> None:
        units = names.units
        self.claimable = list_claimable(names, peaks)
        self.active = [unit.state != "dead" and peak > unit.threshold for unit, peak in zip(units, peaks, strict=True)]
        self.standing: list[Standing] = [
            "unnamed" if unit.name is None else "claimable" if keys else "weak" if active else "background"
            for unit, keys, active in zip(units, self.claimable, self.active, strict=True)
        ]
        self.seen: Members = _group((key, k) for k, keys in enumerate(self.claimable) for key in keys)
        known = [((unit.name, unit.category), k) for k, unit in enumerate(units) if unit.name is not None]
        self.named: Members = _group(known)
        shown = {key for key, k in known if self.active[k]} | set(self.seen)
        implied = _list_implied_words(shown)
        silent = _group((key, k) for key, k in known if not self.active[k])
        self.absent: Members = {
            key: members for key, members in silent.items() if not (key in shown or set(key[0].split()) <= implied)
        }
        self.thresholds = [max(unit.threshold, 1e-9) for unit in units]
        self.measured = all(unit.claims is not None for unit in units if unit.name is not None)


_last: tuple[weakref.ref[AbstractNeuronNames], list[float], Firing] | None = None
"""The names and the peaks that were read last; the targets of an image come one after the other."""


def read_firing(names: AbstractNeuronNames, peaks: list[float]) -> Firing:
    """What the channels do in the image with these maxima, the same object for the same names and maxima one after the other."""
    global _last  # replaced as a whole, so threads that interleave only work it out again
    last = _last
    if last is not None and last[0]() is names and last[1] == peaks:
        return last[2]
    found = Firing(names, peaks)
    _last = weakref.ref(names), peaks, found
    return found


def _group(pairs: Iterable[tuple[Key, int]]) -> dict[Key, list[int]]:
    found: dict[Key, list[int]] = {}
    for key, k in pairs:
        found.setdefault(key, []).append(k)
    return found


def _list_implied_words(present: Iterable[Key]) -> frozenset[str]:
    """The words that firing names make true: those in them, and "object" for what only objects have."""
    words: set[str] = set()
    for name, category in present:
        words |= {"thing"} if category in _OBJECT_CATEGORIES else set()
        words |= {name} if category == "region" else set(name.split())
    return frozenset(words)
