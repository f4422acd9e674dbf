"""Experiment 13: answers to questions. Do their heatmaps rank places as occlusion and people do, and do they find what decides the answer?

Selvaraju et al. (arXiv 1610.02391, on visual question answering) report two rank correlations for the VQA model of Lu et al. 2015:

- with occlusion: 0.60 +- 0.038 for Grad-CAM and 0.42 +- 0.038 for guided backpropagation. The text doesn't describe their patch; ours is
  that of :mod:`vlcam.methods.occlusion`, whose map says how far the answer's logit falls. Both maps are compared on the coarser of their
  grids;
- with human attention: 0.136 on 1374 pairs of VQA-HAT (Das et al. 2016, arXiv 1606.03556), where random maps score 0. By the protocol of
  that data set both maps are brought to 14 x 14 cells and ranked, and the correlation is averaged over the people who were asked, then over
  the questions. As a ceiling, each person's map is compared with the mean of the others'.

The model's own answer is explained. On scenes it is also known which objects a question turns on: *pointing* says for right answers
whether the map's highest point lies on one of them.
"""

import math
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Request, TargetError, Task
from vlcam.experiments.data.samples import Has, LabelledPhoto, PhotoQuestion, unite_masks
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.maps import (
    make_ceiling_map,
    make_centre_map,
    make_edge_map,
    make_every_map,
    make_random_map,
)
from vlcam.experiments.shared.tally import Tally
from vlcam.experiments.shared.workable import find_workable
from vlcam.metrics import occlusion_correlation, pointing_hit, spearman, to_grid

KEY: Final = "vqa"
METHODS: Final = (
    "gradcam", "guided-backprop", "guided-gradcam", "hirescam", "layercam", "c-mwp", "gradient", "auto", "masked-gradients-balanced"
)  # fmt: skip
OCCLUSION, HUMAN, POINTING = "occlusion", "human attention", "pointing"
COLUMNS: Final = (OCCLUSION, HUMAN, POINTING)
CONTROLS: Final = ("area", "centre", "random", "Sobel edges", "untrained gradcam", "another person", "ceiling")
GRID: Final = (14, 14)
"""The grid of VQA-HAT's protocol."""

SAMPLES: Final = (12, 150)
QUESTIONS: Final = 4


def run(setting: Setting) -> Result:
    """Experiment 13 on the bundled world, or on data with questions; human attention is compared where the data have it.

    Raises InputError if the data have no questions, or the model reads none of them.
    """
    began = time.monotonic()
    task = setting.load_task("vqa")
    needs: tuple[Has, ...] = ("questions",)
    world = setting.open_world(needs)
    blind, rng = make_untrained_task(task, setting.seed), np.random.default_rng(setting.seed)
    n = setting.count(*SAMPLES)
    tally, right = Tally(), list[bool]()
    methods: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    for number, sample in enumerate(world.iterate_samples(n)):
        for asked in sample.questions[:QUESTIONS]:
            try:
                if not methods:
                    methods, dropped = find_workable(
                        task, sample.image, Request(question=asked.question, top_k=1), METHODS
                    )
                right.append(score(task, blind, sample, asked, number, methods, rng, tally))
            except (InputError, TargetError) as error:  # words that a closed vocabulary doesn't have
                tally.skipped.append(str(error))
        setting.report_progress(number + 1, n if world.size is None else min(n, world.size))
    if not right:
        raise InputError(f"{task.name} could read none of the questions of {world.name}: {tally.skipped[0]}")
    found, controls = (tally.make_rows(KEY, names, setting.seed, columns=COLUMNS) for names in (methods, CONTROLS))
    return Result(
        13,
        KEY,
        "Answers to questions",
        "Do the heatmaps of answers agree with occlusion and with people, and do they find what the answer turns on?",
        f"{len(right)} questions, at most {QUESTIONS} per picture; the logit of the model's own answer. occlusion: Spearman's "
        "correlation with the occlusion map (patches of a sixth of the shorter side in the image's mean colour, moved by half of "
        "that) on the coarser of the two grids. human attention: VQA-HAT's protocol, 14 x 14 cells, mean over people. pointing: "
        "share of right answers whose map's highest point lies on an object that decides the question, without tolerance; an empty "
        "map misses. Constant maps have no correlation and are left out of it.",
        world.title,
        task.name,
        found,
        controls,
        tuple(column for column in COLUMNS if any(one.column == column for one in (*found, *controls))),
        better="higher",
        headline="gradcam",
        notes=tuple(_write_notes(found, controls, right, tally.skipped, dropped)),
        seconds=time.monotonic() - began,
    )


def score(
    task: Task,
    blind: Task,
    sample: LabelledPhoto,
    asked: PhotoQuestion,
    photo: int,
    methods: Sequence[str],
    rng: np.random.Generator,
    tally: Tally,
) -> bool:
    """Score the model's own answer to one question, and say whether it is right. Raises InputError for words that it doesn't know."""
    mapped = make_every_map(task, sample.image, Request(question=asked.question, top_k=1), [*methods, "occlusion"])
    right = mapped.text.strip().lower() in {one.strip().lower() for one in (asked.answer, *asked.answers)}
    covered = mapped.signed["occlusion"][:1]
    grid, request = mapped.grid, mapped.subject.request
    maps = {name: mapped.get_maps(name)[:1] for name in methods}
    maps |= {
        "centre": make_centre_map(grid),
        "random": make_random_map(grid, rng),
        "Sobel edges": make_edge_map(mapped.subject.image.cpu().float()),
        "untrained gradcam": make_every_map(blind, sample.image, request, ["gradcam"]).get_maps("gradcam")[:1],
    }
    for name, one in maps.items():
        tally.add(name, OCCLUSION, photo, float(occlusion_correlation(one.float().cpu(), covered.float().cpu())))
    people = asked.attention or []
    if people:
        for name, one in maps.items():
            tally.add(name, HUMAN, photo, correlate_with_people(mapped.draw(one)[0], people))
        if len(people) > 1:
            tally.add("another person", HUMAN, photo, correlate_among_people(people))
    objects = [sample.objects[one].mask for one in asked.decides or ()]
    mask = unite_masks(objects)
    if not right or mask is None or not mask.any():
        return right
    inside = torch.from_numpy(mask)
    maps["ceiling"] = make_ceiling_map(mask, mapped.geometry, grid)
    for name, one in maps.items():
        tally.add(name, POINTING, photo, float(pointing_hit(mapped.draw(one)[0], inside)))
    tally.add("area", POINTING, photo, float(inside.double().mean()))
    return right


def correlate_with_people(heat: Float[Tensor, "height width"], people: Sequence[Float[np.ndarray, "_ _"]]) -> float:
    """VQA-HAT's protocol: Spearman's correlation on 14 x 14 cells, averaged over people; NaN if the map is constant.

    >>> heat = torch.arange(196.0).view(14, 14)
    >>> correlate_with_people(heat, [heat.numpy().astype(float), -heat.numpy().astype(float)])
    0.0
    """
    own = to_grid(heat.double(), GRID)
    found = [float(spearman(own, to_grid(torch.from_numpy(one).double(), GRID))) for one in people]
    kept = [one for one in found if not math.isnan(one)]
    return fmean(kept) if kept else math.nan


def correlate_among_people(people: Sequence[Float[np.ndarray, "_ _"]]) -> float:
    """How well people agree: each one's map with the mean of the others', on 14 x 14 cells."""
    cells = torch.stack([to_grid(torch.from_numpy(one).double(), GRID) for one in people])
    rest = (cells.sum(0) - cells) / (len(cells) - 1)
    kept = [float(one) for one in spearman(cells, rest) if not bool(one.isnan())]
    return fmean(kept) if kept else math.nan


def _write_notes(
    found: Sequence[ResultRow],
    controls: Sequence[ResultRow],
    right: Sequence[bool],
    skipped: Sequence[str],
    dropped: Sequence[str],
) -> list[str]:
    notes = [f"The model answered {sum(right)} of {len(right)} questions correctly."]
    for column in COLUMNS:
        own = next((one for one in found if (one.name, one.column) == ("gradcam", column)), None)
        rivals = [one for one in found if one.column == column and one.name != "gradcam" and one.n]
        if own is None or not rivals:
            continue
        best = max(rivals, key=lambda one: one.value)
        first = "the highest" if own.value >= best.value else f"below {best.name} ({best.value:.2f})"
        notes.append(f"{column}: Grad-CAM's {own.value:.2f} is {first}.")
    guided = {one.name: one.value for one in found if one.column == OCCLUSION}
    if {"gradcam", "guided-backprop"} <= set(guided):
        same = guided["gradcam"] > guided["guided-backprop"]
        notes.append(
            f"For occlusion, the paper has Grad-CAM above guided backpropagation; these results {'do as well' if same else 'do not'}."
        )
    if not any(one.column == HUMAN for one in (*found, *controls)):
        notes.append("The data have no human attention; give the folder of VQA-HAT for that.")
    if skipped:
        notes.append(
            f"{len(skipped)} questions could not be read by the model and were left out, such as: {skipped[0]}"
        )
    return [*notes, *dropped]
