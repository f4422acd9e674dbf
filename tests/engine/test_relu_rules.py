"""The ReLU's other gradients: against a backward pass written by hand, in all the ways that a ReLU is called, and leaving no trace."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tests.support.tiny import Cnn, compiled, snapshot
from vlcam.contracts import InputError, LayerError
from vlcam.engine.backward import gradients
from vlcam.engine.relu_rules import apply_relu_rule

RULES = pytest.mark.parametrize("rule", ["guided", "deconv", "plain"])
Plane = list[list[float]]


# --- the textbook twin ----------------------------------------------------------------------------------------------------------


def _conv(planes: list[Plane], weights: Any, biases: list[float]) -> list[Plane]:
    size, side = len(weights[0][0]), len(planes[0]) - len(weights[0][0]) + 1
    out = []
    for kernel, bias in zip(weights, biases, strict=True):
        plane = [[bias] * side for _ in range(side)]
        for i in range(side):
            for j in range(side):
                for c, channel in enumerate(planes):
                    for a in range(size):
                        for b in range(size):
                            plane[i][j] += kernel[c][a][b] * channel[i + a][j + b]
        out.append(plane)
    return out


def _conv_back(slopes: list[Plane], weights: Any, side: int) -> list[Plane]:
    size = len(weights[0][0])
    out = [[[0.0] * side for _ in range(side)] for _ in weights[0]]
    for kernel, slope in zip(weights, slopes, strict=True):
        for i, row in enumerate(slope):
            for j, value in enumerate(row):
                for c in range(len(out)):
                    for a in range(size):
                        for b in range(size):
                            out[c][i + a][j + b] += kernel[c][a][b] * value
    return out


def _relu_back(slope: float, value: float, rule: str) -> float:
    """R is ``slope``, x is ``value``: Springenberg et al. 2015, figure 1."""
    if rule == "plain":
        return slope if value > 0 else 0.0
    if rule == "deconv":
        return slope if slope > 0 else 0.0
    return slope if value > 0 and slope > 0 else 0.0


def _each(planes: list[Plane], function: Callable[..., float], *more: Any) -> list[Plane]:
    return [
        [[function(v, *(m[c][i][j] for m in more)) for j, v in enumerate(row)] for i, row in enumerate(plane)]
        for c, plane in enumerate(planes)
    ]


def _twin(net: nn.Sequential, image: Tensor, target: int, rule: str) -> list[Plane]:
    """Forward and backward through conv, ReLU, 2 x 2 max pooling, conv, ReLU, linear, one number at a time."""
    first, second, last = (
        [part.tolist() for part in (layer.weight, layer.bias)]  # type: ignore[operator]
        for layer in (net[0], net[3], net[6])
    )
    pixels = image[0].tolist()
    before = _conv(pixels, *first)
    rectified = _each(before, lambda v: max(v, 0.0))
    side = len(rectified[0]) // 2
    pooled, switches = [], []
    for plane in rectified:
        best = [
            [
                max((plane[2 * i + a][2 * j + b], 2 * i + a, 2 * j + b) for a in (0, 1) for b in (0, 1))
                for j in range(side)
            ]
            for i in range(side)
        ]
        pooled.append([[one[0] for one in row] for row in best])
        switches.append([[one[1:] for one in row] for row in best])
    deep = _conv(pooled, *second)
    rows, columns = len(deep[0]), len(deep[0][0])
    slopes = [
        [[last[0][target][(c * rows + i) * columns + j] for j in range(columns)] for i in range(rows)]
        for c in range(len(deep))
    ]
    slopes = _each(slopes, lambda r, v: _relu_back(r, v, rule), deep)
    slopes = _conv_back(slopes, second[0], side)
    spread = [[[0.0] * len(plane) for _ in plane] for plane in rectified]
    for c, plane in enumerate(slopes):
        for i, row in enumerate(plane):
            for j, value in enumerate(row):
                a, b = switches[c][i][j]
                spread[c][a][b] += value
    return _conv_back(_each(spread, lambda r, v: _relu_back(r, v, rule), before), first[0], len(pixels[0]))


def _plain_net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)
    )
    return net.double()


@RULES
def test_equals_a_backward_pass_written_by_hand(rule: Any) -> None:
    net, image = _plain_net(), torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    with apply_relu_rule(rule):
        scores = net(image)[0]
    found = gradients(scores, image)[:, 0]
    twin = torch.tensor([_twin(net, image.detach(), target, rule) for target in range(3)], dtype=torch.float64)
    torch.testing.assert_close(found, twin, rtol=1e-10, atol=1e-12)
    assert found.abs().amax((1, 2, 3)).min() > 0


def test_the_three_rules_differ_and_plain_is_the_chain_rule() -> None:
    net, image = _plain_net(), torch.randn(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    found = []
    for rule in ("guided", "deconv", "plain"):
        with apply_relu_rule(rule):
            scores = net(image)[0]
        found.append(gradients(scores, image))
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[0], found[2])
    assert not torch.allclose(found[1], found[2])
    assert torch.equal(found[2], gradients(net(image)[0], image))


# --- every way to call a ReLU ---------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """Two convolutions; ``relu`` is used twice."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.one, self.two = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.head = nn.Linear(6, 4)
        self.relu = relu
        self.double()

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.relu(self.two(self.relu(self.one(pixels))))
        scores: Tensor = self.head(features.mean((2, 3)))
        return scores


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU(inplace)": nn.ReLU(inplace=True),
    "F.relu": functional.relu,
    "F.relu(inplace)": lambda x: functional.relu(x, inplace=True),
    "F.relu(x, True)": lambda x: functional.relu(x, True),
    "F.relu_": functional.relu_,
    "F.relu(input=)": lambda x: functional.relu(input=x),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "clamp(min=0)": lambda x: x.clamp(min=0),
    "clamp_(0)": lambda x: x.clamp_(0),
    "clip(0.0)": lambda x: torch.clip(x, 0.0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clamp_min_": lambda x: x.clamp_min_(0),
}
CLIPPED: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6(inplace)": nn.ReLU6(inplace=True),
    "F.relu6": functional.relu6,
    "F.relu6(inplace)": lambda x: functional.relu6(x, inplace=True),
    "F.hardtanh": lambda x: functional.hardtanh(x, 0, 6),
    "nn.Hardtanh": nn.Hardtanh(min_val=0.0, max_val=6.0),
    "F.hardtanh_": lambda x: functional.hardtanh_(x, 0.0, 6.0),
    "clamp(0, 6)": lambda x: x.clamp(0, 6),
}


def _pictures(net: nn.Module, image: Tensor, rule: Any) -> Tensor:
    leaf = image.clone().requires_grad_()
    with apply_relu_rule(rule) as watch:
        scores = net(leaf.clone())  # the flop counter can't follow autograd.grad to a module's own input
    assert watch.relus == 2 and watch.others == {}
    return gradients(scores, leaf)[:, 0]


@RULES
@pytest.mark.parametrize("way", [*WAYS, *CLIPPED])
def test_every_way_to_call_a_relu_gives_the_same(way: str, rule: Any) -> None:  # peers 8.6 #68, #70, 8.2 #16
    ways, plain = (WAYS, "nn.ReLU") if way in WAYS else (CLIPPED, "nn.ReLU6")
    image = 20 * torch.randn(1, 3, 8, 8, dtype=torch.float64)  # many values lie above 6
    found = _pictures(Net(ways[way]), image, rule)
    torch.testing.assert_close(found, _pictures(Net(ways[plain]), image, rule), rtol=1e-12, atol=1e-14)
    ordinary = image.clone().requires_grad_()
    chain_rule = gradients(Net(ways[way])(ordinary), ordinary)[:, 0]
    assert torch.allclose(found, chain_rule) == (rule == "plain")


@pytest.mark.parametrize("high", [None, 6.0])
def test_values_and_gates_at_every_place(high: float | None) -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 6.0, 7.0, torch.inf, torch.nan])
    for rule, gate in (("guided", [0, 0, 1, 1, 1, 1, 1]), ("deconv", [1] * 7)):
        leaf = values.clone().requires_grad_()
        with apply_relu_rule(rule):  # type: ignore[arg-type]
            out = functional.relu(leaf) if high is None else functional.relu6(leaf)
        torch.testing.assert_close(out, values.clamp(0, high), equal_nan=True)
        for slope in (1.0, -1.0):
            (found,) = torch.autograd.grad(out, leaf, torch.full((7,), slope), retain_graph=True)
            open_ = [one * (rule == "deconv" or high is None or value < 6 or value != value)
                     for one, value in zip(gate, values.tolist(), strict=True)]  # fmt: skip
            assert found.tolist() == [max(slope, 0.0) * one for one in open_]


@pytest.mark.parametrize("way", ["nn.ReLU(inplace)", "F.relu_", "Tensor.relu_", "clamp_(0)"])
def test_in_place_forms_overwrite_their_input(way: str) -> None:
    start = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    values = start * 1
    with apply_relu_rule("guided"):
        result = WAYS[way](values)
    assert result is values and values.tolist() == [[0.0, 2.0]]
    base = start * 1
    with apply_relu_rule("guided"):
        WAYS[way](base[:, :1])
    assert base.tolist() == [[0.0, 2.0]]
    assert torch.autograd.grad(base.sum(), start)[0].tolist() == [[0.0, 1.0]]


def test_a_clamp_that_is_no_relu_keeps_its_gradient() -> None:
    leaf = torch.tensor([-3.0, 0.5, 3.0], requires_grad=True)
    with apply_relu_rule("plain") as watch:
        (leaf.clamp(-1, 1) + functional.hardtanh(leaf) + leaf.clamp(min=torch.zeros(3)) + leaf.clamp(max=0.0)).sum()
        leaf.detach().relu()  # carries no gradient
    assert watch.relus == 0 and watch.others == {"Hardtanh": 1}


@RULES
def test_a_batch_equals_its_images_one_by_one(rule: Any) -> None:  # peers 8.6 #69
    net, images = Net(nn.ReLU(inplace=True)), torch.randn(5, 3, 8, 8, dtype=torch.float64)
    together = images.clone().requires_grad_()
    with apply_relu_rule(rule):
        scores = net(together)
    found = gradients(scores, together)
    assert found.shape == (4, 5, 3, 8, 8)
    for index, image in enumerate(images):
        torch.testing.assert_close(found[:, index], _pictures(net, image[None], rule), rtol=1e-10, atol=1e-14)


def test_many_targets_at_once_equal_the_loop() -> None:
    net, image = Net(functional.relu), torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    with apply_relu_rule("guided"):
        scores = net(image)[0]
    at_once = torch.autograd.grad(scores, image, torch.eye(4).double(), is_grads_batched=True, retain_graph=True)[0]
    torch.testing.assert_close(at_once, gradients(scores, image, chunk=1), rtol=1e-12, atol=1e-15)


# --- nothing is left behind -----------------------------------------------------------------------------------------------------


def test_modules_and_hooks_stay_and_fire() -> None:  # peers 8.2 #14, #15
    net, fired = Cnn().eval(), []
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        module.register_forward_pre_hook(lambda module, inputs: fired.append("before"))
        module.register_forward_hook(lambda module, inputs, output: fired.append("after"))
    leaf = torch.randn(2, 3, 16, 16, requires_grad=True)
    before = snapshot(net)
    with apply_relu_rule("guided") as watch:
        net(leaf)
    assert fired.count("before") == fired.count("after") == watch.relus == 3
    assert [module for module in net.modules() if isinstance(module, nn.ReLU)] == relus
    assert snapshot(net) == before


def test_backward_hooks_on_a_relu_see_the_guided_gradient() -> None:
    relu = nn.ReLU()
    seen: list[tuple[Any, Any]] = []
    relu.register_full_backward_hook(lambda module, inward, outward: seen.append((*inward, *outward)))
    leaf = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
    with apply_relu_rule("guided"):
        out = relu(leaf)
    torch.autograd.grad(out, leaf, torch.tensor([1.0, -1.0, 1.0]))
    assert seen[0][0].tolist() == [0.0, 0.0, 1.0] and seen[0][1].tolist() == [1.0, -1.0, 1.0]


def test_an_exception_midway_leaves_nothing() -> None:  # peers 8.2 #17
    net = Net(nn.ReLU(inplace=True))
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    expected = gradients(net(image)[0], image)
    handle = net.two.register_forward_hook(_fails)
    with pytest.raises(ZeroDivisionError), apply_relu_rule("guided") as watch:
        net(image)
    assert watch.relus == 1
    handle.remove()
    assert torch.equal(gradients(net(image)[0], image), expected)


def _fails(module: nn.Module, inputs: Any, output: Any) -> None:
    raise ZeroDivisionError


def test_it_can_be_entered_again_and_counts_anew() -> None:
    rule = apply_relu_rule("guided")
    for _ in range(2):
        with rule:
            torch.zeros(3, requires_grad=True).relu()
        assert rule.relus == 1 and rule.widest == 12


def test_dataparallel_compiled_profiled_and_counted_models() -> None:  # peers 8.6 #71, #72
    net, image = Net(nn.ReLU(inplace=True)), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    expected = _pictures(net, image, "guided")
    torch.testing.assert_close(_pictures(nn.DataParallel(net), image, "guided"), expected)
    torch.testing.assert_close(_pictures(compiled(net), image, "guided"), expected)
    with FlopCounterMode(display=False) as counter:
        torch.testing.assert_close(_pictures(net, image, "guided"), expected)
    assert counter.get_total_flops() > 0
    with torch.profiler.profile():
        torch.testing.assert_close(_pictures(net, image, "guided"), expected)


# --- other activations ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.GELU(), "GELU"),
        (nn.SiLU(), "SiLU"),
        (nn.SiLU(inplace=True), "SiLU"),
        (nn.Hardswish(), "Hardswish"),
        (nn.Mish(), "Mish"),
        (nn.LeakyReLU(), "LeakyReLU"),
        (functional.leaky_relu_, "LeakyReLU"),
        (nn.ELU(), "ELU"),
        (nn.SELU(), "SELU"),
        (nn.CELU(), "CELU"),
        (nn.PReLU(), "PReLU"),
        (nn.RReLU(), "RReLU"),
        (nn.Softplus(), "Softplus"),
        (nn.Threshold(0.1, 0.0), "Threshold"),
        (nn.Tanh(), "tanh"),
        (lambda x: x * torch.sigmoid(1.702 * x), "sigmoid"),
        (nn.Identity(), "no other activation"),
    ],
)
def test_a_network_without_relus_is_refused(activation: Callable[[Tensor], Tensor], name: str) -> None:
    leaf = torch.randn(4, requires_grad=True)
    words = rf"^guided back.*the ReLU's gradient.*\b{name}[;)].*'gradcam' or 'gradient'"
    with pytest.raises(LayerError, match=words), apply_relu_rule("guided"):
        activation(leaf * 1)
    with apply_relu_rule("plain") as watch:  # the plain gradient is defined for all
        activation(leaf * 1)
    assert watch.relus == 0


def test_a_mixed_network_warns_once() -> None:
    leaf = torch.randn(4, requires_grad=True)
    with (
        pytest.warns(
            UserWarning, match=r"^the deconvnet .*ReLU \(1 times.*GELU \(2 times\), SiLU \(1 times\)"
        ) as caught,
        apply_relu_rule("deconv"),
    ):
        functional.silu(functional.gelu(functional.gelu(leaf.relu())))
    assert len(caught) == 1


def test_the_gates_of_an_lstm_are_no_activations() -> None:
    leaf = torch.randn(1, 4, 3, requires_grad=True)
    with apply_relu_rule("guided") as watch:  # warnings are errors here
        states, _ = nn.LSTM(3, 5, batch_first=True)(leaf.relu())
        (states.tanh() * states.sigmoid()).sum()
    assert watch.relus == 1 and watch.others == {}


def test_the_relu_inside_an_rnn_is_named() -> None:
    with pytest.warns(UserWarning, match=r"the ReLU inside nn\.RNN"), apply_relu_rule("guided"):
        nn.RNN(3, 5, nonlinearity="relu")(torch.randn(4, 3, requires_grad=True).relu())


def test_an_unknown_rule_is_refused() -> None:
    unchecked: Any = getattr(apply_relu_rule, "__wrapped__", apply_relu_rule)  # without the type checks of the tests
    with pytest.raises(InputError, match="'guided', 'deconv' or 'plain'"):
        unchecked("positive")
