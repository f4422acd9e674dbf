"""Experiment 7: what a model looked at when it was wrong.

Selvaraju et al. 2017 (arXiv 1610.02391, on failure modes) show maps of the class that VGG-16 predicted and of the true class for photos
that it got wrong: seemingly unreasonable predictions have reasonable explanations. Here that is counted. A *wrong* class is predicted but
not there, a *missed* class is there but not predicted. For each: where does the highest point of its map lie, and how much of the map? A
model predicts its best class or, if it is multi-label, every class that it finds more likely than not.

The bundled classifier is hardly ever wrong on scenes like those it was trained on, so it gets scenes with pairs of colour and shape that it
never saw. There an object can share a wrong class's colour, or its shape. Each share is shown beside its level of chance: the part of the
picture that such objects cover. A class that a model is sure not to see often has no evidence for it, and so an empty map; the
counterfactual map (the paper's eq. for ``-dy/dA``) of a missed class shows where the evidence against it lies.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.experiments.data.samples import PhotoObject, World
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.results.gallery import Panel, draw_panel, save_gallery
from vlcam.experiments.results.lines import make_percent_row
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.classes import TOP, ClassifiedPhoto, find_region, find_usable, match_classes, walk
from vlcam.experiments.shared.controls import CONTROLS, Controls
from vlcam.metrics import pointing_game, relevance_mass, summarise
from vlcam.scenes.record import UNSEEN_PAIRS

NUMBER: Final = 7
KEY: Final = "failures"
METHODS: Final = ("gradcam", "guided-gradcam", "counterfactual")
COLUMNS: Final = ("points at it", "mass on it", "its area")
LIKELY: Final = 0.5
NEVER: Final = tuple(" ".join(pair) for pair in UNSEEN_PAIRS)
"""Classes of the bundled classifier that are in no scene it was trained on."""
OBJECT: Final = "wrong class: an object"
ITSELF: Final = "missed class: its object"
AGAINST: Final = "missed class, against it: its object"
_CONTROLLED: Final = (OBJECT, ITSELF)
_EXAMPLES: Final = 5


@final
@dataclass(frozen=True)
class MapShares:
    """Where the maps of one kind of class lie, one value for each class: whether they point there, their mass there, and the area."""

    points: list[float] = field(default_factory=list)
    mass: list[float] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    photos: list[int] = field(default_factory=list)

    def add(
        self, number: int, heat: Float[Tensor, "height width"], region: Bool[Tensor, "mask_height mask_width"] | None
    ) -> None:
        """Add one map; where there is no such region, it neither points there nor lies there."""
        self.points.append(0.0 if region is None else pointing_game(heat, region))
        empty = not bool((heat > 0).any())
        self.mass.append(math.nan if empty else 0.0 if region is None else relevance_mass(heat, region))
        self.area.append(0.0 if region is None else float(region.float().mean()))
        self.photos.append(number)

    def make_rows(self, name: str, seed: int, *, area: bool = True) -> list[ResultRow]:
        """The rows of the measures, in percent."""
        parts = (self.points, self.mass, self.area)[: 3 if area else 2]
        found = [summarise(values, seed=seed, clusters=self.photos) for values in parts]
        return [make_percent_row(KEY, name, one, column=column) for column, one in zip(COLUMNS, found, strict=False)]


@final
@dataclass(frozen=True)
class PredictionOutcome:
    """What a model predicted for one photo: classes that are there and predicted, predicted but not there, there but not predicted."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    missed: tuple[int, ...]


def judge_predictions(look: ClassifiedPhoto, *, several: bool) -> PredictionOutcome:
    """Compare what is predicted with what is there; ``several``: every class more likely than not is predicted, else the best one."""
    said = look.predicted[:1]
    if several:
        likely = [
            (one, look.mapped.targets[look.find_place(one)].probability) for one in (*look.predicted, *look.present)
        ]
        said = tuple(dict.fromkeys(one for one, p in likely if p is not None and p > LIKELY))
    right = tuple(one for one in said if one in look.present)
    wrong = tuple(one for one in said if one not in look.present)
    if not several and right:  # a model that names one object has missed nothing if it named one that is there
        return PredictionOutcome(right, wrong, ())
    return PredictionOutcome(right, wrong, tuple(one for one in look.present if one not in said))


def find_regions(
    look: ClassifiedPhoto, verdict: PredictionOutcome, wrong: int
) -> dict[str, Bool[Tensor, "height width"] | None]:
    """The places where the map of a wrong class might lie, by the name of the row; objects of unknown classes count as well."""
    every = look.sample.objects
    missed = [obj for one in verdict.missed for obj in look.get_objects(one)]
    found: dict[str, Sequence[PhotoObject]] = {OBJECT: every, "wrong class: a missed object": missed}
    if look.sample.scene is not None:
        colour, shape = look.get_label(wrong).split()
        found["wrong class: an object of its colour"] = [one for one in every if one.label.split()[0] == colour]
        found["wrong class: an object of its shape"] = [one for one in every if one.label.split()[1] == shape]
    return {name: find_region(objects, look.sample.size) for name, objects in found.items()}


def run(setting: Setting) -> Result:
    """Experiment 7 on scenes with unseen pairs, or on a data set with boxes (or masks) and a classifier of its classes."""
    began = time.monotonic()
    task = setting.load_task("classification")
    world: World = open_scenes("unseen") if setting.data is None else setting.open_world(["boxes"], task)
    several = getattr(task, "activation", "softmax") == "sigmoid"
    methods, notes = find_usable(task, world, METHODS)
    n = setting.count(80, 600)
    found: dict[str, MapShares] = {}
    blind = Controls(task, setting.seed)
    controls = {f"{what}, {name}": MapShares() for what in _CONTROLLED for name in CONTROLS}
    verdicts: list[PredictionOutcome] = []
    examples: list[list[Panel]] = []
    alike, never = [0, 0, 0], 0
    for look in walk(task, world.iterate_samples(n), match_classes(task, world), methods, top=TOP):
        verdict = judge_predictions(look, several=several)
        verdicts.append(verdict)
        heats = {name: look.get_heat(name) for name in methods}
        every = blind.make_heats(look) if verdict.wrong or verdict.missed else {}
        for name in methods:
            if name != "counterfactual":
                _add(found, "" if name == "gradcam" else f", {name}", look, verdict, heats[name])
        for index in verdict.missed:
            own = found.setdefault(AGAINST, MapShares())
            own.add(look.number, heats["counterfactual"][look.find_place(index)], look.get_region(index))
        for name, maps in every.items():
            _add(controls, f", {name}", look, verdict, maps, only=_CONTROLLED)
        for number, count in enumerate(_count_alike(look, verdict)):
            alike[number] += count
        if setting.data is None and setting.model is None:
            never += sum(look.get_label(one) in NEVER for one in verdict.missed)
        if setting.out is not None and verdict.wrong and verdict.missed and len(examples) < _EXAMPLES:
            examples.append(_draw_example(look, verdict, heats))
        setting.report_progress(look.number + 1, n)
    figures: tuple[str, ...] = ()
    if setting.out is not None:
        title = "Grad-CAM of a wrongly predicted class, of a missed one, and of the evidence against the missed one"
        figures = save_gallery(examples, title, setting.out / f"{NUMBER:02d}-{KEY}.png")
    return Result(
        NUMBER,
        KEY,
        "Failure modes",
        "When the model is wrong, do the maps show what it was misled by, and where the true object is?",
        (
            "Every class more likely than not counts as predicted. "
            if several
            else "The best class counts as predicted. "
        )
        + "For each class that is predicted but not there (wrong), there but not predicted (missed), or both (right): does the "
        "highest point of its map lie on such an object, how much of the map does, and how much of the picture do such objects cover "
        "(chance)? All shares of wrong classes are over all of them, including those without such an object in the picture. Intervals are "
        "over pictures.",
        world.title,
        task.name,
        tuple(one for name, each in found.items() for one in each.make_rows(name, setting.seed)),
        tuple(
            one
            for name, each in controls.items()
            if each.photos
            for one in each.make_rows(name, setting.seed, area=False)
        ),
        COLUMNS,
        "%",
        headline=OBJECT,
        notes=(*_write_notes(found, verdicts, alike, never), *notes),
        seconds=time.monotonic() - began,
        figures=figures,
    )


def _add(
    found: dict[str, MapShares],
    suffix: str,
    look: ClassifiedPhoto,
    verdict: PredictionOutcome,
    heats: Float[Tensor, "targets height width"],
    only: Sequence[str] = (),
) -> None:
    """Add a photo's maps to the shares of every row; ``only`` some of them for controls."""
    of = [(name, one, region) for one in verdict.wrong for name, region in find_regions(look, verdict, one).items()]
    of += [(ITSELF, one, look.get_region(one)) for one in verdict.missed]
    of += [("right class: its object", one, look.get_region(one)) for one in verdict.right]
    for name, index, region in of:
        if only and (name not in only or (name == OBJECT and suffix == ", ceiling")):
            continue  # a class that isn't there has no true mask
        found.setdefault(name + suffix, MapShares()).add(look.number, heats[look.find_place(index)], region)


def _count_alike(look: ClassifiedPhoto, verdict: PredictionOutcome) -> tuple[int, int, int]:
    """Of generated scenes: the wrong classes where an object was missed, and those of its colour and of its shape."""
    if look.sample.scene is None or not verdict.missed:
        return 0, 0, 0
    missed = [look.get_label(one).split() for one in verdict.missed]
    wrong = [look.get_label(one).split() for one in verdict.wrong]
    colours = sum(any(one[0] == other[0] for other in missed) for one in wrong)
    return len(wrong), colours, sum(any(one[1] == other[1] for other in missed) for one in wrong)


def _write_notes(
    found: dict[str, MapShares], verdicts: Sequence[PredictionOutcome], alike: Sequence[int], never: int
) -> list[str]:
    wrong, missed = (sum(len(getattr(one, kind)) for one in verdicts) for kind in ("wrong", "missed"))
    some = sum(bool(one.wrong or one.missed) for one in verdicts)
    told = [f"Of {len(verdicts)} pictures, {some} have a mistake: {wrong} wrong and {missed} missed classes."]
    if alike[0]:
        told.append(
            f"Of {alike[0]} wrong classes in pictures where an object was missed, {alike[1]} have the colour and {alike[2]} the shape of a "
            "missed one."
        )
    if OBJECT in found:
        told.append(
            f"Maps of wrong classes point at an object in {_mean(found[OBJECT]):.1f} % of cases, and at one that was missed in "
            f"{_mean(found['wrong class: a missed object']):.1f} %."
        )
    if ITSELF in found:
        empty = sum(math.isnan(one) for one in found[ITSELF].mass)
        told.append(
            f"Of {missed} maps of missed classes {empty} are empty; {_mean(found[ITSELF]):.1f} % point at their object, as do "
            f"{_mean(found[AGAINST]):.1f} % of the maps of what speaks against them."
        )
    if never:
        told.append(f"{never} of the missed classes are pairs that the classifier was trained never to predict.")
    return told


def _mean(shares: MapShares) -> float:
    return 100 * sum(shares.points) / len(shares.points)


def _draw_example(
    look: ClassifiedPhoto, verdict: PredictionOutcome, heats: Mapping[str, Float[Tensor, "targets height width"]]
) -> list[Panel]:
    """A photo with its missed objects, the map of a wrong class, that of a missed one, and the evidence against that."""
    wrong, missed = verdict.wrong[0], verdict.missed[0]
    boxes = [obj.box for one in verdict.missed for obj in look.get_objects(one)]
    found = [
        draw_panel(look.sample.image, f"missed: {', '.join(look.get_label(one) for one in verdict.missed)}", true=boxes)
    ]
    for what, index, name in (
        ("said", wrong, "gradcam"), ("missed", missed, "gradcam"), ("against", missed, "counterfactual")
    ):  # fmt: skip
        heat = heats[name][look.find_place(index)]
        p = look.mapped.targets[look.find_place(index)].probability
        sure = "" if p is None else f", p = {p:.2f}"
        empty = "" if bool((heat > 0).any()) else " (empty map)"
        found.append(draw_panel(look.sample.image, f"{what}: {look.get_label(index)}{sure}{empty}", heat, true=boxes))
    return found
