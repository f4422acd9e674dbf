"""Weights changed on purpose and put back: untrained, weakened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Final

import torch
from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.engine.draws import PrivateDraws
from vlcam.engine.restore import undo_afterwards

_LEAST, _MOST, _STEPS = 0.05, 4.0, 6


FALL: Final = 69.20 / 79.09
"""How much weaker the paper's weaker model was: AlexNet's mAP as a fraction of VGG-16's, both on VOC 2007."""


def weaken_model(
    model: nn.Module, accuracy: Callable[[nn.Module], float], *, fall: float = FALL, seed: int = 0
) -> tuple[nn.Module, dict[str, float]]:
    """A weaker copy of a model: as little noise on its weights as brings its accuracy down to a fraction of what it was.

    Every weight with two or more axes gets Gaussian noise of ``noise`` times the standard deviation of its tensor. The noise is the
    same draw at every strength, which is doubled from 0.05 until the accuracy is at most ``fall`` of what it was, and then narrowed
    down by halving. By default ``fall`` is the paper's ratio, 69.20 to 79.09 mAP. The model itself stays as it is.

    Returns:
        The copy, in eval mode, and ``noise``, ``accuracy`` and ``full_accuracy``.

    Raises:
        InputError: the accuracy doesn't fall (or there is none to lose).
    """
    full = accuracy(model)
    if not full > 0:
        raise InputError(
            f"the model's accuracy is {full}; expected more than 0, as a weaker model has to have some left"
        )
    low, high, step = 0.0, _LEAST, 0
    best: tuple[nn.Module, float, float] | None = None
    while high <= _MOST and step < _STEPS:
        noise = high if best is None else (low + high) / 2
        copy = _add_noise(model, noise, seed)
        left = accuracy(copy)
        if left <= fall * full:
            best, high, step = (copy, noise, left), noise, step + 1
        elif best is None:
            low, high = high, 2 * high
        else:
            low, step = noise, step + 1
    if best is None:
        raise InputError(f"noise on the weights doesn't lower the accuracy of {full:.3f}; give a weaker model yourself")
    return best[0], {"noise": best[1], "accuracy": best[2], "full_accuracy": full}


def _add_noise(model: nn.Module, noise: float, seed: int) -> nn.Module:
    copy = deepcopy(model).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.parameters():
            if weight.ndim > 1:
                draw = torch.randn(weight.shape, generator=generator, device="cpu").to(weight)
                weight.add_(draw * weight.std() * noise)
    return copy


@contextmanager
def randomise_weights(model: nn.Module, seed: int) -> Iterator[None]:
    """Inside, the model is as before its training; afterwards all is as it was.

    Modules that know how to begin (``reset_parameters``) do so; other parameters are drawn from a normal distribution of their own mean and
    standard deviation. Random numbers come from ``seed``, and the generators are left alone.
    """
    kept = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    with undo_afterwards() as undo:
        undo.note_thread(_put_back, kept)
        with torch.no_grad(), PrivateDraws(seed):
            for module in model.modules():
                start = getattr(module, "reset_parameters", None)
                if callable(start):
                    start()
                    continue
                for parameter in module.parameters(recurse=False):
                    if parameter.is_floating_point() and parameter.numel() > 1:
                        parameter.normal_(float(parameter.mean()), float(parameter.std()))
        yield


@contextmanager
def redraw_weights(model: nn.Module) -> Iterator[Callable[[int], None]]:
    """Inside, the function that is given draws all parameters anew from a seed, as often as it is called; afterwards all is as it was.

    Every parameter is drawn from a uniform distribution of its own mean and standard deviation. What was learnt is lost and the size of
    the weights stays, however they were first drawn: a model that was never trained can't be told from its redrawn selves by the size of
    anything that it does. Parameters of one value (biases of zero, the scales of an untrained batch norm) and buffers stay. The
    generators of random numbers are left alone.
    """
    parameters = [one for one in model.parameters() if one.is_floating_point() and one.numel() > 1]
    kept = [(one, one.detach().clone()) for one in parameters]
    with torch.no_grad():
        drawn = [(one, float(one.double().mean()), 3**0.5 * float(one.double().std())) for one in parameters]

    def redraw(seed: int) -> None:
        with torch.no_grad(), PrivateDraws(seed):
            for parameter, mean, reach in drawn:
                if reach > 0:
                    parameter.uniform_(mean - reach, mean + reach)

    with undo_afterwards() as undo:
        undo.note_thread(_put_back, kept)
        yield redraw


def _put_back(kept: list[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for tensor, value in kept:
            tensor.copy_(value)
