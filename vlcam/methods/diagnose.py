"""Can Grad-CAM be trusted at this layer? What one run's gradients say about that, at no further cost.

Grad-CAM averages the gradient over the picture (Selvaraju et al. 2017, eq. 1). In a head that pools, the gradient is much the same in
every cell and nothing is lost. In a head that knows places (one that flattens the maps, or a sequence model), the gradient differs from
cell to cell, and its average has forgotten where the evidence was. The share of its energy that the average keeps tells the two apart:

    kept = Z |mean_ij G[:, i, j]|^2 / sum_ij |G[:, i, j]|^2        (Z cells; 1 where G is the same in all of them)
"""

from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import Gradients
from vlcam.engine.precision import widen


def measure_kept(gradients: Gradients) -> Float[Tensor, " targets"]:
    """The share of each target's gradient energy that its mean over the cells keeps, 0 to 1; NaN for a gradient that is zero."""
    wide = widen(gradients).flatten(2).double()
    energy = wide.square().sum((1, 2))
    kept = wide.shape[2] * wide.mean(2).square().sum(1)
    found: Tensor = kept / energy
    return found


def measure_saturation(end: Gradients, average: Gradients) -> Float[Tensor, " targets"]:
    """How far each target's gradient at the activations points from the averaged one: 1 less their cosine, 0 (the same) to 2."""
    one, other = (widen(part).flatten(1).double() for part in (end, average))
    found: Tensor = 1 - (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    return found
