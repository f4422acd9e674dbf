"""The sixteen experiments: which there are, and running them one after the other.

Each is a module with ``run(setting)`` that returns a :class:`vlcam.experiments.results.result.Result`. They are imported when they run.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Final, final

from vlcam.contracts import InputError, show_record
from vlcam.experiments.results.chart import save_chart
from vlcam.experiments.results.result import Result, save
from vlcam.experiments.setting import Setting


@final
@dataclass(frozen=True)
class Experiment:
    """One experiment: its number in the list, its key (also the name of its module), its title, and whether real data can be given."""

    number: int
    key: str
    title: str
    real: bool = True

    __repr__ = show_record


EXPERIMENTS: Final = (
    Experiment(1, "localisation", "Weakly supervised localisation"),
    Experiment(2, "seeds", "Segmentation seeds"),
    Experiment(3, "pointing", "Pointing game with recall"),
    Experiment(4, "discrimination", "Class discrimination"),
    Experiment(5, "trust", "Trust in the stronger model"),
    Experiment(6, "faithfulness", "Faithfulness to occlusion"),
    Experiment(7, "failures", "Failure modes"),
    Experiment(8, "adversarial", "Adversarial noise"),
    Experiment(9, "bias", "Bias in a data set", real=False),
    Experiment(10, "counterfactuals", "Counterfactual explanations"),
    Experiment(11, "texts", "Textual explanations", real=False),
    Experiment(12, "captions", "Captions"),
    Experiment(13, "answers", "Visual question answering"),
    Experiment(14, "depth", "Maps through depth"),
    Experiment(15, "ablations", "Ablations of Grad-CAM"),
    Experiment(16, "words", "Which target and method ground a word", real=False),
)
"""All experiments, in the order of their numbers."""


@final
@dataclass(frozen=True)
class ExperimentOutcome:
    """What came of one experiment: its result, or why there is none."""

    experiment: Experiment
    result: Result | None = None
    why: str = ""

    __repr__ = show_record


def choose_experiments(wanted: Sequence[str]) -> tuple[Experiment, ...]:
    """The experiments meant by numbers, ranges such as ``1-3``, keys, or ``all``; commas may stand between them. In their own order.

    Raises InputError for what none is called, or for nothing.

    >>> [one.key for one in choose_experiments(["1,3", "words"])]
    ['localisation', 'pointing', 'words']
    """
    found: set[int] = set()
    for text in (part.strip() for one in wanted for part in one.split(",")):
        if text:
            found |= _parse_numbers(text)
    if not found:
        raise InputError(f"no experiment was named; give all, numbers such as 1 or 3-6, or keys: {_list_keys()}")
    return tuple(one for one in EXPERIMENTS if one.number in found)


def _parse_numbers(text: str) -> set[int]:
    if text.lower() == "all":
        return {one.number for one in EXPERIMENTS}
    first, dash, last = text.partition("-")
    if first.isdecimal() and (last.isdecimal() or not dash):
        low, high = int(first), int(last or first)
        if 1 <= low <= high <= len(EXPERIMENTS):
            return set(range(low, high + 1))
        raise InputError(f"experiment {text} was asked for; they are numbered 1 to {len(EXPERIMENTS)}: {_list_keys()}")
    known = {one.key: one.number for one in EXPERIMENTS}
    if text.lower() in known:
        return {known[text.lower()]}
    close = get_close_matches(text.lower(), known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    raise InputError(f"there is no experiment {text!r}{hint} They are {_list_keys()}")


def _list_keys() -> str:
    return ", ".join(f"{one.number} {one.key}" for one in EXPERIMENTS)


def run_one(experiment: Experiment, setting: Setting) -> Result:
    """Run one experiment; its result with the time it took. With ``setting.out`` its JSON and chart are written there.

    Raises InputError if it can't run on the data, or with the model.
    """
    if not experiment.real and (setting.data is not None or setting.model is not None):
        raise InputError(
            f"experiment {experiment.number} ({experiment.key}) runs on generated pictures and the bundled models only, as it needs to "
            "redraw them or to train on them; leave --data and --model out"
        )
    start = time.monotonic()
    result: Result = import_module(f"vlcam.experiments.{experiment.key}").run(setting)
    result = replace(result, seconds=time.monotonic() - start)
    if setting.out is not None:
        result = write(result, setting.out, experiment.key)
    return result


def write(result: Result, out: Path, key: str) -> Result:
    """Write ``NN-key.json`` and ``NN-key-chart.png`` into a folder; the result that knows its chart."""
    name = f"{result.number:02d}-{key}"
    result = replace(result, figures=(*result.figures, f"{name}-chart.png"))
    save_chart(result, out / f"{name}-chart.png")
    save(result, out / f"{name}.json")
    return result
