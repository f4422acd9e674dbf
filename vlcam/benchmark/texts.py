"""Are the neuron texts of the bundled models true? The benchmark of names and texts on scenes whose content is known.

1. What the texts claim, against the scene (:mod:`vlcam.benchmark.claims`): for the pairs that the classifier predicts, the words of
   the captioner's own captions, and answers. Beside it, under the same counts:

   - ``above T_k``: the same text, if presence were claimed of every channel above Network Dissection's T_k;
   - ``alpha``: the paper's ranking. The names of the 5 channels with the largest alpha are claimed to be present, those of the 5 with the
     smallest to be absent;
   - ``permuted names``: the same text, with the names shuffled over the units (with how strongly each must fire to be claimed);
   - ``random names``: the same number of names per case, drawn from all names;
   - ``prior names``: the same number of names per case, the most frequent ones for the same target in other scenes.

2. Ablation (:mod:`vlcam.benchmark.ablation`): without the channels of a concept, how far do the scores of words, answers and classes of
   that concept fall, compared with the same number of other channels, drawn at random or of equal activity, and compared with other
   targets?
3. Erasing: an object is left out and the scene drawn again. Do names that are no longer true leave the text of the same targets, and do
   those that are still true stay?

Intervals are 95 % by bootstrap over scenes. All draws are seeded: the same arguments give the same numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.random import Generator

from vlcam.benchmark.ablation import ablate_concepts, summarise_ablations
from vlcam.benchmark.claims import (
    MEASURES,
    Counts,
    NameAndCategory,
    Prior,
    TextCase,
    claim_at_random,
    claim_by_alpha,
    count,
    export_summary,
    find_visible_names,
    get_vocabulary,
    list_claims,
    permute_names,
    remove_calibration,
    summarise_counts,
)
from vlcam.contracts import InputError, Task
from vlcam.explanation.explain import explain
from vlcam.explanation.record import NamedEvidence, TargetView
from vlcam.metrics.statistics import Seed, Summary
from vlcam.neurons import NeuronNames
from vlcam.scenes.captions import find_word_objects
from vlcam.scenes.models.zoo import MODEL_NAMES, ModelName, load
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene
from vlcam.tasks import bundled

Progress = Callable[[int, int], Any]

RANKINGS: Final = ("contribution", "above T_k", "alpha", "permuted names", "random names", "prior names")
KINDS: Final = ("class", "word", "answer", "all")
QUESTIONS: Final = 4
_CLASSES: Final = 4
_SURE: Final = 0.5
_MODEL_OF_KIND: Final[Mapping[str, ModelName]] = {"class": "classifier", "word": "captioner", "answer": "vqa"}
_EXTRA_MEASURES: Final = {
    "coverage": "evidence in named channels",
    "told": "positive evidence in channels whose names are told",
}


def evaluate(
    *,
    n: int = 200,
    seed: int = 0,
    names: Mapping[ModelName, NeuronNames] | None = None,
    folder: Path | None = None,
    split: Split = "test",
    method: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the texts on scenes ``0..n-1`` of a split.

    Args:
        n: how many scenes.
        seed: of everything that is drawn.
        names: the names of each model's channels; by default the packaged ones, or those in ``folder``.
        folder: other weights than the packaged ones.
        split: which scenes; the names must not have been made with them.
        method: whose contributions the texts rest on; by default the one that the tasks are explained by.
        progress: called with (scenes done, all scenes).

    Returns:
        JSON values: ``texts[kind][ranking][measure]``, ``ablation[kind][against]`` and ``erased[kind][measure]``.
    """
    if n < 2:
        raise InputError(f"n={n} was given; expected 2 scenes or more, such as 200")
    known = {which: _get_names(which, names, folder) for which in MODEL_NAMES}
    models = {which: load(which, folder) for which in MODEL_NAMES}
    tasks: dict[ModelName, Task] = {
        "classifier": bundled.classifier(models["classifier"]),
        "captioner": bundled.captioner(models["captioner"]),
        "vqa": bundled.vqa(models["vqa"]),
    }
    cases: list[TextCase] = []
    removed: list[dict[str, Any]] = []
    ablated: list[dict[str, Any]] = []
    for number in range(n):
        scene, rng = make(number, split), np.random.default_rng([seed, number])
        found = list(_make_cases(scene, number, tasks, known, method))
        cases += found
        for kind, which in _MODEL_OF_KIND.items():
            ablated += ablate_concepts(
                models[which], known[which], [case for case in found if case.kind == kind], scene, rng
            )
        removed += _measure_erasure(scene, found, tasks, known, rng, method)
        if progress is not None:
            progress(number + 1, n)
    draws = (seed, n)
    return {
        "split": split,
        "n": n,
        "seed": seed,
        "method": cases[0].view.explanation.method,
        "targets": dict(Counter(case.kind for case in cases)),
        "calibrated": {which: sum(bool(unit.claims) for unit in found.units) for which, found in known.items()},
        "measures": {**MEASURES, **_EXTRA_MEASURES},
        "texts": _measure_texts(cases, known, n, split, seed),
        "ablation": {kind: summarise_ablations(_select_kind(kind, ablated), n, draws) for kind in KINDS},
        "erased": {kind: _summarise_erasures(_select_kind(kind, removed), n, draws) for kind in KINDS},
    }


def _select_kind(kind: str, found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in found if kind in (row["kind"], "all")]


def _get_names(which: ModelName, names: Mapping[ModelName, NeuronNames] | None, folder: Path | None) -> NeuronNames:
    if names is not None:
        if which not in names:
            raise InputError(
                f"names of {', '.join(names) or 'nothing'} were given; expected those of {', '.join(MODEL_NAMES)}"
            )
        return names[which]
    path = None if folder is None else folder / f"{which}-neurons.json"
    found = (
        bundled.read_packaged_names(which) if path is None else NeuronNames.from_json(path) if path.is_file() else None
    )
    if found is None:
        raise InputError(f"there are no names of the {which}'s channels; make them with: vlcam scenes name")
    return found


def _make_cases(
    scene: Scene,
    number: int,
    tasks: Mapping[ModelName, Task],
    known: Mapping[ModelName, NeuronNames],
    method: str | None = None,
) -> Iterator[TextCase]:
    """What the models say of a scene by themselves."""
    image = scene.image()

    def case(view: TargetView, question: str | None, objects: Iterable[int]) -> TextCase:
        text = known[_MODEL_OF_KIND[view.target.kind]].describe(view.explanation, view)
        return TextCase(number, view, text, question, frozenset(objects))

    seen = explain(tasks["classifier"], image, top_k=_CLASSES, method=method)
    for view in [view for view in seen if (view.target.probability or 0.0) >= _SURE] or [seen[0]]:
        pair = tuple(view.label.split())
        yield case(view, None, (i for i, obj in enumerate(scene.objects) if obj.pair == pair))
    spoken = explain(tasks["captioner"], image, method=method)
    try:
        objects = find_word_objects(scene, spoken.text.split())
    except ValueError:  # outside the grammar, so about nothing that is known
        objects = ((),) * len(spoken.text.split())
    for view, these in zip([one for one in spoken if one.target.kind == "word"], objects, strict=True):
        yield case(view, None, these)
    for question in scene.questions(QUESTIONS):
        answered = explain(tasks["vqa"], image, question=question.text, top_k=1, method=method)
        yield case(answered[0], question.text, ())


def _explain_again(
    scene: Scene, found: Sequence[TextCase], tasks: Mapping[ModelName, Task], method: str | None
) -> Iterator[TargetView]:
    """The same targets in another picture."""
    image = scene.image()
    classes = [case.view.label for case in found if case.kind == "class"]
    yield from explain(tasks["classifier"], image, targets=classes, method=method)
    caption = next(case.view.explanation.text for case in found if case.kind == "word")
    spoken = explain(tasks["captioner"], image, caption=caption, method=method)
    yield from (view for view in spoken if view.target.kind == "word")
    for case in found:
        if case.kind == "answer":
            yield explain(tasks["vqa"], image, question=case.question, targets=case.view.label, method=method)[0]


# --- what the texts claim --------------------------------------------------------------------------------------------------


def _measure_texts(
    cases: Sequence[TextCase], known: Mapping[ModelName, NeuronNames], n: int, split: Split, seed: int
) -> dict[str, Any]:
    tallies = {(kind, ranking): [Counts() for _ in range(n)] for kind in KINDS for ranking in RANKINGS}
    shown = {number: find_visible_names(make(number, split)) for number in {case.scene for case in cases}}
    vocabulary = {kind: get_vocabulary(known[which]) for kind, which in _MODEL_OF_KIND.items()}
    bare = {kind: remove_calibration(known[which]) for kind, which in _MODEL_OF_KIND.items()}
    prior = Prior(((case.kind, case.view.label), case.scene, list_claims(case.text.named)) for case in cases)
    mixed: dict[tuple[int, str], NeuronNames] = {}
    for case in cases:
        names, view = known[_MODEL_OF_KIND[case.kind]], case.view
        rng = np.random.default_rng([seed, case.scene, view.index, KINDS.index(case.kind)])
        if (key := (case.scene, case.kind)) not in mixed:
            mixed[key] = permute_names(names, np.random.default_rng([seed, case.scene]))
        own = list_claims(case.text.named)
        every = {
            "contribution": own,
            "above T_k": list_claims(bare[case.kind].describe(view.explanation, view).named),
            "alpha": claim_by_alpha(names, view),
            "permuted names": list_claims(mixed[key].describe(view.explanation, view).named),
            "random names": claim_at_random(own, sorted(vocabulary[case.kind], key=str), rng),
            "prior names": prior.claim((case.kind, view.label), case.scene, own),
        }
        for ranking, claimed in every.items():
            found = count(claimed, view.target, case.question, shown[case.scene], vocabulary[case.kind])
            if ranking == "contribution":
                found.add("coverage", case.text.coverage, 1.0)
                found.add("told", case.text.accounted or 0.0, 1.0)
            for kind in (case.kind, "all"):
                tallies[kind, ranking][case.scene].join(found)
    return {
        kind: {ranking: _summarise_measures(tallies[kind, ranking], (seed, n)) for ranking in RANKINGS}
        for kind in KINDS
    }


def _summarise_measures(tallies: Sequence[Counts], seed: Seed) -> dict[str, Any]:
    out = {}
    for measure in (*MEASURES, *_EXTRA_MEASURES):
        found = summarise_counts([one.shares.get(measure, (0.0, 0.0)) for one in tallies], seed)
        if measure in MEASURES or found.n:
            out[measure] = _export_share(found)
    return out


def _export_share(found: Summary) -> dict[str, Any]:
    return {**export_summary(found, "value", "interval"), "n": found.n}


# --- erasing ---------------------------------------------------------------------------------------------------------------

ERASURE_MEASURES: Final = (
    "lost names leave",
    "their evidence falls",
    "true names stay",
    "its targets fall",
    "other targets fall",
)


def remove_object(scene: Scene, number: int) -> Scene:
    """The scene without one of its objects."""
    return replace(scene, objects=tuple(obj for place, obj in enumerate(scene.objects) if place != number))


def _measure_erasure(
    scene: Scene,
    found: Sequence[TextCase],
    tasks: Mapping[ModelName, Task],
    known: Mapping[ModelName, NeuronNames],
    rng: Generator,
    method: str | None,
) -> Iterator[dict[str, Any]]:
    """One object is left out: what becomes of the names that spoke for each target before, and of the score."""
    number = int(rng.integers(len(scene.objects)))
    less = remove_object(scene, number)
    before, after = find_visible_names(scene), find_visible_names(less)
    for case, then in zip(found, _explain_again(less, found, tasks, method), strict=True):
        names, view = known[_MODEL_OF_KIND[case.kind]], case.view
        first, second = (
            _select_supports(case.text.named),
            _select_supports(names.describe(then.explanation, then).named),
        )
        lost = [one for one in first if one in before and one not in after]
        kept = [one for one in first if one in after]
        fell = [_sum_contributions(then, first[one].units) < _sum_contributions(view, first[one].units) for one in lost]
        falls = then.target.score < view.target.score
        own, other = case.objects == {number}, bool(case.objects) and number not in case.objects
        yield {
            "scene": case.scene,
            "kind": case.kind,
            "lost names leave": (sum(one not in second for one in lost), len(lost)),
            "their evidence falls": (sum(fell), len(lost)),
            "true names stay": (sum(one in second for one in kept), len(kept)),
            "its targets fall": (falls and own, own),
            "other targets fall": (falls and other, other),
        }


def _select_supports(named: Iterable[NamedEvidence]) -> dict[NameAndCategory, NamedEvidence]:
    return {(one.name, one.category): one for one in named if one.case == "supports"}


def _sum_contributions(view: TargetView, units: Sequence[int]) -> float:
    return float(view.contributions[list(units)].double().sum())


def _summarise_erasures(found: Sequence[Mapping[str, Any]], n: int, seed: Seed) -> dict[str, Any]:
    out = {}
    for measure in ERASURE_MEASURES:
        pairs = [(0.0, 0.0)] * n
        for row in found:
            right, total = pairs[row["scene"]]
            pairs[row["scene"]] = (right + row[measure][0], total + row[measure][1])
        out[measure] = _export_share(summarise_counts(pairs, seed))
    return out


# --- tables ----------------------------------------------------------------------------------------------------------------


def make_rows(measured: Mapping[str, Any], kind: str = "all") -> list[list[str]]:
    """The table of what texts claim: a row per measure, a column per ranking, each with its interval."""
    texts = measured["texts"][kind]
    measures = [one for one in (*MEASURES, *_EXTRA_MEASURES) if one in texts["contribution"]]
    return [[measure, *(format_cell(texts[ranking].get(measure)) for ranking in RANKINGS)] for measure in measures]


def format_cell(found: Mapping[str, Any] | None) -> str:
    """A share with its interval, or a fall with its interval and effect size."""
    if found is None or found.get("value", found.get("mean")) is None:
        return "-"
    low, high = found["interval"]
    if "mean" in found:
        return f"{found['mean']:.2f} ({low:.2f} to {high:.2f}), d {found['size']:.2f}"
    return f"{found['value']:.3f} ({low:.3f}-{high:.3f})"
