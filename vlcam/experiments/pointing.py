"""Experiment 3: the pointing game, and the Grad-CAM paper's variant with recall; Grad-CAM against c-MWP.

The game of Zhang et al. 2016 (arXiv 1608.00507): each class in the picture has a map, whose highest point hits if it lies on an object of
that class; the score is the mean over classes. On real photos, up to 15 pixels beside it still count, as in TorchRay's benchmark (Fong et
al. 2019, arXiv 1910.08485); generated scenes of 96 pixels are played exactly.

Selvaraju et al. 2017 (arXiv 1610.02391) note that this says nothing about classes that aren't there. In their game the model's five best
classes have maps; one whose maximum is below a threshold declines to point, which is right for a class that isn't in the picture and
wrong for one that is. The maps must not be scaled, and the threshold, which the paper doesn't give, is chosen on pictures that aren't
scored. The class's score itself could decline as well: that is the control "its score declines".
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Task
from vlcam.experiments.results.lines import make_percent_row, write_comparison
from vlcam.experiments.results.published import find_published
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.cam_model import make_cam_task
from vlcam.experiments.shared.classes import (
    SMOOTHED,
    TOP,
    ClassifiedPhoto,
    check_held_out,
    find_usable,
    match_classes,
    split_held_out,
    walk,
)
from vlcam.experiments.shared.controls import CONTROLS, Controls
from vlcam.metrics import (
    TOLERANCE,
    Pointed,
    choose_threshold,
    is_hit,
    pointed,
    pointing_game,
    recall_score,
    summarise,
    summarise_by,
)

NUMBER: Final = 3
KEY: Final = "pointing"
METHODS: Final = ("gradcam", "c-mwp", "gradient", "guided-backprop", "guided-gradcam", "layercam", "gradcam++")
MORE: Final = ("mwp", "deconvnet", "hirescam", "eigen-cam")
"""In a full run only."""
COLUMNS: Final = ("recall", "pointing", "points at present", "declines absent")
SCORE: Final = "its score declines"
_RESAMPLES: Final = 1000


@final
@dataclass(frozen=True)
class PointingScores:
    """One method's games. ``hits`` are of the classes in the pictures, ``points`` of the classes that were predicted."""

    hits: list[float] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)
    points: list[Pointed] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)

    def add(self, look: ClassifiedPhoto, heats: Float[Tensor, "targets height width"], tolerance: float) -> None:
        """Play both games on a photo."""
        regions = {index: look.get_region(index) for index in look.present}
        for index in look.counted:
            region = regions[index]
            if region is not None:
                self.hits.append(pointing_game(heats[look.find_place(index)], region, tolerance=tolerance))
                self.classes.append(index)
                self.photos.append(look.number)
        for index in look.predicted:
            heat = heats[look.find_place(index)]
            self.points.append(pointed(heat, regions.get(index), tolerance=tolerance))
            self.owners.append(look.number)
            self.empty.append(int(not bool((heat > 0).any())))


def decline_by_score(played: PointingScores, scores: Sequence[float]) -> PointingScores:
    """The same points, but what declines is the class's own score (of any sign; here it is made positive, in the same order)."""
    kept = [
        replace(one, maximum=math.exp(min(score, 50.0))) if one.maximum > 0 else one
        for one, score in zip(played.points, scores, strict=True)
    ]
    return replace(played, points=kept)


def run(setting: Setting) -> Result:
    """Experiment 3 on the bundled world, or on a data set with boxes (or masks) and a classifier of its classes."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = setting.open_world(["boxes"], task)
    methods, notes = find_usable(task, world, [*METHODS, *(() if setting.quick else MORE), *setting.methods, "cam"])
    other = make_cam_task(setting) if "cam" not in methods else None
    n = setting.count(30, 400)
    tolerance = 0.0 if setting.data is None else TOLERANCE
    names = tuple(dict.fromkeys((*methods, *(["cam"] if other else []))))
    blind = Controls(task, setting.seed)
    held = {name: PointingScores() for name in (*names, *CONTROLS)}
    played = {name: PointingScores() for name in held}
    scores: tuple[list[float], list[float]] = ([], [])
    area: list[float] = []
    done = 0
    for games, own, samples in zip((held, played), scores, split_held_out(setting, world, n), strict=True):
        for look in walk(task, samples, match_classes(task, world), methods):
            heats = {name: look.get_heat(name) for name in methods} | blind.make_heats(look)
            for name, maps in heats.items():
                games[name].add(look, maps, tolerance)
            own.extend(look.mapped.targets[look.find_place(index)].score for index in look.predicted)
            if other is not None:
                again = next(walk(other, [look.sample], match_classes(other, world), ["cam"]))
                games["cam"].add(replace(again, number=look.number), again.get_heat("cam"), tolerance)
            if games is played:
                regions = [look.get_region(index) for index in look.counted]
                area.extend(float(one.float().mean()) for one in regions if one is not None)
            done += 1
            setting.report_progress(done, 2 * n)
    check_held_out(held["gradcam"].points, played["gradcam"].points, world)
    held[SCORE], played[SCORE] = (
        decline_by_score(one["gradcam"], own) for one, own in zip((held, played), scores, strict=True)
    )
    return _make_result(setting, task, other, names, held, played, area, tolerance, notes, began)


def _make_result(
    setting: Setting,
    task: Task,
    other: Task | None,
    names: Sequence[str],
    held: dict[str, PointingScores],
    played: dict[str, PointingScores],
    area: Sequence[float],
    tolerance: float,
    notes: Sequence[str],
    began: float,
) -> Result:
    thresholds = {name: choose_threshold(one.points) for name, one in held.items()}
    rows = {name: _make_rows(name, one, thresholds[name], setting.seed) for name, one in played.items()}
    base = played["gradcam"]
    never = [float(not one.present) for one in base.points]
    chance = [
        make_percent_row(
            KEY, "always declines", summarise(never, seed=setting.seed, clusters=base.owners), column="recall"
        ),
        make_percent_row(KEY, "area", summarise(area, seed=setting.seed, clusters=base.photos), column="pointing"),
    ]
    near = (
        f"up to {tolerance:.0f} pixels of the stored photo beside it still count" if tolerance else "without tolerance"
    )
    kept = [one for one in notes if other is None or not one.startswith("cam ")]
    return Result(
        NUMBER,
        KEY,
        "Pointing game with recall",
        "Does a map's highest point lie on the object, and does the map stay faint for what isn't there?",
        f"Pointing: each class in the picture, {near}, mean over classes. Recall: the model's {TOP} best classes; a map whose maximum is "
        "below a threshold declines; pointing at a class that is there is right, and so is declining one that isn't; the threshold is each "
        "method's best on pictures that aren't scored. The last two columns are its two halves. Maps of "
        f"{', '.join(SMOOTHED)} are smoothed by 2 % of the side.",
        setting.open_world(["boxes"], task).title,
        task.name,
        tuple(one for name in names for one in rows[name]),
        (*chance, *(one for name in (SCORE, *CONTROLS) for one in rows[name])),
        COLUMNS,
        "%",
        "higher",
        headline="gradcam",
        notes=(*_write_notes(played, rows, thresholds, names, setting.seed), *kept),
        seconds=time.monotonic() - began,
    )


def _make_rows(name: str, played: PointingScores, threshold: float, seed: int) -> list[ResultRow]:
    right = [float(is_hit(one, threshold)) for one in played.points]
    halves = [
        [value if one.present == wanted else math.nan for one, value in zip(played.points, right, strict=True)]
        for wanted in (True, False)
    ]
    pointing = summarise_by(
        _make_class_mean(played), len(played.hits), seed=seed, clusters=played.photos, resamples=_RESAMPLES
    )
    empty, note = sum(played.empty), f"threshold {threshold:.3g}"
    shares = [summarise(values, seed=seed, clusters=played.owners) for values in (right, *halves)]
    found = [make_percent_row(KEY, name, shares[0], column="recall", undefined=empty, note=note)]
    if name != SCORE:
        found.append(make_percent_row(KEY, name, pointing, column="pointing"))
    for column, one in zip(COLUMNS[2:], shares[1:], strict=True):
        found.append(make_percent_row(KEY, name, one, column=column, undefined=0, note=note))
    return found


def _make_class_mean(played: PointingScores) -> Callable[[np.ndarray], float]:
    """:func:`vlcam.metrics.class_accuracy` of the hits of given numbers."""
    hits = np.array(played.hits)
    classes = np.unique(played.classes, return_inverse=True)[1]

    def mean(drawn: np.ndarray) -> float:
        count = np.bincount(classes[drawn])
        total = np.bincount(classes[drawn], hits[drawn])
        return float((total[count > 0] / count[count > 0]).mean())

    return mean


def _write_notes(
    played: dict[str, PointingScores],
    rows: dict[str, list[ResultRow]],
    thresholds: dict[str, float],
    names: Sequence[str],
    seed: int,
) -> list[str]:
    absent = sum(not one.present for one in played["gradcam"].points)
    total = len(played["gradcam"].points)
    found = [
        f"Of {total} predicted classes {absent} are not in their picture, so always declining is right for {100 * absent / total:.1f} %."
    ]
    if "c-mwp" in names:
        right = {
            name: [float(is_hit(one, thresholds[name])) for one in played[name].points] for name in ("gradcam", "c-mwp")
        }
        owners = played["gradcam"].owners
        found.append(write_comparison(right, "gradcam", ["c-mwp"], "recall", seed=seed, clusters=owners))
        hits = {name: played[name].hits for name in ("gradcam", "c-mwp")}
        found.append(
            write_comparison(
                hits, "gradcam", ["c-mwp"], "hits of all pairs", seed=seed, clusters=played["gradcam"].photos
            )
        )
        theirs = [find_published(KEY, name, "recall") for name in ("gradcam", "cmwp")]
        if theirs[0] is not None and theirs[1] is not None:
            ours = rows["gradcam"][0].value - rows["c-mwp"][0].value
            agree = ours * (theirs[0].value - theirs[1].value)
            same = "the same order" if agree > 0 else "the other order" if agree < 0 else "here a tie"
            found.append(
                f"For these two the paper finds a difference of {theirs[0].value - theirs[1].value:+.1f} points on COCO: {same}."
            )
    score = recall_score(played[SCORE].points, thresholds[SCORE]).accuracy
    found.append(
        f"If the class's own score declines instead of the map's maximum, Grad-CAM's recall is {100 * score:.1f} %, against "
        f"{rows['gradcam'][0].value:.1f} %."
    )
    return [one for one in found if one]
