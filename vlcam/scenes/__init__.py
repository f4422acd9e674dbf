"""Generated pictures with exact masks, captions and questions, and the bundled models that were trained on them.

>>> from vlcam.scenes import make
>>> scene = make(seed=7)
>>> scene.image().shape
(96, 96, 3)
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "PAIRS",
    "PIXELS",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TEXTURES",
    "UNSEEN_PAIRS",
    "Caption",
    "Question",
    "Scene",
    "SceneObject",
    "make",
]

if TYPE_CHECKING:
    from vlcam.scenes.record import BACKGROUNDS as BACKGROUNDS
    from vlcam.scenes.record import COLOURS as COLOURS
    from vlcam.scenes.record import PAIRS as PAIRS
    from vlcam.scenes.record import PIXELS as PIXELS
    from vlcam.scenes.record import SHAPES as SHAPES
    from vlcam.scenes.record import SIZES as SIZES
    from vlcam.scenes.record import SPLITS as SPLITS
    from vlcam.scenes.record import TEXTURES as TEXTURES
    from vlcam.scenes.record import UNSEEN_PAIRS as UNSEEN_PAIRS
    from vlcam.scenes.record import Caption as Caption
    from vlcam.scenes.record import Question as Question
    from vlcam.scenes.record import SceneObject as SceneObject
    from vlcam.scenes.sample import make as make
    from vlcam.scenes.scene import Scene as Scene
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'vlcam.scenes' has no attribute {name!r}", name=name)
        value = getattr(import_module("vlcam.scenes." + {"make": "sample", "Scene": "scene"}.get(name, "record")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
