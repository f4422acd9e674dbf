"""transformers' models as tasks: by folder, by hub id, or from memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import nn

from vlcam.contracts import InputError, LayerError, Task
from vlcam.engine import unrecorded
from vlcam.layers import Tokens
from vlcam.modules import find_module
from vlcam.photo import as_rgb
from vlcam.plumbing import logits_of, to_model
from vlcam.tasks.answering import Answering
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification, Preprocessing
from vlcam.tasks.hub_families import FAMILIES, tap_of, tower_of
from vlcam.tasks.hub_inputs import HubInputs, HubTokens
from vlcam.tasks.hub_photos import HubPreprocess
from vlcam.tasks.hub_places import measured, shuffled
from vlcam.tasks.hub_questions import question_words, reading_of
from vlcam.tasks.hub_speech import HubSpeech
from vlcam.tasks.reading import Reading
from vlcam.tasks.vqa import VQA
from vlcam.towers import propose

ZERO_SHOT = ("CLIPModel", "SiglipModel", "Siglip2Model", "ChineseCLIPModel", "AlignModel")

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

    Safetensors are preferred, other checkpoints are read as plain data only (``weights_only=True``), and no code of the repository
    runs (``trust_remote_code`` stays off).

    Args:
        name: a folder or a hub id such as ``microsoft/resnet-50``.
        revision: a branch, tag or commit of the hub's repository.
        labels: the class names; by default the configuration's ``id2label``.
        preprocess: by default the model's own image processor.
        task: what it shall do, for a model that can do several things; by default what it was made for.
        beams: how widely a model that writes searches.
        length: how many tokens it writes at most.

    Raises:
        InputError: the model or its processor can't be found or read, or vlcam doesn't know how to talk to it.
    """
    from transformers import AutoConfig

    config = _fetched(AutoConfig, name, revision)
    auto = _auto_of(config, name)
    model = _weights(auto, name, revision)
    return wrap(
        model,
        _processor_of(model, name, revision),
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
    if made.endswith("ForImageClassification"):
        _only(task, "classification", name)
        return wrap_classifier(
            model, name, labels=labels, preprocess=preprocess or HubPreprocess(_photos_of(processor))
        )
    if made in ZERO_SHOT:
        from vlcam.tasks.zero_shot import wrap_zero_shot

        _only(task, "classification", name)
        return wrap_zero_shot(model, processor, name, labels=labels)
    if labels is not None or preprocess is not None:
        raise InputError(f"{name} writes texts, so it takes no labels and no preprocess")
    if made == "ViltForQuestionAnswering":
        _only(task, "vqa", name)
        return wrap_vilt(model, processor, name)
    if not hasattr(model, "generate"):
        raise InputError(
            f"{name} is a {made}, which neither classifies nor writes; write a task for it: see Captioning and VQA in vlcam.tasks"
        )
    if task == "classification":
        raise InputError(f"{name} is a {made}, which writes texts and has no classes; ask for a caption or an answer")
    chosen: Literal["captioning", "vqa"] = task or ("vqa" if made.endswith("ForQuestionAnswering") else "captioning")
    return wrap_writer(model, processor, name, chosen, beams=beams, length=length)


def _only(task: Kind | None, able: Kind, name: str) -> None:
    if task not in (None, able):
        raise InputError(f"{name} does {able} only, and {task} was asked for")


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
    inputs = HubInputs(model.eval(), processor, tokenizer, family)
    tower = tower_of(model)
    speech = HubSpeech(tower, length=length, beams=beams)
    tokens = HubTokens(tokenizer, inside=inputs.inside(kind))
    layer = tap_of(model, family, tower) if family is not None and tower is not None else None
    notes: tuple[str, ...] = ()
    if layer is None:
        layer, share = _guessed(model, inputs, speech, kind, tower)
        notes = (
            f"The layer {layer} was guessed by tracing, as vlcam has no entry for {model.config.model_type} models; "
            f"{share:.0%} of its gradient lay on the photo's patches in a trial run.",
        )
    shared: dict[str, Any] = {
        "model": model, "tokens": tokens, "generate": speech.generate, "logits": speech.logits, "layer": layer, "name": name,
        "layout": inputs.layout, "notes": notes, "encode": lambda model, made: speech.look(model, made["inputs"]),
    }  # fmt: skip
    if kind == "captioning":
        return Captioning(preprocess=inputs.caption, prompted=inputs.prompted, **shared)
    return Answering(
        ask=inputs.question,
        end=inputs.end(speech.ends(model)),
        reading=lambda made, question: reading_of(model, tokenizer, made["inputs"], question),
        **shared,
    )


def _guessed(model: Any, inputs: HubInputs, speech: HubSpeech, kind: str, tower: str | None) -> tuple[str, float]:
    """The layer to explain of a family that isn't known, from a trial run, and how much of its gradient lies on patches."""
    noise = _noise()
    made, geometry = inputs.caption(noise) if kind == "captioning" else inputs.question(noise, "What is this?")
    ids = inputs.tokenizer("a", add_special_tokens=False)["input_ids"][:1]
    looked = speech.look(model, to_model(made["inputs"], model))
    try:
        best = propose(
            model, lambda: speech.logits(model, looked, ids)[0, ids[0]], geometry.input_size, within=tower or ""
        )[0]
    except (LayerError, InputError) as error:
        raise InputError(
            f"vlcam doesn't know {model.config.model_type} models, and no layer to explain was found by a trial run: {error}"
        ) from error
    return best.layer, best.share


def _noise() -> Any:
    from PIL import Image

    noise = torch.randint(256, (64, 64, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Image.fromarray(noise.numpy())


def wrap_vilt(model: Any, processor: Any, name: str) -> VQA:
    """ViLT, which answers from a list: its patches come in random order, which is made the same in every run."""
    layer = tap_of(model.eval(), FAMILIES["vilt"], "vilt.encoder")
    if layer is None:
        raise InputError(
            f"{name} has no layer vilt.encoder.layer.N.layernorm_before; give a transformers version that has it"
        )
    labels = tuple(model.config.id2label[number] for number in sorted(model.config.id2label))
    known: dict[tuple[int, int], Any] = {}

    def preprocess(photo: Any) -> Any:
        rgb = as_rgb(photo)
        if rgb.size not in known:
            known[rgb.size] = measured(
                lambda other: processor.image_processor(images=other, return_tensors="pt")["pixel_values"], rgb.size
            )
        (tile,) = known[rgb.size]
        return dict(processor.image_processor(images=rgb, return_tensors="pt")), tile

    def layout(inputs: Any, question: Any) -> Tokens:
        with unrecorded(), seeded():
            return Tokens(shuffled(model, {**inputs, **question}))

    def logits(model: Any, inputs: Any, question: Any) -> torch.Tensor:
        with seeded():
            found: torch.Tensor = model(**inputs, **question).logits
        return found

    def reading(question: Any, text: str) -> Reading | None:
        words = question_words(processor.tokenizer, question["input_ids"][0].tolist(), text)
        return Reading(find_module(model, layer)[1], (), words) if words else None

    return VQA(
        model,
        answers=labels,
        preprocess=preprocess,
        read=lambda question: dict(processor.tokenizer(question, return_tensors="pt")),
        logits=logits,
        layer=layer,
        layout=layout,
        reading=reading,
        activation="sigmoid",  # trained with binary cross-entropy over its answers
        name=name,
    )


@contextmanager
def seeded() -> Iterator[None]:
    """The same random numbers inside, and outside the ones that would have come."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def wrap_classifier(
    model: nn.Module, name: str, *, labels: Sequence[str] | None = None, preprocess: Preprocessing
) -> Classification:
    """An image classifier of transformers in memory as a task. The layer to explain is found by a trial run on noise."""
    config: Any = model.config
    inputs, geometry = preprocess(_noise())
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
        name=name,
    )


@final
@dataclass(frozen=True)
class _Pair:
    """An image processor and a tokenizer that were saved without a processor around them."""

    image_processor: Any
    tokenizer: Any

    def __call__(self, images: Any, **options: Any) -> Any:
        return self.image_processor(images=images, **options)


def _photos_of(processor: Any) -> Any:
    return getattr(processor, "image_processor", None) or processor


def _processor_of(model: Any, name: str, revision: str | None) -> Any:
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if type(model).__name__.endswith("ForImageClassification"):
        return _fetched(AutoImageProcessor, name, revision)
    if model.config.model_type == "vision-encoder-decoder":
        return _Pair(_fetched(AutoImageProcessor, name, revision), _fetched(AutoTokenizer, name, revision))
    return _fetched(AutoProcessor, name, revision)


def _auto_of(config: Any, name: str) -> Any:
    """The class that loads a model of this configuration: the one it was saved from, if vlcam can talk to that."""
    import transformers

    (made,) = (config.architectures or [""])[:1]
    talks = made.endswith(
        ("ForImageClassification", "ForQuestionAnswering", "ForConditionalGeneration", "ForVisionText2Text")
    )
    if (
        made
        and (talks or made in ("GitForCausalLM", "VisionEncoderDecoderModel", *ZERO_SHOT))
        and hasattr(transformers, made)
    ):
        if made.endswith("ForQuestionAnswering") and made not in (
            "BlipForQuestionAnswering",
            "ViltForQuestionAnswering",
        ):
            raise InputError(f"{name} is a {made}, which doesn't look at photos")
        return getattr(transformers, made)
    for auto in (
        "AutoModelForImageClassification",
        "AutoModelForImageTextToText",
        "AutoModelForVisualQuestionAnswering",
    ):
        found = getattr(transformers, auto, None)
        if found is not None and type(config) in found._model_mapping:
            return found
    raise InputError(
        f"{name} is a {config.model_type} model ({made or 'unknown'}); vlcam opens image classifiers, captioners, question answerers "
        "and CLIP-like models by name. Write a task for it: see Captioning and VQA in vlcam.tasks"
    )


def _weights(auto: Any, name: str, revision: str | None) -> Any:
    """The model with its weights: safetensors, or where there are none a checkpoint of torch's that is read as plain data."""
    try:
        return _fetched(auto, name, revision, use_safetensors=True)
    except InputError as error:
        if "safetensors" not in str(error.__cause__) or not isinstance(error.__cause__, OSError):
            raise
        try:
            return _fetched(auto, name, revision, use_safetensors=False, weights_only=True)
        except InputError as second:
            if type(second.__cause__).__name__ != "UnpicklingError":
                raise error from error.__cause__
            raise InputError(
                f"{name} holds no safetensors, and its checkpoint holds more than tensors, so loading it could run code; save it again "
                "with model.save_pretrained(folder)"
            ) from second.__cause__


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
