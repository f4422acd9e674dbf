"""Visual gain: log-probabilities with the image less those without, against a computation by hand; and what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.tasks.test_tasks import PHOTO, PREPROCESS, TinyCaptioner, TinyCNN, TinyVQA, Tokens
from vlcam.benchmark.gains import choose_false_words, measure_gains, score_caption_words
from vlcam.contracts import Geometry, Prepared, Request, Spoken, Target
from vlcam.engine.recording import record
from vlcam.explanation.visual_gain import hide_content, score_targets
from vlcam.image.photo import open_photo
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification
from vlcam.tasks.vqa import VQA

IDS = [0, 3, 1, 5, 0, 4, 2]


def captioner(**changes: Any) -> Captioning:
    torch.manual_seed(0)
    task = Captioning(
        TinyCaptioner().eval(),
        tokens=Tokens(),
        preprocess=PREPROCESS,
        encode=lambda model, images: model.cnn(images),
        generate=lambda model, photo: IDS,
        logits=lambda model, photo, ids: model.decode(photo, ids),
        layer="cnn.features",
    )
    return replace(task, **changes)


def log_probabilities(task: Captioning, photo: Image.Image, ids: Sequence[int]) -> list[float]:
    """By hand, without the task and without vlcam's own log-probability."""
    model = task.model
    assert isinstance(model, TinyCaptioner)
    with torch.no_grad():
        rows = model.decode(model.cnn(PREPROCESS(photo)[0]), ids).double().log_softmax(-1)
    return [float(rows[place, token]) for place, token in enumerate(ids)]


def grey(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.full((size[1], size[0], 3), 128, np.uint8))


# --- what it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", ["blank", "blur"])
@pytest.mark.parametrize("measure", ["log-probability", "logit"])
def test_gain_is_the_log_probability_with_the_image_less_that_without(without: Any, measure: Any) -> None:
    task, (picture, _) = captioner(), open_photo(PHOTO)
    explanation = vlcam.explain(task, PHOTO, gain=without, measure=measure)
    blind = grey(picture.size) if without == "blank" else hide_content(picture, "blur")
    with_image, without_image = (log_probabilities(task, one, IDS) for one in (picture, blind))
    expected = [one - other for one, other in zip(with_image, without_image, strict=True)]
    found = [target.gain for target in explanation.targets]
    assert found == pytest.approx([*expected, sum(expected)], abs=2e-6)
    assert max(map(abs, expected)) > 1e-3
    plain = vlcam.explain(task, PHOTO, measure=measure)
    assert torch.equal(explanation.maps, plain.maps)
    assert [replace(target, gain=None) for target in explanation.targets] == list(plain.targets)
    assert plain.notes == () and len(explanation.notes) == 1
    assert all(
        word in explanation.notes[0]
        for word in ("High", "About 0", "Negative", "blurred" if without == "blur" else "grey")
    )


def test_the_gain_of_a_contrast_is_the_difference_of_both() -> None:
    explanation = vlcam.explain(captioner(), PHOTO, caption="a red dog", contrast=("red", "blue"), gain="blank")
    other = vlcam.explain(captioner(), PHOTO, caption="a blue dog", gain="blank")
    gained, lost = explanation["red"].target.gain, other["blue"].target.gain
    assert gained is not None and lost is not None
    assert explanation["red rather than blue"].target.gain == pytest.approx(gained - lost, abs=1e-6)


def test_the_model_does_not_speak_again() -> None:
    """The same token ids are scored: neither what the model would say without the image, nor what the text encodes to."""
    calls: list[Any] = []

    class OneWay(Tokens):
        def encode(self, text: str) -> list[int]:
            raise AssertionError("a text may be written with other tokens as well")

    def generate(model: Any, photo: Tensor) -> list[int]:
        calls.append(photo)
        return IDS[: len(IDS) + 1 - len(calls)]

    explanation = vlcam.explain(captioner(generate=generate, tokens=OneWay()), PHOTO, gain="blank")
    assert len(calls) == 1
    assert explanation.targets[-1].token_ids == tuple(IDS)
    assert vlcam.explain(captioner(), PHOTO, caption="a doggy", gain="blank")["doggy"].target.token_ids == (1, 6)


def test_the_whole_caption_gains_what_its_words_do() -> None:
    explanation = vlcam.explain(bundled.captioner(), Image.fromarray(make(3, "test").image()), gain="blank")
    *words, whole = (target.gain for target in explanation.targets)
    assert whole == pytest.approx(sum(gain for gain in words if gain is not None), abs=1e-4)
    assert whole is not None and whole > 3


def test_no_image_at_all() -> None:
    picture = open_photo(PHOTO)[0]
    assert np.unique(np.asarray(hide_content(picture, "blank"))).tolist() == [128]
    assert hide_content(picture, "blank").size == hide_content(picture, "blur").size == picture.size == (40, 30)


@pytest.mark.parametrize(("width", "height"), [(200, 200), (400, 200), (200, 300)])
def test_the_blur_is_a_tenth_of_the_shorter_side(width: int, height: int) -> None:
    edge = np.zeros((height, width, 3), np.uint8)
    edge[:, width // 2 :] = 255
    blurred = np.asarray(hide_content(Image.fromarray(edge), "blur")).astype(float)[height // 2, :, 0]
    slope = np.diff(blurred) / np.diff(blurred).sum()
    at = np.arange(len(slope)) - (slope * np.arange(len(slope))).sum()
    assert np.sqrt((slope * at**2).sum()) == pytest.approx(0.1 * min(width, height), rel=0.05)


# --- who has one ------------------------------------------------------------------------------------------------------


def test_models_that_choose_from_a_list_have_no_gain() -> None:
    classifier = Classification(
        TinyCNN(3).eval(), labels=["tiger", "cat", "boxer"], preprocess=PREPROCESS, layer="features", name="tiny"
    )
    with pytest.raises(
        vlcam.InputError, match=r"gain='blank' was given, but tiny chooses from a list instead of writing words"
    ):
        vlcam.explain(classifier, PHOTO, gain="blank")
    answering = VQA(
        TinyVQA().eval(),
        answers=["red", "blue", "yes"],
        preprocess=PREPROCESS,
        read=lambda question: torch.tensor([[1]]),
        logits=lambda model, images, question: model(images, question),
        layer="cnn.features",
    )
    with pytest.raises(vlcam.InputError, match="gain='blur' was given, but vqa chooses from a list"):
        vlcam.explain(answering, PHOTO, question="what", gain="blur")


@dataclass(frozen=True)
class Answering:
    """A model that speaks its answers; ``stubborn`` says what comes to its mind instead of scoring what it is told to."""

    kind: ClassVar[str] = "vqa"

    model: nn.Module
    asked: list[Request]
    stubborn: bool = False
    name: str = "answering"
    layer: str = "cnn.features"
    names: None = None

    def prepare(self, photo: Image.Image, request: Request) -> Prepared:
        inputs, geometry = PREPROCESS(photo)
        return Prepared(inputs, geometry)

    def run(self, prepared: Prepared, request: Request) -> Spoken:
        self.asked.append(request)
        model = self.model
        assert isinstance(model, TinyCaptioner)
        texts = [Tokens().encode(str(label)) for label in request.labels]
        if not texts:
            own = [[1, 6], [4]][len(self.asked) > 1]
            texts = [own if self.stubborn or request.ids is None else list(request.ids)]
        scores, targets = [], []
        photo = model.cnn(prepared.inputs)
        for ids in texts if len(self.asked) % 2 else texts[::-1]:  # as if ranked otherwise without the image
            rows = model.decode(photo, ids).log_softmax(-1)
            scores.append(rows[range(len(ids)), ids].sum())
            targets.append(
                Target(
                    Tokens().decode(ids),
                    "answer",
                    float(scores[-1].detach()),
                    token_ids=tuple(ids),
                    measure="log-probability",
                )
            )
        return Spoken(torch.stack(scores), targets, targets[0].label)


def test_generated_answers_have_a_gain() -> None:
    torch.manual_seed(0)
    task = Answering(TinyCaptioner().eval(), [])
    explanation = vlcam.explain(task, PHOTO, question="what", gain="blank", method="gradcam")
    assert len(explanation) == 1
    assert [request.ids for request in task.asked] == [None, (1, 6)]
    picture = open_photo(PHOTO)[0]
    by_hand = captioner(model=task.model)
    seen, blind = (sum(log_probabilities(by_hand, one, [1, 6])) for one in (picture, grey(picture.size)))
    assert explanation.targets[0].gain == pytest.approx(seen - blind, abs=2e-6)
    several = vlcam.explain(task, PHOTO, question="what", targets=["doggy", "a cat"], gain="blank")
    assert [target.label for target in several.targets] == ["doggy", "a cat"]
    assert several.targets[0].gain == pytest.approx(seen - blind, abs=2e-6)
    other = [sum(log_probabilities(by_hand, one, [0, 2])) for one in (picture, grey(picture.size))]
    assert several.targets[1].gain == pytest.approx(other[0] - other[1], abs=2e-6)


def test_a_task_that_scores_something_else_is_found_out() -> None:
    torch.manual_seed(0)
    task = Answering(TinyCaptioner().eval(), [], stubborn=True)
    with pytest.raises(vlcam.TargetError, match=r"answering didn't score 'doggy' again .* Request\.ids"):
        vlcam.explain(task, PHOTO, question="what", gain="blank")


# --- the model is left alone ------------------------------------------------------------------------------------------


def test_no_autograd_no_recording_and_everything_as_before() -> None:
    grads: list[bool] = []

    def logits(model: TinyCaptioner, photo: Tensor, ids: Sequence[int]) -> Tensor:
        grads.append(torch.is_grad_enabled())
        return model.decode(photo, ids)

    task, picture = captioner(logits=logits), open_photo(PHOTO)[0]
    task.model.train()
    state = torch.get_rng_state()
    with record(task.model, "cnn.features") as recording:
        score_targets(task, picture, Request(ids=(0, 3)))
    assert recording.calls == ()
    assert grads == [False]
    vlcam.explain(task, PHOTO, gain="blur", method="gradcam")
    assert grads == [False, True, False]
    assert all(module.training for module in task.model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in task.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in task.model.modules())
    assert torch.equal(state, torch.get_rng_state())


def test_the_model_is_given_back_after_an_error() -> None:
    calls: list[int] = []

    def logits(model: TinyCaptioner, photo: Tensor, ids: Sequence[int]) -> Tensor:
        calls.append(len(ids))
        if len(calls) > 1:
            raise RuntimeError("out of memory")
        return model.decode(photo, ids)

    task = captioner(logits=logits)
    task.model.train()
    with pytest.raises(RuntimeError, match="out of memory"):
        vlcam.explain(task, PHOTO, gain="blank")
    assert all(module.training for module in task.model.modules())
    assert torch.is_grad_enabled() and all(parameter.requires_grad for parameter in task.model.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_under_other_grad_modes(mode: Any) -> None:
    expected = [target.gain for target in vlcam.explain(captioner(), PHOTO, gain="blank").targets]
    with mode():
        found = [target.gain for target in vlcam.explain(captioner(), PHOTO, gain="blank").targets]
    assert found == pytest.approx(expected)


def test_the_geometry_stays_that_of_the_photo() -> None:
    seen: list[Geometry] = []

    def preprocess(photo: Image.Image) -> tuple[Any, Geometry]:
        inputs, geometry = PREPROCESS(photo)
        seen.append(geometry)
        return inputs, geometry

    vlcam.explain(captioner(preprocess=preprocess), PHOTO, gain="blur")
    assert len(seen) == 2 and seen[0] == seen[1]


# --- what it is worth -------------------------------------------------------------------------------------------------


def test_false_words_are_false_and_of_the_same_kind() -> None:
    changed = 0
    for seed in range(30):
        scene = make(seed, "test")
        words = scene.captions(1)[0].words
        for place, word in choose_false_words(scene, words, np.random.default_rng(seed)).items():
            caption = (*words[:place], word, *words[place + 1 :])
            assert word != words[place]
            assert scene.true_words(words)[place] and not scene.true_words(caption)[place]
            changed += 1
    assert changed > 90


def test_the_scores_of_places_are_those_of_captions() -> None:
    """The false words are scored as contrasts; here each false caption is scored as a caption."""
    scene, task = make(5, "test"), bundled.captioner()
    rows = list(score_caption_words(scene, task, np.random.default_rng(5)))
    words = scene.captions(1)[0].words
    swaps = choose_false_words(scene, words, np.random.default_rng(5))
    picture = Image.fromarray(scene.image())
    assert len(rows) == len(words) and swaps
    for place, row in enumerate(rows):
        assert (row.false is not None) == (place in swaps)
        for said, found in ((words[place], row.true), (swaps.get(place), row.false)):
            if said is None or found is None:
                continue
            text = " ".join((*words[:place], said, *words[place + 1 :]))
            for without, gain in zip(("blank", "blur"), found[:2], strict=True):
                options: Any = {"caption": text, "gain": without}
                target = vlcam.explain(task, picture, **options)[place].target
                assert target.gain == pytest.approx(gain, abs=1e-3)
                assert target.score == pytest.approx(found[2], abs=1e-3)


@pytest.mark.extended
def test_the_gain_of_what_is_seen_is_high() -> None:
    steps: list[tuple[int, int]] = []
    found = measure_gains(bundled.captioner(), n=24, progress=lambda now, n: steps.append((now, n)))
    assert steps[-1] == (24, 24) and found["scenes"] == 24
    for part, kind in (("seen", "shape words"), ("true", "shape words"), ("true", "colour words")):
        row = found[part][kind]
        assert row["positives"] > 20 and row["blank"]["auroc"] > 0.9
        for column in ("blank", "blur", "log-probability"):
            low, high = row[column]["interval"]
            assert 0 <= low <= row[column]["auroc"] <= high <= 1
    assert found["true"]["all"]["positives"] == found["true"]["all"]["negatives"]
    assert "numbers and relations" not in found["true"]
