"""What the measures of faithfulness share: a score as a function of images, the order of a map's pixels, and a curve.

A model comes in as ``score(images)``: images ``(batch, channels, height, width)`` as the model takes them (normalised), scores
``(batch, *targets)``. That may be the logits of classes, the log-probabilities of words or answers
(:meth:`vlcam.contracts.Subject.scores` is one), or anything else. ``link`` turns scores into what is looked at, such as
``torch.exp`` for log-probabilities, ``torch.sigmoid``, or ``lambda logits: logits.softmax(-1)[:, 3:4]``; by default it changes nothing.

Maps are ``(targets, height, width)``, and then each is judged by its own target's score; or ``(height, width)``, and then the one map
is judged by all the scores there are. A map that ranks nothing (constant, all NaN, or with an infinite value) has no order of pixels, so
all that is measured of it is NaN: it neither wins nor loses, and the caller says how many there were. Pixels that are NaN in a map with
others are the last to be touched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vlcam.contracts import InputError, show_record

Score = Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch *targets"]]
Link = Callable[[Float[Tensor, "batch *targets"]], Float[Tensor, "batch *looked_at"]]
Ties = Literal["random", "reading"]

BATCH = 32
"""How many images are scored at once unless the caller says otherwise."""


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """How the score goes while ever more of the image is changed.

    ``fractions`` ``(steps,)``: how much was changed, 0 to 1, float64; ``values`` ``(*targets, steps)``: the score after the link.
    """

    fractions: Float[Tensor, " steps"]
    values: Float[Tensor, "*targets steps"]

    __repr__ = show_record

    @property
    def auc(self) -> Float[Tensor, "*targets"]:
        """The area under the curve by trapezoids, by the width of the curve: the mean height, in units of the values (float64)."""
        width = self.fractions[-1] - self.fractions[0]
        area: Tensor = torch.trapezoid(self.values.double(), self.fractions, dim=-1)
        return area / width


def predicts(label: int) -> Link:
    """A link for the logits of classes: 1 where ``label`` is the first choice, else 0; the mean over images is an accuracy.

    >>> predicts(2)(torch.tensor([[0.1, 0.2, 0.7], [0.9, 0.0, 0.1]])).tolist()
    [1.0, 0.0]
    """
    return lambda scores: (scores.argmax(-1) == label).to(scores.dtype)


def ranks_something(heat: Float[Tensor, "maps pixels"]) -> Bool[Tensor, " maps"]:
    """Whether a map has an order: no infinite value, and at least two different ones beside NaN."""
    low, high = heat.nan_to_num(nan=torch.inf).amin(1), heat.nan_to_num(nan=-torch.inf).amax(1)
    return (low < high) & ~heat.isinf().any(1)


def order(
    heat: Float[Tensor, "maps pixels"], *, lowest_first: bool = False, ties: Ties = "random", seed: int = 0
) -> Int[Tensor, "maps pixels"]:
    """The pixels of each map from the highest to the lowest value, or the other way round; NaN always last.

    Pixels of equal value come in an order drawn at random with ``seed``, or in reading order. The parts of a map that say nothing
    (zeros after a ReLU) are then touched all over, while in reading order the top of the image would always go first.

    >>> order(torch.tensor([[1.0, 3.0, float("nan"), 2.0]])).tolist()
    [[1, 3, 0, 2]]
    """
    pixels = heat.shape[1]
    if ties == "random":
        first = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed), device="cpu").to(heat.device)
    else:
        first = torch.arange(pixels, device=heat.device)
    key = (heat if lowest_first else -heat)[:, first].masked_fill(heat.isnan()[:, first], torch.inf)
    return first[key.argsort(dim=1, stable=True)]


def as_rows(
    heat: Float[Tensor, "*targets rows columns"], image: Float[Tensor, "1 _ _ _"]
) -> Float[Tensor, "maps pixels"]:
    """Maps ``(height, width)`` or ``(targets, height, width)`` as rows on the image's device. Raises InputError for other shapes."""
    if heat.ndim not in (2, 3) or heat.shape[-2:] != image.shape[-2:] or not heat.numel():
        raise InputError(
            f"a map of shape {tuple(heat.shape)} was given for an image of shape {tuple(image.shape)}; expected (height, width) or "
            "(targets, height, width) on the image's pixels (vlcam.metrics.to_grid resizes a map)"
        )
    return heat.detach().to(image.device).flatten(-2).view(-1, heat.shape[-2] * heat.shape[-1])


def score_each(
    score: Score,
    images: Callable[[Int[Tensor, " batch"], Int[Tensor, " batch"]], Float[Tensor, "batch channels height width"]],
    heat: Float[Tensor, "*targets rows columns"],
    variants: int,
    *,
    link: Link | None = None,
    batch: int = BATCH,
) -> Float[Tensor, "*scored variants"]:
    """The scores of ``variants`` changed images for each map, without autograd; at most ``batch`` images are there at once.

    ``images(maps, variants)`` makes the images for the pairs that the two rows of numbers name. The result is
    ``(targets, variants)`` if there are as many maps, each by its own target; or, for one map ``(height, width)``, one row for
    each score that there is.

    Raises InputError if the scores don't fit the images or the maps.
    """
    if batch < 1:
        raise InputError(f"batch={batch} was given; expected how many images may be scored at once, 1 or more")
    maps = 1 if heat.ndim == 2 else len(heat)
    pairs = torch.arange(maps * variants, device="cpu")
    rows = []
    with torch.no_grad():
        for part in pairs.split(batch):
            scores = score(images(part // variants, part % variants))
            scores = scores if link is None else link(scores)
            if not scores.ndim or len(scores) != len(part):
                raise InputError(
                    f"the score of {len(part)} images has the shape {tuple(scores.shape)}; expected one row for each image"
                )
            if heat.ndim == 3 and scores.shape[1:] != (maps,):
                raise InputError(
                    f"{maps} maps were given, but the score of one image has the shape {tuple(scores.shape[1:])}; expected one score "
                    "for each map, in the same order (a link can choose them)"
                )
            rows.append(
                scores if heat.ndim == 2 else scores.gather(1, (part // variants)[:, None].to(scores.device))[:, 0]
            )
    every = torch.cat(rows)
    return every.movedim(0, -1) if heat.ndim == 2 else every.view(maps, variants)


def set_unranked_to_nan(
    values: Float[Tensor, "*scored variants"], heat: Float[Tensor, "*targets rows columns"]
) -> Float[Tensor, "*scored variants"]:
    """The values, NaN for maps that rank nothing."""
    good = ranks_something(heat.detach().flatten(-2).view(-1, heat.shape[-2] * heat.shape[-1])).to(values.device)
    return values.where(good[:, None] if heat.ndim == 3 else good, torch.nan)


def expand_baseline(
    baseline: float | Float[Tensor, "..."], image: Float[Tensor, "1 channels height width"]
) -> Float[Tensor, "1 channels height width"]:
    """What is put in place of pixels: a number, a colour ``(channels, 1, 1)`` or an image. Raises InputError if it doesn't fit."""
    try:
        return torch.as_tensor(baseline, device="cpu").to(image).expand_as(image)
    except RuntimeError as error:
        shape = tuple(torch.as_tensor(baseline, device="cpu").shape)
        raise InputError(
            f"a baseline of shape {shape} was given for an image of shape {tuple(image.shape)}; expected a number, a colour "
            "(channels, 1, 1) or an image"
        ) from error
