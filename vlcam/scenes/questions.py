"""Questions about a scene of the bundled world, each kind worded in one way, and their exact answers.

======== ======================================================= ===================================================
kind     wording                                                 answer
======== ======================================================= ===================================================
colour   what colour is the [size] [texture] shape               a colour
shape    what shape is the [size] [texture] colour thing         a shape
size     what size is the [colour] shape                         small, large
texture  what texture is the [colour] shape                      plain, striped
exists   is there a|an [size] [texture] colour shape             yes, no
count    how many colour things|shapes|striped things are there  0 to 4
left     which is further left the A or the B                    the shape that is; A, B = [colour] shape, two shapes
above    which is higher the A or the B                          the same
same     what is the same colour as the [colour] shape           the shape of the one other object of that colour
======== ======================================================= ===================================================

A description after "the" has to fit exactly one object of the scene.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from typing import TypeVar, final

from vlcam.scenes.grammar import (
    PLURALS,
    SINGULARS,
    ObjectWords,
    Reader,
    choose_article,
    find_fitting,
    get_object_words,
    make_generator,
)
from vlcam.scenes.record import COLOURS, PAIRS, SHAPES, SIZES, TEXTURES, UNSEEN_PAIRS, AbstractScene, Question

QUESTION_KINDS = ("colour", "shape", "size", "texture", "exists", "count", "left", "above", "same")
OFFSET = 0.10
"""Least offset, as a fraction of the picture's side, between two objects that a generated question compares."""
MOST = 4
"""The largest count that a question is answered with."""

_OPENINGS = {
    "colour": ("what", "colour", "is", "the"),
    "shape": ("what", "shape", "is", "the"),
    "size": ("what", "size", "is", "the"),
    "texture": ("what", "texture", "is", "the"),
    "exists": ("is", "there"),
    "count": ("how", "many"),
    "left": ("which", "is", "further", "left", "the"),
    "above": ("which", "is", "higher", "the"),
    "same": ("what", "is", "the", "same", "colour", "as", "the"),
}
QUESTION_WORDS: tuple[str, ...] = tuple(
    sorted(
        {"a", "an", "thing", "things", "are", "or"}.union(
            SIZES, TEXTURES, COLOURS, SHAPES, SINGULARS, *_OPENINGS.values()
        )
    )
)
"""Every word that a question can have, sorted."""
ANSWERS: tuple[str, ...] = (*COLOURS, *SHAPES, *SIZES, *TEXTURES, "no", "yes", *(str(n) for n in range(MOST + 1)))
"""Every answer."""
GRAMMAR = (
    "'what colour is the [size] [texture] SHAPE', 'what shape is the [size] [texture] COLOUR thing', "
    "'what size is the [colour] SHAPE', 'what texture is the [colour] SHAPE', "
    "'is there a|an [size] [texture] COLOUR SHAPE', "
    "'how many COLOUR things|SHAPES|striped things are there', 'which is further left the A or the B', "
    "'which is higher the A or the B', 'what is the same colour as the A' with A, B = [colour] SHAPE, sizes "
    + "|".join(SIZES) + ", textures " + "|".join(TEXTURES)
    + ", colours " + "|".join(COLOURS) + ", shapes " + "|".join(SHAPES)
)  # fmt: skip


def answer(scene: AbstractScene, question: str) -> Question:
    """Any question of the grammar, answered for the scene with the objects that decide it.

    ValueError for a text outside the grammar, for a description that fits no object or several, and where
    there is no answer: two objects exactly level, no or several other objects of the same colour, a count above 4.
    """
    return _answer(scene, get_object_words(scene), question)


def make_questions(scene: AbstractScene, n: int = 8, *, seed: int = 0) -> tuple[Question, ...]:
    """``n`` different questions with their answers (fewer if the scene runs out), the same for the same scene and seed.

    Every kind that the scene allows is asked once, in random order, then again. "exists" is answered yes and no equally
    often; most "no" differ from an object in one word, and outside the ``unseen`` split none is about an unseen pair.
    """
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    if not scene.objects:
        return ()
    author = _QuestionMaker(scene, make_generator(scene, seed, 1))
    asked: dict[str, None] = {}
    kinds = list(QUESTION_KINDS)
    while kinds and len(asked) < n:
        for kind in author.shuffle(kinds):
            if len(asked) == n:
                break
            text = author.ask(kind, asked)
            if text:
                asked[text] = None
            else:
                kinds.remove(kind)
    return tuple(_answer(scene, author.bags, text) for text in asked)


# --- answering --------------------------------------------------------------------------------------------------------


def _answer(scene: AbstractScene, bags: ObjectWords, text: str) -> Question:
    objects = scene.objects
    reader = Reader("question", text, GRAMMAR)
    kind = _read_opening(reader)
    the = partial(_find_only, bags, kind, text)
    if kind in ("colour", "shape", "exists"):
        head = reader.expect("a", "an") if kind == "exists" else ""
        words = _drop_empty(reader.accept(*SIZES), reader.accept(*TEXTURES))
        if kind != "colour":
            words += (reader.expect(*COLOURS),)
        words += (reader.expect(*(("thing",) if kind == "shape" else SHAPES)),)
        reader.expect_end()
        if kind == "exists":
            if head != choose_article(words[0]):
                reader.at = 2
                reader.fail(f"{choose_article(words[0])!r} before {words[0]!r}")
            fits = find_fitting(bags, words)
            return Question(kind, text, "yes" if fits else "no", fits, fits)
        one = the(*(words[:-1] if kind == "shape" else words))
        return Question(kind, text, objects[one].colour if kind == "colour" else objects[one].shape, (one,), (one,))
    if kind == "count":
        word = reader.expect(*COLOURS, "striped", *SINGULARS)
        if word not in SINGULARS:
            reader.expect("things")
        reader.expect("are")
        reader.expect("there")
        reader.expect_end()
        fits = find_fitting(bags, (SINGULARS.get(word, word),))
        if len(fits) > MOST:
            raise ValueError(
                f"question {text!r}: {len(fits)} objects of the scene are counted, but answers go up to {MOST}"
            )
        return Question(kind, text, str(len(fits)), fits, fits)
    first_words = _drop_empty(reader.accept(*COLOURS), reader.expect(*SHAPES))
    if kind in ("left", "above"):
        reader.expect("or")
        reader.expect("the")
        others = (shape for shape in SHAPES if shape != first_words[-1])
        second_words = _drop_empty(reader.accept(*COLOURS), reader.expect(*others))
        reader.expect_end()
        first, second = the(*first_words), the(*second_words)
        a, b = (objects[i].x if kind == "left" else objects[i].y for i in (first, second))
        if a == b:
            raise ValueError(f"question {text!r}: the two objects are exactly level")
        best = first if a < b else second
        return Question(kind, text, objects[best].shape, (best,), (min(first, second), max(first, second)))
    reader.expect_end()
    one = the(*first_words)
    if kind == "same":
        alike = [i for i in find_fitting(bags, (objects[one].colour,)) if i != one]
        if len(alike) != 1:
            raise ValueError(
                f"question {text!r}: {len(alike) or 'no'} other objects of the scene are {objects[one].colour}; "
                "expected exactly one"
            )
        return Question(kind, text, objects[alike[0]].shape, (alike[0],), (min(one, *alike), max(one, *alike)))
    return Question(kind, text, objects[one].size if kind == "size" else objects[one].texture, (one,), (one,))


def _find_only(bags: ObjectWords, kind: str, text: str, *words: str) -> int:
    """The one object that fits the words; ValueError if none does, or several do."""
    fits = find_fitting(bags, words)
    if len(fits) != 1:
        what = " ".join(words) if kind != "shape" else " ".join((*words, "thing"))
        raise ValueError(
            f"question {text!r}: {len(fits) or 'no'} objects of the scene fit 'the {what}'; expected exactly one"
        )
    return fits[0]


def _drop_empty(*words: str) -> tuple[str, ...]:
    return tuple(word for word in words if word)


def _read_opening(reader: Reader) -> str:  # noqa: RET503 - Reader.fail never returns
    """The kind of the question, read off its first words."""
    words = reader.words
    for kind, opening in _OPENINGS.items():
        if words[: len(opening)] == opening:
            reader.at = len(opening)
            return kind
    openings = list(_OPENINGS.values())
    while reader.at < len(words) and any(words[: reader.at + 1] == opening[: reader.at + 1] for opening in openings):
        reader.at += 1
    follow = {opening[reader.at] for opening in openings if opening[: reader.at] == words[: reader.at]}
    reader.fail(" or ".join(repr(word) for word in sorted(follow)))


# --- asking -----------------------------------------------------------------------------------------------------------


_T = TypeVar("_T")


@final
class _QuestionMaker:
    """Draws questions about one scene; ``_name`` methods give the text of one question of that kind, or ""."""

    def __init__(self, scene: AbstractScene, draw: Callable[[], float]) -> None:
        self.objects, self.bags, self.draw = scene.objects, get_object_words(scene), draw
        self.barred = () if scene.split == "unseen" else UNSEEN_PAIRS
        self._eligible: dict[str, list[tuple[str, ...]]] = {}

    def ask(self, kind: str, asked: dict[str, None]) -> str:
        """A question of this kind that has not been asked, "" if none was found."""
        none = self.draw() < (0.5 if kind == "exists" else 0.15)  # the answer is to be "no" or "0"
        for attempt in range(16):
            if attempt == 8:
                none = not none
            if kind in ("exists", "count"):
                text = self._ask_exists(none) if kind == "exists" else self._ask_count(none)
            else:
                text = self._ask_about(kind)
            if not text:
                break
            if text not in asked:
                return text
        return ""

    def pick(self, options: Sequence[_T]) -> _T:
        """One of the options."""
        return options[int(self.draw() * len(options))]

    def shuffle(self, options: Sequence[str]) -> list[str]:
        """The options in random order."""
        rest = list(options)
        return [rest.pop(int(self.draw() * len(rest))) for _ in options]

    def _find_fewest_words(self, index: int, noun: str, choices: Sequence[str]) -> tuple[str, ...] | None:
        """The fewest of the choices that tell an object from all others together with the noun; None if even all of them don't."""
        if find_fitting(self.bags, (noun,)) == (index,):
            return ()
        single = [word for word in choices if find_fitting(self.bags, (word, noun)) == (index,)]
        if single:
            return (self.pick(single),)
        return tuple(choices) if find_fitting(self.bags, (*choices, noun)) == (index,) else None

    def _ask_about(self, kind: str) -> str:
        if kind not in self._eligible:
            self._eligible[kind] = self._list_pairs(kind) if kind in ("left", "above") else self._list_singles(kind)
        if not self._eligible[kind]:
            return ""
        words = self.pick(self._eligible[kind])
        opening = " ".join(_OPENINGS[kind])
        if kind in ("left", "above"):
            first, second = words if self.draw() < 0.5 else words[::-1]
            return f"{opening} {first} or the {second}"
        obj = self.objects[int(words[0])]
        extras = (obj.size, obj.texture) if kind in ("colour", "shape") else (obj.colour,)
        used = [word for word in extras if word in words[1:] or self.draw() < 0.2]
        noun = f"{obj.colour} thing" if kind == "shape" else obj.shape
        return " ".join((opening, *used, noun))

    def _list_singles(self, kind: str) -> list[tuple[str, ...]]:
        """The objects that can be asked about: index and the words that are needed."""
        found = []
        for i, obj in enumerate(self.objects):
            noun = obj.colour if kind == "shape" else obj.shape
            choices = (obj.size, obj.texture) if kind in ("colour", "shape") else (obj.colour,)
            needed = self._find_fewest_words(i, noun, choices)
            if needed is not None and (kind != "same" or len(find_fitting(self.bags, (obj.colour,))) == 2):
                found.append((str(i), *needed))
        return found

    def _list_pairs(self, kind: str) -> list[tuple[str, ...]]:
        """The two descriptions of each pair of objects that can be compared."""
        names: dict[int, str] = {}
        for i, obj in enumerate(self.objects):
            needed = self._find_fewest_words(i, obj.shape, (obj.colour,))
            if needed is not None:
                names[i] = " ".join((*needed, obj.shape))
        found: list[tuple[str, ...]] = []
        for i, j in combinations(names, 2):
            a, b = self.objects[i], self.objects[j]
            if a.shape != b.shape and abs(a.x - b.x if kind == "left" else a.y - b.y) >= OFFSET:
                found.append((names[i], names[j]))
        return found

    def _ask_exists(self, none: bool) -> str:
        obj = self.pick(self.objects)
        size, texture = False, False
        if self.draw() >= 0.8:
            which = self.draw()
            size, texture = which < 0.6, which >= 0.4
        words = [*((obj.size,) if size else ()), *((obj.texture,) if texture else ()), obj.colour, obj.shape]
        if none:
            words = self._find_absent_words(words)
        return f"is there {choose_article(words[0])} {' '.join(words)}" if words else ""

    def _find_absent_words(self, words: Sequence[str]) -> list[str]:
        """Words that fit no object: mostly these words with one of them swapped."""
        if self.draw() < 0.85:
            for at in self.shuffle([str(at) for at in range(len(words))]):
                group = next(group for group in (SIZES, TEXTURES, COLOURS, SHAPES) if words[int(at)] in group)
                options = [self._swap_word(words, int(at), word) for word in group if word != words[int(at)]]
                options = [option for option in options if self._may_deny(option)]
                if options:
                    return self.pick(options)
        options = [[*words[:-2], *pair] for pair in PAIRS]
        options = [option for option in options if self._may_deny(option)]
        return self.pick(options) if options else []

    @staticmethod
    def _swap_word(words: Sequence[str], at: int, word: str) -> list[str]:
        return [*words[:at], word, *words[at + 1 :]]

    def _may_deny(self, words: Sequence[str]) -> bool:
        return (words[-2], words[-1]) not in self.barred and not find_fitting(self.bags, words)

    def _ask_count(self, none: bool) -> str:
        levels: dict[int, list[str]] = {}
        for word in (*COLOURS, *SHAPES, "striped"):
            levels.setdefault(sum(word in bag for bag in self.bags), []).append(word)
        level = 0
        if not none:
            many = [count for count in levels if 2 <= count <= MOST]
            level = self.pick(many) if many and self.draw() < 0.75 else 1
        word = self.pick(levels.get(level) or levels.get(1) or levels[0])
        return f"how many {PLURALS.get(word, word + ' things')} are there"
