"""Experiment 5: of two models that predict the same, does the better one's map look better?

Selvaraju et al. 2017 (arXiv 1610.02391, section 5.2) showed people the visualisations of AlexNet (69.20 mAP) and VGG-16 (79.09 mAP) side by
side, for pictures in which both predict what is there, and asked which model is more reliable. Without people, the model whose map lies
better on the object wins: it has more of its mass in the true mask,

    m = sum of R in M / sum of R,

and its highest point is there. If the maps show what makes a model reliable, the stronger one wins in more than half of the pictures.

The weaker model is the one that the user names or, on the bundled world, the bundled classifier with enough noise on its weights to bring
its mean average precision down to the paper's ratio. Noise is a crude way to be weaker, and what it does to the maps needn't be what less
training or a smaller network does.
"""

import time
from dataclasses import replace
from functools import partial
from math import isnan
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vlcam.contracts import InputError, Request, Task
from vlcam.engine.restore import preserve_model
from vlcam.engine.weights import weaken_model
from vlcam.experiments.data.samples import World
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.results.lines import format_summary
from vlcam.experiments.results.published import find_published
from vlcam.experiments.results.result import Result, ResultRow, format_number
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.classes import find_usable, match_classes, predict_classes
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.maps import make_every_map
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
from vlcam.image.photo import open_photo
from vlcam.methods import get_method
from vlcam.metrics.mass import relevance_mass
from vlcam.metrics.pointing import pointing_hit
from vlcam.metrics.statistics import mean_average_precision
from vlcam.tasks.classification import Classification

KEY: Final = "trust"
METHODS: Final = ("guided-gradcam", "guided-backprop", "gradcam")
BETTER: Final = "its map lies better"
MASS: Final = "mass on the object"
POINTS: Final = "points at the object"
AREA: Final = "area of the object"
STRONGER: Final = "stronger"
WEAKER: Final = "weaker"

_LOOKED_AT: Final = 10
"""How many pictures are looked at for each one that is wanted."""


def run(setting: Setting) -> Result:
    """Experiment 5. Raises InputError where there is no weaker model, or no picture in which both predict what is there."""
    began = time.monotonic()
    strong = setting.load_task("classification")
    weak, about = _make_weaker(setting, strong)
    world = open_marked_world(setting, strong)
    n = setting.count(60, 600)
    rng = np.random.default_rng([setting.seed, 5])
    found, right = _find_agreements(world, strong, weak, n)
    kept, notes = find_usable(strong, world, tuple(dict.fromkeys((*METHODS, *setting.methods))))
    both, more = find_usable(weak, world, kept)
    names = tuple(str(name) for name in both)
    newborn = make_untrained_task(strong, setting.seed)
    tally = Tally()
    for done, (case, at, theirs) in enumerate(found, 1):
        mask = case.masks[at]
        one = make_every_map(strong, case.sample.image, Request(labels=(case.labels[at],)), names)
        two = make_every_map(weak, case.sample.image, Request(labels=(theirs,)), names)
        for name in names:
            _compare(tally, name, case.number, (one.get_heat(name)[0], two.get_heat(name)[0]), mask)
        control = make_controls(one, newborn, rng) | {CEILING: make_ceilings(one, (mask,))}
        tally.add(AREA, MASS, case.number, 100 * case.areas[at])
        tally.add(AREA, POINTS, case.number, 100 * case.areas[at])
        for name, maps in control.items():
            _score_location(tally, name, case.number, one.draw(maps)[0], mask)
        setting.report_progress(done, len(found))
    rows = tally.make_rows(
        KEY, tuple(f"{name}, {which}" for name in names for which in (STRONGER, WEAKER)), setting.seed
    )
    controls = tally.make_rows(KEY, (AREA, RANDOM, CENTRE, EDGES, UNTRAINED, CEILING), setting.seed)
    looked = sum(right["looked"])
    return Result(
        5,
        KEY,
        "Trust in the stronger of two models",
        "Both models predict the same class, and it is there: does the stronger one's map lie better on it?",
        f"{len(found)} of {looked} pictures, those in which both models find the same annotated class most probable. The better map is the "
        "one with more of its mass in the class's true mask; ties count half, and an empty map loses. Chance is 50 %.",
        world.title,
        f"{strong.name} against {about}",
        rows,
        (ResultRow("chance", 50.0, column=BETTER), *controls),
        (BETTER, MASS, POINTS),
        unit="%",
        better="higher",
        headline=f"{names[0]}, {STRONGER}" if names else "",
        notes=(
            f"The first choice is right in {format_number(100 * right['strong'][0] / looked, '%')} % of the pictures "
            "looked at for the stronger "
            f"model, and in {format_number(100 * right['weak'][0] / looked, '%')} % for the weaker one.",
            *_write_notes(tally, names, setting.seed),
            *notes,
            *more,
        ),
        seconds=time.monotonic() - began,
    )


def _make_weaker(setting: Setting, strong: Task) -> tuple[Task, str]:
    """The weaker model, and what it is."""
    named = setting.load_weaker("classification")
    if named is not None:
        return named, named.name
    if setting.data is not None or not isinstance(strong, Classification):
        raise InputError(
            "trust compares two models on the same photos, and one was given; name the weaker one with --rival"
        )
    samples = list(open_scenes("val").iterate_samples(setting.count(160, 400)))
    inputs = torch.cat([strong.prepare(open_photo(one.image)[0], Request()).inputs for one in samples])
    of = match_classes(strong, open_scenes("val"))
    there = torch.zeros(len(samples), len(strong.labels), dtype=torch.bool, device="cpu")
    for row, sample in enumerate(samples):
        there[row, [of[one] for one in sample.present if one in of]] = True
    model, facts = weaken_model(strong.model, partial(_measure_average_precision, inputs, there), seed=setting.seed)
    return replace(strong, model=model, names=None, name=f"{strong.name} with noise"), (
        f"itself with noise on its weights ({facts['noise']:.3f} of each tensor's deviation): mAP {100 * facts['full_accuracy']:.1f} "
        f"against {100 * facts['accuracy']:.1f} on {len(samples)} validation scenes"
    )


def _measure_average_precision(inputs: Tensor, there: Bool[Tensor, "samples classes"], model: nn.Module) -> float:
    with preserve_model(model), torch.no_grad():
        scores = torch.cat([model(part) for part in inputs.split(32)])
    return mean_average_precision(scores, there)


def _find_agreements(
    world: World, strong: Task, weak: Task, n: int
) -> tuple[list[tuple[AnnotatedPicture, int, int]], dict[str, list[int]]]:
    """Pictures in which both models' first choice is the same annotated class: the place of that class, and its number in the weak model.

    Also how many were looked at, and how often each was right.
    """
    mine, theirs = match_classes(strong, world), match_classes(weak, world)
    also = {mine[one]: theirs[one] for one in mine if one in theirs}
    found, looked, right = [], 0, [0, 0]
    for case in find_pictures(world, strong, _LOOKED_AT * n):
        looked += 1
        first, second = predict_classes(strong, case.sample, 1)[0], predict_classes(weak, case.sample, 1)[0]
        right[0] += first in case.labels
        right[1] += second in [also.get(one) for one in case.labels]
        if first in case.labels and also.get(first) == second:
            found.append((case, case.labels.index(first), second))
        if len(found) == n:
            break
    if not found:
        raise InputError(
            f"in none of {looked} pictures of {world.name} do {strong.name} and {weak.name} both predict what is there; "
            "give models of its classes"
        )
    return found, {"looked": [looked], "strong": right[:1], "weak": right[1:]}


def _compare(
    tally: Tally,
    name: str,
    photo: int,
    heats: tuple[Float[Tensor, "height width"], Float[Tensor, "height width"]],
    mask: Bool[Tensor, "height width"],
) -> None:
    """One picture: each model's map, and which of the two lies better."""
    labels = [f"{name}, {which}" for which in (STRONGER, WEAKER)]
    mass = [_score_location(tally, label, photo, heat, mask) for label, heat in zip(labels, heats, strict=True)]
    own, other = (-1.0 if isnan(one) else one for one in mass)
    empty = any(isnan(one) for one in mass)
    tally.add(labels[0], BETTER, photo, 100 * score_win(own, other), empty=empty)
    tally.add(labels[1], BETTER, photo, 100 * score_win(other, own), empty=empty)


def _score_location(
    tally: Tally, name: str, photo: int, heat: Float[Tensor, "height width"], mask: Bool[Tensor, "height width"]
) -> float:
    mass = relevance_mass(heat, mask)
    tally.add(name, MASS, photo, 100 * mass)
    tally.add(name, POINTS, photo, 100.0 * pointing_hit(heat, mask))
    return mass


def _write_notes(tally: Tally, names: tuple[str, ...], seed: int) -> list[str]:
    found = []
    for name in names:
        gain = [tally.compare(f"{name}, {STRONGER}", f"{name}, {WEAKER}", column, seed) for column in (MASS, POINTS)]
        sure = "more" if gain[0].low > 0 else "less" if gain[0].high < 0 else "not clearly more"
        found.append(
            f"{get_method(name).title} of the stronger model has {sure} of its mass on the object: "
            f"{format_summary(gain[0], '%')} points ahead, and "
            f"{format_summary(gain[1], '%')} points in pointing."
        )
    people = [(get_method(name).title, one.value) for name in names if (one := find_published(KEY, name)) is not None]
    if people:
        listed = ", ".join(f"{title} {format_number(value)}" for title, value in people)
        found.append(
            f"The paper's numbers are people's answers from -2 to +2 (VGG-16 over AlexNet: {listed}) and not a measure of this kind, so "
            "they are not shown beside these."
        )
    return found
