"""Tiny models of transformers that compare photos and texts, one a family, with their processors."""

from typing import Any

import transformers

from tests.support.hub_models import TEXT, VISION, Builder, bytepairs, wordpiece

SIZE = {"height": 64, "width": 64}


def clip() -> tuple[Any, Any]:
    tokenizer = bytepairs()
    tokenizer._tokenizer.post_processor = None
    made: Any = transformers.CLIPConfig
    config = made(vision_config={**VISION, "projection_dim": 16}, projection_dim=16,
                  text_config={**TEXT, "vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2,
                               "max_position_embeddings": 32})  # fmt: skip
    photos = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=SIZE)
    return transformers.CLIPModel(config), transformers.CLIPProcessor(photos, tokenizer)


def siglip() -> tuple[Any, Any]:
    tokenizer = bytepairs(begin=False)
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "projection_size": 32,
        "pad_token_id": 0,
    }
    made: Any = transformers.SiglipConfig
    photos = transformers.SiglipImageProcessor(size=SIZE)
    config = made(vision_config=VISION, text_config=text)
    return transformers.SiglipModel(config), transformers.SiglipProcessor(photos, tokenizer)


def siglip2() -> tuple[Any, Any]:
    tokenizer = bytepairs(begin=False)
    vision = {name: value for name, value in VISION.items() if name != "image_size"}
    text = {
        **TEXT,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "projection_size": 32,
        "pad_token_id": 0,
    }
    made: Any = transformers.Siglip2Config
    photos = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=64)
    config = made(vision_config={**vision, "num_patches": 64}, text_config=text)
    return transformers.Siglip2Model(config), transformers.Siglip2Processor(photos, tokenizer)


def chinese_clip() -> tuple[Any, Any]:
    tokenizer = wordpiece()
    made: Any = transformers.ChineseCLIPConfig
    config = made(
        vision_config=VISION, text_config={**TEXT, "vocab_size": len(tokenizer), "pad_token_id": 0}, projection_dim=16
    )
    photos = transformers.ChineseCLIPImageProcessor(size=SIZE, crop_size=SIZE)
    return transformers.ChineseCLIPModel(config), transformers.ChineseCLIPProcessor(photos, tokenizer)


def align() -> tuple[Any, Any]:
    tokenizer = wordpiece()
    made: Any = transformers.AlignConfig
    vision = {"image_size": 64, "width_coefficient": 0.3, "depth_coefficient": 0.3, "hidden_dim": 32}
    config = made(
        vision_config=vision, text_config={**TEXT, "vocab_size": len(tokenizer), "pad_token_id": 0}, projection_dim=96
    )
    photos = transformers.EfficientNetImageProcessor(size=SIZE)
    return transformers.AlignModel(config), transformers.AlignProcessor(photos, tokenizer)


BUILDERS: dict[str, Builder] = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": siglip2,
    "chinese_clip": chinese_clip,
    "align": align,
}
