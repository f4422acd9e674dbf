"""Label maps: pictures whose pixels are the numbers of what they show, as data sets with masks keep them."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Integer
from PIL import Image

from vlcam.contracts import InputError
from vlcam.files import is_there, show_path
from vlcam.image.open_picture import open_picture

MAX_LABELS: Final = 2**16
"""Numbers in a label map are below this."""

_GREY: Final = ("P", "L", "1", "I", "I;16", "I;16L", "I;16B")


def read_label_map(path: str | Path) -> Integer[np.ndarray, "height width"]:
    """The numbers of a label map: indices of a palette, or grey of 8 or 16 bits. Raises InputError for anything else."""
    image = read_label_picture(path)
    shown = show_path(path)
    if image.mode not in _GREY:
        raise InputError(
            f"the label map {shown} is an image of mode {image.mode}; expected a PNG with a palette or grey of 8 or 16 bits, whose "
            "pixels are the numbers of concepts"
        )
    found = np.asarray(image)
    found = found.astype(np.uint8) if found.dtype == np.bool_ else found
    if int(found.min()) < 0 or int(found.max()) >= MAX_LABELS:
        raise InputError(f"the label map {shown} holds numbers outside 0 to {MAX_LABELS - 1}")
    return found


def read_label_picture(path: str | Path) -> Image.Image:
    """A picture of labels as it is stored: no colours are converted. Raises InputError if it can't be read."""
    if not is_there(path):
        raise InputError(f"there is no label map {show_path(path)}; expected one for every photo")
    with open_picture(path, "a picture") as image:
        image.load()
        return image.copy()
