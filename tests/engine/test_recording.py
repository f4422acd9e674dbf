"""record and gradients: the right numbers, from any model in any state, and the model left exactly as it was."""

import copy
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.tiny import (
    Captioner,
    Cnn,
    InPlaceAfter,
    Lambda,
    Residual,
    SideBranch,
    Twice,
    compiled,
    lively,
    snapshot,
)
from vlcam.contracts import LayerError, TargetError, VlcamError
from vlcam.engine import backward, chunks
from vlcam.engine.backward import trace_dependence
from vlcam.engine.modules import find_tensors
from vlcam.engine.recording import gradients, record


def kernels() -> bool:
    """Whether oneDNN's kernels are used."""
    return bool(torch.backends.mkldnn.enabled)


CPU_KERNELS = kernels()


def cnn() -> Cnn:
    model = lively(Cnn())
    model.eval()
    return model


def photo(batch: int = 2, rows: int = 12, columns: int = 16) -> Tensor:
    return torch.randn(batch, 3, rows, columns, generator=torch.Generator().manual_seed(5))


def explain(
    model: nn.Module, *inputs: Any, layer: str | nn.Module | None = "block", call: Any = None
) -> tuple[Tensor, Tensor]:
    """The activations and gradients of the first two scores, ``(B, C, H, W)`` and ``(2, B, C, H, W)``."""
    with record(model, layer, call=call) as recording:
        scores = model(*inputs)[:, :2]
    return recording.resolve(scores).detach(), gradients(scores, recording.leaf)


def by_hand(model: Cnn, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The same from plain autograd on the split model."""
    leaf = model.block(model.stem(pixels)).detach().requires_grad_()
    scores = model.fc(model.pool(leaf).flatten(1))
    return leaf.detach(), torch.stack(
        [torch.autograd.grad(scores[:, t].sum(), leaf, retain_graph=True)[0] for t in range(2)]
    )


def same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], **tolerance: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    before = snapshot(model)
    try:
        yield
    finally:
        after = snapshot(model)
        assert {key for key in before if before[key] != after[key]} | (set(before) ^ set(after)) == set()


# ------------------------------------------------------------------------------------------------ getting a gradient at all


@pytest.mark.parametrize("layer", ["block", None])
def test_equals_plain_autograd(layer: str | None) -> None:
    model = cnn()
    same(explain(model, photo(), layer=layer), by_hand(model, photo()))


@pytest.mark.parametrize("frozen", ["", "stem", "block", "fc"])
def test_frozen_parameters_change_nothing(frozen: str) -> None:  # peers 8.1 #1, #2
    model = cnn()
    expected = explain(model, photo())
    model.get_submodule(frozen).requires_grad_(False)
    with unchanged(model):
        same(explain(model, photo()), expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("layer", ["block", None])
def test_grad_mode_of_the_caller_does_not_matter(
    mode: Callable[[], Any], layer: str | None
) -> None:  # peers 8.1 #3, #4
    model = cnn()
    expected = explain(model, photo(), layer=layer)
    with mode(), unchanged(model):
        found = explain(model, photo(), layer=layer)
        assert not found[1].is_inference()
    same(found, expected)


@pytest.mark.parametrize("layer", ["encoder", "encoder.1"])
def test_weights_and_inputs_made_under_inference_mode(layer: str) -> None:  # peers 8.1 #5
    with torch.inference_mode():
        torch.manual_seed(3)
        model, words, pixels = Captioner().eval(), torch.arange(8).reshape(2, 4), photo(2, 16, 16)
    torch.manual_seed(3)
    twin = Captioner().eval()
    before = {name: id(weight) for name, weight in model.named_parameters()}
    flat = [id(weight) for weight in model.cell._flat_weights]
    with record(model, layer) as recording:
        scores = model(pixels, words)[:, 2, :2]
    found = gradients(scores, recording.leaf)
    with record(twin, layer) as recording:
        scores = twin(photo(2, 16, 16), torch.arange(8).reshape(2, 4))[:, 2, :2]
    torch.testing.assert_close(found, gradients(scores, recording.leaf))
    assert before == {name: id(weight) for name, weight in model.named_parameters()}
    assert flat == [id(weight) for weight in model.cell._flat_weights]
    assert all(weight.is_inference() for weight in model.parameters())


def test_an_input_made_under_inference_mode_may_be_used_after_the_layer() -> None:
    model = Lambda(lambda self, x, mask: (self.conv(x) * mask["mask"]).mean((2, 3)), conv=nn.Conv2d(3, 4, 3))
    with torch.inference_mode():
        mask = torch.rand(10, 14)
    _, slopes = explain(model, photo(), {"mask": mask}, layer="conv")
    torch.testing.assert_close(slopes[1, 0, 1], mask / mask.numel())


def test_an_inference_tensor_that_autograd_cannot_use_is_named() -> None:
    model = cnn()
    with torch.inference_mode():
        mask = torch.rand(12)
    model._modules["pool"] = Lambda(lambda self, x: (x * mask[:, None, None]).mean((2, 3)))
    with pytest.raises(VlcamError, match=r"made under torch.inference_mode\(\) was used after the layer"):
        explain(model, photo())


def test_three_faults_have_three_messages() -> None:  # peers 8.1 #6
    model = SideBranch()
    with record(model, "side") as recording:
        output = model(photo())
    with pytest.raises(TargetError, match="the scores carry no gradient"):
        gradients(output["logits"].detach(), recording.leaf)
    with pytest.raises(TargetError, match="the scores carry no gradient"):
        recording.resolve(output["logits"].detach())
    for scores in (output["logits"], output["logits"][0], output["logits"].sum()):
        with pytest.raises(
            LayerError, match=r"the scores don't depend on the layer \(its output is \(2, 7, 12, 16\)\)"
        ):
            gradients(scores, recording.leaf)
    torch.autograd.grad(output["aux"].sum(), recording.leaf)
    with pytest.raises(TargetError, match="graph was freed already"):
        gradients(output["aux"], recording.leaf)


def test_more_targets_of_the_same_forward() -> None:  # peers 8.1 #7
    model = cnn()
    with record(model, "block") as recording:
        scores = model(photo())
    together = gradients(scores, recording.leaf)
    for target in range(5):
        torch.testing.assert_close(gradients(scores[:, target].sum(), recording.leaf)[0], together[target])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_words_of_a_captioner(cell: Any) -> None:  # peers 8.1 #8, 8.3 #39, 8.7 #74 on CPU
    model = Captioner(cell).train()
    words = torch.randint(20, (1, 6))
    with unchanged(model), record(model, "encoder") as recording:
        said = model(photo(1, 16, 16), words).log_softmax(-1)[0].gather(1, words[0][:, None])[:, 0]
    batched, loop = gradients(said, recording.leaf), gradients(said, recording.leaf, chunk=1)
    torch.testing.assert_close(batched, loop)
    assert len({tuple(gradient.flatten().tolist()) for gradient in batched}) == 6


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_recurrent_layers_go_backward_for_all_words_at_once(cell: Any) -> None:
    model = Captioner(cell).eval()
    words = torch.randint(20, (1, 6))
    seen: dict[str, bool] = {}
    with record(model, "encoder"):
        for name in ("encoder", "cell", "speak"):
            model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: seen.update({name: kernels()}))
        said = model(photo(1, 16, 16), words).log_softmax(-1)[0, :, 3]
    assert kernels() == CPU_KERNELS and seen == {"encoder": CPU_KERNELS, "cell": CPU_KERNELS, "speak": CPU_KERNELS}
    names: set[Any] = set()
    left: list[Any] = [said.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in names:
            names.add(node)
            left += [after for after, _ in node.next_functions]
    assert not [node for node in names if "Rnn" in type(node).__name__]  # one node that can't be batched
    with torch.no_grad():
        torch.testing.assert_close(model(photo(1, 16, 16), words).log_softmax(-1)[0, :, 3], said.detach())
    with pytest.raises(RuntimeError), record(model, "encoder"):
        model.cell(torch.zeros(1, 2, 3))  # the wrong width
    assert kernels() == CPU_KERNELS


def test_a_transformer_runs_its_modules_and_not_the_fused_path() -> None:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    model = Lambda(lambda self, tokens: self.encoder(tokens)[:, 0], encoder=encoder).eval()
    tokens = torch.randn(2, 5, 8)
    for layer in ("encoder.layers.0", "encoder.layers.1.norm1", "encoder.layers.1.linear2"):
        with torch.no_grad(), record(model, layer) as recording:
            scores = model(tokens)[:, :3]
        found = gradients(scores, recording.leaf)
        torch.testing.assert_close(found, gradients(scores, recording.leaf, chunk=1))
        assert found.shape == (3, 2, 5, 8) and found.abs().sum() > 0
        torch.testing.assert_close(scores, model(tokens)[:, :3])


def test_a_transformer_with_padding_returns_no_nested_tensors() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    model = Lambda(lambda self, x, padding: self.encoder(x, src_key_padding_mask=padding)[:, 0], encoder=encoder).eval()
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with record(model, "encoder.layers.0") as recording:
        scores = model(torch.randn(2, 5, 8), padding)
    assert recording.leaf.shape == (2, 5, 8) and gradients(scores, recording.leaf).abs().sum() > 0


@pytest.mark.parametrize("inside", [torch.no_grad, torch.inference_mode])
def test_a_model_with_its_own_no_grad_around_the_backbone(inside: Callable[[], Any]) -> None:
    def forward(self: Any, pixels: Tensor) -> Any:
        with inside():
            features = self.backbone(pixels)
            if inside is torch.no_grad:  # inference mode can't be lifted before its block ends
                features = features.tanh()
        return self.fc(features.mean((2, 3)))

    model = Lambda(forward, backbone=nn.Conv2d(3, 4, 3), fc=nn.Linear(4, 5))
    activations, slopes = explain(model, photo(), layer="backbone")
    assert slopes.shape == (2, *activations.shape) and slopes.abs().sum() > 0


# ------------------------------------------------------------------------------- the user's model and tensors stay as they were


@pytest.mark.parametrize("grads", ["none", "set"])
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
@pytest.mark.parametrize("layer", ["block", None])
def test_the_model_is_left_as_it_was(
    grads: str, mode: str, layer: str | None
) -> None:  # peers 8.2 #9, #10, #12, #13, #20, #29
    model = cnn().train(mode != "eval")
    if mode == "mixed":
        model.block.eval()
        model.fc.requires_grad_(False)
    if grads == "set":
        model(photo()).sum().backward()
    with unchanged(model):
        explain(model, photo(), layer=layer)
    with unchanged(model), record(model, layer):
        torch.rand(3)  # random numbers drawn inside don't count


def test_train_mode_gives_the_map_of_eval_mode() -> None:  # peers 8.2 #13
    model = cnn()
    expected = explain(model, photo())
    same(explain(model.train(), photo()), expected)


def test_explaining_within_a_training_step_changes_nothing() -> None:  # peers 8.2 #11
    results = []
    for explaining in (False, True):
        torch.manual_seed(1)
        model = cnn().train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(2):
            loss = model(photo()).square().sum()
            if explaining:
                explain(model, photo())
            loss.backward()
            if explaining:
                explain(model, photo(), layer=None)
            optimizer.step()
            optimizer.zero_grad()
        results.append(model.state_dict())
    assert all(value.equal(results[1][name]) for name, value in results[0].items())


@pytest.mark.parametrize("layer", ["block", None])
def test_an_exception_in_the_middle_leaves_the_model_as_it_was(
    layer: str | None,
) -> None:  # peers 8.2 #18, #19; 8.3 #34
    def fail(*_: Any) -> None:
        raise IndexError("in the middle")

    model = cnn().train()
    handle = model.drop.register_forward_hook(fail)
    with torch.no_grad(), unchanged(model), pytest.raises(IndexError, match="in the middle"), record(model, layer):
        model(photo())
    handle.remove()
    with torch.inference_mode(), unchanged(model), pytest.raises(IndexError), record(model, layer):
        model(photo())[0, 99]


def test_an_unknown_layer_leaves_the_model_as_it_was() -> None:
    model = cnn().train()
    with unchanged(model), pytest.raises(LayerError), record(model, "blok"):
        pass


def test_a_recording_that_is_kept_hooks_nothing_and_hears_nothing() -> None:  # peers 8.2 #21, #22, #30
    model = cnn()
    with record(model, "block") as first:
        scores = model(photo())
    leaf = first.leaf
    with record(model, "stem") as second, record(model, "block") as third:
        model(photo() + 1)
    assert first.leaf is leaf and len(first.calls) == len(second.calls) == len(third.calls) == 1
    assert gradients(scores, leaf).shape == (5, *leaf.shape)


@pytest.mark.parametrize("layer", ["block", None])
def test_the_graph_dies_with_the_scores(layer: str | None) -> None:  # peers 8.2 #24
    model, gone = cnn(), []
    gc.disable()  # no reference cycle may be needed to free it
    try:
        with record(model, layer) as recording:
            scores = model(photo())
        gradients(scores, recording.resolve(scores))
        gone += [weakref.ref(scores), weakref.ref(recording.leaf), weakref.ref(recording)]
        del scores, recording
        assert [reference() for reference in gone] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize("layer", ["block", None])
def test_memory_is_flat_over_100_calls(layer: str | None) -> None:  # peers 8.2 #23, #25
    model = cnn()
    counts, tensors = [], []
    for calls in (10, 90):
        for _ in range(calls):
            explain(model, photo(1, 8, 8), layer=layer)
        gc.collect()
        everything = gc.get_objects()
        counts.append(len(everything))
        tensors.append(sum(issubclass(type(found), Tensor) for found in everything))
        del everything
    assert tensors[0] == tensors[1] and counts[1] - counts[0] < 90


def test_the_input_keeps_its_flag_and_its_grad() -> None:  # peers 8.2 #26, #27
    model, pixels = cnn(), photo().requires_grad_()
    pixels.grad = torch.ones_like(pixels)
    first = explain(model, pixels)
    same(explain(model, pixels), first, rtol=0, atol=0)
    assert pixels.requires_grad and pixels.grad.equal(torch.ones_like(pixels))


def test_the_second_image_gets_the_map_of_a_fresh_model() -> None:  # peers 8.2 #28
    model = cnn()
    fresh = copy.deepcopy(model)
    for layer in ("block", None):
        explain(model, photo(), layer=layer)
        same(
            explain(model, photo(3, 20, 12), layer=layer), explain(fresh, photo(3, 20, 12), layer=layer), rtol=0, atol=0
        )


def test_no_warning(recwarn: pytest.WarningsRecorder) -> None:  # peers 8.2 #31
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        explain(cnn(), photo(), layer=None)
        test_words_of_a_captioner(nn.LSTM)
    assert not recwarn.list


def test_users_hooks_fire_and_in_place_relus_stay() -> None:  # peers 8.2 #14, #15, #16
    relu = nn.ReLU(inplace=True)
    model = Lambda(
        lambda self, x: self.fc(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3))),
        one=nn.Conv2d(3, 4, 3), two=nn.Conv2d(4, 4, 3), relu=relu, fc=nn.Linear(4, 5),
    )  # fmt: skip
    heard: list[int] = []
    relu.register_forward_hook(lambda *_: heard.append(1))
    with unchanged(model):
        explain(model, photo(), layer=None)
        explain(model, photo(), layer="two")
    assert len(heard) == 4 and model.relu is relu and relu.inplace


# ------------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:  # peers 8.4 #42, #43
    model = cnn()
    expected = explain(model, photo())
    found = explain(model.to(dtype), photo().to(dtype))
    assert found[1].dtype == dtype
    for one, other in zip(found, expected, strict=True):
        assert torch.cosine_similarity(one.float().flatten(), other.flatten(), 0) > 0.99


def test_batch_rows_are_independent() -> None:  # peers 8.3 #35
    model = cnn()
    _, together = explain(model, photo(3))
    for row in range(3):
        torch.testing.assert_close(
            together[:, row : row + 1], explain(model, photo(3)[row : row + 1])[1], rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("chunk", [1, 2, 3, 100, None])
def test_chunks_do_not_change_the_numbers(chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = cnn()
    with record(model, "stem") as recording:
        scores = model(photo())
    expected = torch.stack(
        [torch.autograd.grad(scores[:, t].sum(), recording.leaf, retain_graph=True)[0] for t in range(5)]
    )
    sizes: list[int] = []
    spied = backward._call_autograd

    def spy(scores: Tensor, leaf: Tensor, seed: Tensor, *, batched: bool) -> Tensor:
        sizes.append(len(seed) if batched else 1)
        return spied(scores, leaf, seed, batched=batched)

    monkeypatch.setattr(backward, "_call_autograd", spy)
    if chunk is None:  # the default is a bound on memory: two gradients of the leaf here
        monkeypatch.setattr(chunks, "CHUNK_BYTES", 2 * 4 * recording.leaf.numel() + 3)
    torch.testing.assert_close(gradients(scores, recording.leaf, chunk=chunk), expected, rtol=1e-4, atol=1e-6)
    assert sizes == {1: [1] * 5, 2: [2, 2, 1], 3: [3, 2], 100: [5], None: [2, 2, 1]}[chunk]


def test_no_targets_and_too_many_axes() -> None:
    model = cnn()
    with record(model, "block") as recording:
        scores = model(photo())
    assert gradients(scores[:, :0], recording.leaf).shape == (0, *recording.leaf.shape)
    with pytest.raises(
        TargetError, match=r"scores of shape \(2, 5, 1\) were given; expected \(targets,\) or \(batch, targets\)"
    ):
        gradients(scores[..., None], recording.leaf)


class _Unbatched(torch.autograd.Function):
    """Its backward reads a number out of its gradient, which can't be batched."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values * 2

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        assert slopes[0].sum().item() is not None
        return slopes[0] * 2


def test_an_operation_that_cannot_be_batched_falls_back_to_a_loop() -> None:
    model = Lambda(
        lambda self, x: self.fc(_Unbatched.apply(self.conv(x)).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(4, 5),
    )
    _, slopes = explain(model, photo(), layer="conv")
    expected = 2 * model.fc.weight[:2, None, :, None, None].expand_as(slopes) / slopes[0, 0, 0].numel()
    torch.testing.assert_close(slopes, expected.detach())


# ------------------------------------------------------------------------------------------------------ layers and model shapes


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("layer", ["features", None])
def test_an_in_place_operation_after_the_layer(view: bool, layer: str | None) -> None:  # peers 8.5 #54, #56
    model = InPlaceAfter(inplace=True, view=view)
    twin = InPlaceAfter(inplace=False, view=view)
    twin.load_state_dict(model.state_dict())
    found = explain(model, photo(), layer=layer)
    same(found, explain(twin, photo(), layer=layer), rtol=0, atol=0)
    torch.testing.assert_close(
        found[0], model.features(photo()).detach()
    )  # the layer's own output, negative values and all
    assert (found[0] < 0).any()


def test_an_in_place_operation_on_the_layers_output_is_another_layer() -> None:
    """A ReLU in place returns the tensor that it got: the batch-norm's leaf mustn't be taken for the block's."""
    model = Lambda(lambda self, x: self.fc(self.block(x).mean((2, 3))), block=Residual(3), fc=nn.Linear(3, 5)).eval()
    with record(model) as recording:
        scores = model(photo())
    leaf = recording.resolve(scores)
    assert recording.layer_name == "block" and (leaf >= 0).all()
    torch.testing.assert_close(recording.activations, model.block(photo()).detach())


def test_blocks_and_the_root_are_layers_too() -> None:  # peers 8.5 #57
    model = cnn()
    assert explain(model, photo(), layer="block.0")[1].shape == (2, 2, 12, 6, 8)
    activations, slopes = explain(model, photo(), layer=model)
    assert activations.equal(model(photo()).detach()) and slopes[0].equal(torch.eye(5)[:1].expand(2, 5))


def test_a_layer_that_runs_twice() -> None:  # peers 8.5 #58
    model = Twice()
    with torch.no_grad():
        first = model.conv(photo())
        second = model.conv(first.tanh())
    leaf = first.clone().requires_grad_()
    whole = torch.autograd.grad(model.fc(model.conv(leaf.tanh()).tanh().mean((2, 3)))[:, 0].sum(), leaf)[0]
    for call, activations in ((0, first), (1, second), ("first", first), ("last", second), (-1, second), (-2, first)):
        found = explain(model, photo(), layer="conv", call=call)
        torch.testing.assert_close(found[0], activations)
        if activations is first:
            torch.testing.assert_close(found[1][0], whole)
    with pytest.raises(
        LayerError, match=r"'conv' ran 2 times \(call 0: \(2, 3, 12, 16\), call 1: \(2, 3, 12, 16\)\); say which one"
    ):
        explain(model, photo(), layer="conv")
    torch.testing.assert_close(explain(model, photo(), layer=None)[0], second)
    for call in (2, -3):
        with pytest.raises(
            LayerError, match=f"layer 'conv' ran 2 times, so there is no call {call}; calls count from 0"
        ):
            explain(model, photo(), layer="conv", call=call)


def test_two_photos_side_by_side_are_ambiguous() -> None:
    model = Lambda(
        lambda self, a, b: self.fc((self.conv(a) * self.conv(b)).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(4, 5),
    )
    with pytest.raises(
        LayerError, match=r"the last spatial layer 'conv' ran 2 times \(call 0: .*; give layer='conv' and call=0"
    ):
        explain(model, photo(), photo() + 1, layer=None)
    assert explain(model, photo(), photo() + 1, layer="conv", call=0)[1].abs().sum() > 0


def test_the_call_is_chosen_by_shape_and_by_the_graph() -> None:  # models.md 7.10: the last norm of BLIP and Kosmos-2
    def forward(self: Any, tokens: Tensor, pooled_first: bool) -> Any:
        if pooled_first:
            self.norm(tokens[:, 0])
        sequence = self.norm(tokens)
        if not pooled_first:
            self.norm(sequence[:, 0])
        return self.fc(sequence.mean(1))

    model = Lambda(forward, norm=nn.LayerNorm(4), fc=nn.Linear(4, 3))
    for pooled_first in (False, True):
        with record(model, "norm") as recording:
            scores = model(torch.randn(1, 6, 4), pooled_first)
        assert recording.leaf.shape == recording.resolve(scores).shape == (1, 6, 4)
        assert gradients(scores, recording.leaf).abs().sum() > 0
    with record(model, "norm") as recording:
        model(torch.randn(1, 6, 4), False)
        scores = model(torch.randn(1, 6, 4), False)
    with pytest.raises(LayerError, match="'norm' ran 4 times"):
        _ = recording.leaf
    assert recording.resolve(scores) is recording._taps[2].kept and recording.leaf is recording._taps[2].kept


def test_a_layer_that_never_runs() -> None:
    model = cnn()
    with record(model, "block") as recording:
        model.stem(photo())
    with pytest.raises(LayerError, match="layer 'block' did not run: call the model inside"):
        _ = recording.leaf
    with record(model) as recording:
        model.fc(torch.zeros(1, 12))
    with pytest.raises(LayerError, match="no layer of the model returned a feature map"):
        _ = recording.activations
    with record(model) as recording:
        scores = model(photo())
    with pytest.raises(LayerError, match=r"isn't known yet: call resolve\(scores\) first, or name a layer"):
        _ = recording.leaf
    assert recording.resolve(scores) is recording.leaf and recording.layer_name == "block"


class _Pair(NamedTuple):
    size: int
    maps: Tensor


@dataclass
class _Output:
    maps: Tensor
    note: str = "kept"


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "named", "dataclass", "nested", "model output"])
def test_a_layer_may_return_a_container(kind: str) -> None:  # peers 8.3 #38, 8.5 #63
    def wrap(maps: Tensor) -> Any:
        other = maps.mean((2, 3))
        if kind == "model output":
            from transformers.modeling_outputs import BaseModelOutputWithPooling

            return BaseModelOutputWithPooling(last_hidden_state=maps, pooler_output=other)
        return {"tuple": (other, maps), "list": [other, maps], "dict": {"pooled": other, "maps": maps}, "named": _Pair(3, maps),
                "dataclass": _Output(maps), "nested": (1, {"deep": [None, maps]})}[kind]  # fmt: skip

    def unwrap(value: Any) -> Any:
        if kind == "model output":
            assert value["last_hidden_state"] is value[0]
            return value.last_hidden_state
        if kind == "dataclass":
            assert value.note == "kept"
        return value.maps if kind in ("named", "dataclass") else value["maps"] if kind == "dict" else (
            value[1]["deep"][1] if kind == "nested" else value[1])  # fmt: skip

    def remember(self: Any, pixels: Tensor) -> Any:
        self.own.append(wrap(self.conv(pixels)))
        return self.own[-1]

    backbone = Lambda(remember, conv=nn.Conv2d(3, 4, 3))
    backbone.own = []  # type: ignore[assignment]
    types: list[type] = []
    model = Lambda(
        lambda self, x: self.fc(unwrap(self.backbone(x)).mean((2, 3))), backbone=backbone, fc=nn.Linear(4, 5)
    )
    backbone.register_forward_hook(lambda module, inputs, output: types.append(type(output)))
    expected = explain(model, photo(), layer="backbone.conv")
    same(explain(model, photo(), layer="backbone"), expected)
    assert len(set(types)) == 1
    assert not any(
        tensor.requires_grad for tensor in find_tensors(backbone.own[-1])
    )  # what the module itself keeps isn't touched


def test_a_layer_with_nothing_to_differentiate() -> None:
    model = Lambda(lambda self, x: self.top(x), top=Lambda(lambda self, x: x.argmax(1)))
    with (
        unchanged(model),
        pytest.raises(LayerError, match="layer 'top' returned Tensor with no floating-point tensor in it"),
    ):
        explain(model, photo(), layer="top")


def test_non_square_maps_keep_their_orientation() -> None:  # peers 8.5 #61
    pixels = torch.zeros(1, 3, 12, 24)
    pixels[..., :4, 20:] = 1  # the top right corner
    model = Lambda(lambda self, x: self.conv(x).mean((2, 3)), conv=nn.Conv2d(3, 2, 4, 4, bias=False))
    nn.init.ones_(model.conv.weight)
    activations, slopes = explain(model, pixels, layer=None)
    assert activations.shape == (1, 2, 3, 6) and (activations[0, 0] * slopes[0, 0, 0]).argmax() == 5


def test_several_inputs_and_keywords() -> None:  # peers 8.5 #64
    model = Lambda(
        lambda self, a, *, b, options: self.fc((self.conv(a) * b["b"]).mean((2, 3))),
        conv=nn.Conv2d(3, 4, 3),
        fc=nn.Linear(4, 5),
    )
    with record(model) as recording:
        scores = model(photo(), b={"b": torch.tensor(2.0, requires_grad=True)}, options=None)
    assert gradients(scores, recording.resolve(scores)).shape == (5, 2, 4, 10, 14)
    assert recording.leaf.is_leaf


def test_channels_last() -> None:  # peers 8.5 #65
    model = cnn()
    expected = explain(model, photo())
    model = model.to(memory_format=torch.channels_last)
    same(explain(model, photo().to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", ["block", "_orig_mod.block", None, "module"])
def test_compiled_models(layer: str | None) -> None:  # peers 8.5 #66
    model = cnn()
    expected = explain(model, photo())
    fast = compiled(model)
    with torch.no_grad():
        fast(photo())
    with unchanged(fast):
        same(explain(fast, photo(), layer=model.block if layer == "module" else layer), expected)
    with record(fast, "_orig_mod.block") as recording:
        fast(photo())
    assert recording.layer_name == "block"
    with torch.no_grad():
        torch.testing.assert_close(fast(photo()), model(photo()))


@pytest.mark.parametrize("layer", ["block", "module.block", None])
def test_data_parallel_models(layer: str | None) -> None:  # peers 8.5 #67
    model = cnn()
    expected = explain(model, photo())
    parallel = nn.DataParallel(model)
    with unchanged(parallel):
        same(explain(parallel, photo(), layer=layer), expected)
    with record(parallel, layer) as recording:
        scores = parallel(photo())
    recording.resolve(scores)
    assert recording.layer_name == "block"


# -------------------------------------------------------------------------------------------------------------------- cost


@pytest.mark.parametrize("layer", ["block", None])
def test_no_autograd_before_the_layer(layer: str | None) -> None:
    model = cnn()
    explain(model, photo(), layer=layer)  # with layer=None the first run has to look for it
    seen: dict[str, bool] = {}
    for name in ("stem", "block.0", "block", "pool"):
        model.get_submodule(name).register_forward_hook(
            lambda m, i, out, name=name: seen.update({name: out.requires_grad})
        )
    with record(model, layer) as recording:
        scores = model(photo().requires_grad_())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert recording.resolve(scores).is_leaf
    assert not seen["stem"] and not seen["block.0"] and seen["pool"]


def test_flop_budget() -> None:  # peers 8.7 #79
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.resnet18(num_classes=50).eval()
    pixels = photo(1, 64, 64)

    def flops(work: Callable[[], Any]) -> int:
        with FlopCounterMode(display=False) as counter:
            work()
        return int(counter.get_total_flops())

    def run(targets: int, layer: str | None) -> Callable[[], Any]:
        def work() -> None:
            with record(model, layer) as recording:
                scores = model(pixels)[0, :targets]
            gradients(scores, recording.resolve(scores))

        return work

    with torch.no_grad():
        forward = flops(lambda: model(pixels))
    head = 2 * 512 * 50
    run(1, None)()  # finds the layer, once
    for layer in ("layer4", None):
        assert flops(run(1, layer)) <= 1.1 * forward
        assert flops(run(10, layer)) <= forward + 10 * head
    assert flops(run(1, "layer4")) == forward + head


def test_one_forward_for_any_number_of_targets() -> None:  # peers 8.3 #36, 8.7 #81
    model = cnn()
    for layer in ("block", None):
        before = model.forwards
        explain(model, photo(), layer=layer)
        assert model.forwards == before + 1


def test_no_round_trip_through_numpy_and_no_global_mode(monkeypatch: pytest.MonkeyPatch) -> None:  # peers 8.7 #84
    model = cnn()
    for name in ("numpy", "cpu", "item", "tolist"):
        monkeypatch.setattr(Tensor, name, lambda *_, name=name: pytest.fail(f"Tensor.{name} was called"))
    with nullcontext():
        explain(model, photo())


def test_a_module_that_also_returns_what_it_made_of_its_map_does_not_lend_its_name() -> None:
    body = Lambda(lambda self, x: {"maps": (y := self.conv(x)), "pooled": y.mean((2, 3))}, conv=nn.Conv2d(3, 4, 3))
    model = Lambda(lambda self, x: self.head(self.body(x)["pooled"]), body=body, head=nn.Linear(4, 2)).eval()
    with record(model) as recording:
        scores = model(photo())
    leaf = recording.resolve(scores[0, :1])
    assert recording.layer_name == "body.conv"
    again, slopes = explain(model, photo(), layer=recording.layer_name)
    torch.testing.assert_close(again, leaf.detach())
    assert slopes.abs().sum() > 0


def test_a_model_that_is_its_own_last_layer_is_found_again() -> None:
    """What was chosen in the first run is known by the model's class, as it has no name in itself."""

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, pixels: Tensor) -> Tensor:
            doubled: Tensor = self.conv(pixels) * 2
            return doubled

    model = Doubled()
    for _ in range(2):
        with record(model) as recording:
            output = model(torch.rand(1, 3, 8, 8))
        recording.resolve(output.sum()[None])
        assert recording.layer_name == "Doubled"


def test_nothing_leads_to_scores_around_itself() -> None:
    """What comes by way of a tensor alone doesn't come around it; what branches off before it does."""
    first = torch.ones(2, requires_grad=True)
    second = first * 2
    assert trace_dependence(second.sum(), [first, second]) == [True, True]
    assert trace_dependence(second.sum(), [first, second], without=second) == [False, False]
    assert trace_dependence((second + first).sum(), [first, second], without=second) == [True, False]
