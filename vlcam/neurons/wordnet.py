"""WordNet's nouns through nltk, for those who have it: never downloaded, and nltk is imported only when it is asked for.

A noun has senses, the most usual first; here a word means its first one. The hypernyms of a sense are the broader ones. Since nltk 3.10 a
corpus is read only below the folders of ``nltk.data.path``.
"""

import warnings
from collections.abc import Iterator
from typing import Any, Final, Protocol, final, runtime_checkable

from vlcam.contracts import InputError

_PLACES: Final = ("corpora/wordnet", "corpora/wordnet.zip/wordnet/")
_HINT: Final = (
    "to get it, run `python -m nltk.downloader wordnet`, or set NLTK_DATA to a folder with corpora/wordnet in it (since nltk 3.10 "
    "only folders in nltk.data.path are read); without it, use Thesaurus(), the table of the package"
)


@runtime_checkable
class Nouns(Protocol):
    """What is asked of WordNet. Senses are named as nltk does, as in ``car.n.01``."""

    def first(self, word: str, /) -> str | None:
        """The most usual sense of a noun, None if the word is unknown."""
        ...

    def words(self, sense: str, /) -> tuple[str, ...]:
        """The words for a sense, small letters, blanks between words."""
        ...

    def paths_up(self, sense: str, /) -> Iterator[tuple[str, ...]]:
        """The ways to the root: of each the broader senses, the nearest first."""
        ...


@final
class WordNet:
    """nltk's reader of WordNet. Satisfies :class:`Nouns`."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def first(self, word: str, /) -> str | None:
        """The most usual sense of a noun, or of its singular."""
        found = self._reader.synsets(word.strip().lower().replace(" ", "_"), pos="n")
        return str(found[0].name()) if found else None

    def words(self, sense: str, /) -> tuple[str, ...]:
        """The words for a sense."""
        return tuple(name.lower().replace("_", " ") for name in self._reader.synset(sense).lemma_names())

    def paths_up(self, sense: str, /) -> Iterator[tuple[str, ...]]:
        """The ways to the root, the shortest first, in a fixed order."""
        paths = [[one.name() for one in path[:-1][::-1]] for path in self._reader.synset(sense).hypernym_paths()]
        yield from (tuple(path) for path in sorted(paths, key=lambda path: (len(path), path)))


def available_wordnet() -> bool:
    """Whether nltk finds a WordNet on this computer."""
    return _root() is not None


def open_wordnet() -> WordNet:
    """WordNet, read from where nltk finds it.

    Raises:
        InputError: if there is none, or it can't be read; the text says how to get it.
    """
    root = _root()
    if root is None:
        raise InputError(f"WordNet was asked for but nltk finds none on this computer; {_HINT}")
    try:
        from nltk.corpus.reader.wordnet import WordNetCorpusReader

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that only English words are known
            return WordNet(WordNetCorpusReader(root, None))
    except Exception as error:  # whatever a broken file makes the reader raise
        raise InputError(f"the WordNet in {root} can't be read ({type(error).__name__}: {error}); {_HINT}") from error


def _root() -> Any:
    """Where the files are, as nltk has it; None if it finds none."""
    from nltk import data

    for place in _PLACES:
        try:
            return data.find(place)
        except (LookupError, OSError):
            continue
    return None
