"""Tiny chat models of transformers, with their templates."""

from typing import Any

import pytest
import torch
import transformers

from tests.support.hub_models import CHAT, LLAMA, VISION, Builder, bytepairs, qwen

# As on the hub, where the system's message is a text and the user's a list of parts.
LISTED = (
    "{{ bos_token }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ 'IMAGE' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Idefics3's and SmolVLM's: the answer goes on from the line.
COLON = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% elif part['type'] == 'image' %}"
    "{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
VICUNA = (
    "{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] if part['type'] == 'image' %}"
    "{{ '<image>\n' }}{% endfor %}{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN_VISION: dict[str, Any] = {
    "depth": 3, "hidden_size": 32, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "patch_size": 8,
    "spatial_merge_size": 2, "temporal_patch_size": 2,
}  # fmt: skip


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {**LLAMA, "vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **more}


def qwen2_5_vl() -> tuple[Any, Any]:
    """Windows of 2 x 2 merged tokens: 32 pixels."""
    return qwen("Qwen2_5_VL", {**QWEN_VISION, "window_size": 32, "fullatt_block_indexes": [2]})


def qwen3_vl() -> tuple[Any, Any]:
    """The second block's output goes to the language model, too (DeepStack)."""
    vision = {**QWEN_VISION, "num_position_embeddings": 64, "deepstack_visual_indexes": [1]}
    return qwen("Qwen3VL", vision)


def internvl(tiles: int = 6) -> tuple[Any, Any]:
    """Tiles of 32 pixels, and a thumbnail if there are several."""
    tokenizer = bytepairs("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>", begin=False,
                          start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>",
                          video_token="<video>")  # fmt: skip
    vision = transformers.InternVLVisionConfig(**{**VISION, "image_size": 32})
    config = transformers.InternVLConfig(
        vision_config=vision, text_config=transformers.Qwen2Config(**_text(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=4, tie_word_embeddings=False,
    )  # fmt: skip
    photos = transformers.GotOcr2ImageProcessor(
        size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=tiles
    )
    videos = transformers.InternVLVideoProcessor(size={"height": 32, "width": 32})
    processor = transformers.InternVLProcessor(
        photos, tokenizer, videos, image_seq_length=4, chat_template=LISTED.replace("IMAGE", "<IMG_CONTEXT>\\n")
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def idefics3() -> tuple[Any, Any]:
    """Two rows of three tiles, then the whole photo."""
    names = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = bytepairs(
        "<|im_start|>",
        "<fake_token_around_image>",
        "<end_of_utterance>",
        "<global-img>",
        *names,
        image="<image>",
        begin=False,
    )
    config = transformers.Idefics3Config(
        vision_config=transformers.models.idefics3.Idefics3VisionConfig(**{**VISION, "image_size": 32}),
        text_config=transformers.LlamaConfig(**_text(tokenizer)), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    photos = transformers.Idefics3ImageProcessor(size={"longest_edge": 96}, max_image_size={"longest_edge": 32})
    processor = transformers.Idefics3Processor(photos, tokenizer, image_seq_len=4, chat_template=COLON)
    return transformers.Idefics3ForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    """Two rows of three tiles, then the whole photo."""
    pytest.importorskip("num2words", reason="SmolVLM's processor needs it")
    names = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokenizer = bytepairs(
        "<|im_start|>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", "<video>", *names, image="<image>", begin=False,
        fake_image_token="<fake_token_around_image>", end_of_utterance_token="<end_of_utterance>",
        global_image_token="<global-img>", video_token="<video>",
    )  # fmt: skip
    config = transformers.SmolVLMConfig(
        vision_config=transformers.models.smolvlm.SmolVLMVisionConfig(**{**VISION, "image_size": 32}),
        text_config=transformers.LlamaConfig(**_text(tokenizer)), scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    sizes: dict[str, Any] = {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 32}}
    processor = transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(**sizes), tokenizer, transformers.SmolVLMVideoProcessor(**sizes), image_seq_len=4,
        chat_template=COLON,
    )  # fmt: skip
    return transformers.SmolVLMForConditionalGeneration(config), processor


def llava_next() -> tuple[Any, Any]:
    """The whole photo first, then two or more tiles of 32 pixels, padded to keep its proportions."""
    tokenizer = bytepairs(image="<image>")
    sizes = [[32, 64], [64, 32], [64, 64], [64, 96]]
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**{**VISION, "image_size": 32}),
        text_config=transformers.LlamaConfig(**_text(tokenizer)), image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="default", image_grid_pinpoints=sizes, image_seq_length=16,
    )  # fmt: skip
    photos = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=sizes
    )
    processor = transformers.LlavaNextProcessor(
        photos, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=VICUNA,
    )  # fmt: skip
    return transformers.LlavaNextForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    """As LLaVA-NeXT, with a SigLIP tower."""
    tokenizer = bytepairs("<|im_start|>", "<|im_end|>", "<video>", image="<image>", begin=False, video_token="<video>")
    sizes = [[32, 64], [64, 32], [64, 64], [64, 96]]
    config = transformers.LlavaOnevisionConfig(
        vision_config=transformers.SiglipVisionConfig(**{**VISION, "image_size": 32}, vision_use_head=False),
        text_config=transformers.Qwen2Config(**_text(tokenizer)), image_grid_pinpoints=sizes,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    size = {"height": 32, "width": 32}
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=sizes), tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size=size), num_image_tokens=16, vision_feature_select_strategy="full",
        chat_template=LISTED.replace("IMAGE", "<image>\\n"),
    )  # fmt: skip
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


def vipllava() -> tuple[Any, Any]:
    """Features of several layers, in no order of depth."""
    tokenizer = bytepairs(image="<image>")
    config = transformers.VipLlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**{**VISION, "num_hidden_layers": 4}),
        text_config=transformers.LlamaConfig(**_text(tokenizer)), image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=[-2, -4, 1], image_seq_length=64,
    )  # fmt: skip
    photos = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor = transformers.LlavaProcessor(
        photos, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return transformers.VipLlavaForConditionalGeneration(config), processor


def paligemma() -> tuple[Any, Any]:
    """Its processor puts the photo's tokens in front, and a line break behind the prompt."""
    tokenizer = bytepairs(image="<image>", begin=False)
    photos: Any = transformers.SiglipImageProcessor(size={"height": 64, "width": 64})
    photos.image_seq_length = 64
    processor = transformers.PaliGemmaProcessor(photos, tokenizer)
    config = transformers.PaliGemmaConfig(
        vision_config=transformers.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=transformers.GemmaConfig(**_text(tokenizer)), projection_dim=32, hidden_size=32,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), tie_word_embeddings=False,
    )  # fmt: skip
    return transformers.PaliGemmaForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    """64 patches, pooled to 16 tokens."""
    tokenizer = bytepairs("<start_of_image>", "<end_of_image>", image="<image_soft_token>", boi_token="<start_of_image>",
                          eoi_token="<end_of_image>", begin=False)  # fmt: skip
    config = transformers.Gemma3Config(
        vision_config=transformers.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=transformers.Gemma3TextConfig(**_text(tokenizer)), mm_tokens_per_image=16,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"), tie_word_embeddings=False,
    )  # fmt: skip
    photos = transformers.Gemma3ImageProcessor(size={"height": 64, "width": 64})
    processor = transformers.Gemma3Processor(
        photos, tokenizer, image_seq_length=16, chat_template=CHAT.replace("IMAGE", "<start_of_image>")
    )
    return transformers.Gemma3ForConditionalGeneration(config), processor


def fast_vlm() -> tuple[Any, Any]:
    """A FastViT of timm: 64 pixels become 2 x 2 cells, so it is given 128."""
    tokenizer = bytepairs("<|im_start|>", "<|im_end|>", image="<image>", begin=False)
    vision: dict[str, Any] = {
        "model_type": "timm_wrapper", "architecture": "fastvit_mci0", "do_pooling": True, "hidden_size": 256,
        "model_args": {"inference_mode": True, "layers": [1, 1, 1, 1], "embed_dims": [16, 32, 64, 128]},
    }  # fmt: skip
    config = transformers.FastVlmConfig(
        vision_config=vision, text_config=transformers.Qwen2Config(**_text(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=16,
    )  # fmt: skip
    photos = transformers.CLIPImageProcessor(size={"shortest_edge": 128}, crop_size={"height": 128, "width": 128})
    processor = transformers.LlavaProcessor(
        photos,
        tokenizer,
        patch_size=32,
        vision_feature_select_strategy="full",
        chat_template=LISTED.replace("IMAGE", "<image>"),
    )
    model = transformers.FastVlmForConditionalGeneration(config)
    for name, parameter in model.model.vision_tower.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.normal_(parameter, std=0.02)
    for module in model.model.vision_tower.modules():  # the random ones let numbers shrink to nothing
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
            middle, wide = module.kernel_size[0] // 2, module.stride[0]
            if middle:  # mostly what lies under a cell, so that the cell can be told by its pixels
                module.weight.data *= 0.1
                module.weight.data[..., middle : middle + wide, middle : middle + wide] *= 10 * (2 * middle + 1) / wide
    return model, processor


BUILDERS: dict[str, Builder] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "internvl one tile": lambda: internvl(tiles=1),
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "vipllava": vipllava,
    "paligemma": paligemma,
    "gemma3": gemma3,
    "fast_vlm": fast_vlm,
}
