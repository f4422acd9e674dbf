"""timm's classifiers as tasks: weights, class names and preprocessing from the model's own configuration.

timm is an extra: ``pip install 'vlcam[timm]'``.
"""

import math
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from vlcam.contracts import InputError
from vlcam.engine.find_layer import Proposal, propose
from vlcam.engine.modules import find_module
from vlcam.engine.outputs import find_logits
from vlcam.files import describe_error
from vlcam.image.preprocess import Mode, Preprocess
from vlcam.tasks.checkpoints import drop_prefix
from vlcam.tasks.classification import Classification, Preprocessing
from vlcam.tasks.hub_places import follow_input
from vlcam.tasks.labels import list_nearest
from vlcam.tasks.states import count_classes, fill_weights


def open_timm(
    name: str,
    *,
    state: dict[str, Any] | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
) -> Classification:
    """One of timm's classifiers, such as ``convnext_tiny`` or ``vit_base_patch16_224.augreg_in21k``.

    Args:
        name: as ``timm.list_models()`` has it, with or without the tag of its weights.
        state: a state dict to use instead of timm's weights; the number of classes is read from it.
        labels: the class names; by default those that timm knows for the weights.
        preprocess: by default that of the weights.

    Raises:
        InputError: timm isn't installed or has no such model, the weights aren't on this machine and can't be downloaded, or the state dict
            is that of another model.
    """
    timm = _import_timm()
    if not timm.is_model(name.split(".")[0]):
        raise InputError(f"timm has no model {name!r}; the nearest it has: {list_nearest(name, timm.list_models())}")
    if state is None:
        try:
            with torch.device("cpu"):  # whatever the default device is
                model = timm.create_model(name, pretrained=True)
        except Exception as error:  # timm, the hub's client and torch each have their own
            raise InputError(
                f"the weights of timm/{name} are not on this machine and can't be downloaded ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else 'no reason given'}); fetch them on a machine with network access "
                f'(python -c "import timm; timm.create_model({name!r}, pretrained=True)") and copy its cache '
                "(~/.cache/huggingface, or HF_HOME), or give a state dict and arch="
            ) from error
    else:
        build = partial(timm.create_model, name, pretrained=False)
        state = drop_prefix(state, build)
        count = count_classes(state, build)
        with torch.device("cpu"):
            model = fill_weights(build() if count is None else build(num_classes=count), state, f"timm/{name}")
    return wrap_timm(model.eval(), name, labels=labels, preprocess=preprocess)


def wrap_timm(
    model: nn.Module, name: str, *, labels: Sequence[str] | None = None, preprocess: Preprocessing | None = None
) -> Classification:
    """A timm classifier in memory as a task. The layer to explain is found by a trial run on noise."""
    data = _import_timm("timm.data").resolve_data_config({}, model=model)
    channels = _count_channels(model)
    if isinstance(preprocess, Preprocess):
        sizes = [preprocess.input_size]
    else:
        sizes = _list_sizes(model, data)
    size, best = _try_sizes(model, name, channels, sizes)
    if preprocess is None:
        preprocess = make_preprocess({**data, "input_size": (channels, size[1], size[0])}, channels)
    return Classification(
        model,
        labels=tuple(labels or _find_labels(model)),
        preprocess=preprocess,
        layer=best.layer,
        layout=follow_input(best.layout, preprocess),
        name=f"timm/{name}",
    )


def _list_sizes(model: Any, data: dict[str, Any]) -> list[tuple[int, int]]:
    """Sizes (width, height) that a model may take, the likeliest first: what it was made for, then what its weights were trained at."""
    trained = data["input_size"][2], data["input_size"][1]
    sizes = []
    for one in (model, getattr(model, "patch_embed", None), getattr(model, "stem", None)):
        made = getattr(one, "img_size", None)
        if isinstance(made, int):
            sizes.append((made, made))
        elif isinstance(made, (tuple, list)) and len(made) == 2:
            sizes.append((int(made[1]), int(made[0])))
    sizes.append(trained)
    table = getattr(model, "pos_embed", None)
    if isinstance(table, torch.Tensor) and table.ndim in (3, 4):  # some models keep their size nowhere else
        rows, columns = table.shape[1:3] if table.ndim == 4 else (math.isqrt(table.shape[1]),) * 2
        sizes += [(columns * cell, rows * cell) for cell in (16, 8, 32, 14, 4)]
    return list(dict.fromkeys(sizes))


def _try_sizes(
    model: nn.Module, name: str, channels: int, sizes: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], Proposal]:
    """The first size at which the model runs, and the layer to explain. Raises InputError if it runs at none."""
    like = next(model.parameters())
    reasons = []
    for width, height in sizes:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, channels, height, width, generator=generator, device="cpu")
        try:
            best = propose(
                model, lambda photo: find_logits(model(photo)).max(), noise.to(like.device, like.dtype), (width, height)
            )[0]
        except (RuntimeError, AssertionError, ValueError) as error:
            reasons.append(f"{width} x {height}: {describe_error(error)}")
        else:
            return (width, height), best
    raise InputError(
        f"timm/{name} runs at none of the sizes in its settings ({'; '.join(reasons[:3])}); give "
        "preprocess=vlcam.Preprocess(size), with the size that it was made for"
    )


def _count_channels(model: Any) -> int:
    """How many channels the model takes: its first convolution's."""
    first = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv")
    names = [first] if isinstance(first, str) else list(first or ())
    weight = getattr(find_module(model, names[0])[1], "weight", None) if names else None
    return int(weight.shape[1]) if isinstance(weight, torch.Tensor) and weight.ndim == 4 else 3


def make_preprocess(data: dict[str, Any], channels: int = 3) -> Preprocess:
    """What timm's own transform for evaluation does, with the geometry that leads back to the photo.

    A model without exactly three channels (timm sums the weights of the colours, ``in_chans=1``) is normalised by the mean of the RGB
    values.
    """
    _, height, width = data["input_size"]
    mode: Mode = "resize" if data["crop_mode"] == "squash" else "letterbox" if data["crop_mode"] == "border" else "crop"
    return Preprocess(
        size=(width, height),
        mode=mode,
        resize_shorter=math.floor(min(width, height) / data["crop_pct"]) if mode == "crop" else None,
        mean=tuple(data["mean"]) if channels == 3 else (sum(data["mean"]) / 3,) * channels,
        std=tuple(data["std"]) if channels == 3 else (sum(data["std"]) / 3,) * channels,
        channels=channels,
        resample=data["interpolation"] if data["interpolation"] != "random" else "bicubic",
    )


def _find_labels(model: Any) -> Sequence[str]:
    data = _import_timm("timm.data")
    own = (getattr(model, "pretrained_cfg", None) or {}).get("label_names")
    if own and len(own) == model.num_classes:
        return tuple(own)
    subset = data.infer_imagenet_subset(model)
    if subset is None:
        return tuple(f"class {number}" for number in range(model.num_classes))
    info = data.ImageNetInfo(subset)
    return tuple(info.index_to_description(number) for number in range(model.num_classes))


def _import_timm(module: str = "timm") -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError("timm is not installed; install it with: pip install 'vlcam[timm]'") from error
