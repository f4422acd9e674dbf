"""Experiment 2: thresholded maps as seeds for segmentation.

Selvaraju et al. 2017 (arXiv 1610.02391) give Grad-CAM instead of CAM maps to a weakly supervised segmenter (SEC: Kolesnikov and Lampert
2016, arXiv 1603.06098). What comes of the seeds depends on the segmenter, so here the seeds themselves are scored: each class that is in
the picture has a map, divided by its maximum; a pixel belongs to the class with the highest value there, or to the background if that is
below a threshold. Pascal VOC's score (Everingham et al. 2010) is the mean over classes and background of

    IoU = both / (claimed + true - both),

pixels summed over all pictures. The threshold is each method's best on pictures that aren't scored.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlcam.contracts import Task
from vlcam.experiments.results.gallery import Panel, draw_panel, save_gallery
from vlcam.experiments.results.lines import make_percent_row
from vlcam.experiments.results.published import find_published
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.cam_model import make_cam_task
from vlcam.experiments.shared.classes import (
    SMOOTHED,
    ClassifiedPhoto,
    check_held_out,
    find_usable,
    match_classes,
    split_held_out,
    walk,
)
from vlcam.experiments.shared.controls import CONTROLS, Controls
from vlcam.metrics import Summary, seed_mask
from vlcam.metrics.statistics import RESAMPLES, bootstrap, compute_interval

NUMBER: Final = 2
KEY: Final = "seeds"
METHODS: Final = (
    "gradcam", "c-mwp", "gradient", "guided-backprop", "guided-gradcam", "layercam", "gradcam++", "hirescam", "xgradcam", "eigen-cam"
)  # fmt: skip
COLUMNS: Final = ("mIoU", "precision", "recall")
LEVELS: Final = 50
"""Thresholds that are tried: 1 / LEVELS, 2 / LEVELS, ... of the maximum."""
BACKGROUND: Final = -1
IGNORED: Final = -2
"""Labels of pixels without a class: background, and unlabelled."""
_EXAMPLES: Final = 4

PixelCounts = dict[int, Int[Tensor, "3 levels"]]


def count_seeds(
    heats: Float[Tensor, "classes height width"],
    labels: Sequence[int],
    truth: Int[Tensor, "height width"],
    *,
    ignore: int = IGNORED,
    levels: int = LEVELS,
) -> PixelCounts:
    """One picture's pixels, for its classes and the background, at every threshold: in both, claimed and true, ``(3, levels)``.

    ``truth`` has a label of each pixel, or :data:`BACKGROUND`; pixels of ``ignore`` count nowhere. It is what
    :func:`vlcam.metrics.seed_labels` and :func:`vlcam.metrics.label_overlaps` give at each of the thresholds 1 / levels to 1. Maps that
    point nowhere claim nothing, and NaN pixels are background.
    """
    seen = heats.detach().double().cpu().nan_to_num(nan=0.0, posinf=torch.inf).clamp_min(0)
    tops = seen.flatten(1).amax(1)
    good = (tops > 0) & tops.isfinite()
    parts = torch.where(good[:, None, None], seen / torch.where(good, tops, 1.0)[:, None, None], 0.0)
    value, winner = parts.max(0)
    kept = truth != ignore
    level = (value[kept] * levels + 1e-9).floor().long().clamp_max(levels)  # claimed by the thresholds 1 to level
    claims, true = torch.tensor(labels, device="cpu")[winner][kept], truth[kept]

    def at_least(chosen: Tensor) -> Tensor:
        """How many of the pixels reach each threshold."""
        return torch.bincount(level[chosen], minlength=levels + 1).flip(0).cumsum(0).flip(0)[1:]

    found: PixelCounts = {}
    for label in labels:
        own = claims == label
        count = torch.full((levels,), int((true == label).sum()), device="cpu")
        found[label] = torch.stack([at_least(own & (true == label)), at_least(own), count])
    whole = torch.full((levels,), len(true), device="cpu")
    empty = true == BACKGROUND
    unclaimed = int(empty.sum()) - at_least(empty)
    everything = torch.ones_like(empty)
    found[BACKGROUND] = torch.stack(
        [unclaimed, whole - at_least(everything), torch.full((levels,), int(empty.sum()), device="cpu")]
    )
    return found


@final
@dataclass(frozen=True)
class SeedCounts:
    """One method's counts, picture by picture; ``empty`` counts the maps that point nowhere."""

    pictures: list[PixelCounts] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)

    def add(
        self, look: ClassifiedPhoto, heats: Float[Tensor, "targets height width"], truth: Int[Tensor, "height width"]
    ) -> None:
        """Count a picture's seeds."""
        own = heats[[look.find_place(index) for index in look.present]]
        self.pictures.append(count_seeds(own, look.present, truth))
        self.empty.append(sum(not bool((one > 0).any()) for one in own))

    def stack(self) -> Float[np.ndarray, "pictures classes 3 levels"]:
        """All counts as an array, the background as the last class."""
        labels = [*sorted({label for one in self.pictures for label in one} - {BACKGROUND}), BACKGROUND]
        found = np.zeros((len(self.pictures), len(labels), 3, LEVELS))
        for place, one in enumerate(self.pictures):
            for label, counts in one.items():
                found[place, labels.index(label)] = counts.numpy()
        return found


def score_counts(counts: Float[np.ndarray, "classes counts *levels"]) -> Float[np.ndarray, "measures *levels"]:
    """Mean IoU with the background, and the classes' mean precision and recall without it; a class without a pixel is left out.

    A class that is there but never claimed has a precision of 0: its seeds are useless.
    """
    both, claimed, true = counts[:, 0], counts[:, 1], counts[:, 2]
    there = true > 0
    either = claimed + true - both
    with np.errstate(invalid="ignore", divide="ignore"):
        union = np.where(either > 0, both / either, np.nan)
        precision = np.where(there, np.where(claimed > 0, both / claimed, 0.0), np.nan)[:-1]
        recall = np.where(there, both / true, np.nan)[:-1]
        return np.stack([np.nansum(one, 0) / (~np.isnan(one)).sum(0) for one in (union, precision, recall)])


def run(setting: Setting) -> Result:
    """Experiment 2 on the bundled world, or on a data set with masks and a classifier of its classes."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = setting.open_world(["masks"], task)
    methods, notes = find_usable(task, world, [*METHODS, *setting.methods, "cam"])
    other = make_cam_task(setting) if "cam" not in methods else None
    n = setting.count(30, 250)
    names = tuple(dict.fromkeys((*methods, *(["cam"] if other else []))))
    blind = Controls(task, setting.seed)
    examples: list[ClassifiedPhoto] = []
    held: dict[str, SeedCounts] = {name: SeedCounts() for name in (*names, "whole picture", *CONTROLS)}
    scored = {name: SeedCounts() for name in held}
    done = 0
    for tallies, samples in zip((held, scored), split_held_out(setting, world, n), strict=True):
        for look in walk(task, samples, match_classes(task, world), methods, top=1):
            truth = find_true_labels(look)
            heats = {name: look.get_heat(name) for name in methods}
            heats |= {
                "whole picture": torch.ones(len(look.mapped.targets), *truth.shape, device="cpu"),
                **blind.make_heats(look),
            }
            if other is not None:
                again = next(walk(other, [look.sample], match_classes(other, world), ["cam"], top=1))
                tallies["cam"].add(again, again.get_heat("cam"), truth)
            for name, own in heats.items():
                tallies[name].add(look, own, truth)
            if setting.out is not None and tallies is scored and len(examples) < _EXAMPLES:
                examples.append(look)
            done += 1
            setting.report_progress(done, 2 * n)
    check_held_out(held["gradcam"].pictures, scored["gradcam"].pictures, world)
    return _make_result(setting, task, other, names, held, scored, notes, examples, began)


def find_true_labels(look: ClassifiedPhoto) -> Int[Tensor, "height width"]:
    """Which of the present classes each pixel shows, as the model numbers them; the later one where two overlap.

    Classes that the model doesn't know are background, unlabelled pixels :data:`IGNORED`.
    """
    width, height = look.sample.size
    found = torch.full((height, width), BACKGROUND, device="cpu")
    for index in look.present:
        region = look.get_region(index)
        if region is not None:
            found[region] = index
    void = look.sample.void
    if void is not None:
        found[torch.from_numpy(void)] = IGNORED
    return found


def _make_result(
    setting: Setting,
    task: Task,
    other: Task | None,
    names: Sequence[str],
    held: dict[str, SeedCounts],
    scored: dict[str, SeedCounts],
    notes: Sequence[str],
    examples: Sequence[ClassifiedPhoto],
    began: float,
) -> Result:
    levels = {name: int(score_counts(tally.stack().sum(0))[0].argmax()) for name, tally in held.items()}
    rows = {name: _make_rows(name, scored[name], levels[name], setting.seed) for name in held}
    figures: tuple[str, ...] = ()
    if setting.out is not None:
        shown = [name for name in ("gradcam", "c-mwp", "guided-gradcam") if name in names]
        sheet = [_draw_example(look, shown, levels) for look in examples]
        title = "Seeds of one class at each method's threshold"
        figures = save_gallery(sheet, title, setting.out / f"{NUMBER:02d}-{KEY}.png")
    return Result(
        NUMBER,
        KEY,
        "Segmentation seeds",
        "How well do the pixels that thresholded maps claim match the objects' own pixels?",
        "A map for each class in the picture, divided by its maximum; a pixel takes the class of the highest value, or background below "
        "the threshold, which is each method's best on pictures that aren't scored. mIoU over classes and background, pixels summed over "
        f"all pictures; precision and recall: mean over classes. Maps of {', '.join(SMOOTHED)} are smoothed by 2 % of the side.",
        setting.open_world(["masks"], task).title,
        task.name,
        tuple(one for name in names for one in rows[name]),
        tuple(one for name in held if name not in names for one in rows[name]),
        COLUMNS,
        "%",
        "higher",
        headline="gradcam",
        notes=(
            *_write_notes(rows, names, levels, other),
            *(one for one in notes if other is None or not one.startswith("cam ")),
        ),
        seconds=time.monotonic() - began,
        figures=figures,
    )


def _make_rows(name: str, tally: SeedCounts, level: int, seed: int) -> list[ResultRow]:
    note = f"threshold {(level + 1) / LEVELS:.2f}"
    return [
        make_percent_row(KEY, name, one, column=column, undefined=sum(tally.empty), note=note)
        for column, one in zip(COLUMNS, summarise_counts(tally.stack()[..., level], seed), strict=True)
    ]


def summarise_counts(
    counts: Float[np.ndarray, "pictures classes 3"], seed: int, resamples: int = RESAMPLES
) -> list[Summary]:
    """The three :func:`score_counts` of all pictures with their intervals: :func:`vlcam.metrics.summarise_by`, for all draws at once."""

    def score(drawn: Int[np.ndarray, "draws pictures"]) -> Float[np.ndarray, "draws measures"]:
        times = np.stack([np.bincount(one, minlength=len(counts)) for one in drawn], 1)
        return score_counts(np.einsum("pck,pr->ckr", counts, times, optimize=True)).T

    draws = bootstrap(score, len(counts), seed=seed, resamples=resamples)
    return [
        Summary(len(counts), 0, float(value), *compute_interval(own))
        for value, own in zip(score_counts(counts.sum(0)), draws.T, strict=True)
    ]


def _write_notes(
    rows: dict[str, list[ResultRow]], names: Sequence[str], levels: dict[str, int], other: Task | None
) -> list[str]:
    best = max(names, key=lambda name: rows[name][0].value)
    at = ", ".join(f"{name} {(levels[name] + 1) / LEVELS:.2f}" for name in names)
    found = [
        f"The highest mIoU is that of {best} ({rows[best][0].value:.1f} %); Grad-CAM has {rows['gradcam'][0].value:.1f} %, the true masks "
        f"at the layer's resolution {rows['ceiling'][0].value:.1f} %. Thresholds, as fractions of the maximum: {at}."
    ]
    if "cam" in names:
        ours = rows["gradcam"][0].value - rows["cam"][0].value
        theirs = [find_published(KEY, name) for name in ("gradcam", "cam")]
        sentence = f"Grad-CAM's seeds are {abs(ours):.1f} points {'better' if ours >= 0 else 'worse'} than CAM's"
        if other is not None:
            sentence += f", which come from a network with a head of its own ({other.name})"
        if theirs[0] is not None and theirs[1] is not None:
            sentence += f"; in the paper, after SEC was trained on them, {theirs[0].value:.1f} % against {theirs[1].value:.1f} % (VOC 2012)"
        found.append(sentence + ".")
    return found


def _draw_example(look: ClassifiedPhoto, names: Sequence[str], levels: dict[str, int]) -> list[Panel]:
    """One class: its true pixels, and what methods claim for it, as flat areas."""
    index = look.present[look.number % len(look.present)]
    region = look.get_region(index)
    found = [draw_panel(look.sample.image, f"true {look.get_label(index)}", None if region is None else region.float())]
    for name in names:
        claimed = seed_mask(look.get_heat(name)[look.find_place(index)], threshold=(levels[name] + 1) / LEVELS)
        found.append(draw_panel(look.sample.image, name, claimed.float()))
    return found
