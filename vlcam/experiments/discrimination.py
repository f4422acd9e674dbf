"""Experiment 4: does a map tell which of two classes in a picture it is about?

Selvaraju et al. 2017 (arXiv 1610.02391, section 5.1) showed people one visualisation of a picture of VOC 2007 with exactly two annotated
categories and asked which of the two it shows. Without people, the same pictures answer two questions with a 50 % level of chance each:

    mass:   sum of R_1 in M_1 / sum of R_1  >  sum of R_2 in M_1 / sum of R_2,    and the same with 1 and 2 exchanged,
    judge:  s_1(top region of R_1 alone)  >  s_2(top region of R_1 alone),        and the same with 1 and 2 exchanged,

where R_c is the map of class c, M_c its mask and s_c the score that a frozen model gives c when it sees nothing else (with the mean colour
elsewhere). A method whose map is the same for both classes gets exactly one of the two right, whatever the judge prefers. An empty map says
nothing: its comparison counts half, as a guess would, and the number of empty maps is reported.
"""

import time
from collections.abc import Callable, Sequence
from math import isnan, nan
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import Maps, Request
from vlcam.experiments.results.lines import format_summary
from vlcam.experiments.results.published import find_published
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.classes import find_usable
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.maps import MethodMaps, make_every_map
from vlcam.experiments.shared.tally import Tally
from vlcam.experiments.shared.two_classes import (
    CEILING,
    CENTRE,
    EDGES,
    RANDOM,
    UNTRAINED,
    AnnotatedPicture,
    find_pictures,
    make_ceilings,
    make_controls,
    open_marked_world,
    score_win,
)
from vlcam.image.regions import AREA, find_top_region
from vlcam.methods import get_method
from vlcam.metrics.mass import relevance_mass

KEY: Final = "discrimination"
METHODS: Final = ("guided-backprop", "guided-gradcam", "deconvnet", "deconv-gradcam", "gradcam", "c-mwp")
MASS: Final = "more mass on its own object"
JUDGE: Final = "judge names it (paper: people)"


# --- pictures of a classifier's world, shared with the experiments on trust, faithfulness, counterfactuals and depth ---


# --- the experiment ---


def compare_mass(
    heat: Float[Tensor, "two height width"], masks: Sequence[Bool[Tensor, "height width"]]
) -> tuple[list[float], list[bool]]:
    """For each of two classes: whether its map has more of its mass in its mask than the other's map has; and whether one is empty."""
    shares = [[relevance_mass(one, mask) for one in heat] for mask in masks]
    outcomes = [score_win(shares[0][0], shares[0][1]), score_win(shares[1][1], shares[1][0])]
    return outcomes, [any(isnan(one) for one in row) for row in shares]


def judge_maps(
    scores: Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch two"]],
    image: Float[Tensor, "1 channels height width"],
    maps: Sequence[Float[Tensor, "two _ _"]],
    area: float = AREA,
) -> tuple[list[list[float]], list[list[bool]]]:
    """For each pair of maps: whether the judge, shown the top area of a class's map alone, scores that class higher than the other.

    The rest of the picture is its mean colour. Also says which maps are empty; their picture is all of that colour, and counts half.
    """
    size = (image.shape[2], image.shape[3])
    regions = [[find_top_region(one.to(image.device), size, area) for one in pair] for pair in maps]
    empty = image.mean((2, 3), keepdim=True).expand_as(image)
    shown = [empty if one is None else torch.where(one, image, empty) for pair in regions for one in pair]
    given = scores(torch.cat(shown)).double().view(len(maps), 2, 2)
    blank = [[one is None for one in pair] for pair in regions]
    outcomes = [
        [0.5 if blank[place][own] else score_win(float(row[own][own]), float(row[own][1 - own])) for own in range(2)]
        for place, row in enumerate(given)
    ]
    return outcomes, blank


def run(setting: Setting) -> Result:
    """Experiment 4. Raises InputError for data without boxes, or without pictures of two classes that the model knows."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = open_marked_world(setting, task)
    n = setting.count(50, 600)
    rng = np.random.default_rng([setting.seed, 4])
    cases = list(find_pictures(world, task, n, classes=2))
    kept, notes = find_usable(task, world, tuple(dict.fromkeys((*METHODS, *setting.methods))))
    names = tuple(str(name) for name in kept)
    newborn = make_untrained_task(task, setting.seed)
    tally = Tally()
    for done, case in enumerate(cases, 1):
        mapped = make_every_map(task, case.sample.image, Request(labels=case.labels), names)
        maps: dict[str, Maps] = {name: mapped.get_maps(name) for name in names}
        maps |= make_controls(mapped, newborn, rng) | {CEILING: make_ceilings(mapped, case.masks)}
        _score(tally, case, mapped, maps)
        setting.report_progress(done, len(cases))
    others = (RANDOM, CENTRE, EDGES, UNTRAINED, CEILING)
    controls = tuple(ResultRow("chance", 50.0, column=column) for column in (MASS, JUDGE))
    return Result(
        4,
        KEY,
        "Class discrimination",
        "Does a map tell which of two classes in the picture it is about?",
        f"{len(cases)} pictures with exactly two annotated classes, both explained. Mass: does the map of a class have more of its mass in "
        f"that class's mask than the map of the other class has? Judge: {task.name} itself, shown only the top {AREA:.0%} of the map (mean "
        "colour elsewhere), scores that class higher than the other. Empty maps count half. The paper asked 43 people which of the two "
        "they saw; its numbers are their answers.",
        world.title,
        task.name,
        tally.make_rows(KEY, names, setting.seed, paper=JUDGE),
        (*controls, *tally.make_rows(KEY, others, setting.seed)),
        (MASS, JUDGE),
        unit="%",
        better="higher",
        headline="guided-gradcam",
        notes=(*_write_notes(tally, setting.seed), *notes),
        seconds=time.monotonic() - began,
    )


def _score(tally: Tally, case: AnnotatedPicture, mapped: MethodMaps, maps: dict[str, Maps]) -> None:
    outcomes, blanks = judge_maps(mapped.subject.scores, mapped.subject.image, list(maps.values()))
    for (name, pair), judge, blank in zip(maps.items(), outcomes, blanks, strict=True):
        mass, empty = compare_mass(mapped.draw(pair), case.masks)
        for place in range(2):
            tally.add(name, MASS, case.number, 100 * mass[place], empty=empty[place])
            tally.add(name, JUDGE, case.number, 100 * judge[place], empty=blank[place])


def _write_notes(tally: Tally, seed: int) -> list[str]:
    """What localising by class adds to the two fine maps, beside what it added for people."""
    found = []
    for fine, both in (("guided-backprop", "guided-gradcam"), ("deconvnet", "deconv-gradcam")):
        if any((one, JUDGE) not in tally.values for one in (fine, both)):
            continue
        gains = [tally.compare(both, fine, column, seed) for column in (JUDGE, MASS)]
        people = [one.value if (one := find_published(KEY, name)) is not None else nan for name in (both, fine)]
        found.append(
            f"{get_method(both).title} is ahead of {get_method(fine).title} by {format_summary(gains[0], '%')} points "
            f"for the judge and by {format_summary(gains[1], '%')} "
            f"points in mass; in the paper by {people[0] - people[1]:.1f} points for people."
        )
    return found
