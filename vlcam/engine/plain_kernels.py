"""Attention and recurrent layers run as plain operations, in one thread only: no switch of the process is thrown.

Three kinds of kernels are in the way of an explanation. The fast path of multi-head attention skips the modules inside, so their hooks
wouldn't fire; cuDNN can't go backward through a recurrent layer in eval mode; oneDNN not for many targets at once. PyTorch's switches for
them are the process's, so that other threads would lose the kernels too. A mode is the thread's.
"""

from collections.abc import Sequence
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.engine.modes import AbstractSwitchedMode

_RECURRENT: Final = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_NEED_PLAIN: Final = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)


def needs_plain_kernels(module: nn.Module) -> bool:
    """Whether a module is one of those that :class:`PlainKernels` is about."""
    return isinstance(module, _NEED_PLAIN)


@final
class PlainKernels(AbstractSwitchedMode):
    """A context manager: in it, LSTMs, GRUs and RNNs run step by step in this thread, and attention without its fast path.

    Attention asks whether such a mode is on, and then takes the ordinary path.
    """

    def handle(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run a recurrent layer step by step, and anything else as it is."""
        if not kwargs and len(args) == 9 and getattr(func, "__name__", "") in _RECURRENT:
            packed = isinstance(args[1], Tensor) if func.__name__ == "lstm" else isinstance(args[2], Tensor)
            dropout, training = args[6 if packed else 5], args[7 if packed else 6]
            if not (dropout and training):
                return (_run_packed if packed else _run_padded)(func.__name__, *args)
        return func(*args, **kwargs)


def _run_padded(
    kind: str,
    inputs: Tensor,
    start: Any,
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    _dropout: float,
    _training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    """As ``torch.lstm`` and the like for ``(steps, batch, features)``, or with the batch first."""
    steps = list(inputs.unbind(1 if batch_first else 0))
    rows = [inputs.shape[0 if batch_first else 1]] * len(steps)
    found, last = _run_layers(kind, torch.cat(steps), rows, start, weights, has_biases, layers, bidirectional)
    output = torch.stack(found.split(rows), 1 if batch_first else 0)
    return (output, *last)


def _run_packed(
    kind: str,
    data: Tensor,
    batch_sizes: Tensor,
    start: Any,
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    _dropout: float,
    _training: bool,
    bidirectional: bool,
) -> Any:
    """As ``torch.lstm`` and the like for sequences of several lengths, the longest first: the rows of each step one after another."""
    found, last = _run_layers(kind, data, batch_sizes.tolist(), start, weights, has_biases, layers, bidirectional)
    return (found, *last)


def _run_layers(
    kind: str,
    data: Tensor,
    rows: list[int],
    start: Any,
    weights: Sequence[Tensor],
    has_biases: bool,
    layers: int,
    bidirectional: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The last layer's outputs, step after step, and the last states of all layers and directions."""
    states = tuple(start) if kind == "lstm" else (start,)
    ways = 2 if bidirectional else 1
    each = len(weights) // (layers * ways)
    last: list[tuple[Tensor, ...]] = []
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            place = layer * ways + way
            own = list(weights[place * each : (place + 1) * each])
            first = tuple(state[place] for state in states)
            found, end = _run_one_way(kind, data, rows, first, own, has_biases, backwards=way == 1)
            outputs.append(found)
            last.append(end)
        data = torch.cat(outputs, 1) if bidirectional else outputs[0]
    return data, tuple(torch.stack(one) for one in zip(*last, strict=True))


def _run_one_way(
    kind: str,
    data: Tensor,
    rows: list[int],
    state: tuple[Tensor, ...],
    weights: list[Tensor],
    has_biases: bool,
    *,
    backwards: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One layer in one direction. Rows that ended, or haven't begun, keep their state."""
    into, own = weights[:2]
    into_bias, own_bias = weights[2:4] if has_biases else (None, None)
    project = weights[-1] if len(weights) in (3, 5) else None
    given = list(F.linear(data, into, into_bias).split(rows))
    outputs: list[Tensor] = [data] * len(rows)
    for step in reversed(range(len(rows))) if backwards else range(len(rows)):
        many = rows[step]
        now = tuple(one[:many] for one in state)
        new = _CELLS[kind](given[step], F.linear(now[0], own, own_bias), now)
        if project is not None:
            new = (F.linear(new[0], project), *new[1:])
        outputs[step] = new[0]
        state = tuple(
            one if many == len(old) else torch.cat([one, old[many:]]) for one, old in zip(new, state, strict=True)
        )
    return torch.cat(outputs), state


def _step_lstm(given: Tensor, own: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Hochreiter and Schmidhuber 1997, with a forget gate, as ``torch.nn.LSTM`` documents it."""
    enter, forget, cell, leave = (own + given).chunk(4, 1)
    memory = forget.sigmoid() * state[1] + enter.sigmoid() * cell.tanh()
    return leave.sigmoid() * memory.tanh(), memory


def _step_gru(given: Tensor, own: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Cho et al. 2014 (arXiv 1406.1078), with the reset gate after the product, as ``torch.nn.GRU`` documents it."""
    (reset, update, new), (own_reset, own_update, own_new) = given.chunk(3, 1), own.chunk(3, 1)
    fresh = (new + (own_reset + reset).sigmoid() * own_new).tanh()
    return ((state[0] - fresh) * (own_update + update).sigmoid() + fresh,)


def _step_tanh(given: Tensor, own: Tensor, _state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return ((own + given).tanh(),)


def _step_relu(given: Tensor, own: Tensor, _state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return ((own + given).relu(),)


_CELLS: Final = {"lstm": _step_lstm, "gru": _step_gru, "rnn_tanh": _step_tanh, "rnn_relu": _step_relu}
