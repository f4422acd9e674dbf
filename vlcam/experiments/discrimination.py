"""Experiment 4: does a map tell which of two classes in a picture it is about?

Selvaraju et al. 2017 (arXiv 1610.02391, section 5.1) showed people one visualisation of a picture of VOC 2007 with exactly two annotated
categories and asked which of the two it shows. Without people, the same pictures answer two questions that have a chance of 50 % each:

    mass:   sum of R_1 in M_1 / sum of R_1  >  sum of R_2 in M_1 / sum of R_2,    and the same with 1 and 2 exchanged,
    judge:  s_1(top region of R_1 alone)  >  s_2(top region of R_1 alone),        and the same with 1 and 2 exchanged,

where R_c is the map of class c, M_c its mask and s_c the score that a frozen model gives c when it sees nothing else (the mean colour is
elsewhere). A method whose map is the same for both classes gets exactly one of the two right, whatever the judge prefers. An empty map
tells nothing: its comparison counts half, as guessing would, and is counted.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError, Maps, Request, Task
from vlcam.experiments.classes import matched, region_of, usable
from vlcam.experiments.controls import untrained_task
from vlcam.experiments.maps import Mapped, ceiling_map, centre_map, edge_map, every_map, random_map
from vlcam.experiments.published import Published, published
from vlcam.experiments.results import Result, Row, number
from vlcam.experiments.samples import Has, Sample, World
from vlcam.experiments.setting import Setting
from vlcam.explainer import ran
from vlcam.methods import method, way
from vlcam.metrics.mass import relevance_mass
from vlcam.metrics.summary import Summary, summarise
from vlcam.regions import AREA, top_region

KEY: Final = "discrimination"
METHODS: Final = ("guided-backprop", "guided-gradcam", "deconvnet", "deconv-gradcam", "gradcam", "c-mwp")
MASS: Final = "more mass on its own thing"
JUDGE: Final = "judge names it (paper: people)"
_MASKS: Final[Has] = "masks"
_BOXES: Final[Has] = "boxes"
_LOOKED_AT: Final = 60
"""Of a world without end, so many pictures are looked at for each one that is wanted."""


# --- pictures of a classifier's world, shared with the experiments on trust, faithfulness, counterfactuals and depth ---


@final
@dataclass(frozen=True, eq=False)
class Case:
    """A picture with C classes that the model knows: ``labels`` are their numbers in the model, ``masks`` where they are."""

    number: int
    sample: Sample
    labels: tuple[int, ...]
    masks: tuple[Bool[Tensor, "height width"], ...]

    @property
    def areas(self) -> tuple[float, ...]:
        """The share of the picture that each class has."""
        return tuple(float(mask.double().mean()) for mask in self.masks)


def marked(setting: Setting, task: Task) -> World:
    """The data with masks or, where there are none, with boxes. Raises InputError if they have neither."""
    try:
        return setting.world([_MASKS], task)
    except InputError:
        return setting.world([_BOXES], task)


def pictures(world: World, task: Task, n: int, *, classes: int | None = None) -> Iterator[Case]:
    """The first ``n`` pictures with an annotated class that the model knows; or with ``classes`` of them exactly, all known.

    A data set with an end is taken in its fixed random order. Raises InputError if there is no such picture.
    """
    of = matched(task, world)
    found = 0
    for sample in _samples(world, n):
        present = [one for one in sample.present if one in of]
        if not present or classes not in (None, len(present)) or (classes and len(sample.present) != classes):
            continue
        masks = [one for index in present if (one := region_of(sample.of(index), sample.size)) is not None]
        if len(masks) == len(present):
            yield Case(found, sample, tuple(of[one] for one in present), tuple(masks))
            found += 1
        if found == n:
            return
    if not found:
        what = "annotated classes" if classes is None else f"exactly {classes} annotated classes"
        raise InputError(
            f"no picture of {world.name} has {what} that {task.name} knows; give other data or another model"
        )


def _samples(world: World, n: int) -> Iterator[Sample]:
    """Ever more samples, each once."""
    if world.size is None:
        yield from world.samples(_LOOKED_AT * n)
        return
    seen: set[str] = set()
    many = n
    while True:
        for sample in world.samples(many):
            if sample.name not in seen:
                seen.add(sample.name)
                yield sample
        if many >= world.size:
            return
        many *= 2


RANDOM, CENTRE, EDGES, UNTRAINED = "random", "centre", "Sobel edges", "untrained model"
CEILING: Final = "true masks at the map's resolution"


def controls_of(mapped: Mapped, newborn: Task, rng: np.random.Generator) -> dict[str, Maps]:
    """Control maps of one picture: the centre and the edges are the same for all targets; ``newborn`` is the untrained model's task."""
    count = len(mapped.targets)
    subject = mapped.subject
    blank = ran(newborn, subject.prepared, subject.request, newborn.layer)[1].maps(method("gradcam")).maps
    return {
        RANDOM: torch.cat([random_map(mapped.grid, rng) for _ in range(count)]),
        CENTRE: centre_map(mapped.grid).expand(count, -1, -1),
        EDGES: edge_map(subject.image.float().cpu()).expand(count, -1, -1),
        UNTRAINED: blank.clamp_min(0),
    }


def ceilings(mapped: Mapped, masks: Sequence[Bool[Tensor, "height width"]]) -> Maps:
    """The true masks at the resolution of the layer."""
    return torch.cat([ceiling_map(mask.numpy(), mapped.geometry, mapped.grid) for mask in masks])


@final
@dataclass(frozen=True, eq=False)
class Tally:
    """Values by row and column, each with the number of its photo; ``empty`` counts those that an empty map gave."""

    values: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)
    empty: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, name: str, column: str, photo: int, value: float, *, empty: bool = False) -> None:
        """One more value; NaN is no answer."""
        self.values.setdefault((name, column), []).append((photo, float(value)))
        self.empty[name, column] = self.empty.get((name, column), 0) + empty

    def summary(self, name: str, column: str, seed: int = 0) -> Summary:
        """The mean with its interval over photos."""
        pairs = self.values.get((name, column), [])
        return summarise([value for _, value in pairs], seed=seed, clusters=[photo for photo, _ in pairs])

    def ahead(self, name: str, other: str, column: str, seed: int = 0) -> Summary:
        """The mean of the differences between two rows, value by value, with its interval over photos."""
        pairs = zip(self.values[name, column], self.values[other, column], strict=True)
        both = [(photo, one - two) for (photo, one), (_, two) in pairs]
        return summarise([value for _, value in both], seed=seed, clusters=[photo for photo, _ in both])

    def rows(self, key: str, names: Sequence[str], seed: int = 0, *, paper: str | None = None) -> tuple[Row, ...]:
        """The rows of some names, column by column; the paper's numbers of the experiment go with the column ``paper``."""
        return tuple(
            self._row(key, name, column, seed, column == paper)
            for name in names
            for known, column in self.values
            if known == name
        )

    def _row(self, key: str, name: str, column: str, seed: int, with_paper: bool) -> Row:
        one = self.summary(name, column, seed)
        found = Row(name, one.mean, one.low, one.high, one.n, one.undefined + self.empty[name, column], column=column)
        paper = paper_of(key, name) if with_paper else None
        if paper is None:
            return found
        return replace(found, paper=paper.value, source=f"{paper.source}; {paper.model}")


def paper_of(key: str, name: str) -> Published | None:
    """The paper's number of a method. Names are looked up without their punctuation, and Grad-CAM++ is not Grad-CAM.

    >>> paper_of("faithfulness", "gradcam").value, paper_of("faithfulness", "gradcam++")
    (0.254, None)
    """
    return None if name.endswith("+") else published(key, name)


def said(one: Summary, unit: str = "") -> str:
    """A mean with its interval, for a note.

    >>> said(Summary(4, 0, 75.0, 25.0, 100.0), "%")
    '75.0 [25.0, 100.0]'
    """
    return f"{number(one.mean, unit)} [{number(one.low, unit)}, {number(one.high, unit)}]"


# --- the experiment ---


def won(own: float, other: float) -> float:
    """1 if ``own`` is larger, 0 if it is smaller, one half for a tie or where one of them is no number.

    >>> won(2.0, 1.0), won(1.0, 2.0), won(1.0, 1.0), won(nan, 1.0)
    (1.0, 0.0, 0.5, 0.5)
    """
    return 0.5 if isnan(own) or isnan(other) or own == other else float(own > other)


def more_mass(
    heat: Float[Tensor, "two height width"], masks: Sequence[Bool[Tensor, "height width"]]
) -> tuple[list[float], list[bool]]:
    """For each of two classes: whether its map has more of its mass in its mask than the other's map has; and whether one is empty."""
    shares = [[relevance_mass(one, mask) for one in heat] for mask in masks]
    outcomes = [won(shares[0][0], shares[0][1]), won(shares[1][1], shares[1][0])]
    return outcomes, [any(isnan(one) for one in row) for row in shares]


def judged(
    scores: Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch two"]],
    image: Float[Tensor, "1 channels height width"],
    maps: Sequence[Float[Tensor, "two _ _"]],
    area: float = AREA,
) -> tuple[list[list[float]], list[list[bool]]]:
    """For each pair of maps: whether the judge, shown the top area of a class's map alone, scores that class higher than the other.

    The rest of the picture is its mean colour. Also says which maps are empty; their picture is all of that colour, and counts half.
    """
    size = (image.shape[2], image.shape[3])
    regions = [[top_region(one.to(image.device), size, area) for one in pair] for pair in maps]
    empty = image.mean((2, 3), keepdim=True).expand_as(image)
    shown = [empty if one is None else torch.where(one, image, empty) for pair in regions for one in pair]
    given = scores(torch.cat(shown)).double().view(len(maps), 2, 2)
    blank = [[one is None for one in pair] for pair in regions]
    outcomes = [
        [0.5 if blank[place][own] else won(float(row[own][own]), float(row[own][1 - own])) for own in range(2)]
        for place, row in enumerate(given)
    ]
    return outcomes, blank


def run(setting: Setting) -> Result:
    """Experiment 4. Raises InputError for data without boxes, or without pictures of two classes that the model knows."""
    began = time.monotonic()
    task = setting.task("classification")
    world = marked(setting, task)
    n = setting.count(50, 600)
    rng = np.random.default_rng([setting.seed, 4])
    cases = list(pictures(world, task, n, classes=2))
    kept, notes = usable(task, world, tuple(dict.fromkeys((*METHODS, *setting.methods))))
    names = tuple(str(name) for name in kept)
    newborn = untrained_task(task, setting.seed)
    tally = Tally()
    for done, case in enumerate(cases, 1):
        mapped = every_map(task, case.sample.image, Request(labels=case.labels), names)
        maps: dict[str, Maps] = {name: mapped.maps(name) for name in names}
        maps |= controls_of(mapped, newborn, rng) | {CEILING: ceilings(mapped, case.masks)}
        _score(tally, case, mapped, maps)
        setting.told(done, len(cases))
    others = (RANDOM, CENTRE, EDGES, UNTRAINED, CEILING)
    controls = tuple(Row("chance", 50.0, column=column) for column in (MASS, JUDGE))
    return Result(
        4,
        KEY,
        "Class discrimination",
        "Does a map tell which of two classes in the picture it is about?",
        f"{len(cases)} pictures with exactly two annotated classes, both explained. Mass: does the map of a class have more of its mass in "
        f"that class's mask than the map of the other class has? Judge: {task.name} itself, shown only the top {AREA:.0%} of the map (mean "
        "colour elsewhere), scores that class higher than the other. Empty maps count half. The paper asked 43 people which of the two "
        "they saw; its numbers are theirs.",
        world.title,
        task.name,
        tally.rows(KEY, names, setting.seed, paper=JUDGE),
        (*controls, *tally.rows(KEY, others, setting.seed)),
        (MASS, JUDGE),
        unit="%",
        better="higher",
        headline="guided-gradcam",
        notes=(*_notes(tally, setting.seed), *notes),
        seconds=time.monotonic() - began,
    )


def _score(tally: Tally, case: Case, mapped: Mapped, maps: dict[str, Maps]) -> None:
    outcomes, blanks = judged(mapped.subject.scores, mapped.subject.image, list(maps.values()))
    for (name, pair), judge, blank in zip(maps.items(), outcomes, blanks, strict=True):
        mass, empty = more_mass(mapped.drawn(pair), case.masks)
        for place in range(2):
            tally.add(name, MASS, case.number, 100 * mass[place], empty=empty[place])
            tally.add(name, JUDGE, case.number, 100 * judge[place], empty=blank[place])


def _notes(tally: Tally, seed: int) -> list[str]:
    """What localising by class adds to the two fine maps, beside what it added for people."""
    found = []
    for fine, both in (("guided-backprop", "guided-gradcam"), ("deconvnet", "deconv-gradcam")):
        if any((one, JUDGE) not in tally.values for one in (fine, both)):
            continue
        gains = [tally.ahead(both, fine, column, seed) for column in (JUDGE, MASS)]
        people = [one.value if (one := paper_of(KEY, name)) is not None else nan for name in (both, fine)]
        found.append(
            f"{way(both).title} is ahead of {way(fine).title} by {said(gains[0], '%')} points for the judge and by {said(gains[1], '%')} "
            f"points in mass; in the paper by {people[0] - people[1]:.1f} points for people."
        )
    return found
