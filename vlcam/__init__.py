"""Which parts of an image, and which named neurons, made a vision model say this word?

The public names are loaded when they are first used (PEP 562), so that ``import vlcam`` and ``vlcam --help`` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

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
    "record",
    "scenes",
    "tasks",
]

if TYPE_CHECKING:
    from vlcam import scenes as scenes
    from vlcam import tasks as tasks
    from vlcam.attribution import attribute as attribute
    from vlcam.batches import Outcome as Outcome
    from vlcam.batches import explain_batches as explain_batches
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
    from vlcam.engine import gradients as gradients
    from vlcam.engine import record as record
    from vlcam.explainer import explain as explain
    from vlcam.explanation import Explanation as Explanation
    from vlcam.methods import METHODS as METHODS
    from vlcam.methods import PROCEDURES as PROCEDURES
    from vlcam.neurons import NeuronNames as NeuronNames
    from vlcam.preprocess import Preprocess as Preprocess
    from vlcam.tasks.opening import load as load
else:
    _HOMES = {
        **dict.fromkeys(("scenes", "tasks"), None),
        "attribute": "attribution",
        **dict.fromkeys(("Geometry", "InputError", "LayerError", "Method", "Prepared"), "contracts"),
        **dict.fromkeys(("Procedure", "Request", "Spoken", "Target", "TargetError", "Task", "VlcamError"), "contracts"),
        **dict.fromkeys(("gradients", "record"), "engine"),
        "explain": "explainer",
        **dict.fromkeys(("Outcome", "explain_batches"), "batches"),
        "Explanation": "explanation",
        **dict.fromkeys(("METHODS", "PROCEDURES"), "methods"),
        "NeuronNames": "neurons",
        "Preprocess": "preprocess",
        "load": "tasks.opening",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(
                f"module 'vlcam' has no attribute {name!r}; its names are {', '.join(__all__)}", name=name
            )
        home = _HOMES[name]
        value = import_module(f"vlcam.{name}") if home is None else getattr(import_module(f"vlcam.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
