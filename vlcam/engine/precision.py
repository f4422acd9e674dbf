"""Half precision: what is computed in float32 all the same, and recurrent layers that a processor can't run under autocast.

PyTorch hands an LSTM on a CPU to oneDNN, which has no such kernel in bfloat16 without AVX-512 (nor, on most processors, one in float16
that can go backward); autocast casts its inputs all the same, and the call fails: "could not create a primitive descriptor for the
LSTM forward propagation primitive". Whether a processor can do it is found out by doing it, on a layer of four units. Other layers
need no such care: PyTorch has kernels of its own where oneDNN has none, and so has a model whose *weights* are in half precision.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.engine.draws import PrivateDraws
from vlcam.engine.restore import allow_autograd

_LOG = logging.getLogger(__name__)
_KINDS: dict[str, Callable[..., nn.RNNBase]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN_TANH": nn.RNN, "RNN_RELU": nn.RNN}
_UNITS = 4


def widen(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half precision in float32, in which sums and logarithms keep their digits; float32 and float64 as they are."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def run_recurrent(layer: nn.RNNBase, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """``layer(inputs, state)``; under autocast in float32 if this processor can't run such a layer in autocast's precision.

    Args:
        layer: an LSTM, GRU or RNN of PyTorch, with weights in float32.
        inputs: ``(batch, steps, features)``, or as ``layer`` takes them.
        state: the first state; by default zeros.

    Returns:
        The outputs and the last state; in float32 if the layer had to run in it.
    """
    device = inputs.device.type
    if not torch.is_autocast_enabled(device) or can_autocast(layer.mode, device, torch.get_autocast_dtype(device)):
        out: tuple[Tensor, Any] = layer(inputs, state)
        return out
    with torch.autocast(device, enabled=False):
        wide: tuple[Tensor, Any] = layer(_to_float32(inputs), _to_float32(state))
    return wide


@cache
def can_autocast(mode: str, device: str, dtype: torch.dtype) -> bool:
    """Whether ``device`` can run a recurrent layer forward and backward under autocast in ``dtype``; if not, the log says so once.

    Args:
        mode: the layer's kind: ``LSTM``, ``GRU``, ``RNN_TANH`` or ``RNN_RELU``.
        device: the type of the device, such as ``cpu``.
        dtype: autocast's precision, such as ``torch.bfloat16``.
    """
    try:
        _try_layer(mode, device, dtype)
    except RuntimeError as error:
        _LOG.warning(
            "This machine's %s can't run a layer of kind %s in %s (%s), so such layers run in float32.",
            device.upper(),
            mode,
            str(dtype).removeprefix("torch."),
            str(error).partition(".")[0],
        )
        return False
    return True


def _try_layer(mode: str, device: str, dtype: torch.dtype) -> None:
    """One step forward and backward on a tiny layer; raises what PyTorch raises. Random numbers stay as they were."""
    with allow_autograd(), PrivateDraws(0):
        layer = _KINDS[mode](_UNITS, _UNITS, batch_first=True).to(device)
        with torch.autocast(device, dtype, cache_enabled=False):
            out = layer(torch.zeros(2, 2, _UNITS, device=device))[0]
        torch.autograd.grad(out.float().sum(), list(layer.parameters()))


def _to_float32(value: Any) -> Any:
    """A tensor in float32, also inside a tuple; anything else as it is."""
    if isinstance(value, tuple):
        return tuple(_to_float32(one) for one in value)
    return value.float() if isinstance(value, Tensor) else value
