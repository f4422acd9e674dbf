"""What is particular to the captioners and question answerers of transformers without a chat template."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam
from tests.support.hub_captioners import BUILDERS
from tests.support.hub_saved import saved
from tests.tasks.test_hub_families import QUESTION, photo
from vlcam.contracts import InputError, Request

PROMPTS = {
    "blip": "a photo of", "git": "a photo of", "blip-2": "a photo of", "blip-2 t5": "a photo of", "instructblip": "a photo of",
    "kosmos-2": "<grounding>An image of", "pix2struct": "a short image", "swin-bert": "a photo of",
    "donut": "<s_question>is it red?</s_question><s_answer>",
}  # fmt: skip
QUESTIONS = {
    "git": None, "blip-2": None, "blip-2 t5": None, "instructblip": None, "kosmos-2": None, "swin-bert": "{}", "florence2": "{}",
    "donut": "<s_caption><s_question>{}</s_question><s_answer>",
}  # fmt: skip


def official(family: str, model: Any, folder: Path, prompt: str) -> list[int]:
    """What the model says after a prompt, by the recipe of transformers' documentation."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if family in ("swin-bert", "donut", "git"):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        inputs = dict(AutoImageProcessor.from_pretrained(folder)(photo(), return_tensors="pt"))
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        key = "input_ids" if family == "git" else "decoder_input_ids"
        inputs[key] = torch.tensor([[tokenizer.cls_token_id, *ids] if family == "git" else ids])
    else:
        options = {"add_special_tokens": False} if family == "pix2struct" else {}
        inputs = dict(
            AutoProcessor.from_pretrained(folder)(images=photo(), text=prompt, return_tensors="pt", **options)
        )
    found: list[int] = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0].tolist()
    return found


@pytest.mark.parametrize("family", PROMPTS)
def test_what_follows_a_prompt_is_what_the_model_says_after_it(family: str, tmp_path: Path) -> None:
    saved(family, tmp_path)
    task: Any = vlcam.load(tmp_path, length=6)
    prepared = task.prepare(photo(), Request(prompt=PROMPTS[family]))
    looked = task.encode(task.model, prepared.inputs)
    ids = task.generate(task.model, looked)
    said = official(family, task.model, tmp_path, PROMPTS[family])
    ends = {2, 3} if family in ("git", "swin-bert", "blip") else {1} if family in ("pix2struct", "blip-2 t5") else {2}
    while said and said[-1] in ends:
        said.pop()
    assert ids and said[-len(ids) :] == ids
    logits = task.logits(task.model, looked, ids)
    assert logits.argmax(1).tolist() == ids
    plain = task.prepare(photo(), Request())
    without = task.logits(task.model, task.encode(task.model, plain.inputs), ids)
    assert not torch.allclose(without, logits)
    explanation = vlcam.explain(task, photo(), prompt=PROMPTS[family])
    assert [view.target.token_ids for view in explanation if view.target.kind == "caption"] == [tuple(ids)]
    assert all(bool(one.any()) for one in explanation.maps)
    words = [view.label for view in explanation if view.target.kind == "word"]
    assert not any(one in word for word in words for one in ("<", ">", "[", "]", "photo of"))


def ended_by(model: Any, token: int) -> None:
    """From now on, ``token`` ends what the model says."""
    inner = getattr(model, "language_model", None) or getattr(model, "text_model", None)
    for part in (model, inner):
        settings = getattr(part, "generation_config", None)
        if settings is not None:
            settings.eos_token_id = token
    if model.config.model_type == "blip":
        model.config.text_config.sep_token_id = token


@pytest.mark.parametrize("family", [name for name in BUILDERS if name != "vilt"] + ["blip"])
def test_the_caption_stops_before_the_end(family: str, tmp_path: Path) -> None:
    saved(family, tmp_path)
    task: Any = vlcam.load(tmp_path, length=8)
    prepared = task.prepare(photo(), Request())
    ids = task.generate(task.model, task.encode(task.model, prepared.inputs))
    new = [place for place in range(1, len(ids)) if ids[place] not in ids[:place]]
    last = new[-1] if new else 0
    ended_by(task.model, ids[last])
    assert task.generate(task.model, task.encode(task.model, prepared.inputs)) == ids[:last]


@pytest.mark.parametrize("family", QUESTIONS)
def test_a_writer_can_be_asked(family: str, tmp_path: Path) -> None:
    saved(family, tmp_path)
    task = vlcam.load(tmp_path, task="vqa", length=6)
    names = ["red", "a blue dog"]
    explanation = vlcam.explain(
        task, photo(), question=QUESTION, prompt=QUESTIONS[family], targets=names, contrast=(names[0], names[1])
    )
    assert {view.label for view in explanation if view.target.kind == "answer"} == set(names)
    assert [QUESTION[slice(*span)] for span in explanation.question_words] == ["what", "color", "is", "the", "dog"]
    assert all(len(view.target.reading) == 5 and all(view.target.reading) for view in explanation)
    difference = explanation[names[0]].target.score - explanation[names[1]].target.score
    assert explanation[-1].target.score == pytest.approx(difference, rel=1e-3, abs=1e-5)
    assert len(explanation.notes) == 1 and explanation.notes[0].startswith("Answers are ranked")


def test_a_model_without_a_form_for_questions_wants_one(tmp_path: Path) -> None:
    saved("florence2", tmp_path)
    with pytest.raises(InputError, match=r"give prompt=, a template with \{\} in place of the question"):
        vlcam.explain(vlcam.load(tmp_path, task="vqa"), photo(), question=QUESTION)


def test_florence_is_scored_after_the_token_it_is_forced_to_say(tmp_path: Path) -> None:
    saved("florence2", tmp_path)
    task: Any = vlcam.load(tmp_path, length=6)
    prepared = task.prepare(photo(), Request())
    looked = task.encode(task.model, prepared.inputs)
    ids = task.generate(task.model, looked)
    inputs = prepared.inputs["inputs"]
    assert task.model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, : 2 + len(ids)].tolist() == [2, 1, *ids]
    first = task.model(**inputs, decoder_input_ids=torch.tensor([[2, 1]])).logits[0, -1]
    torch.testing.assert_close(task.logits(task.model, looked, ids)[0], first, rtol=1e-4, atol=1e-5)


def test_donut_pads_the_photo(tmp_path: Path) -> None:
    """180 x 60 onto 96 x 96: a strip of 32 pixels in the middle."""
    saved("donut", tmp_path)
    explanation = vlcam.explain(vlcam.load(tmp_path), photo(180, 60), caption="a dog")
    geometry = explanation.geometry
    assert explanation.maps.shape[1:] == (12, 12) and geometry.input_size == (96, 96)
    assert geometry.scale == pytest.approx((96 / 180, 96 / 180), rel=0.01)
    assert geometry.offset == pytest.approx((0, 32), abs=0.5)


@pytest.mark.parametrize(("size", "rows", "columns"), [((60, 60), 45, 45), ((90, 60), 36, 55), ((60, 240), 90, 22)])
def test_pix2struct_keeps_the_proportions(size: tuple[int, int], rows: int, columns: int, tmp_path: Path) -> None:
    """As many patches as 2048 allow: ``rows = floor(sqrt(2048 h / w))``, ``columns = floor(sqrt(2048 w / h))``."""
    saved("pix2struct", tmp_path)
    explanation = vlcam.explain(vlcam.load(tmp_path), photo(*size), caption="a dog")
    assert explanation.maps.shape[1:] == (rows, columns)
    assert explanation.geometry.input_size == (8 * columns, 8 * rows)
    assert explanation.geometry.scale == pytest.approx((8 * columns / size[0], 8 * rows / size[1]))


def test_kosmos_is_tapped_before_its_layer_norm_that_runs_twice(tmp_path: Path) -> None:
    saved("kosmos-2", tmp_path)
    task: Any = vlcam.load(tmp_path)
    assert task.layer == "vision_model.model.encoder.layers.2"
    explanation = vlcam.explain(task, photo(), caption="a dog", layer="vision_model.model.post_layernorm")
    assert explanation.maps.shape[1:] == (8, 8) and bool(explanation["dog", 0].signed_map.any())


def test_vilt_says_the_same_whatever_order_its_patches_come_in(tmp_path: Path) -> None:
    saved("vilt", tmp_path)
    task: Any = vlcam.load(tmp_path)
    torch.manual_seed(1)
    first = vlcam.explain(task, photo(), question=QUESTION, targets=["red", "blue"])
    drawn = torch.rand(1)
    torch.manual_seed(2)
    second = vlcam.explain(task, photo(), question=QUESTION, targets=["red", "blue"])
    torch.testing.assert_close(second.maps, first.maps)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the seed was put back
    scores = {view.label: view.target for view in first}
    inputs = task.prepare(photo(), Request(question=QUESTION)).inputs
    logits = task.model(**inputs[0], **inputs[1]).logits[0].detach()  # in another order
    for number, label in enumerate(("red", "blue")):
        assert scores[label].score == pytest.approx(float(logits[number]), rel=1e-4, abs=1e-5)
        assert scores[label].probability == pytest.approx(float(logits[number].sigmoid()), rel=1e-4)
    with pytest.raises(vlcam.TargetError, match="purple"):
        vlcam.explain(task, photo(), question=QUESTION, targets="purple")


def test_a_change_on_the_right_changes_the_right(tmp_path: Path) -> None:
    """The patches of a photo whose right half changes: only there does the first layer of ViLT see something else."""
    saved("vilt", tmp_path)
    task: Any = vlcam.load(tmp_path)
    layer = "vilt.embeddings.patch_embeddings.projection"
    pixels = np.array(photo())
    changed = pixels.copy()
    changed[:, 45:] = 255 - changed[:, 45:]
    embedded = []
    for picture in (pixels, changed):
        kept: list[torch.Tensor] = []
        hook = task.model.vilt.embeddings.register_forward_hook(
            lambda _m, _i, output, kept=kept: kept.append(output[0])
        )
        vlcam.explain(task, Image.fromarray(picture), question=QUESTION, targets="red", layer=layer)
        hook.remove()
        embedded.append(kept[0][0])
    prepared = task.prepare(photo(), Request(question=QUESTION))
    cells = task.layout(*prepared.inputs).cells[0]
    moved = (embedded[0] - embedded[1]).abs().sum(-1)[cells] > 1e-4
    assert moved[:, 7:].all() and not moved[:, :5].any()
