"""Experiment 15: Grad-CAM with one of its parts changed, as in the appendix of the paper (Selvaraju et al. 2017, arXiv 1610.02391).

With the activations A[k] of the explained layer and the gradients G[k] of a class's score, Grad-CAM is ``relu(sum_k mean(G[k]) A[k])``.
The parts that are changed are

- the ReLU, which is left out. "15 % of the maximum" means little for a signed map. If it is drawn like a picture, as here, with its lowest
  value at 0 and its highest at 1, then 15 % of that mostly lies below the original zero. *Not shifted* takes 15 % of the highest value
  instead;
- the pooling of gradients: their maximum, the mean of their absolute values, or none at all (HiResCAM: Draelos and Carin 2020, arXiv
  2011.08891);
- the backward pass: the ReLUs above the layer pass on the gradients of guided backpropagation or of the deconvnet
  (:mod:`vlcam.engine.relu_rules`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Activations, Gradients, LayerError, Maps, Method, PerturbationMethod, Request, Subject, Task
from vlcam.engine.backward import gradients
from vlcam.engine.relu_rules import Rule, apply_relu_rule
from vlcam.experiments.data.samples import World
from vlcam.experiments.results.lines import make_percent_row, write_comparison
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.classes import ClassifiedPhoto, match_classes, predict_classes, walk
from vlcam.experiments.shared.controls import CONTROLS, Controls
from vlcam.experiments.shared.maps import make_every_map
from vlcam.methods import get_method
from vlcam.methods.gradient import gradcam
from vlcam.metrics import TOLERANCE, box_from_map, pointing_game, ranked_hit, summarise
from vlcam.metrics.pixels import unit_range

NUMBER: Final = 15
KEY: Final = "ablations"
COLUMNS: Final = ("loc top-1", "pointing")
SHIFTED: Final = "without ReLU"
WHOLE: Final = "gradcam"
_PAPER: Final = "Selvaraju et al. 2017, arXiv 1610.02391"


def max_pool_gradcam(activations: Activations, slopes: Gradients) -> Maps:
    """``sum_k max_ij(G[k]) A[k]``: global max pooling in place of the mean."""
    return torch.einsum("tk,tkij->tij", slopes.amax((2, 3)), activations.expand_as(slopes))


def absolute_gradcam(activations: Activations, slopes: Gradients) -> Maps:
    """``sum_k mean_ij |G[k]| A[k]``: what matters, for the class or against it."""
    return torch.einsum("tk,tkij->tij", slopes.abs().mean((2, 3)), activations.expand_as(slopes))


def relu_rule_gradcam(subject: Subject, *, rule: Rule) -> Maps:
    """Grad-CAM of gradients that came down through ReLUs with another rule; activations and scores are the same.

    Raises LayerError where no ReLU lies between the layer and the scores.
    """
    scores, leaf = subject.rerun("layer", within=apply_relu_rule(rule))
    slopes = gradients(scores, leaf)
    return gradcam(subject.activations, subject.to_maps(slopes.flatten(0, 1)))


def _make_method(name: str, function: object, equation: str, *, relu: bool = True) -> Method:
    return Method(name, function, name, _PAPER, equation, relu=relu)  # type: ignore[arg-type]


def _make_rule_method(name: str, rule: Rule) -> PerturbationMethod:
    return PerturbationMethod(
        name, partial(relu_rule_gradcam, rule=rule), name, _PAPER, f"Grad-CAM with {rule} ReLUs above the layer"
    )


VARIANTS: Final[Sequence[Method | PerturbationMethod]] = (
    get_method(WHOLE),
    _make_method(SHIFTED, gradcam, "sum_k mean(G_k) A_k", relu=False),
    _make_method("without ReLU, not shifted", gradcam, "sum_k mean(G_k) A_k", relu=False),
    _make_method("max pooling of gradients", max_pool_gradcam, "relu(sum_k max(G_k) A_k)"),
    _make_method("absolute gradients", absolute_gradcam, "relu(sum_k mean(|G_k|) A_k)"),
    _make_method("no pooling (HiResCAM)", get_method("hirescam").function, "relu(sum_k G_k A_k)"),
    _make_rule_method("guided ReLU", "guided"),
    _make_rule_method("deconvnet ReLU", "deconv"),
)
"""Grad-CAM first, then what is changed."""


@final
@dataclass(frozen=True)
class AblationScores:
    """One variant's outcomes: top-1 localisation errors by photo, and hits of the classes that are there."""

    errors: list[float] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)

    def add(
        self,
        look: ClassifiedPhoto,
        small: Float[Tensor, "targets frame_height frame_width"],
        full: Float[Tensor, "targets height width"],
        tolerance: float,
    ) -> None:
        """Score a photo's maps: ``small`` in its frame, for boxes, and ``full`` on its pixels, for points."""
        first = look.predicted[0]
        box = box_from_map(small[look.find_place(first)])
        truths = {index: look.get_boxes(index) for index in look.present}
        self.errors.append(float(not ranked_hit([(first, box)], truths).localised))
        self.empty.append(int(box is None))
        for index in look.counted:
            region = look.get_region(index)
            if region is not None:
                self.hits.append(pointing_game(full[look.find_place(index)], region, tolerance=tolerance))
                self.photos.append(look.number)

    def make_rows(self, name: str, seed: int) -> list[ResultRow]:
        """The two rows, in percent."""
        found = summarise(self.errors, seed=seed), summarise(self.hits, seed=seed, clusters=self.photos)
        empties = sum(self.empty), 0
        return [
            make_percent_row(KEY, name, one, column=column, undefined=count)
            for column, one, count in zip(COLUMNS, found, empties, strict=True)
        ]


def run(setting: Setting) -> Result:
    """Experiment 15 on the bundled world, or on a data set with boxes (or masks) and a classifier of its classes."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world = setting.open_world(["boxes"], task)
    methods, left = _find_variants(task, world)
    n = setting.count(60, 500)
    tolerance = 0.0 if setting.data is None else TOLERANCE
    found = {one.name: AblationScores() for one in methods}
    controls = {name: AblationScores() for name in CONTROLS}
    blind = Controls(task, setting.seed)
    area: list[float] = []
    for look in walk(task, world.iterate_samples(n), match_classes(task, world), methods):
        for one in methods:
            small, full = (_get_heat(look, one.name, size) for size in (look.frame, look.sample.size))
            found[one.name].add(look, small, full, tolerance)
        whole = blind.make_heats(look)
        framed = whole if look.frame == look.sample.size else blind.make_heats(look, look.frame)
        for name in CONTROLS:
            controls[name].add(look, framed[name], whole[name], tolerance)
        regions = [look.get_region(index) for index in look.counted]
        area.extend(float(one.float().mean()) for one in regions if one is not None)
        setting.report_progress(look.number + 1, n)
    photos = found[WHOLE].photos
    near = (
        f"up to {tolerance:.0f} pixels of the stored photo beside it still count" if tolerance else "without tolerance"
    )
    return Result(
        NUMBER,
        KEY,
        "Ablations",
        "Which parts of Grad-CAM matter: the ReLU, the mean of the gradients, the plain backward pass?",
        "Top-1 localisation error as in experiment 1 (lower is better): the best class, pixels of at least 15 % of its map's maximum, the "
        f"largest segment, IoU 0.5. Pointing (higher is better): the map of each class that is there, {near}, mean over all pairs. Maps "
        "without ReLU are drawn with their lowest value at 0 and their highest at 1, or are not shifted.",
        world.title,
        task.name,
        tuple(one for name, each in found.items() for one in each.make_rows(name, setting.seed)),
        (
            make_percent_row(KEY, "area", summarise(area, seed=setting.seed, clusters=photos), column="pointing"),
            *(one for name, each in controls.items() for one in each.make_rows(name, setting.seed)),
        ),
        COLUMNS,
        "%",
        headline=WHOLE,
        notes=(*_write_notes(found, setting.seed), *left),
        seconds=time.monotonic() - began,
    )


def _find_variants(task: Task, world: World) -> tuple[list[Method | PerturbationMethod], list[str]]:
    """The variants that are defined for the network, and why the others are not: rules for ReLUs need ReLUs above the layer."""
    sample = next(iter(world.iterate_samples(1)))
    request = Request(labels=predict_classes(task, sample, 1))
    kept, left = [], []
    for one in VARIANTS:
        try:
            make_every_map(task, sample.image, request, [one])
        except LayerError as error:
            left.append(f"{one.name} is left out: {error}.")
        else:
            kept.append(one)
    return kept, left


def _get_heat(look: ClassifiedPhoto, name: str, size: tuple[int, int]) -> Float[Tensor, "targets height width"]:
    heats = look.get_heat(name, size)
    return torch.stack([unit_range(one) for one in heats]) if name == SHIFTED else heats


def _write_notes(found: dict[str, AblationScores], seed: int) -> list[str]:
    others = [name for name in found if name != WHOLE]
    errors = {name: one.errors for name, one in found.items()}
    hits = {name: one.hits for name, one in found.items()}
    empty = {name: sum(one.empty) for name, one in found.items() if sum(one.empty)}
    told = [
        write_comparison(errors, WHOLE, others, "top-1 localisation error", seed=seed),
        write_comparison(hits, WHOLE, others, "pointing", seed=seed, clusters=found[WHOLE].photos),
    ]
    if empty:
        told.append(f"Maps that point nowhere: {', '.join(f'{name} {count}' for name, count in empty.items())}.")
    return told
