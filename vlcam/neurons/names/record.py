"""The names of a layer's channels: frozen records (files of them are in :mod:`vlcam.neurons.names.json_files`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Literal, final

from vlcam.contracts import InputError, shorten

FLAGS: Final = {
    "polysemantic": "fires for another, unrelated concept as well",
    "unstable": "another name wins on many bootstrap samples of the probe",
    "ambiguous": "the next best name matches nearly as well",
    "few": "the concept is in few pictures of the probe",
    "target": "the name is also something that the model predicts, so it explains nothing",
}
"""Warnings about a name, and what they mean."""

State = Literal["named", "unnamed", "dead"]
Alternative = tuple[str, str | None, float]

STATES: Final = ("named", "unnamed", "dead")
_NUMBERS: Final = ("score", "ceiling", "p", "threshold", "iou", "auprc", "correlation", "stability", "margin")


@final
@dataclass(frozen=True)
class NeuronName:
    """What one channel of a layer stands for.

    ``unit`` counts from 0. ``state``: ``named``; ``unnamed`` (fires, but no name passed the tests); ``dead`` (never fires on
    the probe). ``score`` is that of the name, or of the best concept that did not pass, by the scorer of the names; ``ceiling``
    the highest IoU that concept could reach, ``min(p, q) / max(p, q)`` of the two areas; ``p`` the p-value of the permutation test
    (None: not tested); ``threshold`` is T_k of Network Dissection: the unit counts as active above it. ``alternatives``: the next
    best (name, category, score).

    Of the same name, where the probe has masks: ``iou``, ``auprc`` (average precision over positions) and ``correlation``
    (Pearson's, of activation and covered area). ``stability`` is the share of bootstrap samples of the pictures in which the same
    name wins; ``margin`` (first - second) / first score. ``also`` are further names that hold of the unit. ``formula`` joins up to
    three concepts where that matches better than one ("(red OR orange) AND NOT star"), with its IoU. ``flags``: words of warning
    (see :data:`FLAGS`).

    ``claims``: (name, category, level): if the unit's maximum in a picture is above the level, a text may say that this is there; the
    most specific first (see :mod:`vlcam.neurons.scoring.claims`). None: never calibrated; empty: nothing may be claimed.
    """

    unit: int
    state: State
    name: str | None = None
    category: str | None = None
    score: float = 0.0
    ceiling: float = 1.0
    p: float | None = None
    threshold: float = 0.0
    alternatives: tuple[Alternative, ...] = ()
    iou: float | None = None
    auprc: float | None = None
    correlation: float | None = None
    stability: float | None = None
    margin: float | None = None
    also: tuple[str, ...] = ()
    formula: tuple[str, float] | None = None
    flags: tuple[str, ...] = ()
    claims: tuple[Alternative, ...] | None = None

    def __repr__(self) -> str:
        if self.name is None:
            return f"NeuronName({self.unit}: {shorten(self.state, 12)})"
        category = "" if self.category is None else f" ({shorten(self.category)})"
        flags = "".join(f", {shorten(one, 16)}" for one in self.flags[: len(FLAGS)])
        return f"NeuronName({self.unit}: {shorten(self.name)}{category}, score {self.score:.2f}{flags})"


@final
@dataclass(frozen=True)
class NameGroup:
    """Two or more channels of one name, and what may be claimed when they fire together.

    Where one channel of a name is unsure, several of them may not be. Their score in a picture is ``sum_k w_k max(A_k)`` over ``units``
    with the ``weights`` w. ``claims``: (name, category, level), as those of :class:`NeuronName`, but for that score.
    """

    name: str
    category: str | None
    units: tuple[int, ...]
    weights: tuple[float, ...]
    claims: tuple[Alternative, ...]

    def __repr__(self) -> str:
        return f"NameGroup({shorten(self.name)}: {len(self.units)} units, {len(self.claims)} claims)"


@dataclass(frozen=True, repr=False)
class AbstractNeuronNames:
    """The names of all channels of one layer of one model; :class:`vlcam.NeuronNames` adds texts and files.

    ``probe`` says how they were made: command, split, number of images, quantile, permutations, seed, ... (any JSON values).
    ``together``: what channels of one name may claim together; empty where that was never calibrated.
    """

    model: str
    layer: str
    weights_sha256: str | None
    probe: Mapping[str, Any] = field(hash=False)
    units: tuple[NeuronName, ...]
    together: tuple[NameGroup, ...] = ()

    def __post_init__(self) -> None:
        for place, unit in enumerate(self.units):
            if unit.unit != place:
                raise InputError(
                    f"unit {unit.unit} stands at place {place} of the names; expected every unit of the layer once, in order, "
                    "counted from 0; add the missing ones (state 'unnamed'), or drop the double ones"
                )
            _check(unit)
        for group in self.together:
            _check_group(group, len(self.units))

    def __repr__(self) -> str:
        named = sum(unit.state == "named" for unit in self.units)
        place = f"{shorten(self.model, 60)} at {shorten(self.layer, 60)}"
        return (
            f"{type(self).__name__}({place}: {named} of {len(self.units)} units named, {len(self.concepts)} concepts)"
        )

    def __len__(self) -> int:
        return len(self.units)

    @property
    def coverage(self) -> float:
        """The share of units that have a name, 0 to 1."""
        return sum(unit.state == "named" for unit in self.units) / len(self.units) if self.units else 0.0

    @property
    def concepts(self) -> tuple[str, ...]:
        """The different names in use, sorted: their number is the layer's score in Network Dissection."""
        return tuple(sorted({unit.name for unit in self.units if unit.name is not None}))


def _check_group(group: NameGroup, units: int) -> None:
    """InputError for a group of units that are not there, or of levels that are not numbers."""
    if len(group.units) < 2 or not all(0 <= unit < units for unit in group.units):
        raise InputError(
            f"the group of {group.name!r} has the units {group.units}; expected two or more of 0 to {units - 1}"
        )
    if len(group.weights) != len(group.units):
        raise InputError(
            f"the group of {group.name!r} has {len(group.units)} units and {len(group.weights)} weights; expected one for each"
        )
    if not all(isfinite(number) for number in (*group.weights, *(level for _, _, level in group.claims))):
        raise InputError(f"the group of {group.name!r} has a number that is not finite; expected finite numbers")


def _check(unit: NeuronName) -> None:
    """InputError for a record that contradicts itself."""
    numbers = {name: getattr(unit, name) for name in _NUMBERS} | {
        "formula": None if unit.formula is None else unit.formula[1]
    }
    numbers |= {f"alternative {other[0]!r}": other[2] for other in unit.alternatives}
    if (unit.state == "named") != bool(unit.name):
        raise InputError(
            f"unit {unit.unit} is {unit.state!r} with name {unit.name!r}; expected a name if, and only if, it is 'named'"
        )
    for what, number in numbers.items():
        if number is not None and not isfinite(number):
            raise InputError(
                f"unit {unit.unit} has a number that is not finite, {number} for {what}; expected finite numbers"
            )
    unknown = [flag for flag in unit.flags if flag not in FLAGS]
    if unknown:
        raise InputError(f"unit {unit.unit} has the flag {unknown[0]!r}; expected some of {', '.join(FLAGS)}")
