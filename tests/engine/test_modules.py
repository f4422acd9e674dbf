"""Models that can't be looked into are refused with the cause: TorchScript, and quantised weights without gradients."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import vlcam
from vlcam.contracts import LayerError, VlcamError
from vlcam.tasks import Classification

PHOTOS = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()


def script(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net)


def trace(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(net, PHOTOS)


@pytest.mark.parametrize("make_script", [script, trace, lambda net: nn.Sequential(net[:3], script(net[3:]))])
@pytest.mark.parametrize("layer", [None, "0"])
def test_torchscript_is_refused(make_script: Callable[[Any], Any], layer: str | None) -> None:
    net = make_script(make())
    with pytest.raises(LayerError, match=r"TorchScript.*give the model that it was made from"):
        vlcam.attribute(net, PHOTOS, targets=0, layer=layer)
    with pytest.raises(LayerError, match="TorchScript"):
        vlcam.explain(Classification(net, ["a", "b"], vlcam.Preprocess(16), layer=layer), PHOTOS[0])


def quantise_linear(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import quantize_dynamic

        return quantize_dynamic(net, {nn.Linear})


def quantise_whole(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import QuantWrapper, convert, default_qconfig, prepare

        whole: Any = QuantWrapper(net)
        whole.qconfig = default_qconfig
        whole = prepare(whole)
        whole(PHOTOS)
        return convert(whole)


@pytest.mark.parametrize("quantise", [quantise_linear, quantise_whole])
@pytest.mark.filterwarnings("ignore")
def test_the_cause_of_lost_gradients_is_named(quantise: Callable[[Any], Any]) -> None:
    net = quantise(make())
    for layer in (None, "0" if quantise is quantise_linear else "module.0"):
        with pytest.raises(VlcamError, match=r"the model is quantised.*explain the float model"):
            vlcam.attribute(net, PHOTOS, targets=0, layer=layer)


def test_other_lost_gradients_are_not_blamed_on_it() -> None:
    net = make()
    with pytest.raises(VlcamError) as caught:
        vlcam.attribute(net, PHOTOS, targets=lambda scores: scores[:, 0].detach())
    assert "quantised" not in str(caught.value)
