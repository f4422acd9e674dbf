"""Ablation-CAM and Eigen-CAM: channels weighed by silencing each of them, or by what they have in common.

``A[k, i, j]`` is channel k of the activations at row i and column j, as in :mod:`vlcam.methods.gradient`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Activations, Gradients, InputError, Maps, Method, PerturbationMethod, Subject
from vlcam.engine.precision import widen

_AT_ONCE = 256
"""How many channel masks are made at once."""


def make_ablationcam(batch: int = _AT_ONCE) -> PerturbationMethod:
    """Ablation-CAM: ``sum_k (y - y_k) A_k``, with y_k the score when channel k is zero everywhere.

    Desai & Ramaswamy 2020 (WACV) divide the weights by y. That is one number per target, so it changes no map of a positive
    score by more than a factor; but it blows up for logits near 0 and turns the map of a negative logit, or of any log-probability,
    upside down. It is left out: weights are in units of the score. A channel that is zero everywhere has weight 0 and isn't run.

    Args:
        batch: how many channel masks are made at once; only what follows the layer runs for each.
    """
    if batch < 1:
        raise InputError(f"batch={batch} was given; expected a positive number of channels")

    def function(subject: Subject) -> Maps:
        activations = widen(subject.activations)
        alive = (activations[0] != 0).flatten(1).any(1).nonzero()[:, 0]  # the only wait for the device
        channels = activations.shape[1]
        base = subject.scores_with(activations.new_ones(1, channels))
        weights = activations.new_zeros(channels, len(subject.targets))
        done = 0
        for part in alive.split(batch) if len(alive) else ():
            masks = activations.new_ones(len(part), channels).scatter_(1, part[:, None], 0)
            weights[part] = (base - subject.scores_with(masks)).to(weights.dtype)
            done += len(part)
            subject.report(done, len(alive))
        return torch.einsum("kt,kij->tij", weights, activations[0])

    return PerturbationMethod(
        "ablation-cam",
        function,
        "Ablation-CAM",
        "Desai & Ramaswamy 2020, WACV",
        "relu(sum_k (y - y_k) A_k), y_k: channel k silent (the paper's weights times y)",
        relu=True,
        cost="one run of what follows the layer for each channel",
    )


def eigencam(activations: Activations, gradients: Gradients) -> Maps:
    """``sum_k v[k] A[k, i, j]``, v the first right singular vector of the activations: Muhammad & Yeasin 2020 (arXiv 2008.00299).

    The activations are taken as a matrix of places x channels, not centred, as in the paper's formula ``L = A V_1``. The map says what the
    layer has most of and nothing about a target: it is the same for all of them. A singular vector has no sign; here
    ``sum_ij map[i, j] sum_k A[k, i, j]`` is positive, so after a ReLU the map has no negative value. Activations that aren't finite
    give a map that isn't either.
    """
    activations = widen(activations)
    maps = find_first_component(activations.flatten(2).mT).reshape(-1, *activations.shape[2:])
    return maps.expand(len(gradients), -1, -1).clone()


def find_first_component(matrix: Float[Tensor, "batch places channels"]) -> Float[Tensor, "batch places"]:
    """Every matrix times its first right singular vector, with the sign with which it goes along with the sums of the matrix's rows.

    A matrix that isn't finite gives numbers that aren't either.
    """
    usable = matrix.isfinite().all((1, 2))
    _, _, vectors = torch.linalg.svd(torch.where(usable[:, None, None], matrix, 0), full_matrices=False)
    found: Tensor = torch.einsum("bpk,bk->bp", matrix, vectors[:, 0])
    against = (found * matrix.sum(2)).sum(1, keepdim=True) < 0
    return torch.where(usable[:, None], torch.where(against, -found, found), torch.nan)


EIGENCAM = Method(
    "eigen-cam",
    eigencam,
    "Eigen-CAM",
    "Muhammad & Yeasin 2020, arXiv 2008.00299",
    "relu(A V_1), V_1 the first right singular vector of A (places x channels); the same for every target",
)

BUILT_IN = (make_ablationcam(), EIGENCAM)
