"""Excitation backprop (MWP) and its contrastive form (c-MWP), the Grad-CAM paper's main rival, for classes, words and answers.

Zhang et al. 2016 (arXiv 1608.00507). **Theirs**: a winner is drawn at the output unit of a class and walks down to the layer by the rule of
:mod:`vlcam.engine.excitation_rule`; the map of the layer, summed over its channels, is the probability of each place. The contrastive map
is that of the unit less that of its dual unit, whose weights to the layer below are the negated ones. For a final linear
layer ``y = W a`` on non-negative a, the first step of the two walks is

    R+ = relu(a * w) / sum(relu(a * w)),   R- = relu(-a * w) / sum(relu(-a * w)).

**Ours**: a word of an LSTM, an answer fused with a question by a product, or a log-probability isn't a linear unit on top of ReLUs. The
walk then starts at the *top*, the last tensor of the chain of non-negative tensors from the layer through which all that the scores take
from the layer flows and that is still weighed: the input of the final linear layer, or the photo's vector that an LSTM reads. What comes
after is replaced by its gradient g there: w above becomes g = dy/da, which is the same for a linear layer. (So for a logit this is Zhang's
c-MWP exactly; for the log-probability of a class, ``w_c`` less the mean of all classes' weights by their probabilities.) Then

    c-MWP = MWP(R+) - MWP(R-).

A network whose logits are themselves ReLUs (SqueezeNet) has no weights above them to negate; the walk starts below its last weights.
Zhang et al. cut the map at zero, which is left to the caller; MWP sums to 1 and c-MWP to 0, but for what reaches units that only their
bias excites.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import LayerError, Maps, PerturbationMethod, Subject
from vlcam.engine.backward import gradients
from vlcam.engine.excitation_rule import Excitation
from vlcam.engine.restore import allow_autograd


def cmwp(subject: Subject) -> Maps:
    """c-MWP of every target at the explained layer, signed: the map of the target less the map of its opposite.

    Raises:
        LayerError: the layer's activations aren't all non-negative, so they are not probabilities of anything.
    """
    both = compute_winning_probabilities(subject)
    return both[0] - both[1]


def mwp(subject: Subject) -> Maps:
    """MWP of every target at the explained layer: probabilities. Raises LayerError as :func:`cmwp`."""
    return compute_winning_probabilities(subject)[0]


def compute_winning_probabilities(subject: Subject) -> Float[Tensor, "2 targets rows columns"]:
    """The marginal winning probabilities of every target, and of its opposite, at the explained layer.

    Raises:
        LayerError: the layer's activations aren't all non-negative.
    """
    rule = Excitation()
    scores, leaf = subject.rerun("layer", rule)
    if bool((leaf.detach() < 0).any()):
        raise LayerError(
            f"c-MWP follows non-negative activations, and layer {subject.layer!r} has negative ones ({tuple(leaf.shape)}): explain the "
            "output of a ReLU, or take layercam or ablation-cam, which need no sign"
        )
    root = rule.look_up(leaf)
    if root is None:
        raise LayerError(
            f"the output of layer {subject.layer!r} was overwritten in place; explain the layer that overwrites it"
        )
    top = next((one for one in reversed(rule.used) if one.current and _cuts_off(one.tensor, scores, leaf)), root)
    value = top.positive.detach()
    slopes = gradients(scores, top.tensor).to(value.dtype)
    starts = _normalise(torch.cat([value * slopes, value * -slopes]))
    if top.tensor is not leaf:
        per_unit = torch.where(value > 0, starts / torch.where(value > 0, value, 1), 0)
        with allow_autograd():
            walks = (per_unit * top.positive).flatten(1).sum(1)
        starts = root.positive.detach() * gradients(walks, root.positive)
    with torch.no_grad():
        maps = torch.cat([subject.to_maps(start) for start in starts])
        return maps.sum(1).reshape(2, len(scores), *maps.shape[2:])


def _cuts_off(tensor: Tensor, scores: Tensor, leaf: Tensor) -> bool:
    """Whether all that the scores take from the leaf flows through the tensor: a walk through the graph, no backward pass."""
    wall, goal, start = (torch.autograd.graph.get_gradient_edge(one) for one in (tensor, leaf, scores))
    left: list[tuple[Any, int]] = [(start.node, start.output_nr)]
    seen: set[tuple[Any, int]] = set()
    met = False
    while left:
        edge = left.pop()
        if edge[0] is None or edge in seen:
            continue
        seen.add(edge)
        if edge == (wall.node, wall.output_nr):
            met = True
        elif edge[0] is goal.node:
            return False
        else:
            left += edge[0].next_functions
    return met


def _normalise(evidence: Float[Tensor, "walks *shape"]) -> Float[Tensor, "walks *shape"]:
    """The positive evidence as parts of its sum; nothing where there is none."""
    positive = evidence.clamp_min(0).flatten(1)
    total = positive.sum(1, keepdim=True)
    return torch.where(total > 0, positive / torch.where(total > 0, total, 1), 0).view_as(evidence)


BUILT_IN = (
    PerturbationMethod(
        "c-mwp",
        cmwp,
        "Contrastive excitation backprop (c-MWP)",
        "Zhang et al. 2016, arXiv 1608.00507",
        "relu(MWP(target) - MWP(its negated weights)), P(i|j) = Z_j a_i max(w_ij, 0)",
    ),
    PerturbationMethod(
        "mwp",
        mwp,
        "Excitation backprop (MWP)",
        "Zhang et al. 2016, arXiv 1608.00507",
        "MWP(target), P(i|j) = Z_j a_i max(w_ij, 0)",
    ),
)
