"""Are the neuron texts of the bundled models true? The benchmark of names and texts on scenes whose content is known.

1. What the texts claim, against the scene (:mod:`vlcam.scenes.textual`): for the pairs that the classifier predicts, the words of
   the captioner's own captions, and answers. Beside it, under the same counts:

   - ``above T_k``: the same text, if presence were claimed of every channel above Network Dissection's T_k;
   - ``alpha``: the paper's ranking. The names of the 5 channels with the largest alpha are claimed to be present, those of the 5 with the
     smallest to be absent;
   - ``permuted names``: the same text, with the names shuffled over the units (with how strongly each must fire to be claimed);
   - ``random names``: as many names per case, drawn from all names;
   - ``prior names``: as many names per case, those most frequent for the same target in other scenes.

2. Ablation: the channels of a concept are set to 0 at ``features`` and the model runs on. How far do words, answers and classes of
   that concept fall, beyond what as many other channels do, drawn at random or with equal activity? Beyond what they do to
   others that were said?
3. Erasing: a thing is left out and the scene drawn again. Do names that are no longer true leave the text of the same targets, and do those
   that are still true stay?

Intervals are 95 % by bootstrap over scenes. Nothing is drawn but from seeds: the same arguments give the same numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.random import Generator
from torch import Tensor, nn

from vlcam.console import table
from vlcam.contracts import InputError, Task
from vlcam.explainer import explain
from vlcam.explanation import NamedEvidence, NeuronText, TargetView
from vlcam.neurons import NeuronNames
from vlcam.scenes.captions import about
from vlcam.scenes.data import CAPTION_VOCABULARY, QUESTION_VOCABULARY
from vlcam.scenes.models import SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.questions import ANSWERS
from vlcam.scenes.record import Scene, Split
from vlcam.scenes.sample import make
from vlcam.scenes.textual import (
    MEASURES,
    Counts,
    Prior,
    Told,
    at_random,
    by_alpha,
    claims_in,
    count,
    effect,
    of_scenes,
    permuted,
    share,
    uncalibrated,
    visible,
    vocabulary_of,
    words_of,
)
from vlcam.scenes.words import Vocabulary
from vlcam.scenes.zoo import WHICH, Which, load, to_input
from vlcam.tasks import bundled

Progress = Callable[[int, int], Any]

RANKINGS: Final = ("contribution", "above T_k", "alpha", "permuted names", "random names", "prior names")
KINDS: Final = ("class", "word", "answer", "all")
QUESTIONS: Final = 4
DRAWS: Final = 5
"""Sets of control channels per ablation, of each of the two sorts."""
_CLASSES: Final = 4
_SURE: Final = 0.5
_NEAREST: Final = 3
_OF: Final[Mapping[str, Which]] = {"class": "classifier", "word": "captioner", "answer": "vqa"}
_FURTHER: Final = {"coverage": "evidence in named channels", "told": "evidence in channels whose names are told"}

Samples = Int64[np.ndarray, "resamples scenes"]


@final
@dataclass(frozen=True, eq=False)
class Case:
    """One target in one scene and its text: ``things`` are the numbers of those that a word or a class is about."""

    scene: int
    view: TargetView
    text: NeuronText
    question: str | None
    things: frozenset[int]

    @property
    def kind(self) -> str:
        """Class, word or answer."""
        return self.view.target.kind


def evaluate(
    *,
    n: int = 200,
    seed: int = 0,
    names: Mapping[Which, NeuronNames] | None = None,
    folder: Path | None = None,
    split: Split = "test",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the texts on scenes ``0..n-1`` of a split.

    Args:
        n: how many scenes.
        seed: of everything that is drawn.
        names: the names of each model's channels; by default the packaged ones, or those in ``folder``.
        folder: other weights than the packaged ones.
        split: which scenes; the names must not have been made with them.
        progress: called with (scenes done, all scenes).

    Returns:
        JSON values: ``texts[kind][ranking][measure]``, ``ablation[kind][against]`` and ``erased[kind][measure]``.
    """
    if n < 2:
        raise InputError(f"n={n} was given; expected 2 scenes or more, such as 200")
    known = {which: _names(which, names, folder) for which in WHICH}
    models = {which: load(which, folder) for which in WHICH}
    tasks: dict[Which, Task] = {
        "classifier": bundled.classifier(models["classifier"]),
        "captioner": bundled.captioner(models["captioner"]),
        "vqa": bundled.vqa(models["vqa"]),
    }
    cases: list[Case] = []
    removed: list[dict[str, Any]] = []
    ablated: list[dict[str, Any]] = []
    for number in range(n):
        scene, rng = make(number, split), np.random.default_rng([seed, number])
        found = list(_cases(scene, number, tasks, known))
        cases += found
        ablated += [row for kind in _OF for row in _ablations(kind, models, known, found, scene, rng)]
        removed += _erased(scene, found, tasks, known, rng)
        if progress is not None:
            progress(number + 1, n)
    samples = of_scenes(n, seed)
    return {
        "split": split,
        "n": n,
        "seed": seed,
        "targets": dict(Counter(case.kind for case in cases)),
        "calibrated": {which: sum(bool(unit.claims) for unit in found.units) for which, found in known.items()},
        "measures": {**MEASURES, **_FURTHER},
        "texts": _texts(cases, known, n, split, seed, samples),
        "ablation": {kind: _ablation_row(_of(kind, ablated), samples) for kind in KINDS},
        "erased": {kind: _erased_row(_of(kind, removed), n, samples) for kind in KINDS},
    }


def _of(kind: str, found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in found if kind in (row["kind"], "all")]


def _names(which: Which, names: Mapping[Which, NeuronNames] | None, folder: Path | None) -> NeuronNames:
    if names is not None:
        if which not in names:
            raise InputError(
                f"names of {', '.join(names) or 'nothing'} were given; expected those of {', '.join(WHICH)}"
            )
        return names[which]
    path = None if folder is None else folder / f"{which}-neurons.json"
    found = bundled.names(which) if path is None else NeuronNames.from_json(path) if path.is_file() else None
    if found is None:
        raise InputError(f"there are no names of the {which}'s channels; make them with: vlcam scenes name")
    return found


def _cases(
    scene: Scene, number: int, tasks: Mapping[Which, Task], known: Mapping[Which, NeuronNames]
) -> Iterator[Case]:
    """What the models say of a scene by themselves."""
    image = scene.image()

    def case(view: TargetView, question: str | None, things: Iterable[int]) -> Case:
        text = known[_OF[view.target.kind]].describe(view.explanation, view)
        return Case(number, view, text, question, frozenset(things))

    seen = explain(tasks["classifier"], image, top_k=_CLASSES)
    for view in [view for view in seen if (view.target.probability or 0.0) >= _SURE] or [seen[0]]:
        pair = tuple(view.label.split())
        yield case(view, None, (i for i, thing in enumerate(scene.things) if thing.pair == pair))
    spoken = explain(tasks["captioner"], image)
    try:
        things = about(scene, spoken.text.split())
    except ValueError:  # outside the grammar, so about nothing that is known
        things = ((),) * len(spoken.text.split())
    for view, these in zip([one for one in spoken if one.target.kind == "word"], things, strict=True):
        yield case(view, None, these)
    for question in scene.questions(QUESTIONS):
        answered = explain(tasks["vqa"], image, question=question.text, top_k=1)
        yield case(answered[0], question.text, ())


def _again(scene: Scene, found: Sequence[Case], tasks: Mapping[Which, Task]) -> Iterator[TargetView]:
    """The same targets in another picture."""
    image = scene.image()
    yield from explain(tasks["classifier"], image, targets=[case.view.label for case in found if case.kind == "class"])
    caption = next(case.view.explanation.text for case in found if case.kind == "word")
    yield from (view for view in explain(tasks["captioner"], image, caption=caption) if view.target.kind == "word")
    for case in found:
        if case.kind == "answer":
            yield explain(tasks["vqa"], image, question=case.question, targets=case.view.label)[0]


# --- what the texts claim --------------------------------------------------------------------------------------------------


def _texts(
    cases: Sequence[Case], known: Mapping[Which, NeuronNames], n: int, split: Split, seed: int, samples: Samples
) -> dict[str, Any]:
    tallies = {(kind, ranking): [Counts() for _ in range(n)] for kind in KINDS for ranking in RANKINGS}
    shown = {number: visible(make(number, split)) for number in {case.scene for case in cases}}
    vocabulary = {kind: vocabulary_of(known[which]) for kind, which in _OF.items()}
    bare = {kind: uncalibrated(known[which]) for kind, which in _OF.items()}
    prior = Prior(((case.kind, case.view.label), case.scene, claims_in(case.text.named)) for case in cases)
    mixed: dict[tuple[int, str], NeuronNames] = {}
    for case in cases:
        names, view = known[_OF[case.kind]], case.view
        rng = np.random.default_rng([seed, case.scene, view.index, KINDS.index(case.kind)])
        if (key := (case.scene, case.kind)) not in mixed:
            mixed[key] = permuted(names, np.random.default_rng([seed, case.scene]))
        own = claims_in(case.text.named)
        every = {
            "contribution": own,
            "above T_k": claims_in(bare[case.kind].describe(view.explanation, view).named),
            "alpha": by_alpha(names, view),
            "permuted names": claims_in(mixed[key].describe(view.explanation, view).named),
            "random names": at_random(own, sorted(vocabulary[case.kind], key=str), rng),
            "prior names": prior.of((case.kind, view.label), case.scene, own),
        }
        for ranking, claimed in every.items():
            found = count(claimed, view.target, case.question, shown[case.scene], vocabulary[case.kind])
            if ranking == "contribution":
                found.add("coverage", case.text.coverage, 1.0)
                found.add("told", sum((one.share for one in case.text.named if one.case == "supports"), 0.0), 1.0)
            for kind in (case.kind, "all"):
                tallies[kind, ranking][case.scene].join(found)
    return {kind: {ranking: _measured(tallies[kind, ranking], samples) for ranking in RANKINGS} for kind in KINDS}


def _measured(tallies: Sequence[Counts], samples: Samples) -> dict[str, Any]:
    out = {}
    for measure in (*MEASURES, *_FURTHER):
        pairs = np.array([one.shares.get(measure, (0.0, 0.0)) for one in tallies])
        if measure in MEASURES or pairs[:, 1].sum():
            out[measure] = share(pairs[:, 0], pairs[:, 1], samples)
    return out


# --- ablation --------------------------------------------------------------------------------------------------------------


@contextmanager
def masked(model: nn.Module, masks: Float[Tensor, "sets channels"]) -> Iterator[None]:
    """Inside, each of a batch of equal photos has its own set of channels of ``features``; these run once, for the first photo."""

    def first(module: nn.Module, inputs: Any) -> Any:
        return (inputs[0][:1],)

    def each(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * masks[:, :, None, None]

    features = model.get_submodule("features")
    handles = features.register_forward_pre_hook(first), features.register_forward_hook(each)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scores(
    model: nn.Module, scene: Scene, cases: Sequence[Case], masks: Float[Tensor, "sets channels"]
) -> Float[np.ndarray, "cases sets"]:
    """The score of each case of one model with each set of channels: logits, of words log-probabilities."""
    sets = len(masks)
    image = to_input(torch.from_numpy(scene.image()[None])).expand(sets, -1, -1, -1)
    with torch.no_grad(), masked(model, masks):
        if isinstance(model, SceneClassifier):
            logits = model(image)
            found = [logits[:, bundled.PAIR_LABELS.index(case.view.label)] for case in cases]
        elif isinstance(model, SceneVQA):
            photo = model.encode(image)
            asked = [model.read(torch.tensor([QUESTION_VOCABULARY.encode(case.question or "")])) for case in cases]
            answers = [model.answer(photo, one.expand(sets, -1)) for one in asked]
            found = [one[:, ANSWERS.index(case.view.label)] for one, case in zip(answers, cases, strict=True)]
        else:
            speaker = cast(SceneCaptioner, model)
            ids = CAPTION_VOCABULARY.encode(cases[0].view.explanation.text)
            before = torch.tensor([[Vocabulary.START, *ids[:-1]]]).expand(sets, -1)
            spoken = speaker.decode(speaker.encode(image), before).log_softmax(-1)
            places = [_place(case) for case in cases]
            found = [spoken[:, place, ids[place]] for place in places]
        table: np.ndarray = torch.stack(found).double().numpy()
    return table


def _place(case: Case) -> int:
    """Which word of its caption a case is."""
    words = [view.index for view in case.view.explanation if view.target.kind == "word"]
    return words.index(case.view.index)


def _ablations(
    kind: str,
    models: Mapping[Which, nn.Module],
    known: Mapping[Which, NeuronNames],
    found: Sequence[Case],
    scene: Scene,
    rng: Generator,
) -> Iterator[dict[str, Any]]:
    """For every concept that was said: how far the scores fall without the channels of that name, and of names that imply it."""
    model, names = models[_OF[kind]], known[_OF[kind]]
    cases = [case for case in found if case.kind == kind and words_of(case.view.label)]
    with torch.no_grad():
        maps = model.get_submodule("features")(to_input(torch.from_numpy(scene.image()[None])))
    activity = maps[0].sum((1, 2)).double().numpy()
    for concept in sorted({words_of(case.view.label) for case in cases}, key=sorted):
        chosen = [unit.unit for unit in names.units if unit.name is not None and concept <= words_of(unit.name)]
        if not chosen or not activity[chosen].sum() > 0:
            continue
        sets = [[], chosen, *controls(chosen, names, activity, rng)]
        masks = torch.ones(len(sets), len(names.units))
        for row, units in enumerate(sets):
            masks[row, units] = 0.0
        said = scores(model, scene, cases, masks)
        for case, drop in zip(cases, said[:, :1] - said, strict=True):
            words = words_of(case.view.label)
            if words == concept or not words & concept:
                yield {
                    "scene": case.scene,
                    "kind": kind,
                    "related": words == concept,
                    "drop": float(drop[1]),
                    "number": float(drop[2 : 2 + DRAWS].mean()),
                    "activity": float(drop[2 + DRAWS :].mean()),
                }


def controls(
    chosen: Sequence[int], names: NeuronNames, activity: Float[np.ndarray, " channels"], rng: Generator
) -> list[list[int]]:
    """Sets of other living channels: ``DRAWS`` of equal number, then ``DRAWS`` whose activities are as near as can be."""
    others = np.array([unit.unit for unit in names.units if unit.state != "dead" and unit.unit not in set(chosen)], int)
    out = [rng.permutation(others)[: len(chosen)].tolist() for _ in range(DRAWS)]
    for _ in range(DRAWS):
        left, taken = others, []
        for unit in rng.permutation(list(chosen)).tolist():
            if not len(left):
                break
            near = left[np.argsort(np.abs(activity[left] - activity[unit]), kind="stable")[:_NEAREST]]
            taken.append(int(rng.choice(near)))
            left = left[left != taken[-1]]
        out.append(taken)
    return out


def _ablation_row(found: Sequence[Mapping[str, Any]], samples: Samples) -> dict[str, Any]:
    """Mean drops, how far that of the concept's channels exceeds that of the controls, and what happens to other targets."""

    def of(related: bool, value: Callable[[Mapping[str, Any]], float]) -> dict[str, Any]:
        these = [row for row in found if row["related"] == related]
        values, scene = [value(row) for row in these], [row["scene"] for row in these]
        return effect(np.array(values, np.float64), np.array(scene, np.int64), samples)

    return {
        "drop": of(True, lambda row: row["drop"]),
        "beyond as many channels": of(True, lambda row: row["drop"] - row["number"]),
        "beyond as active channels": of(True, lambda row: row["drop"] - row["activity"]),
        "drop of other targets": of(False, lambda row: row["drop"]),
    }


# --- erasing ---------------------------------------------------------------------------------------------------------------

ERASED: Final = (
    "lost names leave",
    "their evidence falls",
    "true names stay",
    "its targets fall",
    "other targets fall",
)


def without(scene: Scene, number: int) -> Scene:
    """The scene without one of its things."""
    return replace(scene, things=tuple(thing for place, thing in enumerate(scene.things) if place != number))


def _erased(
    scene: Scene, found: Sequence[Case], tasks: Mapping[Which, Task], known: Mapping[Which, NeuronNames], rng: Generator
) -> Iterator[dict[str, Any]]:
    """One thing is left out: what becomes of the names that spoke for each target before, and of the score."""
    number = int(rng.integers(len(scene.things)))
    less = without(scene, number)
    before, after = visible(scene), visible(less)
    for case, then in zip(found, _again(less, found, tasks), strict=True):
        names, view = known[_OF[case.kind]], case.view
        first, second = _supports(case.text.named), _supports(names.describe(then.explanation, then).named)
        lost = [one for one in first if one in before and one not in after]
        kept = [one for one in first if one in after]
        fell = [_sum(then, first[one].units) < _sum(view, first[one].units) for one in lost]
        falls = then.target.score < view.target.score
        own, other = case.things == {number}, bool(case.things) and number not in case.things
        yield {
            "scene": case.scene,
            "kind": case.kind,
            "lost names leave": (sum(one not in second for one in lost), len(lost)),
            "their evidence falls": (sum(fell), len(lost)),
            "true names stay": (sum(one in second for one in kept), len(kept)),
            "its targets fall": (falls and own, own),
            "other targets fall": (falls and other, other),
        }


def _supports(named: Iterable[NamedEvidence]) -> dict[Told, NamedEvidence]:
    return {(one.name, one.category): one for one in named if one.case == "supports"}


def _sum(view: TargetView, units: Sequence[int]) -> float:
    return float(view.contributions[list(units)].double().sum())


def _erased_row(found: Sequence[Mapping[str, Any]], n: int, samples: Samples) -> dict[str, Any]:
    out = {}
    for measure in ERASED:
        pairs = np.zeros((n, 2))
        for row in found:
            pairs[row["scene"]] += row[measure]
        out[measure] = share(pairs[:, 0], pairs[:, 1], samples)
    return out


# --- tables ----------------------------------------------------------------------------------------------------------------


def rows(measured: Mapping[str, Any], kind: str = "all") -> list[list[str]]:
    """The table of what texts claim: a row per measure, a column per ranking, each with its interval."""
    texts = measured["texts"][kind]
    measures = [one for one in (*MEASURES, *_FURTHER) if one in texts["contribution"]]
    return [[measure, *(_cell(texts[ranking].get(measure)) for ranking in RANKINGS)] for measure in measures]


def show(measured: Mapping[str, Any]) -> None:
    """Print the tables."""
    for kind in KINDS:
        title = f"texts, {kind} ({measured['n']} {measured['split']} scenes)"
        table([title, *RANKINGS], rows(measured, kind))
    ablation, erased = measured["ablation"], measured["erased"]
    heads = list(ablation["all"])
    table(["ablation", *heads], [[kind, *(_effect(ablation[kind][one]) for one in heads)] for kind in KINDS])
    table(["a thing erased", *ERASED], [[kind, *(_cell(erased[kind][one]) for one in ERASED)] for kind in KINDS])


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None or found["value"] is None:
        return "-"
    return f"{found['value']:.3f} ({found['interval'][0]:.3f}-{found['interval'][1]:.3f})"


def _effect(found: Mapping[str, Any]) -> str:
    if found["mean"] is None:
        return "-"
    low, high = found["interval"]
    return f"{found['mean']:.2f} ({low:.2f} to {high:.2f}), d {found['size']:.2f}"
