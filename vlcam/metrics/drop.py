"""Average drop and increase of confidence: what is left of the score when the image is seen through the map.

Chattopadhay et al. 2018 (Grad-CAM++, arXiv 1710.11063, section 5.1): with Y the score of the image and O that of the image multiplied by
the map, the drop is ``max(0, Y - O) / Y`` and the increase whether ``Y < O``, each averaged over images. Low drops and many increases are
good. A map of ones has the best of both, so these numbers are to be read beside one that punishes large maps.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlcam.contracts import InputError, show_record
from vlcam.metrics.scoring import BATCH, Link, Score, as_rows, score_each, set_unranked_to_nan


@final
@dataclass(frozen=True, eq=False)
class Confidence:
    """Scores after the link, ``(*targets)`` each: ``full`` of the whole image (Y), ``masked`` through the map (O)."""

    full: Float[Tensor, "*targets"]
    masked: Float[Tensor, "*targets"]

    __repr__ = show_record

    @property
    def drop(self) -> Float[Tensor, "*targets"]:
        """``max(0, Y - O) / Y``, 0 to 1; NaN for maps that rank nothing. The average drop is its mean over images (x 100 in %)."""
        return (self.full - self.masked).clamp_min(0) / self.full

    @property
    def increase(self) -> Float[Tensor, "*targets"]:
        """1 where ``Y < O``, else 0; NaN for maps that rank nothing. Its mean over images is the increase of confidence."""
        rose = (self.full < self.masked).to(self.full.dtype)
        return rose.where(~self.masked.isnan(), torch.nan)


def confidence(
    score: Score,
    image: Float[Tensor, "1 channels height width"],
    heat: Float[Tensor, "*targets rows columns"],
    *,
    link: Link | None = None,
    scale: bool = True,
    batch: int = BATCH,
) -> Confidence:
    """The scores of the image with and without the mask that each map makes.

    The mask is the map scaled from its least to its greatest value onto 0 to 1, with 0 where the map is NaN; the normalised image is
    multiplied by it, so what is hidden becomes the mean colour. With ``scale=False`` the map is the mask as it is: torchcam scales
    on the layer's grid, and once resized to pixels its masks no longer reach 1. ``score``, ``link`` and maps that rank nothing:
    :mod:`vlcam.metrics.scoring`.

    Raises InputError for a map that isn't on the image's pixels or, unscaled, isn't from 0 to 1, scores that don't fit it, or a
    score of the whole image that isn't above 0: a share of it can drop only then, so log-probabilities need ``link=torch.exp`` and
    logits a softmax or sigmoid.

    >>> image = torch.tensor([[[[3.0, 1.0], [0.0, 4.0]]]])
    >>> seen = confidence(lambda images: images.sum((1, 2, 3)), image, torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
    >>> seen.full.item(), seen.masked.item(), seen.drop.item()
    (8.0, 5.0, 0.375)
    """
    masks = as_rows(heat, image)
    if scale:
        low = masks.masked_fill(masks.isnan(), torch.inf).amin(1, keepdim=True)
        high = masks.masked_fill(masks.isnan(), -torch.inf).amax(1, keepdim=True)
        masks = (masks - low) / (high - low)
    elif bool(((masks < 0) | (masks > 1)).any()):
        raise InputError(
            f"a map from {float(masks.min()):.4g} to {float(masks.max()):.4g} was given with scale=False; expected a mask from 0 to 1"
        )
    masks = masks.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    masks = masks.view(-1, 1, *image.shape[-2:]).to(image)

    def images(
        maps: Int[Tensor, " batch"], variants: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch channels height width"]:
        through = image * masks[maps.to(image.device)]
        return torch.where((variants == 0).to(image.device)[:, None, None, None], image, through)

    both = score_each(score, images, heat, 2, link=link, batch=batch)
    full, masked = both[..., 0], set_unranked_to_nan(both, heat)[..., 1]
    if not bool((full > 0).all()):
        raise InputError(
            f"a score of {float(full.min()):.4g} of the whole image was given; expected probabilities above 0, so give a link that "
            "makes them, such as torch.exp for log-probabilities"
        )
    return Confidence(full, masked)
