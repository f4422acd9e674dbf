"""A model by name as a task: ``vlcam.load``."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from vlcam.contracts import InputError, Task
from vlcam.tasks import bundled
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.states import SUFFIXES, read_state

BUNDLED: dict[str, Callable[[], Task]] = {
    "scenes/classifier": bundled.classifier,
    "scenes/captioner": bundled.captioner,
    "scenes/vqa": bundled.vqa,
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_KINDS = (
    "torchvision/NAME, timm/NAME, a folder or hub id (OWNER/NAME) of transformers, the path of a state dict with arch=, or "
    + ", ".join(BUNDLED)
)


def load(
    name: str | Path,
    *,
    arch: str | None = None,
    weights: str | None = None,
    revision: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Task:
    """Open a model by name, ready for :func:`vlcam.explain`.

    >>> import vlcam
    >>> vlcam.load("scenes/captioner").kind
    'captioning'

    Args:
        name: ``torchvision/resnet50``, ``timm/convnext_tiny``, the folder or hub id of an image classifier of transformers, the
            path of a state dict (then with ``arch``), or a bundled model (``scenes/classifier``, ``scenes/captioner``, ``scenes/vqa``).
        arch: what a state dict is the state of: ``torchvision/NAME`` or ``timm/NAME``.
        weights: which of torchvision's weights, such as ``IMAGENET1K_V1``; by default its best.
        revision: which branch, tag or commit of a hub model.
        labels: the class names in order; by default those of the weights.
        preprocess: by default that of the weights.
        device: where to put the model, such as ``cuda``; by default the CPU.
        dtype: the model's precision, such as ``torch.bfloat16``; by default as its weights are.

    Returns:
        A task with labels, preprocessing and layer set from the model's own metadata.

    Raises:
        InputError: there is no such model, its weights are not on this machine and can't be downloaded, or they are damaged.
    """
    text = str(name)
    if text in BUNDLED:
        if any(one is not None for one in (arch, weights, labels, preprocess)):
            raise InputError(f"{text} is complete as it is: it takes no arch, weights, labels or preprocess")
        task: Task = BUNDLED[text]()
    elif text.endswith(SUFFIXES) or (isinstance(name, Path) and name.suffix):
        if arch is None:
            raise InputError(f"{text} is a state dict: say what of with arch=, such as arch='torchvision/resnet50'")
        task = _open(arch, weights, read_state(Path(name)), labels, preprocess, None)
    else:
        if arch is not None:
            raise InputError(f"arch={arch!r} goes with the path of a state dict, but {text!r} is no such path")
        task = _open(text, weights, None, labels, preprocess, revision)
    if device is not None or dtype is not None:
        task.model.to(device=_device(device), dtype=dtype)
    return task


def _open(
    name: str,
    weights: str | None,
    state: dict[str, Any] | None,
    labels: Sequence[str] | None,
    preprocess: Preprocessing | None,
    revision: str | None,
) -> Task:
    home, _, model = name.partition("/")
    if home == "torchvision" and model:
        from vlcam.tasks.from_torchvision import open_torchvision

        return open_torchvision(model, weights=weights, state=state, labels=labels, preprocess=preprocess)
    if home == "timm" and model:
        from vlcam.tasks.from_timm import open_timm

        if weights is not None:
            raise InputError(f"timm's weights are part of the name: timm/{model}.{weights}")
        return open_timm(model, state=state, labels=labels, preprocess=preprocess)
    if weights is not None or state is not None:
        raise InputError(
            f"{name!r} is neither torchvision/NAME nor timm/NAME, the architectures that state dicts and weights= are for"
        )
    if not (Path(name).is_dir() or _HUB_ID.fullmatch(name)):
        raise InputError(f"there is no model {name!r}; expected {_KINDS}")
    from vlcam.tasks.from_transformers import open_transformers

    return open_transformers(name, revision=revision, labels=labels, preprocess=preprocess)


def _device(device: str | torch.device | None) -> torch.device | None:
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {str(device)!r} can't be used: {str(error).splitlines()[0]}") from error
