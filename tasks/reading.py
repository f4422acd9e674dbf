"""The question side: the vectors of a question's words as a tensor that scores depend on, so that each word can be weighed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from vlcam.contracts import InputError, Request, check_question, shorten, show_record, show_value
from vlcam.engine.modules import find_first_tensor, find_tensors, replace_tensor
from vlcam.engine.restore import undo_afterwards
from vlcam.tasks.words import Word, find_spans


@final
@dataclass(frozen=True)
class Reading:
    """A question as a model reads it: the module that gives its tokens' vectors, and where its words are among them.

    ``ids`` are the token ids that the module is called with; for a layer further up, which is called with vectors, they are empty.
    ``words`` holds, for each word, its character range in the question and the positions of its tokens.
    """

    embedding: nn.Module
    ids: tuple[int, ...]
    words: tuple[tuple[tuple[int, int], tuple[int, ...]], ...]

    __repr__ = show_record


def read_question(name: str, request: Request) -> str:
    """The question that a task is asked. Raises InputError if there is none."""
    check_question(name, request.question)
    return request.question or ""


def check_words(words: Any) -> None:
    """Raise InputError unless ``words`` says how the words of a question are weighed (see :class:`vlcam.tasks.vqa.VQA`)."""
    if words not in (None, "leave-one-out") and not callable(words):
        raise InputError(
            f"words={show_value(words)} was given; expected 'leave-one-out', a function that gives the character ranges of a question's "
            "words, or None"
        )


def find_question_spans(
    question: str, find: Callable[[str], Sequence[tuple[int, int]]] | None = None
) -> tuple[tuple[int, int], ...]:
    """The character ranges of a question's words, without the marks between them, or those that ``find`` gives.

    Raises InputError for ranges that are not in the question.
    """
    if find is None:
        return tuple(span for span in find_spans(question) if not Word(question[slice(*span)], span, ()).is_punctuation)
    found = tuple((int(start), int(end)) for start, end in find(question))
    for start, end in found:
        if not 0 <= start < end <= len(question):
            raise InputError(
                f"words= gave the range ({start}, {end}) for the question {question!r}; expected characters from 0 to {len(question)}"
            )
    return found


def read_without(read: Callable[[str], Any], question: str, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """The question without each word in turn, as the model reads it.

    Raises InputError if the question has no word, or the model can't read it without one of them.
    """
    if not spans:
        raise InputError(f"{shorten(repr(question), 80)} has no word; ask a question with words")
    found = []
    for start, end in spans:
        left = " ".join(f"{question[:start]}{question[end:]}".split())
        about = f"without {question[start:end]!r} the model can't read what is left, {shorten(repr(left), 80)}"
        try:
            made = read(left)
        except InputError as error:
            raise InputError(f"{about}: {error}") from error
        if any(one.numel() == 0 for one in find_tensors(made)):
            raise InputError(f"{about}: read(...) turns it into an empty tensor")
        found.append(made)
    return found


@contextmanager
def capture_question_vectors(reading: Reading | None) -> Iterator[list[Tensor]]:
    """Within this context, the question's vectors are one tensor for all passes of the model: the list's only item, once it has run."""
    leaf: list[Tensor] = []
    if reading is None:
        yield leaf
        return
    ids = torch.tensor(reading.ids, device="cpu")
    count = len(ids)

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        vectors = find_first_tensor(output)
        if vectors is None or not torch.is_grad_enabled():
            return None
        if not count:
            if vectors.requires_grad and not leaf:
                leaf.append(vectors)
            return None
        given = find_first_ids((*args, *kwargs.values()))
        if given is None or given.shape[1] < count or not torch.equal(given[0, :count].cpu(), ids):
            return None
        if not leaf:
            leaf.append(vectors[:, :count].detach().clone().requires_grad_())
        return replace_tensor(output, vectors, torch.cat([leaf[0], vectors[:, count:]], 1))

    with undo_afterwards() as undo:
        undo.add_hook(reading.embedding.register_forward_hook, hook, with_kwargs=True)
        yield leaf


def find_first_ids(values: tuple[Any, ...]) -> Tensor | None:
    """The first tensor ``(batch, tokens)`` of whole numbers."""
    return next(
        (one for one in values if isinstance(one, Tensor) and one.ndim == 2 and not one.is_floating_point()), None
    )
