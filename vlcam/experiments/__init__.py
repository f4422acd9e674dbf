"""The experiments of the Grad-CAM paper (arXiv 1610.02391): the data they run on, what they measure, and how results are shown.

>>> from vlcam.experiments import get_experiment, list_experiments
>>> list_experiments()[:3]
['localisation', 'seeds', 'pointing']
>>> get_experiment("pointing").title
'Pointing game with recall'

:func:`run_one` runs one; :func:`register` adds your own (`examples/own_experiment.py`).
"""

from vlcam.experiments.data.samples import LabelledPhoto, PhotoObject, World
from vlcam.experiments.registry import Experiment, RunsExperiment, get_experiment, list_experiments, register
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.running import choose_experiments, run_one
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared.maps import MethodMaps, make_every_map

__all__ = [
    "Experiment",
    "LabelledPhoto",
    "MethodMaps",
    "PhotoObject",
    "Result",
    "ResultRow",
    "RunsExperiment",
    "Setting",
    "World",
    "choose_experiments",
    "get_experiment",
    "list_experiments",
    "make_every_map",
    "register",
    "run_one",
]
