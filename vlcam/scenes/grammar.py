"""The grammar of captions, and what captions and questions share: reading words, finding the objects that they fit.

Grammar::

    caption  = phrase | phrase "and" phrase | singular relation singular
    singular = ("a" | "an") [size] [texture] colour shape          an before "orange", a before every other word
    plural   = ("two" | "three" | "four") [colour] shapes          a phrase is a singular or a plural
    relation = "left of" | "right of" | "above" | "below"
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import NoReturn, final

from vlcam.scenes.record import COLOURS, SHAPES, SIZES, SPLITS, TEXTURES, AbstractScene, SceneObject

NUMBERS = {"two": 2, "three": 3, "four": 4}
RELATIONS = ("left of", "right of", "above", "below")
PLURALS = {shape: "crosses" if shape == "cross" else f"{shape}s" for shape in SHAPES}
SINGULARS = {plural: shape for shape, plural in PLURALS.items()}
GRAMMAR = (
    "'NP', 'NP and NP' or 'NP REL NP' with NP = a|an [size] [texture] colour shape, or two|three|four [colour] shapes "
    "(not beside REL), REL = left of|right of|above|below, sizes " + "|".join(SIZES)
    + ", textures " + "|".join(TEXTURES) + ", colours " + "|".join(COLOURS) + ", shapes " + "|".join(SHAPES)
)  # fmt: skip
CAPTION_WORDS: tuple[str, ...] = tuple(
    sorted(
        {"a", "an", "and", "left", "right", "of", "above", "below"}.union(
            NUMBERS, SIZES, TEXTURES, COLOURS, SHAPES, SINGULARS
        )
    )
)
"""Every word that the grammar can produce, sorted."""

ObjectWords = tuple[frozenset[str], ...]
"""For each object the words that are true of it."""

_ARTICLES = ("a", "an")


@final
@dataclass(frozen=True)
class Phrase:
    """A noun phrase: where its first word stands, that word, the attribute words after it (shape: singular)."""

    start: int
    head: str
    attributes: tuple[str, ...]

    @property
    def plural(self) -> bool:
        """Whether it counts objects."""
        return self.head in NUMBERS


@final
@dataclass(frozen=True)
class ParsedCaption:
    """A caption in parts: its words, one or two phrases, and the link between them ("and", a relation, or "")."""

    words: tuple[str, ...]
    phrases: tuple[Phrase, ...]
    link: str


@final
class Reader:
    """Reads words one after the other and raises a ValueError that names the first word that does not fit."""

    def __init__(self, what: str, given: str | Sequence[str], grammar: str) -> None:
        self.words = tuple(given.split()) if isinstance(given, str) else tuple(given)
        self.at = 0
        self._what, self._given, self._grammar = what, given, grammar

    def accept(self, *vocabulary: str) -> str:
        """The next word if it is one of these, else "" (and nothing is read)."""
        if self.at < len(self.words) and self.words[self.at] in vocabulary:
            self.at += 1
            return self.words[self.at - 1]
        return ""

    def expect(self, *vocabulary: str, hint: str = "") -> str:
        """The next word, which has to be one of these; ``hint`` says what else could have stood here."""
        return self.accept(*vocabulary) or self.fail(hint + " or ".join(repr(word) for word in vocabulary))

    def expect_end(self, instead: str = "the end") -> None:
        """Nothing may follow."""
        if self.at < len(self.words):
            self.fail(instead)

    def fail(self, expected: str) -> NoReturn:
        """Raise the error for the word at the current position."""
        where = f"word {self.at + 1}, {self.words[self.at]!r}" if self.at < len(self.words) else "the end"
        raise ValueError(
            f"{self._what} {self._given!r} is outside the grammar at {where}: expected {expected}. "
            f"The grammar accepts {self._grammar}."
        )


def choose_article(word: str) -> str:
    """The article in front of a word: "an" before a vowel, else "a"."""
    return "an" if word[0] in "aeiou" else "a"


def parse(caption: str | Sequence[str]) -> ParsedCaption:
    """The parts of a caption, given as a text or as words; ValueError for a caption outside the grammar."""
    reader = Reader("caption", caption, GRAMMAR)
    phrases = [_read_phrase(reader, plural=True)]
    may_relate = not phrases[0].plural
    link = reader.accept("and", "above", "below", "left", "right") if may_relate else reader.accept("and")
    if link in ("left", "right"):
        link += " " + reader.expect("of")
    if link:
        phrases.append(_read_phrase(reader, plural=link == "and"))
        reader.expect_end()
    reader.expect_end("the end, 'and' or a relation" if may_relate else "the end or 'and'")
    return ParsedCaption(reader.words, tuple(phrases), link)


def _read_phrase(reader: Reader, *, plural: bool) -> Phrase:
    start = reader.at
    head = reader.expect(*_ARTICLES, *(NUMBERS if plural else ()))
    if head in NUMBERS:
        colour = reader.accept(*COLOURS)
        shape = SINGULARS[reader.expect(*SINGULARS, hint="" if colour else "a colour or ")]
        return Phrase(start, head, (colour, shape) if colour else (shape,))
    size = reader.accept(*SIZES)
    texture = reader.accept(*TEXTURES)
    attributes = tuple(word for word in (size, texture, reader.expect(*COLOURS), reader.expect(*SHAPES)) if word)
    if choose_article(attributes[0]) != head:
        reader.at = start
        reader.fail(f"{choose_article(attributes[0])!r} before {attributes[0]!r}")
    return Phrase(start, head, attributes)


def make_generator(scene: AbstractScene, seed: int, salt: int) -> Callable[[], float]:
    """Uniform numbers in 0..1 that depend on the scene's split and seed, on ``seed`` and on ``salt`` only."""
    key = SPLITS.index(scene.split)
    for part in (scene.seed, seed, salt):
        key = (key << 64) | (int(part) & (2**64 - 1))
    return Random(key).random


def get_object_words(scene: AbstractScene) -> ObjectWords:
    """For each object the words that are true of it."""
    return tuple(frozenset(obj.words) for obj in scene.objects)


def find_fitting(bags: ObjectWords, words: Sequence[str]) -> tuple[int, ...]:
    """The indices of the objects of which all the words are true."""
    wanted = frozenset(words)
    return tuple(index for index, bag in enumerate(bags) if wanted <= bag)


def is_in_relation(relation: str, first: SceneObject, second: SceneObject) -> bool:
    """Whether the centre of the first object is left of, right of, above or below that of the second."""
    if relation == "left of":
        return first.x < second.x
    if relation == "right of":
        return first.x > second.x
    return first.y < second.y if relation == "above" else first.y > second.y
