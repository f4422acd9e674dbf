"""Gradients of what follows the layer, averaged over activations between a quiet map and the layer's own.

The gradient at the layer's own output says little where the score is saturated: it is that of a head which has made up its mind. These
methods run the trunk once and what follows the layer S times, at points between a baseline b and the activations A, and average:

    G[t] = mean over s of  dy_t / dA  at  b + m_s (A - b)          E_t(i, j) = sum_k (A - b)[k, i, j] G[t, k, i, j]

- *masked gradients*: the ``m_s`` are random masks of cells, of every density, in pairs of opposites;
- *half-way gradient*: one point, ``m = 1/2`` everywhere, for the price of Grad-CAM;
- *layer integrated gradients*: the straight path, ``m = 1/(2S), 3/(2S), ...`` (Sundararajan et al. 2017, arXiv 1703.01365, at a
  layer instead of the input). There the sum of ``E_t`` is ``y_t(A) - y_t(b)`` but for the error of the sum (*completeness*).

Of each there is a form of *positive parts*, ``sum_k relu((A - b) G)``, as LayerCAM takes positive gradients only: what one
channel says against a place doesn't cancel what another says for it.
"""

from functools import partial
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import FoundMaps, HeadSubject, InputError, PerturbationMethod
from vlcam.engine.precision import widen
from vlcam.methods.diagnose import measure_saturation

Baseline: TypeAlias = Literal["rest", "quiet", "zero", "mean"]
BASELINES: tuple[Baseline, ...] = ("rest", "quiet", "zero", "mean")
Path: TypeAlias = Literal["masks", "straight"]

MASKS = 8
"""How many masks are drawn by default."""

STEPS = 16
"""How many points the straight path has by default."""


def make_masked_gradients(
    masks: int = MASKS, *, baseline: Baseline = "rest", positive: bool = False, seed: int = 0
) -> PerturbationMethod:
    """Masked gradients: one run of the trunk, and as many of what follows the layer as there are masks.

    Args:
        masks: how many, an even number: they come in pairs of opposites.
        baseline: what a masked cell holds (see :func:`make_baseline`).
        positive: take the positive parts of every channel at every place.
        seed: of the masks; the same seed draws the same masks.

    Raises:
        InputError: a number of masks that isn't even and positive, or an unknown baseline.
    """
    if isinstance(masks, bool) or masks < 2 or masks % 2:
        raise InputError(f"masks={masks} was given; expected an even number from 2")
    return _make_method("masked-gradients", "Masked gradients", "masks", masks, baseline, positive, seed)


def make_halfway_gradient(*, baseline: Baseline = "rest", positive: bool = False) -> PerturbationMethod:
    """The gradient half-way between the baseline and the activations: one more run of what follows the layer."""
    return _make_method("halfway-gradient", "Half-way gradient", "straight", 1, baseline, positive, 0)


def make_layer_integrated_gradients(
    steps: int = STEPS, *, baseline: Baseline = "rest", positive: bool = False
) -> PerturbationMethod:
    """Integrated gradients from the baseline to the layer's activations, by the midpoint rule with ``steps`` points."""
    if isinstance(steps, bool) or steps < 1:
        raise InputError(f"steps={steps} was given; expected a whole number from 1")
    return _make_method(
        "layer-integrated-gradients", "Layer integrated gradients", "straight", steps, baseline, positive, 0
    )


def explain_by_path(
    subject: HeadSubject, *, path: Path, points: int, baseline: Baseline, positive: bool = False, seed: int = 0
) -> FoundMaps:
    """The maps of this module's methods, ``(T, h, w)``, with each channel's part in the sum of the signed map, ``(T, C)``.

    Raises InputError for an unknown baseline, LayerError where what follows the layer can't be run by itself.
    """
    with subject.open_head() as head:
        activations = head.activations
        quiet = make_baseline(activations, baseline)
        change = activations - quiet
        if path == "masks":
            weights = draw_masks(points, (activations.shape[2], activations.shape[3]), seed).to(activations)
        else:
            steps = (torch.arange(points, dtype=torch.float64, device="cpu") + 0.5) / points
            weights = steps.to(activations)[:, None, None]
        slopes = head.average_gradients(quiet + weights[:, None] * change)
    evidence = slopes * widen(change)
    maps = (evidence.relu() if positive else evidence).sum(1)
    return FoundMaps(
        subject.place(maps),
        alpha=slopes.mean((2, 3)),
        contributions=evidence.sum((2, 3)),
        saturation=float(measure_saturation(subject.cell_gradients, slopes).nanmedian()),
    )


def make_baseline(
    activations: Float[Tensor, "1 channels rows columns"], baseline: Baseline
) -> Float[Tensor, "1 channels 1 1"]:
    """What the layer would hold where it sees nothing, the same in every cell.

    ``quiet``: each channel's median over the cells, then three times the mean of that half of the cells that lie closest to it;
    ``zero``: zeros, which a layer after a ReLU gives where it sees nothing; ``mean``: each channel's mean over the cells; ``rest``: zero
    where no activation is negative, else quiet. Raises InputError for another name.
    """
    if baseline == "rest":
        baseline = "quiet" if bool((activations < 0).any()) else "zero"
    if baseline == "zero":
        return torch.zeros_like(activations[:, :, :1, :1])
    cells = widen(activations).flatten(2)[0].mT  # (cells, channels)
    if baseline == "mean":
        centre = cells.mean(0)
    elif baseline == "quiet":
        centre = cells.median(0).values
        for _ in range(3):
            near = (cells - centre).square().sum(1).argsort(stable=True)[: (len(cells) + 1) // 2]
            centre = cells[near].mean(0)
    else:
        raise InputError(f"baseline={baseline!r} was given; expected {', '.join(BASELINES)}")
    return centre.to(activations)[None, :, None, None]


def draw_masks(count: int, size: tuple[int, int], seed: int) -> Bool[Tensor, "count rows columns"]:
    """Masks of cells in pairs of opposites, whose densities lie evenly between 0 and 1, the same for every model and photo.

    >>> draw_masks(4, (2, 4), 0).sum((1, 2)).tolist()
    [1, 7, 3, 5]
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    cells = size[0] * size[1]
    rows = []
    for pair in range(count // 2):
        kept = round(cells * (pair + 0.5) / count)
        order = torch.randperm(cells, generator=generator, device="cpu")
        mask = torch.zeros(cells, dtype=torch.bool, device="cpu")
        mask[order[:kept]] = True
        rows += [mask, ~mask]
    return torch.stack(rows).reshape(count, *size)


def _make_method(
    name: str, title: str, path: Path, points: int, baseline: Baseline, positive: bool, seed: int
) -> PerturbationMethod:
    if baseline not in BASELINES:
        raise InputError(f"baseline={baseline!r} was given; expected {', '.join(BASELINES)}")
    runs = f"{points} more run{'s' * (points != 1)} of what follows the layer"
    parts = "sum_k relu((A_k - b_k) G_k)" if positive else "relu(sum_k (A_k - b_k) G_k)"
    where = "b + m_s (A - b), m_s random masks of cells" if path == "masks" else "b + a_s (A - b), a_s in (0, 1)"
    return PerturbationMethod(
        name + "-positive" * positive,
        partial(explain_by_path, path=path, points=points, baseline=baseline, positive=positive, seed=seed),
        title + (", positive parts" if positive else ""),
        "vlcam 2026" if path == "masks" else "Sundararajan et al. 2017, arXiv 1703.01365",
        f"{parts}, G_k = mean_s dy/dA_k at {where}",
        cost=f"one run, and {runs}",
        quick=True,
    )


BUILT_IN = (
    make_masked_gradients(),
    make_masked_gradients(positive=True),
    make_halfway_gradient(),
    make_halfway_gradient(positive=True),
    make_layer_integrated_gradients(),
)
