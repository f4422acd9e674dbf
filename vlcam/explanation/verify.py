"""A significance test for one heatmap: would a random region have done as well?

A heatmap says "it is this region". That can be tested on the spot: take the region away from the picture and see how far the
target's score falls, leave only the region and see how far it rises from that of an empty picture, and do the same with many random
regions of the same size and shape. If the map is no better than chance, a random region does as much about as often as not.

With ``D = s(x) - s(x without R)`` and ``I = s(R alone) - s(nothing)``, the test is of ``(D + I) / c(R)``, where ``c`` is how much of a
change of the picture it is to take R away (the root of the summed squared differences): plain background can't matter, so without
``c`` any map that marks objects would beat most random regions, even in models that know nothing. The p-value is ``(1 + #{random
regions with at least as large a value}) / (1 + n)``, a Monte Carlo test. What is taken away becomes the picture's mean colour.

Two more numbers put the map beside others: its rank correlation with a quick occlusion map of the same target (the paper's test of
faithfulness, arXiv 1610.02391, section 5.3), and with the map of the same model before any training (parameter randomisation, Adebayo et
al. 2018, arXiv 1810.03292): a map that hardly changes then says little about what the model learnt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan
from typing import Any, Final, TypeVar, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image as Pictures
from PIL.Image import Image
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, Prepared, Request, Target, TargetError, Task
from vlcam.engine.layers import find
from vlcam.engine.restore import allow_autograd, detach_tensors, undo_after_errors
from vlcam.engine.weights import randomise_weights
from vlcam.explanation.record import AbstractExplanation, SignificanceTest, TargetView, flag_map
from vlcam.explanation.rerun import PhotoSubject, fix_targets
from vlcam.explanation.run import make_maps, run_and_record
from vlcam.image.photo import Photo, open_photo
from vlcam.image.regions import AREA, draw_random_regions, find_top_region
from vlcam.methods.occlusion import make_occlusion
from vlcam.methods.registry import REGISTRY
from vlcam.metrics.correlation import occlusion_correlation

Explained = TypeVar("Explained", bound=AbstractExplanation)
"""The class of explanation that is tested, and comes back."""


REGIONS: Final = 200
"""How many random regions a map is compared with."""

SURE: Final = 0.05
"""Up to this p-value a map is said to be better than random ones."""

_NOTE: Final = "Significance tests:"
_OLD_NOTE: Final = "Proofs: "
"""How the note on the tests begins, here and in explanations that earlier versions saved."""

_AGAINST: Final = frozenset({"counterfactual"})
"""Methods whose maps mark what speaks against the target: without their region its score should rise."""
_RATHER: Final = " rather than "


@undo_after_errors
def verify(
    explanation: Explained,
    task: Task,
    image: Any = None,
    *,
    regions: int = REGIONS,
    area: float = AREA,
    seed: int = 0,
    prompt: str | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Explained:
    """The explanation with a significance test for every target, and a note on how to read them.

    The T targets of an explanation take ``2 T (regions + 1)`` runs in batches, a quick occlusion map (a few hundred runs for all
    targets together) and one more explanation. The model is left as it was; the same seed gives the same tests.

    Args:
        explanation: what :func:`vlcam.explain` gave, or a saved one.
        task: the task that it was made with.
        image: the photo; needed only if it is too large to be kept in the explanation at its full size.
        regions: how many random regions each map is compared with, from 19.
        area: the fraction of the picture that the map's top region covers.
        seed: of the random regions and the random parameters.
        prompt: what the model was told before it spoke, if anything.
        progress: called with (done, all) in runs of the model.

    Raises:
        InputError: too few regions; another photo, or another model than the one explained; or a model that doesn't take its photo as one
            image, so that no region can be taken away.
    """
    if isinstance(regions, bool) or regions < 19:
        raise InputError(f"regions={regions} was given; expected 19 or more, for p-values of 0.05 or less")
    subject = rebuild_subject(explanation, task, image, prompt)
    rng = np.random.Generator(np.random.PCG64(seed))
    total = 2 * len(explanation) * (regions + 1)
    done = 0
    found = []
    for view in explanation:
        found.append(compare_regions(subject, view, regions, area, rng))
        done += 2 * (regions + 1)
        if progress is not None:
            progress(done, total)
    occluded = _correlate_with_occlusion(subject, explanation)
    blank = _correlate_with_untrained(subject, explanation, seed)
    tests = tuple(
        _make_significance_test(view, test, regions, one, other)
        for view, test, one, other in zip(explanation, found, occluded, blank, strict=True)
    )
    note = (
        f"{_NOTE} the top {area:.0%} of each map was removed (filled with the mean colour) and shown alone, and compared with {regions} "
        "random regions of the same size and shape. The p-value is for both effects together, relative to how much a region changes the "
        "picture. One in 20 worthless maps reaches 0.05 by chance."
    )
    kept = tuple(one for one in explanation.notes if not one.startswith((_NOTE, _OLD_NOTE)))
    return replace(explanation, significance=tests, notes=(*kept, note))


def rebuild_subject(
    explanation: AbstractExplanation, task: Task, image: Any = None, prompt: str | None = None
) -> PhotoSubject:
    """The photo and the targets of an explanation, ready to be run again.

    Raises InputError if it is another photo, or if the task scores the targets otherwise than the explanation says.
    """
    picture = _open_picture(explanation.photo, image)
    request = fix_targets(_rebuild_request(explanation, prompt), explanation.targets)
    with allow_autograd():
        prepared = task.prepare(picture, request)
    prepared = Prepared(detach_tensors(prepared.inputs), prepared.geometry)
    try:
        spoken, evidence = run_and_record(task, prepared, request, _find_layer(task, explanation))
    except (LayerError, TargetError) as error:
        raise InputError(
            f"{task.name} can't be run as {explanation.model} was when it was explained: {error}"
        ) from error
    subject = PhotoSubject(task, prepared, request, explanation.targets, evidence)
    scores = subject.order_scores(spoken).detach()
    said = torch.tensor([target.score for target in explanation.targets], dtype=scores.dtype, device="cpu")
    if not torch.allclose(scores.cpu(), said, rtol=1e-2, atol=1e-2):
        worst = int((scores.cpu() - said).abs().argmax())
        raise InputError(
            f"{task.name} scores {explanation.targets[worst].label!r} with {float(scores[worst]):.3f}, the explanation with "
            f"{float(said[worst]):.3f}; give the model, the photo and the prompt that it was made with"
        )
    return subject


def _find_layer(task: Task, explanation: AbstractExplanation) -> str | nn.Module:
    """The explained layer: as the task calls it if it is its own, whose layout the task knows; else by name."""
    own = task.layer
    return own if own is not None and find(task.model, own)[0] == explanation.layer else explanation.layer


def _open_picture(photo: Photo, image: Any) -> Image:
    if image is None:
        if photo.pixels.shape[:2] != (photo.height, photo.width):
            raise InputError(
                f"{photo.name} is {photo.width} x {photo.height} and the explanation keeps a smaller copy; give the photo itself"
            )
        return Pictures.fromarray(photo.pixels)
    picture, opened = open_photo(image)
    if opened.sha256 != photo.sha256:
        raise InputError(f"the photo given is not the one explained ({photo.name}); give that one")
    return picture


def _rebuild_request(explanation: AbstractExplanation, prompt: str | None) -> Request:
    """The request that the explanation answers."""
    pairs = tuple(
        (this, that)
        for target in explanation.targets
        if target.kind == "contrast"
        for this, _, that in (target.label.partition(_RATHER),)
    )
    words = explanation.task == "captioning" or any(target.kind == "word" for target in explanation.targets)
    logits = words and any(target.measure == "logit" for target in explanation.targets if target.kind != "contrast")
    return Request(
        question=explanation.question,
        contrasts=pairs,
        prompt=prompt,
        measure="logit" if logits else "log-probability",
    )


@final
@dataclass(frozen=True)
class RegionTest:
    """The effects of a map's region, and how many random ones did as much (see :class:`vlcam.explanation.record.SignificanceTest`)."""

    area: float
    removed: float
    removed_as_much: int
    kept: float
    kept_as_much: int
    p: float


def compare_regions(
    subject: PhotoSubject, view: TargetView, regions: int, area: float, rng: np.random.Generator
) -> RegionTest | None:
    """The map's region and random ones, taken away and left alone; None if the map shows nothing."""
    image = subject.image
    region = find_top_region(view.map.to(image.device), (image.shape[2], image.shape[3]), area)
    if region is None or view.flag != "ok":
        return None
    masks = torch.cat([region[None], draw_random_regions(region, regions, rng)])
    removed, kept = measure_effects(subject, view.index, masks)
    if view.explanation.method in _AGAINST:
        removed, kept = -removed, -kept
    both = (removed + kept) / measure_changes(image, masks)
    if not bool(torch.isfinite(both).all()):
        return None
    as_much = _count_as_much(both)
    return RegionTest(
        float(region.float().mean()),
        float(removed[0]),
        _count_as_much(removed),
        float(kept[0]),
        _count_as_much(kept),
        (1 + as_much) / (1 + regions),
    )


def measure_changes(
    image: Float[Tensor, "1 channels height width"], masks: Bool[Tensor, "regions height width"]
) -> Float[Tensor, " regions"]:
    """How much of a change it is to take each region away: the root of the summed squared differences; 1 where it is none."""
    away = (image - image.mean((2, 3), keepdim=True)).double().square().sum(1)
    found = (masks * away).sum((1, 2)).sqrt()
    return torch.where(found > 0, found, 1.0)


def _count_as_much(effect: Float[Tensor, " regions"]) -> int:
    """How many of the others have at least the effect of the first."""
    return int((effect[1:] >= effect[0]).sum())


def measure_effects(
    subject: PhotoSubject, index: int, masks: Bool[Tensor, "regions height width"]
) -> tuple[Float[Tensor, " regions"], Float[Tensor, " regions"]]:
    """For each region: how far the score of target ``index`` falls without it, and rises from that of an empty picture with it alone."""
    image = subject.image
    empty = image.mean((2, 3), keepdim=True).expand_as(image)
    whole, nothing = subject.scores(torch.cat([image, empty]))[:, index].double()
    without, alone = [], []
    for part in masks.split(_PART):
        inside = part[:, None]
        without.append(subject.scores(torch.where(inside, empty, image))[:, index].double())
        alone.append(subject.scores(torch.where(inside, image, empty))[:, index].double())
    return whole - torch.cat(without), torch.cat(alone) - nothing


_PART: Final = 64
"""Regions whose pictures are made at the same time."""


def _correlate_with_occlusion(subject: PhotoSubject, explanation: AbstractExplanation) -> list[float | None]:
    """The rank correlation of each map with a quick occlusion map."""
    drops = make_maps(make_occlusion(), subject)
    sign = -1 if explanation.method in _AGAINST else 1
    found = occlusion_correlation(_stack_maps(explanation).to(drops.device), sign * drops)
    return [None if isnan(one) else one for one in found.tolist()]


def _correlate_with_untrained(subject: PhotoSubject, explanation: AbstractExplanation, seed: int) -> list[float | None]:
    """The rank correlation of each map, before its ReLU, with that of the same model untrained; None for methods that have no name."""
    method = REGISTRY.get(explanation.method)
    if method is None:
        return [None] * len(explanation)
    with randomise_weights(subject.model, seed):
        _, evidence = run_and_record(
            subject.task, subject.prepared, subject.request, _find_layer(subject.task, explanation)
        )
        other = replace(subject, evidence=evidence)
        maps = make_maps(method, other)
    found = occlusion_correlation(explanation.maps.to(maps.device), maps)
    return [None if isnan(one) else one for one in found.tolist()]


def _stack_maps(explanation: AbstractExplanation) -> Float[Tensor, "targets rows columns"]:
    return torch.stack([view.map for view in explanation])


def _make_significance_test(
    view: TargetView, test: RegionTest | None, regions: int, occluded: float | None, blank: float | None
) -> SignificanceTest:
    if test is None:
        why = {"zero": "is empty", "negative": "shows only evidence against it", "nonfinite": "is not finite"}
        said = why.get(flag_map(view.signed_map, relu=view.explanation.relu), "or its effect is not finite")
        nan = float("nan")
        verdict = f"Nothing to test: the map of {view.label!r} {said}."
        return SignificanceTest(0.0, regions, nan, 0, nan, 0, None, occluded, blank, verdict)
    return SignificanceTest(
        test.area,
        regions,
        test.removed,
        test.removed_as_much,
        test.kept,
        test.kept_as_much,
        test.p,
        occluded,
        blank,
        write_verdict(view, test.removed, test.removed_as_much, regions, test.p),
    )


def write_verdict(view: TargetView, removed: float, as_much: int, regions: int, p: float) -> str:
    """The verdict: what removing the region does, how many random regions did as much, and whether that is better than chance."""
    against = view.explanation.method in _AGAINST
    change = -removed if against else removed
    unit = _name_unit(view.target)
    if not isfinite(change):
        return f"Removing this region has no finite effect on {view.label!r}."
    does = (
        f"hardly changes {view.label!r} (by {abs(change):.1g}{unit})"
        if abs(change) < 5e-4
        else f"{'lowers' if change > 0 else 'raises'} {view.label!r} by {_format_amount(abs(change))}{unit}"
    )
    others = (
        f"{as_much} of {regions} random regions did as much"
        if as_much
        else f"none of {regions} random regions did as much"
    )
    sure = "better than chance" if p <= SURE else "a random map may do as well"
    return f"Removing this region {does}; {others}. {sure.capitalize()} (p = {p:.2g})."


def _name_unit(target: Target) -> str:
    return " nats" if target.measure == "log-probability" else ""


def _format_amount(value: float) -> str:
    return f"{value:.1f}" if value >= 0.95 else f"{value:.2g}"


__all__: Sequence[str] = (
    "compare_regions",
    "measure_changes",
    "measure_effects",
    "randomise_weights",
    "rebuild_subject",
    "verify",
    "write_verdict",
)
