"""Generative families of transformers: saved to a folder, opened by its name, and explained word by word."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support.hub_saved import BUILDERS, saved
from vlcam.contracts import Layout, Request
from vlcam.engine.layers import TokenLayout
from vlcam.engine.modules import find_first_tensor, find_module
from vlcam.engine.outputs import log_probability
from vlcam.engine.recording import record
from vlcam.tasks.answering import Answering
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.hub_places import compute_canvas, measure_tiles
from vlcam.tasks.vqa import VQA

QUESTION = "what color is the dog?"
# PaliGemma's processor hands a tensor to numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def photo(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@pytest.fixture(params=BUILDERS)
def family(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def task(family: str, tmp_path: Path) -> Any:
    saved(family, tmp_path)
    return vlcam.load(tmp_path)


def asked(task: Any) -> dict[str, Any]:
    return {"question": QUESTION} if task.kind == "vqa" else {}


def wanted(task: Any, **options: Any) -> Request:
    return Request(**asked(task), **options)


def runs_of(task: Any) -> list[int]:
    """Grows by one whenever the layer that is explained runs."""
    runs: list[int] = []
    find_module(task.model, task.layer)[1].register_forward_hook(lambda *_: runs.append(1))
    return runs


def test_every_word_has_a_map_from_one_look_at_the_photo(task: Any) -> None:
    runs = runs_of(task)
    explanation = vlcam.explain(task, photo(), method="gradcam", **asked(task))
    assert len(runs) == 1
    assert len(explanation) >= 2 and explanation.maps.isfinite().all()
    assert all(bool(one.any()) for one in explanation.maps)
    assert not [one for one in explanation.notes if "wrong place" not in one]
    rows, columns = explanation.maps.shape[1:]
    width, height = explanation.geometry.input_size
    assert rows > 1 and columns > 1 and abs(rows / columns - height / width) < 0.3
    again = vlcam.explain(
        task, photo(), method="gradcam", **asked(task)
    )  # transformers installs hooks of its own on the way
    torch.testing.assert_close(again.maps, explanation.maps, rtol=1e-4, atol=1e-9)


def test_words_sum_to_what_was_said(task: Any) -> None:
    if isinstance(task, VQA):
        pytest.skip("it answers from a list")
    text = "a dog and a cat"
    given: dict[str, Any] = {"question": QUESTION, "targets": text} if task.kind == "vqa" else {"caption": text}
    explanation = vlcam.explain(task, photo(), method="gradcam", **given)
    whole = next(view for view in explanation if view.target.kind in ("caption", "answer"))
    words = [view for view in explanation if view.target.kind == "word"]
    assert [view.label for view in words] == text.split() and whole.label == text
    assert [text[slice(*view.target.span)] for view in words if view.target.span] == text.split()
    assert sum(view.target.score for view in words) == pytest.approx(whole.target.score, rel=1e-4)
    scale = float(whole.signed_map.abs().max())
    together = torch.stack([view.signed_map for view in words]).sum(0)
    torch.testing.assert_close(together, whole.signed_map, rtol=1e-3, atol=1e-4 * scale)


def test_scores_are_those_of_the_models_own_search(task: Any) -> None:
    """The greedy choice at every place is the highest of the teacher-forced logits there."""
    if isinstance(task, VQA):
        pytest.skip("it answers from a list")
    prepared = task.prepare(photo(), wanted(task))
    with torch.no_grad():
        looked = task.encode(task.model, prepared.inputs)
        ids = task.generate(task.model, looked)
        logits = task.logits(task.model, looked, ids)
    settings = task.model.generation_config
    assert not settings.repetition_penalty or settings.repetition_penalty == 1
    chosen = logits.gather(1, torch.tensor(ids)[:, None])[:, 0]
    assert (logits.argmax(1) == torch.tensor(ids)).float().mean() > 0.9, (logits.max(1).values - chosen).tolist()
    full = task.logits(task.model, task.encode(task.model, prepared.inputs), ids)  # without what generate has seen
    torch.testing.assert_close(full.detach(), logits, rtol=1e-4, atol=1e-5)


def test_what_a_person_says_is_scored_the_same_way(task: Any) -> None:
    if isinstance(task, Captioning):
        explanation = vlcam.explain(task, photo(), caption="a dog and a cat")
        assert [view.label for view in explanation] == ["a", "dog", "and", "a", "cat", "a dog and a cat"]
    else:
        names = ["red", "blue"] if isinstance(task, Answering) else list(task.answers[:2])
        explanation = vlcam.explain(task, photo(), question=QUESTION, targets=names, contrast=[(names[0], names[1])])
        assert {view.label for view in explanation if view.target.kind == "answer"} == set(names)
        difference = explanation[names[0]].target.score - explanation[names[1]].target.score
        assert explanation[-1].target.score == pytest.approx(difference, rel=1e-3, abs=1e-5)
        assert len(explanation.question_words) == 5
        assert all(len(view.target.reading) == 5 and any(view.target.reading) for view in explanation)


def test_a_token_is_most_sensitive_to_the_pixels_of_its_cell(family: str, task: Any) -> None:
    """Token order: the gradient of a cell's token is largest on the pixels under that cell."""
    prepared = task.prepare(photo(), wanted(task))
    inputs, hidden = prepared.inputs, ()
    if isinstance(task, VQA):
        inputs, hidden = prepared.inputs
    holder = inputs if isinstance(task, VQA) else inputs["inputs"]
    key = "pixel_values" if "pixel_values" in holder else "flattened_patches"
    pixels = holder[key].clone().requires_grad_()
    holder[key] = pixels
    kept: list[Tensor] = []
    _, module = find_module(task.model, task.layer)

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(find_first_tensor(output))  # type: ignore[arg-type]

    handle = module.register_forward_hook(keep)
    task.run(prepared, wanted(task, **({} if task.kind == "vqa" else {"caption": "a dog"})))
    handle.remove()
    find: Any = task.layout
    layout = find(inputs, hidden) if isinstance(task, VQA) else find(inputs)
    if not isinstance(layout, Layout):
        layout = layout(kept[0])
    maps = layout.to_maps(kept[0])
    numbers = torch.arange(float(maps[0, 0].numel())).view(1, *maps.shape[2:])
    where = layout.place(numbers).round().long()[0] if not isinstance(layout, TokenLayout) else _finest(layout)
    rows, columns = where.shape
    cells = [
        (0, 0),
        (1, columns - 2),
        (rows // 2, 1),
        (rows - 1, columns - 1),
        (rows - 2, columns // 2),
        (0, columns - 1),
    ]
    hits = 0
    for down, across in cells:
        token = maps[0].flatten(1)[:, int(where[down, across])]
        (slope,) = torch.autograd.grad(token.square().sum(), pixels, retain_graph=True)
        hits += peak_cell(slope.detach().abs(), holder, task, (rows, columns)) == (down, across)
    assert hits >= 4, hits  # by chance 1 in 64 each; random attention may win here and there


def _finest(layout: TokenLayout) -> Tensor:
    """For every cell, which of the used tokens lies over it in the first of the layers that is full, or fullest."""
    used = layout.cells[layout.cells >= 0].unique()
    fullest = max(layout.cells, key=lambda layer: (len(layer[layer >= 0].unique()), int((layer >= 0).sum())))
    return torch.searchsorted(used, fullest.clamp_min(0))


def peak_cell(slope: Tensor, holder: dict[str, Any], task: Any, shape: tuple[int, int]) -> tuple[int, int]:
    """The cell of the photo on whose pixels the slope is largest."""
    rows, columns = shape
    if "flattened_patches" in holder:  # one row for a patch, its place in front
        best = int(slope[0, :, 2:].sum(1).argmax())
        row, column = (int(one) for one in holder["flattened_patches"][0, best, :2].round())
        return row - 1, column - 1
    if "image_grid_thw" in holder:  # one row for a patch, in blocks
        merge = task.model.config.vision_config.spatial_merge_size
        order = (
            torch.arange(rows * columns)
            .view(rows // merge, columns // merge, merge, merge)
            .permute(0, 2, 1, 3)
            .reshape(rows, columns)
        )
        at = (order == int(slope.sum(1).argmax())).nonzero()[0]
        return int(at[0]), int(at[1])
    size = slope.flatten(0, -4).sum(1) if slope.ndim > 3 else slope
    if len(size) > 1:
        return _on_canvas(size, task, shape)
    if (
        task.model.config.model_type == "florence2"
    ):  # padded convolutions of stride s look at the places around every s-th pixel
        half = size.shape[2] // columns // 2
        size = torch.nn.functional.pad(size, (half, 0, half, 0))[:, :-half, :-half]
    cells = torch.nn.functional.adaptive_avg_pool2d(size[:1, None], (rows, columns))[0, 0]
    best = int(cells.argmax())
    return best // columns, best % columns


def _on_canvas(size: Tensor, task: Any, shape: tuple[int, int]) -> tuple[int, int]:
    """Of tiles ``(tiles, height, width)``: every pixel is led back to the photo, and from there to the cell it lies under."""
    tiles = measure_tiles(lambda other: task.preprocess(other)[0]["inputs"]["pixel_values"], photo().size)
    canvas = compute_canvas(tiles)
    assert len(tiles) == len(size)
    sums, counts = torch.zeros(shape), torch.zeros(shape)
    for tile, part in zip(tiles, size, strict=True):
        if tile is None:
            continue
        places = []
        for axis in (0, 1):
            at = (torch.arange(tile.input_size[axis]) + 0.5 - tile.offset[axis]) / tile.scale[axis]
            at = (at * canvas.scale[axis] + canvas.offset[axis]) / canvas.input_size[axis] * shape[1 - axis]
            places.append(at.floor().long().clamp(0, shape[1 - axis] - 1))
        cells = (places[1][:, None], places[0][None].expand(*part.shape))
        sums.index_put_(cells, part, accumulate=True)
        counts.index_put_(cells, (part > 0).float(), accumulate=True)
    best = int((sums / counts.clamp_min(1)).argmax())
    return best // shape[1], best % shape[1]


def test_beams_say_something_at_least_as_probable(family: str, tmp_path: Path) -> None:
    saved(family, tmp_path)
    one, more = vlcam.load(tmp_path, length=4), vlcam.load(tmp_path, length=4, beams=3)
    if isinstance(one, VQA):
        pytest.skip("it answers from a list")
    scores = []
    for task in (one, more):
        explanation = vlcam.explain(task, photo(), **asked(task))
        whole = next(view.target for view in explanation if view.target.kind in ("caption", "answer"))
        scores.append(whole.score / len(whole.token_ids))
    assert scores[1] >= scores[0] - 0.7


def test_the_model_is_left_as_it_was(family: str, task: Any) -> None:
    before = {name: (id(one), one._version, one.requires_grad) for name, one in task.model.named_parameters()}
    hooks = [len(module._forward_hooks) for module in task.model.modules()]
    own = [sorted(module.__dict__) for module in task.model.modules()]
    vlcam.explain(task, photo(), **asked(task))
    assert before == {name: (id(one), one._version, one.requires_grad) for name, one in task.model.named_parameters()}
    # transformers installs hooks once, when hidden states are first asked for, and keeps them.
    changed = [len(module._forward_hooks) for module in task.model.modules()]
    assert changed == hooks or all(0 <= late - early <= 2 for late, early in zip(changed, hooks, strict=True))
    left = [
        set(late) - set(early)
        for late, early in zip([sorted(m.__dict__) for m in task.model.modules()], own, strict=True)
    ]
    assert all(one <= {"_output_capturing_hooks_installed", "rope_deltas"} for one in left), left


def test_the_map_is_that_of_the_textbook(task: Any) -> None:
    """Grad-CAM of the first word by its definition, from a recording of our own."""
    if not isinstance(task, Captioning):
        pytest.skip("captions only")
    explanation = vlcam.explain(task, photo(), caption="dog", method="gradcam")
    request = Request(caption="dog")
    prepared = task.prepare(photo(), request)
    with record(task.model, task.layer) as recording:
        ids = task.tokens.encode("dog")
        rows = task.logits(task.model, task.encode(task.model, prepared.inputs), ids)
        score = log_probability(rows, ids).sum()
    leaf = recording.resolve(score)
    (slope,) = torch.autograd.grad(score, leaf)
    layout: Any = task.layout
    layout = layout(prepared.inputs)
    if not isinstance(layout, Layout):
        layout = layout(leaf)
    activations, slopes = layout.to_maps(leaf.detach())[0].double(), layout.to_maps(slope)[0].double()
    weights = slopes.mean((1, 2))
    expected = layout.place((weights[:, None, None] * activations).sum(0)[None])[0]
    torch.testing.assert_close(explanation["dog", 0].signed_map.double(), expected, rtol=1e-3, atol=1e-7)


def test_masked_gradients_look_at_the_photo_once(task: Any) -> None:
    tower = [one for name, one in task.model.named_modules() if name and not task.layer.startswith(name)]
    cut = [one for one in tower if isinstance(one, (nn.Conv2d, nn.Conv3d))]  # Pix2Struct cuts no patches itself
    first = cut[0] if cut else next(one for one in tower if isinstance(one, nn.Linear))
    runs: list[int] = []
    first.register_forward_hook(lambda *_: runs.append(1))
    plain = vlcam.explain(task, photo(), method="gradcam", **asked(task))
    once = len(runs)
    explanation = vlcam.explain(task, photo(), method="masked-gradients-balanced", **asked(task))
    assert len(runs) == 2 * once
    assert explanation.maps.shape == plain.maps.shape and bool(explanation.maps.isfinite().all())
    assert [one.label for one in explanation.targets] == [one.label for one in plain.targets]
    assert explanation.diagnostic is not None and explanation.diagnostic.saturation is not None
