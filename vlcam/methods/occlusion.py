"""Occlusion sensitivity, and robustness to occlusion: what a model says when a patch of its input is covered.

Zeiler & Fergus 2014 (arXiv 1311.2901, section 4.2) slide a grey square over the image and watch the score of a class; the Grad-CAM
paper takes such maps as the measure of faithfulness (Selvaraju et al. 2017, arXiv 1610.02391), without saying how large
its patch was, how far it moved or what filled it. Here a square of ``patch`` pixels moves by ``stride`` pixels, and once more to the far
edge if the last step stops short of it. For the set P of squares, x the image and x_p the image with square p covered:

    S(i, j) = mean over the squares p that cover pixel (i, j) of  y(x) - y(x_p)

The drop is in units of the score and keeps its sign: negative where covering the patch helps. Pixels are then averaged over cells of
about one stride, ``ceil(side / stride)`` a side, which divide the input evenly.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, Maps, PerturbationMethod, Subject
from vlcam.engine.chunks import count_rows

Fill: TypeAlias = Literal["mean", "grey", "blur"] | float

Predict: TypeAlias = Callable[[Tensor], Sequence[Hashable] | Tensor]

_SHARE = 6
"""The shorter side of the input is this many patches long, unless a patch is given."""


def make_occlusion(
    patch: int | None = None, stride: int | None = None, fill: Fill = "mean", batch: int | None = None
) -> PerturbationMethod:
    """Occlusion sensitivity: how far every target's score drops when a patch around a place is covered.

    Args:
        patch: the side of the square in pixels of the model's input; by default a sixth of the shorter side (16 of 96, 37 of 224).
        stride: how many pixels it moves by, at most ``patch``, so that nothing stays uncovered; by default half of the patch.
        fill: what covers: ``mean``, the image's own mean colour, which changes its light least; ``grey``, zeros in the normalised image,
            the colour that preprocessing subtracts; ``blur``, the image blurred with a deviation of half a patch; or a number, taken
            as the value of every channel of the normalised image.
        batch: how many covered images are made at once; by default as many as fit 16 MiB, at most 64.

    Raises:
        InputError: a patch that doesn't fit the image, a stride larger than the patch, or a fill that doesn't exist; when maps are made.
    """

    def function(subject: Subject) -> Maps:
        return sensitivity(subject, patch, stride, fill, batch)

    return PerturbationMethod(
        "occlusion",
        function,
        "Occlusion sensitivity",
        "Zeiler & Fergus 2014, arXiv 1311.2901",
        "mean over the patches p that cover a pixel of y(x) - y(x without p)",
        relu=True,
        cost="one run for each position of the patch (121 by default on a square input)",
    )


def sensitivity(
    subject: Subject, patch: int | None, stride: int | None, fill: Fill, batch: int | None
) -> Float[Tensor, "targets rows columns"]:
    """The signed map of :func:`make_occlusion` for every target, in units of its score."""
    image = subject.image
    height, width = image.shape[2:]
    patch, stride = _choose_sizes(height, width, patch, stride)
    down, across = list_starts(height, patch, stride), list_starts(width, patch, stride)
    places = [(top, left) for top in down for left in across]
    cover, rows = make_cover(image, fill, patch), choose_batch_size(image, batch)
    base = subject.scores(image)
    found = []
    for first in range(0, len(places), rows):
        found.append(subject.scores(cover_patches(image, cover, places[first : first + rows], patch)))
        subject.report(min(first + rows, len(places)), len(places))
    drops = (base - torch.cat(found)).reshape(len(down), len(across), -1)
    vertical = _weigh_cells(height, down, patch, stride).to(drops)
    horizontal = _weigh_cells(width, across, patch, stride).to(drops)
    return torch.einsum("pqt,pi,qj->tij", drops, vertical, horizontal)


def list_starts(side: int, patch: int, stride: int) -> list[int]:
    """Where the patch lies along a side: steps of ``stride``, and the far edge.

    >>> list_starts(10, 4, 4)
    [0, 4, 6]
    """
    places = list(range(0, side - patch + 1, stride))
    return places if places[-1] == side - patch else [*places, side - patch]


def cover_patches(
    image: Float[Tensor, "1 channels height width"],
    cover: Float[Tensor, "1 channels height width"],
    places: Sequence[tuple[int, int]],
    patch: int,
) -> Float[Tensor, "places channels height width"]:
    """Copies of the image, each with one square (its top and left pixel are given) taken from ``cover``."""
    images = image.repeat(len(places), 1, 1, 1)
    for number, (top, left) in enumerate(places):
        rows, columns = slice(top, top + patch), slice(left, left + patch)
        images[number, :, rows, columns] = cover[0, :, rows, columns]
    return images


def make_cover(
    image: Float[Tensor, "1 channels height width"], fill: Fill, patch: int
) -> Float[Tensor, "1 channels height width"]:
    """What covers the image (see :func:`make_occlusion`), of the same size. Raises InputError for a fill that doesn't exist."""
    if fill == "mean":
        return image.float().mean((2, 3), keepdim=True).to(image.dtype).expand_as(image)
    if fill == "grey":
        return torch.zeros_like(image)
    if fill == "blur":
        return _blur(image, patch / 2)
    if isinstance(fill, str) or not math.isfinite(fill):
        raise InputError(f"fill={fill!r} was given; expected 'mean', 'grey', 'blur' or a number")
    return torch.full_like(image, fill)


def choose_batch_size(image: Float[Tensor, "1 channels height width"], batch: int | None) -> int:
    """How many changed copies of the image are made at once: ``batch``, or as many as memory is set aside for."""
    if batch is not None and batch < 1:
        raise InputError(f"batch={batch} was given; expected a positive number of images")
    return count_rows(image.numel()) if batch is None else batch


@final
@dataclass(frozen=True)
class Robustness:
    """How often a prediction survives random patches: ``survived[n]`` of ``samples`` for squares of ``patches[n]`` pixels a side.

    ``shares`` are the sides as parts of the image's shorter side; ``prediction`` is what is said of the whole image.
    """

    prediction: Hashable
    shares: tuple[float, ...]
    patches: tuple[int, ...]
    survived: tuple[float, ...]
    samples: int


def occlusion_robustness(
    predict: Subject | Predict,
    image: Float[Tensor, "1 channels height width"] | None = None,
    *,
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
    samples: int = 64,
    fill: Fill = "mean",
    seed: int = 0,
    batch: int | None = None,
) -> Robustness:
    """The share of predictions that survive one random patch, for several sizes of the patch.

    A patch lies anywhere inside the image with the same probability. The same seed gives the same patches, whatever ``batch`` is.

    Args:
        predict: a function from images ``(B, c, H, W)`` to B predictions (top classes, words at one place of a caption, answers) that can
            be compared; or a subject whose targets are classes or answers, whose prediction is the target with the highest score.
        image: the image as the model takes it; a subject's own by default.
        shares: sides of the patches as parts of the image's shorter side.
        samples: how many patches of every size.
        fill: what covers (see :func:`make_occlusion`).
        seed: of the patches' places.
        batch: how many covered images are made at once.

    Raises:
        InputError: there is no image, nothing to choose from, or a share or number of samples that is out of range.
    """
    if isinstance(predict, Subject):
        image = predict.image if image is None else image
        predict = _predict_highest(predict)
    if image is None:
        raise InputError("no image was given beside the function that predicts; give the image as the model takes it")
    if samples < 1 or not shares or not all(0 < share <= 1 for share in shares):
        raise InputError(
            f"samples={samples} and shares={tuple(shares)} were given; expected a positive number, and parts of the side in (0, 1]"
        )
    height, width = image.shape[2:]
    generator = torch.Generator().manual_seed(seed)
    rows = choose_batch_size(image, batch)
    whole = _to_list(predict(image))[0]
    patches = tuple(max(1, round(share * min(height, width))) for share in shares)
    survived = []
    for patch in patches:
        cover = make_cover(image, fill, patch)
        drawn = torch.rand(samples, 2, generator=generator, dtype=torch.float64, device="cpu")
        room = torch.tensor([height - patch + 1, width - patch + 1], device="cpu")
        places = [(top, left) for top, left in (drawn * room).long().tolist()]
        same = 0
        for first in range(0, samples, rows):
            said = _to_list(predict(cover_patches(image, cover, places[first : first + rows], patch)))
            same += sum(one == whole for one in said)
        survived.append(same / samples)
    return Robustness(whole, tuple(shares), patches, tuple(survived), samples)


def _predict_highest(subject: Subject) -> Predict:
    if len(subject.targets) < 2 or not all(target.kind in ("class", "answer") for target in subject.targets):
        raise InputError(
            f"{', '.join(target.label for target in subject.targets)} leave no prediction to survive; give a subject with several "
            "classes or answers, or a function that predicts"
        )
    labels = [target.label for target in subject.targets]
    return lambda images: [labels[index] for index in subject.scores(images).argmax(1).tolist()]


def _to_list(said: Sequence[Hashable] | Tensor) -> list[Hashable]:
    return list(said.tolist() if isinstance(said, Tensor) else said)


def _choose_sizes(height: int, width: int, patch: int | None, stride: int | None) -> tuple[int, int]:
    shorter = min(height, width)
    patch = max(1, round(shorter / _SHARE)) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= shorter:
        raise InputError(f"patch={patch} was given for an input of {height} x {width}; expected 1 to {shorter} pixels")
    if not 1 <= stride <= patch:
        raise InputError(f"stride={stride} was given with a patch of {patch}; expected 1 to {patch} pixels")
    return patch, stride


def _weigh_cells(side: int, places: Sequence[int], patch: int, stride: int) -> Float[Tensor, "places cells"]:
    """How much each place counts in each cell: its share of every pixel, averaged over the part of the cell that pixels fill."""
    pixels = torch.arange(side, dtype=torch.float64, device="cpu")
    first = torch.tensor(places, dtype=torch.float64, device="cpu")[:, None]
    covers = ((pixels >= first) & (pixels < first + patch)).double()
    cells = math.ceil(side / stride)
    size = side / cells
    edges = torch.arange(cells, dtype=torch.float64, device="cpu") * size
    pixel = pixels[:, None]
    within = (torch.minimum(pixel + 1, edges + size) - torch.maximum(pixel, edges)).clamp_min(0) / size
    return (covers / covers.sum(0)) @ within


def _blur(image: Tensor, deviation: float) -> Tensor:
    """Gaussian blur in float32; the edge's colour goes on outside."""
    radius = math.ceil(3 * deviation)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=image.device)
    weights = torch.exp(-((offsets / deviation) ** 2) / 2)
    weights = (weights / weights.sum()).expand(image.shape[1], 1, -1)
    wide = F.pad(image.float(), (radius,) * 4, mode="replicate")
    wide = F.conv2d(wide, weights[:, :, :, None], groups=image.shape[1])
    return F.conv2d(wide, weights[:, :, None, :], groups=image.shape[1]).to(image.dtype)


BUILT_IN = (make_occlusion(),)
