"""torchvision's classifiers as tasks: weights, class names and preprocessing from the weights' own metadata."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import nn

from vlcam.contracts import InputError, Layout
from vlcam.engine.layers import Grid
from vlcam.image.preprocess import Preprocess
from vlcam.tasks.checkpoints import drop_prefix
from vlcam.tasks.classification import Classification, Preprocessing
from vlcam.tasks.labels import list_nearest
from vlcam.tasks.states import count_classes, fill_weights


def open_torchvision(
    name: str,
    *,
    weights: str | None = None,
    state: dict[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
) -> Classification:
    """One of torchvision's classifiers, such as ``resnet50``.

    Args:
        name: as ``torchvision.models.list_models()`` has it.
        weights: which of its weights, such as ``IMAGENET1K_V1``; by default torchvision's best.
        state: a state dict to use instead of torchvision's weights; the number of classes is read from it.
        labels: the class names; by default those of the weights.
        preprocess: by default that of the weights.

    Raises:
        InputError: there is no such classifier or weights, the weights aren't on this machine and can't be downloaded, or the state dict is
            that of another model.
    """
    from torchvision.models import get_model

    known = _find_weights(name, weights)
    count = None
    if state is not None:
        build = partial(get_model, name, weights=None, **_get_quick_options(name))
        state = drop_prefix(state, build)
        count = count_classes(state, build) or len(known.meta["categories"])
        with torch.device("cpu"):  # whatever the default device is
            model = fill_weights(build(num_classes=count), state, f"torchvision/{name}")
    else:
        try:
            with (
                torch.device("cpu"),
                redirect_stdout(sys.stderr),
            ):  # torch announces downloads on stdout, which is for results
                model = get_model(name, weights=known)
        except (URLError, OSError) as error:
            raise InputError(_describe_missing_weights(name, known, error)) from error
    categories = known.meta["categories"]
    if labels is None:
        if count not in (None, len(categories)):
            raise InputError(
                f"the state dict has {count} classes, but torchvision has names only for the {len(categories)} of its own weights; "
                "give labels=, one name for each class in order"
            )
        labels = categories
    return wrap_torchvision(model.eval(), name, labels=labels, preprocess=preprocess or make_preprocess(known))


def wrap_torchvision(
    model: nn.Module, name: str, *, labels: Sequence[str], preprocess: Preprocessing
) -> Classification:
    """A torchvision classifier in memory as a task."""
    layer, layout = find_layer_and_layout(model)
    return Classification(
        model,
        labels=tuple(labels),
        preprocess=preprocess,
        layer=layer,
        layout=layout,
        name=f"torchvision/{name}",
    )


def find_layer_and_layout(model: nn.Module) -> tuple[str | None, Layout | None]:
    """The layer to explain and its layout; (None, None) leaves it to vlcam to find the last spatial layer, as in every CNN.

    A vision transformer's classes are read from its class token, so at the output of its last block no other token has a
    gradient; the input of that block's attention is the last place where all of them count.
    """
    from torchvision.models import VisionTransformer

    if not isinstance(model, VisionTransformer):
        return None, None
    last = list(model.encoder.layers.named_children())[-1][0]
    side = model.image_size // model.patch_size
    return f"encoder.layers.{last}.ln_1", Grid("BNC", rows=side, columns=side, prefix=1)


def make_preprocess(weights: Any) -> Preprocess:
    """Exactly what ``weights.transforms()`` does, with the geometry that leads back to the photo."""
    preset = weights.transforms()
    return Preprocess(
        size=preset.crop_size[0],
        mode="crop",
        resize_shorter=preset.resize_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        resample=preset.interpolation.value,
    )


def _find_weights(name: str, wanted: str | None) -> Any:
    """The weights enum's member; InputError for what is not a classifier, or has no such weights."""
    from torchvision import models

    if name not in list_classifiers():
        raise InputError(
            f"torchvision has no classifier {name!r}; the nearest it has: {list_nearest(name, list_classifiers())}"
        )
    every = models.get_model_weights(name)
    if wanted is None:
        return every.DEFAULT
    if wanted not in every.__members__:
        raise InputError(f"{name} has no weights {wanted!r}; it has {', '.join(every.__members__)}")
    return every[wanted]


def list_classifiers() -> list[str]:
    """The names of torchvision's classifiers of single images."""
    from torchvision import models

    return [str(name) for name in models.list_models(module=models)]


def _get_quick_options(name: str) -> dict[str, bool]:
    """Options that skip an initialisation that takes minutes, as the weights are replaced anyway."""
    return {"init_weights": False} if name in ("googlenet", "inception_v3") else {}


def _describe_missing_weights(name: str, weights: Any, error: BaseException) -> str:
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(weights.url).rsplit("/", 1)[-1]
    return (
        f"the weights {weights} of torchvision/{name} are not on this machine ({file}) and can't be downloaded from {weights.url} "
        f"({error}); download that file elsewhere and put it there, or set TORCH_HOME to a folder that has it"
    )
