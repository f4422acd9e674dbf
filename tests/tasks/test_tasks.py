"""The three task adapters: what they score, what they refuse, and that the photo passes through the CNN once."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.engine.outputs import log_probability
from vlcam.explanation.options import check_options
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification
from vlcam.tasks.vqa import VQA

PIXELS = 24
PREPROCESS = vlcam.Preprocess(size=(PIXELS, PIXELS), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PHOTO = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(5))
WORDS = ["a", "dog", "cat", "red", "blue", "and", "##gy"]


class TinyCNN(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.fc = nn.Linear(8 * 6 * 6, outputs)
        self.runs = 0

    def forward(self, images: Tensor) -> Tensor:
        self.runs += 1
        out: Tensor = self.fc(self.features(images).flatten(1))
        return out


class TinyCaptioner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn = TinyCNN(16)
        self.embed = nn.Embedding(len(WORDS) + 1, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, len(WORDS))

    def decode(self, photo: Tensor, ids: Sequence[int]) -> Tensor:
        before: Tensor = self.embed(torch.tensor([[len(WORDS), *ids[:-1]]]))
        states, _ = self.lstm(torch.cat([photo[:, None], before], dim=1))
        out: Tensor = self.out(states[0, 1:])
        return out


class TinyVQA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn = TinyCNN(16)
        self.embed = nn.Embedding(10, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, 3)

    def forward(self, images: Tensor, question: Tensor) -> Tensor:
        _, (state, _) = self.lstm(self.embed(question))
        out: Tensor = self.out(self.cnn(images) * state[-1])
        return out


class Tokens:
    """Word-level, but "doggy" is two tokens."""

    def encode(self, text: str) -> list[int]:
        unknown = [word for word in text.split() if word not in [*WORDS, "doggy"]]
        if unknown:
            raise vlcam.InputError(f"the model doesn't know the word {unknown[0]!r}")
        return [token for word in text.split() for token in ([1, 6] if word == "doggy" else [WORDS.index(word)])]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(WORDS[i][2:] if i == 6 else " " + WORDS[i] for i in ids).strip()


@pytest.fixture
def classifier() -> Classification:
    torch.manual_seed(0)
    return Classification(
        TinyCNN(4).eval(), labels=["tiger", "tiger cat", "boxer", "crane"], preprocess=PREPROCESS, layer="features"
    )


@pytest.fixture
def captioner() -> Captioning:
    torch.manual_seed(0)
    return Captioning(
        TinyCaptioner().eval(),
        tokens=Tokens(),
        preprocess=PREPROCESS,
        encode=lambda model, images: model.cnn(images),
        generate=lambda model, photo: [0, 3, 1, 5, 0, 4, 2],
        logits=lambda model, photo, ids: model.decode(photo, ids),
        layer="cnn.features",
    )


@pytest.fixture
def vqa() -> VQA:
    torch.manual_seed(0)
    return VQA(
        TinyVQA().eval(),
        answers=["red", "blue", "yes"],
        preprocess=PREPROCESS,
        read=lambda question: torch.tensor([[len(word) for word in question.split()]]),
        logits=lambda model, images, question: model(images, question),
        layer="cnn.features",
    )


# --- classification ---------------------------------------------------------------------------------------------------


def test_classes_are_logits_of_the_one_forward(classifier: Classification) -> None:
    explanation = vlcam.explain(classifier, PHOTO, targets=["boxer", 0], method="gradcam")
    assert isinstance(classifier.model, TinyCNN)
    assert classifier.model.runs == 1
    images, _ = PREPROCESS(_pil())
    logits = classifier.model(images)[0].detach()
    assert [target.label for target in explanation.targets] == ["boxer", "tiger"]
    assert explanation["boxer"].target.score == pytest.approx(float(logits[2]), rel=1e-5)
    assert explanation["boxer"].target.measure == "logit"
    assert explanation["tiger"].target.probability == pytest.approx(float(logits.softmax(-1)[0]), rel=1e-5)


def test_top_k_is_the_default_and_ordered(classifier: Classification) -> None:
    explanation = vlcam.explain(classifier, PHOTO, top_k=3)
    scores = [target.score for target in explanation.targets]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert explanation.text == explanation.targets[0].label


def test_contrast_is_the_difference(classifier: Classification) -> None:
    explanation = vlcam.explain(
        classifier, PHOTO, targets=["boxer", "tiger"], contrast=[("boxer", "tiger")], method="gradcam"
    )
    one, other, contrast = explanation
    assert contrast.label == "boxer rather than tiger"
    assert contrast.target.score == pytest.approx(one.target.score - other.target.score, abs=1e-5)
    torch.testing.assert_close(contrast.signed_map, one.signed_map - other.signed_map, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [("tigre", "the nearest it has: 'tiger'"), (4, "numbered from 0 to 3"), (-1, "numbered from 0 to 3")],
)
def test_unknown_classes(classifier: Classification, wanted: str | int, text: str) -> None:
    with pytest.raises(vlcam.TargetError, match=text):
        vlcam.explain(classifier, PHOTO, targets=wanted)


def test_two_classes_of_one_name_need_a_number(classifier: Classification) -> None:
    task = replace(classifier, labels=["crane", "tiger", "boxer", "crane"])
    with pytest.raises(vlcam.TargetError, match=r"one of \[0, 3\]"):
        vlcam.explain(task, PHOTO, targets="crane")
    assert vlcam.explain(task, PHOTO, targets=3).targets[0].token_ids == (3,)


def test_labels_must_fit_the_logits(classifier: Classification) -> None:
    with pytest.raises(vlcam.TargetError, match="4 scores, but 2 labels"):
        vlcam.explain(replace(classifier, labels=["a", "b"]), PHOTO)


def test_a_single_logit_has_two_sides() -> None:
    torch.manual_seed(0)
    task = Classification(
        TinyCNN(1).eval(), labels=["cat", "dog"], preprocess=PREPROCESS, layer="features", activation="sigmoid"
    )
    explanation = vlcam.explain(task, PHOTO, targets=["cat", "dog"], method="gradcam")
    cat, dog = explanation
    assert cat.target.score == pytest.approx(-dog.target.score)
    assert cat.target.probability is not None and dog.target.probability is not None
    assert cat.target.probability + dog.target.probability == pytest.approx(1)
    torch.testing.assert_close(cat.signed_map, -dog.signed_map)
    named = replace(task, labels=["dog"])
    assert [target.label for target in vlcam.explain(named, PHOTO, top_k=2, method="gradcam").targets] in (
        ["dog", "not dog"],
        ["not dog", "dog"],
    )


def test_multi_label_probabilities_do_not_sum_to_one(classifier: Classification) -> None:
    explanation = vlcam.explain(replace(classifier, activation="sigmoid"), PHOTO, top_k=4)
    for target in explanation.targets:
        assert target.probability == pytest.approx(float(torch.tensor(target.score).sigmoid()), rel=1e-5)


@dataclass
class Output:
    logits: Tensor


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module, wrap: Any) -> None:
        super().__init__()
        self.inner, self.wrap = inner, wrap

    def forward(self, images: Tensor) -> Any:
        return self.wrap(self.inner(images))


@pytest.mark.parametrize(
    "wrap",
    [Output, lambda x: (x, None), lambda x: {"logits": x}, lambda x: [x]],
    ids=["object", "tuple", "dict", "list"],
)
def test_outputs_that_are_no_tensors(classifier: Classification, wrap: Any) -> None:
    plain = vlcam.explain(classifier, PHOTO, targets=1)
    task = replace(classifier, model=Wrapped(classifier.model, wrap).eval(), layer="inner.features")
    torch.testing.assert_close(vlcam.explain(task, PHOTO, targets=1).maps, plain.maps)


def test_an_output_without_logits_is_refused(classifier: Classification) -> None:
    task = replace(classifier, model=Wrapped(classifier.model, lambda _: "no"), layer="inner.features")
    with pytest.raises(vlcam.InputError, match="returned a str in which no logits were found"):
        vlcam.explain(task, PHOTO)


def test_a_classifier_takes_no_question(classifier: Classification) -> None:
    with pytest.raises(vlcam.InputError, match="neither a caption nor a question"):
        vlcam.explain(classifier, PHOTO, question="what is it")


# --- captioning -------------------------------------------------------------------------------------------------------


def test_all_words_from_one_forward(captioner: Captioning) -> None:
    explanation = vlcam.explain(captioner, PHOTO, method="gradcam")
    assert isinstance(captioner.model, TinyCaptioner)
    assert captioner.model.cnn.runs == 1
    assert explanation.text == "a red dog and a blue cat"
    assert [target.label for target in explanation.targets] == [*explanation.text.split(), explanation.text]
    for target in explanation.targets:
        assert target.span is not None
        assert explanation.text[slice(*target.span)] == target.label


def test_words_are_log_probabilities_and_sum_to_the_caption(captioner: Captioning) -> None:
    explanation = vlcam.explain(captioner, PHOTO, method="gradcam")
    images, _ = PREPROCESS(_pil())
    model = captioner.model
    assert isinstance(model, TinyCaptioner)
    ids = [0, 3, 1, 5, 0, 4, 2]
    logs = model.decode(model.cnn(images), ids).log_softmax(-1)
    expected = [float(logs[place, token].detach()) for place, token in enumerate(ids)]
    assert [target.score for target in explanation.targets[:-1]] == pytest.approx(expected, rel=1e-4)
    assert explanation.targets[-1].score == pytest.approx(sum(expected), rel=1e-4)
    torch.testing.assert_close(explanation.maps[:-1].sum(0), explanation.maps[-1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("margin", [0.0, 5.0, 18.0, 40.0, 90.0])
def test_certain_words_keep_the_whole_gradient(margin: float) -> None:
    logits = torch.tensor([[margin, 0.0, -1.0, -2.5], [0.3, margin, 0.1, -torch.inf]]).requires_grad_()
    exact = logits.detach().double().requires_grad_()
    found, ids = log_probability(logits, (0, 1)), [0, 1]
    (slope,) = torch.autograd.grad(found.sum(), logits)
    # The textbook form in float64 is exact as long as 1 - p isn't rounded; beyond, its two halves are taken apart.
    rivals = exact.clone()
    rivals[range(2), ids] = -torch.inf
    spread = rivals.softmax(-1)
    p_rest = torch.sigmoid(rivals.logsumexp(-1) - exact[range(2), ids])
    expected = -spread * p_rest[:, None]
    expected[range(2), ids] = p_rest
    torch.testing.assert_close(slope.double(), expected.detach(), rtol=1e-5, atol=0.0)
    torch.testing.assert_close(found.double(), (-p_rest).log1p().detach(), rtol=1e-5, atol=0.0)
    if margin < 10:
        torch.testing.assert_close(found, logits.log_softmax(-1)[range(2), ids], rtol=1e-5, atol=1e-7)


def test_a_word_without_rivals_has_a_gradient_of_zero() -> None:
    logits = torch.tensor([[1.0, -torch.inf, -torch.inf]], requires_grad=True)
    found = log_probability(logits, (0,))
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert float(found.detach()) == 0 and torch.equal(slope, torch.zeros(1, 3))
    assert log_probability(logits.detach().half(), (0,)).dtype == torch.float32


def test_a_repeated_word_has_two_maps(captioner: Captioning) -> None:
    explanation = vlcam.explain(captioner, PHOTO)
    with pytest.raises(vlcam.TargetError, match="'a' occurs 2 times"):
        explanation["a"]
    assert not torch.equal(explanation["a", 0].map, explanation["a", 1].map)


def test_sub_words_are_summed(captioner: Captioning) -> None:
    explanation = vlcam.explain(captioner, PHOTO, caption="a doggy and a cat", method="gradcam")
    assert [target.label for target in explanation.targets[:-1]] == ["a", "doggy", "and", "a", "cat"]
    assert explanation["doggy"].target.token_ids == (1, 6)
    split = replace(captioner, tokens=_Spaced())
    parts = vlcam.explain(split, PHOTO, caption="a doggy and a cat", method="gradcam")
    summed = parts["dog"].signed_map + parts["gy"].signed_map
    torch.testing.assert_close(explanation["doggy"].signed_map, summed, atol=1e-6, rtol=1e-4)
    assert explanation["doggy"].target.score == pytest.approx(
        parts["dog"].target.score + parts["gy"].target.score, rel=1e-5
    )


class _Spaced:
    def encode(self, text: str) -> list[int]:
        return Tokens().encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(WORDS[i].removeprefix("##") for i in ids)


def test_word_contrast(captioner: Captioning) -> None:
    text = "a red dog"
    explanation = vlcam.explain(
        captioner, PHOTO, caption=text, contrast=[("red", "blue"), ("red", "doggy")], method="gradcam"
    )
    other = vlcam.explain(captioner, PHOTO, caption="a blue dog", method="gradcam")
    contrast = explanation["red rather than blue"]
    assert contrast.target.kind == "contrast"
    assert contrast.target.score == pytest.approx(
        explanation["red"].target.score - other["blue"].target.score, abs=1e-5
    )
    torch.testing.assert_close(
        contrast.signed_map, explanation["red"].signed_map - other["blue"].signed_map, atol=1e-6, rtol=1e-4
    )
    longer = vlcam.explain(captioner, PHOTO, caption="a doggy", method="gradcam")
    two = explanation["red rather than doggy"]
    assert two.target.score == pytest.approx(explanation["red"].target.score - longer["doggy"].target.score, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"caption": "a green dog"}, vlcam.InputError, "'green'"),
        ({"caption": "  "}, vlcam.InputError, "caption to explain is empty"),
        ({"contrast": [("blue", "red")], "caption": "a dog"}, vlcam.TargetError, "'blue' is not a word of the caption"),
        ({"question": "what"}, vlcam.InputError, "takes no question"),
        ({"targets": "dog"}, vlcam.InputError, "no classes"),
    ],
)
def test_captions_that_cannot_be_explained(
    captioner: Captioning, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        vlcam.explain(captioner, PHOTO, **options)


def test_logits_of_words(captioner: Captioning) -> None:
    text, ids = "a doggy and a cat", [0, 1, 6, 5, 0, 2]
    explanation = vlcam.explain(
        captioner, PHOTO, caption=text, measure="logit", contrast=[("cat", "red"), ("doggy", "a")]
    )
    usual = vlcam.explain(captioner, PHOTO, caption=text, contrast=[("cat", "red"), ("doggy", "a")])
    model = captioner.model
    assert isinstance(model, TinyCaptioner)
    rows = model.decode(model.cnn(PREPROCESS(_pil())[0]), ids).detach()
    own = [float(rows[place, token]) for place, token in enumerate(ids)]
    expected = [own[0], own[1] + own[2], own[3], own[4], own[5], sum(own)]
    assert [target.score for target in explanation.targets[:6]] == pytest.approx(expected, rel=1e-5)
    assert explanation.targets[6].score == pytest.approx(own[5] - float(rows[5, 3]), rel=1e-5)
    assert explanation.targets[7].score == pytest.approx(own[1] + own[2] - float(rows[1, 0]), rel=1e-5)
    for target, other in zip(explanation.targets, usual.targets, strict=True):
        assert (target.measure, other.measure) == ("logit", "log-probability")
        assert target.probability == other.probability
    # One token against one other in the same place: what all words share cancels.
    torch.testing.assert_close(explanation.maps[6], usual.maps[6], atol=1e-6, rtol=1e-4)
    assert not torch.allclose(explanation.maps[:6], usual.maps[:6], atol=1e-4)


def test_given_ids_are_scored_instead_of_the_text(captioner: Captioning) -> None:
    def never(*_: object) -> Sequence[int]:
        raise AssertionError

    task = replace(captioner, generate=never)
    prepared = task.prepare(_pil(), vlcam.contracts.Request(ids=(1, 6, 4)))
    spoken = task.run(prepared, vlcam.contracts.Request(ids=(1, 6, 4)))
    assert spoken.text == "doggy blue"
    assert [target.token_ids for target in spoken.targets] == [(1, 6), (4,), (1, 6, 4)]
    with pytest.raises(vlcam.InputError, match="token ids to score are empty"):
        task.run(prepared, vlcam.contracts.Request(ids=()))


def test_a_prompt_is_for_captioners_that_take_one(captioner: Captioning) -> None:
    with pytest.raises(vlcam.InputError, match=r"prompt='a photo of' was given, but captioner takes no prompt"):
        vlcam.explain(captioner, PHOTO, prompt="a photo of")
    plain = vlcam.explain(captioner, PHOTO)
    task = replace(captioner, prompted=lambda inputs, prompt: inputs * len(prompt))
    assert torch.equal(vlcam.explain(task, PHOTO).maps, plain.maps)
    assert torch.equal(vlcam.explain(task, PHOTO, prompt="x").maps, plain.maps)
    assert not torch.equal(vlcam.explain(task, PHOTO, prompt="xyz").maps, plain.maps)


def test_an_empty_own_caption_is_said(captioner: Captioning) -> None:
    with pytest.raises(vlcam.InputError, match="own caption is empty"):
        vlcam.explain(replace(captioner, generate=lambda model, photo: []), PHOTO)


def test_logits_of_the_wrong_shape_are_said(captioner: Captioning) -> None:
    task = replace(captioner, logits=lambda model, photo, ids: model.decode(photo, ids)[None])
    with pytest.raises(vlcam.InputError, match=r"must return \(7, vocabulary\)"):
        vlcam.explain(task, PHOTO)


# --- visual question answering ----------------------------------------------------------------------------------------


def test_answers(vqa: VQA) -> None:
    explanation = vlcam.explain(
        vqa, PHOTO, question="what colour", targets=["yes", "red"], contrast=[("yes", "red")], method="gradcam"
    )
    assert isinstance(vqa.model, TinyVQA)
    assert vqa.model.cnn.runs == 1
    assert explanation.question == "what colour"
    yes, red, contrast = explanation
    assert (yes.label, yes.target.kind, yes.target.measure, contrast.target.measure) == (
        "yes",
        "answer",
        "logit",
        "logit",
    )
    torch.testing.assert_close(contrast.signed_map, yes.signed_map - red.signed_map, atol=1e-6, rtol=1e-4)
    again = vlcam.explain(vqa, PHOTO, question="is there a cat", targets=["yes"], method="gradcam")
    assert not torch.equal(again.maps[0], yes.signed_map)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, vlcam.InputError, "no question was given"),
        ({"question": "   "}, vlcam.InputError, "no question was given"),
        ({"question": "what", "targets": "rod"}, vlcam.TargetError, "nearest it has: 'red'"),
        ({"question": "what", "contrast": [("red", "green")]}, vlcam.TargetError, "no answer 'green'"),
        ({"question": "what", "caption": "a dog"}, vlcam.InputError, "takes no caption"),
        ({"question": "what", "top_k": 0}, vlcam.TargetError, "top_k must be at least 1"),
    ],
)
def test_questions_that_cannot_be_explained(
    vqa: VQA, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        vlcam.explain(vqa, PHOTO, **options)


# --- all of them ------------------------------------------------------------------------------------------------------


def test_methods_layers_and_rankings_by_name(classifier: Classification) -> None:
    with pytest.raises(vlcam.InputError, match="ranking 'alphabet'"):
        vlcam.explain_batches(classifier, [PHOTO], ranking="alphabet")  # type: ignore[arg-type]
    with pytest.raises(vlcam.InputError, match="ranking 'alphabet'"):
        check_options(ranking="alphabet")
    with pytest.raises(vlcam.VlcamError, match="gradcam"):
        vlcam.explain(classifier, PHOTO, method="grad-cam!")
    with pytest.raises(vlcam.LayerError, match="features"):
        vlcam.explain(classifier, PHOTO, layer="feature", method="gradcam")
    opposite = vlcam.explain(classifier, PHOTO, targets=1, method="counterfactual")
    torch.testing.assert_close(opposite.maps, -vlcam.explain(classifier, PHOTO, targets=1, method="gradcam").maps)


def test_the_model_is_left_as_it_was(captioner: Captioning) -> None:
    before = copy.deepcopy(captioner.model.state_dict())
    captioner.model.train()
    vlcam.explain(captioner, PHOTO)
    assert captioner.model.training
    assert all(parameter.grad is None for parameter in captioner.model.parameters())
    assert all(torch.equal(before[key], value) for key, value in captioner.model.state_dict().items())
    assert not any(module._forward_hooks for module in captioner.model.modules())


def test_half_precision(captioner: Captioning) -> None:
    full = vlcam.explain(captioner, PHOTO)
    captioner.model.bfloat16()
    half = vlcam.explain(captioner, PHOTO)
    assert half.maps.dtype == torch.float32
    alike = torch.nn.functional.cosine_similarity(full.maps.flatten(1), half.maps.flatten(1))
    assert bool((alike > 0.9).all())


def _pil() -> Any:
    from vlcam.image.photo import open_photo

    return open_photo(PHOTO)[0]
