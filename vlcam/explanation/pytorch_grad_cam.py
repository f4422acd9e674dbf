"""The interface of pytorch-grad-cam, so that its scripts run here: its targets, ``target_layers``, ``reshape_transform``, its class.

That package calls one function PER IMAGE of the batch, with that image's output without the batch axis: for two images
``targets=[ClassifierOutputTarget(281), ClassifierOutputTarget(7)]``. In :func:`vlcam.attribute` a list of functions means something
else: several targets of every image, each of which gets the whole output. The rule that tells them apart: a list of functions is one
per image if ``target_layers=`` or ``reshape_transform=`` is given with it, or if all of them come from that package; else
several targets. :func:`apply_per_image` says so by hand. No code of that package is used, and it needn't be installed.
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
from vlcam.engine.layers import Grid
from vlcam.engine.outputs import find_logits, to_model
from vlcam.engine.recording import gradients, record
from vlcam.engine.restore import allow_autograd
from vlcam.methods import get_one_run_method as find_method

Reshape = Callable[[Tensor], Tensor]

_PACKAGE = "pytorch_grad_cam"


@final
@dataclass(frozen=True)
class PerImageTargets:
    """One function for every image of a batch, each called with the output for its image; see :func:`apply_per_image`."""

    functions: tuple[Callable[[Any], Any], ...]

    @property
    def __name__(self) -> str:
        """What the functions are called, every name once."""
        return " | ".join(dict.fromkeys(map(_find_name, self.functions)))

    def __call__(self, output: Any) -> Float[Tensor, " batch"]:
        """The scores ``(batch,)``. Raises TargetError unless there is one function, and one number, for every image."""
        parts = _split_output(output)
        if len(parts) != len(self.functions):
            raise TargetError(
                f"{len(self.functions)} targets were given for a batch of {len(parts)}; of these functions each image has its own: "
                f"expected {len(parts)}"
            )
        scores = [self._score(number, part) for number, part in enumerate(parts)]
        return torch.stack(scores)

    def _score(self, number: int, part: Any) -> Float[Tensor, ""]:
        function = self.functions[number]
        given = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
        try:
            score = function(part)
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise TargetError(
                f"target {number} ({_find_name(function)}) doesn't fit the output of {given} of one image: {type(error).__name__}: {reason}"
            ) from error
        if not isinstance(score, Tensor) or score.numel() != 1:
            found = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise TargetError(
                f"target {number} ({_find_name(function)}) returned {found} for the output of {given} of one image; expected a tensor with "
                "one number"
            )
        return score.reshape(())


def apply_per_image(targets: Iterable[Callable[[Any], Any]]) -> PerImageTargets:
    """Functions as pytorch-grad-cam has them, for ``vlcam.attribute(model, images, targets=per_image([...]))``.

    Args:
        targets: for every image of the batch one function of that image's output (of several outputs, the logits; of a detector's
            list, the image's record) that returns one number.
    """
    functions = tuple(targets)
    if not functions or not all(map(callable, functions)):
        raise TargetError(f"targets={functions!r} was given; expected a list with one function for every image")
    return PerImageTargets(functions)


def _find_name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _split_output(output: Any) -> Sequence[Any]:
    """What a model returned, image by image."""
    if isinstance(output, list) and output and all(isinstance(one, dict) for one in output):  # a detector's
        return output
    return find_logits(output).unbind(0)


@final
@dataclass(frozen=True)
class ReshapedLayout:
    """A layer's output made into maps by a function ``tensor -> (batch, channels, rows, columns)``."""

    function: Reshape

    def to_maps(self, tensor: Tensor) -> Float[Tensor, "batch channels rows columns"]:
        """The layer's output, or its gradient, as maps. Raises LayerError if the function makes something else of it."""
        given = tuple(tensor.shape)
        try:
            maps = self.function(tensor)
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise LayerError(
                f"reshape_transform failed on a layer output of {given}: {type(error).__name__}: {reason}"
            ) from error
        if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != len(tensor):
            made = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise LayerError(
                f"reshape_transform made {made} of a layer output of {given}; expected (batch, channels, rows, columns)"
            )
        return maps

    def place(self, maps: Maps) -> Maps:
        """The maps as they are: their cells lie row by row on the model's input."""
        return maps


def is_pytorch_grad_cam(targets: Any) -> bool:
    """Whether these are target objects of pytorch-grad-cam."""
    return _is_function_list(targets) and all(type(one).__module__.partition(".")[0] == _PACKAGE for one in targets)


def _is_function_list(targets: Any) -> bool:
    return isinstance(targets, (list, tuple)) and bool(targets) and all(map(callable, targets))


def translate_arguments(
    layer: str | nn.Module | None,
    targets: Any,
    layout: Layout | None,
    target_layers: Any,
    reshape_transform: Reshape | None,
) -> tuple[str | nn.Module | None, Any, Layout | None]:
    """The layer, the targets and the layer's layout, given by vlcam's arguments or by pytorch-grad-cam's.

    Raises:
        InputError: arguments of both kinds contradict each other, or several layers were given, which only :class:`GradCAM` averages.
    """
    if _is_function_list(targets) and (
        target_layers is not None or reshape_transform is not None or is_pytorch_grad_cam(targets)
    ):
        targets = apply_per_image(targets)
    if target_layers is not None:
        if layer is not None:
            raise InputError("layer= and target_layers= were both given; give one of them")
        layers = _check_layers(target_layers)
        if len(layers) != 1:
            raise InputError(
                f"{len(layers)} target_layers were given, but one layer is explained at a time; for the mean of several there is "
                "vlcam.explanation.pytorch_grad_cam.GradCAM"
            )
        layer = layers[0]
    if reshape_transform is not None:
        if layout is not None:
            raise InputError("grid= and reshape_transform= were both given; give one of them")
        layout = ReshapedLayout(reshape_transform)
    return layer, targets, layout


def _check_layers(target_layers: Any) -> tuple[str | nn.Module, ...]:
    if isinstance(target_layers, (list, tuple)) and target_layers:
        return tuple(target_layers)
    given = type(target_layers).__name__ if isinstance(target_layers, nn.Module) else repr(target_layers)
    raise InputError(f"target_layers={given} was given; expected a list of layers, such as [model.layer4[-1]]")


@final
class GradCAM:
    """A drop-in for ``pytorch_grad_cam.GradCAM``: ``GradCAM(model, [layer])(images, targets)`` is a numpy array as theirs.

    Every map is scaled as there: negative values cut off, minimum to 0, maximum to 1, resized to the input (bilinear); of several
    layers the scaled maps are averaged, and the mean scaled again. So a map that is next to nothing looks as strong as any:
    :func:`vlcam.attribute` gives raw maps. What differs is that the model is left as it was (mode, ``.grad``, hooks), may be
    frozen, that targets must fit the batch, and that no exception is swallowed. Every layer costs a forward pass.

    ``method`` is a name from ``vlcam.list_methods("one-run")``.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Any,
        reshape_transform: Reshape | None = None,
        *,
        method: str = "gradcam",
    ) -> None:
        self.model, self.target_layers = model, _check_layers(target_layers)
        self.layout: Layout = Grid() if reshape_transform is None else ReshapedLayout(reshape_transform)
        self.method = find_method(method)

    def __call__(self, input_tensor: Tensor, targets: Iterable[Callable[[Any], Any]] | None = None) -> np.ndarray:
        """Maps ``(batch, height, width)`` from 0 to 1, float32.

        Args:
            input_tensor: ``(batch, channels, height, width)``; it is moved to the model's device.
            targets: one function for every image, called with that image's output; by default the image's top class.

        Raises:
            InputError: an input of another shape.
            TargetError: not one target for every image, or one that doesn't return one number.
            LayerError: a layer that doesn't lead to the targets, or whose output isn't maps.
        """
        if input_tensor.ndim != 4:
            raise InputError(
                f"an input of {tuple(input_tensor.shape)} was given; expected (batch, channels, height, width)"
            )
        images = to_model(input_tensor, self.model)
        score = _score_top_class if targets is None else apply_per_image(targets)
        layers = [self._make_scaled_maps(images, layer, score) for layer in self.target_layers]
        found: np.ndarray = _scale_maps(torch.stack(layers).mean(0)).cpu().numpy()
        return found

    def _make_scaled_maps(self, images: Tensor, layer: str | nn.Module, score: Callable[[Any], Tensor]) -> Tensor:
        with record(self.model, layer) as recording:
            scores = score(self.model(images))
            total = scores.sum()
        leaf = recording.resolve(scores)
        if len(leaf) != len(images):
            raise LayerError(f"layer {recording.layer_name!r} ran on a batch of {len(leaf)}, not of {len(images)}")
        if isinstance(self.layout, Grid) and leaf.ndim != 4:
            raise LayerError(
                f"layer {recording.layer_name!r} returned {tuple(leaf.shape)}; expected (batch, channels, rows, columns): for tokens give "
                "reshape_transform="
            )
        with allow_autograd(False):
            activations = self.layout.to_maps(leaf.detach())
            slopes = self.layout.to_maps(gradients(total, leaf)[0])
            maps = self.layout.place(self.method.function(activations, slopes)).float()
            return F.interpolate(_scale_maps(maps.relu())[:, None], images.shape[2:], mode="bilinear")[:, 0]

    def __enter__(self) -> "GradCAM":
        """Itself: there is nothing to release."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let every exception through."""


def _score_top_class(output: Any) -> Tensor:
    """For every image the logit of its top class; of equal ones the first."""
    logits = find_logits(output)
    if logits.ndim != 2:
        raise TargetError(f"the model's output is {tuple(logits.shape)}, not (batch, classes): give targets=")
    return logits.gather(1, logits.detach().argmax(1, keepdim=True))[:, 0]


def _scale_maps(maps: Maps) -> Maps:
    """Every map from 0 to 1; one without differences becomes 0."""
    low = maps - maps.amin((1, 2), keepdim=True)
    return low / (1e-7 + low.amax((1, 2), keepdim=True))
