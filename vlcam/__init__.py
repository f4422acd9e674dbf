"""Which parts of an image, and which named neurons, made a vision model say this word?

The public names are loaded when they are first used (PEP 562), so that ``import vlcam`` and ``vlcam --help`` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from vlcam._version import __version__ as __version__

__all__ = [
    "METHODS",
    "PROCEDURES",
    "Explanation",
    "Geometry",
    "InputError",
    "LayerError",
    "Method",
    "NeuronNames",
    "Outcome",
    "Prepared",
    "Preprocess",
    "Procedure",
    "Request",
    "Spoken",
    "Target",
    "TargetError",
    "Task",
    "VlcamError",
    "__version__",
    "attribute",
    "explain",
    "explain_batches",
    "gradients",
    "load",
    "methods",
    "metrics",
    "neurons",
    "record",
    "render",
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
    from vlcam.contracts import Geometry as Geometry
    from vlcam.contracts import InputError as InputError
    from vlcam.contracts import LayerError as LayerError
    from vlcam.contracts import Method as Method
    from vlcam.contracts import Prepared as Prepared
    from vlcam.contracts import Procedure as Procedure
    from vlcam.contracts import Request as Request
    from vlcam.contracts import Spoken as Spoken
    from vlcam.contracts import Target as Target
    from vlcam.contracts import TargetError as TargetError
    from vlcam.contracts import Task as Task
    from vlcam.contracts import VlcamError as VlcamError
    from vlcam.engine.backward import gradients as gradients
    from vlcam.engine.recording import record as record
    from vlcam.explanation.attribution import attribute as attribute
    from vlcam.explanation.batches import Outcome as Outcome
    from vlcam.explanation.batches import explain_batches as explain_batches
    from vlcam.explanation.explain import explain as explain
    from vlcam.explanation.explanation import Explanation as Explanation
    from vlcam.image.preprocess import Preprocess as Preprocess
    from vlcam.methods import METHODS as METHODS
    from vlcam.methods import PROCEDURES as PROCEDURES
    from vlcam.neurons import NeuronNames as NeuronNames
    from vlcam.tasks.load import load as load
else:
    _HOMES = {
        "Geometry": "contracts",
        "InputError": "contracts",
        "LayerError": "contracts",
        "Method": "contracts",
        "Prepared": "contracts",
        "Procedure": "contracts",
        "Request": "contracts",
        "Spoken": "contracts",
        "Target": "contracts",
        "TargetError": "contracts",
        "Task": "contracts",
        "VlcamError": "contracts",
        "gradients": "engine.backward",
        "record": "engine.recording",
        "attribute": "explanation.attribution",
        "Outcome": "explanation.batches",
        "explain_batches": "explanation.batches",
        "explain": "explanation.explain",
        "Explanation": "explanation.explanation",
        "Preprocess": "image.preprocess",
        "METHODS": "methods",
        "PROCEDURES": "methods",
        "NeuronNames": "neurons",
        "load": "tasks.load",
    }

    def __getattr__(name: str) -> object:
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
