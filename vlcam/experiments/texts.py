"""Experiment 11: do the textual explanations say what is in the picture?

Selvaraju et al. (arXiv 1610.02391, on textual explanations) name the neurons of the last convolutional layer by Network Dissection, rank
them by the mean gradient alpha, and show for some Places365 photos the names of the five with the largest and the five with the smallest
alpha. They give no number. Where the content of a picture is known a text can be right or wrong, so here it is counted
(:mod:`vlcam.benchmark.claims`): which names it says are there, which of them are, which are beside the point, and whether names speak for
and against the target in line with the meaning of the words.

Two ways to choose the names are compared: *contribution*, alpha times what the neuron does in this picture, with presence claimed only
where the neuron fires strongly enough (vlcam's own texts), and *alpha*, the paper's. Controls, under the same counts: the same texts with
the names *permuted* over the neurons, as many *random* names, and a *prior*: as many names, those that texts about the same target claim
most often in other scenes. ``vlcam neurons evaluate`` measures more of this, on more scenes.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from vlcam.benchmark.claims import (
    Claim,
    Counts,
    Prior,
    TextCase,
    claim_at_random,
    claim_by_alpha,
    count,
    find_visible_names,
    get_vocabulary,
    list_claims,
    permute_names,
    summarise_counts,
)
from vlcam.contracts import InputError, Task
from vlcam.experiments.results.lines import make_percent_row
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.setting import Kind, Setting
from vlcam.explanation.explain import explain
from vlcam.explanation.record import TargetView
from vlcam.neurons import NeuronNames
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

KEY: Final = "texts"
SCENES: Final = (16, 150)
RANKINGS: Final = ("contribution", "alpha")
CONTROLS: Final = ("permuted names", "random names", "prior names")
MEASURES: Final = ("precision", "recall", "hallucination", "distractors", "sign accuracy")
COLUMNS: Final = MEASURES
_KIND: Final[Mapping[str, Kind]] = {"class": "classification", "word": "captioning", "answer": "vqa"}
_QUESTIONS: Final = 2
_SURE: Final = 0.5


def run(setting: Setting) -> Result:
    """Experiment 11 on the bundled world with the bundled models and the names of their channels.

    Raises InputError for real data or another model: what is in their pictures, and the names of their channels, isn't known.
    """
    began = time.monotonic()
    if setting.data is not None or setting.model is not None:
        raise InputError(
            "data or a model were given, but whether a text is true can be counted only where everything in a picture is known: leave both "
            "out (for names of your own model's channels there is vlcam neurons name)"
        )
    tasks = {kind: setting.load_task(which) for kind, which in _KIND.items()}
    names = {kind: _get_names(task) for kind, task in tasks.items()}
    n = setting.count(*SCENES)
    cases: list[TextCase] = []
    for number in range(n):
        cases += _make_cases(make(number, "test"), number, tasks, names)
        setting.report_progress(number + 1, n)
    tallies = count_claims(cases, names, n, setting.seed)

    def row_of(kind: str, ranking: str, measure: str, title: str) -> ResultRow:
        shares = [one.shares.get(measure, (0.0, 0.0)) for one in tallies[kind, ranking]]
        return make_percent_row(KEY, title, summarise_counts(shares, (setting.seed, n)), column=measure)

    rows = [row_of("all", ranking, measure, ranking) for ranking in RANKINGS for measure in MEASURES]
    for kind in _KIND:
        rows += [row_of(kind, "contribution", measure, f"contribution, {kind}") for measure in MEASURES]
    controls = [row_of("all", ranking, measure, ranking) for ranking in CONTROLS for measure in MEASURES]
    return Result(
        11,
        KEY,
        "Textual explanations",
        "Do the names of the neurons behind a class, a word or an answer say what is in the picture?",
        f"Classes that the classifier predicts, words of the captioner's own captions and answers to {_QUESTIONS} questions, on {n} "
        f"scenes: {len(cases)} texts. precision: of the names said to be there, those that are; recall: of what is there and has a name, "
        "what is mentioned; hallucination (less is better): names said to be there that neither are nor share a word with the "
        "target; distractors (less is better): true names beside the point; sign accuracy: names whose sign agrees with the words' "
        "meaning. Intervals are over scenes.",
        "generated scenes (test split) with exact content",
        ", ".join(task.name for task in tasks.values()),
        tuple(rows),
        tuple(controls),
        COLUMNS,
        unit="%",
        headline="contribution",
        notes=tuple(_write_notes(rows, controls)),
        seconds=time.monotonic() - began,
    )


def count_claims(
    cases: Sequence[TextCase], names: Mapping[str, NeuronNames], n: int, seed: int
) -> dict[tuple[str, str], list[Counts]]:
    """What every ranking and control claims, counted by scene, for each kind of target and for ``all``."""
    kinds, every = (*_KIND, "all"), (*RANKINGS, *CONTROLS)
    tallies = {(kind, ranking): [Counts() for _ in range(n)] for kind in kinds for ranking in every}
    shown = {number: find_visible_names(make(number, "test")) for number in {case.scene for case in cases}}
    vocabulary = {kind: get_vocabulary(one) for kind, one in names.items()}
    prior = Prior(((case.kind, case.view.label), case.scene, list_claims(case.text.named)) for case in cases)
    for case in cases:
        own, view, known = list_claims(case.text.named), case.view, names[case.kind]
        mixed = permute_names(known, np.random.default_rng([seed, case.scene]))
        rng = np.random.default_rng([seed, case.scene, view.index, tuple(_KIND).index(case.kind)])
        said: dict[str, list[Claim]] = {
            "contribution": own,
            "alpha": claim_by_alpha(known, view),
            "permuted names": list_claims(mixed.describe(view.explanation, view).named),
            "random names": claim_at_random(own, sorted(vocabulary[case.kind], key=str), rng),
            "prior names": prior.claim((case.kind, view.label), case.scene, own),
        }
        for ranking, claims in said.items():
            found = count(claims, view.target, case.question, shown[case.scene], vocabulary[case.kind])
            for kind in (case.kind, "all"):
                tallies[kind, ranking][case.scene].join(found)
    return tallies


def _get_names(task: Task) -> NeuronNames:
    if not isinstance(task.names, NeuronNames):
        raise InputError(f"{task.name} has no names of its channels; make them with: vlcam scenes name")
    return task.names


def _make_cases(
    scene: Scene, number: int, tasks: Mapping[str, Task], names: Mapping[str, NeuronNames]
) -> Iterator[TextCase]:
    """What the models say of a scene by themselves, and the text behind it."""
    image = scene.image()

    def case(view: TargetView, question: str | None) -> TextCase:
        text = names[view.target.kind].describe(view.explanation, view)
        return TextCase(number, view, text, question, frozenset())

    seen = explain(tasks["class"], image, top_k=4)
    for view in [view for view in seen if (view.target.probability or 0.0) >= _SURE] or [seen[0]]:
        yield case(view, None)
    for view in explain(tasks["word"], image):
        if view.target.kind == "word":
            yield case(view, None)
    for question in scene.questions(_QUESTIONS):
        yield case(explain(tasks["answer"], image, question=question.text, top_k=1)[0], question.text)


def _write_notes(rows: Sequence[ResultRow], controls: Sequence[ResultRow]) -> list[str]:
    of = {(one.name, one.column): one for one in (*rows, *controls)}
    notes = ["The paper shows examples and gives no numbers."]
    for measure, good in (("precision", "higher"), ("hallucination", "lower"), ("sign accuracy", "higher")):
        own, paper = of["contribution", measure], of["alpha", measure]
        rivals = [of[name, measure] for name in CONTROLS]
        best = (max if good == "higher" else min)(rivals, key=lambda one: one.value)
        apart = own.low > best.high if good == "higher" else own.high < best.low
        notes.append(
            f"{measure.capitalize()}: by contribution {own.value:.1f} %, by alpha as in the paper {paper.value:.1f} %; the best control "
            f"has {best.value:.1f} % ({best.name}), which is {'' if apart else 'not '}clearly worse than the first."
        )
    return notes
