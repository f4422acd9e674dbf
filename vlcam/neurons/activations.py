"""The maps of one layer on all pictures of a probe: run once, kept on disk if they are large, and reused while nothing changed."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from vlcam.contracts import Geometry


@final
@dataclass(frozen=True, eq=False)
class Activations:
    """What a layer of K channels shows of N pictures.

    ``maps`` ``(N, K, h, w)`` lie as the model's input does (tokens and tiles are put in their places already); float32, and possibly a
    memory map of a file. ``geometries`` say where each picture's input lies on its photo. ``names`` are those of the pictures.
    """

    model: str
    layer: str
    weights_sha256: str | None
    maps: Float[np.ndarray, "images channels rows columns"]
    geometries: tuple[Geometry, ...]
    names: tuple[str, ...]
