"""How faithful maps are, measured on one photo without any mask: what happens to the score when their top pixels go, or come alone.

For a map's top 3, 6, 10, 20 and 30 % of the pixels of the model's input (Petsiuk et al. 2018, arXiv 1806.07421, section 4.3, on five points
of the curve): *deletion* puts a fill in their place, *insertion* shows them alone on the fill. The fill is once the image's mean colour and
once the image blurred until little of it can be told (a deviation of a sixth of the shorter side): with a single fill deletion may fail to
tell a map from a random one. Scores of different targets need a common unit. Log-probabilities become ``p / p(photo)``; of any other score
it is the share of what the photo adds, ``(y - y(fill)) / (y(photo) - y(fill))``, where ``y(fill)`` is the higher of the scores of the two
fills alone. Both are cut off below 0 and above 1.

*Correlation* is that of the Grad-CAM paper's test of faithfulness (arXiv 1610.02391, section 5.3) with squares that no candidate has seen:
random places, and sides of 15 to 35 % of the shorter side.

A target that hardly needs the photo can't tell maps apart, so it isn't judged.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import Method, PerturbationMethod, Prepared, Request, Task, VlcamError, show_record
from vlcam.engine.restore import allow_autograd, detach_tensors
from vlcam.explanation.rerun import PhotoSubject, fix_targets, match_targets
from vlcam.explanation.run import make_maps, run_and_record
from vlcam.methods.occlusion import make_cover
from vlcam.metrics.correlation import spearman, to_grid
from vlcam.metrics.scoring import order

FRACTIONS: Final = (0.03, 0.06, 0.10, 0.20, 0.30)
SQUARES: Final = 48
SIDES: Final = (0.15, 0.35)
"""The sides of the held-out squares, by the shorter side of the image."""
LEAST: Final = 0.05
"""The share of its score that a target has to lose without the photo, to be judged."""
COMPARED: Final = 14
"""Maps are compared with each other on at most so many rows and columns."""

Layer = str | nn.Module | None
Key = tuple[int, int]
"""A candidate: the place of its layer and of its method."""


@final
@dataclass(frozen=True)
class Measures:
    """What was measured of one candidate on one photo, means over its targets; ``cost`` in forward passes."""

    deletion: float
    insertion: float
    correlation: float
    agreement: float
    cost: float


@final
@dataclass(frozen=True, eq=False)
class PhotoMeasures:
    """One photo: how many ``targets`` were judged, ``found`` by candidate, the random map, and what ``failed``, with the reason."""

    targets: int
    found: dict[Key, Measures]
    control: Measures | None
    layers: tuple[str, ...]
    failed: dict[Key, str] = field(default_factory=dict)

    __repr__ = show_record


@final
@dataclass(frozen=True, eq=False)
class _Judge:
    """One photo's targets, and what covers the image; scores as shares from 0 to 1."""

    subject: PhotoSubject
    fills: Float[Tensor, "2 channels height width"]
    whole: Float[Tensor, " targets"]
    empty: Float[Tensor, " targets"]
    chosen: tuple[int, ...]
    squares: Bool[Tensor, "squares height width"]
    effects: Float[Tensor, "squares targets"]

    def to_shares(self, scores: Float[Tensor, "pictures targets"]) -> Float[Tensor, "pictures targets"]:
        """Scores as shares of that of the photo (see the module)."""
        return _to_shares(scores, self.whole, self.empty, _list_logarithms(self.subject))

    def score(self, images: Float[Tensor, "pictures channels height width"], target: int) -> Float[Tensor, " pictures"]:
        """The shares of one target."""
        return self.to_shares(self.subject.scores(images))[:, target]


def measure_photo(
    task: Task,
    picture: Image,
    request: Request,
    layers: Sequence[Layer],
    methods: Sequence[Method | PerturbationMethod],
    *,
    most: int,
    seed: int,
) -> PhotoMeasures:
    """Measure every method at every layer on one photo.

    At most ``most`` targets are judged: those whose score needs the photo most.

    Raises InputError if the model doesn't take its photo as one image, LayerError or TargetError as :func:`vlcam.explain`.
    """
    with allow_autograd():
        prepared = task.prepare(picture, request)
    prepared = Prepared(detach_tensors(prepared.inputs), prepared.geometry)
    subjects, seconds = _record_layers(task, prepared, request, layers)
    rng = np.random.Generator(np.random.PCG64(seed))
    judge = _make_judge(subjects[0], most, rng)
    names = tuple(one.layer for one in subjects)
    if not judge.chosen:
        return PhotoMeasures(0, {}, None, names)
    image = subjects[0].image
    began = time.perf_counter()
    subjects[0].scores(image)
    bare = time.perf_counter() - began
    failed: dict[Key, str] = {}
    heats: dict[Key, Tensor] = {}
    costs: dict[Key, float] = {}
    for place, subject in enumerate(subjects):
        rows = match_targets(subjects[0].targets, subject.targets, task.name)
        chosen = [rows[target] for target in judge.chosen]
        for number, method in enumerate(methods):
            began = time.perf_counter()
            try:
                maps = make_maps(method, subject).detach()
            except VlcamError as error:
                failed[place, number] = str(error)
                continue
            costs[place, number] = (seconds[place] + time.perf_counter() - began) / bare
            heats[place, number] = _spread(maps.clamp_min(0) if method.relu else maps, image, chosen)
    found = {}
    for key, heat in heats.items():
        others = [other for one, other in heats.items() if one != key]
        found[key] = _measure(judge, heat, others, costs[key], seed)
    grid = subjects[0].activations.shape[2:]
    noise = torch.from_numpy(rng.random((len(subjects[0].targets), *grid), np.float32))
    control = _measure(judge, _spread(noise.to(image.device), image, judge.chosen), list(heats.values()), 0.0, seed)
    return PhotoMeasures(len(judge.chosen), found, control, names, failed)


def _record_layers(
    task: Task, prepared: Prepared, request: Request, layers: Sequence[Layer]
) -> tuple[list[PhotoSubject], list[float]]:
    """The photo with the same targets at each layer, and the seconds that each run with its gradients took."""
    subjects: list[PhotoSubject] = []
    seconds = []
    for layer in layers:
        settled = subjects[0].request if subjects else request
        began = time.perf_counter()
        spoken, evidence = run_and_record(task, prepared, settled, layer)
        seconds.append(time.perf_counter() - began)
        targets = tuple(spoken.targets)
        subjects.append(PhotoSubject(task, prepared, fix_targets(settled, targets), targets, evidence))
    return subjects, seconds


def _make_judge(subject: PhotoSubject, most: int, rng: np.random.Generator) -> _Judge:
    image = subject.image
    side = min(image.shape[2:])
    fills = torch.cat([make_cover(image, "mean", side), make_cover(image, "blur", max(1, round(side / 3)))])
    scores = subject.scores(torch.cat([image, fills]))
    whole, empty = scores[0], scores[1:].amax(0)
    lost = 1 - _to_shares(empty[None], whole, empty, _list_logarithms(subject))[0]
    usable = [
        place
        for place, target in enumerate(subject.targets)
        if target.kind != "caption" and bool(whole[place] > empty[place]) and float(lost[place]) >= LEAST
    ]
    chosen = tuple(sorted(sorted(usable, key=lambda place: -float(lost[place]))[:most]))
    squares = _draw_squares((image.shape[2], image.shape[3]), rng).to(image.device)
    cover = fills[torch.arange(SQUARES, device=image.device) % 2]
    effects = scores.new_zeros(SQUARES, len(whole))
    if chosen:
        effects = scores[:1] - subject.scores(torch.where(squares[:, None], cover, image))
    return _Judge(subject, fills, whole, empty, chosen, squares, effects)


def _list_logarithms(subject: PhotoSubject) -> Bool[Tensor, " targets"]:
    """Which targets' scores are log-probabilities."""
    known = [one.measure == "log-probability" and one.kind != "contrast" for one in subject.targets]
    return torch.tensor(known, device="cpu")


def _to_shares(
    scores: Float[Tensor, "pictures targets"],
    whole: Float[Tensor, " targets"],
    empty: Float[Tensor, " targets"],
    logarithms: Bool[Tensor, " targets"],
) -> Float[Tensor, "pictures targets"]:
    """Scores as shares of that of the photo, 0 to 1."""
    ratio = (scores - whole).exp()
    share = (scores - empty) / (whole - empty).clamp_min(1e-12)
    return torch.where(logarithms.to(scores.device), ratio, share).clamp(0, 1)


def _draw_squares(size: tuple[int, int], rng: np.random.Generator) -> Bool[Tensor, "squares height width"]:
    """Squares at random places, wholly inside the image."""
    found = torch.zeros(SQUARES, *size, dtype=torch.bool, device="cpu")
    for square in found:
        side = max(1, round(float(rng.uniform(*SIDES)) * min(size)))
        top, left = (int(rng.integers(0, whole - side + 1)) for whole in size)
        square[top : top + side, left : left + side] = True
    return found


def _spread(
    maps: Float[Tensor, "targets rows columns"], image: Float[Tensor, "1 _ height width"], chosen: Sequence[int]
) -> Float[Tensor, "chosen height width"]:
    """The maps of the chosen targets on the pixels of the model's input, which they cover evenly."""
    wide = maps[list(chosen)].float()[:, None]
    return F.interpolate(wide, size=image.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _measure(
    judge: _Judge, heat: Float[Tensor, "chosen height width"], others: Sequence[Tensor], cost: float, seed: int
) -> Measures:
    """What the maps of one candidate are worth. One that is the same everywhere has its pixels in a random order."""
    image = judge.subject.image
    pixels = heat[0].numel()
    ranks = order(heat.flatten(1), seed=seed).argsort(1).view(heat.shape)
    limits = torch.tensor([max(1, round(part * pixels)) for part in FRACTIONS], device=heat.device)
    deleted, inserted = [], []
    for row, target in enumerate(judge.chosen):
        top = (ranks[row] < limits[:, None, None])[:, None]
        without = [torch.where(top, fill, image) for fill in judge.fills]
        alone = [torch.where(top, image, fill) for fill in judge.fills]
        shares = judge.score(torch.cat(without + alone), target)
        half = len(shares) // 2
        deleted.append(float(shares[:half].mean()))
        inserted.append(float(shares[half:].mean()))
    mass = torch.einsum("thw,shw->ts", heat.clamp_min(0).double(), judge.squares.double())
    effects = judge.effects[:, list(judge.chosen)].T.double()
    correlation = spearman(mass[:, None], effects[:, None])
    small = to_grid(heat, (min(COMPARED, heat.shape[1]), min(COMPARED, heat.shape[2])))
    alike = [spearman(small, to_grid(other, (small.shape[1], small.shape[2]))) for other in others]
    return Measures(
        float(np.mean(deleted)),
        float(np.mean(inserted)),
        _take_mean(correlation),
        _take_mean(torch.stack(alike)) if alike else float("nan"),
        cost,
    )


def _take_mean(values: Float[Tensor, "..."]) -> float:
    """The mean of what is known; NaN if nothing is."""
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else float("nan")
