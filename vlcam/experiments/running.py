"""Choosing experiments, and running them one after the other. They are listed in :mod:`vlcam.experiments.registry`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import final

from vlcam.contracts import InputError, show_record
from vlcam.experiments.registry import Experiment, get_experiment, list_experiments
from vlcam.experiments.results.chart import save_chart
from vlcam.experiments.results.result import Result, save
from vlcam.experiments.setting import Setting


@final
@dataclass(frozen=True)
class ExperimentOutcome:
    """What came of one experiment: its result, or why there is none."""

    experiment: Experiment
    result: Result | None = None
    why: str = ""

    __repr__ = show_record


def choose_experiments(wanted: Sequence[str]) -> tuple[Experiment, ...]:
    """The experiments meant by numbers, ranges such as ``1-3``, keys, or ``all``, also separated by commas; in the order of their numbers.

    Raises InputError for an unknown name, or if nothing is named.

    >>> [one.key for one in choose_experiments(["1,3", "words"])]
    ['localisation', 'pointing', 'words']
    """
    found: set[int] = set()
    for text in (part.strip() for one in wanted for part in one.split(",")):
        if text:
            found |= _parse_numbers(text)
    if not found:
        raise InputError(f"no experiment was named; give all, numbers such as 1 or 3-6, or keys: {_list_keys()}")
    return tuple(one for one in _list_all() if one.number in found)


def _parse_numbers(text: str) -> set[int]:
    if text.lower() == "all":
        return {one.number for one in _list_all()}
    first, dash, last = text.partition("-")
    if first.isdecimal() and (last.isdecimal() or not dash):
        low, high = int(first), int(last or first)
        if 1 <= low <= high <= len(list_experiments()):
            return set(range(low, high + 1))
        raise InputError(
            f"experiment {text} was asked for; they are numbered 1 to {len(list_experiments())}: {_list_keys()}"
        )
    known = {one.key: one.number for one in _list_all()}
    if text.lower() in known:
        return {known[text.lower()]}
    close = get_close_matches(text.lower(), known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    raise InputError(f"there is no experiment {text!r}{hint} The experiments are {_list_keys()}")


def _list_all() -> list[Experiment]:
    return [get_experiment(key) for key in list_experiments()]


def _list_keys() -> str:
    return ", ".join(f"{one.number} {one.key}" for one in _list_all())


def run_one(experiment: Experiment | str, setting: Setting) -> Result:
    """Run one experiment; its result with the time it took. With ``setting.out`` its JSON and chart are written there.

    Args:
        experiment: an experiment of the registry, or its key.
        setting: what it runs on.

    Raises:
        InputError: there is no such experiment, it can't run on the data or with the model, or it gave no
            :class:`vlcam.experiments.Result`.
    """
    if isinstance(experiment, str):
        experiment = get_experiment(experiment)
    if not experiment.real and (setting.data is not None or setting.model is not None):
        raise InputError(
            f"experiment {experiment.number} ({experiment.key}) runs on generated pictures and the bundled models only, as it needs to "
            "redraw them or to train on them; leave --data and --model out"
        )
    start = time.monotonic()
    result = experiment.run(setting)
    if not isinstance(result, Result):
        raise InputError(
            f"experiment {experiment.key} returned a {type(result).__name__}; expected a vlcam.experiments.Result"
        )
    seconds = time.monotonic() - start
    result = replace(result, number=experiment.number, key=experiment.key, seconds=seconds)
    if setting.out is not None:
        result = write(result, setting.out, experiment.key)
    return result


def write(result: Result, out: Path, key: str) -> Result:
    """Write ``NN-key.json`` and ``NN-key-chart.png`` into a folder, and return the result with its chart listed."""
    name = f"{result.number:02d}-{key}"
    result = replace(result, figures=(*result.figures, f"{name}-chart.png"))
    save_chart(result, out / f"{name}-chart.png")
    save(result, out / f"{name}.json")
    return result
