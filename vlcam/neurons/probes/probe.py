"""What units are named with: pictures and what is in them.

A probe is a sequence of pictures whose labels are known (:class:`Probe`), or of pictures and words that an image-text encoder compares
(:class:`WordProbe`). Readers of folders and data sets are in :mod:`vlcam.neurons.probes.folders`, :mod:`vlcam.neurons.probes.datasets` and
:mod:`vlcam.neurons.probes.encoders`; generated scenes are also a probe (:class:`vlcam.neurons.probes.scenes.SceneProbe`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int64
from PIL.Image import Image
from torch import Tensor

from vlcam.contracts import shorten, show_record

Concept = tuple[str, str]
"""A concept's name and category."""

NOTHING: Final = -1
"""In a label map: labelled, but none of the concepts."""

IGNORED: Final = -2
"""In a label map: unknown (the border of VOC, unlabelled pixels); counted neither for nor against."""


@final
@dataclass(frozen=True, eq=False)
class LabelMap:
    """Concepts of one category by pixel: ``values`` ``(height, width)`` are indices into the probe's concepts, NOTHING or IGNORED.

    It covers the whole photo, in any resolution.
    """

    category: str
    values: Int[np.ndarray, "height width"]

    __repr__ = show_record


@final
@dataclass(frozen=True, eq=False)
class Sample:
    """One picture of a probe and all that is known to be in it.

    ``photo`` is anything that :func:`vlcam.image.photo.open_photo` opens. ``whole``: indices of concepts that are true of the whole
    picture. ``maps``: label maps, several of a category if concepts overlap. ``masks``: (index, mask ``(height, width)`` over the
    whole photo) of concepts that may overlap. ``categories``: for which categories the picture is labelled at all (labels are often
    partial); a concept of another category is neither there nor absent.
    """

    name: str
    photo: str | Path | Image
    categories: frozenset[str]
    whole: tuple[int, ...] = ()
    maps: tuple[LabelMap, ...] = ()
    masks: tuple[tuple[int, Bool[np.ndarray, "height width"]], ...] = ()

    __repr__ = show_record


@final
@dataclass(frozen=True, eq=False)
class GridLabels:
    """One picture's labels on a grid over the model's input (not the photo).

    ``concepts`` are the indices of those with at least one cell, ascending, ``masks`` where they are. ``categories`` are the indices
    of the categories that are labelled here (in the order of :func:`list_categories`), ``valid`` where each of them is: cells outside
    the photo (margins of a letterbox) and ignored cells are not.
    """

    concepts: Int64[np.ndarray, " present"]
    masks: Bool[np.ndarray, "present rows columns"]
    categories: Int64[np.ndarray, " labelled"]
    valid: Bool[np.ndarray, "labelled rows columns"]

    __repr__ = show_record


@runtime_checkable
class Probe(Protocol):
    """Pictures with labels. ``facts`` say how it was made, for reports: any JSON values, such as kind, path and split."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def concepts(self) -> Sequence[Concept]: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class WordProbe(Protocol):
    """Pictures and words, compared by an image-text encoder.

    ``similarity()`` is the cosine of each picture and word ``(images, words)``. ``of_template()`` are the cosines of each picture and
    "A photo of a {word}", less that of the picture and "A photo of a" (WWW's adaptive similarity).
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def words(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def facts(self) -> Mapping[str, Any]: ...  # noqa: D102
    def __len__(self) -> int: ...
    def photo(self, index: int, /) -> str | Path | Image: ...  # noqa: D102
    def similarity(self) -> Float[Tensor, "images words"]: ...  # noqa: D102
    def of_template(self) -> Float[Tensor, "images words"]: ...  # noqa: D102


def show_probe(probe: Any) -> str:
    """The ``repr`` of a probe: its name, and how many pictures and concepts or words it has."""
    if not isinstance(probe, (Probe, WordProbe)):  # half made: an error in the constructor shows it
        return f"{type(probe).__name__}(...)"
    known = f"{len(probe.concepts)} concepts" if isinstance(probe, Probe) else f"{len(probe.words)} words"
    return f"{type(probe).__name__}({shorten(probe.name, 80)}: {len(probe)} pictures, {known})"


def list_categories(concepts: Sequence[Concept]) -> tuple[str, ...]:
    """The different categories of concepts, in the order of their first concept.

    >>> list_categories([("red", "colour"), ("star", "shape"), ("blue", "colour")])
    ('colour', 'shape')
    """
    return tuple(dict.fromkeys(category for _, category in concepts))
