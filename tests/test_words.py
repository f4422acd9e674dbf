"""Tokens are grouped into words by index, for every kind of tokenizer."""

from collections.abc import Callable, Sequence

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from vlcam.words import group

CORPUS = [
    "a dog and a cat play on the grass near the sofa",
    "the café's owner doesn't like the über-dog, it costs 3.5 euros",
    "naïve façade 🐶 and 🐱 play; rock-n-roll isn't dead",
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


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
@pytest.mark.parametrize("text", [*CORPUS, "the dog sees the dog", "sofa"])
def test_every_token_belongs_to_one_word(kind: str, text: str) -> None:
    tokenizer = _train(kind)
    ids = tokenizer.encode(text).ids
    decode: Callable[[Sequence[int]], str] = lambda some: tokenizer.decode(list(some), skip_special_tokens=False)  # noqa: E731
    decoded, words = group(ids, decode)
    owned = [token for word in words for token in word.tokens]
    assert sorted(owned) == list(range(len(ids)))
    for word in words:
        assert decoded[slice(*word.span)] == word.text


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
