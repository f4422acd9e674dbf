"""Any number in a model's output: parts of a segmentation, several heads; and what functions must not return."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support.hub_models import alive
from tests.support.hub_zero_shot import clip
from tests.support.tiny import snapshot
from vlcam.image.photo import open_photo
from vlcam.scenes.sample import make
from vlcam.tasks.custom import Custom, region
from vlcam.tasks.similarity import Similarity

PIXELS = 24
PREPROCESS = vlcam.Preprocess(size=(PIXELS, PIXELS), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PHOTO = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(5))


class Segmenter(nn.Module):
    """A class for every pixel, at the grid's resolution, and a number for the whole picture."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.classify, self.depth = nn.Conv2d(8, 4, 1), nn.Linear(8, 1)
        self.runs = 0

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        self.runs += 1
        features = self.features(images)
        return {"out": self.classify(features), "depth": self.depth(features.mean((2, 3)))}


def sky(output: Any) -> Tensor:
    found: Tensor = output["out"][0, 3, :2].sum()
    return found


def ground(output: Any) -> Tensor:
    found: Tensor = output["out"][0, 1, 4:].mean()
    return found


def depth(output: Any) -> Tensor:
    found: Tensor = output["depth"]
    return found


@pytest.fixture
def model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter().eval()


@pytest.fixture
def task(model: Segmenter) -> Custom:
    return Custom(model, {"sky": sky, "ground": ground, "depth": depth}, PREPROCESS, layer="features")


def test_every_number_is_explained_from_one_forward(task: Custom, model: Segmenter) -> None:
    before = snapshot(model)
    explanation = vlcam.explain(task, PHOTO, method="gradcam")
    assert model.runs == 1
    assert [target.label for target in explanation.targets] == ["sky", "ground", "depth"]
    assert {target.measure for target in explanation.targets} == {"score"}
    assert {target.probability for target in explanation.targets} == {None}
    assert explanation.text == max(explanation.targets, key=lambda target: target.score).label
    pixels, _ = PREPROCESS(open_photo(PHOTO)[0])
    output = model(pixels)
    for name, function in task.targets.items():
        assert explanation[name].target.score == pytest.approx(float(function(output).detach()), rel=1e-5)
    model.runs = 0
    assert snapshot(model) == before


def test_maps_are_those_of_autograd(task: Custom, model: Segmenter) -> None:
    """Grad-CAM of a number, written out: the mean gradient of each channel times its map, summed (arXiv 1610.02391, eq. 1 and 2)."""
    explanation = vlcam.explain(task, PHOTO, targets=["depth", "sky"], contrast=[("sky", "ground")], method="gradcam")
    pixels, _ = PREPROCESS(open_photo(PHOTO)[0])
    features = model.features(pixels)
    output = {"out": model.classify(features), "depth": model.depth(features.mean((2, 3)))}
    scores = [depth(output).sum(), sky(output), sky(output) - ground(output)]
    assert [target.label for target in explanation.targets] == ["depth", "sky", "sky rather than ground"]
    for score, found, target in zip(scores, explanation.maps, explanation.targets, strict=True):
        (slopes,) = torch.autograd.grad(score, features, retain_graph=True)
        torch.testing.assert_close(found, (slopes.mean((2, 3), keepdim=True) * features).sum(1)[0].detach())
        assert target.score == pytest.approx(float(score.detach()), rel=1e-5)


def test_hirescam_of_a_region_lies_in_that_region(task: Custom) -> None:
    """The sky is the first two rows of a head that sees one cell at a time, so nothing below them matters."""
    found = vlcam.explain(task, PHOTO, targets="sky", method="hirescam").maps[0]
    assert bool(found[:2].any()) and not bool(found[2:].any())


def test_a_forward_of_ones_own_and_numbers_for_names(model: Segmenter) -> None:
    task = Custom(
        model,
        {"first": lambda output: output[0, 0].sum(), "second": lambda output: output[0, 1].sum()},
        PREPROCESS,
        call=lambda model, inputs: model(inputs)["out"],
    )
    explanation = vlcam.explain(task, PHOTO, targets=[1])
    assert explanation.layer == "features" and explanation.targets[0].label == "second"
    assert bool(explanation.maps.any())


def test_half_precision_is_widened(task: Custom, model: Segmenter) -> None:
    full = vlcam.explain(task, PHOTO, targets="ground")
    model.to(torch.bfloat16)
    half = vlcam.explain(task, PHOTO, targets="ground")
    assert half.targets[0].score == pytest.approx(full.targets[0].score, rel=0.05, abs=0.01)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda output: output["out"][0, 3], r"'bad' returned \(6, 6\); expected a tensor with one number"),
        (lambda output: output["out"].detach().sum().item(), "'bad' returned float; expected a tensor with one number"),
        (lambda output: None, "'bad' returned NoneType; expected"),
        (lambda output: output["mask"], r"'bad' failed on the model's output \(a dict with 'out', 'depth'\): KeyError: 'mask'"),
        (lambda output: output["out"][0, 9].sum(), "'bad' failed on .*: IndexError: index 9 is out of bounds"),
        (lambda output: output.logits, "'bad' failed on .*: AttributeError"),
        (lambda output: output["out"].argmax(), "'bad' returned torch.int64; expected a tensor with one number, a float"),
        (lambda output: output["out"].sum().detach(), r"'bad' isn't a differentiable function of the photo.*leave \.detach\(\)"),
        (region(9), r"^class 9 of a region was asked for"),
    ],
)  # fmt: skip
def test_functions_that_give_no_number(model: Segmenter, function: Any, text: str) -> None:
    before = snapshot(model)
    task = Custom(model, {"sky": sky, "bad": function}, PREPROCESS, layer="features")
    with pytest.raises(vlcam.TargetError, match=text) as raised:
        vlcam.explain(task, PHOTO)
    assert "\n" not in str(raised.value)
    model.runs = 0
    assert snapshot(model) == before
    assert vlcam.explain(task, PHOTO, targets="sky").targets[0].label == "sky"  # the others needn't work


def test_a_number_that_nothing_leads_to_is_refused_by_the_engine(model: Segmenter) -> None:
    task = Custom(model, {"bad": lambda output: output["out"].sum().detach()}, PREPROCESS, layer="features")
    with pytest.raises(vlcam.TargetError, match="the scores carry no gradient"):
        vlcam.explain(task, PHOTO)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"targets": "see"}, vlcam.TargetError, "the model has no target 'see'; the nearest it has: 'sky'"),
        ({"targets": [3]}, vlcam.TargetError, "target 3 was asked for; the model has 3, numbered from 0 to 2"),
        ({"contrast": ("sky", "sea")}, vlcam.TargetError, "no target 'sea'"),
        ({"caption": "a sky"}, vlcam.InputError, "neither a caption nor a question; ask for its targets by name"),
        ({"question": "where is the sky"}, vlcam.InputError, "neither a caption nor a question"),
        ({"prompt": "a photo of"}, vlcam.InputError, "prompt='a photo of' was given, but model takes no prompt; leave it out"),
        ({"gain": "blank"}, vlcam.InputError, "instead of writing words; leave gain out"),
    ],
)  # fmt: skip
def test_what_is_refused(task: Custom, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        vlcam.explain(task, PHOTO, **options)


def test_targets_are_needed(model: Segmenter) -> None:
    with pytest.raises(vlcam.InputError, match="no targets were given; give at least one function by name"):
        Custom(model, {}, PREPROCESS)


def test_texts_photos_and_numbers_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet18, segmentation

    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "a.png", "b.png"):
        Image.fromarray(make(12 + len(name)).image(96)).save(name)
    model, processor = clip()
    alive(model).save_pretrained("clip")
    processor.save_pretrained("clip")
    embedder = resnet18(weights=None).eval()
    embedder.fc = nn.Identity()
    segmenter = segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).eval()
    texts = ["a photo of a dog", "a photo of a cat"]
    said = vlcam.explain(vlcam.load("clip"), "photo.jpg", targets=texts)
    assert [view.label for view in said] == texts
    mine = Similarity(embedder, {"mine": "a.png", "yours": "b.png"}, preprocess=vlcam.Preprocess(224), layer="layer4")
    assert vlcam.explain(mine, "photo.jpg", contrast=("mine", "yours"))["mine rather than yours"].map.shape == (7, 7)
    sky = {"sky": region(2), "top": lambda output: output["out"][0, 2, :10].mean()}
    task = Custom(segmenter, sky, preprocess=vlcam.Preprocess(224), layer="backbone.16")
    assert [view.label for view in vlcam.explain(task, "photo.jpg", targets="top")] == ["top"]
    assert list(task.targets) == ["sky", "top"]
