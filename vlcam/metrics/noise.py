"""Stability: how far a map moves when the image is disturbed by a little noise.

Yeh et al. 2019 (On the (in)fidelity and sensitivity of explanations, arXiv 1901.09392, definition 2): the sensitivity of a map is the
greatest change within a small box around the image, found by drawing from it. Here changes are measured relative to the map, as captum's
``sensitivity_max`` and Quantus do, so that maps of different units can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from vlcam.contracts import InputError, show_record

Explain = Callable[[Float[Tensor, "1 channels height width"]], Float[Tensor, "*targets rows columns"]]


@final
@dataclass(frozen=True, eq=False)
class Stability:
    """The relative changes ``(*targets, samples)`` of each map: ``|map(x + noise) - map(x)| / |map(x)|``, Euclidean lengths.

    0 is a map that stays; NaN where the map is zero everywhere, which nothing can be relative to (captum divides by 1 there).
    """

    changes: Float[Tensor, "*targets samples"]

    __repr__ = show_record

    @property
    def maximum(self) -> Float[Tensor, "*targets"]:
        """Max-sensitivity: the greatest change."""
        return self.changes.amax(-1)

    @property
    def average(self) -> Float[Tensor, "*targets"]:
        """Average sensitivity: the mean change."""
        return self.changes.mean(-1)


def stability(
    explain: Explain,
    image: Float[Tensor, "1 channels height width"],
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
) -> Stability:
    """Explain the image and ``samples`` noisy copies of it, one after the other, and compare the maps.

    ``explain(image)`` gives the maps ``(*targets, rows, columns)`` of the same targets for whatever image it gets. The noise is drawn
    with ``seed``, evenly from ``-radius`` to ``radius`` for every value, in units of the normalised image. Places where a map is NaN are
    left out of that comparison.

    Raises InputError for a radius that isn't above 0, no samples, or maps whose shape changes.

    >>> stability(lambda image: image[0], torch.ones(1, 2, 4, 4), radius=1e-9).maximum.tolist()
    [0.0, 0.0]
    """
    if not radius > 0 or samples < 1:
        raise InputError(
            f"radius={radius} and samples={samples} were given; expected a radius above 0 and at least 1 sample"
        )
    generator = torch.Generator().manual_seed(seed)
    before = explain(image).detach().double()
    changes = []
    for _ in range(samples):
        noise = torch.rand(image.shape, generator=generator, dtype=torch.float64, device="cpu") * 2 - 1
        after = explain(image + radius * noise.to(image)).detach().double()
        if after.shape != before.shape:
            raise InputError(
                f"the maps of the image have the shape {tuple(before.shape)} and those of a noisy copy {tuple(after.shape)}; expected "
                "the same targets for both, so name them instead of letting the model choose"
            )
        seen = ~(before.isnan() | after.isnan())
        moved = (after - before).where(seen, 0).flatten(-2).norm(dim=-1)
        changes.append(moved / before.where(seen, 0).flatten(-2).norm(dim=-1))
    change = torch.stack(changes, -1)
    return Stability(change.where(change.isfinite(), torch.nan))
