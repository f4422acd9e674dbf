"""The question side: the vectors of a question's words as a tensor that scores depend on, so that each word can be weighed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from vlcam.contracts import Request, check_question, show_record
from vlcam.engine.modules import find_first_tensor, replace_tensor
from vlcam.engine.restore import undo_afterwards


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


@contextmanager
def capture_question_vectors(reading: Reading | None) -> Iterator[list[Tensor]]:
    """Inside, the question's vectors are one tensor for all passes of the model: the only item of the list, once it ran."""
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
    """The first tensor of ``(batch, tokens)`` whole numbers."""
    return next(
        (one for one in values if isinstance(one, Tensor) and one.ndim == 2 and not one.is_floating_point()), None
    )
