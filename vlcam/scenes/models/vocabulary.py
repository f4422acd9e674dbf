"""Words as numbers, for the bundled models: a closed vocabulary with pad, start and end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar, final

from vlcam.contracts import InputError


@final
@dataclass(frozen=True)
class Vocabulary:
    """Whole words only. Token ids: 0 pad, 1 start, 2 end, then ``words`` in order."""

    words: tuple[str, ...]

    PAD: ClassVar[int] = 0
    START: ClassVar[int] = 1
    END: ClassVar[int] = 2
    FIRST: ClassVar[int] = 3

    def __len__(self) -> int:
        return len(self.words) + self.FIRST

    def encode(self, words: str | Sequence[str]) -> tuple[int, ...]:
        """Token ids of words. Raises InputError for the first word that is not in the vocabulary, with the nearest ones."""
        ids = []
        listed = words.split() if isinstance(words, str) else words
        for word in listed:
            if word not in self.words:
                near = get_close_matches(word, self.words, n=3, cutoff=0.0)
                raise InputError(f"the model doesn't know the word {word!r}; nearest words it knows: {', '.join(near)}")
            ids.append(self.words.index(word) + self.FIRST)
        return tuple(ids)

    def decode(self, ids: Iterable[int]) -> tuple[str, ...]:
        """The words of token ids up to the end token; pad and start are left out."""
        out = []
        for token in ids:
            if token == self.END:
                break
            if token >= self.FIRST:
                out.append(self.words[token - self.FIRST])
        return tuple(out)
