"""Chat models of transformers: where their tiles lie, what they are told, and where their answers end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

import vlcam
from tests.support import hub_chat
from tests.support.hub_saved import BUILDERS, built, saved
from vlcam.contracts import Geometry, InputError, Layout, Request
from vlcam.engine.modules import find_first_tensor, find_module
from vlcam.image.geometry import find_cell_box, point_to_photo
from vlcam.tasks.answering import Answering
from vlcam.tasks.hub_inputs import HubTokenizer
from vlcam.tasks.hub_places import compute_canvas, measure_tiles

# PaliGemma's processor hands a tensor to numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def opened(family: str, folder: Path, **options: Any) -> Any:
    saved(family, folder)
    return vlcam.load(folder, **options)


def placed(task: Any, photo: Image.Image) -> tuple[Geometry, Layout, Tensor]:
    """What the explained layer makes of a photo, as maps, and where they lie."""
    prepared = task.prepare(photo, Request())
    kept: list[Tensor] = []
    _, module = find_module(task.model, task.layer)
    handle = module.register_forward_hook(lambda _module, _args, out: kept.append(find_first_tensor(out)))  # type: ignore[arg-type]
    with torch.no_grad():
        task.logits(task.model, task.encode(task.model, prepared.inputs), task.tokens.encode("dog"))
    handle.remove()
    layout = task.layout(prepared.inputs)
    layout = layout if isinstance(layout, Layout) else layout(kept[0])
    return prepared.geometry, layout, layout.to_maps(kept[0]).double()


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", *hub_chat.BUILDERS])
@pytest.mark.parametrize("size", [(90, 60), (60, 100), (200, 70)])
def test_a_spot_on_the_photo_changes_the_cell_under_it(family: str, size: tuple[int, int], tmp_path: Path) -> None:
    """From the photo through processor, tower and token order back to the photo: nothing of it is taken on trust."""
    task = opened(family, tmp_path)
    random = np.random.default_rng(1)
    plain = random.integers(110, 130, (size[1], size[0], 3), dtype=np.uint8)
    geometry, layout, before = placed(task, Image.fromarray(plain))
    rows, columns = layout.place(before.abs().sum(1)).shape[1:]
    seen = []
    for row, column in np.ndindex(rows, columns):
        x, y = point_to_photo(geometry, *_middle(geometry, row, column, (rows, columns)))
        if 0 < x < size[0] and 0 < y < size[1]:
            seen.append((row, column))
    for number in random.choice(len(seen), 5, replace=False):
        row, column = seen[number]
        left, top, right, bottom = find_cell_box(geometry, row, column, (rows, columns))
        spotted = plain.copy()
        x0, x1 = (max(round(left + part * (right - left)), 0) for part in (0.15, 0.85))
        y0, y1 = (max(round(top + part * (bottom - top)), 0) for part in (0.15, 0.85))
        spotted[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = [255, 0, 30]
        change = layout.place((placed(task, Image.fromarray(spotted))[2] - before).abs().sum(1))[0]
        assert divmod(int(change.argmax()), columns) == (row, column)


def _middle(geometry: Geometry, row: int, column: int, grid: tuple[int, int]) -> tuple[float, float]:
    """Of a cell, on the model's input."""
    return (column + 0.5) / grid[1] * geometry.input_size[0], (row + 0.5) / grid[0] * geometry.input_size[1]


@pytest.mark.parametrize(
    ("processor", "size", "canvas", "shown"),
    [
        (transformers.GotOcr2ImageProcessor(size={"height": 448, "width": 448}, crop_to_patches=True), (640, 480),
         (1792, 1344), (0, 0, 1792, 1344)),
        (transformers.GotOcr2ImageProcessor(size={"height": 448, "width": 448}, crop_to_patches=True), (2000, 300),
         (3136, 448), (0, 0, 3136, 448)),
        (transformers.Idefics3ImageProcessor(), (224, 224), (1456, 1456), (0, 0, 1456, 1456)),
        (transformers.Idefics3ImageProcessor(), (150, 100), (1456, 1092), (0, 0, 1456, 1092)),
        (transformers.LlavaNextImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}), (640, 480),
         (672, 672), (0, 84, 672, 588)),
        (transformers.LlavaOnevisionImageProcessor(), (480, 640), (768, 768), (96, 0, 672, 768)),
    ],
)  # fmt: skip
def test_tiles_of_real_size_lie_where_the_processor_puts_them(
    processor: Any, size: tuple[int, int], canvas: tuple[int, int], shown: tuple[int, int, int, int]
) -> None:
    """The canvas to the pixel, by each processor's own rules; the photo on it to half a pixel."""
    found = compute_canvas(measure_tiles(lambda one: processor(images=one, return_tensors="pt")["pixel_values"], size))
    assert found.input_size == canvas
    corners = [
        *found.offset,
        *(side * scale + off for side, scale, off in zip(size, found.scale, found.offset, strict=True)),
    ]
    assert np.abs(np.array(corners) - shown).max() < 0.5


def told(task: Any, **request: Any) -> str:
    """The whole text that the model is given."""
    photo = Image.new("RGB", (90, 60), (90, 120, 150))
    ids = task.prepare(photo, Request(**request)).inputs["inputs"]["input_ids"][0]
    return str(task.tokens.tokenizer.decode(ids))


@pytest.mark.parametrize("family", hub_chat.BUILDERS)
def test_the_model_is_told_what_it_shall_do_once(family: str, tmp_path: Path) -> None:
    captioner = opened(family, tmp_path)
    asker = vlcam.load(tmp_path, task="vqa")
    wanted = "caption en" if family == "paligemma" else "Describe this image in one sentence."
    assert told(captioner).count(wanted) == 1
    assert told(captioner).lower().count("assistant") == (0 if family == "paligemma" else 1)
    assert (
        told(captioner, prompt="USER: <image>\nA photo of" if family == "vipllava" else "A photo of").count(
            "A photo of"
        )
        == 1
    )
    assert told(asker, question="what color is the dog?").count("what color is the dog?") == 1
    form = "USER: <image>\nQuestion: {} Answer:" if family == "vipllava" else "Question: {} Answer:"
    assert "Question: is it red? Answer:" in told(asker, question="is it red?", prompt=form)
    photo = Image.new("RGB", (90, 60), (90, 120, 150))
    assert (
        len(
            vlcam.explain(
                captioner, photo, prompt="A photo of" if family != "vipllava" else "<image>A photo of", caption="a dog"
            )
        )
        == 3
    )


@pytest.mark.parametrize(
    ("family", "inside"),
    [("qwen3_vl", False), ("internvl", False), ("idefics3", True), ("llava_next", True), ("vipllava", True)],
)
def test_an_answer_begins_with_a_blank_where_the_template_ends_in_a_word(
    family: str, inside: bool, tmp_path: Path
) -> None:
    answerer = opened(family, tmp_path, task="vqa")
    assert answerer.tokens.inside == inside
    assert answerer.tokens.tokenizer.decode(answerer.tokens.encode("dog")) == (" dog" if inside else "dog")


def test_an_answer_ends_as_the_template_ends_it(tmp_path: Path) -> None:
    """Generation may end with several tokens; Qwen's and Gemma's templates write one of them after an answer."""
    saved("internvl", tmp_path)
    model, _ = built("internvl")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path)
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.eos_token_id = [2, end]
    try:
        task = vlcam.load(model, processor=processor, task="vqa")
    finally:
        model.generation_config.eos_token_id = 2
    assert isinstance(task, Answering) and task.end == end != 2


def test_generation_stops_at_the_end_and_before_a_token_that_stands_for_a_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = opened("internvl", tmp_path)
    prepared = task.prepare(Image.new("RGB", (90, 60), (90, 120, 150)), Request())
    looked = task.encode(task.model, prepared.inputs)
    ids = task.generate(task.model, looked)
    place = next(place for place in range(2, len(ids)) if ids[place] not in ids[:place])
    task.model.generation_config.eos_token_id = ids[place]
    assert task.generate(task.model, looked) == ids[:place]
    task.model.generation_config.eos_token_id = 2
    said = [*ids[:2], task.model.config.image_token_id, *ids[2:]]
    prompt = looked.inputs["input_ids"]
    monkeypatch.setattr(task.model, "generate", lambda **_: torch.cat([prompt, torch.tensor([said])], 1))
    assert task.generate(task.model, looked) == ids[:2]


def test_special_tokens_are_no_words(tmp_path: Path) -> None:
    tokens = HubTokenizer(opened("idefics3", tmp_path).tokens.tokenizer)
    with pytest.raises(InputError, match="reserves for itself"):
        tokens.encode("a <image> of a dog")


def test_the_deepest_of_several_feature_layers_is_explained(tmp_path: Path) -> None:
    """In whatever order the configuration lists them; a later layer leads to nothing."""
    assert opened("vipllava", tmp_path).layer == "model.vision_tower.encoder.layers.2"
    assert "vipllava" in BUILDERS
