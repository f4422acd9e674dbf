"""How transformers' generative models write text and score given text, with one pass through the vision tower for both."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import show_record
from vlcam.engine.modules import find_module
from vlcam.engine.recording import run_once
from vlcam.engine.tower import get_rows

_LONGEST = 40


@final
@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """One photo on its way through a model: the processor's inputs, and the vision tower's output, once it has run."""

    inputs: dict[str, Any]
    kept: list[tuple[Tensor, Any]] = field(default_factory=list)

    __repr__ = show_record


@final
@dataclass(frozen=True)
class HubSpeech:
    """One generative model of transformers: ``look`` at the inputs, ``generate`` token ids, give the ``logits`` of given ones.

    ``tower`` is the dotted name of its vision tower, ``length`` the most tokens it writes, and ``beams`` how many beams it searches with.
    """

    tower: str | None
    length: int = _LONGEST
    beams: int = 1

    __repr__ = show_record

    def look(self, model: nn.Module, inputs: dict[str, Any]) -> EncodedPhoto:
        """Nothing runs yet: the tower runs once, when its output is first needed."""
        return EncodedPhoto(inputs)

    def generate(self, model: Any, looked: EncodedPhoto) -> list[int]:
        """The ids that the model's own ``generate`` writes, greedily or with beams, without prompt, start and end tokens."""
        inputs, before = looked.inputs, _find_prompt_ids(model, looked.inputs)
        if model.config.model_type == "blip" and "input_ids" in inputs:
            # Its `generate` overwrites the first of them in place.
            inputs = {**inputs, "input_ids": inputs["input_ids"].clone()}
        with self._run_tower_once(model, looked):
            found = model.generate(**inputs, max_new_tokens=self.length, num_beams=self.beams, do_sample=False)[0]
        ids = [int(token) for token in found]
        if ids[: len(before)] == before:
            ids = ids[len(before) :]
        # What stands for a photo is not a word either.
        ends = self.find_end_ids(model) | _to_ids(getattr(model.config, "image_token_id", None))
        return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]

    def compute_logits(
        self, model: Any, looked: EncodedPhoto, ids: Sequence[int]
    ) -> Float[Tensor, "tokens vocabulary"]:
        """Teacher forcing: row ``t`` scores token ``t`` given the photo, the prompt and ``ids[:t]``."""
        return self._score(model, looked, ids, 1)[0]

    def compute_batch_logits(
        self, model: Any, looked: EncodedPhoto, ids: Sequence[int]
    ) -> Float[Tensor, "batch tokens vocabulary"]:
        """The same for several photos, or for several outputs of a layer inside :func:`vlcam.engine.tower.replay`, and the same tokens.

        Whatever belongs to the text is there once and is repeated. Models that can't take that raise whatever they like.
        """
        pixels = looked.inputs.get("pixel_values")
        photos = len(pixels) if isinstance(pixels, Tensor) and pixels.ndim == 4 else 1
        return self._score(model, looked, ids, max(get_rows(), photos))

    def _score(
        self, model: Any, looked: EncodedPhoto, ids: Sequence[int], rows: int
    ) -> Float[Tensor, "batch tokens vocabulary"]:
        with self._run_tower_once(model, looked):
            if type(model).__name__ == "BlipForQuestionAnswering":
                return _score_blip_answer(model, _repeat(looked.inputs, rows), ids, rows)
            inputs = dict(looked.inputs)
            if has_decoder(model):
                inputs["decoder_input_ids"] = _make_row(model, [*_find_prompt_ids(model, inputs), *ids[:-1]])
            else:
                inputs = _extend_inputs(model, inputs, ids[:-1])
            if "logits_to_keep" in inspect.signature(model.forward).parameters:
                inputs["logits_to_keep"] = len(ids)
            inputs = _repeat(inputs, rows)
            logits: Tensor = (
                model(**inputs, use_cache=False).logits if _has_use_cache(model) else model(**inputs).logits
            )
        return logits[:, -len(ids) :]

    def find_end_ids(self, model: Any) -> set[int]:
        """The ids that end the model's text."""
        if model.config.model_type == "blip":
            return {int(model.config.text_config.sep_token_id)}
        return _to_ids(_find_setting(model, "eos_token_id")) or _to_ids(_find_setting(model, "pad_token_id"))

    def _run_tower_once(self, model: nn.Module, looked: EncodedPhoto) -> AbstractContextManager[None]:
        return nullcontext() if self.tower is None else run_once(find_module(model, self.tower)[1], looked.kept)


def has_decoder(model: Any) -> bool:
    """Whether text goes to a decoder of its own (T5, BART), not on from the prompt."""
    inner = getattr(model.config, "text_config", model.config)
    return bool(model.config.is_encoder_decoder or inner.is_encoder_decoder)


def _has_use_cache(model: Any) -> bool:
    return "use_cache" in inspect.signature(model.forward).parameters


def _repeat(inputs: dict[str, Any], rows: int) -> dict[str, Any]:
    """Inputs of one row, each so many times; what is there in another number stays as it is."""
    if rows == 1:
        return inputs
    return {
        key: one.expand(rows, *one.shape[1:]) if isinstance(one, Tensor) and one.ndim and len(one) == 1 else one
        for key, one in inputs.items()
    }


def _make_row(model: nn.Module, ids: Sequence[int]) -> Tensor:
    return torch.tensor([list(ids)], dtype=torch.long, device=next(model.parameters()).device)


def _find_generation_config(model: Any) -> Any:
    """How this model generates: by the settings of an inner model that generates for it, or its own."""
    inner = getattr(model, "language_model", None) or getattr(model, "text_model", None)
    return getattr(inner, "generation_config", None) or getattr(model, "generation_config", None)


def _find_setting(model: Any, name: str) -> Any:
    """A generation setting, from wherever this model keeps it."""
    text = getattr(model.config, "text_config", None) or getattr(model.config, "decoder", None)
    for holder in (_find_generation_config(model), model.config, text):
        found = getattr(holder, name, None)
        if found is not None:
            return found
    return None


def _to_ids(found: Any) -> set[int]:
    if found is None:
        return set()
    return {int(one) for one in found} if isinstance(found, (list, tuple)) else {int(found)}


def _find_prompt_ids(model: Any, inputs: dict[str, Any]) -> list[int]:
    """What the model reads before its first word: the prompt, or its start token, and a first one that it is forced to say."""
    if type(model).__name__ == "BlipForQuestionAnswering":
        return [int(model.decoder_start_token_id)]
    if model.config.model_type == "blip":
        return _make_blip_prompt(model, inputs)
    given = inputs.get("decoder_input_ids" if has_decoder(model) else "input_ids")
    if given is not None:
        return [int(token) for token in given[0]]
    if not has_decoder(model):
        return [int(_find_setting(model, "bos_token_id"))]
    forced = getattr(_find_generation_config(model), "forced_bos_token_id", None)
    return find_decoder_start(model) if forced is None else [*find_decoder_start(model), int(forced)]


def find_decoder_start(model: Any) -> list[int]:
    """The token that a model with a decoder of its own begins with."""
    start = _find_setting(model, "decoder_start_token_id")
    return [int(_find_setting(model, "bos_token_id") if start is None else start)]


def _make_blip_prompt(model: Any, inputs: dict[str, Any]) -> list[int]:
    """BLIP's captioner starts with a token of its own, and its tokenizer's end token is not part of the prompt."""
    begin = [int(model.config.text_config.bos_token_id)]
    return begin if "input_ids" not in inputs else [*begin, *(int(token) for token in inputs["input_ids"][0, 1:-1])]


def _score_blip_answer(model: Any, inputs: dict[str, Any], ids: Sequence[int], rows: int) -> Tensor:
    """BLIP's question answerer has no forward that gives the logits of an answer: its parts, as ``generate`` calls them."""
    seen = model.vision_model(pixel_values=inputs["pixel_values"])[0]
    read = model.text_encoder(
        input_ids=inputs["input_ids"],
        attention_mask=inputs.get("attention_mask"),
        encoder_hidden_states=seen,
        encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long, device=seen.device),
    )[0]
    answer = _make_row(model, [model.decoder_start_token_id, *ids[:-1]]).expand(rows, -1)
    output = model.text_decoder(
        input_ids=answer,
        encoder_hidden_states=read,
        encoder_attention_mask=torch.ones(read.shape[:-1], dtype=torch.long, device=read.device),
    )
    logits: Tensor = output.logits
    return logits


def _extend_inputs(model: Any, inputs: dict[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    """The inputs with ``ids`` after the prompt; whatever goes along with the prompt's tokens grows as well."""
    kind = model.config.model_type
    if kind == "blip":
        found = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
        return {**found, "input_ids": _make_row(model, [*_make_blip_prompt(model, inputs), *ids])}
    if "input_ids" not in inputs:
        return {**inputs, "input_ids": _make_row(model, [*_find_prompt_ids(model, inputs), *ids])}
    prompt = inputs["input_ids"]
    extended = dict(inputs)
    for key, value in inputs.items():
        if not isinstance(value, Tensor) or value.shape != prompt.shape:
            continue
        # PaliGemma reads its prompt both ways (0) and its answer one way (1).
        number = 1 if key == "attention_mask" or (key == "token_type_ids" and kind == "paligemma") else 0
        more = _make_row(model, ids) if key == "input_ids" else torch.full_like(_make_row(model, ids), number)
        extended[key] = torch.cat([value, more.to(value.dtype)], 1)
    return extended
