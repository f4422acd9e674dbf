"""Photos and texts through the processors of transformers: the inputs of a generative model, and where they lie on the photo."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from PIL.Image import Image
from torch import nn

from vlcam.contracts import Geometry, InputError, Layout, VlcamError, show_record
from vlcam.image.photo import as_rgb
from vlcam.tasks.hub_families import DESCRIBE, HubFamily
from vlcam.tasks.hub_photos import describe_processor
from vlcam.tasks.hub_places import (
    Order,
    compute_canvas,
    lay_out_by_shape,
    make_tiles_layout,
    measure_tiles,
    place_tokens,
)
from vlcam.tasks.hub_speech import find_decoder_start, has_decoder

_SPACED = ("blip", "blip-2", "instructblip", "git", "kosmos-2", "florence2", "pix2struct", "vilt")
"""Families whose processors put the photo's tokens into the text by themselves, or that need none."""

_READS = ("blip-2", "instructblip", "kosmos-2", "florence2")
"""Families that always need a text, if only with placeholders for the photo."""


@final
@dataclass(frozen=True)
class HubTokenizer:
    """A tokenizer of transformers, for what a model says: ids without special tokens.

    ``inside`` says that the words continue a prompt, so that the first one starts with a blank if the tokenizer writes blanks.
    """

    tokenizer: Any
    inside: bool = False

    __repr__ = show_record

    def encode(self, text: str) -> list[int]:
        """The ids of a text; raises InputError for one with characters or words that the tokenizer doesn't know."""
        plain = self._tokenize(text)
        spaced = self._tokenize(" " + text) if self.inside else plain
        ids = spaced if len(spaced) <= len(plain) else plain
        if not ids or set(ids) & set(self.tokenizer.all_special_ids):  # the unknown token is one of them
            raise InputError(
                f"{text!r} has parts that the model's tokenizer doesn't know or reserves for itself; use other words"
            )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.lstrip()

    def _tokenize(self, text: str) -> list[int]:
        return [int(one) for one in self.tokenizer(text, add_special_tokens=False)["input_ids"]]


@contextmanager
def convert_processor_errors(processor: Any, photo: Image) -> Iterator[None]:
    """Whatever a processor raises about a photo or a text becomes one InputError."""
    try:
        yield
    except VlcamError:
        raise
    except Exception as error:  # each processor has its own kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{type(processor).__name__} can't make the model's input from this photo of {photo.width} x {photo.height} pixels and its "
            f"text: {reason}"
        ) from error


@final
@dataclass(frozen=True, eq=False)
class HubInputs:
    """What a generative model of transformers is given: a photo, and a text through its chat template or in its family's own form."""

    model: nn.Module
    processor: Any
    tokenizer: Any
    family: HubFamily | None
    known: dict[tuple[int, int], list[Geometry | None]] = field(default_factory=dict)

    __repr__ = show_record

    def prepare_caption(self, photo: Image, prompt: str | None = None) -> tuple[dict[str, Any], Geometry]:
        """The inputs for a caption; ``prompt`` replaces the family's own."""
        own = DESCRIBE if self.chats or self.family is None else self.family.caption
        if own is None:
            raise InputError(f"{type(self.model).__name__} writes no captions; ask it a question with vlcam vqa")
        return self._make_inputs(photo, prompt if prompt is not None else own)

    def prepare_question(
        self, photo: Image, question: str, prompt: str | None = None
    ) -> tuple[dict[str, Any], Geometry]:
        """The inputs for a question; ``prompt`` is a template with ``{}`` in place of the question."""
        own = "{}" if self.chats or self.family is None else self.family.question
        if own is None and prompt is None:
            raise InputError(
                f"{type(self.model).__name__} has no prompt for questions; give prompt=, a template with {{}} in place of the question"
            )
        form = prompt if prompt is not None else own or "{}"
        if "{}" not in form:
            raise InputError(f"prompt={prompt!r} has no place for the question; write {{}} where it goes")
        return self._make_inputs(photo, form.replace("{}", question))

    def describe(self) -> dict[str, Any]:
        """What the processor's settings say, for :class:`vlcam.image.preprocess.PreprocessSettings`."""
        return describe_processor(self.processor)

    @property
    def chats(self) -> bool:
        """Whether the processor has a chat template."""
        return getattr(self.processor, "chat_template", None) is not None

    @property
    def goes_on(self) -> bool:
        """Whether a caption continues a user's prompt on the same line; else it starts afresh after it."""
        kind = self.family.model_type if self.family is not None else ""
        if self.chats or kind == "paligemma":
            return False
        return kind in ("vision-encoder-decoder", "pix2struct") or not has_decoder(self.model)

    def is_continuation(self, kind: str) -> bool:
        """Whether a caption or an answer continues a prompt on the same line."""
        if self.chats:
            asked = self._render_chat(
                {"role": "user", "content": [{"type": "text", "text": "a"}]}, add_generation_prompt=True
            )
            return not asked.endswith(
                (" ", "\n", *self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab())
            )
        if self.family is None:
            return False
        form = self.family.caption if kind == "captioning" else self.family.question
        return (form or "").endswith((" of", "Answer:", "ASSISTANT:"))

    def choose_end(self, ends: Collection[int]) -> int | None:
        """Which of the ids that end what the model says ends an answer: the one that its template writes there, or the first."""
        if len(ends) > 1 and self.chats:
            said = [{"role": role, "content": [{"type": "text", "text": "a"}]} for role in ("user", "assistant")]
            ids = self.tokenizer(self._render_chat(*said), add_special_tokens=False)["input_ids"]
            written = [int(one) for one in ids if int(one) in ends]
            if written:
                return written[-1]
        return min(ends, default=None)

    def get_layout(self, inputs: dict[str, Any]) -> Any:
        """How the tower's tokens lie on the input, for :class:`vlcam.contracts.Spoken`."""
        return inputs["layout"]

    def replace_prompt(self, inputs: dict[str, Any], prompt: str) -> dict[str, Any]:
        """The inputs of the same photo with another prompt."""
        return self.prepare_caption(inputs["photo"], prompt)[0]

    def _render_chat(self, *messages: dict[str, Any], add_generation_prompt: bool = False) -> str:
        """What the chat template makes of messages."""
        return str(
            self.processor.apply_chat_template(
                list(messages), add_generation_prompt=add_generation_prompt, tokenize=False
            )
        )

    def _make_inputs(self, photo: Image, text: str) -> tuple[dict[str, Any], Geometry]:
        rgb = as_rgb(photo)
        with convert_processor_errors(self.processor, rgb):
            inputs = self._process(rgb, text)
        order: Order = self.family.order if self.family is not None else "rows"
        geometry, layout = self._place_input(order, inputs, rgb, text)
        return {"inputs": inputs, "layout": layout, "photo": rgb}, geometry

    def _process(self, photo: Image, text: str) -> dict[str, Any]:
        kind = self.family.model_type if self.family is not None else ""
        if self.chats:
            content = [{"type": "image", "image": photo}, {"type": "text", "text": text}]
            made = self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
            )  # fmt: skip
            return dict(made)
        if kind == "pix2struct" and getattr(self.processor.image_processor, "is_vqa", False):
            raise InputError(
                "this Pix2Struct model draws the question into the picture, so its maps can't be put back onto the photo; use another model"
            )
        if kind in ("vision-encoder-decoder", "pix2struct", "git"):
            found = dict(self.processor(images=photo, return_tensors="pt"))
            if text:
                found.update(self._encode_prompt(kind, text))
            return found
        if kind == "paligemma":
            text = f"{self.processor.image_token}{text}"  # without it the processor guesses, and warns about it
        elif kind not in _SPACED:
            text = self._add_photo_token(text)
        none = "" if kind in _READS else None
        found = dict(self.processor(images=photo, text=text or none, return_tensors="pt"))
        found.pop("labels", None)  # PaliGemma's processor is ready to train
        return found

    def _encode_prompt(self, kind: str, text: str) -> dict[str, Any]:
        """A prompt that the model's own words continue, after the token that begins them; Donut's prompts bring their own."""
        ids = [int(one) for one in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
        if kind == "git":
            row = torch.tensor([[int(self.tokenizer.cls_token_id), *ids]], device="cpu")
            return {"input_ids": row, "attention_mask": torch.ones_like(row)}
        config: Any = self.model.config
        begin = (
            []
            if kind == "vision-encoder-decoder" and "donut" in config.encoder.model_type
            else find_decoder_start(self.model)
        )
        return {"decoder_input_ids": torch.tensor([ids if ids[:1] == begin else [*begin, *ids]], device="cpu")}

    def _add_photo_token(self, text: str) -> str:
        """The text with the token that stands for the photo, unless it has it already."""
        token = getattr(self.processor, "boi_token", None) or getattr(self.processor, "image_token", None)
        if token is None or token in text or "<image>" in text:
            return text
        around = (
            ("<|vision_start|>", "<|vision_end|>")
            if "vision_start" in str(self.tokenizer.get_added_vocab())
            else ("", "")
        )
        return f"{around[0]}{token}{around[1]}\n{text}"

    def _place_input(
        self, order: Order, inputs: dict[str, Any], photo: Image, text: str
    ) -> tuple[Geometry, Layout | Callable[..., Layout]]:
        if order in ("merged", "windows", "patches"):
            return place_tokens(order, self.model, inputs, photo.size)
        pixels = inputs.get("pixel_values")
        if pixels is None or pixels.ndim < 4:
            raise InputError(
                f"{type(self.processor).__name__} turns a photo into {', '.join(inputs)}, which can't be placed on it; expected "
                "pixel_values"
            )
        if photo.size not in self.known:
            self.known[photo.size] = measure_tiles(lambda other: self._process(other, text)["pixel_values"], photo.size)
        tiles = self.known[photo.size]
        if len(tiles) > 1 or order == "tiles":
            return compute_canvas(tiles), make_tiles_layout(tiles)
        (tile,) = tiles
        if tile is None:
            raise InputError(
                "the image processor shows the model nothing of this photo; give a photo of other proportions"
            )
        return tile, partial(lay_out_by_shape, tile.input_size)
