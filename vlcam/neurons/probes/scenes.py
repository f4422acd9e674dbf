"""Generated scenes as a probe: pictures whose concepts are known exactly."""

from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool
from PIL import Image

from vlcam.contracts import InputError
from vlcam.neurons.probes.probe import Concept, Sample, list_categories, show_probe
from vlcam.scenes.record import BACKGROUNDS, COLOURS, PAIRS, SHAPES, SIZES, SPLITS, TEXTURES, Split
from vlcam.scenes.sample import make
from vlcam.scenes.scene import Scene

REGIONS: Final = ("upper left", "top", "upper right", "left", "centre", "right", "lower left", "bottom", "lower right")
"""The nine cells of a 3 x 3 board, row by row: equal areas, so that no region has a lower IoU ceiling than another."""


CONCEPTS: Final[tuple[Concept, ...]] = (
    ("thing", "object"),
    *((name, "colour") for name in COLOURS),
    *((name, "shape") for name in SHAPES),
    *((name, "texture") for name in TEXTURES),
    *((name, "size") for name in SIZES),
    *((f"{colour} {shape}", "pair") for colour, shape in PAIRS),
    *((name, "background") for name in BACKGROUNDS),
    *((name, "region") for name in REGIONS),
)
"""Name and category of every concept."""


MASK_SIZE: Final = 24


_FINE: Final = 4  # pixels a cell and side that visible areas are measured with


_ROW: Final = {concept: row for row, concept in enumerate(CONCEPTS)}


@final
class SceneProbe:
    """Scenes ``0..n-1`` of a split. Satisfies :class:`vlcam.neurons.probes.probe.Probe`.

    Every picture is labelled for all categories, by the masks of :func:`vlcam.neurons.probes.scenes.make_concept_masks` on ``size`` x
    ``size`` cells. On a grid of as many cells over the whole picture, the labels are exactly these masks.
    """

    def __init__(self, split: str = "val", n: int = 1000, *, size: int = MASK_SIZE) -> None:
        if split not in SPLITS:
            raise InputError(f"split={split!r} was given; expected one of {', '.join(SPLITS)}")
        if n < 1:
            raise InputError(f"n={n} was given; expected how many scenes to take, 1 or more")
        if size < 3:
            raise InputError(f"size={size} was given; expected 3 cells a side or more, such as {MASK_SIZE}")
        self._split: Split = split
        self._n = n
        self._size = size
        self.name = f"scenes {split}"
        self.concepts: tuple[Concept, ...] = CONCEPTS
        self.facts: Mapping[str, Any] = {
            "kind": "generated scenes",
            "path": f"scenes:{split}:{n}",
            "split": split,
            "images": n,
            "concepts": len(CONCEPTS),
            "mask_size": size,
        }

    __repr__ = show_probe

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int, /) -> Sample:
        seed = range(self._n)[index]
        scene = make(seed, self._split)
        masks = make_concept_masks(scene, self._size)
        present = tuple((int(concept), masks[concept]) for concept in np.flatnonzero(masks.any(axis=(1, 2))))
        photo = Image.fromarray(scene.image())
        return Sample(f"{self._split} {seed}", photo, frozenset(list_categories(CONCEPTS)), masks=present)


def make_concept_masks(scene: Scene, size: int = MASK_SIZE) -> Bool[np.ndarray, "concepts size size"]:
    """Which cells of a ``size`` x ``size`` grid show each concept.

    A cell shows a concept of objects if at least half of it is covered by visible parts of such objects. A background is where the
    picture has it: everywhere, or nowhere (as scenes are in Network Dissection).
    """
    if isinstance(size, bool) or size < 3:
        raise InputError(f"size {size!r} was given; expected a grid of 3 cells a side or more, such as {MASK_SIZE}")
    visible = scene.masks(size * _FINE)
    out = np.zeros((len(CONCEPTS), size, size), np.bool_)
    cover = visible.reshape(len(visible), size, _FINE, size, _FINE).sum(
        axis=(2, 4)
    )  # objects lie side by side: covers add up
    total = np.zeros((len(CONCEPTS), size, size), np.int64)
    for obj, area in zip(scene.objects, cover, strict=True):
        for concept in (
            ("thing", "object"),
            (obj.colour, "colour"),
            (obj.shape, "shape"),
            (obj.texture, "texture"),
            (obj.size, "size"),
            (" ".join(obj.pair), "pair"),
        ):
            total[_ROW[concept]] += area
    out[:] = 2 * total >= _FINE * _FINE
    out[_ROW[scene.background, "background"]] = True
    third = (np.arange(size) * 2 + 1) * 3 // (2 * size)  # 0, 1 or 2 by the cell's centre
    for place, name in enumerate(REGIONS):
        out[_ROW[name, "region"]] = (third[:, None] == place // 3) & (third[None, :] == place % 3)
    return out
