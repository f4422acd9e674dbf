"""The files of a transformers model: configuration, weights and processor, from a folder, the cache or the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from vlcam.contracts import InputError, show_record

ZERO_SHOT = ("CLIPModel", "SiglipModel", "Siglip2Model", "ChineseCLIPModel", "AlignModel")
"""Models that compare a photo with texts."""
MATCHING = (
    "BlipForImageTextRetrieval",
    "Blip2ForImageTextRetrieval",
    "ViltForImageAndTextRetrieval",
    "BridgeTowerForImageAndTextRetrieval",
)
"""Models that read a photo and a text together and say whether they match."""


@final
@dataclass(frozen=True)
class ProcessorPair:
    """An image processor and a tokenizer that were saved without a processor around them."""

    image_processor: Any
    tokenizer: Any

    __repr__ = show_record

    def __call__(self, images: Any, **options: Any) -> Any:
        """The photos, processed."""
        return self.image_processor(images=images, **options)


def open_processor(model: Any, name: str, revision: str | None) -> Any:
    """The processor that a model was saved with. Raises InputError if there is none that can be read."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if type(model).__name__.endswith("ForImageClassification"):
        return fetch(AutoImageProcessor, name, revision)
    if model.config.model_type == "vision-encoder-decoder":
        return ProcessorPair(fetch(AutoImageProcessor, name, revision), fetch(AutoTokenizer, name, revision))
    return fetch(AutoProcessor, name, revision)


def find_model_class(config: Any, name: str) -> Any:
    """The class that loads a model of this configuration: the one it was saved from, if vlcam can use that."""
    import transformers

    (made,) = (config.architectures or [""])[:1]
    talks = "ForImageClassification" in made or made.endswith(
        ("ForQuestionAnswering", "ForConditionalGeneration", "ForVisionText2Text")
    )
    if (
        made
        and (talks or made in ("GitForCausalLM", "VisionEncoderDecoderModel", *ZERO_SHOT, *MATCHING))
        and hasattr(transformers, made)
    ):
        if made.endswith("ForQuestionAnswering") and made not in (
            "BlipForQuestionAnswering",
            "ViltForQuestionAnswering",
        ):
            raise InputError(
                f"{name} is a {made}, which takes no photos; give a vision-language model or an image classifier"
            )
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
        f"{name} is a {config.model_type} model ({made or 'unknown'}); vlcam opens image classifiers, captioners, question answerers, "
        "CLIP-like models and image-text matchers by name. Write a task for it: see Captioning and VQA in vlcam.tasks"
    )


def open_model(auto: Any, name: str, revision: str | None) -> Any:
    """The model with its weights: safetensors or, where there are none, a torch checkpoint that is read as plain data."""
    try:
        return fetch(auto, name, revision, use_safetensors=True)
    except InputError as error:
        if "safetensors" not in str(error.__cause__) or not isinstance(error.__cause__, OSError):
            raise
        try:
            return fetch(auto, name, revision, use_safetensors=False, weights_only=True)
        except InputError as second:
            if type(second.__cause__).__name__ != "UnpicklingError":
                raise error from error.__cause__
            raise InputError(
                f"{name} holds no safetensors, and its checkpoint holds more than tensors, so loading it could run code; save it again "
                "with model.save_pretrained(folder)"
            ) from second.__cause__


def fetch(auto: Any, name: str, revision: str | None, **options: Any) -> Any:
    """``auto.from_pretrained``, with one kind of error for all that may go wrong."""
    try:
        with torch.device("cpu"):  # whatever the default device is
            return auto.from_pretrained(name, revision=revision or "main", trust_remote_code=False, **options)
    except Exception as error:  # the hub's client, transformers and safetensors each have their own
        from transformers.utils import hub

        cache = hub.constants.HF_HUB_CACHE  # type: ignore[attr-defined]
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[0].rstrip(".")
        if Path(name).is_dir():
            raise InputError(
                f"{auto.__name__} found nothing it can open in the folder {name}: {reason}; expected the files that save_pretrained writes "
                "for the model and its processor: config.json, model.safetensors, the files of tokenizer and image processor"
            ) from error
        raise InputError(
            f"{auto.__name__} found nothing it can open for {name} (in {cache}, then on the hub): {reason}; fetch it once on a machine "
            f"with network access (hf download {name}) and copy the cache, or set HF_HOME to a folder that has it; with HF_HUB_OFFLINE=1 "
            "the hub is not contacted"
        ) from error
