"""Recurrent layers under autocast, on processors that can run them in half precision and on those that can't."""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vlcam.engine import precision
from vlcam.engine.precision import can_autocast, run_recurrent

REFUSED = (
    "could not create a primitive descriptor for the LSTM forward propagation primitive. Run workload with more logs."
)


class Watched(nn.LSTM):
    """An LSTM that notes what it is given, and refuses half precision if it is told to, as oneDNN does without AVX-512."""

    def __init__(self, *, refuses: bool) -> None:
        super().__init__(4, 3, batch_first=True)
        self.refuses = refuses
        self.given: list[tuple[bool, set[torch.dtype]]] = []

    def forward(self, inputs: Tensor, state: Any = None) -> Any:  # type: ignore[override]
        low = torch.is_autocast_enabled("cpu")
        self.given.append((low, {one.dtype for one in (inputs, *(state or ()))}))
        if low and self.refuses:
            raise RuntimeError(REFUSED)
        return super().forward(inputs, state)


def refuse(mode: str, device: str, dtype: torch.dtype) -> None:
    """The probe of a processor that can't."""
    raise RuntimeError(REFUSED)


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    """What is known of this processor is asked anew in each test and by what comes after it."""
    can_autocast.cache_clear()
    yield
    can_autocast.cache_clear()


def half_inputs() -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Photos' features and a first state, as the layers before an LSTM give them under autocast."""
    half = torch.randn(2, 5, 4).bfloat16().requires_grad_()
    return half, (torch.randn(1, 2, 3).bfloat16(), torch.randn(1, 2, 3).bfloat16())


def test_a_layer_that_the_processor_refuses_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_try_layer", refuse)
    layer = Watched(refuses=True)
    inputs, state = half_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        out, (hidden, cell) = run_recurrent(layer, inputs, state)
        assert torch.is_autocast_enabled("cpu"), "autocast goes on after the layer"
    assert layer.given == [(False, {torch.float32})]
    assert {out.dtype, hidden.dtype, cell.dtype} == {torch.float32}
    wanted, (last, _) = layer(inputs.float(), tuple(one.float() for one in state))
    assert torch.equal(out, wanted) and torch.equal(hidden, last)
    slope, *slopes = torch.autograd.grad(out.sum(), [inputs, *layer.parameters()])
    assert slope.dtype == torch.bfloat16 and bool(slope.any())
    for found, expected in zip(slopes, torch.autograd.grad(wanted.sum(), list(layer.parameters())), strict=True):
        assert torch.equal(found, expected)


def test_a_layer_that_the_processor_can_run_stays_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, str, torch.dtype]] = []
    monkeypatch.setattr(precision, "_try_layer", lambda *given: tried.append(given))
    layer = Watched(refuses=False)
    inputs, _ = half_inputs()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)  # so that it runs on every processor
    with torch.autocast("cpu", torch.bfloat16):
        run_recurrent(layer, inputs)
        run_recurrent(layer, inputs)
    monkeypatch.undo()
    assert layer.given == [(True, {torch.bfloat16})] * 2
    assert tried == [("LSTM", "cpu", torch.bfloat16)], "a processor is asked once"


def test_without_autocast_the_layer_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_try_layer", refuse)
    layer, inputs = Watched(refuses=True), torch.randn(2, 5, 4)
    out, _ = run_recurrent(layer, inputs)
    assert torch.equal(out, layer(inputs)[0])
    assert layer.given == [(False, {torch.float32})] * 2


def test_the_log_says_once_what_runs_in_float32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "vlcam"):
        monkeypatch.setattr(precision, "_try_layer", lambda *given: None)
        assert can_autocast("LSTM", "cpu", torch.float16)
        assert not caplog.messages
        monkeypatch.setattr(precision, "_try_layer", refuse)
        assert can_autocast("LSTM", "cpu", torch.float16), "still known"
        for _ in range(2):
            assert not can_autocast("LSTM", "cpu", torch.bfloat16)
    assert caplog.messages == [
        "This machine's CPU can't run a layer of kind LSTM in bfloat16 (could not create a primitive descriptor for the LSTM forward "
        "propagation primitive), so such layers run in float32."
    ]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_the_probe_says_is_so(kind: type[nn.RNNBase], dtype: torch.dtype) -> None:
    """On this machine, whichever it is: a layer of another size runs if and only if the tiny one did."""
    layer = kind(8, 6, batch_first=True)  # type: ignore[arg-type, call-arg]
    random = torch.get_rng_state()
    with torch.inference_mode():  # the question is the same inside
        able = can_autocast(layer.mode, "cpu", dtype)
    assert torch.equal(torch.get_rng_state(), random)
    inputs = torch.randn(3, 4, 8, requires_grad=True)
    with torch.autocast("cpu", dtype):
        try:
            torch.autograd.grad(layer(inputs)[0].float().sum(), inputs)
            ran = True
        except RuntimeError:
            ran = False
        assert ran == able
        (slope,) = torch.autograd.grad(run_recurrent(layer, inputs)[0].float().sum(), inputs)
    assert bool(slope.abs().sum() > 0)


BARE = """
import torch
from torch import nn

try:
    with torch.autocast("cpu", torch.bfloat16):
        nn.LSTM(8, 8)(torch.randn(3, 2, 8))
except RuntimeError as error:
    print(error)
"""
ONE_STEP = """
from vlcam.scenes.models.family import SceneModels

words = torch.randint(4, 20, (2, 7))
batch = {"images": torch.randn(2, 3, 96, 96), "pairs": torch.zeros(2, 36), "objects": torch.zeros(2, 144), "captions": words}
batch |= {"cells": torch.zeros(2, 4, 12, 12).long(), "questions": words, "answers": torch.zeros(2).long()}
family = SceneModels()
with torch.autocast("cpu", torch.bfloat16):
    losses = family.compute_losses(batch)
    total = sum(losses.values())
slopes = torch.autograd.grad(total, list(family.parameters()))
assert all(slope.isfinite().all() for slope in slopes) and all(map(float, losses.values()))
print("one step")
"""
HALF = """
from tests.support.tiny import Captioner
from vlcam.engine import gradients, record

for cell in (nn.LSTM, nn.GRU):
    for dtype in (torch.bfloat16, torch.float16):
        model = Captioner(cell).to(dtype)
        photo, words = torch.randn(1, 3, 16, 16).to(dtype), torch.tensor([[3, 4, 5]])
        with torch.no_grad():
            assert model(photo, words).isfinite().all()
        with record(model, "encoder") as run:
            scores = model(photo, words).float().log_softmax(-1)[0, range(3), [3, 4, 5]]
        slopes = gradients(scores, run.leaf)
        assert slopes.isfinite().all() and slopes.any()
print("half precision")
"""
ALL_STEPS = """
import sys
from pathlib import Path

from PIL import Image

import vlcam
import vlcam.scenes.models.train as training

training.VAL_SCENES = 4
plan = training.TrainingPlan(scenes=8, steps=2, schedule=2, batch=4, head_steps=2, caption_steps=1, head_batch=4, seed=3)
out = training.train(Path(sys.argv[1]), plan, device="cpu")
print(*sorted(file.stem for file in out.glob("*.safetensors")))
for dtype in (torch.bfloat16, torch.float16):
    said = vlcam.explain(vlcam.load("scenes/captioner", dtype=dtype), Image.new("RGB", (96, 96), "red"))
    assert said.maps.isfinite().all() and len(said.targets) > 2
print("explained")
"""
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's limit is for x86 processors")


def run_on_avx2(root: Path, *parts: str, given: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """The printed lines and the log of a program on a processor without AVX-512, or on one that is told to do without it."""
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "".join(parts), *given],
        cwd=root,
        env=os.environ | limits,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@x86
def test_without_avx512_the_bundled_models_take_a_step_and_half_precision_runs(root: Path) -> None:
    (bare, *rest), log = run_on_avx2(root, BARE, ONE_STEP, HALF)
    assert bare.startswith("could not create a primitive descriptor for the LSTM forward propagation primitive")
    assert rest == ["one step", "half precision"]
    assert log.count("can't run a layer of kind LSTM in bfloat16") == 1


@x86
@pytest.mark.extended
def test_without_avx512_the_bundled_models_are_trained_and_explained(root: Path, tmp_path: Path) -> None:
    (bare, *rest), log = run_on_avx2(root, BARE, ALL_STEPS, given=(str(tmp_path),))
    assert bare.startswith("could not create a primitive descriptor for the LSTM forward propagation primitive")
    assert rest == ["captioner classifier vqa", "explained"]
    assert log.count("can't run a layer of kind LSTM in bfloat16") == 1
