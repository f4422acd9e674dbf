"""Turn a classifier into one that CAM is defined for: its dense layers replaced by global average pooling and one linear layer.

That is how CAM (Zhou et al. 2016, arXiv 1512.04150, section 2) is used with networks such as VGG: whatever follows the last spatial
layer is taken away, one linear layer on the mean of every channel takes its place, and is trained. It costs accuracy: 2.98 points
of top-1 accuracy, as the Grad-CAM paper (arXiv 1610.02391) says; Grad-CAM explains the network as it is.

>>> dense = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 10))
>>> build_cam_network(dense, ["cat", "dog"], sample=torch.zeros(1, 3, 16, 16)).classifier
Linear(in_features=8, out_features=2, bias=True)
"""

import copy
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError
from vlcam.engine.modules import find_first_tensor, find_module, is_map, unwrap_model
from vlcam.engine.outputs import find_logits
from vlcam.engine.recording import record
from vlcam.engine.restore import detach_tensors, preserve_model

_SIDE = 224


class _LayerReached(Exception):  # noqa: N818
    """The layer has its output; nothing after it is wanted."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


@final
class _LastLayer(nn.Module):
    """A layer after which the network ends."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any, **options: Any) -> Any:
        raise _LayerReached(self.layer(*inputs, **options))


@final
class ConvolutionalPart(nn.Module):
    """A network up to one of its layers, ``(batch, channels, rows, columns)``.

    A frozen one stays in eval mode, so that the running statistics of batch norm don't change either.
    """

    def __init__(self, body: nn.Module, *, frozen: bool) -> None:
        super().__init__()
        self.body = body
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(body.training)

    def train(self, mode: bool = True) -> "ConvolutionalPart":
        """As any module's, but for a frozen part, which stays in eval mode."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """The layer's maps. Raises LayerError if the layer didn't run."""
        try:
            self.body(*inputs, **options)
        except _LayerReached as reached:
            return _check_maps(reached.output)
        raise LayerError(
            "the last layer of the convolutional part did not run for this input; give one of the usual kind"
        )


@final
class CamNetwork(nn.Module):
    """``classifier(mean over places of features(images))``: the form that CAM is defined for.

    ``features`` is the convolutional part, ``pool`` the global average pooling, and ``classifier`` the linear layer, to be trained.
    """

    def __init__(self, features: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Logits ``(batch, classes)``."""
        logits: Tensor = self.classifier(self.pool(self.features(*inputs, **options)).flatten(1))
        return logits


def build_cam_network(
    model: nn.Module,
    classes: int | Sequence[str],
    *,
    layer: str | nn.Module | None = None,
    frozen: bool = True,
    sample: Tensor | None = None,
) -> CamNetwork:
    """A new network: a copy of ``model`` up to its last spatial layer, then global average pooling and a linear layer.

    The linear layer is new, so it has to be trained: pass ``network.classifier.parameters()`` to the optimiser for the head alone.
    The model that was given stays as it is, and parts of it that don't run before the layer (large dense layers) are not copied. On
    the new network the method ``cam`` works, and equals Grad-CAM but for the factor of the number of places.

    Args:
        model: a classifier of pictures.
        classes: how many, or their names.
        layer: where to cut, a dotted name or a module that returns maps; by default the last spatial layer that leads to the
            logits. What the model's own ``forward`` computes after it (the last ReLU of torchvision's DenseNet) is left out.
        frozen: the convolutional part keeps its weights and its batch norm statistics; otherwise all of the network can be trained.
        sample: a picture as the model takes it ``(1, channels, height, width)``, to find the layer and its channels; by default a
            blank one of 224 x 224 pixels. Of a model for another size only the given ``layer`` can be looked at without it.

    Raises:
        InputError: no classes, or a sample that the model can't take.
        LayerError: there is no such layer, or it returns no maps.
    """
    count = classes if isinstance(classes, int) else len(classes)
    if count < 1:
        raise InputError(f"{count} classes were given; expected at least one")
    inner = unwrap_model(model)
    sample = _make_blank(inner) if sample is None else sample
    try:
        if layer is None:
            layer = _find_last_spatial(inner, sample)
        name, target = find_module(inner, layer)
        unused, maps = _find_unused(inner, target, sample)
    except RuntimeError as error:
        raise InputError(
            f"the model can't take a picture of shape {tuple(sample.shape)} ({str(error).splitlines()[0]}); "
            "give one that it takes: sample=, and for other kinds of input layer="
        ) from error
    body = copy.deepcopy(inner, memo={id(module): nn.Identity() for module in unused})
    body = _cut(body, "" if target is inner else name)
    head = nn.Linear(maps.shape[1], count, device=maps.device, dtype=maps.dtype)
    network = CamNetwork(ConvolutionalPart(body, frozen=frozen), head).train(inner.training)
    with preserve_model(network), torch.no_grad():
        if not torch.allclose(
            network.features(detach_tensors(sample)), maps, rtol=1e-3, atol=1e-4 * float(maps.abs().max())
        ):
            raise LayerError(
                f"the copy of the model up to {name!r} doesn't give what the model gives there; name another layer"
            )
    return network


def _make_blank(model: nn.Module) -> Tensor:
    like = next((one for one in model.parameters() if one.is_floating_point()), torch.zeros((), device="cpu"))
    first = next((one for one in model.modules() if isinstance(one, nn.Conv2d)), None)
    return torch.zeros(1, 3 if first is None else first.in_channels, _SIDE, _SIDE, dtype=like.dtype, device=like.device)


def _find_last_spatial(model: nn.Module, sample: Tensor) -> str:
    with record(model) as recording:
        scores = find_logits(model(sample)).reshape(1, -1).sum(0)
    recording.resolve(scores)
    return recording.layer_name


def _find_unused(model: nn.Module, layer: nn.Module, sample: Tensor) -> tuple[list[nn.Module], Tensor]:
    """The modules that don't run before ``layer`` has its output (of nested ones the outermost), and that output."""
    ran: set[int] = set()

    def stop(module: nn.Module, inputs: Any, output: Any) -> None:
        raise _LayerReached(output)

    with preserve_model(model) as stack, torch.no_grad():
        for module in model.modules():
            stack.add_hook(module.register_forward_pre_hook, lambda module, inputs: ran.add(id(module)))
        stack.add_hook(layer.register_forward_hook, stop)
        try:
            model(detach_tensors(sample))
        except _LayerReached as reached:
            maps = _check_maps(reached.output)
        else:
            raise LayerError(f"the layer ({type(layer).__name__}) doesn't run for this input; name one that does")
    return list(_list_idle(model, ran)), maps


def _list_idle(module: nn.Module, ran: set[int]) -> list[nn.Module]:
    """Modules in which nothing ran; a list of modules doesn't run itself, but what is in it may."""
    found = []
    for child in module.children():
        if any(id(one) in ran for one in child.modules()):
            found += _list_idle(child, ran)
        else:
            found.append(child)
    return found


def _cut(body: nn.Module, name: str) -> nn.Module:
    if not name:
        return _LastLayer(body)
    parent, _, own = name.rpartition(".")
    holder = body.get_submodule(parent)
    setattr(holder, own, _LastLayer(holder.get_submodule(own)))
    return body


def _check_maps(output: Any) -> Tensor:
    found = find_first_tensor(output)
    if found is None or not is_map(found):
        given = type(output).__name__ if found is None else str(tuple(found.shape))
        raise LayerError(
            f"the layer returned {given}; expected maps (batch, channels, rows, columns): name a spatial layer"
        )
    return found
