"""Does a picture look like one of the bundled world? A few statistics of its colours, with bounds that training scenes stay within.

The ground of a scene is one tint, lighter and darker, so nearly all pixels of its border lie on one line through black; its objects are
bright and saturated, in six hues. Photographs break at least one of these rules. How often the test errs is in the documentation
(``docs/explanation/bundled-world.md``), measured by ``tests/benchmarks/likeness.py``.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vlcam.scenes.record import PIXELS
from vlcam.scenes.sample import HUES

_ON_GROUND: Final = 0.02
"""How far red, green and blue, as shares of their sum, may be from those of the ground."""
_SATURATED: Final = 0.45
_HUE_OFF: Final = 10.0  # degrees
_DARK: Final = 0.1
_RING: Final = 3  # pixels
_FEWEST: Final = 20  # saturated pixels of a picture that has objects

BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "border off the ground": (0.0, 0.25),
    "off ground and hues": (0.0, 0.42),
    "objects": (0.004, 0.32),
    "objects in other hues": (0.0, 0.5),
    "hue off": (0.0, 10.0),
    "object saturation": (0.49, 0.92),
    "object brightness": (0.51, 0.89),
    "ground value": (0.42, 0.91),
    "ground saturation": (0.0, 0.39),
    "tone spread": (0.06, 0.26),
    "tone up": (0.05, 0.5),
    "tone down": (0.19, 0.97),
    "tone steps": (0.0, 0.052),
}
"""The range of each statistic over nearly all scenes, drawn at 48 to 800 pixels, some saved as JPEG. The ranges of the border and of the
objects' brightness are somewhat narrower than that, as two of 150 photographs required."""


def looks_like_scene(picture: UInt8[np.ndarray, "height width 3"]) -> bool:
    """Whether a picture, which may have any size, could be one of the bundled world."""
    found = measure_colours(picture)
    return found is not None and all(low <= found[name] <= high for name, (low, high) in BOUNDS.items())


def measure_colours(picture: UInt8[np.ndarray, "height width 3"]) -> dict[str, float] | None:
    """The statistics by their names in :data:`BOUNDS`; None for a picture without a ground, or without anything on it."""
    small = Image.fromarray(picture).resize((PIXELS, PIXELS), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32) / 255
    most, total = values.max(2), values.sum(2)
    saturation = (most - values.min(2)) / np.maximum(most, 1e-3)
    strong = (saturation > _SATURATED) & (most > _DARK)
    if strong.sum() < _FEWEST or strong.mean() > 0.7:
        return None
    shares = values / np.maximum(total, 1e-2)[..., None]
    ground = (np.abs(shares - np.median(shares[~strong], axis=0)).max(2) < _ON_GROUND) & ~strong
    if ground.mean() < 0.2:
        return None
    off = _measure_hue_off(values)
    known = strong & (off < _HUE_OFF)
    ring = np.ones_like(ground)
    ring[_RING:-_RING, _RING:-_RING] = False
    tones = np.log(np.maximum(total, 1e-2))
    low, middle, high = np.quantile(tones[ground], (0.01, 0.5, 0.95))
    tint = np.median(values[ground], axis=0)
    across = np.abs(np.diff(tones, axis=1))[ground[:, 1:] & ground[:, :-1]]
    return {
        "border off the ground": 1 - float((ground & ring).sum() / ring.sum()),
        "off ground and hues": 1 - float((ground | known).mean()),
        "objects": float(known.mean()),
        "objects in other hues": float((strong & ~known).sum() / strong.sum()),
        "hue off": float(np.median(off[strong])),
        "object saturation": float(saturation[strong].mean()),
        "object brightness": float(most[strong].mean()),
        "ground value": float(tint.max()),
        "ground saturation": float((tint.max() - tint.min()) / max(tint.max(), 1e-3)),
        "tone spread": float(tones[ground].std()),
        "tone up": float(high - middle),
        "tone down": float(middle - low),
        "tone steps": float(across.mean()) if across.size else 0.0,
    }


def _measure_hue_off(values: Float[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "rows columns"]:
    """How far each pixel's hue is from the nearest of the world's, in degrees."""
    red, green, blue = np.moveaxis(values, 2, 0)
    most = values.max(2)
    range_ = np.maximum(most - values.min(2), 1e-6)
    sixths = np.where(
        most == red,
        (green - blue) / range_,
        np.where(most == green, (blue - red) / range_ + 2, (red - green) / range_ + 4),
    )
    known = np.array([hue for hue, _, _ in HUES.values()])
    off: Float[np.ndarray, "rows columns"] = np.abs((60 * sixths[..., None] - known + 180) % 360 - 180).min(-1)
    return off
