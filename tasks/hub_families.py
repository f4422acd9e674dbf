"""What is known about the generative families of transformers: which layer to tap, and how to prompt them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from torch import nn

from vlcam.engine.modules import named_modules

TOWERS = ("vision_tower", "vision_model", "visual", "image_encoder", "vision_encoder", "encoder")
"""What models call their vision tower, the surest name first."""

DESCRIBE = "Describe this image in one sentence."
"""What chat models are told for a caption."""


@final
@dataclass(frozen=True)
class HubFamily:
    """One family of models that write about photos.

    ``taps`` are paths below the vision tower; the first that exists is explained (``-1`` is the last of a list).
    ``order`` says how the tower's tokens lie on the photo (see :mod:`vlcam.tasks.hub_places`). ``caption`` and ``question`` are
    what the model is told where it has no chat template (``{}`` is the question); None where it can't do that.
    ``tested`` says what the tests run: a model of random weights, saved and opened again.
    """

    model_type: str
    tower: str
    taps: tuple[str, ...]
    order: Literal["rows", "merged", "windows", "shuffled", "patches", "tiles"] = "rows"
    caption: str | None = ""
    question: str | None = None
    tested: str = "caption, order, one forward"


_LAYERS = ("encoder.layers.-1", "layers.-1")
_CLIP = ("vision_model.encoder.layers.-1", *_LAYERS)
_ASK = "USER: <image>\n{} ASSISTANT:"

FAMILIES: dict[str, HubFamily] = {
    family.model_type: family
    for family in (
        HubFamily("blip", "ViT", _LAYERS, question="{}", tested="caption, answer, order, one forward"),
        HubFamily("blip-2", "ViT, then Q-Former", _LAYERS, question="Question: {} Answer:"),
        HubFamily("instructblip", "ViT, then Q-Former", _LAYERS, caption="A short image description:", question="{}"),
        HubFamily("git", "CLIP ViT", _CLIP, question="{}"),
        HubFamily("vision-encoder-decoder", "ViT or Swin", ("encoder.layers.-1", "layers.-1", "layernorm")),
        HubFamily("kosmos-2", "CLIP ViT, then latents", ("model.encoder.layers.-1", *_LAYERS), caption="An image of",
               question="Question: {} Answer:"),
        HubFamily("pix2struct", "ViT, variable grid", ("encoder.layer.-1",), "patches"),
        HubFamily("florence2", "DaViT", ("blocks.-1.-1",), caption="<CAPTION>"),
        HubFamily("vilt", "ViT, one stream", ("layer.-1.layernorm_before",), "shuffled", caption=None, question="{}",
               tested="answer, order, one forward"),
        HubFamily("llava", "CLIP ViT", _CLIP, caption=_ASK.format(DESCRIBE), question=_ASK),
        HubFamily("vipllava", "CLIP ViT", _CLIP, caption=_ASK.format(DESCRIBE), question=_ASK),
        HubFamily("llava_next", "CLIP ViT, tiles", _CLIP, "tiles", caption=_ASK.format(DESCRIBE), question=_ASK),
        HubFamily("llava_onevision", "SigLIP ViT, tiles", _CLIP, "tiles", caption=DESCRIBE, question="{}"),
        HubFamily("paligemma", "SigLIP ViT", ("post_layernorm", "vision_model.post_layernorm"), caption="caption en",
               question="answer en {}"),
        HubFamily("gemma3", "SigLIP ViT", ("post_layernorm", "vision_model.post_layernorm"), caption=DESCRIBE, question="{}"),
        HubFamily("internvl", "ViT, tiles", ("encoder.layer.-1",), "tiles", caption=DESCRIBE, question="{}"),
        HubFamily("idefics3", "SigLIP ViT, tiles", ("post_layernorm",), "tiles", caption=DESCRIBE, question="{}"),
        HubFamily("smolvlm", "SigLIP ViT, tiles", ("post_layernorm",), "tiles", caption=DESCRIBE, question="{}"),
        HubFamily("fast_vlm", "FastViT (convolutional)", ("timm_model.final_conv", "timm_model.stages.-1"), caption=DESCRIBE,
               question="{}"),
        HubFamily("qwen2_vl", "ViT, merged 2 x 2", ("blocks.-1",), "merged", caption=DESCRIBE, question="{}"),
        HubFamily("qwen2_5_vl", "ViT, windows", ("blocks.-1",), "windows", caption=DESCRIBE, question="{}"),
        HubFamily("qwen3_vl", "ViT, merged 2 x 2", ("blocks.-1",), "merged", caption=DESCRIBE, question="{}"),
    )
}  # fmt: skip


CLASSIFIERS: dict[str, str] = {
    "resnet": "convolutional",
    "regnet": "convolutional",
    "convnextv2": "convolutional",
    "pvt_v2": "hierarchical transformer",
    "swin": "Swin",
    "swinv2": "Swin",
    "vit": "ViT, class token",
    "deit": "ViT, class and distillation token",
    "beit": "ViT, pooled",
    "dinov2": "ViT, class token and patches",
    "timm_wrapper": "any of timm",
    "dinov2_with_registers": "ViT, class token and patches",
}
"""The image classifiers that the tests run; any other is explained as well, with a note that its layer was guessed."""


ZERO_SHOT_TOWERS: dict[str, str] = {
    "clip": "ViT, class token",
    "siglip": "ViT, attention pooling",
    "siglip2": "ViT, attention pooling",
    "chinese_clip": "ViT, class token",
    "align": "convolutional",
}
"""Of the models that compare photos with texts, those that the tests run."""


MATCHING_TOWERS: dict[str, str] = {
    "blip": "ViT",
    "blip-2": "ViT, then Q-Former",
    "vilt": "ViT, one stream",
    "bridgetower": "CLIP ViT, bridges to the text",
}
"""Of the models with a head that says whether photo and text match, those that the tests run."""


def find_tower(model: nn.Module) -> str | None:
    """The dotted name of the vision tower, or None if no module has a known name."""
    names = [name for name in named_modules(model) if name]
    for wanted in TOWERS:
        found = [name for name in names if name.rsplit(".", 1)[-1] == wanted]
        if found:
            return min(found, key=lambda name: name.count("."))
    return None


def find_tower_layer(model: nn.Module, family: HubFamily, tower: str) -> str | None:
    """The dotted name of the layer to explain, or None if this version of the model has no such layer."""
    config: Any = model.config
    chosen = getattr(config, "vision_feature_layer", None)
    names = named_modules(model)
    for tap in family.taps:
        path = tower
        for part in tap.split("."):
            if part == "-1":
                inner = names[path]
                count = len(inner) if isinstance(inner, nn.ModuleList) else 0
                read = chosen if chosen is not None and tap.endswith(("layer.-1", "layers.-1")) else -1
                path = f"{path}.{_find_deepest(read, count)}"
            else:
                path = f"{path}.{part}"
            if path not in names:
                break
        else:
            return path
    return None


def _find_deepest(chosen: int | Sequence[int], count: int) -> int:
    """The last of ``count`` layers that LLaVA's projector reads; hidden state 0 is before the first, -1 after the last."""
    numbers = [chosen] if isinstance(chosen, int) else chosen
    return max(count + number if number < 0 else number - 1 for number in numbers)
