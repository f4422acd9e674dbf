"""Experiment 8: do the heatmaps of what is in a picture hold up when noise makes the model see what is not there?

Selvaraju et al. 2017 (arXiv 1610.02391, on adversarial noise) change a picture a little until VGG-16 gives a class that is not in it
("airliner") p > 0.9999 and the classes that are in it about 0; the Grad-CAM maps of the latter still lie on their objects, and those of the
absent class on the background. They show one picture; here the effect is measured.

The noise is the sign of the gradient (Goodfellow et al. 2015, arXiv 1412.6572), applied step by step (Kurakin et al. 2017, arXiv
1607.02533):

    x <- clip(x + s sign(d/dx [sum of the logits to raise - sum of the logits to lower])),

where the clip keeps every value within ``reach`` of the original and inside the range of pixels. The step s is one of the 256 levels of a
pixel, so a picture of bytes stays one. Only what has not reached its goal yet is pushed: the absent class up to :data:`SURE`, each present
class down to :data:`GONE`. Classes that the model did not see before (p of :data:`SEEN` or less) are not counted as present.

For each class that is present, this is measured on the clean picture, the attacked one, and one with *random* noise of exactly the same
size (the same changes with random signs): whether its map's highest point lies on its object, the share of the map on it, and Spearman's
correlation with the map of the clean picture. A map without positive values misses; it has no share and no correlation. For the absent
class: whether its map points at the background and how much of it lies there (chance: the background's area); an empty map says neither.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vlcam.contracts import InputError, Prepared, Request, Task
from vlcam.experiments.data.matching import match
from vlcam.experiments.data.samples import LabelledPhoto, World
from vlcam.experiments.results.lines import make_summary_row
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.explanation.explain import explain_one, prepare_photo
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.options import check_options
from vlcam.explanation.record import TargetView
from vlcam.image.preprocess import Preprocess
from vlcam.metrics import pointing_hit
from vlcam.metrics.correlation import spearman
from vlcam.metrics.mass import relevance_mass
from vlcam.metrics.statistics import summarise
from vlcam.scenes.record import UNSEEN_PAIRS
from vlcam.tasks.classification import Classification

SURE: Final = 0.9999
GONE: Final = 0.01
SEEN: Final = 0.5
REACH: Final = 32
STEPS: Final = 60
"""How far a pixel's value may go from the original, of 255 levels, and in how many steps. The paper doesn't say; these were chosen on
scenes of the ``val`` split so that all attacks towards classes that the model knows succeed."""

PICTURES: Final = 200
QUICK_PICTURES: Final = 30
NEVER: Final = tuple(" ".join(pair) for pair in UNSEEN_PAIRS)
"""Classes that the bundled classifier was never shown: it learned to say no to them whatever it sees, so it isn't attacked towards them."""

Image = Float[Tensor, "1 channels height width"]
GradientOf = Callable[[Image], tuple[Float[Tensor, " scores"], Image]]
"""The scores of an image, and the gradient of what is to rise."""


@final
@dataclass(frozen=True, eq=False)
class AttackedImage:
    """The changed image, its scores and how many steps it took; ``done`` says whether it reached its goal."""

    image: Image
    scores: Float[Tensor, " scores"]
    steps: int
    done: bool


def iterate_sign(
    image: Image,
    gradient_of: GradientOf,
    done: Callable[[Float[Tensor, " scores"]], bool],
    *,
    step: Float[Tensor, "#channels 1 1"],
    reach: Float[Tensor, "#channels 1 1"],
    low: Float[Tensor, "#channels 1 1"],
    high: Float[Tensor, "#channels 1 1"],
    steps: int = STEPS,
) -> AttackedImage:
    """Follow the sign of the gradient until ``done`` says so, for at most ``steps`` steps (Kurakin et al. 2017, arXiv 1607.02533).

    ``step``, ``reach``, ``low`` and ``high`` are in the image's own units, for each channel or for all. Raises InputError for
    negative sizes, or fewer than 0 steps.
    """
    if steps < 0 or bool((step < 0).any()) or bool((reach < 0).any()):
        raise InputError(f"steps={steps}, or a negative step or reach was given; expected 0 or more for each")
    least, most = torch.maximum(image - reach, low), torch.minimum(image + reach, high)
    now, taken = image, 0
    while True:
        scores, gradient = gradient_of(now)
        arrived_ = done(scores)
        if arrived_ or taken == steps:
            return AttackedImage(now, scores, taken, arrived_)
        now = torch.minimum(torch.maximum(now + step * gradient.sign(), least), most)
        taken += 1


def has_arrived(probabilities: Float[Tensor, " targets"]) -> bool:
    """Whether the first target is nearly certain and all others are nearly gone."""
    return bool(probabilities[0] > SURE) and bool((probabilities[1:] < GONE).all())


def make_attack_gradient(task: Task, prepared: Prepared, request: Request) -> GradientOf:
    """The gradient that raises the first target of a request and lowers the others, for any task whose targets have probabilities.

    Returns a function from an image to the targets' probabilities and the gradient of the sum of the scores that are still to
    rise less those still to fall; the model's parameters get no gradients. Raises InputError where the photo isn't given to the model as
    one tensor, or there are no probabilities.
    """
    if not isinstance(prepared.inputs, Tensor) or prepared.inputs.ndim != 4:
        raise InputError(
            f"{task.name} doesn't take its photo as one image (1, channels, height, width), so its pixels can't be changed; "
            "give a classifier of images"
        )

    def gradient_of(image: Image) -> tuple[Float[Tensor, " scores"], Image]:
        leaf = image.detach().clone().requires_grad_()
        spoken = task.run(replace(prepared, inputs=leaf), request)
        known = [target.probability for target in spoken.targets if target.probability is not None]
        if len(known) < len(spoken.targets):
            raise InputError(f"{task.name} gives no probabilities, so it is never certain; set its activation")
        p = torch.tensor(known, dtype=torch.float64, device="cpu")
        signs = torch.cat([(p[:1] <= SURE).double(), -(p[1:] >= GONE).double()]).to(spoken.scores)
        (slope,) = torch.autograd.grad((signs * spoken.scores).sum(), leaf)
        return p, slope

    return gradient_of


@final
@dataclass(frozen=True)
class PresentClass:
    """One class that is in a picture; triples are for the clean picture, with random noise of the same size, and the attacked picture.

    ``p`` is its probability, ``hit`` whether its map points at it, ``mass`` the share of the map on it, ``alike`` the correlation with
    the clean map. ``other`` is the correlation of its clean map with the absent class's: what two maps of one picture have in common
    anyway. ``area`` is its share of the picture, ``centre`` whether it is in the middle.
    """

    label: str
    p: tuple[float, float, float]
    hit: tuple[float, float, float]
    mass: tuple[float, float, float]
    alike: tuple[float, float, float]
    other: float
    area: float
    centre: float


@final
@dataclass(frozen=True)
class AttackCase:
    """One attacked picture; the triples are as in :class:`PresentClass`.

    ``reached``: the absent class is above :data:`SURE`; ``done``: and the present ones below :data:`GONE`. ``sizes`` are the largest and
    the root mean square change, of 255 levels. Of the absent class ``label``, ``p`` is the probability, ``background`` whether its map
    points at the background and ``lies`` the share of the map there; ``area`` is the background's share of the picture.
    """

    name: str
    label: str
    reached: bool
    done: bool
    steps: int
    sizes: tuple[float, float]
    p: tuple[float, float, float]
    background: tuple[float, float, float]
    lies: tuple[float, float, float]
    area: float
    present: tuple[PresentClass, ...]


def attack_sample(
    task: Classification,
    sample: LabelledPhoto,
    of: Mapping[int, int],
    rng: np.random.Generator,
    *,
    reach: int = REACH,
    steps: int = STEPS,
    never: Collection[str] = (),
) -> AttackCase | None:
    """Attack one picture towards a class that isn't in it, at random; None if the model sees nothing that is in it.

    ``of`` maps the classes of the sample's objects to the task's; ``never`` are labels that are never attacked towards. Raises InputError
    for a preprocessing of another kind than :class:`vlcam.Preprocess`, whose range of pixels isn't known.
    """
    step, low, high = _get_levels(task.preprocess)
    task = replace(task, names=None)  # nothing is said in words here
    masks = {index: _get_mask(sample, index) for index in sample.present}
    absent = [index for index in sorted(of) if index not in masks and task.labels[of[index]] not in never]
    there = [index for index, mask in masks.items() if index in of and mask.any()]
    ground = ~np.logical_or.reduce(list(masks.values())) if masks else np.zeros((1, 1), np.bool_)
    if not there or not absent or not ground.any():
        return None
    aim = absent[int(rng.integers(len(absent)))]
    order = check_options(targets=[of[index] for index in (aim, *there)])
    ready = prepare_photo(task, sample.image, order)
    with torch.no_grad():
        said = task.run(ready.prepared, order.request).targets
    seen = [target.probability is not None and target.probability > SEEN for target in said]
    kept = [index for index, sees in zip(there, seen[1:], strict=True) if sees]
    if not kept or seen[0]:
        return None
    order = check_options(targets=[of[index] for index in (aim, *kept)])
    clean: Tensor = ready.prepared.inputs
    step, low, high = step.to(clean), low.to(clean), high.to(clean)
    gradient_of = make_attack_gradient(task, ready.prepared, order.request)
    found = iterate_sign(
        clean, gradient_of, has_arrived, step=step, reach=reach * step, low=low, high=high, steps=steps
    )
    change = found.image - clean
    signs = torch.from_numpy(rng.choice(np.array([-1.0, 1.0]), tuple(change.shape))).to(change)
    noisy = torch.minimum(torch.maximum(clean + change * signs, low), high)
    views = [
        explain_one(task, replace(ready, prepared=replace(ready.prepared, inputs=image)), order)
        for image in (clean, noisy, found.image)
    ]
    levels, behind = change / step, torch.from_numpy(ground)
    return AttackCase(
        sample.name,
        task.labels[of[aim]],
        bool(found.scores[0] > SURE),
        found.done,
        found.steps,
        (float(levels.abs().max()), float(levels.square().mean().sqrt())),
        _measure_three(views, lambda view: view[0].target.probability or 0.0),
        _measure_three(
            views, lambda view: float(pointing_hit(view[0].heatmap(), behind)) if view[0].flag == "ok" else nan
        ),
        _measure_three(views, lambda view: relevance_mass(view[0].heatmap(), behind)),
        float(behind.double().mean()),
        tuple(_measure_present(views, place, masks[index]) for place, index in enumerate(kept, 1)),
    )


def attack(
    task: Classification,
    world: World,
    n: int,
    *,
    seed: int = 0,
    reach: int = REACH,
    steps: int = STEPS,
    never: Collection[str] = (),
    progress: Callable[[int, int], Any] | None = None,
) -> list[AttackCase]:
    """Attack ``n`` pictures of a world; those in which the model sees nothing that is there are skipped, and not replaced.

    ``never`` are labels that are never attacked towards; ``progress`` is called with (done, all). Raises InputError for n below 1, for
    classes that don't match, or if no picture is left.
    """
    of = match(world, task.labels).of
    cases = []
    for number, sample in enumerate(world.iterate_samples(n)):
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        cases.append(attack_sample(task, sample, of, rng, reach=reach, steps=steps, never=never))
        if progress is not None:
            progress(number + 1, n)
    kept = [case for case in cases if case is not None]
    if not kept:
        raise InputError(
            f"{task.name} is not sure of anything in the first {n} pictures of {world.name}, so there is nothing to attack; take more"
        )
    return kept


COLUMNS: Final = ("clean", "random noise", "attacked", "control")
_HITS, _MASS, _ALIKE = (
    "present: map points at it",
    "present: share of the map on it",
    "present: correlation with the clean map",
)
_GROUND, _LIES = "absent: map points at the background", "absent: share of the map on the background"


def make_rows(cases: Sequence[AttackCase], *, seed: int = 0) -> tuple[tuple[ResultRow, ...], tuple[ResultRow, ...]]:
    """The rows and the controls of some attacks; intervals are over pictures.

    The first two are of all pictures, the rest of those in which the absent class was raised above 0.9999.
    """
    every, cases = cases, [case for case in cases if case.reached]
    classes = [(case.name, one) for case in cases for one in case.present]
    names = [name for name, _ in classes]

    def row(name: str, column: str, values: Sequence[float], clusters: Sequence[str] | None = None) -> ResultRow:
        return make_summary_row("adversarial", name, summarise(values, seed=seed, clusters=clusters), column=column)

    found = [
        row("absent class above 0.9999", "attacked", [float(case.reached) for case in every]),
        row("and all present classes below 0.01", "attacked", [float(case.done) for case in every]),
        row("steps", "attacked", [float(case.steps) for case in cases]),
        row("largest change (of 255)", "attacked", [case.sizes[0] for case in cases]),
        row("root mean square change (of 255)", "attacked", [case.sizes[1] for case in cases]),
    ]
    for k, column in enumerate(COLUMNS[:3]):
        found += [
            row("present: probability", column, [one.p[k] for _, one in classes], names),
            row(_HITS, column, [one.hit[k] for _, one in classes], names),
            row(_MASS, column, [one.mass[k] for _, one in classes], names),
            row(_ALIKE, column, [one.alike[k] for _, one in classes], names),
            row("absent: probability", column, [case.p[k] for case in cases]),
            row(_GROUND, column, [case.background[k] for case in cases]),
            row(_LIES, column, [case.lies[k] for case in cases]),
        ]
    controls = (
        row(f"{_HITS}, area", "control", [one.area for _, one in classes], names),
        row(f"{_HITS}, centre", "control", [one.centre for _, one in classes], names),
        row(f"{_ALIKE}, of the absent class", "control", [one.other for _, one in classes], names),
        row(f"{_GROUND}, area", "control", [case.area for case in cases]),
    )
    return tuple(found), controls


def run(setting: Setting, *, n: int | None = None) -> Result:
    """Experiment 8 on ``n`` pictures (by default 200, 30 if quick). Raises InputError as :func:`attack` does."""
    began = time.monotonic()
    many = setting.count(QUICK_PICTURES, PICTURES) if n is None else n
    chosen = setting.load_task("classification")
    if not isinstance(chosen, Classification):
        raise InputError(
            f"{chosen.name} is not a classifier with logits, so it can't be attacked; give another --model"
        )
    data = setting.open_world(["boxes"], chosen)
    never = NEVER if setting.data is None else ()
    cases = attack(chosen, data, many, seed=setting.seed, never=never, progress=setting.report_progress)
    found, controls = make_rows(cases, seed=setting.seed)
    return Result(
        8,
        "adversarial",
        "Adversarial noise",
        "Do the heatmaps of what is in a picture hold up when noise makes the model certain of something that isn't?",
        f"Iterated sign gradient, one of 255 levels a step, at most {REACH} levels and {STEPS} steps, until a class that isn't in the "
        f"picture has p > {SURE} and those that are in it p < {GONE}; Grad-CAM maps before and after. {len(cases)} of {many} pictures, "
        "those in which the model sees something that is there. From the third row on, only those where the absent class got that far. "
        "Random noise is the same change with random signs; the control for the correlation is the absent class's clean map.",
        data.title,
        chosen.name,
        found,
        controls,
        COLUMNS,
        headline=f"{_HITS} / attacked",
        notes=("The paper shows one picture and no numbers.",),
        seconds=time.monotonic() - began,
    )


def _get_levels(preprocess: Any) -> tuple[Tensor, Tensor, Tensor]:
    """One of 255 levels of a pixel, the lowest and the highest value, in the model's units, each ``(channels, 1, 1)``."""
    if not isinstance(preprocess, Preprocess):
        raise InputError(
            f"the task's preprocessing is a {type(preprocess).__name__}, whose range of pixels isn't known; give one with vlcam.Preprocess"
        )
    mean, std = (
        torch.tensor(one, dtype=torch.float64, device="cpu")[:, None, None] for one in (preprocess.mean, preprocess.std)
    )
    return 1 / (255 * std), -mean / std, (1 - mean) / std


def _get_mask(sample: LabelledPhoto, index: int) -> Bool[np.ndarray, "height width"]:
    """The pixels of a class; those of its boxes where there are no masks."""
    found = sample.get_mask(index)
    if found is None:
        found = np.zeros(sample.size[::-1], dtype=np.bool_)
        for obj in sample.find_objects(index):
            left, top, right, bottom = (round(edge) for edge in obj.box)
            found[top:bottom, left:right] = True
    return found


def _measure_three(views: Sequence[Explanation], of: Callable[[Explanation], float]) -> tuple[float, float, float]:
    clean, noisy, attacked = (of(view) for view in views)
    return clean, noisy, attacked


def _measure_present(views: Sequence[Explanation], place: int, mask: Bool[np.ndarray, "height width"]) -> PresentClass:
    inside = torch.from_numpy(mask)
    clean: TargetView = views[0][place]
    height, width = mask.shape
    return PresentClass(
        clean.label,
        _measure_three(views, lambda view: view[place].target.probability or 0.0),
        _measure_three(views, lambda view: float(pointing_hit(view[place].heatmap(), inside))),
        _measure_three(views, lambda view: relevance_mass(view[place].heatmap(), inside)),
        _measure_three(views, lambda view: float(spearman(clean.map, view[place].map))),
        float(spearman(clean.map, views[0][0].map)),
        float(inside.double().mean()),
        float(mask[height // 2, width // 2]),
    )
