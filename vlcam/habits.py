"""The habits of pytorch-grad-cam, so that its scripts run here: its targets, ``target_layers``, ``reshape_transform``, its class.

That package calls one function PER IMAGE of the batch with that image's output, without the batch axis: ``targets=[ClassifierOutputTarget(281),
ClassifierOutputTarget(7)]`` for two images. A list of functions in :func:`vlcam.attribute` means something else, several targets of
every image, each of which gets the whole output. What a list means is decided by this rule: one function per image if
``target_layers=`` or ``reshape_transform=`` is given with it, or if all of its functions come from that package; else several targets.
:func:`per_image` says so by hand.

No code of that package is used, and it needn't be installed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, LayerError, Layout, Maps, TargetError
from vlcam.engine import gradients, record
from vlcam.layers import Grid
from vlcam.methods import method as find_method
from vlcam.plumbing import logits_of, to_model

Reshape = Callable[[Tensor], Tensor]

_PACKAGE = "pytorch_grad_cam"


@final
@dataclass(frozen=True)
class PerImage:
    """One function for every image of a batch, each called with the output for its image; see :func:`per_image`."""

    functions: tuple[Callable[[Any], Any], ...]

    @property
    def __name__(self) -> str:
        """What the functions are called: the name of the first one's class, or its own."""
        first = self.functions[0]
        return str(getattr(first, "__name__", type(first).__name__))

    def __call__(self, output: Any) -> Float[Tensor, " batch"]:
        """The scores ``(batch,)``. Raises TargetError unless there is one function, and one number, for every image."""
        parts = _parts(output)
        if len(parts) != len(self.functions):
            raise TargetError(
                f"{len(self.functions)} targets were given for a batch of {len(parts)}; expected one function for every image"
            )
        scores = [function(part) for function, part in zip(self.functions, parts, strict=True)]
        for number, score in enumerate(scores):
            if not isinstance(score, Tensor) or score.numel() != 1:
                given = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise TargetError(f"the target of image {number} returned {given}; expected a tensor with one number")
        return torch.stack([score.reshape(()) for score in scores])


def per_image(targets: Iterable[Callable[[Any], Any]]) -> PerImage:
    """Functions as pytorch-grad-cam has them, for ``vlcam.attribute(model, images, targets=per_image([...]))``.

    Args:
        targets: for every image of the batch one function of that image's output (of several outputs, the logits; of a detector's
            list, the image's record) that returns one number.
    """
    functions = tuple(targets)
    if not functions or not all(map(callable, functions)):
        raise TargetError(f"targets={functions!r} was given; expected a list with one function for every image")
    return PerImage(functions)


def _parts(output: Any) -> Sequence[Any]:
    """What a model returned, image by image."""
    if isinstance(output, list) and output and all(isinstance(one, dict) for one in output):  # a detector's
        return output
    return logits_of(output).unbind(0)


@final
@dataclass(frozen=True)
class Reshaped:
    """A layer's output made into maps by a function ``tensor -> (batch, channels, rows, columns)``."""

    function: Reshape

    def to_maps(self, tensor: Tensor) -> Float[Tensor, "batch channels rows columns"]:
        """The layer's output, or its gradient, as maps. Raises LayerError if the function makes something else of it."""
        maps = self.function(tensor)
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            given = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise LayerError(
                f"reshape_transform made {given} of the layer's output {tuple(tensor.shape)}; expected (batch, channels, rows, columns)"
            )
        return maps

    def place(self, maps: Maps) -> Maps:
        """The maps as they are: their cells lie row by row on the model's input."""
        return maps


def of_theirs(targets: Any) -> bool:
    """Whether these are target objects of pytorch-grad-cam."""
    return (
        isinstance(targets, (list, tuple))
        and bool(targets)
        and all(callable(one) and type(one).__module__.partition(".")[0] == _PACKAGE for one in targets)
    )


def translated(
    targets: Any,
    layer: str | nn.Module | None,
    layout: Layout | None,
    target_layers: Sequence[str | nn.Module] | None,
    reshape_transform: Reshape | None,
) -> tuple[Any, str | nn.Module | None, Layout | None]:
    """The targets, the layer and its layout, whether they were given in our way or in theirs.

    Raises:
        InputError: the same thing was said in both ways, or several layers were given, which only :class:`GradCAM` averages.
    """
    functions = isinstance(targets, (list, tuple)) and bool(targets) and all(map(callable, targets))
    if functions and (target_layers is not None or reshape_transform is not None or of_theirs(targets)):
        targets = per_image(targets)
    if target_layers is not None:
        if layer is not None:
            raise InputError("both layer= and target_layers= were given; give one of them")
        if len(target_layers) != 1:
            raise InputError(
                f"target_layers= of {len(target_layers)} layers was given; expected one, or for the mean of several vlcam.habits.GradCAM"
            )
        layer = target_layers[0]
    if reshape_transform is not None:
        if layout is not None:
            raise InputError("both grid= and reshape_transform= were given; give one of them")
        layout = Reshaped(reshape_transform)
    return targets, layer, layout


@final
class GradCAM:
    """A drop-in for ``pytorch_grad_cam.GradCAM``: ``GradCAM(model, [layer])(images, targets)`` is a numpy array as theirs.

    Every map is scaled as there: negative values cut off, minimum to 0, maximum to 1, resized to the input (bilinear); of several
    layers the scaled maps are averaged, and the mean scaled again. So a map that is next to nothing looks as strong as any:
    :func:`vlcam.attribute` gives raw maps. What differs is that the model is left as it was (mode, ``.grad``, hooks), may be
    frozen, and that targets must fit the batch. Every layer costs a forward pass.

    ``method`` is a name from ``vlcam.METHODS``.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Sequence[str | nn.Module],
        reshape_transform: Reshape | None = None,
        *,
        method: str = "gradcam",
    ) -> None:
        if isinstance(target_layers, (str, nn.Module)) or not target_layers:
            raise InputError("target_layers= needs a list of layers, such as [model.layer4[-1]]")
        self.model, self.target_layers = model, tuple(target_layers)
        self.layout: Layout = Grid() if reshape_transform is None else Reshaped(reshape_transform)
        self.method = find_method(method)

    def __call__(
        self, input_tensor: Float[Tensor, "batch *image"], targets: Iterable[Callable[[Any], Any]] | None = None
    ) -> np.ndarray:
        """Maps ``(batch, height, width)`` from 0 to 1, float32.

        Args:
            input_tensor: ``(batch, channels, height, width)``; it is moved to the model's device.
            targets: one function for every image, called with that image's output; by default the image's top class.

        Raises:
            TargetError: not one target for every image, or one that doesn't return one number.
            LayerError: a layer that doesn't lead to the targets, or whose output is no maps.
        """
        images = to_model(input_tensor, self.model)
        score = _top if targets is None else per_image(targets)
        layers = [self._scaled_maps(images, layer, score) for layer in self.target_layers]
        found: np.ndarray = _scaled(torch.stack(layers).mean(0)).cpu().numpy()
        return found

    def _scaled_maps(self, images: Tensor, layer: str | nn.Module, score: Callable[[Any], Tensor]) -> Tensor:
        with record(self.model, layer) as recording:
            scores = score(self.model(images))
        leaf = recording.resolve(scores)
        with torch.inference_mode(False), torch.no_grad():
            activations = self.layout.to_maps(leaf.detach())
            slopes = self.layout.to_maps(gradients(scores.sum(), leaf)[0])
            maps = self.layout.place(self.method.function(activations, slopes)).float()
            return F.interpolate(_scaled(maps.relu())[:, None], images.shape[2:], mode="bilinear")[:, 0]

    def __enter__(self) -> "GradCAM":
        """Itself: there is nothing to release."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let every exception through."""


def _top(output: Any) -> Tensor:
    """For every image the logit of its top class."""
    logits = logits_of(output)
    if logits.ndim != 2:
        raise TargetError(f"the model's output is {tuple(logits.shape)}, not (batch, classes): give targets=")
    return logits.gather(1, logits.detach().argmax(1, keepdim=True))[:, 0]


def _scaled(maps: Maps) -> Maps:
    """Every map from 0 to 1; one without differences becomes 0."""
    low = maps - maps.amin((1, 2), keepdim=True)
    return low / (1e-7 + low.amax((1, 2), keepdim=True))
