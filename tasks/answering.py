"""Question answering by models that write their answer: the log-probability of the answer and of each of its words is a target.

An answer's score is the sum of its tokens' log-probabilities given the image and the question. Several answers are ranked by the
mean over their tokens, the end of the answer included, so that a long answer isn't ranked last for being long and ``a dog`` can be
told from ``a dog house``; what is attributed is the sum without the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import (
    Geometry,
    InputError,
    Layout,
    Names,
    Prepared,
    QuestionEmbeddings,
    Request,
    Spoken,
    Target,
    TargetError,
    show_record,
)
from vlcam.engine.output_kind import to_word_logits
from vlcam.engine.outputs import log_probability, pick_logits, to_model
from vlcam.engine.recording import pause_recording
from vlcam.tasks.labels import get_text_contrasts, make_contrast_target
from vlcam.tasks.reading import Reading, capture_question_vectors, read_question
from vlcam.tasks.words import Segmenter, group


@final
@dataclass(frozen=True)
class Answering:
    """A model that writes answers, and how to use it.

    - ``ask(photo, question, prompt)``: the inputs, and where they lie on the photo; ``prompt`` is None, or a form for the question.
    - ``encode``, ``generate``, ``logits``: as for :class:`vlcam.tasks.captioning.Captioning`.
    - ``tokens``: text to token ids and back, without start and end tokens; ``end`` is the id that ends an answer.
    - ``reading(inputs, question)``: where the question's words are among the inputs, so that they can be weighed, or None.
    - ``segment``, ``logits_of_batch``: as for :class:`vlcam.tasks.captioning.Captioning`.
    """

    kind: ClassVar[str] = "vqa"

    model: nn.Module
    tokens: Any
    ask: Callable[[Image, str, str | None], tuple[Any, Geometry]]
    encode: Callable[[Any, Any], Any]
    generate: Callable[[Any, Any], Sequence[int]]
    logits: Callable[[Any, Any, Sequence[int]], Tensor]
    end: int | None = None
    layer: str | nn.Module | None = None
    name: str = "answerer"
    names: Names | None = None
    layout: Layout | Callable[[Any], Any] | None = None
    reading: Callable[[Any, str], Reading | None] | None = None
    notes: tuple[str, ...] = ()
    segment: Segmenter | None = None
    logits_of_batch: Callable[[Any, Any, Sequence[int]], Tensor] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    __repr__ = show_record

    def prepare(self, photo: Image, request: Request) -> Prepared:
        """Check the question and the answers, and make the inputs."""
        question = read_question(self.name, request)
        if request.caption is not None:
            raise InputError("a question-answering model takes no caption; ask for answers instead")
        for answer in (*request.labels, *(one for pair in request.contrasts for one in pair)):
            if not isinstance(answer, str):
                raise TargetError(f"the answer {answer!r} was given; this model writes its answers: give them as texts")
            self._encode_answer(answer)
        inputs, geometry = self.ask(photo, question, request.prompt)
        return Prepared(to_model(inputs, self.model), geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        """One pass through the vision tower; the answers asked for, ranked, or the model's own with its words; contrasts."""
        encoded = self.encode(self.model, prepared.inputs)
        reading = self.reading(prepared.inputs, request.question or "") if self.reading is not None else None
        wanted = [self._encode_answer(str(label)) for label in request.labels]
        if not wanted:
            wanted = [self._generate_answer(encoded) if request.ids is None else request.ids]
        with capture_question_vectors(reading) as leaf:
            said = [self._score_answer(encoded, ids, request) for ids in wanted]
            said.sort(key=lambda one: one.mean, reverse=True)
            pairs = [
                (
                    this,
                    that,
                    self._score_answer(encoded, self._encode_answer(this), request),
                    self._score_answer(encoded, self._encode_answer(that), request),
                )
                for this, that in get_text_contrasts(request)
            ]
        scores: list[Tensor] = []
        targets: list[Target] = []
        for one in said:
            scores.append(one.scores.sum())
            targets.append(one.make_target(self.tokens.decode(one.ids).strip(), "answer", range(len(one.ids)), request))
        if len(said) == 1:
            self._add_words(said[0], scores, targets, request)
        for this, that, first, second in pairs:
            scores.append(first.scores.sum() - second.scores.sum())
            ids = (*first.ids, *second.ids)
            targets.append(make_contrast_target(this, that, float(scores[-1].detach()), ids, request.measure))
        asked = QuestionEmbeddings(leaf[0], reading.words) if reading is not None and leaf else None
        layout = self.layout
        if layout is not None and not isinstance(layout, Layout):
            layout = layout(prepared.inputs)
        notes = self.notes
        if len(said) > 1:
            order = ", ".join(f"{target.label} {one.mean:.2f}" for target, one in zip(targets, said, strict=False))
            notes += (
                f"Answers are ranked by the mean log-probability of their tokens, including the end token: {order}.",
            )
        return Spoken(torch.stack(scores), tuple(targets), targets[0].label, layout, asked, notes)

    def score_batch(self, prepared: Prepared, request: Request) -> Float[Tensor, "batch targets"]:
        """The scores of the answers, of the words of a single one, and of contrasts, for every row (see ``ScoringTask``)."""
        wanted = [self._encode_answer(str(label)) for label in request.labels] or [request.ids or ()]
        if self.logits_of_batch is None or not all(wanted):
            raise InputError(f"{self.name} can't score several images at once: it has no logits_of_batch, or no answer")
        encoded = self.encode(self.model, prepared.inputs)
        said = [self._score_rows(encoded, ids, request) for ids in wanted]
        found = [one.sum(1) for one in said]
        if len(said) == 1:
            _, words = group(wanted[0], self.tokens.decode, self.segment)
            shown = [word for word in words if word.tokens and not word.is_punctuation]
            found += [said[0][:, list(word.tokens)].sum(1) for word in shown] if len(shown) > 1 else []
        for this, that in get_text_contrasts(request):
            one, other = (self._score_rows(encoded, self._encode_answer(text), request) for text in (this, that))
            found.append(one.sum(1) - other.sum(1))
        return torch.stack(found, 1)

    def _score_rows(self, encoded: Any, ids: tuple[int, ...], request: Request) -> Float[Tensor, "batch tokens"]:
        """The scores of an answer's tokens, for every row."""
        assert self.logits_of_batch is not None
        ended = ids if self.end is None else (*ids, self.end)
        rows = to_word_logits(self.logits_of_batch(self.model, encoded, ended))[:, : len(ids)]
        of = log_probability if request.measure == "log-probability" else pick_logits
        scores: Tensor = of(rows.flatten(0, 1), tuple(ids) * len(rows)).unflatten(0, (len(rows), len(ids)))
        return scores

    def _generate_answer(self, encoded: Any) -> tuple[int, ...]:
        with pause_recording():
            ids = tuple(int(token) for token in self.generate(self.model, encoded))
        if not ids or not self.tokens.decode(ids).strip():
            raise InputError("the model's own answer is empty for this image and question; give answers to explain")
        return ids

    def _encode_answer(self, answer: str) -> tuple[int, ...]:
        if not answer.strip():
            raise InputError("an answer to explain is empty; give at least one word")
        return tuple(int(token) for token in self.tokens.encode(answer))

    def _score_answer(self, encoded: Any, ids: tuple[int, ...], request: Request) -> "_ScoredAnswer":
        ended = ids if self.end is None else (*ids, self.end)
        rows = self.logits(self.model, encoded, ended)
        if rows.ndim != 2 or len(rows) != len(ended):
            raise InputError(
                f"logits(...) must return ({len(ended)}, vocabulary) for {len(ended)} tokens, but it returned {tuple(rows.shape)}"
            )
        rows = to_word_logits(rows)
        sure = log_probability(rows, ended)
        own = rows[: len(ids)]
        scores = sure[: len(ids)] if request.measure == "log-probability" else pick_logits(own, ids)
        return _ScoredAnswer(ids, scores, sure[: len(ids)].detach(), float(sure.detach().mean()))

    def _add_words(self, said: "_ScoredAnswer", scores: list[Tensor], targets: list[Target], request: Request) -> None:
        """The words of one answer, if it has several; their spans are in the answer as it is shown."""
        text, words = group(said.ids, self.tokens.decode, self.segment)
        shown = [word for word in words if word.tokens and not word.is_punctuation]
        ahead = len(text) - len(text.lstrip())
        for word in shown if len(shown) > 1 else ():
            span = (word.span[0] - ahead, word.span[1] - ahead)
            scores.append(said.scores[list(word.tokens)].sum())
            targets.append(said.make_target(word.text, "word", word.tokens, request, span))


@final
@dataclass(frozen=True, eq=False)
class _ScoredAnswer:
    """One answer: its ids, the scores and log-probabilities of its tokens, and their mean with the end."""

    ids: tuple[int, ...]
    scores: Tensor
    sure: Tensor
    mean: float

    def make_target(
        self, label: str, kind: Any, places: Sequence[int], request: Request, span: tuple[int, int] | None = None
    ) -> Target:
        chosen = list(places)
        return Target(
            label=label,
            kind=kind,
            score=float(self.scores.detach()[chosen].sum()),
            probability=exp(min(float(self.sure[chosen].sum()), 0.0)),
            token_ids=tuple(self.ids[place] for place in chosen),
            span=span,
            measure=request.measure,
        )
