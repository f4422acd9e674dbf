"""Names from an image-text encoder, without labels: CLIP-Dissect's soft-WPMI, and WWW's sets of words.

P ``(images, words)`` are cosines of pictures and words; ``a_k`` is a unit's mean activation in each picture.

- soft-WPMI (Oikarinen and Weng, "CLIP-Dissect", ICLR 2023, arXiv 2204.10965, section 3.2, with the constants of the authors' code):
  S = softmax over words of 10 P. Of the 100 pictures with the highest ``a_k``, in this order r = 0, 1, ...:
  ``log p(t | B_k) = sum_r log(1 + p_r (S[r, t] - 1) + 1e-7)``, ``p_r = 0.998 - (r / 100) (0.998 - 0.97)``; the score is
  ``log p(t | B_k) - log mean_k' p(t | B_k')``: what a word says about this unit more than about all units of the layer. So adding
  or removing units changes the scores; they are in nats and compare within one layer, probe and list of words only.
- WWW (Ahn, Kim and Kim, CVPR 2024): the sum over the 40 pictures with the highest ``a_k`` of the adaptive similarity
  ``cos(picture, "A photo of a {word}") - cos(picture, "A photo of a")``; all words above 0.95 of the highest are names. Where the
  highest is not positive, no word is.
"""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vlcam.engine.chunks import count_chunk

SHARPNESS: Final = 10.0
TOP: Final = 100
HIGHEST, LOWEST = 0.998, 0.97
_TINY: Final = 1e-7
TOP_WWW: Final = 40
ADAPTIVE: Final = 0.95
_CHUNK: Final = 2**24


def soft_wpmi(
    activity: Float[Tensor, "images units"], cosines: Float[Tensor, "images words"]
) -> Float[Tensor, "units words"]:
    """The soft-WPMI of every unit and word, from mean activations and cosines of the same pictures."""
    return normalise_over_units(log_likelihood(activity, cosines))


def log_likelihood(
    activity: Float[Tensor, "images units"], cosines: Float[Tensor, "images words"]
) -> Float[Tensor, "units words"]:
    """``log p(t | B_k)``: how likely each word is in each unit's strongest pictures, in nats."""
    chosen = torch.softmax(SHARPNESS * cosines.double(), dim=1)
    best = find_strongest(activity, TOP)
    certain = _compute_certainty(best.shape[1])
    each = count_chunk(_CHUNK, best.shape[1] * chosen.shape[1])
    return torch.cat([torch.log(1 + certain[:, None] * (chosen[some] - 1) + _TINY).sum(1) for some in best.split(each)])


def normalise_over_units(likely: Float[Tensor, "units words"]) -> Float[Tensor, "units words"]:
    """``log p(t | B_k)`` less the logarithm of its mean over the layer's units."""
    found: Tensor = likely - (likely.logsumexp(0) - np.log(len(likely)))
    return found


def expected_log_likelihood(cosines: Float[Tensor, "images words"], top: int) -> Float[Tensor, " words"]:
    """The mean of ``log p(t | B)`` over all ways to choose ``top`` pictures in any order."""
    chosen = torch.softmax(SHARPNESS * cosines.double(), dim=1)
    found: Tensor = torch.zeros(chosen.shape[1], dtype=torch.float64, device="cpu")
    for one in _compute_certainty(top):
        found = found + torch.log(1 + one * (chosen - 1) + _TINY).mean(0)
    return found


def _compute_certainty(top: int) -> Float[Tensor, " top"]:
    """``p_r``."""
    return HIGHEST - torch.arange(top, dtype=torch.float64, device="cpu") / TOP * (HIGHEST - LOWEST)


def adaptive_similarity(
    activity: Float[Tensor, "images units"], similarity: Float[Tensor, "images words"]
) -> Float[Tensor, "units words"]:
    """WWW's score of every unit and word: the sum of adaptive similarities over the unit's strongest pictures."""
    best = find_strongest(activity, TOP_WWW)
    return torch.stack([similarity.double()[some].sum(0) for some in best])


def find_strongest(activity: Float[Tensor, "images units"], most: int) -> Int64[Tensor, "units top"]:
    """The pictures with the highest activity of each unit, highest first; ties in the order of the pictures."""
    order = activity.argsort(dim=0, descending=True, stable=True)
    return order[:most].T.contiguous()
