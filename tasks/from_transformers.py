"""transformers' models as tasks: by folder, by hub id, or from memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, Task
from vlcam.engine.find_layer import propose
from vlcam.engine.outputs import find_logits, to_model
from vlcam.engine.restore import preserve_model
from vlcam.files import refuse_broken
from vlcam.tasks.answering import Answering
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.class_outputs import Activation
from vlcam.tasks.classification import Classification, Preprocessing
from vlcam.tasks.from_vilt import wrap_vilt
from vlcam.tasks.hub_families import CLASSIFIERS, FAMILIES, find_tower, find_tower_layer
from vlcam.tasks.hub_files import MATCHING, ZERO_SHOT, fetch, find_model_class, open_model, open_processor
from vlcam.tasks.hub_inputs import HubInputs, HubTokenizer
from vlcam.tasks.hub_photos import HubPreprocess, make_hub_preprocess
from vlcam.tasks.hub_places import follow_input
from vlcam.tasks.hub_questions import find_reading
from vlcam.tasks.hub_speech import HubSpeech

_WRITTEN = "the files that save_pretrained writes for the model and its processor"

Kind = Literal["classification", "captioning", "vqa"]


def open_transformers(
    name: str,
    *,
    revision: str | None = None,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
    task: Kind | None = None,
    beams: int = 1,
    length: int = 40,
) -> Task:
    """A model of transformers from a folder of ``save_pretrained``, the cache, or the hub.

    Safetensors are preferred, other checkpoints are read as plain data only (``weights_only=True``), and no code from the repository runs
    (``trust_remote_code`` stays off).

    Args:
        name: a folder or a hub id such as ``microsoft/resnet-50``.
        revision: a branch, tag or commit of the hub's repository.
        labels: the class names; by default the configuration's ``id2label``.
        preprocess: by default the model's own image processor.
        task: what the model is to do, if it can do more than one task; by default what it was made for.
        beams: how many beams a model that writes text searches with.
        length: the most tokens that it writes.

    Raises:
        InputError: the model or its processor can't be found or read, or vlcam doesn't know how to use it.
    """
    from transformers import AutoConfig

    config = fetch(AutoConfig, name, revision)
    with refuse_broken(f"the configuration of {name}", _WRITTEN):
        auto = find_model_class(config, name)
    model = open_model(auto, name, revision).eval()
    return wrap(
        model,
        open_processor(model, name, revision),
        name if not Path(name).is_dir() else Path(name).resolve().name,
        labels=labels,
        preprocess=preprocess,
        task=task,
        beams=beams,
        length=length,
    )


def wrap(
    model: Any,
    processor: Any,
    name: str,
    *,
    labels: Sequence[str] | None = None,
    preprocess: Preprocessing | None = None,
    task: Kind | None = None,
    beams: int = 1,
    length: int = 40,
) -> Task:
    """A model of transformers in memory, with its processor, as a task; the options are those of :func:`open_transformers`."""
    made = type(model).__name__
    if "ForImageClassification" in made:  # also ...WithTeacher, and Perceiver's three
        _check_task(task, "classification", name)
        return wrap_classifier(
            model,
            name,
            labels=labels,
            preprocess=preprocess or make_hub_preprocess(model, _get_image_processor(processor)),
        )
    if made in ZERO_SHOT:
        from vlcam.tasks.zero_shot import wrap_zero_shot

        _check_task(task, "classification", name)
        _check_preprocess(preprocess, name)
        return wrap_zero_shot(model, processor, name, labels=labels)
    if made in MATCHING:
        from vlcam.tasks.matching import wrap_matching

        _check_task(task, "classification", name)
        _check_preprocess(preprocess, name)
        return wrap_matching(model, processor, name, labels=labels)
    if labels is not None or preprocess is not None:
        raise InputError(f"{name} writes text, so it takes no labels and no preprocess; leave them out")
    if made == "ViltForQuestionAnswering":
        _check_task(task, "vqa", name)
        return wrap_vilt(model, processor, name)
    if not hasattr(model, "generate"):
        raise InputError(
            f"{name} is a {made}, which neither classifies nor writes text; write a task for it: see Captioning and VQA in vlcam.tasks"
        )
    if task == "classification":
        raise InputError(f"{name} is a {made}, which writes text and has no classes; ask for a caption or an answer")
    chosen: Literal["captioning", "vqa"] = task or ("vqa" if made.endswith("ForQuestionAnswering") else "captioning")
    return wrap_writer(model, processor, name, chosen, beams=beams, length=length)


def _check_task(task: Kind | None, able: Kind, name: str) -> None:
    if task not in (None, able):
        raise InputError(f"{name} is a model for {able}, not for {task}")


def _check_preprocess(preprocess: Preprocessing | None, name: str) -> None:
    if preprocess is not None:
        raise InputError(f"{name} prepares photos with its own processor, so it takes no preprocess; leave it out")


def wrap_writer(
    model: Any, processor: Any, name: str, kind: Literal["captioning", "vqa"], *, beams: int = 1, length: int = 40
) -> Captioning | Answering:
    """A model that writes captions or answers as a task."""
    family = FAMILIES.get(model.config.model_type)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise InputError(
            f"the processor of {name} is a {type(processor).__name__} without a tokenizer; give the model's own processor"
        )
    inputs = HubInputs(model, processor, tokenizer, family)
    tower = find_tower(model)
    speech = HubSpeech(tower, length=length, beams=beams)
    tokens = HubTokenizer(tokenizer, inside=inputs.is_continuation(kind))
    layer = find_tower_layer(model, family, tower) if family is not None and tower is not None else None
    notes: tuple[str, ...] = ()
    if layer is None:
        layer, share = _guess_layer(model, inputs, speech, kind, tower)
        notes = (describe_guess(layer, model.config.model_type, share),)
    shared: dict[str, Any] = {
        "model": model, "tokens": tokens, "generate": speech.generate, "logits": speech.compute_logits,
        "logits_of_batch": speech.compute_batch_logits, "layer": layer, "name": name,
        "layout": inputs.get_layout, "notes": notes, "encode": lambda model, made: speech.look(model, made["inputs"]),
    }  # fmt: skip
    if kind == "captioning":
        continued = HubTokenizer(tokenizer, inside=True) if inputs.goes_on else None
        return Captioning(
            preprocess=inputs.prepare_caption, prompted=inputs.replace_prompt, continued=continued, **shared
        )
    return Answering(
        ask=inputs.prepare_question,
        end=inputs.choose_end(speech.find_end_ids(model)),
        reading=lambda made, question: find_reading(model, tokenizer, made["inputs"], question),
        **shared,
    )


def describe_guess(layer: str, kind: str, share: float) -> str:
    """The note on a layer that vlcam chose by itself for a model that it doesn't know."""
    return (
        f"The layer {layer} was guessed by tracing, as vlcam has no entry for {kind} models; {share:.0%} of its gradient lay on the "
        "photo's patches in a trial run."
    )


def _guess_layer(model: Any, inputs: HubInputs, speech: HubSpeech, kind: str, tower: str | None) -> tuple[str, float]:
    """The layer to explain for an unknown family, from a trial run, and how much of its gradient lies on patches."""
    noise = _make_noise()
    made, geometry = (
        inputs.prepare_caption(noise) if kind == "captioning" else inputs.prepare_question(noise, "What is this?")
    )
    ids = inputs.tokenizer("a", add_special_tokens=False)["input_ids"][:1]

    def run(inputs: Any) -> Tensor:
        first: Tensor = speech.compute_logits(model, speech.look(model, inputs), ids)[0, ids[0]]
        return first

    try:
        best = propose(model, run, to_model(made["inputs"], model), geometry.input_size, within=tower or "")[0]
    except (LayerError, InputError) as error:
        raise InputError(
            f"vlcam doesn't know {model.config.model_type} models, and a trial run found no layer to explain: {error}"
        ) from error
    return best.layer, best.share


def _make_noise() -> Any:
    from PIL import Image

    noise = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8, device="cpu")
    return Image.fromarray(noise.numpy())


def wrap_classifier(
    model: nn.Module, name: str, *, labels: Sequence[str] | None = None, preprocess: Preprocessing
) -> Classification:
    """An image classifier of transformers in memory as a task. The layer to explain is found by a trial run on noise."""
    config: Any = model.config
    if type(model).__name__ == "Siglip2ForImageClassification" and isinstance(preprocess, HubPreprocess):
        return _wrap_patches(model, name, labels, preprocess.processor)
    known = config.model_type in CLASSIFIERS
    with refuse_broken(f"the configuration of {name}", _WRITTEN, fault="doesn't fit its model: {}"):
        inputs, geometry = preprocess(_make_noise())
        inputs = to_model(inputs, model)
        best = propose(
            model, lambda inputs: find_logits(model(inputs)).max(), inputs, geometry.input_size, prove=not known
        )[0]
        own = tuple(labels or _list_labels(model, inputs))
    notes: tuple[str, ...] = () if known else (describe_guess(best.layer, config.model_type, best.share),)
    kind = config.problem_type
    if kind is None and config.num_labels == 1:
        kind = "regression"  # as transformers trains such a model
        notes += (
            "The model has one output and no problem_type, so it is treated as a regression, as transformers does.",
        )
    activations: dict[str | None, Activation] = {"multi_label_classification": "sigmoid", "regression": "quantities"}
    return Classification(
        model,
        labels=own,
        preprocess=preprocess,
        layer=best.layer,
        layout=follow_input(best.layout, preprocess),
        activation=activations.get(kind, "softmax"),
        name=name,
        notes=notes,
    )


def _wrap_patches(model: Any, name: str, labels: Sequence[str] | None, processor: Any) -> Classification:
    """SigLIP 2, which takes a photo at its own proportions as a row of patches."""
    from vlcam.tasks.zero_shot import PatchPreprocess, lay_out_patches

    preprocess = PatchPreprocess(processor)
    inputs = to_model(preprocess(_make_noise())[0], model)
    return Classification(
        model,
        labels=tuple(labels or _list_labels(model, inputs)),
        preprocess=preprocess,
        layer="vision_model.post_layernorm",
        layout=lay_out_patches,
        logits=lambda model, inputs: find_logits(model(**inputs)),
        name=name,
    )


def _list_labels(model: Any, inputs: Any) -> Sequence[str]:
    """The names of the classes that the configuration has, or else their numbers."""
    named = model.config.id2label
    if named:
        return tuple(str(named[number]) for number in sorted(named))
    with preserve_model(model), torch.no_grad():
        count = find_logits(model(**inputs) if isinstance(inputs, dict) else model(inputs)).shape[-1]
    return tuple(f"class {number}" for number in range(count))


def _get_image_processor(processor: Any) -> Any:
    return getattr(processor, "image_processor", None) or processor
