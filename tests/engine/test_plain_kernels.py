"""Recurrent layers as plain operations agree with PyTorch's own; attention takes the ordinary path."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._pytree import tree_leaves

from vlcam.engine.plain_kernels import PlainKernels, needs_plain_kernels

KINDS: dict[str, Any] = {
    "lstm": nn.LSTM,
    "projected": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=3, **options),
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}


def flat(output: Any) -> list[Tensor]:
    data, state = output
    return tree_leaves((data.data if isinstance(data, PackedSequence) else data, state))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_layout_agrees_with_pytorch(kind: str, packed: bool) -> None:
    for both, layers, first, bias in product((False, True), (1, 2), (False, True), (False, True)):
        layer = KINDS[kind](5, 7, num_layers=layers, batch_first=first, bias=bias, bidirectional=both).double().eval()
        inputs: Any = torch.randn((4, 6, 5) if first else (6, 4, 5), dtype=torch.float64)
        if packed:
            inputs = pack_padded_sequence(inputs, torch.tensor([6, 5, 5, 2]), batch_first=first)
        expected = flat(layer(inputs))
        with PlainKernels():
            found = flat(layer(inputs))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_one_sequence_and_a_given_state() -> None:
    layer = nn.GRU(3, 4).double()
    inputs, state = torch.randn(5, 3, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    with PlainKernels():
        found = layer(inputs, state)
    torch.testing.assert_close(found, layer(inputs, state), rtol=0, atol=1e-12)


def test_the_backward_pass_can_be_batched() -> None:
    layer, inputs = nn.LSTM(3, 4).eval(), torch.randn(5, 1, 3, requires_grad=True)
    with PlainKernels():
        outputs = layer(inputs)[0].flatten()
    together = torch.autograd.grad(outputs, inputs, torch.eye(len(outputs)), is_grads_batched=True)[0]
    plain = layer(inputs)[0].flatten()
    apart = [torch.autograd.grad(one, inputs, retain_graph=True)[0] for one in plain]
    torch.testing.assert_close(together, torch.stack(apart))


def test_dropout_between_layers_in_train_mode_stays_pytorchs() -> None:
    layer, inputs = nn.LSTM(3, 4, num_layers=2, dropout=0.5).train(), torch.ones(5, 2, 3)
    with PlainKernels():
        torch.manual_seed(3)
        found = layer(inputs)[0]
    torch.manual_seed(3)
    assert torch.equal(found, layer(inputs)[0])


@pytest.mark.parametrize(
    "module",
    [nn.MultiheadAttention(8, 2, batch_first=True), nn.TransformerEncoderLayer(8, 2, batch_first=True)],
    ids=lambda one: type(one).__name__,
)
def test_attention_takes_the_path_through_its_modules(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    inner = nn.functional.multi_head_attention_forward

    def spy(*args: Any, **options: Any) -> Any:
        ran.append("slow")
        return inner(*args, **options)

    monkeypatch.setattr(nn.functional, "multi_head_attention_forward", spy)
    inputs, module = torch.randn(1, 3, 8), module.eval().requires_grad_(False)
    call = (inputs,) * (3 if isinstance(module, nn.MultiheadAttention) else 1)
    module(*call)
    assert not ran and needs_plain_kernels(module)
    with PlainKernels():
        module(*call)
    assert "slow" in ran and torch.backends.mha.get_fastpath_enabled()
