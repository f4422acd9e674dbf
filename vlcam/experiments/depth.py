"""Experiment 14: how do maps change through the depth of a network?

Selvaraju et al. 2017 (arXiv 1610.02391, appendix on residual networks) look at Grad-CAM maps of every layer of a 200-layer ResNet and say
that those of adjacent layers differ little, except where the resolution is reduced. As numbers: with R_l the map at the end of conv block
l, from the last to the first,

    rho_l = Spearman(R_l, R_(l + 1)) on the coarser of the two grids,

how often the highest point of R_l lies on the object, and how much of R_l lies there. Two maps of the same picture have something in common
whatever the model, so the maps of *different* pictures and those of an untrained model stand beside them.

A conv block is a module with two or more convolutions and no smaller such module inside (a ResNet's, an Inception's); where a network
has no such modules, every ReLU or other activation on a grid ends one, and where there are none, every convolution.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from math import isnan, nan
from typing import Final

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from vlcam.contracts import LayerError, Maps, Request, Task
from vlcam.engine.layers import Layer, trace_layers
from vlcam.engine.modules import named_modules
from vlcam.experiments.results.lines import format_summary
from vlcam.experiments.results.result import Result, format_number
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.maps import MethodMaps, make_every_map
from vlcam.experiments.shared.tally import Tally
from vlcam.experiments.shared.two_classes import (
    CENTRE,
    EDGES,
    RANDOM,
    AnnotatedPicture,
    find_pictures,
    make_ceilings,
    make_controls,
    open_marked_world,
)
from vlcam.image.photo import open_photo
from vlcam.metrics.correlation import occlusion_correlation
from vlcam.metrics.mass import relevance_mass
from vlcam.metrics.pointing import pointing_hit
from vlcam.metrics.statistics import summarise

KEY: Final = "depth"
ALIKE: Final = "correlation with the next deeper layer"
POINTS: Final = "points at the object"
MASS: Final = "mass on the object"
OTHERS: Final = "maps of different pictures"
UNTRAINED: Final = "untrained model, mean over layers"

_ACTIVATIONS: Final = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.Hardswish, nn.GELU)
_Grid = tuple[int, int]


def find_conv_blocks(task: Task, image: object) -> list[Layer]:
    """The conv blocks of a task's model in the order in which they finish, each as the layer that ends it (see the module).

    Blocks that run more than once, and those without a grid of more than one cell, are left out. Raises LayerError for fewer than two.
    """
    picture, _ = open_photo(image)
    request = Request(top_k=1)
    prepared = task.prepare(picture, request)
    modules = named_modules(task.model)
    every = trace_layers(task.model, lambda: task.run(prepared, request))
    times: dict[str, int] = {}
    for one in every:
        times[one.name] = times.get(one.name, 0) + 1
    rows = [one for one in every if one.grid not in (None, (1, 1)) and times[one.name] == 1]
    convolutions = [one for one in rows if isinstance(modules[one.name], nn.Conv2d)]

    def inside(name: str, of: Sequence[Layer]) -> int:
        return sum(one.name.startswith(f"{name}.") for one in of)

    large = [
        one for one in rows if not isinstance(modules[one.name], nn.Sequential) and inside(one.name, convolutions) > 1
    ]
    blocks = [one for one in large if not inside(one.name, large)]
    if len(blocks) < 2:
        blocks = [one for one in rows if isinstance(modules[one.name], _ACTIVATIONS)]
    if len(blocks) < 2:
        blocks = convolutions
    if len(blocks) < 2:
        raise LayerError(
            f"{task.name} has {len(blocks)} conv block{'s' if len(blocks) != 1 else ''}; expected a convolutional network with two or more"
        )
    return blocks


def run(setting: Setting) -> Result:
    """Experiment 14. Raises InputError for data without boxes, LayerError for a model without conv blocks."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = open_marked_world(setting, task)
    cases = list(find_pictures(world, task, setting.count(40, 400)))
    blocks = find_conv_blocks(task, cases[0].sample.image)[::-1]
    names = [_name_layer(one) for one in blocks]
    newborn = make_untrained_task(task, setting.seed)
    rng = np.random.default_rng([setting.seed, 14])
    tally = Tally()
    before: list[Maps] = []
    pairs: list[tuple[int, float, float]] = []
    for done, case in enumerate(cases, 1):
        mapped = _walk(task, case, blocks)
        maps = [one.get_maps("gradcam").float().cpu() for one in mapped]
        for name, one, own in zip(names, mapped, maps, strict=True):
            _score_location(tally, name, one, own, case)
        alike = [_correlate(deeper, own) for deeper, own in pairwise(maps)]
        for name, values in zip(names[1:], alike, strict=True):
            _add(tally, name, ALIKE, case, values)
        pairs += _average_by_step(case, blocks, alike)
        for deeper, own in zip(before, maps[1:], strict=False):
            few = min(len(deeper), len(own))
            _add(tally, OTHERS, ALIKE, case, _correlate(deeper[:few], own[:few]))
        before = maps
        _score_untrained(tally, newborn, case, blocks)
        _score_controls(tally, mapped, case, newborn, rng)
        setting.report_progress(done, len(cases))
    grids = dict.fromkeys(one.grid for one in blocks if one.grid is not None)
    others = ("area of the object", RANDOM, CENTRE, EDGES, UNTRAINED, OTHERS, *(_name_ceiling(grid) for grid in grids))
    return Result(
        14,
        KEY,
        "Maps through the depth of the network",
        "How much do the Grad-CAM maps of adjacent layers differ, and where are they good?",
        f"Grad-CAM of every annotated class at the end of each of {len(blocks)} conv blocks, from the last to the first, on {len(cases)} "
        "pictures. Spearman's correlation on the coarser of the two grids; the highest point in the class's mask; the share of the map "
        "there. A map without positive values misses, and has no share and no correlation.",
        world.title,
        task.name,
        tally.make_rows(KEY, names, setting.seed),
        tally.make_rows(KEY, others, setting.seed),
        (ALIKE, POINTS, MASS),
        better="higher",
        headline=names[1],
        notes=tuple(_write_notes(tally, names, pairs, setting.seed)),
        seconds=time.monotonic() - began,
    )


def _name_layer(layer: Layer) -> str:
    rows, columns = layer.grid or (0, 0)
    return f"{layer.name} ({rows} x {columns})"


def _name_ceiling(grid: _Grid) -> str:
    return f"true masks at {grid[0]} x {grid[1]}"


def _walk(task: Task, case: AnnotatedPicture, blocks: Sequence[Layer]) -> list[MethodMaps]:
    return [
        make_every_map(task, case.sample.image, Request(labels=case.labels), ("gradcam",), layer=one.name)
        for one in blocks
    ]


def _correlate(deeper: Float[Tensor, "targets deeper_rows deeper_columns"], own: Maps) -> list[float]:
    """The correlation of two layers' maps for each target."""
    found: list[float] = occlusion_correlation(own, deeper).tolist()
    return found


def _add(tally: Tally, name: str, column: str, case: AnnotatedPicture, values: Sequence[float]) -> None:
    for value in values:
        tally.add(name, column, case.number, value)


def _score_location(tally: Tally, name: str, mapped: MethodMaps, maps: Maps, case: AnnotatedPicture) -> None:
    for heat, mask in zip(mapped.draw(maps), case.masks, strict=True):
        tally.add(name, POINTS, case.number, float(pointing_hit(heat, mask)))
        tally.add(name, MASS, case.number, relevance_mass(heat, mask))


def _score_untrained(tally: Tally, newborn: Task, case: AnnotatedPicture, blocks: Sequence[Layer]) -> None:
    """The same of the untrained model, the layers together."""
    mapped = _walk(newborn, case, blocks)
    maps = [one.get_maps("gradcam").float().cpu() for one in mapped]
    for one, own in zip(mapped, maps, strict=True):
        _score_location(tally, UNTRAINED, one, own, case)
    for deeper, own in pairwise(maps):
        _add(tally, UNTRAINED, ALIKE, case, _correlate(deeper, own))


def _score_controls(
    tally: Tally, mapped: Sequence[MethodMaps], case: AnnotatedPicture, newborn: Task, rng: np.random.Generator
) -> None:
    """What knows nothing of the model, at the grid of the last block; and the true masks at every grid."""
    control = make_controls(mapped[0], newborn, rng)
    for name in (RANDOM, CENTRE, EDGES):
        _score_location(tally, name, mapped[0], control[name], case)
    for column in (POINTS, MASS):
        _add(tally, "area of the object", column, case, case.areas)
    for one in {one.grid: one for one in mapped}.values():
        _score_location(tally, _name_ceiling(one.grid), one, make_ceilings(one, case.masks), case)


def _average_by_step(
    case: AnnotatedPicture, blocks: Sequence[Layer], alike: Sequence[Sequence[float]]
) -> list[tuple[int, float, float]]:
    """For each target: its mean correlation over pairs of layers of one grid, and over those between which it is reduced."""
    same = [deeper.grid == own.grid for deeper, own in pairwise(blocks)]
    found = []
    for values in zip(*alike, strict=True):
        kept, reduced = (
            [value for value, one in zip(values, same, strict=True) if one is which and not isnan(value)]
            for which in (True, False)
        )
        found.append((case.number, _mean(kept), _mean(reduced)))
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else nan


def _write_notes(
    tally: Tally,
    names: Sequence[str],
    pairs: Sequence[tuple[int, float, float]],
    seed: int,
) -> list[str]:
    found = []
    photos = [photo for photo, _, _ in pairs]
    kept, reduced, gap = (
        summarise(values, seed=seed, clusters=photos)
        for values in (
            [one for _, one, _ in pairs],
            [two for _, _, two in pairs],
            [one - two for _, one, two in pairs],
        )
    )
    if kept.n and reduced.n:
        as_said = (
            "as the paper says"
            if 0 < gap.low < gap.high
            else "the opposite of what the paper says"
            if gap.low < gap.high < 0
            else "which is not a clear difference"
        )
        found.append(
            f"Adjacent layers of one resolution have maps that correlate with {format_summary(kept)}, those between "
            "which it is reduced with "
            f"{format_summary(reduced)}: {as_said} (difference {format_summary(gap)})."
        )
    best = max(names, key=lambda name: tally.summarise(name, POINTS, seed).mean)
    first, last = (format_number(tally.summarise(name, POINTS, seed).mean) for name in (names[-1], names[0]))
    found.append(f"Pointing is {last} at the last layer and {first} at the first; it is best at {best}.")
    return found
