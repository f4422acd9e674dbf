"""Photos: opened, prepared for a model, and the way back from its grid to their pixels."""

from vlcam.image.geometry import to_photo
from vlcam.image.photo import Bands, Photo, open_photo
from vlcam.image.preprocess import Preprocess

__all__ = ["Bands", "Photo", "Preprocess", "open_photo", "to_photo"]
