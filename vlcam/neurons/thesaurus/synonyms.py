"""Which names mean the same, and which is a kind of which.

A probe that calls one thing by two names splits its evidence, and "red, red star, star" are not three findings. The package brings a
hand-made table of everyday visual concepts (the vocabulary of ADE20K, COCO, VOC, Broden and the like): synonyms, and the next broader
concept. Chains of broader concepts end at a floor such as vehicle, furniture or animal; beyond it (artefact, object, entity) a name says
nothing. Words with two common visual senses (mouse, crane, glass) have no broader concept, so that nothing wrong is claimed of them, and
pairs that merely sound alike ("hot dog" and "dog", "flowerpot" and "pot") are kept apart by hand, as Network Dissection
(arXiv 1704.05796) does. Where WordNet (Fellbaum 1998) is installed, it answers for words that the table lacks.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, final

from vlcam.contracts import InputError, show_record
from vlcam.files import MAX_DEPTH, read_text, refuse_broken, show_path
from vlcam.neurons.probes.probe import Concept
from vlcam.neurons.thesaurus.nouns import list_singulars, normalise_name, pluralise
from vlcam.neurons.thesaurus.wordnet import Nouns, has_wordnet, open_wordnet

__all__ = ["Entry", "Thesaurus", "has_wordnet", "merge_concepts", "normalise_name", "pluralise"]


@final
@dataclass(frozen=True)
class Entry:
    """A concept of a table: other names of it, the next broader concept, and which of WordNet's senses it is (None: the first)."""

    synonyms: tuple[str, ...] = ()
    parent: str | None = None
    sense: str | None = None

    __repr__ = show_record


_Table = tuple[Mapping[str, Entry], frozenset[frozenset[str]]]
"""Concepts by name, and pairs of names that are kept apart."""


def _load_concepts() -> Mapping[str, Entry]:
    return _read_packaged()[0]


def _load_pairs() -> frozenset[frozenset[str]]:
    return _read_packaged()[1]


@final
@dataclass(frozen=True, eq=False)
class Thesaurus:
    """What names mean. Without arguments, by the table of the package.

    Args:
        entries: concepts by name, small letters, singular.
        apart: pairs of names that are unrelated, whatever the table, the words or WordNet say.
        nouns: WordNet, for names that are not in the table (see :meth:`with_wordnet`).

    >>> known = Thesaurus()
    >>> known.canonical("Sofas"), known.parent("sofa"), known.same("couch", "sofa"), known.common(["car", "bus"])
    ('sofa', 'seat', True, 'vehicle')
    >>> known.related("hot dog", "dog"), known.related("red", "red star")
    (False, True)
    """

    entries: Mapping[str, Entry] = field(default_factory=_load_concepts)
    apart: frozenset[frozenset[str]] = field(default_factory=_load_pairs)
    nouns: Nouns | None = None

    __repr__ = show_record

    def __post_init__(self) -> None:
        _check(self.entries)

    @classmethod
    def read(cls, path: str | Path) -> "Thesaurus":
        """By a table of your own: JSON with ``concepts`` {name: {"synonyms": [...], "parent": name}} and, if need be, ``apart`` [[a, b]].

        Raises InputError if it can't be read, a name is there twice, or broader concepts are missing or go round in a circle.
        """
        entries, apart = _parse(read_text(path, "a table of synonyms"), show_path(path))
        return cls(entries, apart)

    @classmethod
    def with_wordnet(cls) -> "Thesaurus":
        """The table of the package, and WordNet for the words that it lacks. Nothing is ever downloaded.

        Raises InputError with what to do if nltk finds no WordNet.
        """
        return cls(nouns=open_wordnet())

    def canonical(self, name: str) -> str:
        """The one name for all that means the same; of an unknown name, the name itself as :func:`normalise_name` gives it.

        Of a label that lists several names, only the first counts: the others are often shared, as in ImageNet's "lesser panda, red
        panda, panda" and "giant panda, panda".
        """
        own = normalise_name(name)
        known = self._find_in_table(own)
        if known is None and self.nouns is not None:
            for form in (own, *list_singulars(own)):
                sense = self.nouns.first(form)
                if sense is not None:
                    return self._name_sense(sense) or form
        return own if known is None else known

    def same(self, a: str, b: str) -> bool:
        """Whether two names mean the same: synonyms, or one the plural of the other."""
        first, second = self.canonical(a), self.canonical(b)
        return first == second or (
            not self._are_apart(a, b) and (pluralise(first) == second or pluralise(second) == first)
        )

    def parent(self, name: str) -> str | None:
        """The next broader concept, None at the floor and for unknown names."""
        own = self.canonical(name)
        entry = self.entries.get(own)
        if entry is not None:
            return entry.parent
        return None if self.nouns is None else self._find_broader(own)

    def kinds_of(self, name: str) -> tuple[str, ...]:
        """The name's own concept and the broader ones, up to the floor.

        >>> Thesaurus().kinds_of("armchairs")
        ('armchair', 'chair', 'seat', 'furniture')
        """
        chain = [self.canonical(name)]
        while (above := self.parent(chain[-1])) is not None and above not in chain:
            chain.append(above)
        return tuple(chain)

    def related(self, a: str, b: str) -> bool:
        """Whether two names mean the same, one is a kind of the other, or all words of one are in the other ("red", "red star")."""
        if self.same(a, b):
            return True
        first, second = self.kinds_of(a), self.kinds_of(b)
        if self._are_apart(a, b):
            return False
        if first[0] in second or second[0] in first:
            return True
        words = [frozenset(normalise_name(name).split()) for name in (a, b)] + [
            frozenset(chain[0].split()) for chain in (first, second)
        ]
        return any(
            bool(words[i]) and bool(words[j]) and (words[i] <= words[j] or words[j] <= words[i])
            for i, j in ((0, 1), (2, 3))
        )

    def common(self, names: Iterable[str]) -> str | None:
        """The narrowest concept that all are kinds of, None if there is none below the floor.

        >>> known = Thesaurus()
        >>> known.common(["armchair", "sofa"]), known.common(["terrier", "dog"]), known.common(["car", "apple"])
        ('seat', 'dog', None)
        """
        chains = [self.kinds_of(name) for name in names]
        return (
            next((one for one in chains[0] if one and all(one in chain for chain in chains)), None) if chains else None
        )

    @staticmethod
    def plural(noun: str) -> str:
        """Several of them (see :func:`pluralise`)."""
        return pluralise(noun)

    @cached_property
    def _lookup(self) -> Mapping[str, str]:
        """Every name of the table, and the concept that it stands for."""
        return {name: concept for concept, entry in self.entries.items() for name in (concept, *entry.synonyms)}

    @cached_property
    def _senses(self) -> Mapping[str, str]:
        """The concepts whose sense in WordNet is given, by that sense."""
        return {entry.sense: concept for concept, entry in self.entries.items() if entry.sense is not None}

    def _find_in_table(self, name: str) -> str | None:
        """The concept of a plain name, or of its singular."""
        return next((self._lookup[form] for form in (name, *list_singulars(name)) if form in self._lookup), None)

    def _are_apart(self, a: str, b: str) -> bool:
        own, other = ({normalise_name(name), self.canonical(name)} for name in (a, b))
        return any(frozenset((one, two)) in self.apart for one in own for two in other)

    def _find_broader(self, name: str) -> str | None:
        """Of a name that only WordNet knows: the next broader name, if it leads to a concept of the table, which is the floor."""
        sense = None if self.nouns is None else self.nouns.first(name)
        if sense is None or self.nouns is None:
            return None
        for path in self.nouns.paths_up(sense):
            called = [one for one in map(self._name_sense, path) if one is not None and one != name]
            if any(one in self.entries for one in called):
                return called[0]
        return None

    def _name_sense(self, sense: str) -> str | None:
        """A sense's name: a concept of the table, or else the first word whose first sense it is; None if there is neither."""
        if sense in self._senses:
            return self._senses[sense]
        first = [word for word in self.nouns.words(sense) if self.nouns.first(word) == sense] if self.nouns else []
        for concept in map(self._find_in_table, first):
            if concept is not None and self.entries[concept].sense in (None, sense):
                return concept
        return next(
            (word for word in first if self._find_in_table(word) is None and normalise_name(word) == word), None
        )


def merge_concepts(concepts: Iterable[Concept], thesaurus: Thesaurus) -> list[tuple[Concept, tuple[int, ...]]]:
    """The concepts that a probe really has, each with the places of those that it is made of (their masks joined by OR).

    First all concepts in the order of the probe, synonyms of the same category as one; a concept that is broader than others of its
    category has these as well. Then broader concepts that the probe doesn't name but of which it has at least two kinds, unless
    a narrower one covers the same.

    >>> merge_concepts([("couch", "object"), ("sofa", "object"), ("chair", "object"), ("red", "color")], Thesaurus())
    [(('sofa', 'object'), (0, 1)), (('chair', 'object'), (2,)), (('red', 'color'), (3,)), (('seat', 'object'), (0, 1, 2))]
    """
    groups: dict[tuple[str, str], list[int]] = {}
    listed = list(concepts)
    for place, (name, category) in enumerate(listed):
        groups.setdefault((thesaurus.canonical(name), category), []).append(place)
    for name, category in list(groups):  # plurals of words that the table doesn't know
        many = (pluralise(name), category)
        if many[0] != name and (name, category) in groups and many in groups and thesaurus.same(name, many[0]):
            groups[name, category] = sorted(groups[name, category] + groups.pop(many))
    below: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for own in groups:
        for broader in thesaurus.kinds_of(own[0])[1:]:
            below.setdefault((broader, own[1]), set()).add(own)
    out: list[tuple[Concept, tuple[int, ...]]] = []
    for own, places in sorted(groups.items(), key=lambda item: item[1]):
        called = own if any(normalise_name(listed[place][0]) == own[0] for place in places[1:]) else listed[places[0]]
        kinds = below.get(own, set())
        out.append((called, tuple(sorted({*places, *(place for kind in kinds for place in groups[kind])}))))
    covered = {(concept[1], places) for concept, places in out}
    for own in groups:
        for broader in thesaurus.kinds_of(own[0])[1:]:
            key = (broader, own[1])
            kinds = below[key]
            union = tuple(sorted(place for kind in kinds for place in groups[kind]))
            if key not in groups and len(kinds) > 1 and (own[1], union) not in covered:
                covered.add((own[1], union))
                out.append((key, union))
    return out


# --- tables -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _read_packaged() -> _Table:
    return _parse(
        files("vlcam.neurons.thesaurus").joinpath("synonyms.json").read_text("utf-8"), "the table of synonyms"
    )


def _parse(text: str, where: str) -> _Table:
    """Concepts and pairs kept apart; InputError if it is not such a table."""
    expected = 'JSON as in {"concepts": {"car": {"synonyms": ["auto"], "parent": "vehicle"}, "vehicle": {}}, "apart": [["hot dog", "dog"]]}'
    with refuse_broken(where, expected, fault="is not a table of synonyms ({})"):
        found = json.loads(text)
        entries = {normalise_name(name): _parse_entry(row) for name, row in found["concepts"].items()}
        apart = frozenset(frozenset((normalise_name(a), normalise_name(b))) for a, b in found.get("apart", []))
    return entries, apart


def _parse_entry(row: Mapping[str, Any]) -> Entry:
    unknown = set(row) - {"synonyms", "parent", "sense"}
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} is unknown")
    synonyms, parent, sense = row.get("synonyms", []), row.get("parent"), row.get("sense")
    if not isinstance(synonyms, list):
        raise TypeError("synonyms is not a list")
    return Entry(tuple(map(normalise_name, synonyms)), None if parent is None else normalise_name(parent), sense)


def _check(entries: Mapping[str, Entry]) -> None:
    """InputError for a name of two concepts, a missing parent or a circle."""
    taken: dict[str, str] = {}
    for concept, entry in entries.items():
        for name in (concept, *entry.synonyms):
            if taken.setdefault(name, concept) != concept or (name == concept and name in entry.synonyms):
                raise InputError(
                    f"{name!r} is a name of {taken[name]!r} and of {concept!r}; expected every name once: drop one"
                )
        if entry.parent is not None and entry.parent not in entries:
            raise InputError(
                f"the parent of {concept!r} is {entry.parent!r}, which is not a concept of the table; add it"
            )
    for concept in entries:
        above, steps = entries[concept].parent, 0
        while above is not None:
            steps += 1
            if steps > min(len(entries), MAX_DEPTH):
                raise InputError(
                    f"the broader concepts of {concept!r} go round in a circle, or up more than {MAX_DEPTH} steps; drop one of the parents"
                )
            above = entries[above].parent
