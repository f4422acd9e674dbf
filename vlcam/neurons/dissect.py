"""Network Dissection: which concept does each channel of a layer stand for, and is that more than chance?

Bau, Zhou, Khosla, Oliva, Torralba: "Network Dissection", CVPR 2017 (arXiv 1704.05796), section 2; used for text by Grad-CAM,
section 7. The steps, for unit k and concept c:

1. ``T_k``: ``P(a_k > T_k) = quantile`` over all positions of the raw maps of all images.
2. ``M_k``: the maps upsampled to the masks' grid (bilinear, half-pixel centres), strictly above ``T_k``.
3. ``IoU_kc = |M_k & L_c| / |M_k | L_c|``, counted over the whole probe. The best concept is the unit's name,

if it passes two tests that the paper doesn't have: a fixed IoU is passed by chance on small probes (17 % of random units at 100
images), so the best IoU must also beat what is left when masks and images don't belong together (:mod:`vlcam.neurons.null`).

Two things differ from the paper. The quantile is 0.01 (as in the authors' later code), not 0.005: no IoU can exceed
``min(p, q) / max(p, q)`` of concept share p and quantile q, so that at 0.005 a concept that covers more than 12.5 % of the
pictures can't reach 0.04: on generated scenes every background kind and "thing". At 0.01 the limit is 25 % and all of them
can. And every image must be labelled for every concept, so ``|M_k|`` counts all images.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from vlcam.contracts import InputError
from vlcam.neurons.names import Alternative, NeuronName
from vlcam.neurons.null import Fired, Masks, intersection_over_union, passes, permuted_best

Concept = tuple[str, str]
"""A concept's name and category."""

Batch = tuple[Float[Tensor, "_ channels rows columns"], Bool[np.ndarray, "_ concepts height width"]]
"""Activations and concept masks of the same images."""

Progress = Callable[[int, int], None]

QUANTILE: Final = 0.01
MIN_IOU: Final = 0.04
PERMUTATIONS: Final = 200
LEVEL: Final = 0.05
_ALTERNATIVES: Final = 3
_CHUNK: Final = 2**25  # numbers at a time while upsampling


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
        concepts: (name, category) of each concept, in the masks' order.
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
    _check(concepts, quantile, min_iou, permutations)
    maps, masks = _collect(batches, len(concepts))
    thresholds = unit_thresholds(maps, quantile)
    fired = _fire(maps, thresholds, masks.grid)
    inter = masks.count(fired)
    iou = intersection_over_union(inter, fired.sizes, masks.sizes)
    live = fired.sizes > 0
    null = permuted_best(fired, masks, permutations, seed, progress)
    best = iou.max(axis=1)
    p, significant = passes(best, null, live, LEVEL)
    dead = (maps.amax((0, 2, 3)) == maps.amin((0, 2, 3))).tolist()
    shares = masks.sizes / masks.positions
    out = []
    for unit in range(len(iou)):
        order = np.argsort(-iou[unit], kind="stable")
        top, own = int(order[0]), int(fired.sizes[unit]) / masks.positions
        named = bool(significant[unit]) and float(best[unit]) >= min_iou
        ranked: list[Alternative] = [
            (*concepts[c], float(iou[unit, c])) for c in order[: _ALTERNATIVES + 1] if iou[unit, c]
        ]
        out.append(
            NeuronName(
                unit=unit,
                state="named" if named else "dead" if dead[unit] else "unnamed",
                name=concepts[top][0] if named else None,
                category=concepts[top][1] if named else None,
                score=float(best[unit]),
                ceiling=_ceiling(float(shares[top]), own),
                p=float(p[unit]),
                threshold=float(thresholds[unit]),
                alternatives=tuple(ranked[1:] if named else ranked[:_ALTERNATIVES]),
            )
        )
    return tuple(out)


def unit_thresholds(maps: Float[Tensor, "images channels rows columns"], quantile: float) -> Float[Tensor, " channels"]:
    """``T_k``, the level that at most the share ``quantile`` of a unit's positions strictly exceeds (section 2.2.2)."""
    positions = maps.shape[0] * maps.shape[2] * maps.shape[3]
    above = int(positions * quantile + 1e-9)
    if above < 1:
        raise InputError(
            f"the probe has {positions} positions a unit, of which a quantile of {quantile} is less than one; give more images"
        )
    return torch.stack([maps[:, k].flatten().kthvalue(positions - above).values for k in range(maps.shape[1])])


def _ceiling(p: float, q: float) -> float:
    return min(p, q) / max(p, q) if max(p, q) > 0 else 0.0


def _check(concepts: Sequence[Concept], quantile: float, min_iou: float, permutations: int) -> None:
    if not concepts:
        raise InputError("no concepts were given; expected at least one (name, category)")
    if len(set(concepts)) != len(concepts):
        double = next(one for one in concepts if list(concepts).count(one) > 1)
        raise InputError(f"concept {double} was given twice; expected different ones: join their masks")
    if not 0 < quantile < 1:
        raise InputError(f"quantile {quantile} was given; expected a share between 0 and 1, such as {QUANTILE}")
    if not 0 <= min_iou <= 1:
        raise InputError(f"min_iou {min_iou} was given; expected 0 to 1, such as {MIN_IOU}")
    if permutations < 19:
        raise InputError(
            f"{permutations} permutations were given; expected 19 or more (fewer give no p-value of 0.05), such as {PERMUTATIONS}"
        )


def _collect(batches: Iterable[Batch], concepts: int) -> tuple[Float[Tensor, "images channels rows columns"], Masks]:
    """All activations as one float32 tensor on the CPU, all masks as bits."""
    found: list[Tensor] = []
    packed: list[NDArray[np.uint8]] = []
    grid: tuple[int, int] | None = None
    for maps, masks in batches:
        have = (masks.shape[2], masks.shape[3])
        grid = have if grid is None else grid
        if masks.shape[:2] != (len(maps), concepts) or have != grid or (found and maps.shape[1:] != found[0].shape[1:]):
            raise InputError(
                f"a batch has activations {tuple(maps.shape)} and masks {masks.shape}; expected as many images in both, "
                f"{concepts} concepts, and the same channels and grids in every batch"
            )
        if maps.shape[2] > grid[0] or maps.shape[3] > grid[1]:
            raise InputError(
                f"masks of {grid} cells are coarser than the maps of {tuple(maps.shape[2:])}; give finer masks"
            )
        if not bool(torch.isfinite(maps).all()):
            raise InputError("some activations are not finite; expected finite ones: check the model and its images")
        found.append(maps.detach().to("cpu", torch.float32))
        packed.append(np.packbits(masks.reshape(*masks.shape[:2], -1), axis=-1))
    images = sum(len(one) for one in found)
    if grid is None or images < 2:
        raise InputError(f"{images} image(s) were given; expected at least 2, and better 500 or more")
    return torch.cat(found), Masks(np.concatenate(packed), grid)


def _fire(
    maps: Float[Tensor, "images channels rows columns"], thresholds: Float[Tensor, " channels"], grid: tuple[int, int]
) -> Fired:
    """Where each unit fires on the masks' grid (step 2)."""
    images, channels = maps.shape[:2]
    step = max(1, _CHUNK // (channels * grid[0] * grid[1]))
    parts: list[NDArray[np.int64]] = []
    for start in range(0, images, step):
        up = interpolate(maps[start : start + step], size=grid, mode="bilinear", align_corners=False)
        active = (up > thresholds[:, None, None]).flatten(2).permute(1, 0, 2)
        unit, image, place = active.nonzero(as_tuple=True)
        parts.append(torch.stack((unit, image + start, place)).numpy().astype(np.int32))
    units, image_of, place_of = np.concatenate(parts, axis=1)
    order = np.argsort(units, kind="stable")
    sizes = np.bincount(units, minlength=channels).astype(np.int64)
    return Fired(sizes, image_of[order], place_of[order])


def in_batches(activations: Tensor, masks: NDArray[np.bool_], size: int = 64) -> Iterator[Batch]:
    """Arrays in memory as batches for :func:`dissect`."""
    for start in range(0, len(activations), size):
        yield activations[start : start + size], masks[start : start + size]
