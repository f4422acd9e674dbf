"""The words of a question among the tokens that a transformers model reads."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from torch import Tensor, nn

from vlcam.tasks.reading import Reading
from vlcam.tasks.words import Word, group


def find_reading(model: Any, tokenizer: Any, inputs: dict[str, Any], question: str) -> Reading | None:
    """Where the words of ``question`` are in the inputs; None if they can't be found there, or the model reads no text."""
    ids = inputs.get("input_ids", inputs.get("decoder_input_ids"))
    embedding = _find_embedding(model)
    if not isinstance(ids, Tensor) or embedding is None:
        return None
    prompt = [int(token) for token in ids[0]]
    words = find_question_words(tokenizer, prompt, question)
    return Reading(embedding, tuple(prompt), words) if words else None


def _find_embedding(model: Any) -> nn.Module | None:
    """What turns the question's ids into vectors."""
    holder = model.text_encoder if type(model).__name__ == "BlipForQuestionAnswering" else model
    found = holder.get_input_embeddings()
    return found if isinstance(found, nn.Module) else None


def find_question_words(
    tokenizer: Any, prompt: Sequence[int], question: str
) -> tuple[tuple[tuple[int, int], tuple[int, ...]], ...]:
    """For every word of the question, its characters in it, and the positions of its tokens in the prompt.

    The prompt may hold much more: the photo's tokens, a template. Case and blanks may differ, as with uncased tokenizers.
    """
    special = set(tokenizer.all_special_ids)
    runs = max((prompt.count(token) for token in set(prompt)), default=0)
    often = {token for token in set(prompt) if prompt.count(token) == runs and runs > 16}  # the photo's own token
    places = [place for place, token in enumerate(prompt) if token not in special and token not in often]

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    _, written = group([prompt[place] for place in places], decode)
    _, wanted = group(list(range(len(question))), lambda ids: question[: len(ids)])
    have, want = [word.text.casefold() for word in written], [word.text.casefold() for word in wanted]
    for start in range(len(have) - len(want), -1, -1):
        if want and have[start : start + len(want)] == want:
            found = zip(wanted, written[start : start + len(want)], strict=True)
            return tuple(
                (word.span, tuple(places[token] for token in tokens.tokens))
                for word, tokens in found
                if not word.is_punctuation and tokens.tokens
            )
    return _match_characters(question, written, places)


def _match_characters(
    question: str, written: Sequence[Word], places: Sequence[int]
) -> tuple[tuple[tuple[int, int], tuple[int, ...]], ...]:
    """As :func:`find_question_words`, for a question without blanks: its words are those of the tokens, found by their characters."""
    want = [
        (one, place)
        for place, character in enumerate(question)
        if not character.isspace()
        for one in character.casefold()
    ]
    have = [one for word in written for one in word.text.casefold()]
    starts = list(accumulate((len(word.text.casefold()) for word in written), initial=0))
    wanted = [one for one, _ in want]
    for first in reversed(range(len(written))):
        begin = starts[first]
        if wanted and have[begin : begin + len(want)] == wanted and begin + len(want) in starts:
            last = starts.index(begin + len(want))
            spans = [(want[starts[n] - begin][1], want[starts[n + 1] - begin - 1][1] + 1) for n in range(first, last)]
            return tuple(
                (span, tuple(places[token] for token in word.tokens))
                for span, word in zip(spans, written[first:last], strict=True)
                if not word.is_punctuation and word.tokens
            )
    return ()
