"""The one registry of experiments: the paper's sixteen, and those that you register.

An experiment is a function ``run(setting)`` that returns a :class:`vlcam.experiments.Result`. What it is given, a
:class:`vlcam.experiments.Setting`, opens the data and the models that the caller chose; what it gives back has a row for each method, with
intervals and controls. `examples/own_experiment.py` has one.
"""

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Final, Protocol, final, runtime_checkable

from vlcam.contracts import InputError, find_name, show_record
from vlcam.experiments.results.result import Result
from vlcam.experiments.setting import Setting


@runtime_checkable
class RunsExperiment(Protocol):
    """What an experiment does.

    ``setting`` says on what: ``setting.open_world(["masks"])`` has the photos, ``setting.load_task("classification")`` the model,
    ``setting.count(quick, full)`` how many photos to take, ``setting.methods`` the names of further methods to compare, ``setting.seed``
    the seed of random numbers. ``setting.report_progress(done, total)`` is to be called after each photo. It need not write files or draw
    charts: :func:`vlcam.experiments.run_one` does that.

    Raises :class:`vlcam.InputError` for data without what is needed; the caller then continues with the next experiment.
    """

    def __call__(self, setting: Setting, /) -> Result: ...  # noqa: D102


@final
@dataclass(frozen=True)
class Experiment:
    """One experiment, as the registry has it.

    ``key`` names it, on the command line and in its files. ``run`` does it. ``real`` says whether it runs on your own data set and model;
    if not, it runs only on generated scenes with the bundled models. ``number`` is its place in the list; the registry gives it.
    """

    key: str
    title: str
    run: RunsExperiment
    real: bool = True
    number: int = 0

    __repr__ = show_record


REGISTRY: Final[dict[str, Experiment]] = {}
"""Every experiment by its key, in the order of their numbers."""


def register(experiment: Experiment) -> Experiment:
    """Make an experiment known by its key, in Python and for ``vlcam reproduce --import MODULE``.

    Returns:
        The experiment with its number: the next one that is free.

    Raises:
        InputError: another experiment has that key, or it isn't one word of lower-case letters, digits, ``-`` and ``_`` that begins with a
            letter (numbers, ranges and ``all`` mean something else on the command line).
    """
    key = experiment.key
    if not (
        key.isascii() and key[:1].isalpha() and key == key.lower() and key.replace("-", "").replace("_", "").isalnum()
    ):
        raise InputError(
            f"the key {key!r} was given; expected a word of lower-case letters and digits, such as my-experiment"
        )
    taken = REGISTRY.get(key)
    if key == "all" or (taken is not None and replace(experiment, number=taken.number) != taken):
        raise InputError(f"there is an experiment {key!r} already; give yours another key")
    REGISTRY[key] = replace(experiment, number=len(REGISTRY) + 1) if taken is None else taken
    return REGISTRY[key]


def list_experiments() -> list[str]:
    """The keys of the experiments, in the order of their numbers."""
    return list(REGISTRY)


def get_experiment(key: str) -> Experiment:
    """The experiment with that key.

    Raises:
        InputError: there is none; the message lists the closest keys.

    >>> get_experiment("words").number
    16
    """
    return REGISTRY[find_name(key, REGISTRY, "experiment")]


def _register_module(key: str, title: str, *, real: bool = True) -> Experiment:
    """One of the paper's: the module of that name has its ``run``, and is imported when it runs."""

    def run(setting: Setting, /) -> Result:
        found: Result = import_module(f"vlcam.experiments.{key}").run(setting)
        return found

    return register(Experiment(key, title, run, real))


PAPER: Final = (
    _register_module("localisation", "Weakly supervised localisation"),
    _register_module("seeds", "Segmentation seeds"),
    _register_module("pointing", "Pointing game with recall"),
    _register_module("discrimination", "Class discrimination"),
    _register_module("trust", "Trust in the stronger model"),
    _register_module("faithfulness", "Faithfulness to occlusion"),
    _register_module("failures", "Failure modes"),
    _register_module("adversarial", "Adversarial noise"),
    _register_module("bias", "Bias in a data set", real=False),
    _register_module("counterfactuals", "Counterfactual explanations"),
    _register_module("texts", "Textual explanations", real=False),
    _register_module("captions", "Captions"),
    _register_module("answers", "Visual question answering"),
    _register_module("depth", "Maps through depth"),
    _register_module("ablations", "Ablations of Grad-CAM"),
    _register_module("words", "Which target and method ground a word", real=False),
)
"""The sixteen experiments of the Grad-CAM paper, in the order of their numbers."""
