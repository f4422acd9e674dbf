"""Colour tables: 256 x 3 bytes each, from low to high; data in ``colours.json``, so that no plotting library is needed.

``inferno``, ``viridis`` and ``cividis`` rise evenly in lightness, so they survive greyscale print and colour-blind eyes;
``coolwarm`` is the diverging table for signed maps (blue: against, red: for). Jet and turbo are left out on purpose: their
lightness goes up and down, which draws borders where the map has none.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from vlcam.contracts import InputError

SEQUENTIAL = ("inferno", "viridis", "cividis")
DIVERGING = ("coolwarm",)


@cache
def _load_tables() -> dict[str, UInt8[np.ndarray, "256 3"]]:
    data = json.loads(files("vlcam.render").joinpath("colours.json").read_text(encoding="ascii"))
    tables = {name: np.frombuffer(bytes.fromhex(text), dtype=np.uint8).reshape(256, 3) for name, text in data.items()}
    return {name: tables[name] for name in (*SEQUENTIAL, *DIVERGING)}


def get_colour_table(name: str) -> UInt8[np.ndarray, "256 3"]:
    """The colours of a table, from low to high (read-only).

    >>> get_colour_table("inferno")[0].tolist()
    [0, 0, 4]
    """
    tables = _load_tables()
    if name not in tables:
        raise InputError(f"no colour table {name!r}; there are: {', '.join(tables)}")
    return tables[name]


def is_diverging(name: str) -> bool:
    """Whether a table has a neutral middle and so stands for signed values."""
    get_colour_table(name)
    return name in DIVERGING


def choose_colours(*, relu: bool) -> str:
    """The table for a method: ``inferno`` for maps that show only evidence for, ``coolwarm`` for signed ones."""
    return SEQUENTIAL[0] if relu else DIVERGING[0]


def read_heat(heat: Any) -> Float[np.ndarray, "height width"]:
    """A heatmap as an array of floats. Raises InputError for what is none."""
    values = heat.detach().cpu().float().numpy() if isinstance(heat, Tensor) else np.asarray(heat)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise InputError(
            f"a heatmap of shape {values.shape} and dtype {values.dtype} was given; expected (height, width) numbers"
        )
    return values if values.dtype.kind == "f" else values.astype(np.float32)


def scale_values(
    heat: Float[np.ndarray, "height width"], scale: float, *, signed: bool = False
) -> Float[np.ndarray, "height width"]:
    """The values as fractions of ``scale``: 0 to 1, or -1 to 1 if ``signed``; 0 where there is no number, or nothing to show.

    >>> scale_values(np.array([[-1.0, 1.0, 4.0]]), 2.0).tolist()
    [[0.0, 0.5, 1.0]]
    """
    if not (np.isfinite(scale) and scale > 0):
        return np.zeros(heat.shape)
    with np.errstate(over="ignore"):
        parts = np.clip(heat.astype(np.float64) / scale, -1.0 if signed else 0.0, 1.0)
    numbers: Float[np.ndarray, "height width"] = np.where(np.isnan(parts), 0.0, parts)
    return numbers


def colourise(
    heat: Shaped[np.ndarray, "height width"] | Shaped[Tensor, "height width"],
    *,
    scale: float | None = None,
    colours: str = "inferno",
) -> UInt8[np.ndarray, "height width 3"]:
    """The values as colours, without the photo. ``scale`` is the value of the last colour (default: the largest in ``heat``)."""
    signed, heat = is_diverging(colours), read_heat(heat)
    parts = scale_values(heat, find_peak(heat, signed=signed) if scale is None else scale, signed=signed)
    picture: UInt8[np.ndarray, "height width 3"] = get_colour_table(colours)[index_colours(parts, signed=signed)]
    return picture


def index_colours(parts: Float[np.ndarray, "height width"], *, signed: bool) -> UInt8[np.ndarray, "height width"]:
    """Rows of a colour table for values from :func:`scale_values`."""
    rows: UInt8[np.ndarray, "height width"] = np.rint((parts + 1) * 127.5 if signed else parts * 255).astype(np.uint8)
    return rows


def find_peak(heat: Float[np.ndarray, "height width"], *, signed: bool = False) -> float:
    """The largest finite value (if ``signed``, the largest size), never below 0; 0 if there is none."""
    finite = heat[np.isfinite(heat)]
    if not finite.size:
        return 0.0
    return float(max(0.0, np.abs(finite).max() if signed else finite.max()))
