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
from vlcam.engine.backward import trace_dependence
from vlcam.engine.modules import find_tensors, name_cause, replace_tensor
from vlcam.engine.outputs import find_logits, to_model
from vlcam.engine.places import Trial
from vlcam.engine.recording import Recording, gradients, record
from vlcam.engine.restore import allow_autograd
from vlcam.engine.settle_layer import settle_layer
from vlcam.explanation.smoothing import check_transforms, list_terms, project_terms
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

    def to_maps(self, tensor: Any) -> Float[Tensor, "batch channels rows columns"]:
        """The layer's output (of any nesting), or its gradient, as maps.

        Raises LayerError if the function makes something else of it.
        """
        given = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        try:
            maps = self.function(tensor)
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise LayerError(
                f"reshape_transform failed on a layer output of {given}: {type(error).__name__}: {reason}"
            ) from error
        if not isinstance(maps, Tensor) or maps.ndim != 4:
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


def read_maps(totals: Tensor, recording: Recording, layout: Layout) -> tuple[Tensor, list[Tensor]]:
    """The activations ``(batch, channels, rows, columns)`` of the settled layer, and for each of T totals its gradients, laid out alike.

    Of a layer that returned several tensors (recorded with ``whole``), the layout is given all of them, or all of their gradients.
    """
    output = recording.output
    if isinstance(output, Tensor):
        return layout.to_maps(output.detach()), [layout.to_maps(one) for one in gradients(totals, output)]
    leaves = [one for one in find_tensors(output) if one.is_floating_point()]
    found = [
        gradients(totals, one) if leads else one.new_zeros((totals.numel(), *one.shape))
        for one, leads in zip(leaves, trace_dependence(totals, leaves), strict=True)
    ]
    plain, slopes = output, [output] * totals.numel()
    for leaf, slope in zip(leaves, found, strict=True):
        plain = replace_tensor(plain, leaf, leaf.detach())
        slopes = [replace_tensor(one, leaf, part) for one, part in zip(slopes, slope, strict=True)]
    # A layout that reads nested outputs is a function of the user's.
    read: Any = layout.to_maps
    return read(plain), [read(one) for one in slopes]


@final
class GradCAM:
    """A drop-in for ``pytorch_grad_cam.GradCAM``: ``GradCAM(model, [layer])(images, targets)`` is a numpy array as theirs.

    Every map is scaled as there: negative values cut off, minimum to 0, maximum to 1, resized to the input (bilinear, a volume's
    trilinear); of several layers the scaled maps are averaged, and the mean scaled again. So a map that is next to nothing looks as strong
    as any: :func:`vlcam.attribute` gives raw maps. What differs is that the model is left as it was (mode, ``.grad``, hooks), may
    be frozen, that targets must fit the batch, and that no exception is swallowed. Every layer costs a forward pass.

    Args:
        model: any module.
        target_layers: a list of its modules, or of their names.
        reshape_transform: makes ``(batch, channels, rows, columns)`` of a layer's output, and of its gradient.
        method: a name from ``vlcam.list_methods("one-run")``, in place of that package's other classes.
        tta_transforms: for ``aug_smooth``, a ``ttach.Compose``; by default six, the image and its mirror image times 0.9, 1 and 1.1.
        others: that package's ``compute_input_gradient=False``, ``uses_gradients=True``, ``detach=True``, ``device=`` (the model's) and
            ``use_cuda=``, which change nothing here.

    Raises:
        InputError: there is no such method; the layers are no list; an argument that isn't supported, or not with that value.
    """

    def __init__(
        self,
        model: nn.Module,
        target_layers: Any,
        reshape_transform: Reshape | None = None,
        *,
        method: str = "gradcam",
        tta_transforms: Any = None,
        **others: Any,
    ) -> None:
        self.model, self.target_layers = model, _check_layers(target_layers)
        self.layout = None if reshape_transform is None else ReshapedLayout(reshape_transform)
        self.method = find_method(method)
        self.tta_transforms = check_transforms(tta_transforms)
        self.outputs: Any = None
        """What the model returned in the last run, without autograd; None before the first."""
        _check_others(self.device, others)

    def __call__(
        self,
        input_tensor: Tensor,
        targets: Iterable[Callable[[Any], Any]] | None = None,
        aug_smooth: bool = False,
        eigen_smooth: bool = False,
    ) -> np.ndarray:
        """Maps ``(batch, height, width)`` (of volumes ``(batch, depth, height, width)``) from 0 to 1, float32.

        Args:
            input_tensor: ``(batch, channels, height, width)``, or volumes ``(batch, channels, depth, height, width)``; it is moved to the
                model's device.
            targets: one function for every image, called with that image's output; by default the image's top class (with
                ``aug_smooth`` that of each changed image).
            aug_smooth: the mean over changed images (``tta_transforms``), which isn't scaled again.
            eigen_smooth: the first principal component of what is summed over channels, with the sign of the sum.

        Raises:
            InputError: an input of another shape, or a method that has no smooth maps.
            TargetError: not one target for every image, or one that doesn't return one number.
            LayerError: a layer that doesn't lead to the targets, or whose output isn't maps.
        """
        if input_tensor.ndim not in (4, 5):
            raise InputError(
                f"an input of {tuple(input_tensor.shape)} was given; expected (batch, channels, height, width), or "
                "(batch, channels, depth, height, width)"
            )
        images = to_model(input_tensor, self.model)
        score = _score_top_class if targets is None else apply_per_image(targets)
        with name_cause(self.model):
            if not aug_smooth:
                maps = self._explain(images, score, eigen_smooth)
            else:
                found = []
                for one in self.tta_transforms:
                    changed = self._explain(one.augment_image(images), score, eigen_smooth)
                    found.append(one.deaugment_mask(changed[:, None])[:, 0])
                maps = torch.stack(found).mean(0)
        made: np.ndarray = maps.cpu().numpy()
        return made

    def _explain(self, images: Tensor, score: Callable[[Any], Tensor], eigen_smooth: bool) -> Tensor:
        layers = [self._make_scaled_maps(images, layer, score, eigen_smooth) for layer in self.target_layers]
        return _scale_maps(torch.stack(layers).mean(0))

    def _make_scaled_maps(
        self, images: Tensor, layer: str | nn.Module, score: Callable[[Any], Tensor], eigen_smooth: bool
    ) -> Tensor:
        reshaped = isinstance(self.layout, ReshapedLayout)
        with record(self.model, layer, whole=reshaped) as recording:
            output = self.model(images)
            scores = score(output)
            total = scores.sum()
        self.outputs = output
        for one in list(find_tensors(output)):
            self.outputs = replace_tensor(self.outputs, one, one.detach())
        leaf = recording.resolve(scores)
        if not reshaped and leaf.ndim != images.ndim:
            sides = (
                "(batch, channels, rows, columns)" if images.ndim == 4 else "(batch, channels, depth, rows, columns)"
            )
            raise LayerError(
                f"layer {recording.layer_name!r} returned {tuple(leaf.shape)}; expected {sides}: for tokens give reshape_transform="
            )
        layout: Layout | None = self.layout
        if layout is None:
            try:
                _, layout = settle_layer(recording, scores, Trial(self.model, images, self.model))
            except LayerError as error:
                raise LayerError(
                    f"{error}; here that is reshape_transform=, of an output with channels first reshape_transform=lambda output: output"
                ) from error
        with allow_autograd(False):
            activations, slopes = read_maps(total, recording, layout)
            if len(activations) != len(images):
                raise LayerError(
                    f"layer {recording.layer_name!r} ran on a batch of {len(activations)}, not of {len(images)}"
                )
            if eigen_smooth:
                maps = project_terms(list_terms(self.method, activations, slopes[0]))
            else:
                maps = self.method.function(activations, slopes[0])
            maps = _scale_maps(layout.place(maps).float().relu())
            size = list(images.shape[1 - maps.ndim :])
            return F.interpolate(maps[:, None], size, mode="bilinear" if maps.ndim == 3 else "trilinear")[:, 0]

    @property
    def device(self) -> torch.device:
        """The device of the model, to which inputs are moved."""
        return next((one.device for one in self.model.parameters()), torch.device("cpu"))

    def __enter__(self) -> "GradCAM":
        """Itself: there is nothing to release."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let every exception through."""


def _check_others(device: torch.device, others: dict[str, Any]) -> None:
    """Raise InputError unless these arguments of that package's classes change nothing here."""
    for name, given in others.items():
        if name in ("compute_input_gradient", "uses_gradients", "detach"):
            expected = str(name != "compute_input_gradient")
            fits = str(bool(given)) == expected
        elif name == "device":
            expected = f"the model's device, {device}: move the model, model.to({str(given)!r})"
            wanted = device if given is None else torch.device(given)
            fits = wanted.type == device.type and wanted.index in (None, device.index)
        elif name == "use_cuda":
            expected = f"the model's device, {device}: move the model, model.cuda()"
            fits = not given or device.type == "cuda"
        else:
            expected = "model, target_layers, reshape_transform, method or tta_transforms"
            fits = False
        if not fits:
            raise InputError(f"{name}={given!r} isn't supported by vlcam's GradCAM; expected {expected}")


def _score_top_class(output: Any) -> Tensor:
    """For every image the logit of its top class; of equal ones the first."""
    logits = find_logits(output)
    if logits.ndim != 2:
        raise TargetError(f"the model's output is {tuple(logits.shape)}, not (batch, classes): give targets=")
    return logits.gather(1, logits.detach().argmax(1, keepdim=True))[:, 0]


def _scale_maps(maps: Float[Tensor, "batch *sides"]) -> Float[Tensor, "batch *sides"]:
    """Every map from 0 to 1; one without differences becomes 0."""
    sides = tuple(range(1, maps.ndim))
    low = maps - maps.amin(sides, keepdim=True)
    return low / (1e-7 + low.amax(sides, keepdim=True))
