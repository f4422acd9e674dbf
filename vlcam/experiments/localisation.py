"""Experiment 1: weakly supervised localisation, the Grad-CAM paper's Table 1 (Selvaraju et al. 2017, arXiv 1610.02391).

Every one of the model's first k classes gets a map; the pixels of at least 15 % of the map's maximum are cut out, and the tight box of
their largest connected segment is the prediction. A photo is right if one of these classes is in it and its box has an IoU of 0.5 with
a box of that class (ILSVRC's rule, Russakovsky et al. 2015, arXiv 1409.0575). CAM (Zhou et al. 2016, arXiv 1512.04150) is defined for nets
of one form only: others get its head first, so that their row has a classification error of its own.

A fixed threshold favours maps of one kind of scale (Choe et al. 2020, arXiv 2001.07437), so MaxBoxAccV2 stands beside it: the class is
given, the best threshold for the whole data set counts, and it is the mean over the IoUs 0.3, 0.5 and 0.7.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from vlcam.contracts import Task
from vlcam.experiments.results.gallery import Panel, draw_panel, save_gallery
from vlcam.experiments.results.lines import make_percent_row, write_comparison
from vlcam.experiments.results.published import NUMBERS
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.cam_model import make_cam_task
from vlcam.experiments.shared.classes import FRAME, SMOOTHED, ClassifiedPhoto, find_usable, match_classes, walk
from vlcam.experiments.shared.controls import CONTROLS, Controls
from vlcam.image.geometry import Box
from vlcam.metrics import best_box_ious, box_from_map, ranked_hit, summarise, summarise_by
from vlcam.metrics.wsol import DELTAS

NUMBER: Final = 1
KEY: Final = "localisation"
PAPERS: Final = ("gradcam", "c-mwp", "gradient", "guided-backprop")
OTHERS: Final = ("guided-gradcam", "layercam", "gradcam++")
MORE: Final = ("deconvnet", "hirescam", "xgradcam", "eigen-cam", "ablation-cam")
"""In a full run only."""

COLUMNS: Final = ("loc top-1", "loc top-5", "cls top-1", "cls top-5", "MaxBoxAccV2")
LEVELS: Final = 200
"""Thresholds of MaxBoxAccV2."""
SWEEP_SIDE: Final = 112
"""Thresholds are swept at no more than this many pixels per side: maps are smooth, and the work grows with the pixels."""
_EXAMPLES: Final = 4
_RESAMPLES: Final = 1000


@final
@dataclass(frozen=True)
class LocalisationScores:
    """One method's outcomes, photo by photo.

    ``errors`` ``(photos, 4)``: the columns but the last, 1 for wrong. ``ious`` has for each photo the best IoU at every threshold with a
    box of one of its classes. ``empty`` counts the maps that point nowhere.
    """

    errors: list[tuple[bool, bool, bool, bool]] = field(default_factory=list)
    ious: list[Float[Tensor, " levels"]] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)

    def add(self, look: ClassifiedPhoto, heats: Float[Tensor, "targets height width"]) -> None:
        """Score a photo's maps, in its frame."""
        truths = {index: look.get_boxes(index) for index in look.present}
        found: list[tuple[int, Box | None]] = [
            (one, box_from_map(heats[look.find_place(one)])) for one in look.predicted
        ]
        first, five = (ranked_hit(found, truths, top=top) for top in (1, 5))
        self.errors.append((not first.localised, not five.localised, not first.classified, not five.classified))
        given = look.present[look.number % len(look.present)]
        self.ious.append(sweep_thresholds(heats[look.find_place(given)], truths[given]))
        self.empty.append(sum(box is None for _, box in found))

    def make_rows(self, name: str, key: str, seed: int) -> list[ResultRow]:
        """The method's rows, one for each column, in percent."""
        errors = np.array(self.errors, dtype=np.float64)
        found = [
            make_percent_row(key, name, summarise(values, seed=seed), column=column, undefined=0)
            for column, values in zip(COLUMNS, errors.T, strict=False)
        ]
        best = summarise_by(make_accuracy(torch.stack(self.ious)), len(self.ious), seed=seed, resamples=_RESAMPLES)
        return [*found, make_percent_row(key, name, best, column=COLUMNS[-1])]


def sweep_thresholds(heat: Float[Tensor, "height width"], boxes: Sequence[Box]) -> Float[Tensor, " levels"]:
    """The best IoU of a box at each threshold, on means of n x n pixels of maps of more than :data:`SWEEP_SIDE` pixels per side."""
    step = -(-max(heat.shape) // SWEEP_SIDE)
    small = [(left / step, top / step, right / step, bottom / step) for left, top, right, bottom in boxes]
    return best_box_ious(functional.avg_pool2d(heat[None], step)[0], small, levels=LEVELS)


def make_accuracy(ious: Float[Tensor, "photos levels"]) -> Callable[[np.ndarray], float]:
    """MaxBoxAccV2 of the photos of given numbers, for the bootstrap: :func:`vlcam.metrics.max_box_acc` without doing it all again."""
    hits = torch.stack([ious >= delta for delta in DELTAS], 1).float().flatten(1)

    def accuracy(drawn: np.ndarray) -> float:
        times = torch.from_numpy(np.bincount(drawn, minlength=len(ious))).float()
        shares = (times @ hits).view(len(DELTAS), -1) / len(drawn)
        return float(shares.amax(1).mean())

    return accuracy


def run(setting: Setting) -> Result:
    """Experiment 1 on the bundled world, or on a data set with boxes and a classifier of its classes."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = setting.open_world(["boxes"], task)
    wanted = [*PAPERS, *OTHERS, *(() if setting.quick else MORE), *setting.methods, "cam"]
    methods, notes = find_usable(task, world, wanted)
    other = make_cam_task(setting) if "cam" not in methods else None
    n = setting.count(30, 300)
    scored = {name: LocalisationScores() for name in dict.fromkeys((*methods, *(["cam"] if other else [])))}
    controls = {name: LocalisationScores() for name in ("whole picture", *CONTROLS)}
    blind = Controls(task, setting.seed)
    examples: list[list[Panel]] = []
    samples = world.iterate_samples(n)
    for look in walk(task, samples, match_classes(task, world), methods):
        for name in methods:
            scored[name].add(look, look.get_heat(name, look.frame))
        for name, heats in blind.make_heats(look, look.frame).items():
            controls[name].add(look, heats)
        controls["whole picture"].add(look, torch.ones(len(look.mapped.targets), *reversed(look.frame), device="cpu"))
        if setting.out is not None and len(examples) < _EXAMPLES:
            examples.append(_draw_example(look, [one for one in PAPERS if one in methods]))
        setting.report_progress(look.number + 1, n)
    if other is not None:
        for look in walk(other, world.iterate_samples(n), match_classes(other, world), ["cam"]):
            scored["cam"].add(look, look.get_heat("cam", look.frame))
    return _make_result(setting, task, other, scored, controls, notes, examples, time.monotonic() - began)


def _make_result(
    setting: Setting,
    task: Task,
    other: Task | None,
    scored: dict[str, LocalisationScores],
    controls: dict[str, LocalisationScores],
    notes: Sequence[str],
    examples: Sequence[Sequence[Panel]],
    seconds: float,
) -> Result:
    world = setting.open_world(["boxes"], task)
    key = find_key(task.name)
    rows = [one for name in scored for one in scored[name].make_rows(name, key, setting.seed)]
    figures: tuple[str, ...] = ()
    if setting.out is not None:
        figures = save_gallery(
            examples,
            "The model's first class: true boxes (white) and found ones",
            setting.out / f"{NUMBER:02d}-{KEY}.png",
        )
    kept = [one for one in notes if other is None or not one.startswith("cam ")]
    return Result(
        NUMBER,
        KEY,
        "Weakly supervised localisation",
        "Does the box around a map's strongest part find the object, although the model was never shown a box?",
        "Each predicted class has its own map. Of its pixels of at least 15 % of the maximum, the largest segment gets a tight box, which "
        f"is right at an IoU of 0.5 with a box of that class. Errors: lower is better. {COLUMNS[-1]}: the class is given, the threshold "
        "is the best for the data set, and the mean is over the IoUs 0.3, 0.5 and 0.7; higher is better. Boxes are found at no more than "
        f"{FRAME} pixels per side ({SWEEP_SIDE} for {COLUMNS[-1]}); maps of {', '.join(SMOOTHED)} are smoothed by 2 % of the side. "
        "Controls take the model's classes.",
        world.title,
        task.name,
        tuple(rows),
        tuple(one for name, each in controls.items() for one in each.make_rows(name, key, setting.seed)),
        COLUMNS,
        "%",
        headline="gradcam",
        notes=(*_write_notes(scored, controls, other, setting.seed), *kept),
        seconds=seconds,
        figures=figures,
    )


def find_key(model: str) -> str:
    """The experiment whose published numbers are of the model that is most like this one: VGG-16's, if none is."""
    name = model.lower()
    return next((f"{KEY} {one}" for one in ("alexnet", "googlenet") if one in name and f"{KEY} {one}" in NUMBERS), KEY)


def _write_notes(
    scored: dict[str, LocalisationScores], controls: dict[str, LocalisationScores], other: Task | None, seed: int
) -> list[str]:
    top = {name: 100 * float(np.mean([one[0] for one in each.errors])) for name, each in scored.items()}
    best = min(top, key=lambda name: top[name])
    ceiling = 100 * float(np.mean([one[0] for one in controls["ceiling"].errors]))
    found = [
        f"The lowest top-1 localisation error is that of {best} ({top[best]:.1f} %); Grad-CAM has {top['gradcam']:.1f} %, the true mask at "
        f"the layer's resolution {ceiling:.1f} %."
    ]
    if other is not None:
        cost = [100 * float(np.mean([one[2] for one in scored[name].errors])) for name in ("cam", "gradcam")]
        found.append(
            f"CAM needs {other.name}, a network of its own: its top-1 classification error is {cost[0]:.1f} %, that of the full network "
            f"{cost[1]:.1f} %."
        )
    wrong = {name: [float(one[0]) for one in each.errors] for name, each in scored.items()}
    found.append(write_comparison(wrong, "gradcam", [*PAPERS, "cam"], "top-1 localisation error", seed=seed))
    empty = {name: sum(each.empty) for name, each in scored.items() if sum(each.empty)}
    if empty:
        told = ", ".join(f"{name} {count}" for name, count in empty.items())
        found.append(f"Maps of the first five classes that point nowhere have no box: {told}.")
    found.append("The paper segments gradient maps with GrabCut; here they are thresholded like all others.")
    return [one for one in found if one]


def _draw_example(look: ClassifiedPhoto, names: Sequence[str]) -> list[Panel]:
    """The maps of the first class, with true and found boxes."""
    index = look.predicted[0]
    across, down = (whole / small for whole, small in zip(look.sample.size, look.frame, strict=True))
    true = [obj.box for obj in look.get_objects(index)]
    found = [draw_panel(look.sample.image, f"{look.get_label(index)}\n", true=true)]
    for name in names:
        heat = look.get_heat(name, look.frame)[look.find_place(index)]
        box = box_from_map(heat)
        boxes = [] if box is None else [(box[0] * across, box[1] * down, box[2] * across, box[3] * down)]
        found.append(draw_panel(look.sample.image, name, heat, true=true, found=boxes))
    return found
