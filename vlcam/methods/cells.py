"""Cells of the layer taken away or left alone: what follows the layer says what each of them is worth.

Forward passes of what follows the layer only, one for each cell; ``A`` are the activations, ``b`` a baseline (the same in every cell).
"""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import Maps, PerturbationMethod
from vlcam.methods.head import HeadRunner, HeadSubject
from vlcam.methods.path_gradients import Baseline, make_baseline


def occlude_cells(subject: HeadSubject, baseline: Baseline = "quiet") -> Maps:
    """``E(i, j) = y(A) - y(A with cell (i, j) at b)``, signed, ``(T, h, w)``: occlusion (Zeiler & Fergus 2014) at the layer."""
    with subject.open_head() as head:
        quiet, cells = make_baseline(head.activations, baseline), _list_cells(head)
        base = head.score(head.activations)
        drops = base - head.score(torch.where(cells[:, None], quiet, head.activations))
        return subject.place(_to_grid(drops, head))


def insert_cells(subject: HeadSubject, baseline: Baseline = "quiet") -> Maps:
    """``E(i, j) = y(b with cell (i, j) of A) - y(b)``, signed, ``(T, h, w)``: what each cell says alone."""
    with subject.open_head() as head:
        quiet, cells = make_baseline(head.activations, baseline).expand_as(head.activations), _list_cells(head)
        rises = head.score(torch.where(cells[:, None], head.activations, quiet)) - head.score(quiet)
        return subject.place(_to_grid(rises, head))


def reciprocam(subject: HeadSubject) -> Maps:
    """The score when only the cell and, weaker, its eight neighbours are left: Recipro-CAM (Byun & Lee 2022, arXiv 2209.14074).

    ``S(i, j) = y(A M_ij) - y(0)`` with ``M_ij`` the 3 x 3 Gaussian (1 2 1; 2 4 2; 1 2 1) / 16 around the cell, and 0 elsewhere. The paper
    takes the softmax's probability for y and draws each map from its least to its largest value; here y is the target's own score, and
    places of which the model makes nothing are 0. Tokens that don't lie in a grid of rows and columns are left alone one by one.
    """
    with subject.open_head() as head:
        cells = _list_cells(head).to(head.activations)
        if min(head.activations.shape[2:]) > 1:
            near = torch.tensor([0.25, 0.5, 0.25], device="cpu").to(cells)
            cells = F.conv2d(cells[:, None], (near[:, None] * near)[None, None], padding=1)[:, 0]
        nothing = head.score(torch.zeros_like(head.activations))
        return subject.place(_to_grid(head.score(cells[:, None] * head.activations) - nothing, head))


def _list_cells(head: HeadRunner) -> Tensor:
    """For each cell a mask ``(cells, rows, columns)`` that is true there."""
    rows, columns = head.activations.shape[2:]
    return torch.eye(rows * columns, dtype=torch.bool, device=head.activations.device).reshape(-1, rows, columns)


def _to_grid(values: Tensor, head: HeadRunner) -> Tensor:
    return values.mT.reshape(-1, *head.activations.shape[2:])


_COST = "one run, and one more of what follows the layer for each of its cells"

BUILT_IN = (
    PerturbationMethod(
        "cell-occlusion",
        occlude_cells,
        "Occlusion of the layer's cells",
        "Zeiler & Fergus 2014, arXiv 1311.2901, at the layer",
        "y(A) - y(A with cell (i, j) at b), b what most cells are like",
        cost=_COST,
    ),
    PerturbationMethod(
        "cell-insertion",
        insert_cells,
        "Insertion of the layer's cells",
        "vlcam 2026",
        "y(b with cell (i, j) of A) - y(b), b what most cells are like",
        cost=_COST,
    ),
    PerturbationMethod(
        "recipro-cam",
        reciprocam,
        "Recipro-CAM",
        "Byun & Lee 2022, arXiv 2209.14074",
        "y(A M_ij) - y(0), M_ij = (1 2 1; 2 4 2; 1 2 1) / 16 around the cell",
        cost=_COST,
    ),
)
