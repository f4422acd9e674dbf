"""Rows of a run as they are used: columns by name, maps as tensors, heatmaps on the photo's pixels."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from vlcam.contracts import Geometry, InputError, shorten
from vlcam.image.decode import open_bytes
from vlcam.image.display import apply_steps
from vlcam.image.geometry import to_photo


class _AbstractRecord(Mapping[str, Any]):
    """Columns by name, as items and as attributes."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r}; its columns are {', '.join(self.__dict__.get('_columns', ()))}"
            )
        return self._columns[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._columns})


@final
class RunRow(_AbstractRecord):
    """One photo and one of its targets; the columns (:data:`vlcam.runs.ROWS`) are items and attributes: ``row.probability``.

    A photo that failed has one row, with ``error`` and without a map.
    """

    def __repr__(self) -> str:
        about = f"error {shorten(self['error'], 120)}" if self["error"] else f"'{shorten(self['target'] or '')}'"
        likely = "" if self["probability"] is None else f", p {self['probability']:.3g}"
        return f"RunRow({self['id']} {shorten(self['photo'], 60)}: {about}{likely})"

    @property
    def geometry(self) -> Geometry:
        """Where the model's input lies on the photo. Raises InputError for a photo that failed."""
        self._check_map()
        return Geometry(
            (self["photo_width"], self["photo_height"]),
            (self["input_width"], self["input_height"]),
            (self["scale_x"], self["scale_y"]),
            (self["offset_x"], self["offset_y"]),
        )

    @property
    def signed_map(self) -> Float[Tensor, "rows columns"]:
        """The raw map with its signs, at grid resolution, in the target's own units; NaN where it isn't finite. Raises InputError."""
        self._check_map()
        size = self["rows"], self["columns"]
        if self["map"] is None:
            return torch.full(size, torch.nan)
        parts = np.asarray(self["map"], dtype=np.float64).reshape(size) * float(self["map_unit"])
        return torch.from_numpy(parts).float()

    @property
    def map(self) -> Float[Tensor, "rows columns"]:
        """The map that is drawn: after the method's final ReLU, if it has one, and its display steps. Raises InputError."""
        signed = self.signed_map
        raw = signed.clamp_min(0) if self["relu"] else signed
        return apply_steps(raw[None], tuple(one for one in (self["steps"] or "").split(",") if one))[0]

    @property
    def peak(self) -> tuple[float, float] | None:
        """Where on the photo the map is strongest, ``(x, y)`` in pixels; None for a map that shows nothing."""
        return None if self["peak_x"] is None else (self["peak_x"], self["peak_y"])

    def heatmap(self) -> Float[Tensor, "height width"]:
        """The map on the photo's pixels: bilinear, half-pixel centres; NaN where the model did not see the photo. Raises InputError."""
        return to_photo(self.map[None], self.geometry)[0]

    def _check_map(self) -> None:
        if self["rows"] is None:
            raise InputError(
                f"the photo {shorten(self['photo'])} failed, so it has no map: {shorten(self['error'] or '', 300)}"
            )


@final
class RunPhoto(_AbstractRecord):
    """One photo of a run; the columns (:data:`vlcam.runs.PHOTOS`) are items and attributes: ``photo.path``."""

    def __repr__(self) -> str:
        return f"RunPhoto({self['photo_index']} {shorten(self['photo'], 80)})"

    @property
    def picture(self) -> Image.Image | None:
        """The thumbnail, at most 256 pixels wide and high; None for a photo that couldn't be read."""
        return None if self["thumbnail"] is None else open_bytes(self["thumbnail"], self["photo"])

    @property
    def page(self) -> dict[str, Any] | None:
        """What the interactive page draws, as JSON values, without the picture; None for a photo that failed."""
        found: dict[str, Any] | None = None if self["document"] is None else json.loads(self["document"])
        return found
