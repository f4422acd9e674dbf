"""Tokens are grouped into words by index, for every kind of tokenizer."""

from collections.abc import Callable, Sequence

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from vlcam.contracts import InputError
from vlcam.tasks.words import find_spans, group

CORPUS = [
    "a dog and a cat play on the grass near the sofa",
    "the café's owner doesn't like the über-dog, it costs 3.5 euros",
    "naïve façade 🐶 and 🐱 play; rock-n-roll isn't dead",
    "10,000 people, 3.5 dogs and 1,2 cats; the cafe\u0301 is nai\u0308ve",
    "हिन्दी में कुत्ता, 👩🏽‍🚀 and 🇫🇷🇩🇪 ❤️ it's we're can't",
]


def _train(kind: str) -> Tokenizer:
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(cleanup=False)
        trainer: trainers.Trainer = trainers.WordPieceTrainer(
            vocab_size=90, special_tokens=["[UNK]"], show_progress=False
        )
    elif kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=80, show_progress=False, unk_token="<unk>", special_tokens=["<unk>"]
        )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _cleaned(text: str) -> str:
    """What ``clean_up_tokenization_spaces=True`` does to a text: the same list as in transformers' tokenizers."""
    for before, after in (
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
        (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ):  # fmt: skip
        text = text.replace(before, after)
    return text


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("text", [*CORPUS, "the dog sees the dog", "sofa"])
def test_every_token_belongs_to_one_word(kind: str, text: str, clean: bool) -> None:
    tokenizer = _train(kind)
    ids = tokenizer.encode(text).ids

    def decode(some: Sequence[int]) -> str:
        written = tokenizer.decode(list(some), skip_special_tokens=False)
        return _cleaned(written) if clean else written

    decoded, words = group(ids, decode)
    owned = [token for word in words for token in word.tokens]
    assert owned == list(range(len(ids)))  # each once, and in the order of the words
    for word in words:
        assert decoded[slice(*word.span)] == word.text
    kept = [character for character in decoded if not character.isspace()]
    assert sorted("".join(word.text for word in words)) == sorted(kept)


@pytest.mark.parametrize("text", CORPUS)
def test_tokens_write_the_words_that_they_belong_to(text: str) -> None:
    """Seen from the other side: a word's tokens, decoded after all tokens before, add its letters and no others."""
    tokenizer = _train("bpe")  # whose tokens never cross from one word to the next
    ids = tokenizer.encode(text).ids
    bare: Callable[[Sequence[int]], str] = lambda some: "".join(tokenizer.decode(list(some)).split())  # noqa: E731
    _, words = group(ids, lambda some: tokenizer.decode(list(some)))
    assert words
    for word in words:
        before, after = bare(ids[: word.tokens[0]]), bare(ids[: word.tokens[-1] + 1])
        assert after[len(before.rstrip("\ufffd")) :] == word.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("10,000 and 3.5, or 1,2", ["10,000", "and", "3.5", ",", "or", "1,2"]),
        ("a,b 5, 6", ["a", ",", "b", "5", ",", "6"]),
        ("it's we’re rock-n-roll's", ["it's", "we’re", "rock-n-roll's"]),
        ("'tis the dogs' bone", ["'", "tis", "the", "dogs", "'", "bone"]),
        ("👩🏽\u200d🚀👍🏿 ❤\ufe0f", ["👩🏽\u200d🚀", "👍🏿", "❤\ufe0f"]),
        ("🇫🇷🇩🇪", ["🇫🇷", "🇩🇪"]),
        ("می\u200cخواهم \u200d\u0301", ["می\u200cخواهم", "\u200d", "\u0301"]),
        ("", []),
        (" \n", []),
    ],
)
def test_words_of_a_text(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in find_spans(text)] == words


def test_blanks_that_are_taken_back() -> None:
    tokens = ["cat", "'", "s", "toy", "is", "n", "'", "t", "red", ".", "dog", "'", "s"]
    text, words = group(range(len(tokens)), lambda ids: _cleaned(" ".join(tokens[i] for i in ids)))
    assert text == "cat's toy isn't red. dog's"
    assert [(word.text, word.tokens) for word in words] == [
        ("cat's", (0, 1, 2)), ("toy", (3,)), ("isn't", (4, 5, 6, 7)), ("red", (8,)), (".", (9,)), ("dog's", (10, 11, 12)),
    ]  # fmt: skip


def test_what_an_earlier_token_wrote_may_change() -> None:
    """A decoder that shows something else until the word is whole, and one that never shows an unfinished character as what it is."""
    steps = ["", "x", "xyz", "red", "red d", "red dog"]
    text, words = group(range(5), lambda ids: steps[len(ids)])
    assert text == "red dog"
    assert [(word.text, word.tokens) for word in words] == [("red", (0, 1, 2)), ("dog", (3, 4))]


def test_a_character_that_stays_unfinished() -> None:
    parts = ["a", "\ufffd", " b"]
    _, words = group([0, 1, 2], lambda ids: "".join(parts[i] for i in ids))
    assert [(word.text, word.tokens, word.is_punctuation) for word in words] == [
        ("a", (0,), False), ("\ufffd", (1,), True), ("b", (2,), False),
    ]  # fmt: skip


def test_a_token_that_writes_nothing_is_not_lost() -> None:
    parts = ["", "red", "", " ", "dog", "", ""]
    _, words = group(range(7), lambda ids: "".join(parts[i] for i in ids))
    assert [(word.text, word.tokens) for word in words] == [("red", (0, 1)), ("dog", (2, 3, 4, 5, 6))]


def test_an_emoji_is_no_punctuation() -> None:
    _, words = group([0], lambda _: "🐶 ! $ é ❤\ufe0f")
    assert [word.is_punctuation for word in words] == [False, True, True, False, False]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_repeated_words_are_two_words(kind: str) -> None:
    tokenizer = _train(kind)
    ids = tokenizer.encode("the dog and the dog").ids
    _, words = group(ids, lambda some: tokenizer.decode(list(some)))
    dogs = [word for word in words if word.text == "dog"]
    assert len(dogs) == 2
    assert not set(dogs[0].tokens) & set(dogs[1].tokens)
    assert [ids[token] for token in dogs[0].tokens] == [ids[token] for token in dogs[1].tokens]


def test_split_characters_join_the_word_being_written() -> None:
    tokenizer = _train("bpe")
    tokenizer_ids = tokenizer.encode("a 🐶 dog").ids
    text, words = group(tokenizer_ids, lambda some: tokenizer.decode(list(some)))
    assert text == "a 🐶 dog"
    assert [word.text for word in words] == ["a", "🐶", "dog"]
    assert all(word.tokens for word in words)


def test_contractions_hyphens_numbers_and_punctuation() -> None:
    tokens = ["it", " isn", "'t", " rock", "-n-", "roll", ",", " costs", " 3", ".5", "!"]
    _, words = group(range(len(tokens)), lambda ids: "".join(tokens[i] for i in ids))
    assert [(word.text, word.tokens) for word in words] == [
        ("it", (0,)),
        ("isn't", (1, 2)),
        ("rock-n-roll", (3, 4, 5)),
        (",", (6,)),
        ("costs", (7,)),
        ("3.5", (8, 9)),
        ("!", (10,)),
    ]
    assert [word.is_punctuation for word in words] == [False, False, False, True, False, False, True]


def test_a_lone_blank_joins_the_next_word() -> None:
    tokens = ["a", " ", "dog"]
    _, words = group([0, 1, 2], lambda ids: "".join(tokens[i] for i in ids))
    assert [word.tokens for word in words] == [(0,), (1, 2)]


def test_nothing_said() -> None:
    assert group([], lambda _: "") == ("", ())


WITHOUT_BLANKS = {
    "Chinese": ("一只猫坐在沙发上", ["一", "只", "猫", "坐", "在", "沙", "发", "上"]),
    "Japanese": ("猫がソファーにいる。", ["猫", "が", "ソ", "フ", "ァ", "ー", "に", "い", "る", "。"]),
    "Thai": ("แมวดำ", ["แ", "ม", "ว", "ดำ"]),
    "Thai with marks": ("ที่นี่", ["ที่", "นี่"]),
    "Lao": ("ນ້ຳ", ["ນ້ຳ"]),
    "Khmer": ("ខ្មែរ", ["ខ្មែ", "រ"]),
    "Myanmar": ("ကြောင်", ["ကြော", "င်"]),
    "mixed": ("2只cat和3.5狗,ok", ["2", "只", "cat", "和", "3.5", "狗", ",", "ok"]),
    "Korean has blanks": ("고양이가 소파에", ["고양이가", "소파에"]),
}


@pytest.mark.parametrize("name", WITHOUT_BLANKS)
def test_what_is_written_without_blanks_is_a_character_each(name: str) -> None:
    text, words = WITHOUT_BLANKS[name]
    assert [text[start:end] for start, end in find_spans(text)] == words
    _, found = group(range(len(text)), lambda ids: text[: len(ids)])
    assert [word.text for word in found] == words
    assert sorted(token for word in found for token in word.tokens) == list(range(len(text)))


def test_what_one_token_wrote_is_a_word() -> None:
    tokens = ["一只", "猫", "坐在", "沙发上", "。", " a cat", "猫"]
    text, words = group(range(len(tokens)), lambda ids: "".join(tokens[i] for i in ids))
    assert [word.text for word in words] == ["一只", "猫", "坐在", "沙发上", "。", "a", "cat", "猫"]
    assert [word.tokens for word in words[:5]] == [(0,), (1,), (2,), (3,), (4,)]
    assert all(text[slice(*word.span)] == word.text for word in words)


def test_a_character_of_several_tokens_stays_whole() -> None:
    tokenizer = _train("bpe")  # which writes Chinese as single bytes
    text = "猫坐在沙发"
    ids = tokenizer.encode(text).ids
    assert len(ids) == 3 * len(text)
    _, words = group(ids, lambda some: tokenizer.decode(list(some)))
    assert [word.text for word in words] == list(text)
    assert [word.tokens for word in words] == [(3 * n, 3 * n + 1, 3 * n + 2) for n in range(len(text))]


def test_a_segmenter_decides() -> None:
    text = "一只猫 cat 坐在沙发上"
    known = {"一只猫": ["一只", "猫"], "坐在沙发上": ["坐", "在", "沙发", "上"]}
    _, words = group(range(len(text)), lambda ids: text[: len(ids)], known.__getitem__)
    assert [word.text for word in words] == ["一只", "猫", "cat", "坐", "在", "沙发", "上"]
    with pytest.raises(InputError, match="expected parts without gaps"):
        group(range(len(text)), lambda ids: text[: len(ids)], lambda run: ["猫"])
