"""What follows a layer is run by itself: batched where that is right, one by one elsewhere, and refused where it gives other scores."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support import hub_captioners, hub_models
from tests.support.hub_models import alive
from tests.support.tiny import Cnn, lively
from vlcam.contracts import LayerError, Request, Task
from vlcam.engine.layers import Grid
from vlcam.engine.modules import find_module
from vlcam.explanation.explain import prepare_photo
from vlcam.explanation.head import PhotoHead
from vlcam.explanation.options import check_options
from vlcam.explanation.rerun import PhotoSubject, fix_targets
from vlcam.explanation.run import run_and_record
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification
from vlcam.tasks.from_transformers import wrap
from vlcam.tasks.hub_files import ProcessorPair

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def open_subject(task: Task, **options: Any) -> PhotoSubject:
    order = check_options(**options)
    ready = prepare_photo(task, PICTURE, order)
    spoken, evidence = run_and_record(task, ready.prepared, order.request, task.layer)
    targets = tuple(spoken.targets)
    return PhotoSubject(task, ready.prepared, fix_targets(order.request, targets), targets, evidence)


def classes(**options: Any) -> Classification:
    torch.manual_seed(1)
    options = {"layer": "stem", **options}
    return Classification(lively(Cnn()), ["a", "b", "c", "d", "e"], vlcam.Preprocess((16, 12)), **options)


class Vit(nn.Module):
    """A class token, patches and attention; the class token alone is read."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 5)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cls = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, pixels: Tensor) -> Any:
        tokens = torch.cat([self.cls.expand(len(pixels), -1, -1), self.patch(pixels).flatten(2).transpose(1, 2)], 1)
        tokens = self.norm(tokens)
        return self.head((tokens + self.mix(tokens, tokens, tokens)[0])[:, 0].tanh())


def vit() -> Classification:
    torch.manual_seed(1)
    grid = Grid("BNC", rows=3, columns=4, prefix=1)
    return Classification(Vit().eval(), list("abcde"), vlcam.Preprocess((16, 12)), layer="norm", layout=grid)


def hub(build: Callable[[], tuple[Any, Any]]) -> Task:
    model, processor = build()
    return wrap(
        alive(model).eval(), ProcessorPair(*processor) if isinstance(processor, tuple) else processor, "tiny", length=4
    )


TASKS: dict[str, tuple[Callable[[], Task], dict[str, Any], str]] = {
    "classes": (classes, {}, "batch"),
    "tokens": (vit, {"contrast": ("a", "b")}, "batch"),
    "captioner": (bundled.captioner, {"caption": "a red star"}, "batch"),
    "answers": (bundled.vqa, {"question": "what colour is the star"}, "batch"),
    "blip": (lambda: hub(hub_models.blip), {}, "batch"),
    "blip answers": (lambda: hub(lambda: hub_models.blip(True)), {"question": "what is this"}, "batch"),
    "vit-gpt2": (lambda: hub(hub_models.vit_gpt2), {}, "batch"),
    "llava": (lambda: hub(hub_models.llava), {}, "batch"),
    "qwen2-vl": (lambda: hub(hub_models.qwen2_vl), {}, "rows"),
    "pix2struct": (lambda: hub(hub_captioners.pix2struct), {}, "batch"),
}


@pytest.mark.parametrize("name", list(TASKS))
def test_scores_and_gradients_at_the_own_activations_are_those_explained(name: str) -> None:
    build, options, way = TASKS[name]
    subject = open_subject(build(), **options)
    said = torch.tensor([one.score for one in subject.targets])
    with subject.open_head() as head:
        assert isinstance(head, PhotoHead)
        points = torch.cat([head.activations, head.activations.roll(1, 1)])
        scores = head.score(points)
        assert head.way == way
        torch.testing.assert_close(scores[0].cpu(), said, rtol=1e-4, atol=1e-4)
        assert not torch.equal(scores[0], scores[1])
        slopes = head.average_gradients(head.activations)
    largest = float(subject.cell_gradients.abs().max())
    torch.testing.assert_close(slopes, subject.cell_gradients, rtol=1e-3, atol=1e-4 * largest)


def test_row_by_row_gives_the_same_as_the_batch() -> None:
    subject = open_subject(classes())
    points = subject.cells * torch.rand(5, 1, 6, 8, generator=torch.Generator().manual_seed(2))
    found = []
    for task in (subject.task, _OnlyRuns(subject.task)):
        with replace(subject, task=task).open_head() as head:
            found.append((head.score(points), head.average_gradients(points), head.way))
    assert [way for _, _, way in found] == ["batch", "rows"]
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


class _OnlyRuns:
    """A task that can't score several rows at once."""

    def __init__(self, inner: Any) -> None:
        self.kind, self.name, self.model, self.layer, self.names = (
            getattr(inner, one) for one in ("kind", "name", "model", "layer", "names")
        )
        self.prepare, self.run = inner.prepare, inner.run


def test_the_layers_before_do_not_run_again() -> None:
    task = classes()
    runs: list[int] = []
    find_module(task.model, "stem.0")[1].register_forward_hook(lambda *_: runs.append(1))
    subject = open_subject(task)
    assert runs == [1]
    with subject.open_head() as head:
        head.score(subject.cells.expand(9, -1, -1, -1))
        head.average_gradients(subject.cells.expand(3, -1, -1, -1))
    assert runs == [1]


def test_where_the_layer_was_found_the_layers_before_run_once_more() -> None:
    found, named = (classes(layer=layer) for layer in (None, "block"))
    runs: list[int] = []
    find_module(found.model, "stem.0")[1].register_forward_hook(lambda *_: runs.append(1))
    subject = open_subject(found)
    assert subject.layer == "block"
    before = len(runs)  # more than one where the layer's places had to be proven
    with subject.open_head() as head, open_subject(named).open_head() as other:
        assert isinstance(head, PhotoHead)
        points = subject.cells * torch.rand(9, *subject.cells.shape[1:], generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(head.score(points), other.score(points))
        head.average_gradients(points)
        assert head.way == "batch"
    assert len(runs) == before + 1


class Moody(nn.Module):
    """Says something else each time that it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.times = 0

    def forward(self, pixels: Tensor) -> Any:
        self.times += 1
        return self.fc(self.conv(pixels).mean((2, 3))) * self.times


def test_a_model_that_says_something_else_is_refused() -> None:
    task = Classification(Moody().eval(), list("abcde"), vlcam.Preprocess((16, 12)), layer="conv")
    with (
        pytest.raises(LayerError, match="classifier gives other scores when what follows layer 'conv' is run again"),
        open_subject(task).open_head() as head,
    ):
        head.score(head.activations)


def test_the_model_is_left_as_it_was_after_an_error() -> None:
    task = classes()
    subject = open_subject(task)
    with pytest.raises(KeyError), subject.open_head():
        raise KeyError("mine")
    assert not any("forward" in one.__dict__ for one in task.model.modules())
    assert not any(one._forward_hooks for one in task.model.modules())


def test_cells_that_are_no_tokens_are_refused() -> None:
    class Halved:
        """A layout that averages neighbouring tokens."""

        def to_maps(self, tensor: Tensor) -> Tensor:
            tokens = tensor[:, 1:].transpose(1, 2)
            halved: Tensor = (tokens[..., ::2] + tokens[..., 1::2]) / 2
            found: Tensor = halved.unflatten(2, (3, 2))
            return found

        def place(self, maps: Tensor) -> Tensor:
            return maps

    subject = open_subject(replace(vit(), layout=Halved()))
    with pytest.raises(LayerError, match="the maps of layer 'norm' aren't tokens"), subject.open_head():
        pass


def test_requests_are_settled() -> None:
    assert fix_targets(Request(), ()).labels == ()
