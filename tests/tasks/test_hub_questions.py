"""The words of a question among the tokens of a prompt, also where no blanks tell the words apart."""

from collections.abc import Sequence

from vlcam.tasks.hub_questions import find_question_words


class _Tokenizer:
    all_special_ids = (0,)

    def __init__(self, *texts: str) -> None:
        self.texts = ("<s>", *texts)

    def decode(self, ids: Sequence[int], *, clean_up_tokenization_spaces: bool) -> str:
        return "".join(self.texts[number] for number in ids)


def test_a_question_without_blanks_has_the_words_of_its_tokens() -> None:
    tokenizer = _Tokenizer("图中", "的", "猫", "是什么", "颜色", "？", "\n用户：", "助手")
    question = "图中的猫是什么颜色？"
    found = find_question_words(tokenizer, [0, 7, 1, 2, 3, 4, 5, 6, 8], question)
    assert [(question[slice(*span)], tokens) for span, tokens in found] == [
        ("图中", (2,)), ("的", (3,)), ("猫", (4,)), ("是什么", (5,)), ("颜色", (6,))
    ]  # fmt: skip


def test_blanks_in_the_question_are_passed_over() -> None:
    tokenizer = _Tokenizer("图中", "猫", "USER:")
    assert find_question_words(tokenizer, [3, 1, 2], "图中 猫") == (((0, 2), (1,)), ((3, 4), (2,)))


def test_a_question_that_is_not_there_has_no_words() -> None:
    assert find_question_words(_Tokenizer("图中", "猫"), [1, 2], "狗在哪里") == ()
