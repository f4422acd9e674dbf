"""``vlcam.compare``: which method, at which layer, is most faithful on this model? Measured on photos, without any mask.

Every candidate is measured on every photo (:mod:`vlcam.comparison.measuring`). One bootstrap over whole photos then gives every interval.
How far a candidate lies behind the best is judged by the distribution of the greatest studentised difference over all pairs of candidates
(Tukey's range, by bootstrap: Romano and Wolf 2005, doi 10.1111/j.1468-0262.2005.00615.x), so that the intervals hold together: the best of
a dozen equal candidates would else seem to beat the worst almost every time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from torch import nn

from vlcam.comparison.comparison import Comparison
from vlcam.comparison.layers import propose_layers
from vlcam.comparison.measuring import Key, Layer, Measures, PhotoMeasures, measure_photo
from vlcam.comparison.record import CONTROL, Candidate
from vlcam.contracts import InputError, Method, PerturbationMethod, Prepared, Request, Task
from vlcam.engine.modules import name_cause
from vlcam.engine.restore import allow_autograd, detach_tensors, undo_after_errors
from vlcam.explanation.options import check_options
from vlcam.image.photo import open_photo
from vlcam.methods import get_method
from vlcam.metrics.statistics import LEVEL, Summary, bootstrap, summarise

METHODS: Final = ("gradcam", "hirescam", "layercam", "gradcam++")
"""What is compared if no methods are named: maps of one run."""

_TINY: Final = 1e-12


@undo_after_errors
def compare(
    task: Task,
    photos: Sequence[Any],
    *,
    methods: Sequence[str | Method | PerturbationMethod] | None = None,
    layers: Sequence[str | nn.Module] | None = None,
    targets: Any = (),
    question: str | Sequence[str] | None = None,
    prompt: str | None = None,
    top_k: int = 1,
    each: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> Comparison:
    """Which method at which layer is most faithful on this model, measured on a few photos without any mask.

    That takes about ``20 * each`` runs of the model for each candidate and photo, and what the methods take themselves.

    Args:
        task: the model, such as one that :func:`vlcam.load` opened.
        photos: a list of whatever :func:`vlcam.explain` takes; 20 or more tell most candidates apart, fewer than 6 give no verdict.
        methods: names from :func:`vlcam.list_methods`, or methods; by default some of one run.
        layers: the layers to compare; by default the one that is explained by default, and the last one before it with a finer grid.
        targets: as :func:`vlcam.explain` takes them for several photos; by default what the model says itself.
        question: for VQA: one for all photos, or a list with one for each.
        prompt: what a generative model is told before it speaks.
        top_k: how many classes or answers the model names by itself.
        each: at most so many targets of a photo are judged: those whose score needs the photo most.
        seed: of the random squares, the random map and the bootstrap; the same seed gives the same comparison (but for the costs).
        progress: called with (done, all), in maps of candidates, after each photo.

    Raises:
        InputError: no photos, an unknown method, a photo that can't be opened, no candidate that works, or a model that doesn't take its
            photo as one image, of which no pixels can be changed.
        LayerError: a layer that was named doesn't exist, or doesn't lead to the targets.
        TargetError: the model doesn't know a class, word or answer.
    """
    pictures, questions = _check_photos(photos, question)
    chosen = [get_method(one) if isinstance(one, str) else one for one in (METHODS if methods is None else methods)]
    if not chosen or (layers is not None and not layers):
        raise InputError("no methods or no layers were given to compare; leave them out for the usual ones")
    if each < 1:
        raise InputError(f"each={each} was given; expected how many targets of a photo are judged, 1 or more")
    order = check_options(
        targets=targets, top_k=top_k, prompt=prompt, several=True, photos=len(pictures), method=chosen[0]
    )
    names, measured, left_out = [], [], []
    places: list[Layer] | None = None if layers is None else list(layers)
    with name_cause(task.model):
        for number, (photo, asked) in enumerate(zip(pictures, questions, strict=True)):
            picture, opened = open_photo(photo)
            request = replace(order.get_for(number).request, question=asked)
            if places is None:
                places = list(_propose(task, picture, request))
            found = measure_photo(task, picture, request, places, chosen, most=each, seed=_mix(seed, number))
            if progress is not None:
                progress((number + 1) * len(places) * len(chosen), len(pictures) * len(places) * len(chosen))
            if found.targets:
                names.append(opened.name)
                measured.append(found)
            else:
                left_out.append((opened.name, "no target needs the photo: its scores stay when all of it is covered"))
    assert places is not None
    if not measured:
        raise InputError(
            f"none of the {len(pictures)} photos can tell maps apart: {left_out[0][1]}; give photos of what the model knows"
        )
    return _make_comparison(task, places, chosen, names, measured, left_out, seed)


def _check_photos(photos: Sequence[Any], question: str | Sequence[str] | None) -> tuple[list[Any], list[str | None]]:
    """The photos, and the question about each."""
    if not isinstance(photos, (list, tuple)):
        raise InputError(
            f"photos={type(photos).__name__} was given; expected a list of photos, so that they can be counted"
        )
    if not photos:
        raise InputError("no photos were given; expected a list of photos, best 20 or more")
    if question is None or isinstance(question, str):
        return list(photos), [question] * len(photos)
    if len(question) != len(photos):
        raise InputError(
            f"{len(question)} questions were given for {len(photos)} photos; expected one for all, or one for each"
        )
    return list(photos), list(question)


def _propose(task: Task, picture: Any, request: Request) -> tuple[Layer, ...]:
    with allow_autograd():
        prepared = task.prepare(picture, request)
    return propose_layers(task, Prepared(detach_tensors(prepared.inputs), prepared.geometry), request)


def _mix(seed: int, number: int) -> int:
    """A seed for each photo."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _make_comparison(
    task: Task,
    layers: Sequence[Layer],
    methods: Sequence[Method | PerturbationMethod],
    names: Sequence[str],
    measured: Sequence[PhotoMeasures],
    left_out: list[tuple[str, str]],
    seed: int,
) -> Comparison:
    """What the measures of all photos say of every candidate that worked on all of them."""
    shown = measured[0].layers
    keys: list[Key] = []
    for place in range(len(layers)):
        for number, method in enumerate(methods):
            reason = next((one.failed[place, number] for one in measured if (place, number) in one.failed), None)
            if reason is None:
                keys.append((place, number))
            else:
                left_out.append((f"{method.name} at {shown[place]}", reason))
    if not keys:
        raise InputError(f"none of the candidates works on this model: {left_out[-1][0]}: {left_out[-1][1]}")
    rows: list[list[Measures]] = [[one.found[key] for one in measured] for key in keys]
    rows.append([one.control for one in measured if one.control is not None])
    behind = measure_behind(
        np.array([[one.insertion - one.deletion for one in row] for row in rows]), seed=seed, control=len(keys)
    )
    made = []
    for place, (row, far) in enumerate(zip(rows, behind, strict=True)):
        layer, number = keys[place] if place < len(keys) else (0, -1)
        made.append(
            Candidate(
                CONTROL if number < 0 else methods[number].name,
                "" if number < 0 else shown[layer],
                summarise([one.insertion - one.deletion for one in row], seed=seed),
                deletion=summarise([one.deletion for one in row], seed=seed),
                insertion=summarise([one.insertion for one in row], seed=seed),
                correlation=summarise([one.correlation for one in row], seed=seed),
                agreement=summarise([one.agreement for one in row], seed=seed),
                behind=far,
                cost=float(np.median([one.cost for one in row])),
            )
        )
    *candidates, control = made
    candidates.sort(key=lambda one: (one.behind.mean, one.cost))
    return Comparison(
        task.name,
        task.kind,
        tuple(names),
        sum(one.targets for one in measured),
        tuple(candidates),
        control,
        tuple(left_out),
    )


def measure_behind(
    values: Float[np.ndarray, "candidates photos"], *, seed: int, control: int | None = None
) -> list[Summary]:
    """How far each candidate lies behind the best (of those that aren't the control), with simultaneous 95 % intervals over photos.

    An interval is ``d - q s`` to ``d + q s``: d the mean difference, s the deviation of its bootstrap distribution, and q the 95 %
    quantile of the greatest ``|d* - d| / s`` over all pairs of candidates (all of them, since the best is found on the same photos). The
    best one is 0 behind itself.

    >>> one, two = measure_behind(np.array([[0.9, 0.8, 0.9, 0.8, 0.9, 0.8], [0.2, 0.1, 0.1, 0.2, 0.1, 0.2]]), seed=0)
    >>> round(one.mean, 3), round(two.mean, 3), two.low > 0
    (0.0, 0.7, True)
    """
    means = values.mean(1)
    ranked = means.copy()
    if control is not None:
        ranked[control] = -np.inf
    best = int(ranked.argmax())
    drawn = bootstrap(partial(_draw_means, values), values.shape[1], seed=seed) - means
    many = values.shape[1]
    limit = widen_for_few(float(np.quantile(_find_greatest(drawn), LEVEL)), many)
    found = []
    for one in range(len(values)):
        middle, spread = float(means[best] - means[one]), float((drawn[:, best] - drawn[:, one]).std())
        width = 0.0 if one == best else limit * spread if many > 1 else math.inf
        found.append(Summary(many, 0, middle, middle - width, middle + width))
    return found


def widen_for_few(limit: float, photos: int) -> float:
    """A quantile of the normal distribution as that of Student's t for the mean of so few values, and for the bootstrap's deviation.

    A bootstrap's deviation is that of the values themselves, ``sqrt((n - 1) / n)`` too small, and with few values as uncertain as Student's
    t says (Abramowitz and Stegun 1964, 26.7.5, to the third order). A single value has no deviation.

    >>> [round(widen_for_few(1.96, photos) / (photos / (photos - 1)) ** 0.5, 2) for photos in (6, 11, 1000)]
    [2.57, 2.23, 1.96]
    """
    free = max(1, photos - 1)
    z = limit
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    return t * math.sqrt(photos / free)


def _draw_means(
    values: Float[np.ndarray, "candidates photos"], drawn: Int[np.ndarray, "draws photos"]
) -> Float[np.ndarray, "draws candidates"]:
    found: Float[np.ndarray, "draws candidates"] = values[:, drawn].mean(2).T
    return found


def _find_greatest(drawn: Float[np.ndarray, "draws candidates"]) -> Float[np.ndarray, " draws"]:
    """In each draw the greatest difference of two candidates' deviations, by its own standard deviation; 0 if there are no two."""
    greatest = np.zeros(len(drawn))
    for one in range(drawn.shape[1]):
        apart = drawn[:, one : one + 1] - drawn[:, one + 1 :]
        spread = apart.std(0)
        known = spread > _TINY
        if known.any():
            greatest = np.maximum(greatest, (np.abs(apart[:, known]) / spread[known]).max(1))
    return greatest
