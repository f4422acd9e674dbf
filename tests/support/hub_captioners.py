"""Tiny captioners and question answerers of transformers: those without a chat template."""

from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tests.support.hub_models import CORPUS, LLAMA, TEXT, VISION, Builder, bytepairs, wordpiece

QFORMER: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "encoder_hidden_size": 32,
}  # fmt: skip
SQUARE = {"height": 64, "width": 64}


def unigrams(special: list[str], template: str, **names: Any) -> Any:
    """A SentencePiece-like tokenizer with ``▁`` for blanks, as T5's and XLM-RoBERTa's; ``template`` is what goes around a text.

    Its pieces are the corpus' letters and beginnings of words, so it is the same every time, which trained ones are not.
    """
    words = sorted({"▁" + word for line in CORPUS for word in line.split()})
    pieces = sorted(
        {letter for word in words for letter in word} | {word[:3] for word in words} | {"▁dog", "ed", "at", "ain"}
    )
    scores = [(one, 0.0) for one in special] + [(one, -5.0 - 0.1 * len(one)) for one in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, special.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(name, special.index(name)) for name in special]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def t5_tokenizer() -> Any:
    known = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return unigrams(["<pad>", "</s>", "<unk>"], "$A </s>", **known)


def t5(tokenizer: Any) -> Any:
    made: Any = transformers.T5Config
    return made(
        d_model=32, d_kv=16, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=2, vocab_size=len(tokenizer),
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, bos_token_id=1,
    )  # fmt: skip


def git() -> tuple[Any, Any]:
    """Its language model reads the photo's tokens before the words, in one stream."""
    tokenizer = wordpiece()
    made: Any = transformers.GitConfig
    config = made(
        vision_config=VISION, **TEXT, vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=3, pad_token_id=0
    )
    photos = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=SQUARE)
    return transformers.GitForCausalLM(config), transformers.GitProcessor(photos, tokenizer)


def opt_tokenizer() -> Any:
    """OPT's: texts begin with the token that also ends them."""
    tokenizer = bytepairs("<image>", begin=False)
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
    tokenizer.bos_token = "</s>"
    return tokenizer


def blip_2(writes: str = "opt") -> tuple[Any, Any]:
    """Four queries between photo and language model: OPT, or the encoder and decoder of T5."""
    if writes == "opt":
        tokenizer = opt_tokenizer()
        text: Any = transformers.OPTConfig(
            hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=256, vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
    else:
        tokenizer = t5_tokenizer()
        tokenizer.add_tokens(["<image>"], special_tokens=True)
        text = t5(tokenizer)
    config = transformers.Blip2Config(
        vision_config=VISION, qformer_config=QFORMER, text_config=text.to_dict(), num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    photos = transformers.BlipImageProcessor(size=SQUARE)
    return transformers.Blip2ForConditionalGeneration(config), transformers.Blip2Processor(photos, tokenizer, 4)


def instructblip() -> tuple[Any, Any]:
    """The queries read the prompt as well, with a tokenizer of their own."""
    tokenizer, queries = bytepairs("<image>"), wordpiece()
    text = transformers.LlamaConfig(**LLAMA, vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0)
    config = transformers.InstructBlipConfig(
        vision_config=VISION, qformer_config={**QFORMER, "vocab_size": len(queries)}, text_config=text.to_dict(),
        num_query_tokens=4, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    processor = transformers.InstructBlipProcessor(
        transformers.BlipImageProcessor(size=SQUARE), tokenizer, queries, num_query_tokens=4
    )
    return transformers.InstructBlipForConditionalGeneration(config), processor


def kosmos_2() -> tuple[Any, Any]:
    """64 latents take the places of as many tokens of the text."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    known = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = unigrams(special, "<s> $A </s>", **known)
    processor = transformers.Kosmos2Processor(
        transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=SQUARE), tokenizer, 4
    )
    text = {"embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 2, "vocab_size": len(tokenizer),
            "max_position_embeddings": 256, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
    config = transformers.Kosmos2Config(text_config=text, vision_config=VISION, latent_query_num=64)
    return transformers.Kosmos2ForConditionalGeneration(config), processor


def pix2struct() -> tuple[Any, Any]:
    """As many whole patches as fit, in the photo's proportions, and padding after them."""
    tokenizer = t5_tokenizer()
    config = transformers.Pix2StructConfig(
        text_config={"vocab_size": len(tokenizer), "hidden_size": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2,
                     "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
        vision_config={"hidden_size": 32, "patch_embed_hidden_size": 3 * 8 * 8, "d_ff": 64, "d_kv": 16, "num_hidden_layers": 3,
                       "num_attention_heads": 2, "seq_len": 2048, "patch_size": 8},
    )  # fmt: skip
    photos: Any = transformers.Pix2StructImageProcessor
    photos = photos(patch_size={"height": 8, "width": 8}, max_patches=2048)
    return transformers.Pix2StructForConditionalGeneration(config), transformers.Pix2StructProcessor(photos, tokenizer)


def florence2() -> tuple[Any, Any]:
    """BART starts with the token that ends a text, and is forced to say ``<s>`` next."""
    tokenizer = bytepairs(image="<image>", begin=False)
    made: Any = transformers.BartConfig
    text = made(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=256, vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0,
        decoder_start_token_id=2, forced_eos_token_id=2, init_std=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    made = transformers.Florence2Config
    config = made(
        vision_config={"embed_dim": [8, 16, 16, 32], "num_heads": [1, 2, 2, 2], "num_groups": [1, 2, 2, 2], "depths": [1, 1, 1, 1],
                       "window_size": 4, "projection_dim": 32},
        text_config=text.to_dict(), image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        bos_token_id=1, eos_token_id=2, pad_token_id=0, decoder_start_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    photos: Any = transformers.CLIPImageProcessor
    photos = photos(size={"height": 128, "width": 128}, do_center_crop=False, image_seq_length=17)
    model: Any = transformers.Florence2ForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = 1  # as a generation_config.json may have it
    return model, transformers.Florence2Processor(photos, tokenizer)


def swin_bert() -> tuple[Any, Any]:
    """Pairs of stages halve the grid: 16 x 16, then 8 x 8."""
    tokenizer = wordpiece()
    encoder = transformers.SwinConfig(
        image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[1, 2], window_size=4
    )
    decoder = transformers.BertConfig(**TEXT, vocab_size=len(tokenizer), bos_token_id=2, eos_token_id=3, pad_token_id=0)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
    return transformers.VisionEncoderDecoderModel(config=config), (
        transformers.ViTImageProcessor(size=SQUARE),
        tokenizer,
    )


def donut() -> tuple[Any, Any]:
    """The photo keeps its proportions, with padding around it; what it shall read is told to the decoder."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    known = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = unigrams(special, "<s> $A </s>", **known)
    tasks = ["<s_caption>", "<s_question>", "</s_question>", "<s_answer>"]
    tokenizer.add_tokens(tasks, special_tokens=True)
    encoder = transformers.DonutSwinConfig(
        image_size=[96, 96], patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[1, 2], window_size=4
    )
    decoder = transformers.MBartConfig(
        d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=64, max_position_embeddings=128,
        vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=2, pad_token_id=1, forced_eos_token_id=2,
        init_std=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id = tokenizer.convert_tokens_to_ids("<s_caption>"), 1
    config.eos_token_id = 2
    photos = transformers.DonutImageProcessor(size={"height": 96, "width": 96}, do_align_long_axis=False)
    return transformers.VisionEncoderDecoderModel(config=config), transformers.DonutProcessor(photos, tokenizer)


def vilt() -> tuple[Any, Any]:
    """Question and photo in one stream, answers from a list, patches in random order."""
    tokenizer, answers = wordpiece(), ("red", "blue", "yes", "no", "two", "left")
    config = transformers.ViltConfig(
        **{**VISION, **TEXT, "num_hidden_layers": 3, "max_position_embeddings": 40}, vocab_size=len(tokenizer), max_image_length=-1,
        id2label=dict(enumerate(answers)), label2id={answer: number for number, answer in enumerate(answers)},
    )  # fmt: skip
    photos: Any = transformers.ViltImageProcessor
    photos = photos(size={"shortest_edge": 64}, size_divisor=8)
    return transformers.ViltForQuestionAnswering(config), transformers.ViltProcessor(photos, tokenizer)


BUILDERS: dict[str, Builder] = {
    "git": git,
    "blip-2": blip_2,
    "blip-2 t5": lambda: blip_2("t5"),
    "instructblip": instructblip,
    "kosmos-2": kosmos_2,
    "pix2struct": pix2struct,
    "florence2": florence2,
    "swin-bert": swin_bert,
    "donut": donut,
    "vilt": vilt,
}
