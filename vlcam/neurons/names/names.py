"""The names of a layer's channels with everything that can be done with them: texts, JSON and CSV, in and out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, SupportsIndex, final

from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Target
from vlcam.explanation.record import AbstractExplanation, NeuronText, TargetView
from vlcam.neurons.names import json_files, tables
from vlcam.neurons.names.record import AbstractNeuronNames
from vlcam.neurons.text.describe import describe


@final
@dataclass(frozen=True, repr=False)
class NeuronNames(AbstractNeuronNames):
    """The names of all channels of one layer of one model. Satisfies :class:`vlcam.contracts.Names`."""

    def describe(
        self,
        explanation: AbstractExplanation,
        target: SupportsIndex | str | tuple[str, int] | TargetView | None = None,
        style: Literal["full", "short", "paper"] = "full",
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
        """The text of one target from its tensors (see :func:`vlcam.neurons.text.describe.describe`)."""
        return describe(self, target, alpha, contributions, activity, ranking=ranking)

    def to_json(self) -> str:
        """As JSON text, the same for the same names; :meth:`from_json` reads it back."""
        return json_files.to_json(self)

    @classmethod
    def from_json(cls, source: str | Path) -> "NeuronNames":
        """From a file's path, or from the text that :meth:`to_json` made (a string that begins with ``{``).

        Raises InputError if the file is missing or is not such a text.
        """
        return json_files.from_json(source, make=cls)

    def to_csv(self) -> str:
        """As CSV text with a header line, one row a unit; alternatives and probe are left out."""
        return tables.to_csv(self)

    @classmethod
    def from_csv(cls, source: str | Path, *, model: str, layer: str, min_score: float | None = None) -> "NeuronNames":
        """From a CSV file's path, or CSV text (a string with a line break), with a header and the columns unit, name and perhaps score.

        Units count from 0 and may come in any order; an empty name or a score under ``min_score`` is unnamed. The other columns
        of :meth:`to_csv` are read where they are there. Without thresholds a unit counts as active above 0. Files of other tools
        are read by :func:`vlcam.neurons.names.json_files.read_names`.
        """
        return json_files.from_csv(source, model=model, layer=layer, min_score=min_score, make=cls)


def read_names(
    path: str | Path,
    *,
    model: str | None = None,
    layer: str | None = None,
    units: int | None = None,
    format: str = "auto",
    min_score: float | None = None,
) -> NeuronNames:
    """The names in a file: vlcam's JSON or CSV, Network Dissection's tally, CLIP-Dissect's descriptions, or any unit,name,score CSV.

    The arguments are those of :func:`vlcam.neurons.names.json_files.read_names`.

    Raises:
        InputError: if the file can't be read, is none of these, or has bad numbers, double units or gaps.
    """
    return json_files.read_names(
        path, model=model, layer=layer, units=units, format=format, min_score=min_score, make=NeuronNames
    )
