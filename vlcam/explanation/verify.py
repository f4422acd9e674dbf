"""A significance test for every heatmap of an explanation: does the score rest on this region more than chance allows?

A heatmap says "it is this region". That can be tested on the spot: take the region out of the picture and see how far the target's
score falls. If the map is no better than chance, a random region of its size and shape, or a model that never learnt anything, loses as
much about as often as not. What is counted, how, and why, is in :mod:`vlcam.explanation.region_test`. The p-values of all targets of an
explanation are corrected for their number (Holm 1979); each target keeps both.

Two more numbers put the map beside others: its rank correlation with a quick occlusion map of the same target (the paper's test of
faithfulness, arXiv 1610.02391, section 5.3), and with the map of the same model before any training (parameter randomisation, Adebayo et
al. 2018, arXiv 1810.03292): a map that hardly changes then says little about what the model learnt.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan
from typing import Any, Final, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, Maps, Method, PerturbationMethod, Task
from vlcam.engine.restore import undo_after_errors
from vlcam.engine.weights import randomise_weights, redraw_weights
from vlcam.explanation.rebuild import get_explained_layer, rebuild_subject, run_for_targets
from vlcam.explanation.record import AbstractExplanation, SignificanceTest, TargetView, flag_map
from vlcam.explanation.region_test import (
    Region,
    RegionComparison,
    compare_model,
    compare_places,
    correct_for_number,
)
from vlcam.explanation.rerun import PhotoSubject
from vlcam.explanation.run import make_maps
from vlcam.explanation.verdict import write_verdict
from vlcam.image.display import apply_steps
from vlcam.image.regions import AREA, find_top_region
from vlcam.methods.occlusion import make_occlusion
from vlcam.methods.registry import REGISTRY
from vlcam.metrics.correlation import occlusion_correlation

Explained = TypeVar("Explained", bound=AbstractExplanation)
"""The class of explanation that is tested, and comes back."""

REGIONS: Final = 200
"""How many random regions and untrained models a map is compared with, at least."""

EACH: Final = 20
"""... for each target: the smallest p-value, 1 / (1 + 20 T), times the number of targets T is still below 0.05."""

_NOTE: Final = "Significance tests:"
_OLD_NOTE: Final = "Proofs: "
"""How the note on the tests begins, here and in explanations that earlier versions saved."""

_AGAINST: Final = frozenset({"counterfactual"})
"""Methods whose maps mark what speaks against the target: without their region its score should rise."""

_SAME: Final = 1e-3
"""A map made again differs from the one explained by at most this part of its peak."""


@undo_after_errors
def verify(
    explanation: Explained,
    task: Task,
    image: Any = None,
    *,
    regions: int | None = None,
    area: float = AREA,
    seed: int = 0,
    prompt: str | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> Explained:
    """The explanation with a significance test for every target, and a note on how to read them.

    T targets and n regions take about ``T n`` runs for the random regions and ``(T + 1) n`` for the untrained models, in batches, and
    n maps of the method where they are made again; fewer for targets where many do as much. Then a quick occlusion map (a few hundred
    runs for all targets together) and one more explanation. The model is left as it was; the same seed gives the same tests.

    Args:
        explanation: what :func:`vlcam.explain` gave, or a saved one.
        task: the task that it was made with.
        image: the photo; needed only if it is too large to be kept in the explanation at its full size.
        regions: with how many random regions, and with how many untrained models, each map is compared, from 19; by default 200, or 20 for
            each target if that is more.
        area: the fraction of the picture that the map's top region covers.
        seed: of the random regions, the noise of the fills and the random parameters.
        prompt: what the model was told before it spoke, if anything.
        progress: called with (done, all) in runs of the model.

    Raises:
        InputError: too few regions; another photo, or another model than the one explained; or a model that doesn't take its photo as one
            image, so that no region can be taken away.
    """
    if isinstance(regions, bool) or (regions is not None and regions < 19):
        raise InputError(f"regions={regions} was given; expected 19 or more, for p-values of 0.05 or less")
    subject = rebuild_subject(explanation, task, image, prompt)
    count = max(REGIONS, EACH * len(explanation)) if regions is None else regions
    compared = compare_regions(explanation, subject, count, area=area, seed=seed, progress=progress)
    occluded = _correlate_with_occlusion(subject, explanation)
    blank = _correlate_with_untrained(subject, explanation, seed)
    tests = _make_tests(explanation, compared, occluded, blank)
    kept = tuple(one for one in explanation.notes if not one.startswith((_NOTE, _OLD_NOTE)))
    return replace(explanation, significance=tests, notes=(*kept, _write_note(tests, count, area)))


def compare_regions(
    explanation: AbstractExplanation,
    subject: PhotoSubject,
    count: int,
    *,
    area: float = AREA,
    seed: int = 0,
    only: Sequence[int] | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> list[RegionComparison | None]:
    """The top region of each map against up to ``count`` random regions and untrained models; None where there is nothing to compare.

    ``subject`` is the explanation's, from :func:`vlcam.explanation.rebuild.rebuild_subject`; ``only`` the numbers of the targets to
    compare, by default all; the rest as in :func:`verify`.
    """
    sign = -1 if explanation.method in _AGAINST else 1
    rng = np.random.Generator(np.random.PCG64(seed))
    total = count * (2 * len(explanation) + 1)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    method = _find_remaking_method(subject, explanation)
    compared = []
    for view in explanation:
        wanted = view.flag == "ok" and (only is None or view.index in only)
        region = _find_region(subject, view.map, area) if wanted else None
        compared.append(
            None if region is None else compare_places(subject, view.index, region, count, rng, seed=seed, sign=sign)
        )
        report(count * len(compared))
    return _compare_with_untrained(
        subject,
        explanation,
        compared,
        count,
        area,
        seed,
        sign,
        method,
        lambda done: report(count * len(explanation) + done * (len(explanation) + 1)),
    )


def _write_note(tests: Sequence[SignificanceTest], count: int, area: float) -> str:
    tested = sum(one.p is not None for one in tests)
    several = (
        f" The {tested} p-values were corrected for their number (Holm); the corrected ones hold for all of them together."
        if tested > 1
        else ""
    )
    return (
        f"{_NOTE} the top {area:.0%} of each map was removed, and the fall of the score (mean of two fills: the mean colour, and "
        f"what is around) compared with up to {count} random regions of the same size and shape and up to {count} untrained models. The "
        f"p-value is that of the harder comparison. One in 20 worthless maps reaches 0.05 by chance.{several}"
    )


def _find_region(subject: PhotoSubject, heat: Float[Tensor, "rows columns"], area: float) -> Region | None:
    image = subject.image
    return find_top_region(heat.to(image.device), (image.shape[2], image.shape[3]), area)


def _compare_with_untrained(
    subject: PhotoSubject,
    explanation: AbstractExplanation,
    compared: Sequence[RegionComparison | None],
    count: int,
    area: float,
    seed: int,
    sign: int,
    method: Method | PerturbationMethod | None,
    report: Callable[[int], None],
) -> list[RegionComparison | None]:
    """The comparisons with up to ``count`` untrained models counted in."""
    found = list(compared)
    with redraw_weights(subject.model) as redraw:
        for number in range(count):
            waiting = [one is not None and one.is_waiting(count) for one in found]
            if not any(waiting):
                break
            redraw(_mix(seed, number))
            maps = None if method is None else _remake_maps(subject, explanation, method)
            regions = [
                None
                if one is None or not wait
                else one.region
                if maps is None
                else _find_shown(subject, explanation, maps[index], area, one.region)
                for index, (one, wait) in enumerate(zip(found, waiting, strict=True))
            ]
            found = compare_model(subject, found, regions, seed=seed, sign=sign)
            report(number + 1)
    report(count)
    return found


def _mix(seed: int, number: int) -> int:
    """A seed of its own for each untrained model."""
    return int(np.random.SeedSequence([seed, 1, number]).generate_state(1, np.uint32)[0])


def _find_remaking_method(
    subject: PhotoSubject, explanation: AbstractExplanation
) -> Method | PerturbationMethod | None:
    """The method, if it makes the explanation's maps again, and at little cost; None: the maps are held."""
    method = REGISTRY.get(explanation.method)
    if method is None or not (isinstance(method, Method) or method.quick):
        return None
    maps, known = make_maps(method, subject), explanation.maps
    if maps.shape != known.shape:
        return None
    near = _SAME * known.abs().amax((1, 2), keepdim=True)
    return method if bool(((maps.to(known) - known).abs() <= near).all()) else None


def _remake_maps(subject: PhotoSubject, explanation: AbstractExplanation, method: Method | PerturbationMethod) -> Maps:
    """The maps of the model as it is now."""
    _, evidence = run_for_targets(
        subject.task,
        subject.prepared,
        subject.request,
        get_explained_layer(subject.task, explanation),
        subject.targets,
    )
    return make_maps(method, replace(subject, evidence=evidence))


def _find_shown(
    subject: PhotoSubject,
    explanation: AbstractExplanation,
    signed: Float[Tensor, "rows columns"],
    area: float,
    held: Region,
) -> Region:
    """The top region of an untrained model's map; that of the map that is tested if this one shows nothing."""
    if flag_map(signed, relu=explanation.relu) != "ok":
        return held
    shown = signed.clamp_min(0) if explanation.relu else signed
    found = _find_region(subject, apply_steps(shown[None], explanation.steps)[0], area)
    return held if found is None else found


def _correlate_with_occlusion(subject: PhotoSubject, explanation: AbstractExplanation) -> list[float | None]:
    """The rank correlation of each map with a quick occlusion map; None where the map is one itself."""
    method = make_occlusion()
    if explanation.method == method.name:
        return [None] * len(explanation)
    drops = make_maps(method, subject)
    sign = -1 if explanation.method in _AGAINST else 1
    found = occlusion_correlation(_stack_maps(explanation).to(drops.device), sign * drops)
    return [None if isnan(one) else one for one in found.tolist()]


def _correlate_with_untrained(subject: PhotoSubject, explanation: AbstractExplanation, seed: int) -> list[float | None]:
    """The rank correlation of each map, before its ReLU, with that of the same model untrained; None for methods that have no name."""
    method = REGISTRY.get(explanation.method)
    if method is None:
        return [None] * len(explanation)
    with randomise_weights(subject.model, seed):
        maps = _remake_maps(subject, explanation, method)
    found = occlusion_correlation(explanation.maps.to(maps.device), maps)
    return [None if isnan(one) else one for one in found.tolist()]


def _stack_maps(explanation: AbstractExplanation) -> Float[Tensor, "targets rows columns"]:
    return torch.stack([view.map for view in explanation])


def _make_tests(
    explanation: AbstractExplanation,
    compared: Sequence[RegionComparison | None],
    occluded: Sequence[float | None],
    blank: Sequence[float | None],
) -> tuple[SignificanceTest, ...]:
    raw = [None if one is None else one.p for one in compared]
    number = sum(p is not None for p in raw)
    tests = []
    for view, one, p, corrected, occlusion, untrained in zip(
        explanation, compared, raw, correct_for_number(raw), occluded, blank, strict=True
    ):
        if one is None:
            tests.append(_say_nothing_to_test(view, occlusion, untrained))
            continue
        places, models = one.places, one.models
        test = SignificanceTest(
            one.area,
            places.drawn,
            one.removed,
            places.as_much,
            models.drawn,
            models.as_much,
            one.fills,
            p,
            corrected,
            occlusion,
            untrained,
            verdict="",
        )
        verdict = write_verdict(
            view.target, test, one.reach, number, learnt=one.learnt, against=explanation.method in _AGAINST
        )
        tests.append(replace(test, verdict=verdict))
    return tuple(tests)


def _say_nothing_to_test(view: TargetView, occluded: float | None, untrained: float | None) -> SignificanceTest:
    why = {"zero": "is empty", "negative": "shows only evidence against it", "nonfinite": "is not finite"}
    said = why.get(flag_map(view.signed_map, relu=view.explanation.relu), "or its effect is not finite")
    verdict = f"Nothing to test: the map of {view.label!r} {said}."
    return SignificanceTest(0.0, 0, float("nan"), 0, 0, 0, (), None, None, occluded, untrained, verdict)


__all__: Sequence[str] = ("compare_regions", "rebuild_subject", "verify")
