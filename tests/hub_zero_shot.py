"""Tiny models of transformers that compare photos and texts, one a family, with their processors."""

from typing import Any

import torch
import transformers

from tests.hub_models import TEXT, VISION, Builder, bytepairs, wordpiece

WORDS: dict[str, Any] = {**TEXT, "max_position_embeddings": 40}
SQUARE = {"height": 64, "width": 64}
CROPPED: dict[str, Any] = {"size": {"shortest_edge": 64}, "crop_size": SQUARE}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _ending() -> Any:
    """A tokenizer that ends each text, as CLIP's and SigLIP's do, and gives ids alone."""
    from tokenizers import processors

    tokenizer = bytepairs(begin=False)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


def clip() -> tuple[Any, Any]:
    tokenizer = _ending()
    made: Any = transformers.CLIPConfig
    config = made(text_config={**WORDS, **ENDS, "vocab_size": len(tokenizer)}, vision_config=VISION, projection_dim=16)
    return transformers.CLIPModel(config), transformers.CLIPProcessor(
        transformers.CLIPImageProcessor(**CROPPED), tokenizer
    )


def siglip() -> tuple[Any, Any]:
    tokenizer = _ending()
    tokenizer.model_input_names = ["input_ids"]
    made: Any = transformers.SiglipConfig
    text = {**WORDS, **ENDS, "vocab_size": len(tokenizer), "projection_size": 32}
    config = made(text_config=text, vision_config=VISION)
    return transformers.SiglipModel(config), transformers.SiglipProcessor(
        transformers.SiglipImageProcessor(size=SQUARE), tokenizer
    )


def siglip2() -> tuple[Any, Any]:
    """Of any resolution: the photo keeps its proportions."""
    tokenizer = _ending()
    tokenizer.model_input_names = ["input_ids"]
    made: Any = transformers.Siglip2Config
    text = {**WORDS, **ENDS, "vocab_size": len(tokenizer), "projection_size": 32}
    vision = {**{key: value for key, value in VISION.items() if key != "image_size"}, "num_patches": 64}
    photos: Any = transformers.Siglip2ImageProcessor
    return transformers.Siglip2Model(made(text_config=text, vision_config=vision)), transformers.Siglip2Processor(
        photos(patch_size=8, max_num_patches=64), tokenizer
    )


def chinese_clip() -> tuple[Any, Any]:
    tokenizer = wordpiece()
    made: Any = transformers.ChineseCLIPConfig
    config = made(text_config={**WORDS, "vocab_size": len(tokenizer)}, vision_config=VISION, projection_dim=16)
    photos: Any = transformers.ChineseCLIPImageProcessor
    return transformers.ChineseCLIPModel(config), transformers.ChineseCLIPProcessor(photos(**CROPPED), tokenizer)


def align() -> tuple[Any, Any]:
    tokenizer = wordpiece()
    vision = {
        "image_size": 64, "width_coefficient": 1.0, "depth_coefficient": 0.3, "hidden_dim": 24, "in_channels": [32, 16],
        "kernel_sizes": [3, 3], "out_channels": [16, 24], "depthwise_padding": [], "strides": [1, 2], "num_block_repeats": [1, 1],
        "expand_ratios": [1, 6], "num_hidden_layers": 4,
    }  # fmt: skip
    made: Any = transformers.AlignConfig
    config = made(text_config={**WORDS, "vocab_size": len(tokenizer)}, vision_config=vision, projection_dim=24)
    model = transformers.AlignModel(config)
    for module in model.modules():  # random convolutions with batch-norms at rest give almost nothing
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    photos = transformers.EfficientNetImageProcessor(size=SQUARE, do_center_crop=False)
    return model, transformers.AlignProcessor(photos, tokenizer)


BUILDERS: dict[str, Builder] = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": siglip2,
    "chinese_clip": chinese_clip,
    "align": align,
}
