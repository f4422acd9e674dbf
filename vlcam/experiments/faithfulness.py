"""Experiment 6: does a map rank the places of a picture as covering them does?

Selvaraju et al. 2017 (arXiv 1610.02391, section 5.3) correlate the ranks of a map with those of an occlusion map, which says how far the
score falls when a patch is covered:

    rho = Pearson(rank(R), rank(S)),    S(i, j) = mean over the patches p that cover (i, j) of y(x) - y(x_p).

The paper doesn't say how large its patch was, how far it moved or what filled it; ours are those of :mod:`vlcam.methods.occlusion`. Both
maps are brought to the coarser of their two grids, and the occlusion map keeps its sign. The target is the class that the model finds
most probable and, in a second column, one that is in the picture, at random.

Two more measures don't depend on occlusion's patches (Petsiuk et al. 2018, RISE, arXiv 1806.07421, section 4.3): the
area under the curve of the most probable class's probability while the map's highest pixels are removed, or are put back.
``setting.metrics`` are measured beside them: those of faithfulness on the most probable class, those of localisation on the class that is
in the picture.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Maps, Request, Task
from vlcam.engine.restore import preserve_model
from vlcam.experiments.results.lines import format_summary
from vlcam.experiments.results.published import find_published
from vlcam.experiments.results.result import Result, format_number
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.classes import find_usable, predict_classes
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
)
from vlcam.explanation.rerun import PhotoSubject
from vlcam.image.regions import draw_on_picture
from vlcam.methods import get_method
from vlcam.metrics import FaithfulnessMetric, LocalisationMetric, get_metric
from vlcam.metrics.correlation import occlusion_correlation
from vlcam.metrics.removal import deletion, insertion

KEY: Final = "faithfulness"
METHODS: Final = (
    "gradcam",
    "guided-gradcam",
    "c-mwp",
    "cam",
    "guided-backprop",
    "gradient",
    "deconvnet",
    "deconv-gradcam",
    "mwp",
    "gradcam++",
    "hirescam",
    "layercam",
    "auto",
    "masked-gradients-balanced",
    "xgradcam",
    "eigen-cam",
    "ablation-cam",
)
SLOW: Final = ("score-cam",)
"""Methods of the full run only."""
CURVES: Final = (
    "gradcam",
    "guided-gradcam",
    "c-mwp",
    "cam",
    "guided-backprop",
    RANDOM,
    EDGES,
    UNTRAINED,
    CEILING,
    "occlusion",
)
"""Methods and controls with deletion and insertion."""

TOP: Final = "most probable class"
PRESENT: Final = "a class that is there"
DELETION: Final = "deletion (lower is better)"
INSERTION: Final = "insertion (higher is better)"
STEPS: Final = 16
"""How many steps deletion and insertion take; RISE's take 224."""


def run(setting: Setting) -> Result:
    """Experiment 6. Raises InputError for data without boxes, or of other classes than the model's."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = open_marked_world(setting, task)
    cases = list(find_pictures(world, task, setting.count(20, 120)))
    curved = setting.count(8, 120)
    wanted = dict.fromkeys((*METHODS, *(() if setting.quick else SLOW), *setting.methods))
    kept, notes = find_usable(task, world, [name for name in wanted if name != "occlusion"])
    names = tuple(str(name) for name in kept)
    newborn = make_untrained_task(task, setting.seed)
    further = find_metrics(setting.metrics)
    rng = np.random.default_rng([setting.seed, 6])
    tally = Tally()
    for done, case in enumerate(cases, 1):
        _measure(tally, task, newborn, case, names, rng, further, curves=done <= curved)
        setting.report_progress(done, len(cases))
    others = (RANDOM, CENTRE, EDGES, UNTRAINED, CEILING, "occlusion")
    return Result(
        6,
        KEY,
        "Faithfulness to occlusion",
        "Does a map rank the places of a picture as covering them does?",
        f"Spearman's rank correlation of each map with the occlusion map of the same class on {len(cases)} pictures; a square, a sixth "
        "of the input's shorter side wide, covers it with the mean colour and moves by half its side. Deletion and insertion: the area "
        f"under the curve of the most probable class's probability in {STEPS} steps, mean colour and blur as in RISE, on "
        f"{min(curved, len(cases))} of the pictures. Constant maps have no ranks and are left out."
        + "".join(f" {column.capitalize()}: {one.paper}." for column, one in further.items()),
        world.title,
        task.name,
        tally.make_rows(KEY, names, setting.seed, paper=TOP),
        tally.make_rows(KEY, others, setting.seed),
        (TOP, PRESENT, DELETION, INSERTION, *further),
        headline="guided-gradcam" if "guided-gradcam" in names else "",
        notes=(*_write_notes(tally, names, setting.seed), *notes),
        seconds=time.monotonic() - began,
    )


def find_metrics(names: Sequence[str]) -> dict[str, LocalisationMetric | FaithfulnessMetric]:
    """The metrics of these names by the titles of their columns; those that are measured anyway are left out.

    Raises InputError for a name that no metric has.
    """
    found = dict.fromkeys(map(get_metric, names))
    columns = {f"{one.title} ({one.better} is better)": one for one in found}
    return {column: one for column, one in columns.items() if column not in (DELETION, INSERTION)}


def _measure(
    tally: Tally,
    task: Task,
    newborn: Task,
    case: AnnotatedPicture,
    names: Sequence[str],
    rng: np.random.Generator,
    further: Mapping[str, LocalisationMetric | FaithfulnessMetric],
    *,
    curves: bool,
) -> None:
    """One picture: all methods against the occlusion map, the curves of some, and further metrics."""
    top = predict_classes(task, case.sample, 1)[0]
    place = int(rng.integers(len(case.labels)))
    there = case.labels[place]
    labels = tuple(dict.fromkeys((top, there)))
    mapped = make_every_map(task, case.sample.image, Request(labels=labels), (*names, "occlusion"))
    drops = mapped.signed["occlusion"].float()
    maps: dict[str, Maps] = {name: mapped.get_maps(name) for name in names}
    maps |= make_controls(mapped, newborn, rng)
    truth = dict(zip(case.labels, make_ceilings(mapped, case.masks), strict=True))
    maps[CEILING] = torch.stack([truth.get(label, torch.zeros(mapped.grid, device="cpu")) for label in labels])
    for name, one in maps.items():
        found = occlusion_correlation(one.float(), drops.to(one.device)).tolist()
        tally.add(name, TOP, case.number, found[0])
        tally.add(name, PRESENT, case.number, found[-1])
    maps["occlusion"] = mapped.get_maps("occlusion")
    if curves:
        _measure_curves(tally, task, mapped, case.number, maps, further)
    for column, metric in further.items():
        if isinstance(metric, LocalisationMetric):
            for name, one in maps.items():
                heat = mapped.draw(one)[-1].cpu()
                tally.add(name, column, case.number, metric.function(heat, case.masks[place]))


def _measure_curves(
    tally: Tally,
    task: Task,
    mapped: MethodMaps,
    photo: int,
    maps: Mapping[str, Maps],
    further: Mapping[str, LocalisationMetric | FaithfulnessMetric],
) -> None:
    """Deletion, insertion and further metrics of faithfulness, of the first target."""
    chosen = [name for name in maps if name in CURVES]
    image = mapped.subject.image
    size = (image.shape[2], image.shape[3])
    score = make_probability(task, mapped.subject)
    for name in chosen:
        heat = draw_on_picture(maps[name][:1].float(), size)
        for column, curve in ((DELETION, deletion), (INSERTION, insertion)):
            tally.add(name, column, photo, float(curve(score, image, heat, steps=STEPS).auc))
        for column, metric in further.items():
            if isinstance(metric, FaithfulnessMetric):
                tally.add(name, column, photo, float(metric.function(score, image, heat)))


def make_probability(
    task: Task, subject: PhotoSubject
) -> Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch 1"]]:
    """The probability of a subject's first class, as a function of images; its score where the task gives no probabilities.

    It is the score's sigmoid, if the model judges every class on its own; else the softmax over all of the task's classes.
    """
    probability = subject.targets[0].probability
    labels = tuple(getattr(task, "labels", ()))
    if probability is None:
        return lambda images: subject.scores(images)[:, :1]
    alone = float(torch.tensor(subject.targets[0].score, dtype=torch.float64, device="cpu").sigmoid())
    if len(labels) < 2 or abs(alone - probability) < 1e-4:
        return lambda images: subject.scores(images)[:, :1].sigmoid()
    request = Request(labels=tuple(range(len(labels))))
    with preserve_model(task.model), torch.no_grad():
        targets = tuple(task.run(subject.prepared, request).targets)
    whole = replace(subject, request=request, targets=targets)
    (first,) = subject.targets[0].token_ids
    return lambda images: whole.scores(images).softmax(-1)[:, first : first + 1]


def _write_notes(tally: Tally, names: Sequence[str], seed: int) -> list[str]:
    """Which maps are the most faithful, and whether the order is that of the paper."""
    means = {name: tally.summarise(name, TOP, seed).mean for name in names}
    ranked = sorted((name for name in names if means[name] == means[name]), key=lambda name: -means[name])
    if not ranked:
        return []
    found = [
        f"The closest to occlusion: {', '.join(f'{get_method(one).title} {format_number(means[one])}' for one in ranked[:3])}."
    ]
    theirs = {name: one.value for name in names if (one := find_published(KEY, name)) is not None}
    known = sorted((name for name in theirs if name in ranked), key=lambda name: -theirs[name])
    ours = sorted(known, key=lambda name: -means[name])
    if len(known) > 1:
        same = "the paper's order as well" if ours == known else f"in the paper {_format_order(known)}"
        found.append(f"Among the paper's methods: {_format_order(ours)}; {same}.")
    best = max((RANDOM, CENTRE, EDGES, UNTRAINED), key=lambda name: _replace_nan(tally.summarise(name, TOP, seed).mean))
    if (best, TOP) in tally.values:
        gain = tally.compare(ranked[0], best, TOP, seed)
        found.append(f"{get_method(ranked[0]).title} is ahead of the best control ({best}) by {format_summary(gain)}.")
    return found


def _format_order(names: Sequence[str]) -> str:
    return " > ".join(get_method(name).title for name in names)


def _replace_nan(value: float) -> float:
    return -2.0 if value != value else value
