"""Task adapters: each turns what one model says about a photo into differentiable targets.

The names are loaded when they are first used (PEP 562). :mod:`vlcam.tasks.bundled` has the tasks of the bundled models, and
:func:`vlcam.load` makes one from a model of torchvision, timm or transformers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if __name__ != "vlcam.tasks":  # the checkout's tasks/ must not become a second package
    raise ImportError(f"import vlcam.tasks, not {__name__}")

__all__ = [
    "VQA",
    "Answering",
    "BatchTask",
    "Captioning",
    "Classification",
    "Custom",
    "Layout",
    "Names",
    "Reading",
    "ScoringTask",
    "Similarity",
    "TextMatching",
    "Tokenizer",
    "ZeroShotClassification",
    "bundled",
    "region",
]

if TYPE_CHECKING:
    from vlcam.contracts import BatchTask as BatchTask
    from vlcam.contracts import Layout as Layout
    from vlcam.contracts import Names as Names
    from vlcam.contracts import ScoringTask as ScoringTask
    from vlcam.tasks import bundled as bundled
    from vlcam.tasks.answering import Answering as Answering
    from vlcam.tasks.captioning import Captioning as Captioning
    from vlcam.tasks.captioning import Tokenizer as Tokenizer
    from vlcam.tasks.classification import Classification as Classification
    from vlcam.tasks.custom import Custom as Custom
    from vlcam.tasks.custom import region as region
    from vlcam.tasks.matching import TextMatching as TextMatching
    from vlcam.tasks.reading import Reading as Reading
    from vlcam.tasks.similarity import Similarity as Similarity
    from vlcam.tasks.vqa import VQA as VQA
    from vlcam.tasks.zero_shot import ZeroShotClassification as ZeroShotClassification
else:
    _HOMES = {
        "Answering": "tasks.answering",
        "BatchTask": "contracts",
        "Captioning": "tasks.captioning",
        "Classification": "tasks.classification",
        "Custom": "tasks.custom",
        "Layout": "contracts",
        "Names": "contracts",
        "Reading": "tasks.reading",
        "ScoringTask": "contracts",
        "Similarity": "tasks.similarity",
        "TextMatching": "tasks.matching",
        "Tokenizer": "tasks.captioning",
        "VQA": "tasks.vqa",
        "ZeroShotClassification": "tasks.zero_shot",
        "region": "tasks.custom",
    }

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'vlcam.tasks' has no attribute {name!r}", name=name)
        home = _HOMES.get(name)
        value = import_module(f"vlcam.tasks.{name}") if home is None else getattr(import_module(f"vlcam.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
