"""Photos: opened, prepared for a model, and the way back from its grid to their pixels.

The names are loaded when they are first used (PEP 562): what decodes files needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Bands", "Photo", "Preprocess", "PreprocessSettings", "open_photo", "to_photo"]

if TYPE_CHECKING:
    from vlcam.image.geometry import to_photo as to_photo
    from vlcam.image.photo import Bands as Bands
    from vlcam.image.photo import Photo as Photo
    from vlcam.image.photo import open_photo as open_photo
    from vlcam.image.preprocess import Preprocess as Preprocess
    from vlcam.image.preprocess import PreprocessSettings as PreprocessSettings
else:
    _HOMES = {"Preprocess": "preprocess", "PreprocessSettings": "preprocess", "to_photo": "geometry"}

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'vlcam.image' has no attribute {name!r}", name=name)
        value = getattr(import_module(f"vlcam.image.{_HOMES.get(name, 'photo')}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
