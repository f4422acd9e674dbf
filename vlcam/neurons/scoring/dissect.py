"""Network Dissection of activations and masks in memory: which concept does each channel of a layer stand for?

Bau, Zhou, Khosla, Oliva, Torralba: "Network Dissection", CVPR 2017 (arXiv 1704.05796), section 2; used for text by Grad-CAM,
section 7. The steps, for unit k and concept c:

1. ``T_k``: ``P(a_k > T_k) = quantile`` over all positions of the raw maps of all images.
2. ``M_k``: the maps upsampled to the masks' grid (bilinear, half-pixel centres), strictly above ``T_k``.
3. ``IoU_kc = |M_k & L_c| / |M_k | L_c|``, counted over the images that are labelled for c's category. The best concept is the
   unit's name, if it passes the null test of :mod:`vlcam.neurons.scoring.null` as well.

The quantile is 0.01 (as in the authors' later code), not 0.005: no IoU can exceed ``min(p, q) / max(p, q)`` of concept share p
and quantile q, so that at 0.005 a concept that covers more than 12.5 % of the pictures can't reach 0.04: on generated scenes
every background kind and "object". At 0.01 the limit is 25 % and all of them can.

For models and probes on disk there is :func:`vlcam.neurons.name`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from vlcam.contracts import InputError
from vlcam.neurons.names.record import NeuronName
from vlcam.neurons.probes.marks import from_dense
from vlcam.neurons.probes.probe import Concept
from vlcam.neurons.scoring.choose import name_by_masks
from vlcam.neurons.scoring.settings import Settings

Batch = tuple[Float[Tensor, "_ channels rows columns"], Bool[np.ndarray, "_ concepts height width"]]
"""Activations and concept masks of the same images."""

Progress = Callable[[int, int], None]

QUANTILE: Final = 0.01
MIN_IOU: Final = 0.04
PERMUTATIONS: Final = 200


def dissect(
    batches: Iterable[Batch],
    concepts: Sequence[Concept],
    *,
    quantile: float = QUANTILE,
    min_iou: float = MIN_IOU,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[NeuronName, ...]:
    """Name the units of a layer.

    Args:
        batches: pairs of activations ``(images, channels, rows, columns)`` and concept masks ``(images, concepts, height, width)``,
            read once. The masks' grid is the one that IoU is counted on; it can't be coarser than the maps. A concept of whole
            pictures (a background) has whole masks; one that is the same in all pictures (a region) is tested by shifting maps.
        concepts: (name, category) of each concept, in the masks' order. All images are labelled for all of them.
        quantile: share of positions at which a unit counts as firing.
        min_iou: names with a lower IoU are dropped.
        permutations: draws of the null test; at least 19.
        seed: of the null test.
        progress: called with (draws done, all draws).

    Returns:
        A record for each unit. The same input and seed give the same records.

    Memory: activations are kept as float32 (110 MB for 1000 images of 192 maps of 12 x 12), masks as bits, firing positions as
    8 bytes each.
    """
    if not concepts:
        raise InputError("no concepts were given; expected at least one (name, category)")
    settings = Settings("iou", quantile, min_iou, permutations, bootstrap=0, seed=seed)
    maps, masks = _collect(batches, len(concepts))
    told = None if progress is None else (lambda what, done, total: progress(done, total))
    return name_by_masks(maps, from_dense(concepts, masks), settings, progress=told).units


def _collect(batches: Iterable[Batch], concepts: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All activations and all masks."""
    found: list[Tensor] = []
    every: list[NDArray[np.bool_]] = []
    for maps, masks in batches:
        fits = not every or masks.shape[2:] == every[0].shape[2:]
        if masks.shape[:2] != (len(maps), concepts) or not fits or (found and maps.shape[1:] != found[0].shape[1:]):
            raise InputError(
                f"a batch has activations {tuple(maps.shape)} and masks {masks.shape}; expected as many images in both, "
                f"{concepts} concepts, and the same channels and grids in every batch"
            )
        if not bool(torch.isfinite(maps).all()):
            raise InputError("some activations are not finite; expected finite ones: check the model and its images")
        found.append(maps.detach().to("cpu", torch.float32))
        every.append(masks)
    images = sum(len(one) for one in found)
    if images < 2:
        raise InputError(f"{images} image(s) were given; expected at least 2, and better 500 or more")
    return torch.cat(found).numpy(), np.concatenate(every)


def to_batches(activations: Tensor, masks: NDArray[np.bool_], size: int = 64) -> Iterator[Batch]:
    """Arrays in memory as batches for :func:`dissect`."""
    for start in range(0, len(activations), size):
        yield activations[start : start + size], masks[start : start + size]
