"""Is a neuron text true? The ground truth of what a text may say about a scene, and counts of what it says.

A name is *visible* if at least one object of the scene has it (colour, shape, texture, size, pair, "object"), if it is the scene's
background, or if an object lies in the region. It is *relevant* to a target if it shares a word with what was said, or with the question.
The reference of a *sign* is the meaning of the words: for "red", names that imply it or that it implies ("red star") speak for it, and
other colours speak against it; all other names have no sign that could be right or wrong. A class is about one pair only, so for classes
the names of other colours and shapes have no sign either.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool
from numpy.random import Generator

from vlcam.contracts import Target
from vlcam.explanation.record import NamedEvidence, NeuronText, TargetView
from vlcam.metrics.statistics import Seed, Summary, summarise_share
from vlcam.neurons import NeuronNames
from vlcam.neurons.probes.scenes import CONCEPTS, REGIONS
from vlcam.scenes.grammar import SINGULARS
from vlcam.scenes.record import COLOURS, SHAPES, SIZES, TEXTURES
from vlcam.scenes.scene import Scene

FAMILIES: Final = (COLOURS, SHAPES, SIZES, TEXTURES)
CONTENT: Final = frozenset(word for family in FAMILIES for word in family)
RESAMPLES: Final = 1000
"""How many times the scenes are drawn for an interval."""
PLACE_CATEGORIES: Final = ("background", "region")
"""Categories of names that are not about objects."""

_GRID: Final = 48

NameAndCategory = tuple[str, str | None]
"""A name and its category."""

Claim = tuple[str, str, str | None]
"""Case, name and category."""


@final
@dataclass(frozen=True, eq=False)
class TextCase:
    """One target in one scene and its text: ``objects`` are the numbers of those that a word or a class is about."""

    scene: int
    view: TargetView
    text: NeuronText
    question: str | None
    objects: frozenset[int]

    @property
    def kind(self) -> str:
        """Class, word or answer."""
        return self.view.target.kind


def find_visible_names(scene: Scene) -> frozenset[NameAndCategory]:
    """The concepts that the scene shows."""
    out: set[NameAndCategory] = {(scene.background, "background")}
    for obj in scene.objects:
        out |= {("thing", "object"), (obj.colour, "colour"), (obj.shape, "shape"), (obj.texture, "texture")}
        out |= {(obj.size, "size"), (" ".join(obj.pair), "pair")}
    covered = scene.masks(_GRID).any(axis=0).reshape(3, _GRID // 3, 3, _GRID // 3).any(axis=(1, 3))
    return frozenset(out | {(name, "region") for place, name in enumerate(REGIONS) if covered.flat[place]})


def mark_visible_concepts(scenes: Iterable[Scene]) -> Bool[np.ndarray, "scenes concepts"]:
    """Which of CONCEPTS each scene shows."""
    return np.array([[concept in shown for concept in CONCEPTS] for shown in map(find_visible_names, scenes)], np.bool_)


def extract_content_words(text: str) -> frozenset[str]:
    """The colours, shapes, sizes and textures in a text; plurals as their singulars.

    >>> sorted(extract_content_words("how many red stars are there"))
    ['red', 'star']
    """
    return frozenset(SINGULARS.get(word, word) for word in text.split()) & CONTENT


def find_sign(name: str, target: Target) -> int:
    """What the meaning of the words says about a name: 1 that it speaks for the target, -1 against it, 0 neither.

    >>> red = Target("red", "word")
    >>> find_sign("red star", red), find_sign("blue heart", red), find_sign("star", red)
    (1, -1, 0)
    >>> find_sign("red", Target("red star", "class")), find_sign("blue heart", Target("red star", "class"))
    (1, 0)
    """
    said, words = extract_content_words(target.label), extract_content_words(name)
    if not said or not words:
        return 0
    if said <= words or words <= said:
        return 1
    if target.kind == "class":
        return 0
    rivals = {word for family in FAMILIES if said & set(family) for word in family} - said
    return -1 if words & rivals and not words & said else 0


@final
@dataclass
class Counts:
    """Of one text: how many of how many claims are right, by measure. ``shares[measure] = (right, all)``."""

    shares: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, measure: str, right: float, total: float) -> None:
        """Count some more."""
        have = self.shares.get(measure, (0.0, 0.0))
        self.shares[measure] = (have[0] + right, have[1] + total)

    def join(self, other: "Counts") -> None:
        """Take in another text's counts."""
        for measure, (right, total) in other.shares.items():
            self.add(measure, right, total)


def summarise_counts(shares: Sequence[tuple[float, float]], seed: Seed) -> Summary:
    """A share from how many were right, and of how many, in every scene: with its interval over scenes."""
    right, total = np.array(shares, np.float64).reshape(-1, 2).T
    return summarise_share(right, total, seed=seed, resamples=RESAMPLES)


def export_summary(found: Summary, value: str, interval: str) -> dict[str, Any]:
    """A number and its interval as JSON values under these two names; None where there is no answer."""
    return {
        value: None if math.isnan(found.mean) else found.mean,
        interval: None if math.isnan(found.low) else [found.low, found.high],
    }


MEASURES: Final = {
    "precision": "names given as support that are visible",
    "precision, objects": "the same without backgrounds and regions",
    "recall": "visible names that are mentioned",
    "recall, own words": "visible names with a word of the target that are mentioned",
    "hallucination": "names given as support that are neither visible nor relevant",
    "distractors": "of the visible names given as support, those not relevant (where the target has words of the scene)",
    "absence precision": "names said to be absent that are not visible",
    "sign accuracy": "names whose sign agrees with the words' meaning",
}
"""What is counted of a text's claims. For hallucination and distractors lower is better; a distractor is true, but beside the point."""


def count(
    said: Sequence[Claim],
    target: Target,
    question: str | None,
    shown: frozenset[NameAndCategory],
    vocabulary: frozenset[NameAndCategory],
) -> Counts:
    """Compare what a text says about one target with the scene; ``vocabulary`` are all names that it could use."""
    about = extract_content_words(f"{target.label} {question or ''}")
    supports = {(name, category) for case, name, category in said if case == "supports"}
    silent = [(name, category) for case, name, category in said if case in ("absent", "missing")]
    objects = {one for one in supports if one[1] not in PLACE_CATEGORIES}
    could = shown & vocabulary
    own = {one for one in could if extract_content_words(one[0]) & extract_content_words(target.label)}
    relevant = {one for one in supports if extract_content_words(one[0]) & about}
    out = Counts()

    def add(measure: str, right: int, total: int) -> None:
        out.add(measure, float(right), float(total))

    add("precision", len(supports & shown), len(supports))
    add("precision, objects", len(objects & shown), len(objects))
    add("recall", len(supports & could), len(could))
    add("recall, own words", len(supports & own), len(own))
    add("hallucination", len(supports - shown - relevant), len(supports))
    if about:
        add("distractors", len((supports & shown) - relevant), len(supports & shown))
    add("absence precision", sum(one not in shown for one in silent), len(silent))
    signs = [(1 if case in ("supports", "missing") else -1, find_sign(name, target)) for case, name, _ in said]
    add("sign accuracy", sum(claimed == true for claimed, true in signs), sum(true != 0 for _, true in signs))
    return out


def list_claims(named: Iterable[NamedEvidence]) -> list[Claim]:
    """What the records of a text claim."""
    return [(one.case, one.name, one.category) for one in named]


# --- what else could have been said ----------------------------------------------------------------------------------------


def get_vocabulary(names: NeuronNames) -> frozenset[NameAndCategory]:
    """All that a text with these names could say."""
    own = {(unit.name, unit.category) for unit in names.units if unit.name is not None}
    every = (*(unit.claims or () for unit in names.units), *(group.claims for group in names.together))
    return frozenset(own | {(name, category) for claims in every for name, category, _ in claims})


def claim_by_alpha(names: NeuronNames, view: TargetView) -> list[Claim]:
    """The paper's claims: names of the 5 channels with the largest alpha are present, of the 5 with the smallest absent."""
    text = names.describe(view.explanation, view, style="paper")
    found = [("supports", one) for one in text.top] + [("absent", one) for one in text.bottom]
    claimed = [(case, one.name, names.units[one.unit].category) for case, one in found if one.name is not None]
    return list(dict.fromkeys(claimed))


def permute_names(names: NeuronNames, rng: Generator) -> NeuronNames:
    """The names shuffled over the named units; how far above T_k a name may be claimed, alone and together, goes with it."""
    places = [unit.unit for unit in names.units if unit.name is not None]
    units = list(names.units)
    moved: dict[int, int] = {}
    for place, source in zip(places, rng.permutation(places).tolist(), strict=True):
        moved[source] = place
        here, other = names.units[place], names.units[source]
        scale = here.threshold / other.threshold if other.threshold > 0 else 1.0
        levels = (
            None if other.claims is None else tuple((name, what, level * scale) for name, what, level in other.claims)
        )
        units[place] = replace(other, unit=place, threshold=here.threshold, claims=levels)
    together = []
    for group in names.together:
        scales = [
            units[moved[one]].threshold / names.units[one].threshold if names.units[one].threshold > 0 else 1.0
            for one in group.units
        ]
        weights = tuple(weight / scale for weight, scale in zip(group.weights, scales, strict=True))
        together.append(replace(group, units=tuple(moved[one] for one in group.units), weights=weights))
    return replace(names, units=tuple(units), together=tuple(together))


def remove_calibration(names: NeuronNames) -> NeuronNames:
    """The same names, claimed whenever the unit fires above T_k."""
    return replace(names, units=tuple(replace(unit, claims=None) for unit in names.units), together=())


def claim_at_random(own: Sequence[Claim], vocabulary: Sequence[NameAndCategory], rng: Generator) -> list[Claim]:
    """As many claims of each case, about names drawn without replacement."""
    out: list[Claim] = []
    for case, many in Counter(case for case, _, _ in own).items():
        chosen = rng.permutation(len(vocabulary))[:many].tolist()
        out += [(case, *vocabulary[one]) for one in chosen]
    return out


@final
class Prior:
    """What texts about the same target claim in other scenes."""

    def __init__(self, claimed: Iterable[tuple[Hashable, int, Sequence[Claim]]]) -> None:
        """``claimed``: of every text its target, its scene and its claims."""
        self._all: dict[Hashable, Counter[Claim]] = {}
        self._own: dict[Hashable, Counter[Claim]] = {}
        for target, scene, claims in claimed:
            self._all.setdefault(target, Counter()).update(claims)
            self._own.setdefault((target, scene), Counter()).update(claims)

    def claim(self, target: Hashable, scene: int, own: Sequence[Claim]) -> list[Claim]:
        """As many claims of each case as ``own`` has, the most frequent first."""
        left = self._all[target] - self._own[target, scene]
        ranked = sorted(left, key=lambda one: (-left[one], str(one)))
        wanted = Counter(what for what, _, _ in own)
        return [one for what, many in wanted.items() for one in [c for c in ranked if c[0] == what][:many]]
