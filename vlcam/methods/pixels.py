"""Maps at the resolution of the model's input: gradients of the scores with respect to its pixels, and their product with Grad-CAM.

Notation: ``x[c, i, j]`` is the image as the model takes it (normalised), y a target's score. All five methods start from a signed
*picture* ``P[c, i, j]`` in colour, in units of the score per unit of the normalised image:

- ``gradient``: ``P = dy/dx``. Simonyan et al. 2014 (arXiv 1312.6034, section 3).
- ``deconvnet`` and ``guided-backprop``: the same backward pass with another gradient for every ReLU (:mod:`vlcam.engine.relu_rules`).
  Zeiler & Fergus 2014 (arXiv 1311.2901); Springenberg et al. 2015 (arXiv 1412.6806). Max pooling passes the gradient to where the maximum
  was, which are the deconvnet's "switches".
- ``guided-gradcam`` and ``deconv-gradcam``: those pictures times ``up(relu(L))``, where L is the Grad-CAM map of the explained layer and
  ``up`` goes to the size of the image bilinearly with half-pixel centres (Selvaraju et al. 2017, arXiv 1610.02391, on Guided Grad-CAM).

A map has one number per pixel: ``M[i, j] = max_c |P[c, i, j]|``, as Simonyan et al. define it for colour images; the pointing game
of TorchRay reads guided backpropagation and the deconvnet in the same way. Maps are never negative, so the final ReLU leaves them
as they are. The picture itself, which the Grad-CAM paper shows, is :func:`make_guided_picture`.

The cost is one more run and one batched backward pass to the image, for all targets; what Grad-CAM needs is there already. As many
targets go into one pass as keep the gradients at the widest tensor of the network within ``vlcam.engine.chunks.CHUNK_BYTES``.

Guided backpropagation and Guided Grad-CAM change little when the upper layers of a network are randomised (Adebayo et al. 2018,
arXiv 1810.03292): they show sharp edges of what is there, and are weak evidence for what the model used.
"""

from functools import partial

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlcam.contracts import InputError, Maps, PerturbationMethod, Subject
from vlcam.engine import backward
from vlcam.engine.chunks import count_targets
from vlcam.engine.precision import widen
from vlcam.engine.relu_rules import Rule, apply_relu_rule
from vlcam.methods.gradient import gradcam

_COPIES = 4
"""How many tensors as large as the widest one a backward pass holds at once, for every target: gradients above, below, and their
parts."""

_RULES: dict[str, tuple[Rule, bool]] = {
    "gradient": ("plain", False),
    "guided-backprop": ("guided", False),
    "deconvnet": ("deconv", False),
    "guided-gradcam": ("guided", True),
    "deconv-gradcam": ("deconv", True),
}
"""Name of the method: the ReLU's rule, and whether the picture is multiplied with Grad-CAM."""


def make_guided_picture(
    subject: Subject, method: str = "guided-gradcam"
) -> Float[Tensor, "targets channels height width"]:
    """The signed picture ``P`` of a method of this module, in colour, ``(T, c, H, W)``: what the Grad-CAM paper's figures show.

    It is never scaled; to look at one, stretch ``P[t]`` from its least to its greatest value, so that grey is zero.

    Args:
        subject: the photo and its targets.
        method: ``gradient``, ``guided-backprop``, ``deconvnet``, ``guided-gradcam`` or ``deconv-gradcam``.

    Raises:
        InputError: there is no such method, or the model's input isn't one image.
        LayerError: the rule of the method is not defined for the network (see :func:`vlcam.engine.relu_rules.apply_relu_rule`), or
        the scores don't
            depend on the image.
    """
    if method not in _RULES:
        raise InputError(f"the pixel method {method!r} was given; expected one of {', '.join(_RULES)}")
    rule, times_cam = _RULES[method]
    watch = apply_relu_rule(rule)
    scores, image = subject.rerun("image", within=watch)
    chunk = count_targets(_COPIES * watch.widest)
    pictures = backward.gradients(scores, image, chunk=chunk)[:, 0]
    pictures = widen(pictures)
    if not times_cam:
        return pictures
    coarse = gradcam(subject.activations, subject.gradients).relu()
    return pictures * upsample(coarse, (pictures.shape[2], pictures.shape[3]))[:, None].to(pictures.dtype)


def upsample(maps: Maps, size: tuple[int, int]) -> Float[Tensor, "targets height width"]:
    """Maps ``(T, h, w)`` at the size ``(rows, columns)``: bilinear, half-pixel centres, the outermost cells going on to the edge.

    >>> import torch
    >>> upsample(torch.tensor([[[0.0, 4.0]]]), (1, 4)).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _make_maps(subject: Subject, *, method: str) -> Maps:
    return make_guided_picture(subject, method).abs().amax(1)


gradient = partial(_make_maps, method="gradient")
"""``max_c |dy/dx|``, ``(T, H, W)``: Simonyan et al. 2014."""

guided_backprop = partial(_make_maps, method="guided-backprop")
"""``max_c |P|`` with the guided ReLU, ``(T, H, W)``: Springenberg et al. 2015."""

deconvnet = partial(_make_maps, method="deconvnet")
"""``max_c |P|`` with the deconvnet's ReLU, ``(T, H, W)``: Zeiler & Fergus 2014."""

guided_gradcam = partial(_make_maps, method="guided-gradcam")
"""``max_c |P| up(relu(L))`` with the guided ReLU, ``(T, H, W)``: Selvaraju et al. 2017."""

deconv_gradcam = partial(_make_maps, method="deconv-gradcam")
"""``max_c |P| up(relu(L))`` with the deconvnet's ReLU, ``(T, H, W)``: Selvaraju et al. 2017."""

_COST = "one more run and one batched backward pass to the image"

BUILT_IN = (
    PerturbationMethod(
        "gradient",
        gradient,
        "Gradient",
        "Simonyan et al. 2014, arXiv 1312.6034",
        "max_c |dy/dx_c|",
        cost=_COST,
    ),
    PerturbationMethod(
        "guided-backprop",
        guided_backprop,
        "Guided backpropagation",
        "Springenberg et al. 2015, arXiv 1412.6806",
        "max_c |P_c|, P = dy/dx with relu's gradient (x > 0) (R > 0) R",
        cost=_COST,
    ),
    PerturbationMethod(
        "deconvnet",
        deconvnet,
        "Deconvnet",
        "Zeiler & Fergus 2014, arXiv 1311.2901",
        "max_c |P_c|, P = dy/dx with relu's gradient (R > 0) R",
        cost=_COST,
    ),
    PerturbationMethod(
        "guided-gradcam",
        guided_gradcam,
        "Guided Grad-CAM",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "max_c |P_c| up(relu(sum_k mean(G_k) A_k)), P by guided backpropagation",
        cost=_COST,
    ),
    PerturbationMethod(
        "deconv-gradcam",
        deconv_gradcam,
        "Deconvnet Grad-CAM",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        "max_c |P_c| up(relu(sum_k mean(G_k) A_k)), P by the deconvnet",
        cost=_COST,
    ),
)
