"""Experiment 12: do the heatmaps of captions and of their words lie on what they are about?

Three measures, two of them from the paper (Selvaraju et al., arXiv 1610.02391):

- *pointing*: a caption that people gave (here: that is true) is scored word by word; a visual word hits if its map's highest point lies
  in the segmentation of what it is about. The paper: 1000 photos of COCO, Show and Tell, 30.0 %.
- *inside/outside*: a caption of one region is explained as a whole; the mean of its map inside the region's box, divided by the mean
  outside (1 for a flat map). The paper takes the five captions and boxes that DenseCap gives a photo; here, without DenseCap, a region is a
  class that is in the picture, its box or boxes are the true ones, and its caption is "a" or "an" with the class's name.
- *whole caption*: the map of the whole caption points at something that one of its words is about.
"""

import math
import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Maps, Request, TargetError, Task
from vlcam.experiments.data.samples import LabelledPhoto
from vlcam.experiments.data.visual_words import Mask, find_word_masks, make_phrases
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.maps import (
    MethodMaps,
    make_ceiling_map,
    make_centre_map,
    make_edge_map,
    make_every_map,
    make_random_map,
)
from vlcam.experiments.shared.tally import Tally
from vlcam.experiments.shared.workable import find_workable
from vlcam.metrics import inside_outside_ratio, pointing_hit

KEY: Final = "captions"
METHODS: Final = (
    "gradcam", "guided-backprop", "guided-gradcam", "hirescam", "layercam", "c-mwp", "gradient", "auto", "masked-gradients-balanced"
)  # fmt: skip
WORD, RATIO, WHOLE = "pointing", "inside/outside", "whole caption"
COLUMNS: Final = (WORD, RATIO, WHOLE)
CONTROLS: Final = ("area", "centre", "random", "Sobel edges", "untrained gradcam", "ceiling")
SAMPLES: Final = (16, 200)
_MOST_PHRASES: Final = 5


def run(setting: Setting) -> Result:
    """Experiment 12 on the bundled world, or on data with masks and captions.

    Raises InputError if the data have none of them, or no caption could be scored.
    """
    began = time.monotonic()
    world, task = setting.open_world(("masks", "captions")), setting.load_task("captioning")
    blind, rng = make_untrained_task(task, setting.seed), np.random.default_rng(setting.seed)
    n = setting.count(*SAMPLES)
    tally, used = Tally(), 0
    methods: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    for number, sample in enumerate(world.iterate_samples(n)):
        if not methods:
            methods, dropped = find_workable(task, sample.image, Request(), METHODS)
        used += score(task, blind, sample, number, methods, world.labels, rng, tally)
        setting.report_progress(number + 1, n if world.size is None else min(n, world.size))
    if not tally.values:
        why = f"; of the captions it couldn't read the first error was: {tally.skipped[0]}" if tally.skipped else ""
        raise InputError(
            f"no word of {n} captions of {world.name} is about an object with a mask, as {task.name} reads them{why}"
        )
    found, controls = (tally.make_rows(KEY, names, setting.seed, columns=COLUMNS) for names in (methods, CONTROLS))
    return Result(
        12,
        KEY,
        "Captions and their words",
        "Do the heatmaps of captions and of their words lie on what they are about?",
        f"{used} pictures. pointing (%): each visual word of a true caption, hit if the highest point of the map of its "
        "log-probability lies on the mask of what it is about, without tolerance; an empty map misses. inside/outside: the map of "
        f"the caption 'a CLASS' for every class in the picture (at most {_MOST_PHRASES}), its mean inside the class's boxes divided by "
        "that outside (1 for a flat map); without a finite ratio it is undefined. whole caption (%): its map points at an object of any of "
        "its words.",
        world.title,
        task.name,
        found,
        controls,
        tuple(column for column in COLUMNS if any(one.column == column for one in found)),
        better="higher",
        headline="gradcam",
        notes=tuple(_write_notes(found, controls, tally, dropped, generated=setting.data is None)),
        seconds=time.monotonic() - began,
    )


def score(
    task: Task,
    blind: Task,
    sample: LabelledPhoto,
    photo: int,
    methods: Sequence[str],
    labels: Sequence[str],
    rng: np.random.Generator,
    tally: Tally,
) -> bool:
    """Score one photo: its first caption, and those of its classes. False if the model could read none of them."""
    read = 0
    for caption in sample.captions[:1]:
        mapped = _map_caption(task, sample, caption.text, methods, tally)
        if mapped is None:
            continue
        words = [one.label for one in mapped.targets if one.kind == "word"]
        masks = find_word_masks(sample, caption, words, labels)
        if not masks:
            continue
        read += 1
        whole: Mask = torch.stack(list(masks.values())).any(0)
        places = [*masks, len(words)]
        naive = _map_untrained(mapped, blind, sample)
        for place, mask in zip(places, [*masks.values(), whole], strict=True):
            column = WHOLE if place == len(words) else WORD
            for name, heat in _make_heats(mapped, naive, place, mask, rng).items():
                tally.add(name, column, photo, 100.0 * float(pointing_hit(heat, mask)))
            tally.add("area", column, photo, 100.0 * float(mask.double().mean()))
    for text, inside in make_phrases(sample, labels)[:_MOST_PHRASES]:
        mapped = _map_caption(task, sample, text, methods, tally)
        if mapped is None:
            continue
        read += 1
        place = next(at for at, one in enumerate(mapped.targets) if one.kind == "caption")
        for name, heat in _make_heats(mapped, _map_untrained(mapped, blind, sample), place, inside, rng).items():
            ratio = inside_outside_ratio(heat, inside)
            tally.add(name, RATIO, photo, ratio if math.isfinite(ratio) else math.nan)
        tally.add("area", RATIO, photo, 1.0)
    return read > 0


def _map_caption(
    task: Task, sample: LabelledPhoto, text: str, methods: Sequence[str], tally: Tally
) -> MethodMaps | None:
    try:
        return make_every_map(task, sample.image, Request(caption=text), methods)
    except (InputError, TargetError) as error:  # words that a closed vocabulary doesn't have
        tally.skipped.append(str(error))
        return None


def _map_untrained(mapped: MethodMaps, blind: Task, sample: LabelledPhoto) -> Maps:
    """Grad-CAM of every target by the untrained model."""
    return make_every_map(blind, sample.image, mapped.subject.request, ["gradcam"]).get_maps("gradcam")


def _make_heats(
    mapped: MethodMaps, naive: Maps, place: int, mask: Mask, rng: np.random.Generator
) -> dict[str, Float[Tensor, "height width"]]:
    """The maps of one target by every method, and the controls', on the photo."""
    grid, image = mapped.grid, mapped.subject.image.cpu().float()
    maps = {name: mapped.get_maps(name)[place : place + 1] for name in mapped.methods}
    maps |= {
        "centre": make_centre_map(grid),
        "random": make_random_map(grid, rng),
        "Sobel edges": make_edge_map(image),
        "untrained gradcam": naive[place : place + 1],
        "ceiling": make_ceiling_map(mask.numpy(), mapped.geometry, grid),
    }
    return {name: mapped.draw(one)[0] for name, one in maps.items()}


def _write_notes(
    found: Sequence[ResultRow], controls: Sequence[ResultRow], tally: Tally, dropped: Sequence[str], *, generated: bool
) -> list[str]:
    notes = []
    for column, unit in ((WORD, " %"), (RATIO, "")):
        own = next((one for one in found if (one.name, one.column) == ("gradcam", column)), None)
        rivals = [one for one in controls if one.column == column and one.name != "ceiling" and one.n]
        if own is None or not rivals:
            continue
        best = max(rivals, key=lambda one: one.value)
        verdict = "above" if own.low > best.high else "not clearly above"
        notes.append(
            f"{column}: Grad-CAM {own.value:.1f}{unit} [{own.low:.1f}, {own.high:.1f}] is {verdict} the best control "
            f"({best.name}, {best.value:.1f}{unit})."
        )
    if generated:
        notes.append("The paper's numbers are for photos and other models.")
    notes.append(
        "The paper's regions and captions come from DenseCap; ours are the true boxes with the names of their classes."
    )
    if tally.skipped:
        notes.append(
            f"{len(tally.skipped)} captions could not be read by the model and were left out, such as: {tally.skipped[0]}"
        )
    return [*notes, *dropped]
