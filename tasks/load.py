"""A model by name as a task: ``vlcam.load``."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from vlcam.contracts import InputError, Task
from vlcam.files import describe_error, is_there
from vlcam.image.preprocess import Preprocess
from vlcam.tasks import bundled
from vlcam.tasks.adapt import change_preprocess, set_defaults
from vlcam.tasks.classification import Preprocessing
from vlcam.tasks.from_ultralytics import WrappedNetwork, find_network, wrap_ultralytics
from vlcam.tasks.recipe import ENDING, Recipe, read_recipe
from vlcam.tasks.states import SUFFIXES, read_state

BUNDLED: dict[str, Callable[[], Task]] = {
    "scenes/classifier": bundled.classifier,
    "scenes/captioner": bundled.captioner,
    "scenes/vqa": bundled.vqa,
}
_OPEN_CLIP = "open_clip/"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_KINDS = (
    "torchvision/NAME, timm/NAME, open_clip/NAME:WEIGHTS, "
    "a folder or hub id (OWNER/NAME) of transformers, the path of a state dict with arch=, a model object, or "
    + ", ".join(BUNDLED)
)


def load(
    name: str | Path | nn.Module | WrappedNetwork,
    *,
    arch: str | None = None,
    weights: str | None = None,
    revision: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
    processor: Any = None,
    task: Literal["classification", "captioning", "vqa"] | None = None,
    beams: int = 1,
    length: int = 40,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Task:
    """Open a model by name, or one in memory, ready for :func:`vlcam.explain`.

    >>> import vlcam
    >>> vlcam.load("scenes/captioner").kind
    'captioning'

    Args:
        name: ``torchvision/resnet50``, ``timm/convnext_tiny``, ``open_clip/ViT-B-32:openai`` (or a checkpoint's path after the colon), the
            folder or hub id of a classifier, captioner, question answerer or chat model of transformers, the path of a state dict (then
            with ``arch``), a bundled model (``scenes/classifier``, ``scenes/captioner``, ``scenes/vqa``), or a model object: of
            transformers with its ``processor``, of open_clip with its tokenizer as ``processor``, of timm, of Ultralytics (a
            classifier), or any classifier with ``labels`` and ``preprocess``. Or a recipe, a file ``model.toml`` that says all this
            (:class:`vlcam.tasks.recipe.Recipe`); arguments given along with it override it.
        arch: the architecture of a state dict: ``torchvision/NAME`` or ``timm/NAME``.
        weights: which of torchvision's weights, such as ``IMAGENET1K_V1``; by default its best.
        revision: which branch, tag or commit of a hub model.
        labels: the class names in order; by default those of the weights. For models that compare photos with texts, the texts to choose
            from.
        preprocess: by default that of the weights.
        processor: the processor of a model object of transformers, or the tokenizer of one of open_clip.
        task: what a chat model is to do, ``captioning`` or ``vqa``; by default what the model was made for.
        beams: how many beams a model that writes text searches with for its own words.
        length: the most tokens that a model that writes text may write.
        device: where to put the model, such as ``cuda``; by default the CPU.
        dtype: the model's precision, such as ``torch.bfloat16``; by default that of its weights.

    Returns:
        A task with labels, preprocessing and layer set from the model's own metadata.

    Raises:
        InputError: there is no such model, its weights are not on this machine and can't be downloaded, or they are damaged.
    """
    given = {
        "weights": weights,
        "labels": labels,
        "preprocess": preprocess,
        "processor": processor,
        "revision": revision,
    }
    speech = {"task": task, "beams": beams, "length": length}
    if isinstance(name, (str, Path)) and str(name).endswith(ENDING):
        over = {**{key: given[key] for key in ("weights", "revision")}, "arch": arch, "task": task}
        over |= {"beams": beams if beams != 1 else None, "length": length if length != 40 else None}
        over |= {"labels": None if labels is None else tuple(labels), "device": None if device is None else str(device)}
        over["dtype"] = None if dtype is None else str(dtype).removeprefix("torch.")
        recipe = replace(read_recipe(name), **{key: value for key, value in over.items() if value is not None})
        return open_recipe(recipe, preprocess=preprocess, processor=processor)
    text = str(name) if isinstance(name, (str, Path)) else type(name).__name__
    if not isinstance(name, (str, Path)):
        _refuse(text, {"arch": arch, "weights": weights, "revision": revision}, "is a model already")
        opened = _wrap_model(name, text, labels, preprocess, processor, speech)
    elif text in BUNDLED:
        _refuse(text, {**given, "arch": arch}, "is complete as it is")
        opened = bundled.captioner(beams=beams) if text == "scenes/captioner" else BUNDLED[text]()
    elif text.startswith(_OPEN_CLIP) and not is_there(text):
        from vlcam.tasks.from_open_clip import open_open_clip

        _refuse(text, {"arch": arch, "weights": weights, "revision": revision, "processor": processor}, "says it all")
        opened = open_open_clip(text.removeprefix(_OPEN_CLIP), labels=labels, preprocess=preprocess)
    elif (
        is_there(text)
        or text.endswith(SUFFIXES)
        or (isinstance(name, Path) and name.suffix and not is_there(name, folders=True))
    ):
        _refuse(text, {"processor": processor, "revision": revision}, "is a state dict")
        if arch is None:
            raise InputError(
                f"{text} is a state dict; give its architecture with arch=, such as arch='torchvision/resnet50'"
            )
        opened = _open_by_name(arch, weights, read_state(Path(name)), labels, preprocess)
    else:
        if arch is not None:
            raise InputError(f"arch={arch!r} requires the path of a state dict, but {text!r} is not one")
        if processor is not None:
            raise InputError(f"processor= is for model objects, and {text!r} brings its own; leave it out")
        if text.partition("/")[0] in ("torchvision", "timm"):
            _refuse(text, {"revision": revision}, "has no revisions")
            if task not in (None, "classification"):
                raise InputError(f"{text} is a model for classification, not for {task}")
            opened = _open_by_name(text, weights, None, labels, preprocess)
        else:
            opened = _open_hub_model(text, weights, revision, labels, preprocess, speech)
    if task is not None and opened.kind != task:
        raise InputError(f"{text} is a model for {opened.kind}, not for {task}")
    if device is not None or dtype is not None:
        opened.model.to(device=check_device(device), dtype=dtype)
    return opened


def open_recipe(recipe: Recipe, *, preprocess: Preprocessing | None = None, processor: Any = None) -> Task:
    """The task of a recipe. Raises InputError as :func:`load` does, and for a recipe that names no model."""
    if recipe.model is None:
        raise InputError(f"the recipe names no model; give it the key model: {_KINDS}")
    opened = partial(
        load,
        recipe.model,
        arch=recipe.arch,
        weights=recipe.weights,
        revision=recipe.revision,
        labels=recipe.labels,
        processor=processor,
        task=cast(Any, recipe.task),
        beams=recipe.beams or 1,
        length=recipe.length or 40,
        device=recipe.device,
        dtype=None if recipe.dtype is None else getattr(torch, recipe.dtype),
    )
    task = opened(preprocess=preprocess)
    if recipe.preprocess and preprocess is None:
        made = change_preprocess(task, recipe.preprocess)
        known = isinstance(getattr(task, "preprocess", None), Preprocess) and getattr(task, "layout", None) is None
        # A layout was found on an input of the old size, so that has to be done again.
        task = replace(task, preprocess=made) if known else opened(preprocess=made)  # type: ignore[type-var]
    return set_defaults(task, layer=recipe.layer, method=recipe.method)


def _refuse(name: str, options: Mapping[str, Any], why: str) -> None:
    """Raise InputError for options that don't go with a model of this kind."""
    extra = [f"{option}=" for option, value in options.items() if value is not None]
    if extra:
        raise InputError(f"{name} {why}, so it takes no {', '.join(extra)}")


def _open_by_name(
    name: str,
    weights: str | None,
    state: dict[str, Any] | None,
    labels: Sequence[str] | None,
    preprocess: Preprocessing | None,
) -> Task:
    """torchvision/NAME or timm/NAME."""
    home, _, model = name.partition("/")
    if home == "torchvision" and model:
        from vlcam.tasks.from_torchvision import open_torchvision

        return open_torchvision(model, weights=weights, state=state, labels=labels, preprocess=preprocess)
    if home == "timm" and model:
        from vlcam.tasks.from_timm import open_timm

        if weights is not None:
            raise InputError(f"timm's weights are part of the name: timm/{model}.{weights}")
        return open_timm(model, state=state, labels=labels, preprocess=preprocess)
    raise InputError(
        f"{name!r} is neither torchvision/NAME nor timm/NAME, the architectures that a state dict can have"
    )


def _open_hub_model(
    name: str,
    weights: str | None,
    revision: str | None,
    labels: Sequence[str] | None,
    preprocess: Preprocessing | None,
    speech: Mapping[str, Any],
) -> Task:
    if weights is not None:
        raise InputError(f"{name!r} is neither torchvision/NAME nor timm/NAME, the models that weights= is for")
    if not (is_there(name, folders=True) or _HUB_ID.fullmatch(name)):
        raise InputError(f"there is no model {name!r}; expected {_KINDS}")
    from vlcam.tasks.from_transformers import open_transformers

    return open_transformers(name, revision=revision, labels=labels, preprocess=preprocess, **speech)


def _wrap_model(
    model: nn.Module | WrappedNetwork,
    name: str,
    labels: Sequence[str] | None,
    preprocess: Preprocessing | None,
    processor: Any,
    speech: Mapping[str, Any],
) -> Task:
    """A model object as a task, by the library that its class comes from."""
    homes = {one.__module__.partition(".")[0] for one in type(model).__mro__}
    if "transformers" in homes:
        if processor is None and preprocess is None:
            raise InputError(
                f"a {name} was given without its processor; give processor=AutoProcessor.from_pretrained(...)"
            )
        from vlcam.tasks.from_transformers import wrap

        return wrap(model, processor, name, labels=labels, preprocess=preprocess, **speech)
    if "open_clip" in homes:
        from vlcam.tasks.from_open_clip import wrap_open_clip

        return wrap_open_clip(model, processor, name, labels=labels, preprocess=preprocess)
    if find_network(model) is not None:
        if processor is not None:
            raise InputError(f"processor= is for models of transformers, and {name} is not one of them; leave it out")
        return wrap_ultralytics(model, name, labels=labels, preprocess=preprocess)
    if not isinstance(model, nn.Module):
        raise InputError(f"a {name} was given, which is no torch.nn.Module and holds none; expected {_KINDS}")
    if processor is not None:
        raise InputError(
            f"processor= is for models of transformers, and {name} is not one of them; give preprocess= and labels="
        )
    if "timm" in homes:
        from vlcam.tasks.from_timm import wrap_timm

        return wrap_timm(model, name, labels=labels, preprocess=preprocess)
    if labels is None or preprocess is None:
        raise InputError(
            f"a {name} was given, whose classes and preprocessing vlcam doesn't know; give labels= and preprocess= "
            "(vlcam.Preprocess makes one), or write a task for it: see Captioning and VQA in vlcam.tasks"
        )
    from vlcam.tasks.from_torchvision import wrap_torchvision

    found = wrap_torchvision(model, name, labels=labels, preprocess=preprocess)
    return replace(found, name=name)


def check_device(device: str | torch.device | None) -> torch.device | None:
    """The device with this name, or None for none. Raises InputError if this machine doesn't have it."""
    if device is None:
        return None
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device {str(device)!r} can't be used: {describe_error(error)}; expected cpu, or cuda with a GPU"
        ) from error
