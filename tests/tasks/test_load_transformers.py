"""Models of transformers opened in other ways: in memory, unknown families, other tasks, and everything that can be wrong."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import vlcam
from tests.support.hub_models import VISION, alive, blip, llava, vit_gpt2
from tests.support.hub_saved import BUILDERS, saved
from vlcam.cli import main
from vlcam.tasks import hub_families
from vlcam.tasks.answering import Answering
from vlcam.tasks.captioning import Captioning


def photo(width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def in_memory(build: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    model, processor = build()
    return alive(model), processor


def test_a_model_in_memory_says_what_its_folder_says(tmp_path: Path) -> None:
    model, processor = in_memory(blip)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    here, there = vlcam.load(model, processor=processor), vlcam.load(tmp_path)
    one, other = (vlcam.explain(task, photo(), caption="a dog") for task in (here, there))
    torch.testing.assert_close(one.maps, other.maps)
    assert here.name == "BlipForConditionalGeneration" and there.name == tmp_path.name


def test_a_chat_model_captions_or_answers() -> None:
    model, processor = in_memory(llava)
    assert isinstance(vlcam.load(model, processor=processor), Captioning)
    task = vlcam.load(model, processor=processor, task="vqa")
    assert isinstance(task, Answering)
    explanation = vlcam.explain(task, photo(), question="what color is the dog?", targets=["red", "blue"])
    assert {view.label for view in explanation} == {"red", "blue"} and len(explanation.question_words) == 5
    with pytest.raises(vlcam.InputError, match="writes text and has no classes"):
        vlcam.load(model, processor=processor, task="classification")


def test_an_unknown_family_is_guessed_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("blip", tmp_path)
    known = vlcam.load(tmp_path)
    monkeypatch.delitem(hub_families.FAMILIES, "blip")
    task = vlcam.load(tmp_path)
    assert isinstance(task, Captioning) and isinstance(task.layer, str)
    assert task.layer.startswith("vision_model.encoder") and known.layer == "vision_model.encoder.layers.2"
    explanation = vlcam.explain(task, photo(), caption="a dog")
    assert explanation.notes == task.notes and len(explanation.notes) == 1
    assert explanation.notes[0].startswith(
        f"The layer {task.layer} was guessed by tracing, as vlcam has no entry for blip models; "
    )
    assert explanation.maps.any() and "guessed by tracing" in explanation.html()
    assert vlcam.explain(known, photo(), caption="a dog").notes == ()


def test_prompts_and_lengths() -> None:
    model, processor = in_memory(blip)
    short = vlcam.load(model, processor=processor, length=3)
    assert len(vlcam.explain(short, photo())[-1].target.token_ids) <= 3
    task = vlcam.load(model, processor=processor)
    plain = vlcam.explain(task, photo(), caption="dog")["dog", 0].target.score
    prompted = vlcam.explain(task, photo(), caption="dog", prompt="a cat and a")
    assert [view.label for view in prompted] == ["dog", "dog"]  # the prompt's words are not targets
    assert prompted[0].target.score != pytest.approx(plain, rel=1e-3)
    tokenizer = processor.tokenizer
    ids = tokenizer("a cat and a dog", add_special_tokens=False)["input_ids"]
    last = len(tokenizer("dog", add_special_tokens=False)["input_ids"])
    pixels = processor(images=photo(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values=pixels, input_ids=torch.tensor([[5, *ids[:-1]]])).logits[0].log_softmax(1)
    expected = float(logits[range(len(ids) - last, len(ids)), ids[-last:]].sum())
    assert prompted[0].target.score == pytest.approx(expected, rel=1e-4)


def test_half_precision() -> None:
    model, processor = in_memory(blip)
    full = vlcam.explain(vlcam.load(model, processor=processor), photo(), caption="a dog")
    half = vlcam.explain(vlcam.load(model, processor=processor, dtype=torch.bfloat16), photo(), caption="a dog")
    assert half.maps.isfinite().all() and half.maps.any()
    assert half[0].target.score == pytest.approx(full[0].target.score, rel=0.05)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "BlipForConditionalGeneration was given without its processor"),
        ({"processor": 3}, "the processor of BlipForConditionalGeneration is a int without a tokenizer"),
        ({"processor": "own", "labels": ["a"]}, "writes text, so it takes no labels"),
        ({"processor": "own", "arch": "torchvision/resnet18"}, "is a model already, so it takes no arch="),
        ({"processor": "own", "revision": "main"}, "is a model already, so it takes no revision="),
    ],
)
def test_what_does_not_go_with_a_model_object(options: dict[str, Any], text: str) -> None:
    model, processor = in_memory(blip)
    given = {name: processor if value == "own" else value for name, value in options.items()}
    with pytest.raises(vlcam.InputError, match=text):
        vlcam.load(model, **given)


def test_what_does_not_go_with_a_name(tmp_path: Path) -> None:
    saved("blip", tmp_path)
    for options, text in [
        ({"processor": 1}, "processor= is for model objects"),
        ({"task": "classification"}, "writes text and has no classes"),
        ({"weights": "V1"}, "neither torchvision/NAME nor timm/NAME"),
    ]:
        with pytest.raises(vlcam.InputError, match=text):
            vlcam.load(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(vlcam.InputError, match="has no revisions, so it takes no revision="):
        vlcam.load("torchvision/resnet18", revision="main")
    with pytest.raises(vlcam.InputError, match="scenes/captioner is a model for captioning, not for vqa"):
        vlcam.load("scenes/captioner", task="vqa")
    with pytest.raises(
        vlcam.InputError, match="a Linear was given, whose classes and preprocessing vlcam doesn't know"
    ):
        vlcam.load(torch.nn.Linear(2, 2))


def test_models_that_neither_classify_nor_write(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=50
    )
    with pytest.raises(vlcam.InputError, match="is a BertModel, which neither classifies nor writes"):
        vlcam.load(transformers.BertModel(config), processor=blip()[1])
    transformers.BertForQuestionAnswering(config).save_pretrained(tmp_path)
    with pytest.raises(vlcam.InputError, match="is a BertForQuestionAnswering, which takes no photos"):
        vlcam.load(tmp_path)


def test_a_captioner_without_processor_files_around_its_parts(tmp_path: Path) -> None:
    """nlpconnect/vit-gpt2 and others hold an image processor and a tokenizer, and nothing that binds them."""
    model, (photos, tokenizer) = in_memory(vit_gpt2)
    for part in (model, photos, tokenizer):
        part.save_pretrained(tmp_path)
    assert not (tmp_path / "processor_config.json").exists()
    explanation = vlcam.explain(vlcam.load(tmp_path), photo(), caption="a dog and a cat")
    assert [view.label for view in explanation][:-1] == ["a", "dog", "and", "a", "cat"]


def test_text_that_the_tokenizer_lacks() -> None:
    model, processor = in_memory(blip)
    with pytest.raises(vlcam.InputError, match="has parts that the model's tokenizer doesn't know"):
        vlcam.explain(vlcam.load(model, processor=processor), photo(), caption="a 犬")


def test_a_dead_layer_is_an_error_that_names_one_that_works(tmp_path: Path) -> None:
    """ViT's classes are read off its class token, LLaVA's projector reads an earlier layer than the last."""
    config = transformers.ViTConfig(**VISION, id2label={0: "cat", 1: "dog"})
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    with pytest.raises(
        vlcam.LayerError,
        match=r"'vit\.layers\.2' the whole gradient lies on tokens .*'vit\.layers\.2\.layernorm_before'.* works",
    ):
        vlcam.explain(vlcam.load(tmp_path), photo(), layer="vit.layers.2")
    model, processor = in_memory(llava)
    with pytest.raises(
        vlcam.LayerError, match=r"'model\.vision_tower\.encoder\.layers\.1', which is explained by default, works"
    ):
        vlcam.explain(
            vlcam.load(model, processor=processor),
            photo(),
            caption="a dog",
            layer="model.vision_tower.encoder.layers.2",
        )


@pytest.mark.extended
def test_a_revision_of_a_model_in_the_cache(tmp_path: Path) -> None:
    """Two revisions of one model as the hub's client keeps them; nothing is asked of the network."""
    home = tmp_path / "hub" / "models--someone--tiny"
    for number, name in enumerate(("main", "v1")):
        commit = str(number) * 40
        (home / "refs").mkdir(parents=True, exist_ok=True)
        (home / "refs" / name).write_text(commit, encoding="utf-8")
        model, processor = blip()
        alive(model, seed=number)
        with torch.no_grad():
            model.text_decoder.cls.predictions.bias.fill_(number)
        for part in (model, processor):
            part.save_pretrained(home / "snapshots" / commit)
    program = (
        "import sys, vlcam\n"
        "for revision in (None, 'v1'):\n"
        "    task = vlcam.load('someone/tiny', revision=revision)\n"
        "    print(task.name, float(task.model.text_decoder.cls.predictions.bias[0]))\n"
        "try:\n"
        "    vlcam.load('someone/tiny', revision='v2')\n"
        "except vlcam.InputError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["someone/tiny 0.0", "someone/tiny 1.0"], done.stderr[-2000:]
    assert "someone/tiny" in lines[2] and str(tmp_path) in lines[2] and "HF_HUB_OFFLINE=1" in lines[2]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved("llava", tmp_path / "model")
    photo().save(tmp_path / "photo.png")
    image, model = str(tmp_path / "photo.png"), str(tmp_path / "model")
    code, out, err = run(
        capsys, "caption", image, "--model", model, "--caption", "a dog and a cat", "--prompt", "what is it?",
        "--gain", "blur", "--dtype", "float32", "--json",
    )  # fmt: skip
    assert (code, err) == (0, "")
    (explained,) = json.loads(out)["results"]
    assert [one["label"] for one in explained["targets"]][:-1] == ["a", "dog", "and", "a", "cat"]
    assert all(isinstance(one["gain"], float) for one in explained["targets"])
    code, out, err = run(
        capsys, "vqa", image, "--model", model, "--question", "what color is the dog?", "--answer", "red", "--answer", "blue",
        "--contrast", "red:blue", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 0 and "Answers are ranked by" in out and (tmp_path / "out" / "report.html").exists()
    code, out, err = run(
        capsys, "vqa", image, "--model", model, "--question", "what is it?", "--length", "3", "--measure", "logit"
    )
    assert code == 0 and err == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["caption", "scene:1", "--revision", "v1"], "--revision v1 requires --model and a hub id"),
        (["caption", "scene:1", "--dtype", "int8"], "--dtype 'int8' was given; expected float32, float16, bfloat16"),
        (["caption", "scene:1", "--prompt", "a photo of"], "scenes-captioner takes no prompt"),
        (["vqa", "scene:1", "--question", "is there a star", "--prompt", "x"], "scenes-vqa takes no prompt"),
        (
            ["classify", "scene:1", "--model", "scenes/captioner"],
            "scenes/captioner is a model for captioning, not for classification",
        ),
        (
            ["caption", "scene:1", "--model", "torchvision/resnet18"],
            "torchvision/resnet18 is a model for classification, not for captioning",
        ),
        (["caption", "scene:1", "--gain", "noise"], "--gain 'noise' was given; expected blank or blur"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and re.search(text, err) and err.count("\n") == 1


def test_checkpoints_of_torch_are_read_as_plain_data(tmp_path: Path) -> None:
    model, processor = in_memory(blip)
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(vlcam.InputError, match="found nothing it can open in the folder"):
        vlcam.load(tmp_path)
    torch.save({name: tensor.clone() for name, tensor in model.state_dict().items()}, tmp_path / "pytorch_model.bin")
    loaded: Any = vlcam.load(tmp_path).model
    assert torch.equal(loaded.vision_model.embeddings.class_embedding, model.vision_model.embeddings.class_embedding)
    torch.save({"weight": Path("code")}, tmp_path / "pytorch_model.bin")  # an object of a class, not a tensor
    with pytest.raises(vlcam.InputError, match="holds more than tensors, so loading it could run code"):
        vlcam.load(tmp_path)


def test_a_caption_goes_on_from_a_prompt(tmp_path: Path) -> None:
    """A tokenizer that writes blanks has another first token for a caption that follows other words."""
    saved("vit-gpt2", tmp_path)
    task = vlcam.load(tmp_path)
    alone, after = (vlcam.explain(task, photo(), caption="dog", prompt=prompt) for prompt in (None, "a photo of"))
    assert isinstance(task, Captioning)
    assert len(alone[0].target.token_ids) == 3 and len(after[0].target.token_ids) == 1
    assert [view.label for view in after] == ["dog", "dog"]
    contrast = vlcam.explain(task, photo(), caption="dog", prompt="a photo of", contrast=("dog", "cat"))[-1].target
    assert len(contrast.token_ids) == 2  # both with a blank


def test_what_a_processor_cannot_take_is_one_sentence() -> None:
    model, processor = in_memory(BUILDERS["vilt"])
    task = vlcam.load(model, processor=processor)
    with pytest.raises(
        vlcam.InputError,
        match=r"can't make the model's input from this photo of 3 x 300 pixels and its text: Size must",
    ):
        vlcam.explain(task, photo(3, 300), question="what is it")
    with pytest.raises(vlcam.InputError, match="the photo is too small"):
        vlcam.explain(task, photo(1, 1), question="what is it")
