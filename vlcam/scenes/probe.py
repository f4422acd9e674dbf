"""Generated scenes as a probe: pictures whose concepts are known exactly."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from PIL import Image

from vlcam.contracts import InputError
from vlcam.neurons.probe import Concept, Sample, categories_of
from vlcam.scenes.concepts import CONCEPTS, MASK_SIZE, concept_masks
from vlcam.scenes.record import SPLITS, Split
from vlcam.scenes.sample import make


@final
class SceneProbe:
    """Scenes ``0..n-1`` of a split. Satisfies :class:`vlcam.neurons.probe.Probe`.

    Every picture is labelled for all categories, by the masks of :func:`vlcam.scenes.concepts.concept_masks` on ``size`` x ``size``
    cells. On a grid of as many cells over the whole picture, the labels are exactly these masks.
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

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, index: int, /) -> Sample:
        seed = range(self._n)[index]
        scene = make(seed, self._split)
        masks = concept_masks(scene, self._size)
        present = tuple((int(concept), masks[concept]) for concept in np.flatnonzero(masks.any(axis=(1, 2))))
        photo = Image.fromarray(scene.image())
        return Sample(f"{self._split} {seed}", photo, frozenset(categories_of(CONCEPTS)), masks=present)
