"""How much each word of the question counts for each answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, LeftOutWords, QuestionEmbeddings, Spoken, Target, show_record
from vlcam.engine.recording import gradients
from vlcam.explanation.wording import LEFT_OUT


@final
@dataclass(frozen=True)
class WeighedWords:
    """Targets with the importance of each word of the question, the words' character ranges, and notes about them."""

    targets: tuple[Target, ...]
    spans: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()

    __repr__ = show_record


def weigh_words(spoken: Spoken) -> WeighedWords:
    """The importance of the question's words: gradient times embedding, summed over a word's tokens, or by leaving each out."""
    targets, asked = tuple(spoken.targets), spoken.asked
    if isinstance(asked, LeftOutWords):
        try:
            words = asked.weigh()
        except InputError as error:
            return WeighedWords(targets, notes=(f"The words of the question were not weighed: {error}.",))
        spans, notes = asked.spans, [LEFT_OUT]
    elif asked is not None and asked.words:
        return _weigh_embeddings(targets, asked, gradients(spoken.scores, asked.leaf)[:, 0], asked.leaf[0])
    else:
        return WeighedWords(targets)
    return _make_weighed(targets, words, spans, notes)


def weigh_words_together(spoken: Sequence[Spoken]) -> list[WeighedWords]:
    """The same for photos that were run together: where they share the tensor of their questions, in one backward pass."""
    first = spoken[0].asked
    if not isinstance(first, QuestionEmbeddings) or not first.words or len(first.leaf) != len(spoken):
        return [weigh_words(one) for one in spoken]
    if any(not isinstance(one.asked, QuestionEmbeddings) or one.asked.leaf is not first.leaf for one in spoken):
        return [weigh_words(one) for one in spoken]
    slopes = gradients(torch.stack([one.scores for one in spoken]).sum(0), first.leaf)
    return [
        _weigh_embeddings(tuple(one.targets), first, slopes[:, row], first.leaf[row]) for row, one in enumerate(spoken)
    ]


def _weigh_embeddings(
    targets: tuple[Target, ...],
    asked: QuestionEmbeddings,
    slopes: Float[Tensor, "targets tokens width"],
    vectors: Float[Tensor, "tokens width"],
) -> WeighedWords:
    """Gradient times embedding, summed over each word's tokens."""
    tokens = (slopes * vectors.detach()).float().sum(-1)
    words = torch.stack([tokens[:, list(places)].sum(1) for _, places in asked.words], 1)
    return _make_weighed(targets, words, tuple(span for span, _ in asked.words))


def _make_weighed(
    targets: tuple[Target, ...],
    words: Float[Tensor, "targets words"],
    spans: tuple[tuple[int, int], ...],
    notes: Sequence[str] = (),
) -> WeighedWords:
    weighed = tuple(replace(one, reading=tuple(row)) for one, row in zip(targets, words.tolist(), strict=True))
    return WeighedWords(weighed, spans, tuple(notes))
