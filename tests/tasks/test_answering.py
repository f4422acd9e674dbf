"""A model of one's own that writes its answers: ranked, explained word by word, its question's words weighed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from vlcam.contracts import Request
from vlcam.tasks.answering import Answering
from vlcam.tasks.reading import Reading

WORDS = ["<end>", "a", "red", "blue", "dog", "house", "what", "is", "it"]


class Words:
    def encode(self, text: str) -> list[int]:
        try:
            return [WORDS.index(word) for word in text.split()]
        except ValueError as error:
            raise vlcam.InputError(f"{text!r} has unknown words") from error

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(WORDS[token] for token in ids)


class Writer(nn.Module):
    """A conv tower; the question's mean embedding, the photo and the last word make the next word's logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tower = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.Tanh(), nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh())
        self.embed = nn.Embedding(len(WORDS), 8)
        self.out = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, len(WORDS)))

    def logits(self, seen: Tensor, question: Tensor, ids: Sequence[int]) -> Tensor:
        before = self.embed(torch.tensor([0, *ids[:-1]]))
        found: Tensor = self.out(before + seen.mean((2, 3)) * 4 + self.embed(question)[0].mean(0))
        return found


def pixels(photo: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(photo.convert("RGB").resize((16, 16))).copy()).permute(2, 0, 1)[None] / 255


def task(**options: Any) -> Answering:
    model, words = Writer(), Words()

    def ask(photo: Image.Image, question: str, prompt: str | None) -> tuple[Any, vlcam.Geometry]:
        ids = torch.tensor([words.encode(question)])
        return (pixels(photo), ids), vlcam.Geometry(
            photo.size, (16, 16), (16 / photo.width, 16 / photo.height), (0.0, 0.0)
        )

    def generate(model: Any, looked: Any) -> list[int]:
        ids: list[int] = []
        while len(ids) < 5:
            best = int(model.logits(*looked, [*ids, 0])[-1].argmax())
            if best == 0:
                break
            ids.append(best)
        return ids or [2]

    def reading(inputs: Any, question: str) -> Reading:
        ids = tuple(inputs[1][0].tolist())
        spans, start = [], 0
        for place, word in enumerate(question.split()):
            spans.append(((start, start + len(word)), (place,)))
            start += len(word) + 1
        return Reading(model.embed, ids, tuple(spans))

    made: dict[str, Any] = {
        "tokens": words, "ask": ask, "encode": lambda model, inputs: (model.tower(inputs[0]), inputs[1]),
        "generate": generate, "logits": lambda model, looked, ids: model.logits(*looked, ids), "end": 0, "layer": "tower",
        "reading": reading,
    }  # fmt: skip
    return Answering(model, **(made | options))


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (32, 48, 3), np.uint8))


def ask(chosen: Answering | None = None, **options: Any) -> vlcam.Explanation:
    return vlcam.explain(chosen or task(), photo(), question="what is it", **options)


def by_hand(answers: Sequence[str], end: bool) -> dict[str, list[float]]:
    chosen = task()
    model: Any = chosen.model
    looked = (model.tower(pixels(photo())), torch.tensor([[6, 7, 8]]))
    found = {}
    for answer in answers:
        ids = Words().encode(answer)
        ids = [*ids, 0] if end else ids
        rows = model.logits(*looked, ids).detach().log_softmax(1)
        found[answer] = [float(rows[place, token]) for place, token in enumerate(ids)]
    return found


def test_answers_are_ranked_by_the_mean_with_the_end_and_scored_by_the_sum_without() -> None:
    answers = ["a red dog", "blue", "a dog house", "house"]
    explanation = ask(targets=answers)
    means = {answer: float(np.mean(scores)) for answer, scores in by_hand(answers, end=True).items()}
    assert [view.label for view in explanation] == sorted(answers, key=lambda answer: -means[answer])
    for answer, scores in by_hand(answers, end=False).items():
        target = explanation[answer].target
        assert target.score == pytest.approx(sum(scores), abs=1e-5)
        assert target.probability == pytest.approx(np.exp(sum(scores)), rel=1e-4)
        assert target.kind == "answer" and target.measure == "log-probability"
    best = explanation[0].label
    assert explanation.text == best
    assert explanation.notes[0].startswith(
        "Answers are ranked by the mean log-probability of their tokens, including the end token: "
    )
    assert f"{best} {means[best]:.2f}" in explanation.notes[0]


def test_its_own_answer_with_its_words() -> None:
    explanation = ask(targets="a red dog")
    assert [(view.label, view.target.kind, view.target.span) for view in explanation] == [
        ("a red dog", "answer", None), ("a", "word", (0, 1)), ("red", "word", (2, 5)), ("dog", "word", (6, 9)),
    ]  # fmt: skip
    torch.testing.assert_close(explanation.maps[1:].sum(0), explanation.maps[0], rtol=1e-4, atol=1e-6)
    own = ask()
    assert own.text == own[0].label and own[0].target.kind == "answer"


def test_contrasts_and_logits() -> None:
    explanation = ask(targets=["red", "blue"], contrast=("red", "blue"))
    assert explanation[-1].label == "red rather than blue"
    difference = explanation["red"].target.score - explanation["blue"].target.score
    assert explanation[-1].target.score == pytest.approx(difference, abs=1e-5)
    torch.testing.assert_close(
        explanation["red"].signed_map - explanation["blue"].signed_map, explanation[-1].signed_map, rtol=1e-3, atol=1e-6
    )
    raw = ask(targets=["red"], measure="logit")
    model: Any = task().model
    rows = model.logits(model.tower(pixels(photo())), torch.tensor([[6, 7, 8]]), [2])
    assert (
        raw[0].target.score == pytest.approx(float(rows[0, 2].detach()), abs=1e-5) and raw[0].target.measure == "logit"
    )


def test_the_questions_words_are_weighed_by_gradient_times_embedding() -> None:
    explanation = ask(targets=["red", "a dog"])
    assert explanation.question_words == ((0, 4), (5, 7), (8, 10))
    model: Any = task().model
    seen = model.tower(pixels(photo())).detach()
    for view in explanation:
        ids = Words().encode(view.label)
        vectors = model.embed(torch.tensor([[6, 7, 8]])).detach().requires_grad_()
        before = model.embed(torch.tensor([0, *ids[:-1]]))
        rows = model.out(before + seen.mean((2, 3)) * 4 + vectors[0].mean(0)).log_softmax(1)
        (slope,) = torch.autograd.grad(rows[range(len(ids)), ids].sum(), vectors)
        assert view.target.reading == pytest.approx((slope * vectors)[0].sum(1).tolist(), rel=1e-3, abs=1e-6)


def test_without_a_reading_nothing_is_weighed() -> None:
    explanation = ask(task(reading=None), targets="red")
    assert explanation.question_words == () and explanation[0].target.reading == ()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"question": None}, vlcam.InputError, "no question was given"),
        ({"question": "  "}, vlcam.InputError, "no question was given"),
        ({"caption": "a dog"}, vlcam.InputError, "takes no caption"),
        (
            {"targets": 3},
            vlcam.TargetError,
            "the answer 3 was given; this model writes its answers: give them as texts",
        ),
        ({"targets": [" "]}, vlcam.InputError, "an answer to explain is empty"),
        ({"targets": ["green"]}, vlcam.InputError, "'green' has unknown words"),
    ],
)
def test_bad_input(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        vlcam.explain(task(), photo(), **{"question": "what is it", **options})


def test_an_empty_answer_is_said_to_be_so() -> None:
    with pytest.raises(vlcam.InputError, match="own answer is empty"):
        ask(task(generate=lambda model, looked: []))
    with pytest.raises(vlcam.InputError, match=r"logits\(\.\.\.\) must return \(2, vocabulary\)"):
        ask(task(logits=lambda model, looked, ids: torch.zeros(1, 9)), targets="red")


def test_given_ids_are_the_answer() -> None:
    chosen = task()
    prepared = chosen.prepare(photo(), Request(question="what is it"))
    with torch.no_grad():
        spoken = chosen.run(prepared, Request(question="what is it", ids=(1, 4)))
    assert spoken.text == "a dog"
