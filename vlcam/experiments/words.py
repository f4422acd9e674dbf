"""Experiment 16: which target and which method ground a word best?

The Grad-CAM paper explains logits of classes and log-probabilities of captions, and scores words on 1000 photos by pointing alone. Here
every word of the bundled captioner's own captions is explained by four scalars (:mod:`vlcam.experiments.shared.word_targets`) and by
every method, and scored on the exact pixels of its objects and by what really happens to the word when each object is removed
(:mod:`vlcam.experiments.shared.interventions`). Which pair is best is decided on half of the scenes and measured on the other
(:mod:`vlcam.experiments.shared.word_choice`).
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from vlcam.contracts import InputError, Method
from vlcam.experiments.results.lines import make_summary_row
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.results.word_figure import draw_words
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.controls import make_untrained_task
from vlcam.experiments.shared.interventions import LEAST, compute_chance
from vlcam.experiments.shared.word_choice import DECIDING, ENOUGH, PairComparison, choose, compare
from vlcam.experiments.shared.word_grounding import COLUMNS, CONTROLS, WHOLE, WRONG, GroundingScores, ground, name_pair
from vlcam.experiments.shared.word_targets import FUNCTION, KINDS, TARGETS
from vlcam.methods import get_method
from vlcam.metrics.statistics import Summary, summarise
from vlcam.scenes.sample import make
from vlcam.tasks.captioning import Captioning

KEY: Final = "words"
DEFAULT: Final = name_pair("gradcam", TARGETS[0])
"""What all others are compared with: the paper's method and target."""

CHEAP: Final = (
    "gradcam",
    "hirescam",
    "layercam",
    "gradcam++",
    "xgradcam",
    "eigen-cam",
    "c-mwp",
    "guided-gradcam",
    "gradient",
    "auto",
    "masked-gradients",
    "masked-gradients-positive",
    "masked-gradients-balanced",
    "halfway-gradient-positive",
)
COSTLY: Final = (
    "occlusion", "score-cam", "ablation-cam", "layer-integrated-gradients", "cell-occlusion", "recipro-cam", "shapley-cam"
)  # fmt: skip
RAREST: Final = ("rise",)
SCENES: Final = (14, 200)
COSTLY_SCENES: Final = (4, 60)
RAREST_SCENES: Final = (0, 10)
"""How many scenes the methods see, quick and full: all; those that run the model hundreds of times; those that run it thousands."""

ABOUT: Final = tuple(kind for kind in KINDS if kind != FUNCTION)
"""Kinds of words that are about objects."""


def run(setting: Setting) -> Result:
    """Experiment 16 on the bundled world.

    Raises InputError for real data: nobody can remove one object from a photo and leave the rest as it was.
    """
    began = time.monotonic()
    captioner = _get_captioner(setting)
    scores, judged, n = measure(setting, captioner)
    names = [name for name in scores.words if name not in CONTROLS]
    fast = [name for name in names if isinstance(get_method(name.split(":")[0]), Method)]
    best, quickest = (choose(scores, these, DEFAULT, ABOUT, seed=setting.seed) for these in (names, fast))
    figures: tuple[str, ...] = ()
    if setting.out is not None:
        name = f"16-{KEY}.png"
        figures = (name,) if draw_words(make(0, "test"), captioner, setting.out / name) else ()
    shown = dict.fromkeys((DEFAULT, *(one.name for one in (best, quickest) if one is not None)))
    return Result(
        16,
        KEY,
        "What grounds a word",
        "Which target and which method ground a word best: on the masks of its objects, and in what its removal does?",
        f"The captioner's own captions of {judged} scenes; words that are true and about objects, unless a row says otherwise. pointing: "
        "the map's highest point lies on the word's objects, without tolerance; mass: the positive part of the "
        "map on them; Obj-, Func- and "
        "F1-IoU of whole captions, maps split by Otsu's threshold (TAM). Then the scene is drawn again without each object in turn: "
        "top-1 says whether the object with most of the map is the one whose removal lowers the word's log-probability most, rank is "
        f"Spearman's correlation over the objects, both for words of which some removal takes {LEAST} nats; own top-1 takes the "
        f"explained scalar's fall instead. Targets: {', '.join(TARGETS)} (z less the log-sum-exp, or the mean, of the logits of the other "
        "words of its kind). Intervals are over scenes.",
        "generated scenes (test split) with exact masks",
        captioner.name,
        tuple(make_rows(scores, names, shown, setting.seed)),
        tuple(one for name in CONTROLS for one in _summarise_rows(scores, name, name, ABOUT, COLUMNS, setting.seed)),
        COLUMNS,
        better="higher",
        headline=DEFAULT,
        notes=tuple(_write_notes(scores, names, best, quickest, judged, n, setting.seed)),
        seconds=time.monotonic() - began,
        figures=figures,
    )


def measure(setting: Setting, captioner: Captioning) -> tuple[GroundingScores, int, int]:
    """The scores of every method on its share of the scenes, how many scenes could be judged, and how many there were."""
    n, costly, rarest = (setting.count(*many) for many in (SCENES, COSTLY_SCENES, RAREST_SCENES))
    untrained = make_untrained_task(captioner, setting.seed)
    scores, judged = GroundingScores(), 0
    for number in range(n):
        methods = CHEAP + (COSTLY if number < costly else ()) + (RAREST if number < rarest else ())
        rng = np.random.Generator(np.random.PCG64([setting.seed, number]))
        judged += ground(make(number, "test"), number, captioner, untrained, methods, rng, scores)
        setting.report_progress(number + 1, n)
    if not judged:
        raise InputError(
            f"none of the captions that {captioner.name} gave {n} scenes follows the bundled world's grammar; give a captioner that was "
            "trained on it, or none for the bundled one"
        )
    return scores, judged, n


def make_rows(scores: GroundingScores, names: Sequence[str], shown: Mapping[str, None], seed: int) -> list[ResultRow]:
    """A row for every pair of method and target, then for every kind of word those of the pairs in ``shown``."""
    found = [one for name in names for one in _summarise_rows(scores, name, name, ABOUT, COLUMNS, seed)]
    per_word = [column for column in COLUMNS if column not in WHOLE]
    for kind in (*KINDS, WRONG):
        for name in shown:
            found += _summarise_rows(scores, name, f"{kind} by {name}", (kind,), per_word, seed)
    return found


def _summarise_rows(
    scores: GroundingScores, name: str, title: str, kinds: Sequence[str], columns: Sequence[str], seed: int
) -> list[ResultRow]:
    found = []
    for column in columns:
        values = scores.get_values(name, column, kinds)
        one = summarise(list(values.values()), seed=seed, clusters=[where[0] for where in values])
        if one.n:
            found.append(make_summary_row(KEY, title, one, column=column))
    return found


def _get_captioner(setting: Setting) -> Captioning:
    if setting.data is not None:
        raise InputError(
            f"the data in {str(setting.data)!r} were given, but this experiment removes objects from scenes that it draws again: leave the "
            "data out (experiment 12 scores words on real photos)"
        )
    task = setting.load_task("captioning")
    if not isinstance(task, Captioning):
        raise InputError(
            f"{task.name} is a {type(task).__name__}; this experiment needs a captioner that scores given words"
        )
    return task


# --- what the numbers say -------------------------------------------------------------------------------------------------


def _write_notes(
    scores: GroundingScores,
    names: Sequence[str],
    best: PairComparison | None,
    quickest: PairComparison | None,
    judged: int,
    n: int,
    seed: int,
) -> list[str]:
    found = []
    for verdict, among in ((best, "all pairs"), (quickest, "the pairs that take one run")):
        if verdict is None:
            found.append(
                f"Too few scenes to choose the best of {among}: fewer than {ENOUGH} in each half. Run it without --quick."
            )
        elif verdict.name == DEFAULT:
            found.append(f"Of {among}, the default ({DEFAULT}) is the best on the even scenes.")
        else:
            found.append(
                f"Of {among}, {verdict.name} is the best on the even scenes; on the odd ones its mean of {', '.join(DECIDING)} differs "
                f"from that of the default ({DEFAULT}) by {_format_signed(verdict.overall)}: "
                f"{_describe_comparison(verdict)}. By measure: {_format_measures(verdict)}."
            )
    every = {one: compare(scores, name_pair("gradcam", one), DEFAULT, ABOUT, seed=seed) for one in TARGETS[1:]}
    targets = "; ".join(
        f"{name}: {_format_signed(one.overall)} ({_format_measures(one)})" for name, one in every.items()
    )
    found.append(f"With Grad-CAM, other targets against the log-probability, paired, on all scenes: {targets}.")
    runs = [one for one in CHEAP if isinstance(get_method(one), Method) and name_pair(one, TARGETS[0]) in names][1:]
    others = {one: compare(scores, name_pair(one, TARGETS[0]), DEFAULT, ABOUT, seed=seed) for one in runs}
    methods = "; ".join(
        f"{name}: {_format_signed(one.overall)} ({_format_measures(one)})" for name, one in others.items()
    )
    if others:
        found.append(f"With the log-probability, other methods against Grad-CAM, in the same way: {methods}.")
    wrong = sum(kind == WRONG for kind in scores.kinds.values())
    found.append(
        f"{n - judged} of {n} captions were outside the grammar. {wrong} of {len(scores.kinds)} words were wrong; they have rows of their "
        "own, on the objects that the rest of their phrase is about. By chance, top-1 is "
        f"{compute_chance(list(scores.objects.values())):.2f}."
    )
    few = [name for name in names if len(scores.captions[name]) < judged]
    costly = ", ".join(dict.fromkeys(name.split(":")[0] for name in few))
    if few:
        found.append(f"Because of their cost, {costly} were measured on the first scenes only; see n.")
    found.append(
        "Without tolerance, gradients of pixels (gradient, guided-gradcam) often peak on an outline's outer side, which pointing counts as "
        "a miss. The paper has no such table."
    )
    return found


def _format_measures(verdict: PairComparison) -> str:
    return ", ".join(f"{column} {_format_signed(one)}" for column, one in verdict.by_measure)


def _describe_comparison(verdict: PairComparison) -> str:
    if verdict.better:
        return "significantly better"
    return "significantly worse" if verdict.overall.high < 0 else "no clear difference"


def _format_signed(one: Summary) -> str:
    return f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
