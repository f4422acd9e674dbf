"""PhotoSubject: the same targets on changed images, in a batch as one by one, and the model left as it was."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image as Pictures
from torch import Tensor, nn

import vlcam
from vlcam.contracts import InputError, LayerError, Method, PerturbationMethod, ScoringTask, Subject, Task
from vlcam.engine.backward import gradients
from vlcam.engine.layers import Grid, TokenLayout
from vlcam.engine.recording import record
from vlcam.explanation.evidence import collect_evidence
from vlcam.explanation.rerun import PhotoSubject, fix_targets
from vlcam.methods import get_one_run_method, list_methods
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

SCENE = make(3, "test")
QUESTION = "how many things are there"
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("classifier", {}),
    ("classifier", {"targets": ["red star", "blue circle"], "contrast": ("red star", "blue circle")}),
    ("captioner", {}),
    ("captioner", {"measure": "logit"}),
    ("captioner", {"contrast": ("green", "red")}),
    ("captioner", {"contrast": ("green", "red"), "measure": "logit"}),
    ("vqa", {"question": QUESTION}),
    ("vqa", {"question": QUESTION, "contrast": ("2", "3")}),
]


def subject_of(task: Task, image: Any = None, **options: Any) -> PhotoSubject:
    """The subject of an explanation, as a procedure gets it."""
    caught: list[PhotoSubject] = []

    def catch(subject: Subject) -> Tensor:
        assert isinstance(subject, PhotoSubject)
        caught.append(subject)
        return torch.zeros(len(subject.targets), 2, 2)

    photo = SCENE.image() if image is None else image
    vlcam.explain(task, photo, method=PerturbationMethod("catch", catch, "Catch", "-", "-"), **options)
    return caught[0]


@pytest.mark.parametrize(("which", "options"), ASKED)
def test_scores_of_the_photo_are_those_explained(which: str, options: dict[str, Any]) -> None:
    subject = subject_of(getattr(bundled, which)(), **options)
    scores = subject.scores(subject.image.repeat(3, 1, 1, 1))
    assert scores.shape == (3, len(subject.targets)) and not scores.requires_grad
    said = torch.tensor([target.score for target in subject.targets])
    assert torch.allclose(scores, said.expand(3, -1), atol=1e-4)


@pytest.mark.parametrize(("which", "options"), ASKED)
def test_a_batch_scores_as_its_rows_do(which: str, options: dict[str, Any]) -> None:
    task = getattr(bundled, which)()
    assert isinstance(task, ScoringTask)
    subject = subject_of(task, **options)
    changed = subject.image * torch.tensor([1.0, 0.0, -1.0])[:, None, None, None]
    together = subject.scores(changed)
    alone = replace(subject, task=_Plain(task)).scores(changed)
    assert torch.allclose(together, alone, atol=1e-4) and not torch.allclose(together[0], together[1], atol=1e-2)


@pytest.mark.parametrize(("which", "options"), ASKED)
def test_channel_masks_scale_the_layers_channels(which: str, options: dict[str, Any]) -> None:
    subject = subject_of(getattr(bundled, which)(), **options)
    channels = subject.activations.shape[1]
    masks = torch.ones(3, channels)
    masks[1, : channels // 2] = 0
    masks[2] = 0
    found = subject.scores_with(masks)
    alone = replace(subject, task=_Plain(subject.task)).scores_with(masks)
    assert torch.allclose(found, alone, atol=1e-4)
    said = torch.tensor([target.score for target in subject.targets])
    assert torch.allclose(found[0], said, atol=1e-4) and not torch.allclose(found[1], said, atol=1e-2)


def test_a_caption_keeps_its_words_whatever_the_image_shows() -> None:
    subject = subject_of(bundled.captioner())
    other = subject_of(bundled.captioner(), make(9, "test").image(), caption=" ".join(_words(subject)))
    found = subject.scores(other.image)
    assert torch.allclose(found[0], torch.tensor([target.score for target in other.targets]), atol=1e-4)


def test_rerun_at_the_layer_gives_the_recorded_gradients() -> None:
    subject = subject_of(bundled.captioner())
    scores, leaf = subject.rerun("layer")
    found = subject.to_maps(gradients(scores, leaf)[:, 0])
    assert torch.allclose(found, subject.gradients, atol=1e-6)


def test_rerun_at_the_image_gives_gradients_of_pixels() -> None:
    subject = subject_of(bundled.classifier(), targets=["red star"])
    scores, leaf = subject.rerun("image")
    slope = gradients(scores, leaf)[0, 0]
    assert leaf.shape == subject.image.shape
    pixel = torch.zeros_like(subject.image)
    where = divmod(int(slope.abs().sum(0).argmax()), slope.shape[2])
    pixel[0, :, where[0], where[1]] = 1e-2
    moved = subject.scores(torch.cat([subject.image - pixel, subject.image + pixel]))
    assert float(moved[1, 0] - moved[0, 0]) == pytest.approx(2e-2 * float(slope[:, where[0], where[1]].sum()), rel=0.05)


def test_the_model_is_left_as_it_was() -> None:
    task = bundled.captioner()
    task.model.train()
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    subject = subject_of(task)
    subject.scores(subject.image.repeat(2, 1, 1, 1))
    subject.scores_with(torch.ones(2, subject.activations.shape[1]))
    subject.rerun("image")
    assert task.model.training and all(parameter.requires_grad for parameter in task.model.parameters())
    assert all(torch.equal(before[key], value) for key, value in task.model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in task.model.modules())


def test_large_batches_run_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    task = bundled.classifier()
    subject = subject_of(task, targets=["red star"])
    seen: list[int] = []
    handle = task.model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    monkeypatch.setattr("vlcam.engine.chunks.CHUNK_NUMBERS", 4 * subject.image.numel())
    found = subject.scores(subject.image.repeat(10, 1, 1, 1))
    handle.remove()
    assert found.shape == (10, 1) and seen == [4, 4, 2]


def test_wrong_images_and_masks_are_refused() -> None:
    subject = subject_of(bundled.classifier())
    with pytest.raises(InputError, match="expected \\(batch, 3, 96, 96\\)"):
        subject.scores(torch.zeros(2, 3, 5, 5))
    with pytest.raises(LayerError, match="masks for 7 channels"):
        subject.scores_with(torch.zeros(2, 7))


def test_a_model_that_takes_no_image_says_so() -> None:
    subject = subject_of(bundled.classifier())
    other = replace(subject, prepared=replace(subject.prepared, inputs=torch.zeros(1, 5, 12)))
    with pytest.raises(InputError, match="not as one image"):
        other.scores(torch.zeros(2, 3, 96, 96))


def test_a_procedure_must_return_a_map_for_every_target() -> None:
    wrong = PerturbationMethod("wrong", lambda subject: torch.zeros(7, 2, 2), "Wrong", "-", "-")
    with pytest.raises(InputError, match="returned \\(7, 2, 2\\) for 1 targets"):
        vlcam.explain(bundled.classifier(), SCENE.image(), targets="red star", method=wrong)


def test_progress_reaches_the_caller() -> None:
    def counted(subject: Subject) -> Tensor:
        subject.report(1, 2)
        subject.report(2, 2)
        return torch.zeros(len(subject.targets), 2, 2)

    told: list[tuple[int, int]] = []
    procedure = PerturbationMethod("counted", counted, "Counted", "-", "-")
    vlcam.explain(
        bundled.classifier(),
        SCENE.image(),
        method=procedure,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]


def test_a_procedure_has_alpha_and_contributions_too() -> None:
    procedure = PerturbationMethod("flat", lambda subject: torch.ones(len(subject.targets), 4, 4), "Flat", "-", "-")
    found = vlcam.explain(bundled.classifier(), SCENE.image(), method=procedure)
    plain = vlcam.explain(bundled.classifier(), SCENE.image(), method="gradcam")
    assert found.method == "flat" and found.maps.shape[1:] == (4, 4)
    assert torch.equal(found.alpha, plain.alpha) and torch.equal(found.contributions, plain.contributions)
    assert found.neurons == plain.neurons


def test_tokens_of_a_layer_with_channels_last() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 6, 4, stride=4)
            self.norm = nn.LayerNorm(6)
            self.out = nn.Linear(6, 2)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.norm(self.embed(images).permute(0, 2, 3, 1))
            scores: Tensor = self.out(maps.relu().mean((1, 2)))
            return scores

    torch.manual_seed(0)
    task = Classification(
        Last(),
        ("a", "b"),
        vlcam.Preprocess(size=(16, 16), mode="resize"),
        layer="norm",
        layout=Grid("BHWC"),
    )
    subject = subject_of(task, SCENE.image(), targets=["a", "b"])
    masks = torch.ones(2, 6)
    masks[1, 2] = 0
    found = subject.scores_with(masks)
    model = task.model
    assert isinstance(model, Last)
    with torch.no_grad():
        maps = model.norm(model.embed(subject.image).permute(0, 2, 3, 1))
        maps[..., 2] = 0
        assert torch.allclose(found[1], model.out(maps.relu().mean((1, 2)))[0], atol=1e-6)


class _Tokens(nn.Module):
    """Cells of a photo as tokens, in another order than that of the photo."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 8, 8)
        self.shuffle, self.head = nn.ReLU(), nn.Linear(6 * 24, 4)
        self.order = order

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = self.shuffle(self.stem(pixels).flatten(2).mT[:, self.order])
        found: Tensor = self.head(tokens[:, self.order.argsort()].flatten(1))
        return found


@pytest.mark.parametrize(
    "method", ["gradcam", "score-cam", "ablation-cam", "guided-gradcam", "c-mwp", "mwp", "occlusion", "layercam"]
)
def test_tokens_in_any_order_give_the_same_map(method: str) -> None:
    """A method that runs the model again has its cells in their places, too."""
    plain = torch.arange(24)
    shuffled = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    maps = []
    for order, layout in (
        (plain, Grid("BNC", rows=4, columns=6)),
        (shuffled, TokenLayout(shuffled.argsort().view(1, 4, 6))),
    ):
        torch.manual_seed(0)
        task = Classification(
            _Tokens(order).eval(), "abcd", vlcam.Preprocess((48, 32), mode="resize"), layer="shuffle", layout=layout
        )
        photo = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(2))
        maps.append(vlcam.explain(task, photo, targets=["a", "b"], method=method).maps)
    assert maps[0].shape == maps[1].shape and bool(maps[0].any())
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-4, atol=1e-5 * float(maps[0].abs().max()))


def test_answers_that_a_model_writes_are_settled_by_their_tokens() -> None:
    targets = (
        vlcam.Target("a dog", "answer", token_ids=(4, 7), measure="log-probability"),
        vlcam.Target("a", "word", token_ids=(4,), measure="log-probability"),
        vlcam.Target("dog", "word", token_ids=(7,), measure="log-probability"),
    )
    assert fix_targets(vlcam.Request(question="what"), targets).ids == (4, 7)


def test_evidence_gives_the_maps_of_every_method() -> None:
    task = bundled.classifier()
    prepared = task.prepare(Pictures.fromarray(SCENE.image()), vlcam.Request())
    with record(task.model, task.layer) as recording:
        spoken = task.run(prepared, vlcam.Request())
    evidence = collect_evidence(spoken.scores, recording)
    for name in list_methods("one-run"):
        method = get_one_run_method(name)
        expected = vlcam.explain(task, SCENE.image(), method=name).maps
        assert isinstance(method, Method) and torch.allclose(evidence.make_maps(method).maps, expected, atol=1e-6)


class _Plain:
    """A task without ``score_batch``."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.kind, self.name, self.model, self.layer, self.names = task.kind, task.name, task.model, task.layer, None

    def prepare(self, *given: Any) -> Any:
        return self.task.prepare(*given)

    def run(self, *given: Any) -> Any:
        return self.task.run(*given)


def _words(subject: PhotoSubject) -> list[str]:
    return [target.label for target in subject.targets if target.kind == "word"]


def test_a_task_whose_model_takes_one_photo_at_a_time_is_asked_row_by_row() -> None:
    class Picky:
        """Scores batches, but its model refuses them as it likes: with errors of any kind, or rows that are not rows."""

        def __init__(self, task: Any, wrong: Any) -> None:
            self.task, self.wrong = task, wrong
            self.kind, self.name, self.model, self.layer, self.names = "vqa", "picky", task.model, task.layer, None

        def prepare(self, *given: Any) -> Any:
            return self.task.prepare(*given)

        def run(self, *given: Any) -> Any:
            return self.task.run(*given)

        def score_batch(self, prepared: Any, request: Any) -> Tensor:
            if isinstance(self.wrong, Exception):
                raise self.wrong
            found: Tensor = self.wrong
            return found

    subject = subject_of(bundled.vqa(), question=QUESTION)
    expected = subject.scores(subject.image.repeat(2, 1, 1, 1))
    for wrong in (ValueError("text and image inputs differ"), KeyError("x"), torch.zeros(1, 3), torch.zeros(6)):
        found = replace(subject, task=Picky(bundled.vqa(), wrong)).scores(subject.image.repeat(2, 1, 1, 1))
        assert torch.allclose(found, expected, atol=1e-4)


def test_rows_that_touch_each_other_are_scored_one_by_one() -> None:
    """A batch-norm without statistics of its own sees the whole batch, so no row may have company."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    task = Classification(model, ("a", "b"), vlcam.Preprocess(size=(16, 16), mode="resize"), layer="2")
    subject = subject_of(task, SCENE.image(), targets=["a", "b"])
    images = torch.cat([subject.image, 3 * subject.image + 1])
    assert torch.allclose(subject.scores(images)[:1], subject.scores(subject.image), atol=1e-6)
