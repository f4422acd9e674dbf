"""transformers' models as tasks: by folder, by hub id, or from memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlcam.contracts import InputError, Task
from vlcam.plumbing import logits_of, to_model
from vlcam.tasks.classification import Classification, Preprocessing
from vlcam.tasks.hub_photos import HubPreprocess
from vlcam.towers import propose


def open_transformers(
    name: str,
    *,
    revision: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
) -> Task:
    """A model of transformers from a folder of ``save_pretrained``, the cache, or the hub.

    Safetensors only, and no code of the repository runs (``trust_remote_code`` stays off).

    Args:
        name: a folder or a hub id such as ``microsoft/resnet-50``.
        revision: a branch, tag or commit of the hub's repository.
        labels: the class names; by default the configuration's ``id2label``.
        preprocess: by default the model's own image processor.

    Raises:
        InputError: the model or its image processor can't be found or read, or vlcam doesn't know how to talk to it.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

    config = _fetched(AutoConfig, name, revision)
    if type(config) not in AutoModelForImageClassification._model_mapping:
        kinds = ", ".join(config.architectures or ["unknown"])
        raise InputError(
            f"{name} is a {config.model_type} model ({kinds}); vlcam opens image classifiers by name so far. Write a task "
            "for it: see Captioning and VQA in vlcam.tasks"
        )
    model = _fetched(AutoModelForImageClassification, name, revision, use_safetensors=True)
    prepare = preprocess or HubPreprocess(_fetched(AutoImageProcessor, name, revision))
    return wrap_classifier(model, name, labels=labels, preprocess=prepare)


def wrap_classifier(
    model: nn.Module, name: str, *, labels: Sequence[str] | None = None, preprocess: Preprocessing
) -> Classification:
    """An image classifier of transformers in memory as a task. The layer to explain is found by a trial run on noise."""
    from PIL import Image

    config: Any = model.config
    noise = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    inputs, geometry = preprocess(Image.fromarray(noise.numpy()))
    inputs = to_model(inputs, model)
    best = propose(model.eval(), lambda: logits_of(model(inputs)).max(), geometry.input_size)[0]
    multi = config.problem_type == "multi_label_classification"
    return Classification(
        model,
        labels=tuple(labels or (config.id2label[number] for number in sorted(config.id2label))),
        preprocess=preprocess,
        layer=best.layer,
        layout=best.layout,
        activation="sigmoid" if multi else "softmax",
        name=name if not Path(name).is_dir() else Path(name).resolve().name,
    )


def _fetched(auto: Any, name: str, revision: str | None, **options: Any) -> Any:
    """``auto.from_pretrained``, with one error for all that may go wrong."""
    try:
        return auto.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **options)
    except Exception as error:  # the hub's client, transformers and safetensors each have their own
        from transformers.utils import hub

        cache = hub.constants.HF_HUB_CACHE  # type: ignore[attr-defined]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        where = f"the folder {name}" if Path(name).is_dir() else f"{name} (in {cache}, then on the hub)"
        raise InputError(
            f"{auto.__name__} found nothing it can open for {where}: {lines[0]} For a model of the hub, fetch it once on a machine "
            f"with network (hf download {name}) and copy the cache, or set HF_HOME to a folder that has it; with HF_HUB_OFFLINE=1 "
            "the hub isn't asked"
        ) from error
