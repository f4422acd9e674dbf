"""The words of questions that have no embeddings: each is left out, and the model asked again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support.tiny import snapshot
from vlcam.contracts import InputError, Request
from vlcam.explanation.page import make_page
from vlcam.explanation.wording import LEFT_OUT
from vlcam.neurons.scoring.activations import watch
from vlcam.tasks.reading import check_words, find_question_spans
from vlcam.tasks.vqa import VQA

WORDS = ["is", "there", "a", "dog", "or", "cat", "what", "colour"]
ANSWERS = ["yes", "no", "red"]
PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


class BagVQA(nn.Module):
    """Reads the counts of the question's words; its answers depend on their sum in a way that isn't linear."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.ReLU())
        self.bag, self.out = nn.Linear(len(WORDS), 8), nn.Linear(8, 3)
        self.runs = 0

    def forward(self, images: Tensor, bag: Tensor) -> Tensor:
        self.runs += 1
        found: Tensor = self.out(self.cnn(images).mean((2, 3)) * self.bag(bag).tanh())
        return found


def read(question: str) -> Tensor:
    words = question.lower().replace("?", "").split()
    if not words:
        raise InputError("the question has no words")
    return torch.tensor([[float(words.count(word)) for word in WORDS]])


@pytest.fixture
def task() -> VQA:
    torch.manual_seed(0)
    return VQA(
        BagVQA().eval(),
        ANSWERS,
        vlcam.Preprocess(32),
        read,
        lambda model, *given: model(*given),
        "cnn",
        words="leave-one-out",
    )


def ask(task: VQA, question: str) -> Tensor:
    """The logits for a question, by a plain forward pass."""
    with torch.no_grad():
        found: Tensor = task.model(task.preprocess(Image.fromarray(PHOTO))[0], read(question))[0]
    return found


def test_a_words_importance_is_how_much_the_score_falls_without_it(task: VQA, tmp_path: Path) -> None:
    question = "Is there a dog, or a zebra?"
    left = [
        "there a dog or a zebra",
        "Is a dog or a",
        "Is there dog or a",
        "Is there a or a",
        "Is there a dog a",
        "Is there a dog or",
    ]
    read_by_model = lambda text: read(text.replace(",", ""))  # noqa: E731
    task = replace(task, read=read_by_model)
    before = snapshot(task.model)
    found = vlcam.explain(task, PHOTO, question=question, targets=["no", "yes"], contrast=[("yes", "red")])
    assert snapshot(task.model) == before and task.model.runs == 1 + 1 + 7
    whole = ask(task, question.replace(",", ""))
    falls = torch.stack([whole - ask(task, text) for text in left], 1)
    expected = torch.stack([falls[1], falls[0], falls[0] - falls[2]])
    assert [word for word, _ in found[0].reading] == ["Is", "there", "a", "dog", "or", "a", "zebra"]
    weights = torch.tensor([view.target.reading for view in found])
    torch.testing.assert_close(weights[:, :6], expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(weights[:, 6], torch.zeros(3))  # unknown to the model
    assert torch.equal(weights[:, 2], weights[:, 5]) and bool((weights[:, :6].abs() > 1e-5).all())
    assert found.notes[-1] == LEFT_OUT
    found.save(tmp_path / "saved.safetensors")
    again = vlcam.Explanation.load(tmp_path / "saved.safetensors")
    assert again.notes[-1] == LEFT_OUT and again.targets == found.targets
    assert "how much the score falls without the word, in units" in make_page([found])
    assert "gradient times embedding, in units" not in make_page([found])


def test_own_words_are_told_from_embeddings() -> None:
    """The bundled model, whose words have embeddings, weighed either way; the page says which is which."""
    scene, question = vlcam.scenes.make(10, "val").image(), "what colour is the star"
    usual: Any = vlcam.load("scenes/vqa")
    by_gradient = vlcam.explain(usual, scene, question=question, top_k=1)
    left_out = vlcam.explain(replace(usual, words="leave-one-out"), scene, question=question, top_k=1)
    assert by_gradient.question_words == left_out.question_words
    assert LEFT_OUT in left_out.notes and LEFT_OUT not in by_gradient.notes
    assert by_gradient.targets[0].reading != left_out.targets[0].reading
    page = make_page([by_gradient, left_out])
    assert "gradient times embedding or, as the notes say, how much the score falls without the word" in page


def test_nothing_left_is_said_and_the_photo_explained(task: VQA) -> None:
    found = vlcam.explain(task, PHOTO, question="dog?", targets="yes")
    assert found.maps.any() and found.question_words == () and found.targets[0].reading == ()
    (note,) = found.notes
    assert note == (
        "The words of the question were not weighed: without 'dog' the model can't read what is left, '?': the question has no words."
    )
    empty = replace(task, read=lambda text: read(text) if text != "?" else torch.zeros(1, 0))
    assert "'?': read(...) turns it into an empty tensor." in vlcam.explain(empty, PHOTO, question="dog?").notes[0]
    accepting = replace(task, read=lambda text: read(text) if text != "?" else torch.zeros(1, len(WORDS)))
    assert vlcam.explain(accepting, PHOTO, question="dog?", targets="yes").targets[0].reading != ()


def test_words_of_ones_own(task: VQA) -> None:
    pairs = replace(task, words=lambda question: [(0, 8), (9, len(question))])
    found = vlcam.explain(pairs, PHOTO, question="is there a dog", targets="yes")
    assert [word for word, _ in found[0].reading] == ["is there", "a dog"]
    expected = [float((ask(task, "is there a dog") - ask(task, left))[0]) for left in ("a dog", "is there")]
    assert [weight for _, weight in found[0].reading] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(
        InputError,
        match=r"words= gave the range \(3, 99\) for the question 'is a dog'; expected characters from 0 to 8",
    ):
        vlcam.explain(replace(task, words=lambda question: [(3, 99)]), PHOTO, question="is a dog")
    with pytest.raises(InputError, match="words='all' was given; expected 'leave-one-out', a function"):
        check_words("all")
    assert find_question_spans("what's in it? 狗") == ((0, 6), (7, 9), (10, 12), (14, 15))


def test_words_cost_nothing_where_nobody_sees_them(task: VQA) -> None:
    pictures = [PHOTO, PHOTO]
    watch(task, pictures, request=Request(question="is there a dog"))
    assert isinstance(task.model, BagVQA) and task.model.runs <= 2
    assert vlcam.explain(replace(task, words=None), PHOTO, question="is there a dog").question_words == ()
