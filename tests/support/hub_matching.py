"""Tiny models of transformers that say whether a photo and a text match, one a family, with their processors."""

from typing import Any

import transformers

from tests.support.hub_captioners import QFORMER, SQUARE, opt_tokenizer
from tests.support.hub_models import TEXT, VISION, Builder, wordpiece


def blip() -> tuple[Any, Any]:
    tokenizer = wordpiece()
    text = {**TEXT, "vocab_size": len(tokenizer), "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
            "encoder_hidden_size": 32}  # fmt: skip
    config = transformers.BlipConfig(
        text_config=text, vision_config=VISION, projection_dim=16, image_text_hidden_size=16
    )
    photos = transformers.BlipImageProcessor(size=SQUARE)
    return transformers.BlipForImageTextRetrieval(config), transformers.BlipProcessor(photos, tokenizer)


def blip_2() -> tuple[Any, Any]:
    """Four queries and the text's tokens in one Q-Former, which looks at the photo's patches."""
    tokenizer = wordpiece()
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    queries = {**QFORMER, "vocab_size": len(tokenizer), "use_qformer_text_input": True, "max_position_embeddings": 40}
    text: Any = transformers.OPTConfig(
        hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=len(opt_tokenizer()), max_position_embeddings=64,
    )  # fmt: skip
    config = transformers.Blip2Config(
        vision_config=VISION, qformer_config=queries, text_config=text.to_dict(), num_query_tokens=4, image_text_hidden_size=16,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    photos = transformers.BlipImageProcessor(size=SQUARE)
    return transformers.Blip2ForImageTextRetrieval(config), transformers.Blip2Processor(photos, tokenizer, 4)


def vilt() -> tuple[Any, Any]:
    """Photo and text in one stream, patches in random order, one output."""
    tokenizer = wordpiece()
    config = transformers.ViltConfig(
        **{**VISION, **TEXT, "num_hidden_layers": 3, "max_position_embeddings": 40}, vocab_size=len(tokenizer), max_image_length=-1,
    )  # fmt: skip
    photos: Any = transformers.ViltImageProcessor
    photos = photos(size={"shortest_edge": 64}, size_divisor=8)
    return transformers.ViltForImageAndTextRetrieval(config), transformers.ViltProcessor(photos, tokenizer)


def bridgetower() -> tuple[Any, Any]:
    """The last blocks of both towers are joined by bridges; the vision tower has its tokens before the batch."""
    tokenizer = wordpiece()
    text = {
        **TEXT,
        "num_hidden_layers": 3,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    vision = {"hidden_size": 64, "num_hidden_layers": 3, "image_size": 64, "patch_size": 8}
    made: Any = transformers.BridgeTowerConfig
    config = made(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, text_config=text, vision_config=vision,
        share_link_tower_layers=False,
    )  # fmt: skip
    photos: Any = transformers.BridgeTowerImageProcessor
    photos = photos(size={"shortest_edge": 64}, crop_size={"shortest_edge": 64}, size_divisor=8)
    return transformers.BridgeTowerForImageAndTextRetrieval(config), transformers.BridgeTowerProcessor(
        photos, tokenizer
    )


BUILDERS: dict[str, Builder] = {
    name: build
    for name, build in {"blip": blip, "blip-2": blip_2, "vilt": vilt, "bridgetower": bridgetower}.items()
    if hasattr(
        transformers,
        {
            "blip": "BlipForImageTextRetrieval",
            "blip-2": "Blip2ForImageTextRetrieval",
            "vilt": "ViltForImageAndTextRetrieval",
            "bridgetower": "BridgeTowerForImageAndTextRetrieval",
        }[name],
    )
}
