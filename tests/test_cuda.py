"""Everything that needs a GPU; skipped where there is none."""

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import Captioner, Cnn, InPlaceAfter, lively, snapshot
from vlcam.engine.recording import gradients, record
from vlcam.explanation.attribution import attribute

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def photo(batch: int = 2, size: int = 16) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_maps_equal_those_of_the_cpu_and_stay_on_the_device() -> None:  # peers 8.5 #55, 8.7 #75
    for model in (lively(Cnn()), InPlaceAfter(inplace=True)):
        expected = attribute(model, photo(), targets=[[0, 1], [2, 3]], signed=True).maps
        found = attribute(model.cuda(), photo().cuda(), targets=[[0, 1], [2, 3]], signed=True).maps
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("layer", ["encoder", None])
@pytest.mark.parametrize("training", [True, False])
def test_rnn_captioners(cell: Any, layer: str | None, training: bool) -> None:  # peers 8.7 #73, #74
    model, words = Captioner(cell).train(training), torch.arange(8).reshape(2, 4)

    def said(device: str) -> tuple[Tensor, Tensor]:
        with record(model.to(device), layer) as recording:
            scores = model(photo().to(device), words.to(device)).log_softmax(-1)[0, :, 3]
        leaf = recording.resolve(scores)
        return gradients(scores, leaf), gradients(scores, leaf, chunk=1)

    expected, _ = said("cpu")
    before = torch.backends.cudnn.enabled
    batched, loop = said("cuda")
    assert torch.backends.cudnn.enabled == before and model.training == training
    torch.testing.assert_close(batched, loop, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(batched.cpu(), expected, rtol=1e-3, atol=1e-5)


def test_cudnn_is_off_for_the_rnn_only_and_on_again_after_an_exception() -> None:  # peers 8.7 #73
    model, words = Captioner().cuda(), torch.arange(4)[None].cuda()
    seen: dict[str, bool] = {}
    model.encoder.register_forward_hook(lambda *_: seen.update(cnn=torch.backends.cudnn.enabled))
    model.speak.register_forward_hook(lambda *_: seen.update(head=torch.backends.cudnn.enabled))
    model.cell.register_forward_pre_hook(lambda *_: seen.update(rnn=torch.backends.cudnn.enabled))
    with record(model, "encoder"):
        model(photo(1).cuda(), words)
    assert seen["cnn"] and seen["head"]
    before = snapshot(model)
    with pytest.raises(RuntimeError), record(model, "encoder"):
        model.cell(torch.zeros(1, 2, 3, device="cuda"))  # the wrong width
    assert snapshot(model) == before


def test_the_random_state_of_the_gpu_is_kept() -> None:  # peers 8.2 #29
    model = Cnn().cuda()
    before = torch.cuda.get_rng_state()
    with record(model):
        torch.rand(3, device="cuda")
        model(photo().cuda())
    assert torch.cuda.get_rng_state().equal(before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:  # peers 8.4 #42, #43
    model = lively(Cnn()).cuda()
    expected = attribute(model, photo().cuda(), targets=1, signed=True).maps
    found = attribute(model.to(dtype), photo().cuda().to(dtype), targets=1, signed=True).maps
    assert torch.cosine_similarity(found.flatten(), expected.flatten(), 0) > 0.98


def test_memory_is_flat_over_100_calls() -> None:  # peers 8.2 #25
    model, pixels = Cnn().cuda(), photo(4, 64).cuda()
    used = []
    for calls in (10, 90):
        for _ in range(calls):
            attribute(model, pixels, targets=0)
        gc.collect()
        used.append(torch.cuda.memory_allocated())
    assert used[0] == used[1]


def test_less_memory_than_with_autograd_through_the_backbone() -> None:
    model, pixels = Cnn(channels=32).cuda().eval(), photo(8, 256).cuda()
    peaks = []
    for work in (lambda: attribute(model, pixels, targets=0, layer="block"), lambda: model(pixels)):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        work()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[0] < peaks[1]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_data_parallel_keeps_the_order_of_the_batch() -> None:  # peers 8.5 #67
    model = lively(Cnn()).cuda()
    expected = attribute(model, photo(5).cuda(), targets=[0, 1, 2, 3, 4]).maps
    parallel = nn.DataParallel(model)
    found = attribute(parallel, photo(5).cuda(), targets=[0, 1, 2, 3, 4]).maps
    assert parallel.device_ids == list(range(torch.cuda.device_count()))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
