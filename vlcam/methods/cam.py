"""The original class activation map, from the classifier's weights: Zhou et al. 2016 (arXiv 1512.04150).

A network that ends in global average pooling and one linear layer gives class c the score ``S_c = b_c + sum_k w[c, k] mean_ij
f_k(i, j)`` (eq. 1, with the mean where the paper writes the sum), so ``M_c(i, j) = sum_k w[c, k] f_k(i, j)`` (eq. 2) says what each
place adds to it: ``S_c = b_c + mean_ij M_c(i, j)``. No gradient is needed. Grad-CAM of such a network is ``M_c / Z`` with the Z
places of the grid, and CAM is defined for no other network.

A 1 x 1 convolution whose maps are pooled afterwards (SqueezeNet) has the same ``w``; there may be a ReLU between the two, and one
between the explained layer and what is weighted (DenseNet), which ``f`` then includes. That the network has this form is checked,
not believed: the head that was found must give every target's score, and the gradients of the scores at the layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, Maps, PerturbationMethod, Subject, Target
from vlcam.engine import backward
from vlcam.engine.modules import named_modules, unwrap_model
from vlcam.engine.precision import widen
from vlcam.engine.restore import allow_autograd
from vlcam.methods.head import HeadSubject

_TOLERANCE = 1e-3
"""How far the found head may be off, relative to the sum of the sizes of a score's parts: well above the rounding of TF32."""


@final
@dataclass(frozen=True)
class PooledHead:
    """A classifier on pooled features, as found in a model.

    ``weights`` ``(classes, channels)`` and ``bias`` ``(classes,)``; ``before``: whether a ReLU comes before the weights; ``after``:
    whether one comes between them and the pooling.
    """

    name: str
    weights: Float[Tensor, "classes channels"]
    bias: Float[Tensor, " classes"]
    before: bool = False
    after: bool = False

    def compute_features(
        self, activations: Float[Tensor, "1 channels rows columns"]
    ) -> Float[Tensor, "channels rows columns"]:
        """What is weighted, ``f``."""
        return (activations.relu() if self.before else activations)[0]

    def compute_scores(self, activations: Float[Tensor, "1 channels rows columns"]) -> Float[Tensor, " classes"]:
        """The logits that this head gives; differentiable."""
        placed = (
            torch.einsum("ck,kij->cij", self.weights, self.compute_features(activations)) + self.bias[:, None, None]
        )
        return (placed.relu() if self.after else placed).mean((1, 2))


def cam(subject: Subject) -> Maps:
    """``M_c(i, j) = sum_k w[c, k] f_k(i, j)`` of every target, ``(T, h, w)``, signed, in the units of the score: eq. 2.

    A contrast, "a rather than b", has ``M_a - M_b``.

    Raises:
        InputError: a target is not a class.
        LayerError: the network isn't of the form for which CAM is defined, or the explained layer isn't the pooled one.
    """
    for target in subject.targets:
        if target.kind not in ("class", "contrast") or not target.token_ids:
            raise InputError(
                f"CAM explains the classes of a classifier, but the target {target.label!r} is "
                f"{'a ' + target.kind if target.kind != 'answer' else 'an answer'}; use the method 'gradcam' instead"
            )
    activations, scores = subject.activations, _read_scores(subject)
    if not bool(scores.isfinite().all()):
        scores = subject.scores(subject.image)[0]
    head, mix = _find_head(subject, activations, subject.gradients, scores)
    activations = widen(activations)
    return torch.einsum("tc,ck,kij->tij", mix, head.weights, head.compute_features(activations))


def has_pooled_head(subject: HeadSubject) -> bool:
    """Whether only global average pooling and one linear layer follow the explained layer, as CAM needs it: the targets are its logits."""
    if not all(one.token_ids and one.measure in ("logit", "score") for one in subject.targets):
        return False
    scores = _read_scores(subject)
    try:
        _find_head(subject, subject.cells, subject.cell_gradients, scores)
    except LayerError:
        return False
    return bool(scores.isfinite().all())


def find_heads(model: nn.Module, channels: int) -> Iterator[PooledHead]:
    """Every linear layer and 1 x 1 convolution on ``channels`` features that the model has, the last first, with and without ReLUs."""
    for name, module in reversed(named_modules(model).items()):
        weights = _get_weights(module, channels)
        if weights is None:
            continue
        bias: Any = module.bias
        wide = widen(weights.detach())
        offset = wide.new_zeros(len(wide)) if bias is None else widen(bias.detach())
        for before, after in ((False, False), (False, True), (True, False), (True, True)):
            yield PooledHead(name, wide, offset, before, after)


def _get_weights(module: nn.Module, channels: int) -> Tensor | None:
    """The weights ``(classes, channels)`` of a layer that does the same at every place; None for any other layer."""
    if isinstance(module, nn.Linear) and module.in_features == channels:
        return module.weight
    if not isinstance(module, nn.Conv2d) or (module.in_channels, module.groups) != (channels, 1):
        return None
    if module.kernel_size == (1, 1) and module.stride == (1, 1) and module.padding in ((0, 0), "valid", "same"):
        return module.weight[:, :, 0, 0]
    return None


def _read_scores(subject: Subject | HeadSubject) -> Tensor:
    return torch.tensor([target.score for target in subject.targets], dtype=torch.float64, device="cpu")


def _find_head(
    subject: Subject | HeadSubject, given: Tensor, slopes: Tensor, scores: Tensor
) -> tuple[PooledHead, Tensor]:
    """The head that gives the scores and their gradients, and how its classes make up the targets, ``(T, classes)``."""
    activations = widen(given)
    scores, gradients = scores.to(activations), widen(slopes).to(activations)
    eps = max(torch.finfo(given.dtype).eps, torch.finfo(slopes.dtype).eps)
    tolerance = max(_TOLERANCE, 8 * eps)
    tried = []
    for head in find_heads(subject.model, activations.shape[1]):
        tried += [head.name] if head.name not in tried else []
        if head.weights.device != activations.device:
            continue
        head = PooledHead(head.name, head.weights.to(activations), head.bias.to(activations), head.before, head.after)
        for sign in (1.0, -1.0) if len(head.weights) == 1 else (1.0,):
            mix = _make_mix(subject.targets, len(head.weights), sign)
            if mix is not None and _gives_scores(head, mix.to(activations), activations, scores, gradients, tolerance):
                return head, mix.to(activations)
    name = type(unwrap_model(subject.model)).__name__
    raise LayerError(
        f"CAM needs a network in which only global average pooling and one linear layer (or 1 x 1 convolution) follow the explained layer; "
        f"{name} isn't one after {subject.layer!r} ("
        + (f"{', '.join(tried)} on its {activations.shape[1]} channels" if tried else "no such layer on its channels")
        + (" doesn't" if len(tried) == 1 else " don't" if tried else " that could")
        + " give the scores); use the method 'gradcam', which needs no such form, or train a head made by "
        "vlcam.methods.cam_head.build_cam_network"
    )


def _make_mix(targets: Any, classes: int, sign: float) -> Tensor | None:
    """Which classes each target's score is made of, ``(T, classes)``; a single logit stands for two classes, one of them negated."""
    single = classes == 1
    mix = torch.zeros(len(targets), classes, device="cpu")
    for row, target in enumerate(targets):
        for index, part in _split_target(target):
            if index >= (2 if single else classes):
                return None
            mix[row, 0 if single else index] += part * (sign * (1 - 2 * index) if single else 1)
    return mix


def _split_target(target: Target) -> list[tuple[int, float]]:
    if target.kind == "contrast":
        return list(zip(target.token_ids, (1.0, -1.0), strict=False))
    return [(target.token_ids[0], 1.0)]


def _gives_scores(
    head: PooledHead, mix: Tensor, activations: Tensor, scores: Tensor, gradients: Tensor, tolerance: float
) -> bool:
    used = mix.any(0)  # a few classes of a thousand
    mix, head = mix[:, used], replace(head, weights=head.weights[used], bias=head.bias[used])
    with allow_autograd():
        leaf = activations.detach().clone().requires_grad_()
        found = mix @ head.compute_scores(leaf)
        size = mix.abs() @ ((head.weights.abs() @ leaf.detach().abs().mean((2, 3))[0]) + head.bias.abs())
        if not bool(((found.detach() - scores).abs() <= tolerance * size).all()):
            return False
        slopes = backward.gradients(found, leaf)[:, 0]
    most = gradients.abs().amax((1, 2, 3))
    return bool(((slopes - gradients).abs().amax((1, 2, 3)) <= tolerance * most).all())


BUILT_IN = (
    PerturbationMethod(
        "cam",
        cam,
        "CAM",
        "Zhou et al. 2016, arXiv 1512.04150",
        "eq. 2: sum_k w_ck f_k, w the weights of the classifier after global average pooling",
        relu=False,
        cost="no further run, but the model's own weights",
    ),
)
