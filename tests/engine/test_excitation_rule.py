"""Excitation backprop against walks with explicit probabilities, in float64, on networks unrolled into matrices."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import vlcam
from tests.methods.test_perturbation import StandIn, bundled_case
from tests.support.tiny import Cnn, lively, snapshot
from vlcam.contracts import LayerError, Request
from vlcam.engine.excitation_rule import Excitation
from vlcam.engine.recording import gradients, record
from vlcam.methods.excitation import BUILT_IN, cmwp, compute_winning_probabilities, mwp
from vlcam.tasks.classification import Classification

# --- the textbook ---------------------------------------------------------------------------------------------------------------


def walk(units: Tensor, weights: Tensor, winners: Tensor) -> Tensor:
    """One step down: ``R_i = sum_j Z_j a_i w+_ij R_j``, unit by unit; weights ``(out, in)``."""
    below = torch.zeros_like(units)
    for j in range(len(winners)):
        excited = sum(float(units[i]) * max(float(weights[j, i]), 0) for i in range(len(units)))
        if excited > 0:
            for i in range(len(units)):
                below[i] += units[i] * max(float(weights[j, i]), 0) / excited * winners[j]
    return below


def first_step(units: Tensor, weights: Tensor) -> Tensor:
    """From an output unit with these weights to the units below."""
    excited = (units * weights).clamp_min(0)
    return excited / excited.sum() if excited.sum() > 0 else excited


def unrolled(op: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The matrix ``(out, in)`` of a linear map, by what it makes of every unit vector."""
    flat = like.numel()
    nothing = op(torch.zeros_like(like))
    columns = [(op(torch.eye(flat, dtype=like.dtype)[i].view_as(like)) - nothing).flatten() for i in range(flat)]
    return torch.stack(columns, 1)


def largest(values: Tensor, winners: Tensor, size: int) -> Tensor:
    """Max pooling: the winner of a window takes all. ``values`` ``(1, c, h, w)``, ``winners`` ``(c, h / size, w / size)``."""
    below = torch.zeros_like(values)
    channels, rows, columns = winners.shape
    for k in range(channels):
        for i in range(rows):
            for j in range(columns):
                window = values[0, k, i * size : (i + 1) * size, j * size : (j + 1) * size]
                at = int(window.flatten().argmax())
                below[0, k, i * size + at // size, j * size + at % size] += winners[k, i, j]
    return below


def check(subject: StandIn, expected: Callable[[Tensor], Tensor], weights: Tensor) -> None:
    """MWP and c-MWP against walks that start with these weights ``(targets, units)`` at the top."""
    both = torch.stack([torch.stack([expected(row).sum((0, 1)) for row in sign]) for sign in (weights, -weights)])
    torch.testing.assert_close(compute_winning_probabilities(subject), both)
    torch.testing.assert_close(mwp(subject), both[0])
    torch.testing.assert_close(cmwp(subject), both[0] - both[1])


def features(*shape: int) -> Tensor:
    return torch.randn(1, *shape, dtype=torch.float64).relu()


def subject_of(head: nn.Module, activations: Tensor, targets: int = 3) -> StandIn:
    return StandIn(nn.Identity(), head.double().eval(), activations, targets)


# --- by hand --------------------------------------------------------------------------------------------------------------------


def test_a_net_of_two_layers_computed_by_hand() -> None:
    """Two places a = (2, 1); hidden units h1 = 2 a1 - a2 = 3, h2 = a1 + a2 = 3; y = h1 - 2 h2.

    Up: h1 alone excites y, and a1 alone excites h1: (1, 0). Down: h2 alone, which gives 2/3 and 1/3.
    """
    head: Any = nn.Sequential(
        nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)
    ).double()
    with torch.no_grad():
        head[1].weight.copy_(torch.tensor([[2.0, -1], [1, 1]]))
        head[3].weight.copy_(torch.tensor([[1.0, -2]]))
    subject = StandIn(nn.Identity(), head, torch.tensor([[[[2.0, 1]]]], dtype=torch.float64), 1)
    assert mwp(subject).flatten().tolist() == pytest.approx([1, 0])
    assert cmwp(subject).flatten().tolist() == pytest.approx([1 / 3, -1 / 3])


def test_what_only_a_bias_excites_is_lost() -> None:
    """h1 = -a + 5 is on, but nothing below excites it; h2 = a. Both weigh 1 in y = h1 + h2 = 3 + 2."""
    head: Any = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        head[1].weight.copy_(torch.tensor([[-1.0], [1]]))
        head[1].bias.copy_(torch.tensor([5.0, 0]))
        head[3].weight.fill_(1)
    subject = StandIn(nn.Identity(), head, torch.tensor([[[[2.0]]]], dtype=torch.float64), 1)
    assert mwp(subject).flatten().tolist() == pytest.approx([2 / 5])


# --- networks unrolled ----------------------------------------------------------------------------------------------------------


def test_a_linear_classifier_on_the_mean() -> None:
    head: Any = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    activations = features(6, 3, 5)
    subject = subject_of(head, activations)
    pooled = activations.mean((2, 3))[0]

    def expected(weights: Tensor) -> Tensor:
        top = first_step(pooled, weights)
        return torch.stack([activations[0, k] / activations[0, k].sum() * top[k] for k in range(6)])[None]

    check(subject, expected, head[2].weight[:3].detach())


def test_a_network_as_vgg() -> None:
    head: Any = nn.Sequential(
        nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Linear(10, 8), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(8, 5),
    )  # fmt: skip
    activations = features(3, 4, 4)
    subject = subject_of(head, activations)
    values = [activations]
    for part in head:
        values.append(part(values[-1].clone()).detach())

    def expected(weights: Tensor) -> Tensor:
        fc2 = first_step(values[8][0], weights)
        fc1 = walk(values[5][0], head[6].weight, fc2)
        pooled = walk(values[3][0], head[3].weight, fc1)
        return largest(activations, pooled.view(3, 2, 2), 2)

    check(subject, expected, head[9].weight[:3].detach())
    assert mwp(subject).sum((1, 2)).max() <= 1 + 1e-9


@pytest.mark.parametrize("order", ["relu, pool", "pool, relu"])
@pytest.mark.parametrize("norm", [True, False])
def test_convolution_batch_norm_and_pooling(order: str, norm: bool) -> None:
    """Batch norm turns the sign of half of the channels round, so their negative weights excite."""
    conv, batch, relu, pool = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    with torch.no_grad():
        batch.weight.copy_(torch.tensor([1.0, -1, 0.5, -2]))
    parts = [conv, batch if norm else nn.Identity(), *([relu, pool] if order == "relu, pool" else [pool, relu])]
    head: Any = (
        lively(nn.Sequential(*parts, nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), nn.Linear(7, 3))).double().eval()
    )
    activations = features(2, 4, 4)
    subject = subject_of(head, activations)
    with torch.no_grad():
        signed = head[1](conv(activations))
        rectified = signed.relu()
        pooled = pool(rectified).flatten()
        hidden = head[5](pooled).relu()
    matrix = unrolled(lambda one: head[1](conv(one)), activations).detach()

    def expected(weights: Tensor) -> Tensor:
        below = walk(pooled, head[5].weight, first_step(hidden, weights))
        units = largest(rectified, below.view(4, 2, 2), 2).flatten()
        return walk(activations.flatten(), matrix, units).view_as(activations)

    check(subject, expected, head[7].weight.detach())


class Block(nn.Module):
    """A residual block with in-place operations, and the classifier of a ResNet."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = (
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
        )
        self.fc = nn.Linear(channels, 4)

    def forward(self, values: Tensor) -> Tensor:
        out = self.norm(self.conv(values))
        out += values
        out = self.relu(out)
        return self.fc(out.mean((2, 3)))  # type: ignore[no-any-return]


def test_a_residual_block() -> None:
    """The inputs of a unit are those of the convolution and, with weight 1, the unit that skipped it."""
    head: Any = lively(Block()).double().eval()
    activations = features(3, 3, 3)
    subject = subject_of(head, activations)
    with torch.no_grad():
        matrix = unrolled(lambda one: head.norm(head.conv(one)), activations).clamp_min(0) + torch.eye(27)
        units = head.relu(head.norm(head.conv(activations)) + activations)

    def expected(weights: Tensor) -> Tensor:
        top = first_step(units.mean((2, 3))[0], weights)
        share = torch.where(units > 0, units / units.sum((2, 3), keepdim=True), 0)[0]
        return walk(activations.flatten(), matrix, (share * top[:, None, None]).flatten()).view_as(activations)

    check(subject, expected, head.fc.weight[:3].detach())


def test_a_network_as_squeezenet_starts_below_its_last_weights() -> None:
    """Its logits are means of ReLUs, which have no negated weights above them."""
    conv = nn.Conv2d(4, 3, 1)
    head: Any = nn.Sequential(nn.Dropout(), conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    activations = features(4, 3, 3)
    subject = subject_of(head, activations)
    on = (conv(activations) > 0)[0]
    weights = torch.stack([on[c] * conv.weight[c].detach() for c in range(3)])  # (targets, 4, 3, 3)
    check(subject, lambda row: first_step(activations.flatten(), row.flatten()).view_as(activations), weights)


class Branches(nn.Module):
    """Branches that are concatenated, scaled, shuffled and split: as Inception and ShuffleNet, of non-negative tensors only."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.narrow, self.fc = nn.Conv2d(4, 4, 1), nn.Linear(8, 3)

    def forward(self, values: Tensor) -> Tensor:
        both = torch.cat([self.one(values).relu() * 0.5, functional.relu6(self.three(values))], 1)
        both = both.view(1, 2, 4, *both.shape[2:]).transpose(1, 2).reshape(both.shape)
        left, right = both.chunk(2, 1)
        both = torch.cat([left, torch.clamp(self.narrow(right), min=0)], 1)
        return self.fc(functional.adaptive_avg_pool2d(both, 1).flatten(1))  # type: ignore[no-any-return]


def test_branches() -> None:
    head = Branches().double().eval()
    activations = features(4, 3, 3)
    subject = subject_of(head, activations)
    with torch.no_grad():
        one, three = head.one(activations).relu() * 0.5, functional.relu6(head.three(activations))
        order = torch.arange(8).view(2, 4).T.flatten()
        both = torch.cat([one, three], 1)[:, order]
        left, right = both.chunk(2, 1)
        second = head.narrow(right).relu()
        top = torch.cat([left, second], 1)
        matrices = [unrolled(op, activations) for op in (head.one, head.three)]
        last = unrolled(head.narrow, right)

    def expected(weights: Tensor) -> Tensor:
        pooled = first_step(top.mean((2, 3))[0], weights)
        share = torch.where(top > 0, top / top.sum((2, 3), keepdim=True), 0)[0] * pooled[:, None, None]
        before = torch.cat([share[:4], walk(right.flatten(), last, share[4:].flatten()).view(4, 3, 3)])
        ordered = torch.empty_like(before)
        ordered[order] = before
        flat = activations.flatten()
        found = walk(flat, matrices[0], ordered[:4].flatten()) + walk(flat, matrices[1], ordered[4:].flatten())
        return found.view_as(activations)

    check(subject, expected, head.fc.weight.detach())


# --- words and answers ----------------------------------------------------------------------------------------------------------


class Fused(nn.Module):
    """As a VQA model: the photo's vector, times a question, then more layers."""

    def __init__(self) -> None:
        super().__init__()
        self.photo: Any = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU())
        self.look, self.out = nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4))
        self.question = nn.Parameter(torch.randn(5))

    def forward(self, values: Tensor) -> Tensor:
        photo = self.photo(values)
        return self.out(self.look(photo) * self.question.tanh()).log_softmax(-1)  # type: ignore[no-any-return]


def test_above_the_photos_vector_the_gradient_stands_for_the_weights() -> None:
    head = Fused().double().eval()
    activations = features(3, 2, 2)
    subject = subject_of(head, activations)
    vector = head.photo(activations).detach().requires_grad_()
    scores = head.out(head.look(vector) * head.question.tanh()).log_softmax(-1)[0, :3]
    slopes = torch.stack([torch.autograd.grad(score, vector, retain_graph=True)[0][0] for score in scores])

    def expected(weights: Tensor) -> Tensor:
        top = first_step(vector[0].detach(), weights)
        return walk(activations.flatten(), head.photo[1].weight, top).view_as(activations)

    check(subject, expected, slopes)


def test_the_top_is_what_all_paths_go_through() -> None:
    """The photo's vector goes two ways; a ReLU on one of them isn't the top."""

    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.photo: Any = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU())
            self.one, self.other, self.out = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(10, 3)

        def forward(self, values: Tensor) -> Tensor:
            photo = self.photo(values)
            return self.out(torch.cat([self.one(photo).relu(), self.other(photo).tanh()], 1))  # type: ignore[no-any-return]

    head = Forked().double().eval()
    activations = features(3, 2, 2)
    vector = head.photo(activations).detach().requires_grad_()
    scores = head.out(torch.cat([head.one(vector).relu(), head.other(vector).tanh()], 1))[0]
    slopes = torch.stack([torch.autograd.grad(score, vector, retain_graph=True)[0][0] for score in scores])

    def expected(weights: Tensor) -> Tensor:
        top = first_step(vector[0].detach(), weights)
        return walk(activations.flatten(), head.photo[1].weight, top).view_as(activations)

    check(subject_of(head, activations), expected, slopes)


# --- models ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer3"),
        ("squeezenet1_1", "features.9"),
        ("shufflenet_v2_x0_5", "stage4"),
    ],
)
def test_probability_is_kept_by_the_models_of_torchvision(name: str, layer: str) -> None:
    """Without biases nothing is lost on the way, so MWP sums to 1, and the model's own run gives its own scores."""
    import torchvision

    model = getattr(torchvision.models, name)(num_classes=5).eval()
    with torch.no_grad():
        for part, value in model.named_parameters():
            if part.endswith("bias"):
                value.zero_()
    images = torch.rand(1, 3, 40, 40)
    rule = Excitation()
    with torch.no_grad():
        alone = model(images)
    with record(model, layer) as recording, rule:
        scores = model(images)[0]
    assert torch.equal(scores.detach(), alone[0])
    leaf = recording.resolve(scores)

    class Recorded(StandIn):
        def rerun(self, leaf: Any, within: Any = None) -> tuple[Tensor, Tensor]:
            with record(model, layer) as again, within or nullcontext():
                found = model(images)[0]
            return found, again.resolve(found)

    both = compute_winning_probabilities(Recorded(nn.Identity(), nn.Flatten(), leaf.detach(), 5))
    assert both.min() >= 0
    totals = both.sum((2, 3))
    there = totals > 0  # a SqueezeNet's silent class has no evidence
    torch.testing.assert_close(totals[there], torch.ones_like(totals[there]), atol=1e-4, rtol=0)
    assert there.float().mean() >= 0.5


@pytest.mark.parametrize("kind", ["classification", "captioning", "vqa"])
def test_the_bundled_models(kind: str) -> None:
    """From the photo's vector down in matrices: fully connected, then the mean of 3 x 3 cells."""
    task, image, options = bundled_case(kind)
    explanation = vlcam.explain(task, image, method=BUILT_IN[1], **options)
    contrast = vlcam.explain(task, image, method=BUILT_IN[0], **options)
    model = task.model
    with record(model, "features") as recording, record(model, "head") as above:
        prepared = task.prepare(Image.fromarray(image), Request(**options))
        spoken = task.run(prepared, Request(**options))
    values, vector = recording.activations.double(), above.resolve(spoken.scores)
    slopes = gradients(spoken.scores, vector)[:, 0].double()
    top, weights = vector.detach()[0].double(), model.head[2].weight.detach().double().clamp_min(0)
    pooled = functional.avg_pool2d(values, 3).flatten()
    excited = weights @ pooled

    def expected(evidence: Tensor) -> Tensor:
        start = first_step(top, evidence)
        below = pooled * (weights.T @ torch.where(excited > 0, start / excited, 0))
        spread = torch.where(pooled > 0, below / pooled, 0).view(-1, 4, 4)
        return (values[0] / 9 * spread.repeat_interleave(3, 1).repeat_interleave(3, 2)).sum(0)

    found = torch.stack([expected(row) for row in slopes])
    torch.testing.assert_close(explanation.maps.double(), found, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(explanation.maps.sum((1, 2)), torch.ones(len(explanation)), atol=1e-3, rtol=0)
    against = torch.stack([expected(-row) for row in slopes])
    torch.testing.assert_close(contrast.maps.double(), found - against, atol=1e-6, rtol=1e-4)


# --- what it refuses, and what it leaves alone ----------------------------------------------------------------------------------


def test_negative_activations_are_refused() -> None:
    head: Any = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    subject = subject_of(head, torch.randn(1, 3, 2, 2, dtype=torch.float64), 2)
    with pytest.raises(LayerError, match=r"layer 'features' has negative ones .*layercam or ablation-cam"):
        cmwp(subject)


def test_dropout_that_is_always_on_ends_the_chain_and_draws_once() -> None:
    """Its mask is drawn by the model alone, so the numbers that follow are the model's own."""

    class Noisy(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return functional.dropout(values.flatten(1), 0.5, training=True).cumsum(1)[:, -2:]

    values = features(3, 2, 2)
    torch.manual_seed(5)
    with Excitation():
        leaf = values.clone().requires_grad_()
        inside = Noisy()(leaf)
    torch.manual_seed(5)
    assert torch.equal(inside.detach(), Noisy()(values))


def test_the_model_is_left_as_it_was() -> None:
    model = lively(Cnn()).train()
    task = Classification(model, [f"class {number}" for number in range(5)], vlcam.Preprocess(16))
    before = snapshot(model)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    maps = vlcam.explain(task, photo, method=BUILT_IN[0], layer="block.0")
    assert maps.maps.any()
    assert snapshot(model) == before


def test_a_tensor_overwritten_later_is_no_longer_followed() -> None:
    rule = Excitation()
    with rule:
        leaf = features(2, 2, 2).requires_grad_()
        out = leaf * 2.0
        assert rule.look_up(out) is not None
        out.flatten().sub_(1)
        assert rule.look_up(out) is None


def test_a_score_without_evidence_gives_an_empty_map() -> None:
    head: Any = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        head[1].weight.fill_(-1)
    assert not cmwp(subject_of(head, features(1, 2, 2), 1)).any()
