"""The bundled models as tasks: ``classifier()``, ``captioner()`` and ``vqa()``. They work without any download."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import InputError
from vlcam.image.photo import as_rgb
from vlcam.image.preprocess import Preprocess
from vlcam.neurons import NeuronNames
from vlcam.scenes.likeness import looks_like_scene
from vlcam.scenes.models.data import CAPTION_VOCABULARY, QUESTION_LENGTH, QUESTION_VOCABULARY
from vlcam.scenes.models.nets import SceneCaptioner, SceneVQA
from vlcam.scenes.models.vocabulary import Vocabulary
from vlcam.scenes.models.zoo import (
    MEAN,
    STD,
    ModelName,
    beam_search,
    get_weights_folder,
    greedy_search,
    load,
    read_checksums,
)
from vlcam.scenes.questions import ANSWERS
from vlcam.scenes.record import PAIRS, PIXELS
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification
from vlcam.tasks.reading import Reading
from vlcam.tasks.vqa import VQA

LAYER = "features"
PAIR_LABELS = tuple(f"{colour} {shape}" for colour, shape in PAIRS)
UNLIKE = (
    "The bundled model knows only generated still lifes (coloured shapes on a plain ground), and this photo doesn't look like one: "
    "what the model says about it, and its maps, mean nothing. Name a model for photographs: --model, or vlcam.load."
)
"""The remark on a photo that is not from the bundled world."""


def remark_on_photo(photo: Image) -> tuple[str, ...]:
    """The remark that the bundled models don't know such photos; nothing for a photo that looks like one from their world."""
    return () if looks_like_scene(np.asarray(as_rgb(photo))) else (UNLIKE,)


# "box" shrinks a large drawing almost exactly to the drawing at 96 pixels.
_PREPROCESS = Preprocess(
    size=(PIXELS, PIXELS), mode="resize", mean=MEAN, std=STD, resample="box", remark=remark_on_photo
)


def read_packaged_names(which: ModelName) -> NeuronNames | None:
    """The packaged names of a bundled model's last conv channels. Raises InputError if they are those of other weights."""
    path = get_weights_folder() / f"{which}-neurons.json"
    if not path.is_file():
        return None
    found = NeuronNames.from_json(path)
    if found.weights_sha256 != read_checksums(get_weights_folder()).get(which):
        raise InputError(
            f"{path} names the channels of other weights than those beside it; make it again with: vlcam scenes name"
        )
    return found


def classifier(model: nn.Module | None = None) -> Classification:
    """Which colour-shape pairs are in the picture? Multi-label."""
    return Classification(
        load("classifier") if model is None else model,
        labels=PAIR_LABELS,
        preprocess=_PREPROCESS,
        layer=LAYER,
        name="scenes-classifier",
        activation="sigmoid",
        names=read_packaged_names("classifier") if model is None else None,
    )


class _CaptionTokenizer:
    """The caption vocabulary as a tokenizer for the captioning task."""

    def encode(self, text: str) -> Sequence[int]:
        ids = CAPTION_VOCABULARY.encode(_split_words(text))
        if not ids:
            raise InputError(f"the caption {text!r} has no words; give one such as 'a red star above a blue circle'")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(CAPTION_VOCABULARY.decode(ids))


def captioner(model: nn.Module | None = None, *, beams: int = 1) -> Captioning:
    """Describes the picture; ``beams`` > 1 searches with that many beams instead of greedily."""
    if beams < 1:
        raise InputError(f"beams must be at least 1, got {beams}")
    return Captioning(
        load("captioner") if model is None else model,
        tokens=_CaptionTokenizer(),
        preprocess=_PREPROCESS,
        encode=_encode,
        generate=partial(_generate, beams=beams),
        logits=_score_words,
        logits_of_batch=_score_words_of_batch,
        generate_each=partial(_generate_each, beams=beams),
        logits_of_each=_score_words_of_each,
        layer=LAYER,
        name="scenes-captioner",
        names=read_packaged_names("captioner") if model is None else None,
    )


def _encode(model: nn.Module, images: Any) -> Tensor:
    assert isinstance(model, SceneCaptioner)
    return model.encode(images)


def _generate(model: nn.Module, photo: Tensor, *, beams: int) -> Sequence[int]:
    assert isinstance(model, SceneCaptioner)
    words = greedy_search(model, photo)[0] if beams == 1 else beam_search(model, photo, beams)
    return CAPTION_VOCABULARY.encode(words)


def _generate_each(model: nn.Module, photos: Tensor, *, beams: int) -> Sequence[Sequence[int]]:
    assert isinstance(model, SceneCaptioner)
    if beams > 1:
        return [_generate(model, photos[row : row + 1], beams=beams) for row in range(len(photos))]
    return [CAPTION_VOCABULARY.encode(words) for words in greedy_search(model, photos)]


def _score_words(model: nn.Module, photo: Tensor, ids: Sequence[int]) -> Tensor:
    return _score_words_of_batch(model, photo, ids)[0]


def _score_words_of_batch(model: nn.Module, photos: Tensor, ids: Sequence[int]) -> Tensor:
    assert isinstance(model, SceneCaptioner)
    before = torch.tensor([[Vocabulary.START, *ids[:-1]]], device=photos.device)
    return model.decode(photos, before.expand(len(photos), -1))


def _score_words_of_each(model: nn.Module, photos: Tensor, each: Sequence[Sequence[int]]) -> Tensor:
    """Captions that end before the longest one are filled up with padding, whose logits mean nothing."""
    assert isinstance(model, SceneCaptioner)
    longest = max(map(len, each))
    rows = [[Vocabulary.START, *ids[:-1], *[Vocabulary.PAD] * (longest - len(ids))] for ids in each]
    return model.decode(photos, torch.tensor(rows, device=photos.device))


def vqa(model: nn.Module | None = None) -> VQA:
    """Answers questions of the scenes' grammar, such as "what colour is the star"."""
    chosen = load("vqa") if model is None else model
    return VQA(
        chosen,
        answers=ANSWERS,
        preprocess=_PREPROCESS,
        read=_read,
        logits=_score_answers,
        layer=LAYER,
        reading=partial(_find_question_words, chosen),
        name="scenes-vqa",
        names=read_packaged_names("vqa") if model is None else None,
    )


def _read(question: str) -> Tensor:
    words = _split_words(question)
    if not words:
        raise InputError(f"the question {question!r} has no words; ask one such as 'what colour is the star'")
    if len(words) > QUESTION_LENGTH:
        raise InputError(
            f"the question has {len(words)} words; the bundled model reads at most {QUESTION_LENGTH}: shorten it"
        )
    return torch.tensor([QUESTION_VOCABULARY.encode(words)], dtype=torch.long, device="cpu")


def _find_question_words(model: nn.Module, ids: Tensor, question: str) -> Reading:
    """Every word of the question is one token; punctuation around words is left out."""
    assert isinstance(model, SceneVQA)
    spans = []
    end = 0
    for word in _split_words(question):
        start = question.lower().index(word, end)
        end = start + len(word)
        spans.append((start, end))
    return Reading(model.embed, tuple(ids[0].tolist()), tuple((span, (place,)) for place, span in enumerate(spans)))


def _split_words(text: str) -> list[str]:
    """The words in lower case, without the punctuation around them."""
    return [word for part in text.lower().split() if (word := part.strip(".,;:!?\"'()"))]


def _score_answers(model: nn.Module, images: Any, question: Tensor) -> Tensor:
    assert isinstance(model, SceneVQA)
    photos = model.encode(images)
    return model.answer(photos, model.read(question).expand(len(photos), -1))
