"""ViLT: a photo's patches and a question's words in one stream, and answers from a list."""

from typing import Any

import torch

from vlcam.contracts import InputError
from vlcam.engine.draws import PrivateDraws
from vlcam.engine.layers import TokenLayout
from vlcam.engine.modules import find_module
from vlcam.engine.recording import pause_recording
from vlcam.image.photo import as_rgb
from vlcam.tasks.hub_families import FAMILIES, find_tower_layer
from vlcam.tasks.hub_inputs import convert_processor_errors
from vlcam.tasks.hub_places import find_shuffled_order, measure_tiles
from vlcam.tasks.hub_questions import find_question_words
from vlcam.tasks.reading import Reading
from vlcam.tasks.vqa import VQA


def wrap_vilt(model: Any, processor: Any, name: str) -> VQA:
    """ViLT, which answers from a list: its patches come in random order, which is made the same in every run."""
    layer = find_tower_layer(model, FAMILIES["vilt"], "vilt.encoder")
    if layer is None:
        raise InputError(
            f"{name} has no layer vilt.encoder.layer.N.layernorm_before; give a transformers version that has it"
        )
    labels = tuple(model.config.id2label[number] for number in sorted(model.config.id2label))
    known: dict[tuple[int, int], Any] = {}

    def preprocess(photo: Any) -> Any:
        rgb = as_rgb(photo)
        with convert_processor_errors(processor.image_processor, rgb):
            inputs = dict(processor.image_processor(images=rgb, return_tensors="pt"))
        if rgb.size not in known:
            known[rgb.size] = measure_tiles(
                lambda other: processor.image_processor(images=other, return_tensors="pt")["pixel_values"], rgb.size
            )
        (tile,) = known[rgb.size]
        return inputs, tile

    def layout(inputs: Any, question: Any) -> TokenLayout:
        with pause_recording(), PrivateDraws(0):
            return TokenLayout(find_shuffled_order(model, {**inputs, **question}))

    def logits(model: Any, inputs: Any, question: Any) -> torch.Tensor:
        with PrivateDraws(0):
            found: torch.Tensor = model(**inputs, **question).logits
        return found

    def reading(question: Any, text: str) -> Reading | None:
        words = find_question_words(processor.tokenizer, question["input_ids"][0].tolist(), text)
        return Reading(find_module(model, layer)[1], (), words) if words else None

    return VQA(
        model,
        answers=labels,
        preprocess=preprocess,
        read=lambda question: dict(processor.tokenizer(question, return_tensors="pt")),
        logits=logits,
        layer=layer,
        layout=layout,
        reading=reading,
        activation="sigmoid",  # trained with binary cross-entropy over its answers
        name=name,
    )
