"""The names of a layer's channels: frozen records (files of them are in :mod:`vlcam.neurons.name_files`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, SupportsIndex, final

from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Target
from vlcam.explanation import Explanation, NeuronText, TargetView

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
    name wins; ``margin`` (first - second) / first score. ``also`` are further names that hold of the unit, too. ``formula`` joins up to
    three concepts where that matches better than one ("(red OR orange) AND NOT star"), with its IoU. ``flags``: words of warning
    (see :data:`FLAGS`).

    ``claims``: (name, category, level): if the unit's maximum in a picture is above the level, a text may say that this is there; the
    most specific first (see :mod:`vlcam.neurons.claims`). None: never calibrated; empty: nothing may be claimed.
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


@final
@dataclass(frozen=True)
class NeuronNames:
    """The names of all channels of one layer of one model.

    ``probe`` says how they were made: command, split, number of images, quantile, permutations, seed, ... (any JSON values).
    Satisfies :class:`vlcam.contracts.Names`.
    """

    model: str
    layer: str
    weights_sha256: str | None
    probe: Mapping[str, Any] = field(hash=False)
    units: tuple[NeuronName, ...]

    def __post_init__(self) -> None:
        for place, unit in enumerate(self.units):
            if unit.unit != place:
                raise InputError(
                    f"unit {unit.unit} stands at place {place} of the names; expected every unit of the layer once, in order, "
                    "counted from 0; add the missing ones (state 'unnamed'), or drop the double ones"
                )
            _check(unit)

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

    def describe(
        self,
        explanation: Explanation,
        target: SupportsIndex | str | tuple[str, int] | TargetView | None = None,
        style: str = "full",
        top_k: int = 5,
    ) -> NeuronText:
        """Say in words what one target of an explanation rests on.

        Args:
            explanation: of the layer that these names are of.
            target: which target: its position, its label, ``(label, n)`` for the n-th with that label, or one of
                ``explanation``'s views; by default the first.
            style: ``full`` (the four cases with units, shares and coverage), ``short`` (one or two sentences) or ``paper`` (the
                names by alpha, as in section 7 of the Grad-CAM paper: what would raise and lower the score).
            top_k: how many names or channels each list has at most.

        Raises:
            InputError: the explanation is of another layer, or the style is unknown.
            TargetError: there is no such target.
        """
        from vlcam.neurons.describe import describe

        if explanation.layer != self.layer:
            raise InputError(
                f"the explanation is of layer {explanation.layer!r} and these are names of layer {self.layer!r} of {self.model!r}; "
                f"explain that layer: layer={self.layer!r}"
            )
        if isinstance(target, TargetView):
            if target.explanation is not explanation:
                raise InputError(
                    "the target is that of another explanation; give one of this explanation, or its label"
                )
            view = target
        else:
            view = explanation[0 if target is None else target]
        return describe(
            self, view.target, view.alpha, view.contributions, explanation.activity, style=style, top_k=top_k
        )

    def text(
        self,
        target: Target,
        alpha: Float[Tensor, " channels"],
        contributions: Float[Tensor, " channels"],
        activity: Float[Tensor, " channels"],
        *,
        ranking: str = "contribution",
    ) -> NeuronText:
        """The text of one target from its tensors (see :func:`vlcam.neurons.describe.describe`)."""
        from vlcam.neurons.describe import describe

        return describe(self, target, alpha, contributions, activity, ranking=ranking)

    def to_json(self) -> str:
        """As JSON text, the same for the same names; :meth:`from_json` reads it back."""
        from vlcam.neurons.name_files import json_of

        return json_of(self)

    @classmethod
    def from_json(cls, source: str | Path) -> "NeuronNames":
        """From a file's path, or from the text that :meth:`to_json` made (a string that begins with ``{``).

        Raises InputError if the file is missing or is not such a text.
        """
        from vlcam.neurons.name_files import from_json

        return from_json(source)

    def to_csv(self) -> str:
        """As CSV text with a header line, one row a unit; alternatives and probe are left out."""
        from vlcam.neurons.name_tables import csv_of

        return csv_of(self)

    @classmethod
    def from_csv(cls, source: str | Path, *, model: str, layer: str, min_score: float | None = None) -> "NeuronNames":
        """From a CSV file's path, or CSV text (a string with a line break), with a header and the columns unit, name and perhaps score.

        Units count from 0 and may come in any order; an empty name or a score under ``min_score`` is unnamed. The other columns
        of :meth:`to_csv` are read where they are there. Without thresholds a unit counts as active above 0. Files of other tools
        are read by :func:`vlcam.neurons.name_files.read_names`.
        """
        from vlcam.neurons.name_files import from_csv

        return from_csv(source, model=model, layer=layer, min_score=min_score)


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
