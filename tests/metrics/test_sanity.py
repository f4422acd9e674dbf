"""Sanity: similarity of maps against textbook twins, randomised copies of models, other targets, and noise."""

import copy
import itertools
import math
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError
from vlcam.metrics import (
    hog_similarity,
    randomisation_test,
    randomised,
    similarity,
    spearman,
    ssim,
    stability,
    target_similarity,
)
from vlcam.tasks import bundled

NAN = math.nan


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave(side: int, angle: float) -> Tensor:
    """Stripes across a direction: all slopes lie along ``angle``."""
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    return (0.5 * (x * math.cos(angle) + y * math.sin(angle))).sin().double()


# --- similarity of maps ---------------------------------------------------------------------------------------------------------


def slow_ssim(one: list[list[float]], other: list[list[float]]) -> float:
    """Wang et al. 2004, eq. 13, with Gaussian windows of 11 pixels on maps from 0 to 1; the variances about the local means."""
    bell = [[math.exp(-((a - 5) ** 2 + (b - 5) ** 2) / (2 * 1.5**2)) for b in range(11)] for a in range(11)]
    whole = sum(map(sum, bell))
    values = []
    for i in range(len(one) - 10):
        for j in range(len(one[0]) - 10):
            cells = [
                (bell[a][b] / whole, one[i + a][j + b], other[i + a][j + b])
                for a, b in itertools.product(range(11), range(11))
            ]
            if any(math.isnan(x) or math.isnan(y) for _, x, y in cells):
                continue
            mx, my = sum(w * x for w, x, _ in cells), sum(w * y for w, _, y in cells)
            vx, vy = sum(w * (x - mx) ** 2 for w, x, _ in cells), sum(w * (y - my) ** 2 for w, _, y in cells)
            both = sum(w * (x - mx) * (y - my) for w, x, y in cells)
            c1, c2 = 0.01**2, 0.03**2
            values.append((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return sum(values) / len(values)


def unit(heat: Tensor) -> Tensor:
    seen = heat[~heat.isnan()]
    return (heat - seen.min()) / (seen.max() - seen.min())


@pytest.mark.parametrize("holes", [False, True])
def test_ssim_is_the_textbook_s(holes: bool) -> None:
    one = draw(14, 16)
    other = one + 0.7 * draw(14, 16, seed=1)
    if holes:
        one[0, 3] = other[13, 15] = NAN
    want = slow_ssim(unit(one).tolist(), unit(other).tolist())
    assert ssim(one, other).item() == pytest.approx(want, abs=1e-10)
    assert ssim(5 * one - 3, other).item() == pytest.approx(want, abs=1e-10)  # neither unit nor zero matter


def slow_hog(heat: list[list[float]]) -> list[float]:
    """Dalal & Triggs 2005: nine unsigned orientations, cells of a fourteenth of the side, blocks of 3 x 3 cells, L2-Hys."""
    side = len(heat)
    cell = max(1, side // 14)
    count = side // cell
    cells = [[[0.0] * 9 for _ in range(count)] for _ in range(count)]
    for i, j in itertools.product(range(count * cell), range(count * cell)):
        down = heat[i + 1][j] - heat[i - 1][j] if 0 < i < side - 1 else 0.0
        right = heat[i][j + 1] - heat[i][j - 1] if 0 < j < side - 1 else 0.0
        turn = math.degrees(math.atan2(down, right)) % 180
        cells[i // cell][j // cell][min(int(turn / 20), 8)] += math.hypot(down, right) / cell**2
    features = []
    for i, j in itertools.product(range(count - 2), range(count - 2)):
        block = [v for a, b in itertools.product(range(3), range(3)) for v in cells[i + a][j + b]]
        for cut in (0.2, 1.0):
            length = math.sqrt(sum(v * v for v in block) + 1e-10)
            block = [min(v / length, cut) for v in block]
        features += block
    return features


@pytest.mark.parametrize("side", [9, 20, 33])
def test_hogs_are_the_textbook_s(side: int) -> None:
    one = draw(side, side)
    other = one + draw(side, side, seed=1)
    x, y = torch.tensor([slow_hog(unit(one).tolist()), slow_hog(unit(other).tolist())], dtype=torch.float64)
    want = torch.corrcoef(torch.stack([x, y]))[0, 1].item()
    assert hog_similarity(one, other).item() == pytest.approx(want, abs=1e-6)


def test_similarity_says_what_changed() -> None:
    one = draw(56, 56)
    same, other_sign, other_map = (
        similarity(one, 3 * one + 1),
        similarity(one, -one),
        similarity(one, draw(56, 56, seed=1)),
    )
    assert [same.spearman.item(), same.ssim.item(), same.hog.item()] == pytest.approx([1, 1, 1])
    assert other_sign.spearman.item() == -1 and other_sign.spearman_abs.item() == 1
    assert other_sign.ssim < 0 and other_sign.hog.item() == pytest.approx(1)  # orientations have no sign
    assert abs(other_map.spearman) < 0.1 and abs(other_map.ssim) < 0.1 and abs(other_map.hog) < 0.1
    assert hog_similarity(wave(56, 0.2), wave(56, 0.3)) > 0.9 > 0.1 > hog_similarity(wave(56, 0.2), wave(56, 1.8))


def test_similarity_goes_target_by_target_and_constant_maps_have_none() -> None:
    one = draw(4, 20, 20)
    other = one.clone()
    other[1], other[2], other[3, 0, 0] = 0, NAN, math.inf
    got = similarity(one, other)
    assert got.spearman[0] == got.spearman_abs[0] == 1
    assert [got.ssim[0].item(), got.hog[0].item()] == pytest.approx([1, 1])
    for values in (got.spearman, got.spearman_abs, got.ssim, got.hog):
        assert values.shape == (4,) and values[1:3].isnan().all()
    assert got.ssim[3].isnan() and got.hog[3].isnan()
    with pytest.raises(InputError, match="expected equal shapes of at least 3 pixels a side"):
        ssim(one, one[:3])
    with pytest.raises(InputError, match="at least 3 pixels a side"):
        hog_similarity(one[:, :2], one[:, :2])


def test_pixels_that_are_nan_are_left_out_of_both() -> None:
    one, other = draw(40, 40), draw(40, 40, seed=1)
    other[:, 20:] = one[:, 20:]
    blind = one.clone()
    blind[:, :20] = NAN
    got = similarity(blind, other)
    assert got.spearman.item() == 1 and got.spearman_abs.item() == 1
    assert got.hog.item() > 0.99 > similarity(one, other).hog.item()
    assert got.ssim.item() > 0.9 > similarity(one, other).ssim.item()  # the two are scaled by their own extremes


# --- randomised models ----------------------------------------------------------------------------------------------------------


class Odd(nn.Module):
    """A module without ``reset_parameters``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(5 + 2 * torch.randn(40, 50))

    def forward(self, values: Tensor) -> Tensor:
        return values @ self.weight.T


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3, padding=1),
            norm=nn.BatchNorm2d(4),
            relu=nn.ReLU(),
            head=nn.Sequential(OrderedDict(flat=nn.Flatten(), first=nn.Linear(4 * 16, 50), odd=Odd())),
        )
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.5, 1.5)
    model.get_buffer("norm.running_mean").fill_(3)
    return model.eval()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def changed(before: dict[str, Tensor], model: nn.Module) -> set[str]:
    return {key for key, value in model.state_dict().items() if not value.equal(before[key])}


LAYERS = {
    "head.odd": {"head.odd.weight"},
    "head.first": {"head.first.weight", "head.first.bias"},
    "norm": {"norm.weight", "norm.bias", "norm.running_mean"},
    "conv": {"conv.weight", "conv.bias"},
}


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_layers_are_randomised_from_the_top(order: Any) -> None:
    model = net()
    before, flags = state(model), [parameter.requires_grad for parameter in model.parameters()]
    random_state = torch.get_rng_state()
    so_far: set[str] = set()
    steps = []
    for step in randomised(model, order=order):
        so_far = so_far | LAYERS[step.layer] if order == "cascading" else LAYERS[step.layer]
        assert changed(before, step.model) == so_far
        assert not changed(before, model) and step.model is not model and not step.model.training
        assert [parameter.requires_grad for parameter in step.model.parameters()] == flags
        steps.append(step.layer)
        assert step.layers == (tuple(steps) if order == "cascading" else (step.layer,))
    assert steps == list(LAYERS)
    assert torch.get_rng_state().equal(random_state)


def test_the_seed_decides() -> None:
    model = net()
    one, same, other = ([state(step.model) for step in randomised(model, seed=seed)] for seed in (1, 1, 2))
    assert all(a[key].equal(b[key]) for a, b in zip(one, same, strict=True) for key in a)
    assert not any(a["head.odd.weight"].equal(b["head.odd.weight"]) for a, b in zip(one, other, strict=True))


def test_what_can_t_be_reset_is_drawn_with_its_own_mean_and_deviation() -> None:
    model = net()
    model.get_submodule("head.odd").weight.data = 5 + 2 * torch.randn(40, 50)
    (step,) = randomised(model, layers=["head.odd"])
    weight = step.model.get_parameter("head.odd.weight")
    assert weight.mean().item() == pytest.approx(5, abs=0.2) and weight.std().item() == pytest.approx(2, abs=0.2)
    assert abs(spearman(weight.detach(), model.get_parameter("head.odd.weight").detach())) < 0.1
    (redrawn,) = randomised(model, layers=["head.first"], draw="redraw")
    assert redrawn.model.get_parameter("head.first.weight").std().item() == pytest.approx(1.5, abs=0.1)
    (reset,) = randomised(model, layers=["head.first"])
    assert reset.model.get_parameter("head.first.weight").abs().max() <= 1 / 8  # as nn.Linear is born


def test_permuting_keeps_every_value() -> None:
    model = net()
    *_, last = randomised(model, draw="permute")
    for key, value in model.named_parameters():
        new = last.model.get_parameter(key)
        assert not new.equal(value) and new.flatten().sort().values.equal(value.flatten().sort().values)


def test_named_layers_are_randomised_whole_in_the_order_given() -> None:
    model = net()
    before = state(model)
    got = [(step.layer, changed(before, step.model)) for step in randomised(model, layers=["conv", "head", "head.odd"])]
    assert got == [("conv", LAYERS["conv"]), ("head", LAYERS["conv"] | LAYERS["head.first"] | LAYERS["head.odd"])]
    with pytest.raises(LayerError, match="the model has no layer 'tail'"):
        randomised(model, layers=["head", "tail"])
    with pytest.raises(InputError, match="no layer with parameters was found"):
        randomised(model, layers=["relu"])
    with pytest.raises(InputError, match="no layer with parameters was found"):
        randomised(nn.ReLU())


def test_shared_weights_change_once_and_stay_shared() -> None:
    words, head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
    head.weight = words.weight
    model = nn.Sequential(words, head)
    steps = list(randomised(model))
    assert [step.layer for step in steps] == ["1"]
    assert steps[0].model.get_parameter("0.weight") is steps[0].model.get_parameter("1.weight")
    assert not steps[0].model.get_parameter("0.weight").equal(words.weight)


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_the_test_tells_maps_of_the_model_from_maps_of_the_image(order: Any) -> None:
    model = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 8, 3, padding=1), relu=nn.ReLU(), head=nn.Conv2d(8, 2, 1))
    ).double()
    image = draw(1, 3, 24, 24)
    before = copy.deepcopy(model.state_dict())

    def of_the_model(some: nn.Module) -> Tensor:
        output: Tensor = some(image)[0]
        return output.detach()

    def of_the_image(some: nn.Module) -> Tensor:
        return image[0, :2]

    seen = randomisation_test(of_the_model, model, order=order)
    assert [layer for layer, _ in seen] == ["head", "conv"]
    assert all(bool((values.spearman.abs() < 0.95).all()) for _, values in seen)
    for _, values in randomisation_test(of_the_image, model, order=order):
        assert values.spearman.tolist() == values.spearman_abs.tolist() == [1, 1]
        assert values.ssim.tolist() == pytest.approx([1, 1]) and values.hog.tolist() == pytest.approx([1, 1])
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_independent_steps_leave_nothing_behind() -> None:
    model = net().double()
    image = draw(1, 3, 4, 4)
    outputs = [
        step.model(image) for step in randomised(model, order="independent", layers=["conv", "head.first", "norm"])
    ]
    alone = [
        next(iter(randomised(model, layers=[name], seed=seed))).model(image)
        for seed, name in enumerate(("conv", "head.first", "norm"))
    ]
    assert all(a.equal(b) for a, b in zip(outputs, alone, strict=True))


def test_a_bundled_model_can_be_randomised() -> None:
    model = bundled.captioner().model
    before = state(model)
    steps = [(step.layer, len(changed(before, step.model))) for step in itertools.islice(randomised(model), 3)]
    assert all(count > 0 for _, count in steps) and [count for _, count in steps] == sorted(count for _, count in steps)
    assert not changed(before, model)


# --- other targets, and noise ---------------------------------------------------------------------------------------------------


def test_the_similarity_of_targets_is_the_mean_over_the_others() -> None:
    maps = draw(4, 6, 6)
    got = target_similarity(maps)
    for target in range(4):
        others = [spearman(maps[target], maps[other]).item() for other in range(4) if other != target]
        assert got[target].item() == pytest.approx(sum(others) / 3)
    assert target_similarity(maps[:1].expand(3, 6, 6)).tolist() == [1, 1, 1]  # insensitive
    maps[3] = 0
    assert target_similarity(maps)[3].isnan()
    assert target_similarity(maps)[:3].tolist() == pytest.approx(target_similarity(maps[:3]).tolist())
    with pytest.raises(InputError, match="1 map was given"):
        target_similarity(maps[:1])


def test_stability_is_the_relative_change() -> None:
    image = draw(1, 2, 5, 5) + 3
    seen: list[Tensor] = []

    def explain(images: Tensor) -> Tensor:
        seen.append(images)
        return images[0].square()

    got = stability(explain, image, radius=0.1, samples=4, seed=2)
    assert len(seen) == 5 and seen[0].equal(image)
    for channel in range(2):
        before = [value * value for value in image[0, channel].flatten().tolist()]
        changes = []
        for noisy in seen[1:]:
            assert 0.08 < (noisy - image).abs().max() <= 0.1
            after = [value * value for value in noisy[0, channel].flatten().tolist()]
            moved = math.sqrt(sum((a - b) ** 2 for a, b in zip(after, before, strict=True)))
            changes.append(moved / math.sqrt(sum(b * b for b in before)))
        assert got.changes[channel].tolist() == pytest.approx(changes)
        assert got.maximum[channel].item() == pytest.approx(max(changes))
        assert got.average[channel].item() == pytest.approx(sum(changes) / 4)
    assert got.changes.equal(stability(explain, image, radius=0.1, samples=4, seed=2).changes)


def test_stability_of_maps_that_say_nothing() -> None:
    image = torch.ones(1, 3, 4, 4)

    def explain(images: Tensor) -> Tensor:
        maps = images[0].clone()
        maps[1] = 0
        maps[2, 0] = NAN
        return maps

    got = stability(explain, image)
    assert got.maximum.isnan().tolist() == [False, True, False]
    assert 0 < got.average[2] <= got.maximum[2] < 0.02
    with pytest.raises(InputError, match="expected a radius above 0 and at least 1 sample"):
        stability(explain, image, radius=0.0)

    def fickle(images: Tensor) -> Tensor:
        return images[0, : 3 if images.equal(image) else 2]

    with pytest.raises(InputError, match="expected the same targets for both"):
        stability(fickle, image)
