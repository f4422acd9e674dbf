"""Name the units of a model's layer: run it over a probe, compare every unit with every concept, keep what can be trusted."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from vlcam._version import __version__
from vlcam.contracts import Geometry, InputError, Request, Task, show_record
from vlcam.neurons.asking import make_request
from vlcam.neurons.limits import METHODS, SMALL, list_limits
from vlcam.neurons.names.names import NeuronNames
from vlcam.neurons.probes.marks import Marks
from vlcam.neurons.probes.probe import Concept, GridLabels, Probe, WordProbe, list_categories
from vlcam.neurons.probes.rasters import rasterise
from vlcam.neurons.scoring.activations import Activations, ModuleTask, watch
from vlcam.neurons.scoring.choose import NamedUnits, name_by_masks, name_by_words
from vlcam.neurons.scoring.fired import find_thresholds, split_chunks
from vlcam.neurons.scoring.scorers import WordScorer
from vlcam.neurons.scoring.settings import Progress, Settings
from vlcam.neurons.thesaurus.synonyms import Thesaurus, merge_concepts

MASK_SIZE: Final = 56
"""About how many cells a side masks have, as in the authors' later code of Network Dissection; a multiple of the maps'."""

WEIGHTS: Final = "sha256 of parameters and buffers"
"""What the weights' checksum of these names is of."""

_WORD_SCORERS: Final = ("soft-wpmi", "www")


@final
@dataclass(frozen=True, eq=False)
class NamingResult:
    """Names, and what they were made from, for a report."""

    names: NeuronNames
    activations: Activations
    joined: tuple[tuple[Concept, tuple[int, ...]], ...] = ()

    __repr__ = show_record
    """What was joined: each concept and the probe's own concepts in it."""


def name(
    model: Task | nn.Module,
    layer: str | nn.Module | None,
    probe: Probe | WordProbe,
    *,
    preprocess: Callable[[Any], tuple[Any, Geometry]] | None = None,
    request: Request | None = None,
    question: str | None = None,
    prompt: str | None = None,
    scorer: str | None = None,
    quantile: float = 0.01,
    min_score: float | None = None,
    permutations: int = 200,
    bootstrap: int = 100,
    length: int = 1,
    seed: int = 0,
    mask_size: int | None = None,
    thesaurus: Thesaurus | None = None,
    hypernyms: bool = False,
    batch_size: int = 16,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> NeuronNames:
    """Name the channels of a layer by what is in the pictures where they fire.

    Args:
        model: a task (of :func:`vlcam.load`, say), or any module together with ``preprocess``.
        layer: a module or its dotted name; None: the task's, or else the last spatial layer.
        probe: pictures with labels (:mod:`vlcam.neurons.probes.folders`, :mod:`vlcam.neurons.probes.datasets`,
            :mod:`vlcam.neurons.probes.broden`, :class:`vlcam.neurons.probes.scenes.SceneProbe`), or pictures and words
            (:class:`vlcam.neurons.probes.encoders.EncodedWords`).
        preprocess: for a bare module: photo to ``(inputs, geometry)``, such as :class:`vlcam.Preprocess`.
        request: what the task is asked while it looks, if that is more than a question and a prompt.
        question: what a question answerer is asked while it looks; it must be asked something.
        prompt: what a model that writes is told while it looks; by default what suits the model.
        scorer: ``iou`` (Network Dissection, the default), ``auprc`` or ``correlation`` for labels; ``soft-wpmi`` (CLIP-Dissect, the
            default for words) or ``www`` (several names per unit) for words.
        quantile: the share of positions at which a unit counts as firing.
        min_score: names that score less are dropped; by default 0.04 for IoU, 0.1 for correlation, 0 for the others.
        permutations: draws of the null test.
        bootstrap: samples for the stability of each name; 0 leaves it out.
        length: up to how many concepts a formula may join (2 or 3; 1: none). Takes minutes for large probes.
        seed: the same seed gives the same names.
        mask_size: cells a side that labels are compared on; by default about 56.
        thesaurus: which names mean the same, or are kinds of each other; by default the packaged table.
        hypernyms: also try what several concepts are kinds of ("vehicle").
        batch_size: pictures in one forward pass, where the task can.
        cache: a folder for the layer's maps. They are used again only while weights, code, layer and prepared pictures are the same.
        progress: called with (what, done, all).

    Returns:
        The names with p-values, stability, margins and flags; ``names.probe`` says how they were made, and what limits them (``notes``).

    Raises:
        InputError: the probe, a picture or an option can't be used, or a question answerer is asked nothing.
        LayerError: there is no such layer, or it has no rows and columns.
    """
    return name_and_keep(
        model,
        layer,
        probe,
        preprocess=preprocess,
        request=request,
        question=question,
        prompt=prompt,
        settings=_make_settings(probe, scorer, quantile, min_score, permutations, bootstrap, length, seed),
        mask_size=mask_size,
        thesaurus=thesaurus,
        hypernyms=hypernyms,
        batch_size=batch_size,
        cache=cache,
        progress=progress,
    ).names


def name_and_keep(
    model: Task | nn.Module,
    layer: str | nn.Module | None,
    probe: Probe | WordProbe,
    *,
    settings: Settings,
    preprocess: Callable[[Any], tuple[Any, Geometry]] | None = None,
    request: Request | None = None,
    question: str | None = None,
    prompt: str | None = None,
    mask_size: int | None = None,
    thesaurus: Thesaurus | None = None,
    hypernyms: bool = False,
    batch_size: int = 16,
    cache: str | Path | None = None,
    known: NeuronNames | None = None,
    progress: Progress | None = None,
) -> NamingResult:
    """The names and the activations they come from (see :func:`name`); with ``known`` names only the latter are made."""
    began = time.perf_counter()
    if len(probe) < 2:
        raise InputError(
            f"a probe of {len(probe)} picture(s) was given; expected at least 2, and better {SMALL} or more"
        )
    words = Thesaurus() if thesaurus is None else thesaurus
    task = _to_task(model, preprocess)
    asked = make_request(task, request, question=question, prompt=prompt)
    told = None if progress is None else (lambda done, total: progress("looking", done, total))
    seen = watch(
        task,
        _make_picture_getter(probe),
        images=len(probe),
        layer=layer,
        request=asked,
        batch_size=batch_size,
        cache=cache,
        progress=told,
    )
    if known is not None:
        if (known.layer, len(known)) != (seen.layer, seen.maps.shape[1]):
            raise InputError(
                f"the names are of {len(known)} units of layer {known.layer!r}; expected {seen.maps.shape[1]} of {seen.layer!r}: "
                "give the names of the layer that is looked at"
            )
        ours = known.probe.get("weights") == WEIGHTS
        if ours and known.weights_sha256 != seen.weights_sha256:
            raise InputError(
                f"the names are those of other weights of {known.model!r} than {task.name!r} has; name the units again"
            )
        return NamingResult(known, seen, _group_concepts(probe, words, hypernyms=True))
    targets = _find_predicted_names(task, probe, words)
    joined: tuple[tuple[Concept, tuple[int, ...]], ...] = ()
    if isinstance(probe, WordProbe):
        found = _name_units_by_words(seen, probe, settings, words, targets, progress)
        facts: dict[str, Any] = {"words": len(probe.words)}
    else:
        grid = _choose_grid(seen.maps.shape[2:], mask_size)
        joined = _group_concepts(probe, words, hypernyms=hypernyms)
        marks = _make_marks(seen, probe, grid, joined, progress=progress)
        found = name_by_masks(
            seen.maps, marks, settings, related=lru_cache(2**20)(words.related), targets=targets, progress=progress
        )
        facts = {"concepts": len(marks.concepts), "mask_size": list(grid)}
    positions = seen.maps.shape[0] * seen.maps.shape[2] * seen.maps.shape[3]
    categories = list_categories(tuple(probe.concepts)) if isinstance(probe, Probe) else ()
    notes = list_limits(len(probe), positions, settings, found, categories)
    about = {
        "method": METHODS[settings.scorer],
        "scorer": settings.scorer,
        "weights": WEIGHTS,
        **probe.facts,
        "images": len(probe),
        **facts,
        "quantile": settings.quantile,
        "min_score": settings.least,
        "permutations": settings.permutations,
        "bootstrap": settings.bootstrap,
        "length": settings.length,
        "seed": settings.seed,
        "seconds": round(time.perf_counter() - began, 1),
        "vlcam": __version__,
        "notes": notes,
        "null": found.make_null_curve(),
    }
    names = NeuronNames(task.name, seen.layer, seen.weights_sha256, about, found.units, found.together)
    return NamingResult(names, seen, joined)


def _make_settings(
    probe: object,
    scorer: str | None,
    quantile: float,
    min_score: float | None,
    permutations: int,
    bootstrap: int,
    length: int,
    seed: int,
) -> Settings:
    return Settings(
        choose_scorer(probe, scorer), quantile, min_score, permutations, bootstrap=bootstrap, length=length, seed=seed
    )


def choose_scorer(probe: object, scorer: str | None) -> str:
    """The scorer for a probe: the one that was asked for, if it fits, or the usual one. Raises InputError."""
    by_words = isinstance(probe, WordProbe)
    chosen = scorer if scorer is not None else "soft-wpmi" if by_words else "iou"
    if chosen in _WORD_SCORERS and not by_words:
        raise InputError(
            f"scorer {chosen!r} needs pictures and words, and the probe has labels; take iou, auprc or correlation"
        )
    if chosen not in _WORD_SCORERS and by_words:
        raise InputError(f"scorer {chosen!r} needs labels, and the probe has words; take soft-wpmi or www")
    return chosen


def _to_task(model: Task | nn.Module, preprocess: Callable[[Any], tuple[Any, Geometry]] | None) -> Task | ModuleTask:
    if not isinstance(model, nn.Module):
        if preprocess is not None:
            raise InputError("preprocess was given together with a task, which has its own; leave it out")
        return model
    if preprocess is None:
        raise InputError(
            "a bare module was given without its preprocessing; give preprocess=vlcam.Preprocess(...), or open it with vlcam.load"
        )
    return ModuleTask(model, preprocess)


def _make_picture_getter(probe: Probe | WordProbe) -> Callable[[int], tuple[str, Any]]:
    def picture(number: int) -> tuple[str, Any]:
        if isinstance(probe, WordProbe):
            photo = probe.photo(number)
            return (Path(photo).name if isinstance(photo, (str, Path)) else str(number)), photo
        sample = probe[number]
        return sample.name, sample.photo

    return picture


def _choose_grid(maps: Sequence[int], size: int | None) -> tuple[int, int]:
    """The masks' grid: a multiple of the maps', so that no cell of a map is cut."""
    if size is not None:
        if size < max(maps):
            raise InputError(
                f"mask_size={size} was given for maps of {maps[0]} x {maps[1]} cells; expected as many or more, such as {MASK_SIZE}"
            )
        return size, size
    rows, columns = (side * max(1, -(-MASK_SIZE // side)) for side in maps)
    return rows, columns


def _group_concepts(
    probe: Probe | WordProbe, thesaurus: Thesaurus, *, hypernyms: bool
) -> tuple[tuple[Concept, tuple[int, ...]], ...]:
    """The probe's concepts with synonyms joined and, if wanted, hypernyms added."""
    if isinstance(probe, WordProbe):
        return ()
    own = tuple(probe.concepts)
    if not own:
        raise InputError("the probe knows no concepts; expected at least one name")
    return tuple(one for one in merge_concepts(own, thesaurus) if hypernyms or not _is_parent(one, own))


def _make_marks(
    seen: Activations,
    probe: Probe,
    grid: tuple[int, int],
    groups: Sequence[tuple[Concept, tuple[int, ...]]],
    *,
    progress: Progress | None,
) -> Marks:
    """The probe's labels on the grid, in terms of the groups."""
    marks = Marks(tuple(concept for concept, _ in groups), grid)
    for number, geometry in enumerate(seen.geometries):
        labelled = rasterise(probe[number], tuple(probe.concepts), geometry, grid)
        marks.add(_regroup_labels(labelled, groups, tuple(probe.concepts), marks.concepts))
        if progress is not None:
            progress("labels", number + 1, len(seen.geometries))
    return marks


def _is_parent(group: tuple[Concept, tuple[int, ...]], concepts: Sequence[Concept]) -> bool:
    """Whether a group is one that the thesaurus added, not one of the probe's own concepts."""
    return group[0] not in {concepts[one] for one in group[1]}


def _regroup_labels(
    found: GridLabels, groups: Sequence[tuple[Concept, tuple[int, ...]]], old: Sequence[Concept], new: Sequence[Concept]
) -> GridLabels:
    """The labels in terms of the groups: a group is where any of its members is."""
    before, after = list_categories(old), list_categories(new)
    where = {int(c): n for n, c in enumerate(found.concepts)}
    concepts, masks = [], []
    for number, (_, members) in enumerate(groups):
        here = [where[one] for one in members if one in where]
        if here:
            concepts.append(number)
            masks.append(found.masks[here].any(axis=0))
    kept = [n for n, c in enumerate(found.categories.tolist()) if before[c] in after]
    categories = np.array([after.index(before[int(found.categories[n])]) for n in kept], np.int64)
    stack = np.stack(masks) if masks else np.zeros((0, *found.valid.shape[1:]), np.bool_)
    return GridLabels(np.array(concepts, np.int64), stack, categories, found.valid[kept])


def _find_predicted_names(task: Task | ModuleTask, probe: Probe | WordProbe, thesaurus: Thesaurus) -> frozenset[str]:
    """The names of the probe that the model predicts itself."""
    labels = {thesaurus.canonical(str(one)) for one in getattr(task, "labels", None) or ()}
    names = probe.words if isinstance(probe, WordProbe) else [concept for concept, _ in probe.concepts]
    return frozenset(one for one in names if thesaurus.canonical(one) in labels)


def _name_units_by_words(
    seen: Activations,
    probe: WordProbe,
    settings: Settings,
    thesaurus: Thesaurus,
    targets: frozenset[str],
    progress: Progress | None,
) -> NamedUnits:
    activity = torch.from_numpy(average_activity(seen.maps))
    similarity = probe.similarity() if settings.scorer == "soft-wpmi" else probe.of_template()
    if similarity.shape != (len(probe), len(probe.words)):
        raise InputError(
            f"the encoder compared {tuple(similarity.shape)}; expected {len(probe)} pictures and {len(probe.words)} words"
        )
    scorer = WordScorer(activity, similarity.detach().cpu().float(), settings.scorer)
    thresholds = find_thresholds(seen.maps, settings.quantile).double().numpy()
    return name_by_words(
        seen.maps,
        thresholds,
        scorer,
        list(probe.words),
        settings,
        related=thesaurus.related,
        targets=targets,
        progress=progress,
    )


def average_activity(maps: Float[np.ndarray, "images channels rows columns"]) -> Float[np.ndarray, "images channels"]:
    """Each unit's mean over the grid, picture by picture."""
    return np.concatenate([some.mean((2, 3)).numpy() for _, some in split_chunks(maps)])
