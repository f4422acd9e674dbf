"""What users do with models and arguments, and what must not depend on what was explained before."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import vlcam
from tests.support.tiny import Lambda
from vlcam.engine.outputs import find_logits
from vlcam.engine.recording import gradients, pause_recording, record
from vlcam.explanation.attribution import attribute
from vlcam.explanation.explanation import Explanation
from vlcam.image.photo import open_photo
from vlcam.image.preprocess import PreprocessSettings
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification
from vlcam.tasks.vqa import VQA

PHOTO = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(5))


def conv(into: int = 3, out: int = 8) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, 1, 1), nn.ReLU())


def classifier(**options: Any) -> Classification:
    torch.manual_seed(0)
    model = nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, options.pop("outputs", 4))).eval()
    labels = options.pop("labels", ["on", "no", "red", "blue"])
    return Classification(model, labels=labels, preprocess=vlcam.Preprocess(16), **options)


# Models in parts


@pytest.mark.parametrize("layer", ["cnn", None])
def test_a_model_whose_parts_are_called_one_by_one(layer: str | None) -> None:
    model = Lambda(lambda self, feature: self.head(feature.mean((2, 3))), cnn=conv(), head=nn.Linear(8, 4)).eval()
    with record(model, layer) as recording:
        scores = model(model.cnn(torch.rand(1, 3, 16, 16)))
    assert gradients(scores[0], recording.resolve(scores[0])).abs().sum() > 0


def test_the_depth_may_change_between_calls() -> None:
    def run(self: Any, x: Tensor, depth: int = 3) -> Tensor:
        for layer in self.layers[:depth]:
            x = layer(x)
        out: Tensor = self.head(x.mean((2, 3)))
        return out

    model = Lambda(run, layers=nn.ModuleList([conv(), conv(8), conv(8)]), head=nn.Linear(8, 4)).eval()
    x = torch.rand(1, 3, 12, 12)
    assert [attribute(model, x, depth=depth).layer for depth in (3, 1, 2, 3)] == [
        "layers.2",
        "layers.0",
        "layers.1",
        "layers.2",
    ]


def test_the_layer_found_does_not_depend_on_what_was_explained_before() -> None:
    def run(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        b = self.b(self.a(x))
        return self.one(b.mean((2, 3))), self.two(self.c(b).mean((2, 3)))

    def model() -> nn.Module:
        torch.manual_seed(0)
        parts = {"a": conv(), "b": conv(8), "c": conv(8), "one": nn.Linear(8, 4), "two": nn.Linear(8, 4)}
        return Lambda(run, **parts).eval()

    x = torch.rand(2, 3, 12, 12)
    targets: dict[str, Any] = {
        "one": lambda out: out[0][:, 2],
        "two": lambda out: out[1][:, 2],
        "both": lambda out: out[0][:, 2] + out[1][:, 2],
    }
    fresh = {name: attribute(model(), x, targets=target).layer for name, target in targets.items()}
    assert fresh["one"] == "b" and fresh["two"] == "c"
    for order in (["one", "two", "both"], ["both", "one", "two"], ["two", "both", "one", "two"]):
        used = model()
        for name in order:
            assert attribute(used, x, targets=targets[name]).layer == fresh[name], (order, name)


def test_buffers_that_the_forward_writes_are_given_back() -> None:
    class Counts(nn.Module):
        runs: Tensor
        last: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.cnn, self.head = conv(), nn.Linear(8, 4)
            self.register_buffer("runs", torch.zeros((), dtype=torch.long))
            self.register_buffer("last", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.cnn(x).mean((2, 3)))
            self.runs += 1
            self.last = out[0].detach()
            return out

    model = Counts().eval()
    runs, last = model.runs, model.last
    attribute(model, torch.rand(1, 3, 12, 12), layer="cnn")
    assert model.runs is runs and model.last is last
    assert int(runs) == 0 and not last.any()


def test_threads_take_turns() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.rand(2, 3, 12, 12)
    expected = attribute(model, x, targets=1, layer="2").maps
    wrong: list[Any] = []

    def work() -> None:
        try:
            for _ in range(10):
                if not torch.equal(attribute(model, x, targets=1, layer="2").maps, expected):
                    wrong.append("another map")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and model.training and torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Outputs


@pytest.mark.parametrize(
    "wrap",
    [
        lambda loss, maps, logits: {"features": maps, "logits": logits},
        lambda loss, maps, logits: {"loss": loss, "logits": logits},
        lambda loss, maps, logits: (loss, logits),
        lambda loss, maps, logits: [logits, maps],
    ],
)
def test_logits_are_found_beside_losses_and_features(wrap: Any) -> None:
    logits = torch.rand(2, 4)
    assert find_logits(wrap(torch.tensor(0.5), torch.rand(2, 8), logits)) is logits


# Tasks


class Speaker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.out = conv(), nn.Linear(8, 8)

    def forward(self, images: Tensor, ids: Sequence[int] = (0, 1)) -> Tensor:
        said: Tensor = self.out(self.cnn(images).mean((2, 3)))
        return said.expand(len(ids), -1) * torch.arange(1.0, len(ids) + 1)[:, None]


class Blank:
    """Byte-level BPE in small: within a text, a word's token has its blank in front."""

    words = ("a", "dog", " dog", "red", " red", " blue", "blue", " a")

    def encode(self, text: str) -> list[int]:
        parts = text.split(" ")
        return [self.words.index(word if n == 0 else f" {word}") for n, word in enumerate(parts)]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.words[n] for n in ids)


def speaker(**options: Any) -> Captioning:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "encode": lambda model, images: images,
        "generate": lambda model, images: [0, 4, 2][: int(model(images).numpy().shape[0]) + 1],
        "logits": lambda model, images, ids: model(images, ids),
        **options,
    }
    return Captioning(Speaker().eval(), tokens=Blank(), preprocess=vlcam.Preprocess(16), layer="cnn", **given)


def test_a_search_that_runs_the_whole_model_is_no_part_of_the_explanation() -> None:
    explanation = vlcam.explain(speaker(), PHOTO)
    assert explanation.text == "a red dog"
    torch.testing.assert_close(explanation.maps, vlcam.explain(speaker(), PHOTO, caption="a red dog").maps)
    model = speaker().model
    with record(model, "cnn") as recording:
        with pause_recording():
            assert not model(PHOTO[None]).requires_grad
        model(PHOTO[None])
    assert len(recording.calls) == 1


def test_a_contrast_is_written_as_within_the_text() -> None:
    explanation = vlcam.explain(speaker(), PHOTO, caption="a red dog", contrast=("red", "blue"))
    contrast = explanation["red rather than blue"]
    assert contrast.target.token_ids == (4, 5)  # " red", " blue"
    other = vlcam.explain(speaker(), PHOTO, caption="a blue dog")
    assert contrast.target.score == pytest.approx(
        explanation["red"].target.score - other["blue"].target.score, abs=1e-5
    )
    with pytest.raises(vlcam.TargetError, match="can't be contrasted with nothing"):
        vlcam.explain(speaker(), PHOTO, caption="a red dog", contrast=[("red", " ")])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_task_that_calls_parts_of_its_model_under_any_mode(mode: Any) -> None:
    torch.manual_seed(0)
    model = Lambda(lambda self: None, cnn=conv(), head=nn.Linear(8, 2)).eval()
    task = VQA(
        model,
        answers=["yes", "no"],
        preprocess=vlcam.Preprocess(16),
        read=lambda question: torch.full((1, 8), float(len(question))),
        logits=lambda model, images, asked: model.head(model.cnn(images).mean((2, 3)) * asked),
        layer="cnn",
    )
    expected = vlcam.explain(task, PHOTO, question="is it").maps
    with mode():
        torch.testing.assert_close(vlcam.explain(task, PHOTO, question="is it").maps, expected)


def test_one_label_and_one_logit() -> None:
    explanation = vlcam.explain(classifier(outputs=1, labels=["dog"], activation="sigmoid"), PHOTO, targets=[0, 1])
    assert [target.label for target in explanation.targets] == ["dog", "not dog"]
    assert explanation["dog"].target.score == pytest.approx(-explanation["not dog"].target.score)
    with pytest.raises(vlcam.TargetError, match="returns 2 scores, but 1 labels were given"):
        vlcam.explain(classifier(outputs=2, labels=["dog"]), PHOTO)
    with pytest.raises(vlcam.InputError, match="activation='sigmod' was given"):
        unwrap(Classification.__init__)(
            object.__new__(Classification), nn.Identity(), ["a"], vlcam.Preprocess(16), activation="sigmod"
        )


# Arguments


@pytest.mark.parametrize(
    "targets", [np.int64(2), [np.int64(2)], torch.tensor(2), torch.tensor([2]), np.array([2]), "red", ["red"], 2]
)
def test_targets_in_any_form(targets: Any) -> None:
    explanation = vlcam.explain(classifier(), PHOTO, targets=targets)
    assert [target.label for target in explanation.targets] == ["red"]
    assert explanation[np.int64(0)].label == explanation[0].label == "red"


def test_no_targets_are_the_models_own() -> None:
    assert len(vlcam.explain(classifier(), PHOTO, targets=None, top_k=2).targets) == 2


def test_arguments_that_make_no_sense() -> None:
    task = classifier()
    explanation = vlcam.explain(task, PHOTO, contrast=("no", "on"), method=vlcam.methods.get_one_run_method("layercam"))
    assert explanation.targets[-1].label == "no rather than on" and explanation.method == "layercam"
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"targets": 1.5}, vlcam.TargetError, "expected class indices or labels"),
        ({"contrast": ["red", "blue", "on"]}, vlcam.InputError, "expected pairs"),
    ]
    for options, error, text in cases:
        with pytest.raises(error, match=text):
            unwrap(vlcam.explain)(task, PHOTO, **options)
    with pytest.raises(vlcam.LayerError, match="call='frist' was given"):
        next(unwrap(record)(task.model, "0", call="frist"))
    with pytest.raises(vlcam.TargetError, match="2 classes are called 'red'"):
        vlcam.explain(replace(task, labels=["red", "red", "a", "b"]), PHOTO, targets="red")
    assert explanation == explanation and explanation != vlcam.explain(task, PHOTO)
    assert len({explanation, explanation}) == 1


def test_the_result_says_how_the_photo_was_read_and_prepared(tmp_path: Path) -> None:
    scan = np.linspace(0, 4095, 96 * 128).round().astype(np.uint16).reshape(96, 128)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    made = vlcam.Preprocess((40, 32), mode="letterbox", mean=(0.5,) * 3, std=(0.25,) * 3, resample="box")
    task = Classification(net, ["cat", "dog"], made, layer="1")
    found = vlcam.explain(task, scan)
    assert found.preprocessing == PreprocessSettings((40, 32), "letterbox", None, (0.5,) * 3, (0.25,) * 3, "box")
    assert len(found.notes) == 1 and "white=4095" in found.notes[0]
    picture, _ = open_photo(scan, white=4095)
    bright = vlcam.explain(task, picture)
    assert bright.notes == () and bright.targets[0].score != found.targets[0].score
    assert bright.verify(task, picture, regions=19).significance is not None
    plain = vlcam.explain(replace(task, preprocess=lambda photo: made(photo)), scan)
    assert plain.preprocessing == PreprocessSettings((40, 32), "letterbox")
    remarked = replace(made, remark=lambda photo: (f"It is {photo.width} wide.",))
    said = vlcam.explain(replace(task, preprocess=remarked), scan)
    assert (
        said.notes == ("It is 128 wide.", *found.notes)
        and Explanation.load(said.save(tmp_path / "a")).notes == said.notes
    )
    assert [one.notes for one in vlcam.explain(replace(task, preprocess=remarked), [scan, scan])] == [said.notes] * 2
