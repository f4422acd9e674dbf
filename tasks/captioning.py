"""Captioning as a task: the log-probability (or logit) of each word, given the image and the words before it, is a target.

By linearity the whole caption's target is the sum of the words' (arXiv 1610.02391, section 8.1).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any, ClassVar, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    Geometry,
    InputError,
    Kind,
    Layout,
    Names,
    Prepared,
    Request,
    Spoken,
    Target,
    TargetError,
    show_record,
)
from vlcam.engine.output_kind import to_word_logits
from vlcam.engine.outputs import log_probability, pick_logits, to_model
from vlcam.engine.recording import pause_recording
from vlcam.tasks.joining import join_inputs
from vlcam.tasks.labels import get_text_contrasts, make_contrast_target
from vlcam.tasks.words import Segmenter, Word, group


@runtime_checkable
class Tokenizer(Protocol):
    """Text to token ids and back, without start and end tokens."""

    def encode(self, text: str) -> Sequence[int]: ...  # noqa: D102
    def decode(self, ids: Sequence[int]) -> str: ...  # noqa: D102


@final
@dataclass(frozen=True)
class Captioning:
    """A captioner and how to use it.

    - ``encode(model, inputs)``: what the photo becomes before words come in (anything); it runs once.
    - ``generate(model, encoded) -> ids``: the model's own caption, greedy or beam, without start and end tokens.
    - ``logits(model, encoded, ids) -> (len(ids), vocabulary)``: teacher forcing; row ``t`` scores the word at position ``t`` given the
      photo and ``ids[:t]``.

    With all three, the photo passes through the CNN once: the caption is decoded from, scored on and explained by the same features.
    ``layout`` says how the layer's output lies on the input, if it isn't that of a CNN: one for all photos, or a function of the input.
    ``prompted(inputs, prompt)`` puts a user's prompt into the inputs; without it a prompt is refused. ``continued`` is the tokenizer of
    a caption that continues such a prompt on the same line, if it needs another one. ``logits_of_batch(model, encoded, ids) -> (B,
    len(ids), vocabulary)`` is ``logits`` for B encoded photos and the same words, for methods that run many changed photos; without it
    they are run one by one. ``generate_each(model, encoded) -> ids of each`` and ``logits_of_each(model, encoded, ids of each) -> (B,
    longest, vocabulary)`` are ``generate`` and ``logits`` for B encoded photos with words of their own, for many photos; without them
    those are run one by one, too. ``segment`` splits text in scripts without spaces into words (``jieba.lcut``, say); without it every
    token that writes such characters is a word.
    """

    kind: ClassVar[str] = "captioning"

    model: nn.Module
    tokens: Tokenizer
    preprocess: Callable[[Image], tuple[Any, Geometry]]
    encode: Callable[[Any, Any], Any]
    generate: Callable[[Any, Any], Sequence[int]]
    logits: Callable[[Any, Any, Sequence[int]], Tensor]
    layer: str | nn.Module | None = None
    name: str = "captioner"
    names: Names | None = None
    layout: Layout | Callable[[Any], Any] | None = None
    prompted: Callable[[Any, str], Any] | None = None
    continued: Tokenizer | None = None
    notes: tuple[str, ...] = ()
    logits_of_batch: Callable[[Any, Any, Sequence[int]], Tensor] | None = None
    generate_each: Callable[[Any, Any], Sequence[Sequence[int]]] | None = None
    logits_of_each: Callable[[Any, Any, Sequence[Sequence[int]]], Tensor] | None = None
    segment: Segmenter | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    __repr__ = show_record

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the caption, and make the input."""
        if request.question is not None or request.labels:
            raise InputError(
                "a captioner takes no question and no classes; give a caption, or none for the model's own"
            )
        get_text_contrasts(request)
        if request.prompt is not None and self.prompted is None:
            raise InputError(f"prompt={request.prompt!r} was given, but {self.name} takes no prompt; leave it out")
        if request.caption is not None:
            self._encode_caption(request.caption, request.prompt)
        inputs, geometry = self.preprocess(photo)
        if request.prompt is not None and self.prompted is not None:
            inputs = self.prompted(inputs, request.prompt)
        return Prepared(to_model(inputs, self.model), geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One forward pass of the image; scores of all words, of the whole caption, and of contrasts.

        The score of a word is the sum over its tokens of their log-probabilities or, if asked for, of their raw logits; its
        probability is that of the log-probabilities in both cases.
        """
        encoded = self.encode(self.model, prepared.inputs)
        ids = self._choose_ids(encoded, request)
        return self._make_spoken(encoded, ids, self._compute_logits(encoded, ids), request, prepared.inputs)

    def run_batch(self, prepared: Sequence[Prepared], request: Request) -> list[Spoken]:
        """One forward pass of B images; each photo has the words of its own caption, or of the one that was given.

        Raises:
            InputError: the images differ in size, contrasts are asked for, a caption is empty, or the captioner has no functions for that.
        """
        if self.generate_each is None or self.logits_of_each is None or request.contrasts:
            raise InputError(f"{self.name} can't caption several photos at once; they are run one by one")
        encoded = self.encode(self.model, join_inputs([one.inputs for one in prepared]))
        if request.ids is None and request.caption is None:
            with pause_recording():
                each = [tuple(int(token) for token in ids) for ids in self.generate_each(self.model, encoded)]
        else:
            each = [self._choose_ids(encoded, request)] * len(prepared)
        if len(each) != len(prepared) or any(not self.tokens.decode(ids).strip() for ids in each):
            raise InputError(f"{self.name} wrote no caption, or an empty one, for one of {len(prepared)} photos")
        longest = max(map(len, each))
        logits = self.logits_of_each(self.model, encoded, each)
        if logits.ndim != 3 or logits.shape[:2] != (len(each), longest):
            raise InputError(
                f"logits_of_each(...) must return ({len(each)}, {longest}, vocabulary) for as many captions, but it returned "
                f"{tuple(logits.shape)}"
            )
        logits = to_word_logits(logits)
        return [
            self._make_spoken(None, ids, row[: len(ids)], request, one.inputs)
            for one, ids, row in zip(prepared, each, logits, strict=True)
        ]

    def _make_spoken(self, encoded: Any, ids: tuple[int, ...], logits: Tensor, request: Request, inputs: Any) -> Spoken:
        """What one photo's logits ``(len(ids), vocabulary)`` say."""
        sure = log_probability(logits, ids)
        spoken = sure if request.measure == "log-probability" else pick_logits(logits, ids)
        text, words = group(ids, self.tokens.decode, self.segment)
        shown = [word for word in words if word.tokens and not word.is_punctuation]
        parts: list[tuple[str, Kind, tuple[int, ...], tuple[int, int]]] = [
            (word.text, "word", word.tokens, word.span) for word in shown
        ]
        parts.append((text, "caption", tuple(range(len(ids))), (0, len(text))))
        scores, targets = [], []
        for label, kind, places, span in parts:
            score = spoken[list(places)].sum()
            scores.append(score)
            targets.append(
                Target(
                    label=label,
                    kind=kind,
                    score=float(score.detach()),
                    probability=exp(min(float(sure[list(places)].detach().sum()), 0.0)),
                    token_ids=tuple(ids[place] for place in places),
                    span=span,
                    measure=request.measure,
                )
            )
        for this, that in get_text_contrasts(request):
            score, target = self._score_contrast(encoded, ids, text, shown, logits, request, this, that)
            scores.append(score)
            targets.append(target)
        layout = self.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(inputs)
        return Spoken(torch.stack(scores), tuple(targets), text, layout, notes=self.notes)

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The scores of the words, the whole caption and contrasts, for every row of the image (see ``ScoringTask``)."""
        if self.logits_of_batch is None or request.ids is None:
            raise InputError(f"{self.name} can't score several images at once: it has no logits_of_batch, or no words")
        several_logits = self.logits_of_batch

        def several(model: Any, encoded: Any, ids: Sequence[int]) -> Tensor:
            return to_word_logits(several_logits(model, encoded, ids))

        encoded = self.encode(self.model, prepared.inputs)
        ids = request.ids
        logits = several(self.model, encoded, ids)
        text, words = group(ids, self.tokens.decode, self.segment)
        shown = [word for word in words if word.tokens and not word.is_punctuation]
        of = log_probability if request.measure == "log-probability" else pick_logits

        def scores(rows: Tensor, said: Sequence[int]) -> Tensor:
            batch, places = rows.shape[:2]
            return of(rows.reshape(batch * places, -1), tuple(said) * batch).reshape(batch, places)

        own = scores(logits, ids)
        found = [own[:, list(word.tokens)].sum(1) for word in shown] + [own.sum(1)]
        for this, that in get_text_contrasts(request):
            word, instead = self._find_contrast_words(ids, text, shown, request, this, that)
            first = word.tokens[0]
            rows = logits if len(instead) == 1 else several(self.model, encoded, (*ids[:first], *instead))
            other = scores(rows[:, first : first + len(instead)], instead).sum(1)
            found.append(own[:, list(word.tokens)].sum(1) - other)
        return torch.stack(found, 1)

    def _choose_ids(self, encoded: Any, request: Request) -> tuple[int, ...]:
        """What is scored: the ids that were given, or those of the caption that was given, or of the model's own."""
        if request.ids is not None:
            if not request.ids:
                raise InputError(
                    "the token ids to score are empty; give at least one, or leave them out for the model's own words"
                )
            return request.ids
        if request.caption is not None:
            return self._encode_caption(request.caption, request.prompt)
        with pause_recording():
            ids = tuple(int(token) for token in self.generate(self.model, encoded))
        if not ids or not self.tokens.decode(ids).strip():
            raise InputError("the model's own caption is empty for this image; give a caption to explain")
        return ids

    def _encode_caption(self, caption: str, prompt: str | None = None) -> tuple[int, ...]:
        if not caption.strip():
            raise InputError(
                "the caption to explain is empty; give at least one word, or no caption for the model's own"
            )
        tokens = self.tokens if prompt is None or self.continued is None else self.continued
        return tuple(int(token) for token in tokens.encode(caption))

    def _compute_logits(self, encoded: Any, ids: Sequence[int]) -> Tensor:
        logits = self.logits(self.model, encoded, ids)
        if logits.ndim != 2 or len(logits) != len(ids):
            raise InputError(
                f"logits(...) must return ({len(ids)}, vocabulary) for {len(ids)} tokens, but it returned {tuple(logits.shape)}"
            )
        return to_word_logits(logits)

    def _score_contrast(
        self,
        encoded: Any,
        ids: tuple[int, ...],
        text: str,
        words: Sequence[Word],
        logits: Tensor,
        request: Request,
        this: str,
        that: str,
    ) -> tuple[Tensor, Target]:
        """``this`` less ``that`` at the first place where the caption says ``this``, after the same words."""
        word, instead = self._find_contrast_words(ids, text, words, request, this, that)
        first = word.tokens[0]
        rows = logits if len(instead) == 1 else self._compute_logits(encoded, (*ids[:first], *instead))
        own = tuple(ids[place] for place in word.tokens)
        of = log_probability if request.measure == "log-probability" else pick_logits
        score = of(logits[list(word.tokens)], own).sum() - of(rows[first : first + len(instead)], instead).sum()
        return score, make_contrast_target(this, that, float(score.detach()), (*own, *instead), request.measure)

    def _find_contrast_words(
        self, ids: tuple[int, ...], text: str, words: Sequence[Word], request: Request, this: str, that: str
    ) -> tuple[Word, tuple[int, ...]]:
        """The first word ``this`` of the caption, and the tokens of ``that`` in its place."""
        same = [word for word in words if word.text == this] or [w for w in words if w.text.lower() == this.lower()]
        if not same:
            said = " ".join(one.text for one in words)
            raise TargetError(
                f"{this!r} is not a word of the caption, so it can't be contrasted; the caption is {said!r}"
            )
        if not that.strip():
            raise TargetError(f"{this!r} can't be contrasted with nothing; give another word")
        return same[0], self._encode_replacement(ids, text, same[0], that, request.prompt)

    def _encode_replacement(
        self, ids: tuple[int, ...], text: str, word: Word, that: str, prompt: str | None
    ) -> tuple[int, ...]:
        """The tokens of ``that`` in the word's place: tokenizers write a word differently within a text than on its own."""
        start, end = word.span
        changed = self._encode_caption(text[:start] + that + text[end:], prompt)
        first, after = word.tokens[0], ids[word.tokens[-1] + 1 :]
        middle = changed[first : len(changed) - len(after)]
        if middle and (*ids[:first], *middle, *after) == changed:
            return middle
        return self._encode_caption(that, prompt)
