"""A part of a model that runs once: its one run is recorded, and the next call gets what it gave."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.tiny import snapshot
from vlcam.engine.recording import pause_recording, record, run_once


class Speaker(nn.Module):
    """A tower, and a head that reads its output; ``generate`` runs without gradients, as transformers' does."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.head = nn.Linear(8, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.head(self.tower(pixels).mean((2, 3)))
        return found

    @torch.no_grad()
    def generate(self, pixels: Tensor) -> int:
        return int(self(pixels).argmax())


def pixels(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def speak(model: Speaker, layer: str, **options: Any) -> tuple[Tensor, Tensor, list[int]]:
    runs: list[int] = []
    handle = model.tower[0].register_forward_hook(lambda *_: runs.append(1))
    kept: list[tuple[Tensor, Any]] = []
    with record(model, layer) as recording:
        with pause_recording(), run_once(model.tower, kept):
            said = model.generate(pixels())
        with run_once(model.tower, kept):
            score = model(pixels().clone())[0, said]
    handle.remove()
    leaf = recording.resolve(score)
    return score, torch.autograd.grad(score, leaf)[0], runs


@pytest.mark.parametrize("layer", ["tower.0", "tower.1", "tower.2", "tower"])
def test_it_runs_once_and_gradients_are_those_of_a_plain_run(layer: str) -> None:
    torch.manual_seed(0)
    model = Speaker()
    before = snapshot(model)
    score, slope, runs = speak(model, layer)
    assert len(runs) == 1
    assert {key: value for key, value in snapshot(model).items() if key != "rng"} == {
        key: value for key, value in before.items() if key != "rng"
    }
    with record(model, layer) as recording:
        plain = model(pixels())[0].max()
    torch.testing.assert_close(plain, score)
    torch.testing.assert_close(torch.autograd.grad(plain, recording.resolve(plain))[0], slope)


def test_another_photo_runs_again() -> None:
    model = Speaker()
    kept: list[tuple[Tensor, Any]] = []
    runs: list[int] = []
    model.tower[0].register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad(), run_once(model.tower, kept):
        one, same, other = model(pixels(0)), model(pixels(0)), model(pixels(1))
    assert len(runs) == 2 and torch.equal(one, same) and not torch.equal(one, other)


def test_what_it_gave_can_be_changed_by_the_model() -> None:
    class Fields(nn.Module):
        def forward(self, pixels: Tensor) -> dict[str, Any]:
            return {"seen": pixels * 2}

    part = Fields()
    kept: list[tuple[Tensor, Any]] = []
    with run_once(part, kept):
        first = part(pixels())
        first["seen"] = None
        assert torch.equal(part(pixels())["seen"], pixels() * 2)
    assert "forward" not in part.__dict__


def test_an_exception_leaves_nothing_behind() -> None:
    model = Speaker()
    kept: list[tuple[Tensor, Any]] = []
    own = sorted(model.tower.__dict__)
    with pytest.raises(RuntimeError), run_once(model.tower, kept):
        model.tower(torch.zeros(1, 2, 6, 6))
    assert sorted(model.tower.__dict__) == own and not model.tower._forward_hooks and kept == []
    score, slope, runs = speak(model, "tower")
    assert len(runs) == 1 and bool(slope.any()) and score.requires_grad
