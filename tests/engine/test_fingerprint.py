"""What is kept of a model is made anew when the model is another: weights, buffers, switches, adapters, types, hooks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.engine.fingerprint import describe_switches, fingerprint_model
from vlcam.neurons.scoring.cache import hash_code
from vlcam.tasks import Similarity

PHOTO = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)


@dataclass
class Settings:
    scale: float = 1.0
    inner: dict[str, Any] = field(default_factory=lambda: {"on": True})


class Adapted(nn.Module):
    """A layer with an adapter that is switched with a flag, a list of names, and the settings of a configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.extra, self.on, self.active, self.config = (
            nn.Linear(8, 8),
            nn.Linear(8, 8),
            True,
            ["one"],
            Settings(),
        )
        self.register_buffer("shift", torch.zeros(8))

    def forward(self, features: Tensor) -> Tensor:
        made: Tensor = self.base(features) * self.config.scale + self.shift
        return made + 5 * self.extra(features) if self.on and self.active and self.config.inner["on"] else made


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), Adapted()).eval()


def _hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output + torch.arange(8.0)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a switch": lambda net: setattr(net[4], "on", False),
    "a list": lambda net: net[4].active.clear(),
    "a configuration": lambda net: setattr(net[4].config, "scale", 0.1),
    "deep in a configuration": lambda net: net[4].config.inner.update(on=False),
    "a buffer": lambda net: net[4].shift.copy_(torch.arange(8.0)),
    "a buffer replaced": lambda net: setattr(net[4], "shift", torch.arange(8.0)),
    "weights in place": lambda net: nn.init.normal_(net[4].base.weight, generator=torch.Generator().manual_seed(3)),
    "weights through data": lambda net: net[4].base.weight.data.mul_(torch.arange(8.0)),
    "a weight replaced": lambda net: setattr(net[4].base, "weight", nn.Parameter(torch.eye(8))),
    "a module replaced": lambda net: net.__setitem__(1, nn.Tanh()),
    "a setting": lambda net: setattr(net[0], "padding", (1, 1)),
    "a hook": lambda net: net[4].register_forward_hook(_hook),
    "its own forward": lambda net: setattr(net[4], "forward", lambda features: features + torch.arange(8.0)),
    "half precision": lambda net: net.double(),
}


@pytest.mark.parametrize("name", CHANGES)
@torch.no_grad()
def test_references_are_embedded_anew_by_a_changed_model(name: str) -> None:
    net = make()
    task = Similarity(net, {"itself": PHOTO}, preprocess=vlcam.Preprocess(32))
    before = fingerprint_model(net)
    assert vlcam.explain(task, PHOTO)["itself"].target.score == pytest.approx(1, abs=1e-5)
    assert fingerprint_model(net) == before
    CHANGES[name](net)
    assert fingerprint_model(net) != before
    assert vlcam.explain(task, PHOTO)["itself"].target.score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "name", ["a switch", "a list", "a configuration", "deep in a configuration", "a setting", "a hook"]
)
def test_cached_activations_know_the_switches(name: str) -> None:
    net = make()
    before, code = describe_switches(net), hash_code(net)
    assert describe_switches(make()) == before and hash_code(make()) == code
    CHANGES[name](net)
    assert describe_switches(net) != before and hash_code(net) != code


def test_the_mode_and_frozen_weights_change_nothing() -> None:
    net = make()
    before = fingerprint_model(net)
    assert fingerprint_model(net.train().requires_grad_(False)) == before


def test_weights_without_numbers_are_described_as_well() -> None:
    net = nn.Linear(4, 4, device="meta")
    assert fingerprint_model(net) == fingerprint_model(net)
