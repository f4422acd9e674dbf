"""ShapleyCAM: channels weighed by the first and the second derivatives of the score.

Cai 2025 (arXiv 2501.06261) expands the score around the activations to second order, which gives every channel's Shapley value in
closed form: ``alpha_k = mean_ij (G - H A / 2)[k, i, j]``, with G the gradient and H the Hessian of the score at the layer's output A.
The map is ``relu(sum_k alpha_k A_k)``. Where what follows the layer is piecewise linear, H is zero and the map is Grad-CAM's.
"""

import torch
from torch import Tensor

from vlcam.contracts import PerturbationMethod
from vlcam.engine.precision import widen
from vlcam.engine.restore import allow_autograd
from vlcam.methods.head import FoundMaps, HeadSubject


def shapleycam(subject: HeadSubject) -> FoundMaps:
    """``sum_k alpha_k A_k``, ``alpha_k = mean_ij (G - H A / 2)[k, i, j]``, ``(T, h, w)``, signed; see the module."""
    with subject.open_head() as head, allow_autograd():
        scores, leaf = head.differentiate(head.activations)
        weights = torch.stack([_weigh_channels(score, leaf) for score in scores[0]])
        activations = widen(head.activations[0])
        maps = torch.einsum("tk,kij->tij", weights, activations)
        return FoundMaps(subject.place(maps), alpha=weights, contributions=weights * activations.sum((1, 2)))


def _weigh_channels(score: Tensor, leaf: Tensor) -> Tensor:
    """``mean_ij (G - H A / 2)`` of one score: H A is the derivative of ``sum(G A)`` with A held fixed outside G."""
    (slope,) = torch.autograd.grad(score, [leaf], create_graph=True)
    bent = None
    if slope.requires_grad:  # not so where the score is linear in the layer
        (bent,) = torch.autograd.grad((slope * leaf.detach()).sum(), [leaf], retain_graph=True, allow_unused=True)
    weight = slope if bent is None else slope - bent / 2
    return widen(weight.detach()[0]).mean((1, 2))


BUILT_IN = (
    PerturbationMethod(
        "shapley-cam",
        shapleycam,
        "ShapleyCAM",
        "Cai 2025, arXiv 2501.06261",
        "relu(sum_k alpha_k A_k), alpha_k = mean(G - H A / 2)_k",
        cost="one run, one more of what follows the layer, and two gradients for each target",
    ),
)
