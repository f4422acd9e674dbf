"""ViLT: a photo's patches and a question's words in one stream, and answers from a list."""

from dataclasses import dataclass, field
from typing import Any, final

import torch

from vlcam.contracts import InputError, show_record
from vlcam.engine.draws import PrivateDraws
from vlcam.engine.layers import TokenLayout
from vlcam.engine.modules import find_module
from vlcam.engine.recording import pause_recording
from vlcam.image.photo import as_rgb
from vlcam.tasks.hub_families import FAMILIES, find_tower_layer
from vlcam.tasks.hub_inputs import convert_processor_errors
from vlcam.tasks.hub_photos import describe_processor
from vlcam.tasks.hub_places import find_shuffled_order, measure_tiles
from vlcam.tasks.hub_questions import find_question_words
from vlcam.tasks.reading import Reading
from vlcam.tasks.vqa import VQA


def wrap_vilt(model: Any, processor: Any, name: str) -> VQA:
    """ViLT, which answers from a list: its patches come in a random order that is kept the same in every run."""
    layer = find_vilt_layer(model, name)
    labels = tuple(model.config.id2label[number] for number in sorted(model.config.id2label))

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
        preprocess=ViltPreprocess(processor.image_processor),
        read=lambda question: dict(processor.tokenizer(question, return_tensors="pt")),
        logits=logits,
        layer=layer,
        layout=lambda inputs, question: lay_out_vilt(model, inputs, question),
        reading=reading,
        activation="sigmoid",  # trained with binary cross-entropy over its answers
        name=name,
    )


def find_vilt_layer(model: Any, name: str) -> str:
    """The layer of ViLT to explain. Raises InputError if this version of it has none."""
    layer = find_tower_layer(model, FAMILIES["vilt"], "vilt.encoder")
    if layer is None:
        raise InputError(
            f"{name} has no layer vilt.encoder.layer.N.layernorm_before; install a transformers version that has it"
        )
    return layer


def lay_out_vilt(model: Any, inputs: Any, text: Any) -> TokenLayout:
    """Where the patches of a photo are that ViLT reads after a text, in the order of a run with the same random numbers."""
    with pause_recording(), PrivateDraws(0):
        return TokenLayout(find_shuffled_order(model, {**inputs, **text}))


@final
@dataclass(frozen=True)
class ViltPreprocess:
    """A photo as ViLT takes it, at its own proportions, with a mask; its position is measured once for each size of photo."""

    processor: Any
    known: dict[tuple[int, int], Any] = field(default_factory=dict, compare=False, repr=False)

    __repr__ = show_record

    def __call__(self, photo: Any) -> tuple[dict[str, Any], Any]:
        """``pixel_values`` and ``pixel_mask``, and where they lie on the photo."""
        rgb = as_rgb(photo)
        with convert_processor_errors(self.processor, rgb):
            inputs = dict(self.processor(images=rgb, return_tensors="pt"))
        if rgb.size not in self.known:
            self.known[rgb.size] = measure_tiles(
                lambda other: self.processor(images=other, return_tensors="pt")["pixel_values"], rgb.size
            )
        (tile,) = self.known[rgb.size]
        return inputs, tile

    def describe(self) -> dict[str, Any]:
        """What the processor's settings say, for :class:`vlcam.image.preprocess.PreprocessSettings`."""
        return describe_processor(self.processor)
