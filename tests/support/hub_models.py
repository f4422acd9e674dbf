"""Tiny generative models of transformers, one a family: built from a config, given life, and saved with tokenizer and processor."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

CORPUS = [
    "a dog and a cat play on the grass near the sofa", "what color is the dog? is it red, or is the cat blue?",
    "two men ride a small train past the old café; it isn't raining", "Describe this image in one sentence. Question: Answer:",
    "USER: ASSISTANT: caption en answer en An image of a short image description", "user\nassistant\nsystem\n",
    "What does the image describe? yes no left right above below",
]  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 64, "patch_size": 8,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 512,
}  # fmt: skip
LLAMA: dict[str, Any] = {**TEXT, "num_key_value_heads": 2, "head_dim": 16}
CHAT = (
    "{% for message in messages %}{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


def wordpiece() -> Any:
    """An uncased WordPiece tokenizer, as BERT's. Its pieces are listed, as trained ones are others every time."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    text = " ".join(CORPUS).lower()
    letters = sorted({letter for letter in text if not letter.isspace()})
    begins = sorted({word[:3] for word in text.split() if word[:3].isalpha() and len(word) > 1})
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *begins]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made: Any = transformers.BertTokenizer
    return made(tokenizer_object=tokenizer, bos_token="[DEC]", unk_token="[UNK]", pad_token="[PAD]",
                                          cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")  # fmt: skip


def bytepairs(*extra: str, image: str | None = None, begin: bool = True, **names: str) -> Any:
    """A byte-level BPE tokenizer with the special tokens that a family needs."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<unk>", *([image] if image else []), *extra]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    known = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **known, extra_special_tokens={**({"image_token": image} if image else {}), **names}
    )


def alive(model: Any, seed: int = 0) -> Any:
    """The model with weights that let gradients through: some families start with all zeros, or nearly."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and float(parameter.detach().std()) < 1e-3:
            nn.init.normal_(parameter, std=0.1)
        elif parameter.ndim == 1 and "norm" in name.lower() and name.endswith("weight") and not bool(parameter.any()):
            nn.init.ones_(parameter)
    return model.eval()


def blip(answers: bool = False) -> tuple[Any, Any]:
    tokenizer = wordpiece()
    text = {**TEXT, "vocab_size": len(tokenizer), "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
            "encoder_hidden_size": 32}  # fmt: skip
    config = transformers.BlipConfig(text_config=text, vision_config=VISION, projection_dim=16)
    text_config: Any = config.text_config
    text_config.is_decoder = True
    made = transformers.BlipForQuestionAnswering if answers else transformers.BlipForConditionalGeneration
    photos = transformers.BlipImageProcessor(size={"height": 64, "width": 64})
    return made(config), transformers.BlipProcessor(photos, tokenizer)


def llava() -> tuple[Any, Any]:
    tokenizer = bytepairs(image="<image>")
    made: Any = transformers.LlavaConfig
    config = made(
        vision_config=transformers.CLIPVisionConfig(**VISION),
        text_config=transformers.LlamaConfig(**LLAMA, vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    photos = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor = transformers.LlavaProcessor(
        photos, tokenizer, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    return transformers.LlavaForConditionalGeneration(config), processor


def qwen2_vl() -> tuple[Any, Any]:
    return qwen("Qwen2VL", {"depth": 3, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8,
                             "spatial_merge_size": 2, "temporal_patch_size": 2})  # fmt: skip


def qwen(family: str, vision: dict[str, Any]) -> tuple[Any, Any]:
    tokenizer = bytepairs("<|vision_start|>", "<|vision_end|>", "<|video_pad|>", image="<|image_pad|>", begin=False)
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    text = {**TEXT, "num_key_value_heads": 2, "vocab_size": len(tokenizer), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}}  # fmt: skip
    config = getattr(transformers, f"{family}Config")(
        text_config=text, vision_config=vision, image_token_id=ids["image_pad"], video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"], vision_end_token_id=ids["vision_end"],
    )  # fmt: skip
    photos = transformers.Qwen2VLImageProcessor(
        patch_size=8, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 64 * 64, "longest_edge": 96 * 96}
    )
    videos = transformers.Qwen2VLVideoProcessor(patch_size=8, merge_size=2, temporal_patch_size=2)
    made = "Qwen2VL" if family == "Qwen2VL" else "Qwen2_5_VL" if family == "Qwen2_5_VL" else "Qwen3VL"
    template = CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = getattr(transformers, f"{made}Processor")(photos, tokenizer, videos, chat_template=template)
    return getattr(transformers, f"{family}ForConditionalGeneration")(config), processor


def vit_gpt2() -> tuple[Any, Any]:
    tokenizer = bytepairs(begin=False)
    encoder = transformers.ViTConfig(**VISION)
    decoder = transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, vocab_size=len(tokenizer), bos_token_id=1,
                                      eos_token_id=2, pad_token_id=0, tie_word_embeddings=False)  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    return transformers.VisionEncoderDecoderModel(config=config), (
        transformers.ViTImageProcessor(size={"height": 64, "width": 64}),
        tokenizer,
    )


Builder = Callable[[], tuple[Any, Any]]
BUILDERS: dict[str, Builder] = {
    "blip": blip,
    "blip answers": lambda: blip(answers=True),
    "llava": llava,
    "qwen2_vl": qwen2_vl,
    "vit-gpt2": vit_gpt2,
}
