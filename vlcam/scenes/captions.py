"""Captions of the bundled world: true captions of a scene, and the exact check of any caption.

The grammar is that of :mod:`vlcam.scenes.grammar`.

How a caption is read. Each singular phrase is matched with one object, a plural phrase with all the objects that fit it,
and two phrases take different objects. Among all matchings the one with the largest number of true attribute and number
words counts; if several have it, one in which the relation holds, then the one with the most true words in the first
phrase, then the first in the order of the objects. Then

* an attribute word (size, texture, colour, shape) is true if the matched object has it;
* an article is true if the shape word of its phrase is;
* in a plural phrase the shape word is true if there is an object of that shape (that the other phrase does not take), the
  colour word if there is one of that colour and shape (of that colour, where the shape is missing), and the number word
  if exactly that many objects of the whole scene fit the phrase and the other phrase takes none of them;
* the words of a relation are true if both phrases have a matched object (one of which at least one attribute word is
  true) and their centres are in that relation: strictly smaller or larger x or y, without a margin;
* "and" is true if every word of both phrases is.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from vlcam.scenes.grammar import (
    CAPTION_WORDS,
    NUMBERS,
    PLURALS,
    RELATIONS,
    ObjectWords,
    ParsedCaption,
    Phrase,
    choose_article,
    find_fitting,
    get_object_words,
    is_in_relation,
    make_generator,
    parse,
)
from vlcam.scenes.record import AbstractScene, Caption, SceneObject

__all__ = ["CAPTION_WORDS", "MARGIN", "check_words", "find_word_objects", "make_captions", "parse"]

MARGIN = 0.12
"""Least offset along its axis, as a fraction of the picture's side, for which a generated caption uses a relation."""


def check_words(scene: AbstractScene, caption: str | Sequence[str]) -> tuple[bool, ...]:
    """Whether each word of a caption is true of the scene, for any caption of the grammar (see above)."""
    return _judge(scene.objects, get_object_words(scene), parse(caption))[0]


def find_word_objects(scene: AbstractScene, caption: str | Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The objects that each word of a caption is about, for any caption of the grammar.

    Attribute words and numbers are about the objects of their phrase, the words of a relation about those of both
    phrases; false words, articles and "and" are about none. Where several objects fit equally well, all are given.
    """
    return _judge(scene.objects, get_object_words(scene), parse(caption))[1]


def make_captions(scene: AbstractScene, n: int = 5, *, seed: int = 0) -> tuple[Caption, ...]:
    """``n`` different true captions (fewer if the scene has fewer), the same for the same scene and seed.

    About 65 % relate two objects, 15 % join two with "and", 10 % name one and 10 % count some, where the scene allows
    each. Relations are used only if clear: an offset of at least MARGIN along the axis, and no smaller than across it.
    """
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    if not scene.objects:
        return ()
    objects, bags, draw = scene.objects, get_object_words(scene), make_generator(scene, seed, 0)
    related, plurals = _find_relations(objects), _find_plurals(objects)
    found: dict[tuple[str, ...], ParsedCaption] = {}
    for _ in range(4 * n + 20):
        if len(found) >= n:
            break
        parsed = _sample(objects, bags, related, plurals, draw)
        found.setdefault(parsed.words, parsed)
    if len(found) < n:
        rest = [parsed for parsed in _iterate_captions(objects, bags, related, plurals) if parsed.words not in found]
        while rest and len(found) < n:
            parsed = rest.pop(int(draw() * len(rest)))
            found.setdefault(parsed.words, parsed)
    return tuple(Caption(words, _judge(objects, bags, parsed)[1]) for words, parsed in found.items())


# --- the generator ----------------------------------------------------------------------------------------------------

_Part = tuple[str, tuple[str, ...]]  # number word or "", attribute words


def _find_relations(objects: Sequence[SceneObject]) -> list[tuple[int, str, int]]:
    """The pairs of objects with a relation that holds clearly."""
    found = []
    for i, first in enumerate(objects):
        for j, second in enumerate(objects):
            dx, dy = second.x - first.x, second.y - first.y
            if i != j and abs(dx) >= MARGIN and abs(dx) >= abs(dy):
                found.append((i, "left of" if dx > 0 else "right of", j))
            if i != j and abs(dy) >= MARGIN and abs(dy) >= abs(dx):
                found.append((i, "above" if dy > 0 else "below", j))
    return found


def _find_plurals(objects: Sequence[SceneObject]) -> list[_Part]:
    """The plural phrases that are true."""
    counts: dict[tuple[str, ...], int] = {}
    for obj in objects:
        for attributes in ((obj.shape,), obj.pair):
            counts[attributes] = counts.get(attributes, 0) + 1
    return [(word, attributes) for attributes, count in counts.items() for word, n in NUMBERS.items() if n == count]


def _assemble(link: str, *parts: _Part) -> ParsedCaption:
    words: list[str] = []
    phrases = []
    for number, attributes in parts:
        if words:
            words += link.split()
        head = number or choose_article(attributes[0])
        phrases.append(Phrase(len(words), head, attributes))
        words += (head, *attributes[:-1], PLURALS[attributes[-1]] if number else attributes[-1])
    return ParsedCaption(tuple(words), tuple(phrases), link if len(parts) > 1 else "")


def _describe(obj: SceneObject, draw: Callable[[], float]) -> _Part:
    size = (obj.size,) if draw() < 0.8 else ()
    texture = (obj.texture,) if draw() < (0.8 if obj.texture == "striped" else 0.15) else ()
    return "", (*size, *texture, obj.colour, obj.shape)


def _sample(
    objects: Sequence[SceneObject],
    bags: ObjectWords,
    related: Sequence[tuple[int, str, int]],
    plurals: Sequence[_Part],
    draw: Callable[[], float],
) -> ParsedCaption:
    kind = draw()
    if kind < 0.10 and plurals:
        counted = plurals[int(draw() * len(plurals))]
        taken = find_fitting(bags, counted[1])
        others = [index for index in range(len(objects)) if index not in taken]
        if not others or draw() < 0.5:
            return _assemble("", counted)
        more = [part for part in plurals if not set(find_fitting(bags, part[1])) & set(taken)]
        if more and draw() < 0.5:
            return _assemble("and", counted, more[int(draw() * len(more))])
        other = _describe(objects[others[int(draw() * len(others))]], draw)
        return _assemble("and", *((counted, other) if draw() < 0.5 else (other, counted)))
    single = 0.10 <= kind < 0.20
    if related and kind < 0.85 and not single:
        i, relation, j = related[int(draw() * len(related))]
        return _assemble(relation, _describe(objects[i], draw), _describe(objects[j], draw))
    i = int(draw() * len(objects))
    if single or len(objects) == 1:
        return _assemble("", _describe(objects[i], draw))
    j = (i + 1 + int(draw() * (len(objects) - 1))) % len(objects)
    return _assemble("and", _describe(objects[i], draw), _describe(objects[j], draw))


def _iterate_captions(
    objects: Sequence[SceneObject], bags: ObjectWords, related: Sequence[tuple[int, str, int]], plurals: Sequence[_Part]
) -> Iterator[ParsedCaption]:
    """Every caption that the generator can give, some of them more than once."""
    single: list[list[_Part]] = [
        [("", (*size, *texture, *t.pair)) for size, texture in product(((), (t.size,)), ((), (t.texture,)))]
        for t in objects
    ]
    for i, parts in enumerate(single):
        for part in parts:
            yield _assemble("", part)
        for j, others in enumerate(single):
            for pair in product(parts, others if i != j else ()):
                yield _assemble("and", *pair)
    for i, relation, j in related:
        for pair in product(single[i], single[j]):
            yield _assemble(relation, *pair)
    for part in plurals:
        yield _assemble("", part)
        taken = set(find_fitting(bags, part[1]))
        for other in plurals:
            if not taken & set(find_fitting(bags, other[1])):
                yield _assemble("and", part, other)
        for i, others in enumerate(single):
            for other in others if i not in taken else ():
                yield _assemble("and", part, other)
                yield _assemble("and", other, part)


# --- the check --------------------------------------------------------------------------------------------------------

_Flags = tuple[bool, ...]
_Match = tuple[_Flags, tuple[int, ...]]  # truth of each word of a phrase, the objects it takes
_Judgement = tuple[_Flags, tuple[tuple[int, ...], ...]]


def _judge(objects: Sequence[SceneObject], bags: ObjectWords, parsed: ParsedCaption) -> _Judgement:
    """Truth and objects of each word."""
    fits = _find_true_matches(objects, bags, parsed)
    if fits is not None:
        return (True,) * len(parsed.words), _assign_to_words(parsed, (True,) * len(parsed.words), fits)
    best: tuple[int, bool, int] = (-1, False, 0)
    flags: _Flags = ()
    takes: list[set[int]] = []
    for matches in _iterate_matchings(bags, parsed.phrases):
        related = False
        if parsed.link in RELATIONS and all(taken for _, taken in matches):
            related = is_in_relation(parsed.link, objects[matches[0][1][0]], objects[matches[1][1][0]])
        scores = [sum(truth[not phrase.plural :]) for phrase, (truth, _) in zip(parsed.phrases, matches, strict=True)]
        rank = (sum(scores), related, scores[0])
        here = matches[0][0]
        if len(matches) == 2:
            link = related if parsed.link in RELATIONS else all(matches[0][0] + matches[1][0])
            here += (link,) * len(parsed.link.split()) + matches[1][0]
        if rank > best:
            best, flags, takes = rank, here, [set() for _ in matches]
        if rank == best and here == flags:
            for take, (_, taken) in zip(takes, matches, strict=True):
                take.update(taken)
    return flags, _assign_to_words(parsed, flags, [tuple(sorted(take)) for take in takes])


def _find_true_matches(
    objects: Sequence[SceneObject], bags: ObjectWords, parsed: ParsedCaption
) -> list[tuple[int, ...]] | None:
    """The objects of each phrase in all the matchings that make every word true; None if there is none."""
    fits = [find_fitting(bags, phrase.attributes) for phrase in parsed.phrases]
    for phrase, fit in zip(parsed.phrases, fits, strict=True):
        if not fit or (phrase.plural and len(fit) != NUMBERS[phrase.head]):
            return None
    if len(fits) == 1:
        return fits
    first, second = parsed.phrases
    if first.plural and second.plural:
        return None if set(fits[0]) & set(fits[1]) else fits
    if first.plural or second.plural:
        one, counted = (1, 0) if first.plural else (0, 1)
        fits[one] = tuple(index for index in fits[one] if index not in fits[counted])
        return fits if fits[one] else None
    relation = parsed.link
    pairs = [
        (i, j)
        for i, j in product(*fits)
        if i != j and (relation == "and" or is_in_relation(relation, objects[i], objects[j]))
    ]  # fmt: skip
    return [tuple(sorted({pair[side] for pair in pairs})) for side in (0, 1)] if pairs else None


def _assign_to_words(
    parsed: ParsedCaption, flags: _Flags, takes: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """The objects of each phrase, given to its words."""
    both: tuple[int, ...] = tuple(sorted(set().union(*takes))) if parsed.link in RELATIONS else ()
    found = [both] * len(parsed.words)
    for phrase, taken in zip(parsed.phrases, takes, strict=True):
        found[phrase.start] = taken if phrase.plural else ()
        for at in range(phrase.start + 1, phrase.start + 1 + len(phrase.attributes)):
            found[at] = taken
    return tuple(objects if flag else () for flag, objects in zip(flags, found, strict=True))


def _iterate_matchings(bags: ObjectWords, phrases: Sequence[Phrase]) -> Iterator[tuple[_Match, ...]]:
    """Every way to match the phrases with objects, in the order of the objects."""
    choices = (*range(len(bags)), -1)  # -1: no object
    if len(phrases) == 1:
        (phrase,) = phrases
        yield from (
            ((_match_plural(bags, phrase, ()),),)
            if phrase.plural
            else ((_match_singular(bags, phrase, i),) for i in choices)
        )
        return
    first, second = phrases
    if first.plural and second.plural:
        a = _match_plural(bags, first, ())
        yield a, _match_plural(bags, second, a[1])
        b = _match_plural(bags, second, ())
        yield _match_plural(bags, first, b[1]), b
    elif first.plural or second.plural:
        for i in choices:
            match = _match_singular(bags, second if first.plural else first, i)
            counted = _match_plural(bags, first if first.plural else second, match[1])
            yield (counted, match) if first.plural else (match, counted)
    else:
        ones, others = ([(i, _match_singular(bags, phrase, i)) for i in choices] for phrase in phrases)
        for (i, one), (j, other) in product(ones, others):
            if i != j or i == -1:
                yield one, other


def _match_singular(bags: ObjectWords, phrase: Phrase, index: int) -> _Match:
    """A singular phrase matched with one object, or with none for -1."""
    truth = tuple(word in bags[index] if index >= 0 else False for word in phrase.attributes)
    return (truth[-1], *truth), (index,) if any(truth) else ()


def _match_plural(bags: ObjectWords, phrase: Phrase, others: tuple[int, ...]) -> _Match:
    """A plural phrase matched with the objects that fit it, except those that the other phrase takes."""
    fit = find_fitting(bags, phrase.attributes)
    for words in (phrase.attributes, phrase.attributes[-1:], phrase.attributes[:1]):
        taken = tuple(index for index in find_fitting(bags, words) if index not in others)
        if taken:
            break
    number = len(fit) == NUMBERS[phrase.head] and not set(fit) & set(others)
    truth = (word in words and bool(taken) for word in phrase.attributes)
    return (number, *truth), taken
