"""Experiment 10: what speaks against a class, and does the class's score rise if it is taken away?

Selvaraju et al. 2017 (arXiv 1610.02391, on counterfactual explanations) reverse the sign of the gradient:

    alpha_k = mean over (i, j) of -dy_c / dA_k(i, j),    R_c = relu(sum_k alpha_k A_k),

and show, for one picture of a cat and a dog, that the map of what speaks against one lies on the other. Here this is measured, on pictures
with exactly two annotated classes: for each of them, where does its counterfactual map lie (on its own object, on the rival's, on neither),
and does taking the map's top area away (mean colour in its place) raise its score, and more than taking away a random region of the same
size and shape? The second row has the map of the *difference* "this rather than that", of which the rival's own score is a part: there the
rival must speak against the class.

Taking away an object changes a picture more than taking away background, whatever the map says. So a map that merely marks objects must be
compared as well: the Grad-CAM map of the rival is among the controls.
"""

import time
from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vlcam.contracts import Maps, Request, Subject, Task
from vlcam.experiments.results.lines import format_summary
from vlcam.experiments.results.result import Result, format_number
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.maps import make_every_map
from vlcam.experiments.shared.tally import Tally
from vlcam.experiments.shared.two_classes import (
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
from vlcam.explanation.explain import explain
from vlcam.explanation.figures import draw_figure
from vlcam.files import make_folder
from vlcam.image.regions import AREA, draw_random_regions, find_top_region
from vlcam.metrics.mass import relevance_mass
from vlcam.metrics.pointing import peak
from vlcam.render.png import save_png

KEY: Final = "counterfactuals"
AGAINST: Final = "counterfactual"
RATHER: Final = "counterfactual of the difference"
RIVAL: Final = "Grad-CAM of the rival"
OWN: Final = "Grad-CAM of the class"
TRUE_RIVAL: Final = "the rival's true mask"

ON_OWN: Final = "points at the object"
ON_RIVAL: Final = "points at the rival"
ON_GROUND: Final = "points at the background"
MASS: Final = "mass on the rival"
RISES: Final = "score rises without it"
MORE: Final = "rises more than without a random region"

_SHOWN: Final = 3


def run(setting: Setting) -> Result:
    """Experiment 10. Raises InputError for data without boxes, or without pictures of two classes that the model knows."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = open_marked_world(setting, task)
    cases = list(find_pictures(world, task, setting.count(24, 200), classes=2))
    regions = setting.count(8, 20)
    newborn = make_untrained_task(task, setting.seed)
    rng = np.random.default_rng([setting.seed, 10])
    tally = Tally()
    for done, case in enumerate(cases, 1):
        _measure(tally, task, newborn, case, regions, rng)
        setting.report_progress(done, len(cases))
    columns = (ON_OWN, ON_RIVAL, ON_GROUND, MASS, RISES, MORE)
    others = ("area", RANDOM, CENTRE, EDGES, UNTRAINED, OWN, RIVAL, TRUE_RIVAL)
    return Result(
        10,
        KEY,
        "Counterfactual explanations",
        "Does the map of what speaks against a class lie on the rival, and does the class's score rise without it?",
        f"{len(cases)} pictures with exactly two annotated classes, both explained. The top {AREA:.0%} of the map is replaced by the mean "
        f"colour, and compared with {regions} random regions of its size and shape; empty maps point nowhere and are left out of the "
        "interventions; the row of the random map shows the level of chance. In every row, the score is the class's own logit.",
        world.title,
        task.name,
        tally.make_rows(KEY, (AGAINST, RATHER), setting.seed),
        tally.make_rows(KEY, others, setting.seed),
        columns,
        unit="%",
        headline=f"{AGAINST} / {ON_RIVAL}",
        notes=tuple(_write_notes(tally, setting.seed)),
        seconds=time.monotonic() - began,
        figures=() if setting.out is None else _draw_examples(setting.out, task, cases[:_SHOWN]),
    )


def _measure(
    tally: Tally, task: Task, newborn: Task, case: AnnotatedPicture, regions: int, rng: np.random.Generator
) -> None:
    """One picture, both of its classes."""
    mapped = make_every_map(task, case.sample.image, Request(labels=case.labels), ("gradcam", "counterfactual"))
    plain = mapped.signed["gradcam"]
    maps: dict[str, Maps] = {
        AGAINST: mapped.get_maps("counterfactual"),
        # Grad-CAM is linear in the gradient: the map of a difference is the difference of the signed maps.
        RATHER: (plain.flip(0) - plain).clamp_min(0),
        **make_controls(mapped, newborn, rng),
        OWN: mapped.get_maps("gradcam"),
        RIVAL: mapped.get_maps("gradcam").flip(0),
        TRUE_RIVAL: make_ceilings(mapped, case.masks).flip(0),
    }
    for name, pair in maps.items():
        for place, heat in enumerate(mapped.draw(pair)):
            _score_location(tally, name, case, place, heat)
            rises, more = intervene(mapped.subject, place, pair[place], regions, rng)
            tally.add(name, RISES, case.number, 100 * rises)
            tally.add(name, MORE, case.number, 100 * more)
    for place, area in enumerate(case.areas):
        rival = case.areas[1 - place]
        both = float((case.masks[0] | case.masks[1]).double().mean())
        for column, share in ((ON_OWN, area), (ON_RIVAL, rival), (ON_GROUND, 1 - both), (MASS, rival)):
            tally.add("area", column, case.number, 100 * share)


def _score_location(
    tally: Tally, name: str, case: AnnotatedPicture, place: int, heat: Float[Tensor, "height width"]
) -> None:
    point = peak(heat)
    own, rival = case.masks[place], case.masks[1 - place]
    on_own = point is not None and bool(own[point])
    on_rival = point is not None and bool(rival[point])
    tally.add(name, ON_OWN, case.number, 100.0 * on_own, empty=point is None)
    tally.add(name, ON_RIVAL, case.number, 100.0 * on_rival, empty=point is None)
    tally.add(
        name, ON_GROUND, case.number, 100.0 * (point is not None and not on_own and not on_rival), empty=point is None
    )
    tally.add(name, MASS, case.number, 100 * relevance_mass(heat, rival))


def intervene(
    subject: Subject, place: int, heat: Float[Tensor, "rows columns"], regions: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Whether a target's score rises without the map's top area, and how often more than without a random one (ties half).

    NaN for a map that shows nothing.
    """
    image = subject.image
    region = find_top_region(heat.to(image.device), (image.shape[2], image.shape[3]), AREA)
    if region is None:
        return nan, nan
    masks = torch.cat([torch.zeros_like(region)[None], region[None], draw_random_regions(region, regions, rng)])
    images = torch.where(masks[:, None], image.mean((2, 3), keepdim=True), image)
    whole, without, *others = subject.scores(images)[:, place].tolist()
    return float(without > whole), sum(score_win(without, other) for other in others) / regions


def _write_notes(tally: Tally, seed: int) -> list[str]:
    rival, ground, own = (tally.summarise(AGAINST, column, seed) for column in (ON_RIVAL, ON_GROUND, ON_OWN))
    area = tally.summarise("area", ON_RIVAL, seed).mean
    where = max(
        (("the rival", rival), ("the background", ground), ("the object itself", own)), key=lambda one: one[1].mean
    )
    than = "more than" if rival.low > area else "less than" if rival.high < area else "not clearly more than"
    found = [
        f"The counterfactual map points most often at {where[0]} ({format_number(where[1].mean, '%')} %). It points at the rival in "
        f"{format_summary(rival, '%')} % of all cases, {than} the rival's area ({format_number(area, '%')} %)."
    ]
    gain = tally.summarise(AGAINST, MORE, seed)
    others = {
        RANDOM: "a random map",
        UNTRAINED: "the untrained model's map",
        RIVAL: "the rival's map, which only marks it",
    }
    parts = []
    for name, what in others.items():
        ahead = tally.compare(AGAINST, name, MORE, seed)
        sure = "ahead of" if ahead.low > 0 else "behind" if ahead.high < 0 else "not clearly ahead of"
        parts.append(f"{sure} {what} by {format_summary(ahead, '%')} points")
    found.append(
        f"Without its top area the class's score rises more than without a random region in {format_summary(gain, '%')} % of comparisons: "
        f"{'; '.join(parts)}."
    )
    return found


def _draw_examples(out: Path, task: Task, cases: Sequence[AnnotatedPicture]) -> tuple[str, ...]:
    """Some pictures with the Grad-CAM maps of both classes on the left and the counterfactual ones on the right."""
    pairs = [
        [
            draw_figure(
                explain(task, one.sample.image, targets=list(one.labels), method=method, name=one.sample.name),
                width=720,
            )
            for method in ("gradcam", "counterfactual")
        ]
        for one in cases
    ]
    wide = [max(pair[side].width for pair in pairs) for side in range(2)]
    tall = [max(one.height for one in pair) for pair in pairs]
    sheet = Image.new("RGB", (sum(wide), sum(tall)), (255, 255, 255))
    for row, pair in enumerate(pairs):
        for side, one in enumerate(pair):
            sheet.paste(one, (sum(wide[:side]), sum(tall[:row])))
    name = f"10-{KEY}.png"
    save_png(sheet, make_folder(out) / name)
    return (name,)
