"""What makes maps smoother: the first principal component of what is summed over channels, and the mean over changed images.

Both are pytorch-grad-cam's, ``eigen_smooth=`` and ``aug_smooth=``; used by :class:`vlcam.explanation.GradCAM`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float, Shaped
from torch import Tensor

from vlcam.contracts import Activations, Gradients, InputError, Maps, Method
from vlcam.engine.precision import widen
from vlcam.methods.channels import EIGENCAM, find_first_component


def list_terms(
    method: Method, activations: Activations, gradients: Gradients
) -> Float[Tensor, "targets channels rows columns"]:
    """What each channel adds to the method's map, before any ReLU; of Eigen-CAM the activations themselves.

    Raises InputError if the method's map isn't such a sum.
    """
    if method is EIGENCAM:
        return widen(activations).expand(gradients.shape).clone()
    alone = gradients.shape[0] * gradients.shape[1], 1, *gradients.shape[2:]
    spread = activations.expand(gradients.shape)
    terms = method.function(spread.reshape(alone), gradients.reshape(alone)).reshape(gradients.shape)
    off = (terms.sum(1) - method.function(activations, gradients)).abs()
    if bool((off > 1e-3 * terms.abs().sum(1)).any()):
        raise InputError(
            f"eigen_smooth=True was given, but the maps of the method {method.name!r} aren't sums of what each channel gives alone; leave "
            "it out, or use another method"
        )
    return terms


def project_terms(terms: Float[Tensor, "targets channels rows columns"]) -> Maps:
    """The first principal component of the terms over the places, where pytorch-grad-cam's ``eigen_smooth`` has it.

    The places are centred first, so the map is a deviation from its own mean. A component has no sign of its own: here it goes along with
    the sum of the terms, the map that is smoothed. That package leaves the sign to the linear algebra library.
    """
    matrix = terms.flatten(2).mT
    found: Tensor = find_first_component(matrix - matrix.mean(1, keepdim=True))
    return found.reshape(len(terms), *terms.shape[2:])


@final
@dataclass(frozen=True)
class Augmentation:
    """A changed image, and how its map is put back; with the methods of a transform of the package ttach."""

    flip: bool
    factor: float

    def augment_image(self, images: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
        """The images, brighter or darker, and mirrored or not."""
        return (images.flip(-1) if self.flip else images) * self.factor

    def deaugment_mask(self, maps: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
        """The maps as they lie on the images that were changed."""
        return maps.flip(-1) if self.flip else maps


AUGMENTATIONS = tuple(Augmentation(flip, factor) for flip in (False, True) for factor in (0.9, 1.0, 1.1))
"""The six of pytorch-grad-cam: the image and its mirror image, each as it is and multiplied by 0.9 and 1.1."""


def check_transforms(given: Any) -> tuple[Any, ...]:
    """The transforms of ``tta_transforms=``. Raises InputError if they aren't such as ttach composes."""
    if given is None:
        return AUGMENTATIONS
    found = tuple(given) if isinstance(given, Iterable) else ()
    if not found or not all(hasattr(one, name) for one in found for name in ("augment_image", "deaugment_mask")):
        raise InputError(
            f"tta_transforms={given!r} was given; expected a ttach.Compose, or a list of objects with augment_image and deaugment_mask"
        )
    return found
