"""Gradients of what follows the layer, averaged over activations between a quiet map and the layer's own.

The gradient at the layer's own output says little where the score is saturated: it is that of a head which has made up its mind. These
methods run the trunk once and what follows the layer S times, at points between a baseline b and the activations A, and average:

    G[t] = mean over s of  dy_t / dA  at  b + m_s (A - b)          E_t(i, j) = sum_k (A - b)[k, i, j] G[t, k, i, j]

- *masked gradients*: the ``m_s`` are random masks of every density, in pairs of opposites, of single cells and of blocks of cells;
- *half-way gradient*: one point, ``m = 1/2`` everywhere, for the price of Grad-CAM;
- *layer integrated gradients*: the straight path, ``m = 1/(2S), 3/(2S), ...`` (Sundararajan et al. 2017, arXiv 1703.01365, at a
  layer instead of the input). There the sum of ``E_t`` is ``y_t(A) - y_t(b)`` but for the error of the sum (*completeness*).

Beside this *signed* form there are two others. *Positive* parts, ``P = sum_k relu((A - b) G)``, are as LayerCAM takes positive gradients
only: what one channel says against a place doesn't cancel what another says for it. The *balanced* form is the geometric mean of both,
``sqrt(E P)`` where E is positive, and the same with the negative parts, and a minus, where it is negative.
"""

from functools import partial
from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vlcam.contracts import InputError, PerturbationMethod
from vlcam.engine.precision import widen
from vlcam.methods.diagnose import measure_saturation
from vlcam.methods.head import FoundMaps, HeadSubject

Baseline: TypeAlias = Literal["rest", "quiet", "zero", "mean"]
BASELINES: tuple[Baseline, ...] = ("rest", "quiet", "zero", "mean")
Form: TypeAlias = Literal["signed", "positive", "balanced"]
FORMS: tuple[Form, ...] = ("signed", "positive", "balanced")
Path: TypeAlias = Literal["masks", "straight"]

MASKS = 8
"""How many masks are drawn by default for a model of more than :data:`SMALL` parameters; else twice as many.

More masks point better (words of the bundled captioner on validation scenes, n = 363: .796 with 8, .829 with 16) and cost as much more. For
a small model that is some hundredths of a second; for a large one it would be the most of what an explanation takes.
"""

SMALL = 10_000_000
"""Up to this number of parameters a model is small."""

STEPS = 16
"""How many points the straight path has by default."""


def make_masked_gradients(
    masks: int | None = None, *, baseline: Baseline = "rest", form: Form = "signed", seed: int = 0
) -> PerturbationMethod:
    """Masked gradients: one run of the trunk, and as many of what follows the layer as there are masks.

    Args:
        masks: how many, an even number: they come in pairs of opposites. By default as many as suit the model (:func:`count_masks`).
        baseline: what a masked cell holds (see :func:`make_baseline`).
        form: how the channels are put together (see the module).
        seed: of the masks; the same seed draws the same masks.

    Raises:
        InputError: a number of masks that isn't even and positive, or an unknown baseline.
    """
    if masks is not None and (isinstance(masks, bool) or masks < 2 or masks % 2):
        raise InputError(f"masks={masks} was given; expected an even number from 2")
    return _make_method("masked-gradients", "Masked gradients", "masks", masks, baseline, form, seed)


def make_halfway_gradient(*, baseline: Baseline = "rest", form: Form = "signed") -> PerturbationMethod:
    """The gradient half-way between the baseline and the activations: one more run of what follows the layer."""
    return _make_method("halfway-gradient", "Half-way gradient", "straight", 1, baseline, form, 0)


def make_layer_integrated_gradients(
    steps: int = STEPS, *, baseline: Baseline = "rest", form: Form = "signed"
) -> PerturbationMethod:
    """Integrated gradients from the baseline to the layer's activations, by the midpoint rule with ``steps`` points."""
    if isinstance(steps, bool) or steps < 1:
        raise InputError(f"steps={steps} was given; expected a whole number from 1")
    return _make_method(
        "layer-integrated-gradients", "Layer integrated gradients", "straight", steps, baseline, form, 0
    )


def count_masks(model: nn.Module) -> int:
    """How many masks are drawn by default for a model: 8, or 16 for a small one (see :data:`MASKS`)."""
    return 2 * MASKS if sum(one.numel() for one in model.parameters()) <= SMALL else MASKS


def explain_by_path(
    subject: HeadSubject, *, path: Path, points: int | None, baseline: Baseline, form: Form = "signed", seed: int = 0
) -> FoundMaps:
    """The maps of this module's methods, ``(T, h, w)``, with each channel's part in the sum of the signed map, ``(T, C)``.

    The parts of the positive and of the balanced form (but for contrasts) are the sums of what each channel says for a target by being
    unlike what it is in most cells: texts about the picture rest on them.

    Raises InputError for an unknown baseline, LayerError where what follows the layer can't be run by itself.
    """
    with subject.open_head() as head:
        activations = head.activations
        quiet = make_baseline(activations, baseline)
        change = activations - quiet
        if path == "masks":
            count = count_masks(subject.model) if points is None else points
            weights = draw_masks(count, (activations.shape[2], activations.shape[3]), seed).to(activations)
        else:
            assert points is not None
            steps = (torch.arange(points, dtype=torch.float64, device="cpu") + 0.5) / points
            weights = steps.to(activations)[:, None, None]
        slopes = head.average_gradients(quiet + weights[:, None] * change)
    evidence = slopes * widen(change)
    maps = _combine_channels(evidence, form)
    parts = evidence.sum((2, 3))
    if form != "signed":  # but what speaks for one thing and against another keeps both
        seen = slopes * widen(activations - make_baseline(activations, "quiet"))
        both = torch.tensor([one.kind == "contrast" for one in subject.targets], device=parts.device)
        parts = torch.where(both[:, None], parts, seen.relu().sum((2, 3)))
    return FoundMaps(
        subject.place(maps),
        alpha=slopes.mean((2, 3)),
        contributions=parts,
        saturation=float(measure_saturation(subject.cell_gradients, slopes).nanmedian()),
    )


def _combine_channels(evidence: Float[Tensor, "targets channels rows columns"], form: Form) -> Tensor:
    """The map of every target, ``(T, h, w)``."""
    if form == "positive":
        return evidence.relu().sum(1)
    signed = evidence.sum(1)
    if form == "signed":
        return signed
    parts = torch.where(signed > 0, evidence.relu().sum(1), (-evidence).relu().sum(1))
    return signed.sign() * (signed.abs() * parts).sqrt()


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

    Every second pair is made of square blocks, a quarter of the shorter side wide, that begin anywhere: an object covers several cells.

    >>> draw_masks(4, (2, 4), 0).sum((1, 2)).tolist()
    [1, 7, 3, 5]
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    block = max(1, round(min(size) / 4))
    rows = []
    for pair in range(count // 2):
        side = block if pair % 2 else 1
        shift = torch.randint(side, (2,), generator=generator, device="cpu").tolist()
        coarse = [-(-(one + by) // side) for one, by in zip(size, shift, strict=True)]
        cells = coarse[0] * coarse[1]
        order = torch.randperm(cells, generator=generator, device="cpu")
        mask = torch.zeros(cells, dtype=torch.bool, device="cpu")
        mask[order[: round(cells * (pair + 0.5) / count)]] = True
        fine = mask.reshape(*coarse).repeat_interleave(side, 0).repeat_interleave(side, 1)
        own = fine[shift[0] : shift[0] + size[0], shift[1] : shift[1] + size[1]]
        rows += [own, ~own]
    return torch.stack(rows)


def _make_method(
    name: str, title: str, path: Path, points: int | None, baseline: Baseline, form: Form, seed: int
) -> PerturbationMethod:
    if baseline not in BASELINES:
        raise InputError(f"baseline={baseline!r} was given; expected {', '.join(BASELINES)}")
    if form not in FORMS:
        raise InputError(f"form={form!r} was given; expected {', '.join(FORMS)}")
    count = f"{MASKS} or {2 * MASKS}" if points is None else f"{points}"
    runs = f"{count} more run{'s' * (points != 1)} of what follows the layer"
    parts = {
        "signed": "relu(E), E = sum_k (A_k - b_k) G_k",
        "positive": "P = sum_k relu((A_k - b_k) G_k)",
        "balanced": "sqrt(relu(E) P), E = sum_k (A_k - b_k) G_k, P = sum_k relu((A_k - b_k) G_k)",
    }[form]
    where = "b + m_s (A - b), m_s random masks of cells" if path == "masks" else "b + a_s (A - b), a_s in (0, 1)"
    return PerturbationMethod(
        name if form == "signed" else f"{name}-{form}",
        partial(explain_by_path, path=path, points=points, baseline=baseline, form=form, seed=seed),
        title + {"signed": "", "positive": ", positive parts", "balanced": ", balanced"}[form],
        "vlcam 2026" if path == "masks" else "Sundararajan et al. 2017, arXiv 1703.01365",
        f"{parts}, G_k = mean_s dy/dA_k at {where}",
        cost=f"one run, and {runs}",
        quick=True,
    )


BUILT_IN = (
    make_masked_gradients(),
    make_masked_gradients(form="positive"),
    make_masked_gradients(form="balanced"),
    make_halfway_gradient(),
    make_halfway_gradient(form="positive"),
    make_layer_integrated_gradients(),
)
