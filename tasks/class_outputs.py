"""What a model's outputs over classes or answers mean: scores, probabilities, and a note if they aren't what they were said to be."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.engine.output_kind import ClassOutput, read_probabilities, run_classifier

Activation: TypeAlias = Literal["softmax", "sigmoid", "logits", "probabilities", "none", "quantities"]

ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "logits", "probabilities", "none", "quantities")


def check_activation(activation: str) -> None:
    """Raise InputError for an unknown activation."""
    if activation not in ACTIVATIONS:
        raise InputError(f"activation={activation!r} was given; expected {', '.join(ACTIVATIONS)}")


def run_with_activation(
    model: nn.Module, run: Callable[[], Tensor], rows: int | None, activation: Activation, name: str
) -> ClassOutput:
    """Run once and interpret the outputs ``(rows, outputs)``.

    Raises InputError for outputs that can't be probabilities although ``activation`` says that they are.
    """
    found = run_classifier(model, run, rows)
    if activation != "probabilities":
        return found
    likely = read_probabilities(found)
    if likely is None:
        raise InputError(
            f"activation='probabilities' was given, but {name} returns numbers below 0 or above 1; say what they are: "
            f"{', '.join(ACTIVATIONS)}"
        )
    return likely


def is_quantity(output: ClassOutput, activation: Activation) -> bool:
    """Whether a single output is a number that says nothing about its opposite."""
    if output.probabilities is not None:
        return False
    bounded = output.made_by.endswith("tanh")  # -1 to 1: below 0 is the other side
    return activation in ("none", "quantities") or (output.kind == "scores" and not bounded)


def compute_probabilities(output: ClassOutput, activation: Activation) -> Float[Tensor, "rows outputs"] | None:
    """The probabilities of the classes: the model's own, those that the activation makes of logits, or None if there are none."""
    if output.probabilities is not None:
        return output.probabilities
    if output.kind == "scores" or activation in ("none", "quantities"):
        return None
    plain = output.scores.detach().float()
    alone = activation == "sigmoid" or plain.shape[1] == 1
    return plain.sigmoid() if alone else plain.softmax(-1)


def split_in_two(output: ClassOutput, positive: int) -> ClassOutput:
    """One output as two: that of the class and of its opposite; ``positive`` says whether the class comes first (0) or last (1)."""
    scores = torch.cat([output.scores, -output.scores], 1)
    likely = (
        output.scores.detach().float().sigmoid()
        if output.kind == "logits"
        else output.probabilities  # None for scores without probabilities
    )
    both = None if likely is None else torch.cat([likely, 1 - likely], 1)
    if positive:
        scores, both = scores.flip(1), None if both is None else both.flip(1)
    return ClassOutput(scores, output.kind, both, output.made_by)


def describe_output(output: ClassOutput, activation: Activation) -> tuple[str, ...]:
    """A note if the outputs turned out to be something other than what was said."""
    if not output.made_by:
        return ()
    if output.kind == "scores":
        if activation in ("none", "quantities"):
            return ()
        return (
            f"The model's outputs were made by {output.made_by}, so they are scores without probabilities, not logits.",
        )
    if activation == "probabilities":
        return ()
    return (
        f"The model's outputs were made by {output.made_by}, so they are probabilities, not logits; they are reported as they are, and the "
        "scores are the logits behind them.",
    )
