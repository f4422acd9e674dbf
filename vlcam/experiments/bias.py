"""Experiment 9: heatmaps and texts about neurons reveal that a model was trained on biased data, and balanced data correct it.

Selvaraju et al. 2017 (arXiv 1610.02391, on identifying bias in a data set): VGG-16, fine-tuned on 250 pictures of an image search
for each of "doctor" and "nurse", reached 82 % on a test set with as many men as women of each. Its Grad-CAM maps lay on faces and hair.
78 % of the doctors had been men and 93 % of the nurses women. With men among the nurses and women among the doctors added, at
constant numbers of each class, it reached 90 % and looked at coats and stethoscopes.

Here the pictures are those of :mod:`vlcam.experiments.data.biased_world`, so the cause (a badge) and the shortcut (the colour of a
face) are known to the pixel. The bundled classifier is fine-tuned as the paper's was, on 250 pictures a class (200 to train on, 50 to
choose the epoch by; both equally biased): its convolutions stay as they are, so the names of its channels still hold, and the fully
connected layers learn. For the rebalanced model the surplus faces are recoloured. Each model is tested on a balanced test set:

- how often it is right, on all pictures and where the face is unusual for the class (the conflicting half);
- which share of the Grad-CAM map of its decision lies on the face, on the badge and elsewhere;
- how often the text about its neurons names the face's colour (blue or red) or the badge (star or heart) as support, and what
  channels with such names contribute; nothing else in these pictures is blue, red, a star or a heart. Bystanders (square, triangle,
  cross), which tell nothing about the class, are the control;
- how often the decision changes when the picture is drawn again with the other face, or with the other badge: the truth that the map and
  the text should have revealed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import nan
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, Target
from vlcam.engine.draws import PrivateDraws
from vlcam.experiments.data.biased_world import (
    BADGES,
    BATCH,
    BYSTANDERS,
    CLASSES,
    EPOCHS,
    FACES,
    TEST,
    TRAIN,
    USUAL,
    VAL,
    BalancedSet,
    compute_features,
    make_balanced_set,
    train_pair,
)
from vlcam.experiments.results.published import find_published
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Setting
from vlcam.methods.gradient import alpha, contributions, gradcam
from vlcam.metrics import oracle_map
from vlcam.metrics.statistics import summarise_crossed
from vlcam.neurons import NeuronNames
from vlcam.scenes.models.nets import GRID, SceneClassifier
from vlcam.scenes.models.zoo import load
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

RUNS: Final = 5
QUICK_RUNS: Final = 2
QUICK_TEST: Final = 400
FACE_WORDS: Final = frozenset(FACES)
BADGE_WORDS: Final = frozenset(BADGES)
OTHER_WORDS: Final = frozenset(BYSTANDERS)
_WORDS: Final = (FACE_WORDS, BADGE_WORDS, OTHER_WORDS)

ProgressCallback = Callable[[int, int], Any]


@final
@dataclass(frozen=True, eq=False)
class Decisions:
    """What a model decided on P pictures, and why.

    ``said`` are the classes, ``maps`` the Grad-CAM maps of their logits after the ReLU; ``alpha``, ``contributions`` and ``activity`` are
    of the channels, as in :class:`vlcam.explanation.explanation.Explanation`.
    """

    said: Int[Tensor, " people"]
    maps: Float[Tensor, "people rows columns"]
    alpha: Float[Tensor, "people channels"]
    contributions: Float[Tensor, "people channels"]
    activity: Float[Tensor, "people channels"]


@final
@dataclass(frozen=True, eq=False)
class Audit:
    """What is measured for one model on P test pictures, each ``(P,)``, NaN where there is no answer.

    ``right`` is 0 or 1; ``face``, ``badge`` and ``elsewhere`` the shares of the map there (a map without positive values has none: NaN, and
    ``empty`` is 1); ``names_...`` whether the text names the face's colour, the badge or a bystander as support; ``..._channels`` what
    channels with such names contribute, for minus against, divided by all evidence for and against; ``follows_face`` and ``follows_badge``
    whether the decision changes with the face, or with the badge.
    """

    right: Float[np.ndarray, " people"]
    face: Float[np.ndarray, " people"]
    badge: Float[np.ndarray, " people"]
    elsewhere: Float[np.ndarray, " people"]
    empty: Float[np.ndarray, " people"]
    names_face: Float[np.ndarray, " people"]
    names_badge: Float[np.ndarray, " people"]
    names_other: Float[np.ndarray, " people"]
    face_channels: Float[np.ndarray, " people"]
    badge_channels: Float[np.ndarray, " people"]
    other_channels: Float[np.ndarray, " people"]
    follows_face: Float[np.ndarray, " people"]
    follows_badge: Float[np.ndarray, " people"]


def make_task(model: SceneClassifier) -> Classification:
    """A fine-tuned model as a task for ``vlcam.explain``, with the names of the bundled classifier's channels, which it has kept."""
    return replace(
        bundled.classifier(model),
        labels=CLASSES,
        activation="softmax",
        name="doctor-or-nurse",
        names=bundled.read_packaged_names("classifier"),
    )


def explain_decisions(model: SceneClassifier, maps: Float[Tensor, "people channels rows columns"]) -> Decisions:
    """What the model decides from the last conv layer's output, and the Grad-CAM map of the logit of each decision (eq. 1 and 2)."""
    parts = []
    for part in maps.split(BATCH):
        leaf = part.detach().requires_grad_()
        logits = model.classifier(model.head(leaf))
        said = logits.argmax(1)
        (slopes,) = torch.autograd.grad(logits.gather(1, said[:, None]).sum(), leaf)
        leaf = leaf.detach()
        parts.append(
            (said, gradcam(leaf, slopes).relu(), alpha(slopes), contributions(leaf, slopes), leaf.amax(dim=(2, 3)))
        )
    return Decisions(*(torch.cat(column) for column in zip(*parts, strict=True)))


def measure_shares(
    maps: Float[Tensor, "people rows columns"], masks: Float[Tensor, "people regions height width"]
) -> Float[Tensor, "people regions"]:
    """Which share of each map, drawn over the picture, lies in each region; NaN for a map without positive values."""
    heat = F.interpolate(maps[:, None], size=masks.shape[2:], mode="bilinear", align_corners=False)
    inside: Tensor = (heat * masks).sum((2, 3)) / heat.sum((2, 3))
    return inside


def audit(model: SceneClassifier, test: BalancedSet, names: NeuronNames) -> Audit:
    """All measures of one model on the test set."""
    found = explain_decisions(model, test.maps)
    with torch.no_grad():
        turned = [
            model.classifier(model.head(maps)).argmax(1) != found.said for maps in (test.other_face, test.other_badge)
        ]
    mass = measure_shares(found.maps, test.regions)
    owners = [[bool(words & _split_words(unit.name)) for unit in names.units] for words in _WORDS]
    given = found.contributions
    parts = given @ torch.tensor(owners, dtype=given.dtype, device="cpu").T / given.abs().sum(1, keepdim=True)
    cited = torch.tensor(
        [_check_cited(names, found, i) for i in range(len(test.people))], dtype=torch.float64, device="cpu"
    )
    columns = (
        found.said == test.labels,
        *mass.T,
        mass[:, 0].isnan(),
        *cited.T,
        *parts.T,
        *turned,
    )
    return Audit(*(column.double().numpy() for column in columns))


def _split_words(name: str | None) -> frozenset[str]:
    return frozenset() if name is None else frozenset(name.split())


def _check_cited(names: NeuronNames, found: Decisions, i: int) -> tuple[bool, ...]:
    """Whether the text about a decision names the face's colour, the badge, and a bystander, among what supports it."""
    target = Target(CLASSES[int(found.said[i])], "class")
    text = names.text(target, found.alpha[i], found.contributions[i], found.activity[i])
    said = frozenset[str]().union(*(_split_words(one.name) for one in text.named if one.case == "supports"))
    return tuple(bool(said & words) for words in _WORDS)


@final
@dataclass(frozen=True, eq=False)
class Study:
    """The audits of both models of every run, the test set and the controls.

    The controls are the shares of an untrained model's maps, those of the area, and those of the best maps that the grid can hold, of the
    face in the face's region and of the badge in the badge's. ``models`` are (biased, rebalanced), one pair per run.
    """

    test: BalancedSet
    biased: tuple[Audit, ...]
    balanced: tuple[Audit, ...]
    untrained: Float[Tensor, "people 3"]
    area: Float[Tensor, "people 3"]
    ceiling: Float[Tensor, "people 2"]
    models: tuple[tuple[SceneClassifier, SceneClassifier], ...]


def run_study(
    *,
    n: int = TEST,
    runs: int = RUNS,
    seed: int = 0,
    each: tuple[int, int] = (TRAIN, VAL),
    epochs: int = EPOCHS,
    progress: ProgressCallback | None = None,
) -> Study:
    """Train a model on biased data and one on balanced data ``runs`` times, each with other training data, and audit both on one test set.

    ``n``: test pictures, a multiple of 4; ``each``: pictures of each class to train on and to choose the epoch by; ``progress`` is called
    with (done, all). Raises InputError for impossible numbers.
    """
    if runs < 1 or epochs < 1:
        raise InputError(f"runs={runs} and epochs={epochs} were given; expected 1 or more for both")
    base = load("classifier")
    names = bundled.read_packaged_names("classifier")
    if not isinstance(base, SceneClassifier) or names is None:
        raise InputError("the bundled classifier's channels have no names; install vlcam again")
    told = progress or (lambda done, total: None)
    told(0, runs + 1)
    test = make_balanced_set(base, n, seed)
    told(1, runs + 1)
    models, audits = [], []
    for run_ in range(runs):
        pair = train_pair(base, (seed, run_), each=each, epochs=epochs)
        models.append(pair)
        audits.append(tuple(audit(model, test, names) for model in pair))
        told(2 + run_, runs + 1)
    masks = test.regions
    ideal = [torch.stack([oracle_map(one > 0, (GRID, GRID)) for one in masks[:, k]]) for k in (0, 1)]
    ceiling = torch.stack([measure_shares(maps, masks)[:, k] for k, maps in enumerate(ideal)], 1)
    return Study(
        test,
        tuple(one[0] for one in audits),
        tuple(one[1] for one in audits),
        measure_shares(_map_untrained(test, seed), masks),
        masks.mean((2, 3)),
        ceiling,
        tuple(models),
    )


def _map_untrained(test: BalancedSet, seed: int) -> Float[Tensor, "people rows columns"]:
    """The maps of a model with random weights, of what it decides on the test pictures."""
    with PrivateDraws(seed):
        model = SceneClassifier(len(CLASSES)).eval().requires_grad_(False)
    return explain_decisions(model, compute_features(model, test.people)).maps


MEASURES: Final = {
    "accuracy": "right on a balanced test set",
    "accuracy, usual faces": "right where the face is usual for the class",
    "accuracy, unusual faces": "right where the face is unusual for the class (the conflicting half)",
    "map on the face": "share of the Grad-CAM map on the face (spurious)",
    "map on the badge": "share of the Grad-CAM map on the badge (the cause)",
    "map elsewhere": "share of the Grad-CAM map elsewhere",
    "empty maps": "maps without a positive value",
    "texts naming the face": "texts about neurons that name the colour of the face as support",
    "texts naming the badge": "texts about neurons that name the badge as support",
    "texts naming a bystander": "texts about neurons that name a bystander's shape as support (control)",
    "channels named after the face": "net share of the evidence in channels named after a colour of faces",
    "channels named after the badge": "net share of the evidence in channels named after a badge",
    "channels named after a bystander": "net share of the evidence in channels named after a bystander's shape (control)",
    "follows the face": "decisions that change with the face's colour alone",
    "follows the badge": "decisions that change with the badge alone",
}
"""What is measured for both models, and what it means."""

_ON: Final = ("map on the face", "map on the badge", "map elsewhere")
COLUMNS: Final = ("biased", "rebalanced", "difference", "control")


def make_result(found: Study, *, seed: int = 0) -> Result:
    """A study as a result: measures as rows, in percent.

    The columns are the two models, their difference paired by run and picture, and the controls of the shares of the map.
    """
    biased, balanced = (_make_table(audits, found.test.usual) for audits in (found.biased, found.balanced))
    columns = (biased, balanced, {what: balanced[what] - biased[what] for what in biased})
    rows = [
        _make_row(what, column, table[what], seed)
        for what in MEASURES
        for column, table in zip(COLUMNS[:3], columns, strict=True)
    ]
    controls = [
        _make_row(f"{what}, {name}", "control", part.double().numpy()[None], seed, MEASURES[what])
        for name, table in (
            ("untrained model", found.untrained),
            ("area", found.area),
            ("ceiling of the grid", found.ceiling),
        )
        for what, part in zip(_ON, table.T, strict=False)
    ]
    runs = len(found.biased)
    return Result(
        9,
        "bias",
        "Identifying bias: doctor or nurse",
        "Do heatmaps and texts about neurons show that a model was trained on biased data, and do balanced data correct it?",
        f"{runs} times the bundled classifier's fully connected layers are fine-tuned on {TRAIN + VAL} pictures a class ({VAL} of them to "
        f"choose the epoch), whose faces are as biased as the paper's ({100 * USUAL[0]:.0f} % and {100 * USUAL[1]:.0f} %), and on the same "
        f"pictures with the faces balanced; both models are tested on one balanced test set of {len(found.test.people)} pictures. "
        "Intervals are over trainings and pictures.",
        "generated doctors and nurses",
        "bundled classifier, fine-tuned",
        tuple(rows),
        tuple(controls),
        COLUMNS,
        "%",
        headline="accuracy",
        notes=(
            "The paper's two numbers are for photos and VGG-16. Here the badge was made so small that a biased model comes close to the "
            "first of them (on pictures other than these); the second was not tuned.",
            "Texts also name bystanders, which mean nothing; the total contribution of a name's channels says more.",
        ),
    )


def run(setting: Setting, *, n: int | None = None) -> Result:
    """Experiment 9, with at most ``n`` test pictures (by default 600, 400 if quick) and 5 trainings of both models (2 if quick).

    The pictures are a multiple of 4: both classes with both badges. Raises InputError for an n below 4.
    """
    began = time.monotonic()
    asked = setting.count(QUICK_TEST, TEST) if n is None else n
    many = asked - asked % 4 if asked >= 4 else asked
    found = run_study(n=many, runs=setting.count(QUICK_RUNS, RUNS), seed=setting.seed, progress=setting.report_progress)
    return replace(make_result(found, seed=setting.seed), seconds=time.monotonic() - began)


def _make_row(
    name: str, column: str, values: Float[np.ndarray, "runs people"], seed: int, note: str | None = None
) -> ResultRow:
    one = summarise_crossed(values, seed=seed)
    read = {"biased": "biased", "rebalanced": "balanced"}.get(column) if name == "accuracy" else None
    paper = None if read is None else find_published("bias", read)
    return ResultRow(
        name,
        100 * one.mean,
        100 * one.low,
        100 * one.high,
        one.n,
        one.undefined,
        None if paper is None else paper.value,
        MEASURES[name] if note is None else note,
        column,
        "" if paper is None else f"{paper.source}; {paper.model}",
    )


def _make_table(audits: Sequence[Audit], usual: np.ndarray) -> dict[str, Float[np.ndarray, "runs people"]]:
    """The values of every measure, runs by pictures."""
    right = np.stack([one.right for one in audits])
    stacked = [
        np.stack([getattr(one, field.name) for one in audits]) for field in fields(Audit) if field.name != "right"
    ]
    halves = [np.where(usual, right, nan), np.where(usual, nan, right)]
    return dict(zip(MEASURES, [right, *halves, *stacked], strict=True))
