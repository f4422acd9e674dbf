"""The methods that need one run and one gradient per target.

Notation: ``A[k, i, j]`` is channel k of the activations at row i and column j, ``G[k, i, j] = dy / dA[k, i, j]`` the gradient
of the target's score y, and Z the number of places of the grid. Activations are ``(T or 1, C, H, W)`` and gradients
``(T, C, H, W)``. Maps ``(T, H, W)`` are signed: the final ReLU is left to the caller. Numbers of less than 32 bits are computed
with in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Activations, Gradients, Maps, Method
from vlcam.engine.precision import widen


def alpha(gradients: Gradients) -> Float[Tensor, "targets channels"]:
    """The channel weights of Grad-CAM, ``alpha[k] = (1/Z) sum_ij G[k, i, j]``, ``(T, C)`` (Selvaraju et al. 2017, eq. 1)."""
    return widen(gradients).mean((2, 3))


def contributions(activations: Activations, gradients: Gradients) -> Float[Tensor, "targets channels"]:
    """What each channel adds to the sum of the Grad-CAM map before its ReLU: ``alpha[k] * sum_ij A[k, i, j]``, ``(T, C)``."""
    return alpha(gradients) * widen(activations).sum((2, 3))


def gradcam(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k alpha[k] A[k, i, j]``: Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1 and eq. 2 before the ReLU."""
    return torch.einsum("tk,tkij->tij", alpha(gradients), _spread(activations, gradients))


def counterfactual(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k -alpha[k] A[k, i, j]``, what speaks against the target: Selvaraju et al. 2017, on counterfactual explanations."""
    return -gradcam(activations, gradients)


def hirescam(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k G[k, i, j] A[k, i, j]``: Draelos & Carin 2020 (arXiv 2011.08891)."""
    return (widen(gradients) * widen(activations)).sum(1)


def layercam(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k relu(G[k, i, j]) A[k, i, j]``: Jiang et al. 2021 (LayerCAM, IEEE TIP 30)."""
    return (widen(gradients).relu() * widen(activations)).sum(1)


def gradcampp(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k w[k] A[k, i, j]`` with ``w[k] = sum_ij a[k, i, j] relu(G[k, i, j])``: Chattopadhay et al. 2018 (arXiv 1710.11063).

    The score is taken as ``exp(y)``, whose derivatives of any order are powers of G if the layers after are piecewise linear
    (the paper's assumption): ``a = G^2 / (2 G^2 + sum_ab A[k, a, b] G^3)``. The factor ``exp(y)`` of the
    weights, one number per target, is left out. Where the denominator is zero, ``a`` is zero.
    """
    activations, gradients = widen(activations), widen(gradients)
    # One power of G less above and below than in the paper, so that small gradients don't vanish in float32.
    bottom = 2 + activations.sum((2, 3), keepdim=True) * gradients
    usable = (bottom != 0) & (gradients != 0)
    weights = torch.where(usable, 1 / torch.where(usable, bottom, 1), 0)
    return torch.einsum("tk,tkij->tij", (weights * gradients.relu()).sum((2, 3)), _spread(activations, gradients))


def xgradcam(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k w[k] A[k, i, j]``, ``w[k] = sum_ij G[k, i, j] A[k, i, j] / sum_ij A[k, i, j]``: Fu et al. 2020 (arXiv 2008.02312).

    A channel whose activations sum to zero has weight zero.
    """
    activations, gradients = widen(activations), widen(gradients)
    total = activations.sum((2, 3))
    weights = (gradients * activations).sum((2, 3)) * torch.where(total != 0, 1 / torch.where(total != 0, total, 1), 0)
    return torch.einsum("tk,tkij->tij", weights, _spread(activations, gradients))


def _spread(activations: Tensor, gradients: Tensor) -> Tensor:
    return widen(activations).expand(len(gradients), -1, -1, -1)


BUILT_IN = (
    Method(
        "gradcam",
        gradcam,
        "Grad-CAM",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "eq. 1 and 2: relu(sum_k mean(G_k) A_k)",
    ),
    Method(
        "counterfactual",
        counterfactual,
        "Counterfactual Grad-CAM",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "relu(sum_k mean(-G_k) A_k)",
    ),
    Method("hirescam", hirescam, "HiResCAM", "Draelos & Carin 2020, arXiv 2011.08891", "relu(sum_k G_k A_k)"),
    Method("layercam", layercam, "LayerCAM", "Jiang et al. 2021, IEEE TIP 30", "relu(sum_k relu(G_k) A_k)"),
    Method(
        "gradcam++",
        gradcampp,
        "Grad-CAM++",
        "Chattopadhay et al. 2018, arXiv 1710.11063",
        "relu(sum_k w_k A_k), w_k = sum(a_k relu(G_k)), a_k = G_k^2 / (2 G_k^2 + sum(A_k) G_k^3)",
    ),
    Method(
        "xgradcam",
        xgradcam,
        "XGrad-CAM",
        "Fu et al. 2020, arXiv 2008.02312",
        "relu(sum_k w_k A_k), w_k = sum(G_k A_k) / sum(A_k)",
    ),
)
