"""Which parts of an image, and which named neurons, made a vision model say this word?

The public names are loaded when they are first used (PEP 562), so that ``import vlcam`` and ``vlcam --help`` are quick.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from vlcam._version import __version__

__all__ = [
    "Bands",
    "Comparison",
    "Explanation",
    "Geometry",
    "InputError",
    "LayerError",
    "Method",
    "NeuronNames",
    "Outcome",
    "PerturbationMethod",
    "Prepared",
    "Preprocess",
    "Request",
    "Spoken",
    "Target",
    "TargetError",
    "Task",
    "VlcamError",
    "__version__",
    "attribute",
    "compare",
    "explain",
    "explain_batches",
    "get_method",
    "gradients",
    "list_methods",
    "load",
    "methods",
    "metrics",
    "neurons",
    "open_run",
    "plot",
    "record",
    "register",
    "render",
    "run",
    "scenes",
    "tasks",
]

if TYPE_CHECKING:
    from vlcam import methods as methods
    from vlcam import metrics as metrics
    from vlcam import neurons as neurons
    from vlcam import render as render
    from vlcam import scenes as scenes
    from vlcam import tasks as tasks
    from vlcam.comparison import Comparison as Comparison
    from vlcam.comparison import compare as compare
    from vlcam.contracts import Geometry as Geometry
    from vlcam.contracts import InputError as InputError
    from vlcam.contracts import LayerError as LayerError
    from vlcam.contracts import Method as Method
    from vlcam.contracts import PerturbationMethod as PerturbationMethod
    from vlcam.contracts import Prepared as Prepared
    from vlcam.contracts import Request as Request
    from vlcam.contracts import Spoken as Spoken
    from vlcam.contracts import Target as Target
    from vlcam.contracts import TargetError as TargetError
    from vlcam.contracts import Task as Task
    from vlcam.contracts import VlcamError as VlcamError
    from vlcam.engine.backward import gradients as gradients
    from vlcam.engine.recording import record as record
    from vlcam.explanation.attribution import attribute as attribute
    from vlcam.explanation.axes import plot as plot
    from vlcam.explanation.batches import Outcome as Outcome
    from vlcam.explanation.batches import explain_batches as explain_batches
    from vlcam.explanation.explain import explain as explain
    from vlcam.explanation.explanation import Explanation as Explanation
    from vlcam.image.photo import Bands as Bands
    from vlcam.image.preprocess import Preprocess as Preprocess
    from vlcam.methods import get_method as get_method
    from vlcam.methods import list_methods as list_methods
    from vlcam.methods import register as register
    from vlcam.neurons import NeuronNames as NeuronNames
    from vlcam.runs import open_run as open_run
    from vlcam.runs import run as run
    from vlcam.tasks.load import load as load
else:
    _HOMES = {
        "Comparison": "comparison",
        "compare": "comparison",
        "Geometry": "contracts",
        "InputError": "contracts",
        "LayerError": "contracts",
        "Method": "contracts",
        "PerturbationMethod": "contracts",
        "Prepared": "contracts",
        "Request": "contracts",
        "Spoken": "contracts",
        "Target": "contracts",
        "TargetError": "contracts",
        "Task": "contracts",
        "VlcamError": "contracts",
        "gradients": "engine.backward",
        "record": "engine.recording",
        "attribute": "explanation.attribution",
        "plot": "explanation.axes",
        "Outcome": "explanation.batches",
        "explain_batches": "explanation.batches",
        "explain": "explanation.explain",
        "Explanation": "explanation.explanation",
        "Bands": "image.photo",
        "Preprocess": "image.preprocess",
        "get_method": "methods",
        "list_methods": "methods",
        "register": "methods",
        "NeuronNames": "neurons",
        "open_run": "runs",
        "run": "runs",
        "load": "tasks.load",
    }
    _DEPRECATED = {  # old name: (its home, what it is called there, what to write instead)
        "METHODS": ("methods", "METHODS", "vlcam.list_methods() and vlcam.get_method(name)"),
        "PROCEDURES": ("methods", "PROCEDURES", "vlcam.list_methods() and vlcam.get_method(name)"),
        "Procedure": ("contracts", "PerturbationMethod", "vlcam.PerturbationMethod"),
        "habits": ("explanation.pytorch_grad_cam", None, "vlcam.explanation.GradCAM"),
    }

    def __getattr__(name: str) -> object:
        if name in _DEPRECATED:
            home, inside, instead = _DEPRECATED[name]
            warnings.warn(f"vlcam.{name} is deprecated; use {instead}", DeprecationWarning, stacklevel=2)
            found = import_module(f"vlcam.{home}")
            with warnings.catch_warnings():  # the table there warns as well
                warnings.simplefilter("ignore", DeprecationWarning)
                return found if inside is None else getattr(found, inside)
        if name not in __all__:
            raise AttributeError(
                f"module 'vlcam' has no attribute {name!r}; its names are {', '.join(__all__)}", name=name
            )
        home = _HOMES.get(name)
        value = import_module(f"vlcam.{name}") if home is None else getattr(import_module(f"vlcam.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
