"""How much each word of the question counts for each answer."""

from dataclasses import dataclass, replace
from typing import final

import torch

from vlcam.contracts import InputError, LeftOutWords, Spoken, Target, show_record
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
        slopes = gradients(spoken.scores, asked.leaf)
        tokens = (slopes * asked.leaf.detach()).float().sum(-1)[:, 0]
        words = torch.stack([tokens[:, list(places)].sum(1) for _, places in asked.words], 1)
        spans, notes = tuple(span for span, _ in asked.words), []
    else:
        return WeighedWords(targets)
    weighed = tuple(replace(one, reading=tuple(row)) for one, row in zip(targets, words.tolist(), strict=True))
    return WeighedWords(weighed, spans, tuple(notes))
