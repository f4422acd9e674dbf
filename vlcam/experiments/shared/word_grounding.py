"""The maps of every word of a scene's caption, by many methods and four targets, against exact masks and the removal of objects.

One scene gives one caption: the model's own. Its words are judged by the scene's ground truth. Words that are true and about objects are
scored on the visible pixels of those objects; a wrong word (colour, shape, size or texture) on those of the objects that the other words of
its phrase are about, if there are any: a kind of its own. Function words are about nothing: they enter Func-IoU, and the removal of
objects.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from vlcam.contracts import Request, Task
from vlcam.experiments.shared.interventions import (
    draw_without_each,
    has_order,
    measure_effects,
    measure_masses,
    measure_rank_agreement,
    measure_top_agreement,
)
from vlcam.experiments.shared.maps import (
    MethodLike,
    MethodMaps,
    make_ceiling_map,
    make_centre_map,
    make_edge_map,
    make_every_map,
    make_random_map,
)
from vlcam.experiments.shared.word_targets import FUNCTION, KIND_OF, TARGETS, WordTargets
from vlcam.explanation.visual_gain import score_targets
from vlcam.metrics import pointing_hit, relevance_mass, word_mask_scores
from vlcam.scenes.captions import check_words, find_word_objects, parse
from vlcam.scenes.record import PIXELS
from vlcam.scenes.scene import Scene
from vlcam.tasks.captioning import Captioning

WRONG: Final = "wrong words"
CONTENT: Final = ("colour words", "shape words", "size words", "texture words")
POINTING, MASS, OBJ, FUNC, F1 = "pointing", "mass", "Obj-IoU", "Func-IoU", "F1-IoU"
TOP, RANK, OWN = "top-1", "rank", "own top-1"
COLUMNS: Final = (POINTING, MASS, F1, TOP, RANK, OBJ, FUNC, OWN)
WHOLE: Final = (OBJ, FUNC, F1)
"""Measures of a whole caption; the others are of a word."""

UNIFORM, CENTRE, RANDOM, EDGES, UNTRAINED = "area", "centre", "random", "edges", "untrained gradcam"
CEILING: Final = "ceiling: mask of the word's objects"
CONTROLS: Final = (UNIFORM, CENTRE, RANDOM, EDGES, UNTRAINED, CEILING)

Heat = Float[Tensor, "words height width"]


def name_pair(method: str, target: str) -> str:
    """The name of a method and a target.

    >>> name_pair("gradcam", "logit")
    'gradcam: logit'
    """
    return f"{method}: {target}"


@final
@dataclass(frozen=True, eq=False)
class GroundingScores:
    """What was found.

    ``kinds`` of every word (scene and place), how many ``objects`` are in every scene, and for every pair of a method and a target, or
    control, the ``words`` by measure, and the ``captions`` by scene.
    """

    kinds: dict[tuple[int, int], str] = field(default_factory=dict)
    objects: dict[int, int] = field(default_factory=dict)
    words: dict[str, dict[tuple[int, int], dict[str, float]]] = field(default_factory=dict)
    captions: dict[str, dict[int, dict[str, float]]] = field(default_factory=dict)

    def get_values(
        self, name: str, column: str, kinds: Sequence[str], scenes: Sequence[int] | None = None
    ) -> dict[tuple[int, ...], float]:
        """The values of one measure, of words of some kinds (measures of captions are of all words), by scene and place."""
        found: dict[tuple[int, ...], float]
        if column in WHOLE:
            found = {(scene,): values[column] for scene, values in self.captions.get(name, {}).items()}
        else:
            found = {
                where: values[column]
                for where, values in self.words.get(name, {}).items()
                if self.kinds[where] in kinds
            }
        return {where: value for where, value in found.items() if scenes is None or where[0] in scenes}


@final
@dataclass(frozen=True, eq=False)
class JudgedCaption:
    """A scene's caption, judged. For every word its kind, and the visible pixels that its map should lie on, if any."""

    words: tuple[str, ...]
    ids: tuple[int, ...]
    kinds: tuple[str, ...]
    masks: tuple[Bool[Tensor, "height width"] | None, ...]
    shown: Bool[np.ndarray, "objects height width"]


def judge_caption(scene: Scene, captioner: Captioning) -> JudgedCaption | None:
    """What the captioner says of a scene; None for a caption outside the grammar, which nobody can judge."""
    caption = next(
        one for one in score_targets(captioner, Image.fromarray(scene.image()), Request()) if one.kind == "caption"
    )
    words = tuple(caption.label.split())
    try:
        truth, objects, parsed = check_words(scene, words), find_word_objects(scene, words), parse(words)
    except ValueError:
        return None
    meant = list(objects)
    for phrase in parsed.phrases:
        places = range(phrase.start + 1, phrase.start + 1 + len(phrase.attributes))
        for place in places:
            if not truth[place]:
                meant[place] = tuple(sorted({obj for other in places for obj in objects[other]}))
    shown = scene.masks()
    kinds = [
        KIND_OF[word] if truth[place] or KIND_OF[word] not in CONTENT else WRONG for place, word in enumerate(words)
    ]
    lost = [not truth[place] and kind not in (WRONG, FUNCTION) for place, kind in enumerate(kinds)]
    return JudgedCaption(
        words,
        caption.token_ids,
        tuple(WRONG if gone else kind for kind, gone in zip(kinds, lost, strict=True)),
        tuple(
            None if kind == FUNCTION else _unite_masks(shown, these) for kind, these in zip(kinds, meant, strict=True)
        ),
        shown,
    )


def ground(
    scene: Scene,
    number: int,
    captioner: Captioning,
    untrained: Task,
    methods: Sequence[MethodLike],
    rng: np.random.Generator,
    scores: GroundingScores,
) -> bool:
    """Score one scene into ``scores``; False if its caption can't be judged."""
    spoken = judge_caption(scene, captioner)
    if spoken is None:
        return False
    task, request = WordTargets(captioner), Request(ids=spoken.ids)
    mapped = make_every_map(task, scene.image(), request, methods)
    fell = _measure_effects(scene, task, mapped)
    scores.objects[number] = len(scene.objects)
    scores.kinds.update({(number, place): kind for place, kind in enumerate(spoken.kinds)})
    many = len(spoken.words)
    for name, heat in _iterate_heats(mapped, spoken, many):
        target = next((at for at, one in enumerate(TARGETS) if name.endswith(f": {one}")), 0)
        _score(name, heat, spoken, fell[:, 0], fell[:, target], number, scores)
    for name, heat in _iterate_controls(scene, mapped, spoken, untrained, request, rng):
        _score(name, heat, spoken, fell[:, 0], fell[:, 0], number, scores)
        if name == UNIFORM:  # a flat map has no highest point: by chance it is anywhere
            for place, mask in enumerate(spoken.masks):
                by_luck = math.nan if mask is None else float(mask.double().mean())
                scores.words[name][number, place][POINTING] = by_luck
    return True


def _iterate_heats(mapped: MethodMaps, spoken: JudgedCaption, many: int) -> Iterator[tuple[str, Heat]]:
    for method in mapped.methods:
        heat = mapped.get_heat(method)
        if bool((mapped.signed[method] == mapped.signed[method][:1]).all()):  # nothing about any target
            yield name_pair(method, "any"), heat[:many]
            continue
        for place, target in enumerate(TARGETS):
            yield name_pair(method, target), heat[place * many : (place + 1) * many]


def _iterate_controls(
    scene: Scene, mapped: MethodMaps, spoken: JudgedCaption, untrained: Task, request: Request, rng: np.random.Generator
) -> Iterator[tuple[str, Heat]]:
    many, geometry, grid = len(spoken.words), mapped.geometry, mapped.grid
    yield UNIFORM, mapped.draw(torch.ones(many, *grid, device="cpu"))
    yield CENTRE, mapped.draw(make_centre_map(grid).expand(many, -1, -1))
    yield RANDOM, mapped.draw(torch.cat([make_random_map(grid, rng) for _ in range(many)]))
    yield EDGES, mapped.draw(make_edge_map(mapped.subject.image).expand(many, -1, -1))
    yield UNTRAINED, make_every_map(untrained, scene.image(), request, ["gradcam"]).get_heat("gradcam")[:many]
    empty = torch.zeros(1, *grid, device="cpu")
    best = [empty if mask is None else make_ceiling_map(mask.numpy(), geometry, grid) for mask in spoken.masks]
    yield CEILING, mapped.draw(torch.cat(best))


def _measure_effects(scene: Scene, task: WordTargets, mapped: MethodMaps) -> Float[Tensor, "objects 4 words"]:
    """How far the scalars of every word fall without each object."""
    photos = [
        task.prepare(Image.fromarray(picture), mapped.subject.request).inputs
        for picture in draw_without_each(scene, PIXELS)
    ]
    found = measure_effects(mapped.subject.scores(torch.cat(photos)))
    return found.view(len(scene.objects), len(TARGETS), -1)


def _score(
    name: str,
    heat: Heat,
    spoken: JudgedCaption,
    fell: Float[Tensor, "objects words"],
    own: Float[Tensor, "objects words"],
    number: int,
    scores: GroundingScores,
) -> None:
    mass = measure_masses(heat, spoken.shown)
    for place, mask in enumerate(spoken.masks):
        order = has_order(fell[:, place])
        scores.words.setdefault(name, {})[number, place] = {
            POINTING: math.nan if mask is None else float(pointing_hit(heat[place], mask)),
            MASS: math.nan if mask is None else relevance_mass(heat[place], mask),
            TOP: measure_top_agreement(mass[place], fell[:, place]) if order else math.nan,
            RANK: measure_rank_agreement(mass[place], fell[:, place]) if order else math.nan,
            OWN: measure_top_agreement(mass[place], own[:, place]) if order else math.nan,
        }
    objects = [
        ([place], mask)
        for place, mask in enumerate(spoken.masks)
        if mask is not None and spoken.kinds[place] in CONTENT
    ]
    function = [place for place, kind in enumerate(spoken.kinds) if kind == FUNCTION]
    whole = word_mask_scores(heat, objects, function)
    scores.captions.setdefault(name, {})[number] = {OBJ: whole.obj, FUNC: whole.func, F1: whole.f1}


def _unite_masks(
    shown: Bool[np.ndarray, "objects height width"], objects: Sequence[int]
) -> Bool[Tensor, "height width"] | None:
    if not objects:
        return None
    found = torch.from_numpy(shown[list(objects)].any(axis=0))
    return found if bool(found.any()) else None
