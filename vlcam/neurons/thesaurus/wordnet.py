"""WordNet's nouns (Fellbaum 1998), for those who have them: found where nltk finds them, and never downloaded.

A noun has senses, the most usual first; here a word means its first one. The hypernyms of a sense are the broader ones. nltk knows where
the files are (since 3.10 it reads only below the folders of ``nltk.data.path``), and is imported only when WordNet is asked for. The two
files of nouns are read here: nltk's own reader keeps files open and reads all other parts of speech as well.

``index.noun`` has a line a word: the word, the part of speech, the number of senses, some counts, and the senses as byte offsets into
``data.noun``. There a line is a sense: offset, two numbers, the number of words (hexadecimal), each word with a number, the number of
pointers, each pointer as symbol, offset, part of speech and a number; then a gloss. The symbols of hypernyms are ``@`` and ``@i``.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, final, runtime_checkable

from vlcam.contracts import InputError
from vlcam.files import MAX_DEPTH, refuse_broken

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
    """WordNet's files of nouns. Satisfies :class:`Nouns`.

    Args:
        index: the text of ``index.noun``.
        data: the bytes of ``data.noun``.
    """

    def __init__(self, index: str, data: bytes) -> None:
        self._data = data
        self._senses: dict[str, tuple[int, ...]] = {}
        for line in index.splitlines():
            if line and not line.startswith(" "):  # the licence is indented
                word, _, count, *rest = line.split()
                self._senses[word] = tuple(int(offset) for offset in rest[-int(count) :])

    def first(self, word: str, /) -> str | None:
        """The most usual sense of a noun."""
        senses = self._senses.get(_make_key(word))
        with _name_broken(word):
            return self._name_sense(senses[0]) if senses else None

    def words(self, sense: str, /) -> tuple[str, ...]:
        """The words for a sense."""
        with _name_broken(sense):
            return tuple(word.lower().replace("_", " ") for word in self._read_line(self._find_offset(sense))[0])

    def paths_up(self, sense: str, /) -> Iterator[tuple[str, ...]]:
        """The ways to the root, the shortest first, in a fixed order."""
        with _name_broken(sense):
            paths = [tuple(map(self._name_sense, path)) for path in self._list_paths(self._find_offset(sense))]
        yield from sorted(paths, key=lambda path: (len(path), path))

    def _list_paths(self, offset: int, depth: int = 0) -> Iterator[tuple[int, ...]]:
        if depth > MAX_DEPTH:
            raise InputError(
                f"the broader senses in data.noun of WordNet go round in a circle at byte {offset}; {_HINT}"
            )
        broader = self._read_line(offset)[1]
        if not broader:
            yield ()
        for one in broader:
            yield from ((one, *path) for path in self._list_paths(one, depth + 1))

    def _read_line(self, offset: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The words of a sense, and the offsets of the broader ones."""
        end = self._data.find(b"\n", offset)
        cells = self._data[offset : len(self._data) if end < 0 else end].decode("utf-8").partition("|")[0].split()
        if not cells or int(cells[0]) != offset:
            raise InputError(f"data.noun of WordNet has no sense at byte {offset}, though its index says so; {_HINT}")
        words, pointers = 4, 4 + 2 * int(cells[3], 16) + 1
        if pointers + 4 * int(cells[pointers - 1]) > len(cells):
            raise InputError(f"data.noun of WordNet has a line at byte {offset} that breaks off; {_HINT}")
        links = [cells[at : at + 4] for at in range(pointers, pointers + 4 * int(cells[pointers - 1]), 4)]
        return tuple(cells[words : pointers - 1 : 2]), tuple(int(link[1]) for link in links if link[0] in ("@", "@i"))

    def _name_sense(self, offset: int) -> str:
        word = self._read_line(offset)[0][0].lower()
        return f"{word}.n.{self._senses[word].index(offset) + 1:02d}"

    def _find_offset(self, sense: str) -> int:
        word, _, number = sense.rsplit(".", 2)
        return self._senses[word][int(number) - 1]


def _name_broken(what: str) -> AbstractContextManager[None]:
    return refuse_broken(f"the line of {what[:80]!r} in data.noun of WordNet", f"senses as WordNet 3 has them; {_HINT}")


def has_wordnet() -> bool:
    """Whether nltk finds a WordNet on this computer."""
    return _find_root() is not None


def open_wordnet() -> WordNet:
    """WordNet, read from where nltk finds it.

    Raises:
        InputError: if there is none, or it can't be read; the text says how to get it.
    """
    root = _find_root()
    if root is None:
        raise InputError(f"WordNet was asked for but nltk finds none on this computer; {_HINT}")
    with refuse_broken(
        f"the WordNet in {root}", f"index.noun and data.noun as WordNet 3 has them; {_HINT}", fault="can't be read ({})"
    ):
        return WordNet(_read(root, "index.noun").decode("utf-8"), _read(root, "data.noun"))


def _make_key(word: str) -> str:
    return "_".join(word.lower().split())


def _read(root: Any, name: str) -> bytes:
    with root.join(name).open() as file:
        return bytes(file.read())


def _find_root() -> Any:
    """Where the files are, a path of nltk's; None if it finds none."""
    from nltk import data

    for place in _PLACES:
        try:
            return data.find(place)
        except (LookupError, OSError):
            continue
    return None
