"""Masked gradients and their relatives against slow loops in float64, and what theory promises of them."""

import itertools
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from tests.explanation.test_head import PICTURE, classes, open_subject, vit
from vlcam.contracts import InputError, PerturbationMethod
from vlcam.explanation.rerun import PhotoSubject
from vlcam.methods import get_method
from vlcam.methods.cells import insert_cells, occlude_cells, reciprocam
from vlcam.methods.finer import make_finercam
from vlcam.methods.head import FoundMaps
from vlcam.methods.masks import score_layer_masks
from vlcam.methods.path_gradients import (
    count_masks,
    draw_masks,
    make_baseline,
    make_halfway_gradient,
    make_layer_integrated_gradients,
    make_masked_gradients,
)
from vlcam.methods.second_order import shapleycam
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification


class Bent(nn.Module):
    """A layer, and after it a head that is smooth and neither linear nor the same in every place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU())
        self.first, self.second = nn.Linear(4 * 12, 6), nn.Linear(6, 3)

    def forward(self, pixels: Tensor) -> Any:
        return self.second(torch.tanh(self.first(self.layer(pixels).flatten(1))))


def run(method: PerturbationMethod, subject: PhotoSubject) -> FoundMaps:
    """What a method finds that says more than maps."""
    found = method.function(subject)
    assert isinstance(found, FoundMaps)
    return found


def bent(dtype: torch.dtype = torch.float64) -> PhotoSubject:
    torch.manual_seed(3)
    net = Bent().eval().to(dtype)
    task = Classification(net, ["a", "b", "c"], vlcam.Preprocess((16, 12)), layer="layer")
    return open_subject(task)


def follow(subject: PhotoSubject, points: Tensor) -> Tensor:
    """The scores of the subject's targets by hand."""
    net: Any = subject.model
    out: Tensor = net.second(torch.tanh(net.first(points.flatten(1))))
    return out[:, [one.token_ids[0] for one in subject.targets]]


def slow_gradients(subject: PhotoSubject, points: Tensor) -> Tensor:
    """The mean over the points of every target's gradient, one at a time."""
    total = torch.zeros(len(subject.targets), *points.shape[1:], dtype=points.dtype)
    for number, point in itertools.product(range(len(subject.targets)), points):
        leaf = point[None].clone().requires_grad_()
        total[number] += torch.autograd.grad(follow(subject, leaf)[0, number], leaf)[0][0] / len(points)
    return total


@pytest.mark.parametrize("form", ["signed", "positive", "balanced"])
@pytest.mark.parametrize("baseline", ["quiet", "zero", "mean"])
def test_masked_gradients_are_their_formula(baseline: Any, form: Any) -> None:
    subject = bent()
    found = run(make_masked_gradients(6, baseline=baseline, form=form, seed=4), subject)
    assert found.contributions is not None and found.alpha is not None
    activations = subject.cells
    base = make_baseline(activations, baseline)
    masks = draw_masks(6, (3, 4), 4).double()[:, None]
    slopes = slow_gradients(subject, base + masks * (activations - base))
    evidence = slopes * (activations - base)
    signed, more, less = (one.sum(1) for one in (evidence, evidence.clamp_min(0), (-evidence).clamp_min(0)))
    balanced = torch.where(signed > 0, (signed.abs() * more).sqrt(), -(signed.abs() * less).sqrt())
    expected = {"signed": signed, "positive": more, "balanced": balanced}[form]
    torch.testing.assert_close(found.maps, expected, rtol=1e-9, atol=1e-12)
    seen = slopes * (activations - make_baseline(activations, "quiet"))
    parts = (evidence if form == "signed" else seen.clamp_min(0)).sum((2, 3))
    torch.testing.assert_close(found.contributions, parts, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.alpha, slopes.mean((2, 3)), rtol=1e-9, atol=1e-12)


def test_the_halfway_gradient_is_one_point() -> None:
    subject = bent()
    found = run(make_halfway_gradient(baseline="zero"), subject)
    slopes = slow_gradients(subject, subject.cells / 2)
    torch.testing.assert_close(found.maps, (slopes * subject.cells).sum(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("baseline", ["quiet", "zero"])
def test_integrated_gradients_add_up_to_the_difference_of_the_scores(baseline: Any) -> None:
    subject = bent()
    base = make_baseline(subject.cells, baseline).expand_as(subject.cells)
    difference = follow(subject, subject.cells)[0] - follow(subject, base)[0]
    errors = []
    difference = difference.detach()
    for steps in (4, 64):
        found = run(make_layer_integrated_gradients(steps, baseline=baseline), subject)
        assert found.contributions is not None
        torch.testing.assert_close(found.maps.sum((1, 2)), found.contributions.sum(1))
        errors.append(float((found.contributions.sum(1) - difference).abs().max()))
    assert errors[1] < 1e-4 and errors[1] < errors[0] / 50


def test_where_the_head_is_linear_all_are_hirescam() -> None:
    subject = open_subject(classes(layer="block"))
    plain = (subject.cell_gradients * subject.cells).sum(1)
    for method in (
        make_masked_gradients(baseline="zero"),
        make_halfway_gradient(baseline="zero"),
        make_layer_integrated_gradients(2, baseline="zero"),
    ):
        found = run(method, subject)
        torch.testing.assert_close(found.maps, plain, rtol=1e-4, atol=1e-6)
        assert found.saturation == pytest.approx(0, abs=1e-5)


def test_masks_come_in_opposites_of_every_density() -> None:
    masks = draw_masks(16, (12, 12), 0)
    assert torch.equal(masks[1::2], ~masks[::2])
    wanted = [(n + 0.5) / 16 for n in range(8)]
    found = masks.flatten(1).double().mean(1)[::2].tolist()
    assert found[::2] == pytest.approx(wanted[::2], abs=0.01)  # of single cells
    assert found[1::2] == pytest.approx(wanted[1::2], abs=0.1)  # of blocks, some of which are cut off by the border
    blocks = masks[2].double()
    assert float((blocks[1:] == blocks[:-1]).double().mean()) > float((masks[4][1:] == masks[4][:-1]).double().mean())
    assert torch.equal(masks, draw_masks(16, (12, 12), 0)) and not torch.equal(masks, draw_masks(16, (12, 12), 1))
    assert float(draw_masks(64, (6, 6), 0).double().mean()) == 0.5


def test_the_quiet_baseline_is_what_most_cells_are_like() -> None:
    activations = torch.full((1, 2, 4, 4), 0.25)
    activations[0, :, :2, :2] = 9.0  # an object
    assert make_baseline(activations, "quiet").flatten().tolist() == pytest.approx([0.25, 0.25])
    assert make_baseline(activations, "mean").flatten()[0] > 2
    assert not make_baseline(activations, "zero").any()
    assert torch.equal(make_baseline(activations, "rest"), make_baseline(activations, "zero"))
    assert torch.equal(make_baseline(-activations, "rest"), make_baseline(-activations, "quiet"))


def test_cells_one_by_one() -> None:
    subject = bent()
    base = make_baseline(subject.cells, "quiet")
    whole, empty = follow(subject, subject.cells)[0], follow(subject, base.expand_as(subject.cells))[0]
    away, alone = occlude_cells(subject), insert_cells(subject)
    kept = reciprocam(subject)
    nothing = follow(subject, torch.zeros_like(subject.cells))[0]
    around = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64) / 16
    for row, column in itertools.product(range(3), range(4)):
        less = subject.cells.clone()
        less[0, :, row, column] = base[0, :, 0, 0]
        torch.testing.assert_close(away[:, row, column], whole - follow(subject, less)[0], rtol=1e-9, atol=1e-12)
        only = base.expand_as(subject.cells).clone()
        only[0, :, row, column] = subject.cells[0, :, row, column]
        torch.testing.assert_close(alone[:, row, column], follow(subject, only)[0] - empty, rtol=1e-9, atol=1e-12)
        mask = torch.zeros(5, 6, dtype=torch.float64)
        mask[row : row + 3, column : column + 3] = around
        seen = follow(subject, subject.cells * mask[1:-1, 1:-1])[0]
        torch.testing.assert_close(kept[:, row, column], seen - nothing, rtol=1e-6, atol=1e-9)


def test_shapleycam_takes_the_second_derivative() -> None:
    subject = bent()
    found = shapleycam(subject)
    for number in range(len(subject.targets)):
        leaf = subject.cells.clone().requires_grad_()
        whole = torch.autograd.functional.hessian(lambda x: follow(subject, x)[0, number], leaf)  # noqa: B023
        size = leaf.numel()
        bent_by = (whole.reshape(size, size) @ leaf.detach().flatten()).reshape(leaf.shape)
        weights = (slow_gradients(subject, subject.cells)[number] - bent_by[0] / 2).mean((1, 2))
        expected = torch.einsum("k,kij->ij", weights, subject.cells[0])
        torch.testing.assert_close(found.maps[number], expected, rtol=1e-8, atol=1e-11)


def test_shapleycam_of_a_linear_head_is_gradcam() -> None:
    subject = open_subject(classes(layer="block"))
    gradcam = torch.einsum("tk,kij->tij", subject.cell_gradients.mean((2, 3)), subject.cells[0])
    torch.testing.assert_close(shapleycam(subject).maps, gradcam, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "masked-gradients",
        "masked-gradients-positive",
        "halfway-gradient",
        "cell-occlusion",
        "recipro-cam",
        "shapley-cam",
    ],
)
def test_tokens_lie_where_they_belong(name: str) -> None:
    explanation = vlcam.explain(vit(), PICTURE, method=name)
    assert explanation.method == name and explanation.maps.shape == (3, 3, 4)
    assert bool(explanation.maps.isfinite().all()) and bool(explanation.maps.any())


def test_bad_settings_are_refused() -> None:
    for masks in (0, 3, True):
        with pytest.raises(InputError, match=f"masks={masks} was given; expected an even number from 2"):
            make_masked_gradients(masks)
    with pytest.raises(InputError, match="steps=0 was given; expected a whole number from 1"):
        make_layer_integrated_gradients(0)
    with pytest.raises(InputError, match="baseline='grey' was given; expected rest, quiet, zero, mean"):
        unwrap(make_baseline)(torch.ones(1, 2, 3, 4), "grey")
    assert get_method("masked-gradients").cost == "one run, and 8 or 16 more runs of what follows the layer"


def test_small_models_get_more_masks_by_default() -> None:
    small, large = nn.Linear(10, 10), nn.Linear(3_000, 4_000)
    assert (count_masks(small), count_masks(large)) == (16, 8)
    subject = bent()
    drawn, sixteen, eight = (
        method.function(subject).maps
        for method in (make_masked_gradients(), make_masked_gradients(16), make_masked_gradients(8))
    )
    assert torch.equal(drawn, sixteen) and not torch.equal(drawn, eight)


def test_finercam_is_gradcam_of_the_lead_over_the_closest_classes() -> None:
    subject = bent()
    net: Any = subject.model
    every = net.second(torch.tanh(net.first(subject.cells.flatten(1))))[0].detach()
    for strength, rivals in ((1.0, 2), (0.5, 1)):
        found = run(make_finercam(rivals, strength), subject)
        for number, target in enumerate(subject.targets):
            own = target.token_ids[0]
            others = sorted(
                (one for one in range(3) if one != own), key=lambda one: float(abs(every[one] - every[own]))
            )
            weights = every.softmax(0)[others[:rivals]]
            leaf = subject.cells.clone().requires_grad_()
            scores = net.second(torch.tanh(net.first(leaf.flatten(1))))[0]
            lead = (weights * (scores[own] - strength * scores[others[:rivals]])).sum() / weights.sum()
            alpha = torch.autograd.grad(lead, leaf)[0].mean((2, 3))[0]
            expected = torch.einsum("k,kij->ij", alpha, subject.cells[0])
            torch.testing.assert_close(found.maps[number], expected, rtol=1e-8, atol=1e-11)
    plain = torch.einsum("tk,kij->tij", subject.cell_gradients.mean((2, 3)), subject.cells[0])
    torch.testing.assert_close(run(make_finercam(strength=0.0), subject).maps, plain, rtol=1e-8, atol=1e-11)


def test_finercam_refuses_what_is_no_class() -> None:
    with pytest.raises(InputError, match="Finer-CAM compares a class with other classes, but the target 'a' is a word"):
        vlcam.explain(bundled.captioner(), PICTURE, caption="a red star", method="finer-cam")
    with pytest.raises(InputError, match="rivals=0 was given"):
        make_finercam(0)


def test_score_cam_at_the_layer() -> None:
    subject = bent()
    weights = []
    zero = follow(subject, torch.zeros_like(subject.cells))[0]
    for channel in range(4):
        plane = subject.cells[:, channel : channel + 1]
        mask = (plane - plane.min()) / (plane.max() - plane.min()) if plane.max() > plane.min() else plane * 0
        weights.append(
            follow(subject, subject.cells * mask)[0] - zero if plane.max() > plane.min() else zero - torch.inf
        )
    alpha = torch.stack(weights).softmax(0)
    expected = torch.einsum("kt,kij->tij", alpha, subject.cells[0])
    torch.testing.assert_close(score_layer_masks(subject), expected, rtol=1e-8, atol=1e-11)
