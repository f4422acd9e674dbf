"""Targets beyond classes: likeness to reference photos, and any number that a function makes of a model's output."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

import vlcam
from tests.support.tiny import Cnn, Lambda, lively, snapshot
from vlcam.tasks.custom import Custom, region
from vlcam.tasks.similarity import Similarity, extract_embedding

PREPROCESS = vlcam.Preprocess(64)


def photo(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (60, 90, 3), np.uint8))


def embedder() -> Any:
    """A ResNet-18 without its classifier: an embedding of 512 numbers."""
    model = lively(models.resnet18())
    model.fc = nn.Identity()
    return model.eval()


def similarity(**options: Any) -> Similarity:
    return Similarity(
        embedder(), {"one": photo(1), "two": np.asarray(photo(2)), "same": photo()}, PREPROCESS, **options
    )


# --- similarity ---------------------------------------------------------------------------------------------------------------


def test_scores_are_cosines_and_maps_are_textbook_grad_cam() -> None:
    task = similarity()
    model: Any = task.model
    explanation = vlcam.explain(task, photo(), targets=["two", "one"], contrast=("two", "one"))
    kept: list[Tensor] = []
    model.layer4.register_forward_hook(lambda module, inputs, output: kept.append(output))
    own = model(PREPROCESS(photo())[0])
    for name, seed in (("two", 2), ("one", 1)):
        other = model(PREPROCESS(photo(seed))[0]).detach()
        cosine = torch.cosine_similarity(own, other)[0]
        (slope,) = torch.autograd.grad(cosine, kept[0], retain_graph=True)
        expected = (slope.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0].detach()
        found = explanation[name]
        assert found.target.score == pytest.approx(cosine.item(), abs=1e-5)
        assert (found.target.measure, found.target.probability) == ("similarity", None)
        torch.testing.assert_close(found.signed_map, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert explanation.layer == "layer4"
    assert explanation[2].label == "two rather than one"
    torch.testing.assert_close(explanation.maps[2], explanation.maps[0] - explanation.maps[1], rtol=1e-3, atol=1e-7)


def test_a_photo_is_most_like_itself_and_nothing_could_make_it_more_so() -> None:
    explanation = vlcam.explain(similarity(), photo())
    scores = [one.target.score for one in explanation]
    assert explanation.text == explanation[0].label == "same" and scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1, abs=1e-6)
    assert float(explanation["same"].signed_map.abs().max()) < 1e-4 * float(explanation["one"].signed_map.abs().max())


def test_references_are_embedded_once_until_the_weights_change(tmp_path: Path) -> None:
    photo(1).save(tmp_path / "one.png")
    model = embedder()
    task = Similarity(model, {"one": tmp_path / "one.png"}, PREPROCESS, layer="layer4")
    runs: list[int] = []
    model.register_forward_hook(lambda *_: runs.append(1))
    first = vlcam.explain(task, photo())
    assert len(runs) == 2  # the reference and the photo
    assert vlcam.explain(task, photo())[0].target.score == first[0].target.score and len(runs) == 3
    with torch.no_grad():
        model.layer4[0].conv1.weight.mul_(2)
    changed = vlcam.explain(task, photo())
    assert len(runs) == 5
    expected = torch.cosine_similarity(model(PREPROCESS(photo())[0]), model(PREPROCESS(photo(1))[0]))
    assert changed[0].target.score == pytest.approx(expected.item(), abs=1e-5)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    again = vlcam.explain(replace(task), photo())[
        0
    ].target.score  # another task, so both photos are embedded anew, in eval mode
    assert again == pytest.approx(expected.item(), abs=1e-5) and len(runs) == 9
    assert all(one.training for one in model.modules())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_the_model_is_left_as_it_was() -> None:
    model: Any = lively(Cnn()).train()
    before = snapshot(model)
    task = Similarity(model, {"one": photo(1)}, PREPROCESS)
    assert vlcam.explain(task, photo()).maps.any()
    vlcam.explain(Custom(model, {"first": lambda output: output[0, 0]}, PREPROCESS), photo())
    assert snapshot(model) == before


def test_an_embedding_by_a_function_and_from_records() -> None:
    model = lively(models.resnet18()).eval()
    task = Similarity(model, {"one": photo(1)}, PREPROCESS, embed=lambda model, inputs: model(inputs)[:, :7])
    expected = torch.cosine_similarity(*(model(PREPROCESS(photo(seed))[0])[:, :7] for seed in (0, 1)))
    assert vlcam.explain(task, photo())[0].target.score == pytest.approx(expected.item(), abs=1e-5)
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    pooled = torch.rand(1, 5)
    assert extract_embedding(BaseModelOutputWithPooling(torch.rand(1, 4, 5), pooled)).equal(pooled)
    assert extract_embedding(pooled[:, :, None, None]).equal(pooled)
    for output, given in (
        (torch.rand(1, 5, 2, 2), r"\(1, 5, 2, 2\)"),
        (torch.rand(2, 5), r"\(2, 5\)"),
        ([pooled], "list"),
    ):
        with pytest.raises(
            vlcam.InputError, match=f"the model returned {given}; expected an embedding .1, width.: give embed="
        ):
            extract_embedding(output)


def test_what_similarity_refuses() -> None:
    task = similarity()
    with pytest.raises(vlcam.TargetError, match="no reference 'tow'; the nearest it has: 'two'"):
        vlcam.explain(task, photo(), targets="tow")
    with pytest.raises(vlcam.TargetError, match="top_k must be at least 1, got 0"):
        vlcam.explain(task, photo(), top_k=0)
    with pytest.raises(vlcam.InputError, match="neither a caption nor a question"):
        vlcam.explain(task, photo(), caption="a dog")
    with pytest.raises(
        vlcam.InputError, match="prompt='a photo of' was given, but similarity takes no prompt; leave it out"
    ):
        vlcam.explain(task, photo(), prompt="a photo of")
    with pytest.raises(vlcam.InputError, match="instead of writing words; leave gain out"):
        vlcam.explain(task, photo(), gain="blank")
    with pytest.raises(vlcam.InputError, match="no references were given"):
        replace(task, references={})


# --- functions of the output ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fcn_resnet50", "lraspp_mobilenet_v3_large"])
def test_the_region_of_a_class_in_a_segmentation(name: str) -> None:
    model: Any = lively(models.get_model(name, weights=None, weights_backbone=None, num_classes=4)).eval()
    mask = np.zeros((64, 64), bool)
    mask[:32, 16:] = True
    layer = "backbone.layer4" if name.startswith("fcn") else "backbone.16"
    targets = {
        "left": region(2, ~mask), "right": region(2, torch.from_numpy(mask).float()), "highest": lambda out: out["out"][0, 1].max(),
    }  # fmt: skip
    task = Custom(model, targets, PREPROCESS, layer=layer, measure="logit", name=name)
    explanation = vlcam.explain(task, photo(), contrast=("left", "right"), method="gradcam")
    assert [one.label for one in explanation] == ["left", "right", "highest", "left rather than right"]
    kept: list[Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = model(PREPROCESS(photo())[0])["out"][0]
    wanted = [logits[2][torch.from_numpy(~mask)].sum(), logits[2][torch.from_numpy(mask)].sum(), logits[1].max()]
    for found, score in zip(explanation, wanted, strict=False):
        (slope,) = torch.autograd.grad(score, kept[0], retain_graph=True)
        expected = (slope.mean((2, 3), keepdim=True) * kept[0]).sum(1)[0].detach()
        assert found.target.score == pytest.approx(score.item(), rel=1e-3, abs=1e-3) and found.target.measure == "logit"
        torch.testing.assert_close(found.signed_map, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()))
    assert vlcam.explain(task, photo(), targets="right", method="gradcam")[0].target.score == pytest.approx(
        explanation["right"].target.score, rel=1e-4
    )


def test_the_region_that_the_model_itself_gives_to_a_class() -> None:
    model = Lambda(lambda self, pixels: {"out": self.head(self.features(pixels).relu())},
                   features=nn.Conv2d(3, 8, 3, 2, 1), head=nn.Conv2d(8, 3, 1))  # fmt: skip
    pixels = vlcam.Preprocess(16)(photo())[0]
    logits = model(pixels)["out"][0].detach()
    index = int(logits.mean((1, 2)).argmax())
    task = Custom(model, {"own": region(index)}, vlcam.Preprocess(16), layer="features")
    own = logits.argmax(0) == index
    assert bool(own.any()) and not bool(own.all())
    found = vlcam.explain(task, photo())
    assert found[0].target.score == pytest.approx(float(logits[index][own].sum()), rel=1e-4) and found.maps.any()


def test_a_function_of_what_a_call_returns() -> None:
    model = Lambda(
        lambda self, pixels, power: self.features(pixels).relu().mean((2, 3)) ** power, features=nn.Conv2d(3, 4, 3)
    )
    task = Custom(
        model, {"first": lambda output: output[0, :1]}, PREPROCESS, call=lambda model, inputs: model(inputs, power=2)
    )
    pixels = PREPROCESS(photo())[0]
    assert vlcam.explain(task, photo())[0].target.score == pytest.approx(model(pixels, 2)[0, 0].item(), rel=1e-4)


def test_what_functions_and_regions_refuse() -> None:
    model = Lambda(lambda self, pixels: self.features(pixels), features=nn.Conv2d(3, 4, 3, 1, 1))
    targets: dict[str, Any] = {"all": lambda output: output, "number": lambda output: 3}
    task = Custom(model, targets, vlcam.Preprocess(8), layer="features")
    with pytest.raises(
        vlcam.TargetError, match=r"target 'all' returned \(1, 4, 8, 8\); expected a tensor with one number"
    ):
        vlcam.explain(task, photo(), targets="all")
    with pytest.raises(vlcam.TargetError, match="target 'number' returned int"):
        vlcam.explain(task, photo(), targets="number")
    with pytest.raises(vlcam.TargetError, match="no target 'al'; the nearest it has: 'all'"):
        vlcam.explain(task, photo(), targets="al")
    with pytest.raises(vlcam.InputError, match="neither a caption nor a question"):
        vlcam.explain(task, photo(), question="where?")
    with pytest.raises(vlcam.InputError, match="no targets were given"):
        replace(task, targets={})
    output = torch.zeros(1, 4, 8, 8)
    with pytest.raises(vlcam.TargetError, match=r"class 4 of a region .* output is \(1, 4, 8, 8\)"):
        region(4)(output)
    with pytest.raises(vlcam.TargetError, match=r"a mask of \(4, 8\) was given, but the output is \(8, 8\)"):
        region(0, np.ones((4, 8)))(output)
    with pytest.raises(vlcam.TargetError, match="class 0 is empty: the mask selects no pixel"):
        region(0, np.zeros((8, 8)))(output)
    with pytest.raises(vlcam.TargetError, match="class 1 is empty: the model assigns no pixel to it"):
        region(1)(output)


@pytest.mark.parametrize("kind", ["array", "array in place", "file", "picture", "tensor"])
def test_a_reference_that_is_another_photo_now_is_embedded_anew(kind: str, tmp_path: Path) -> None:
    first, second = (np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8) for seed in (1, 2))
    file = tmp_path / "mine.png"
    Image.fromarray(first).save(file)
    makers: dict[str, Callable[[np.ndarray], Any]] = {
        "picture": Image.fromarray,
        "tensor": lambda array: torch.from_numpy(array).permute(2, 0, 1),
    }
    make: Callable[[np.ndarray], Any] = makers.get(kind, np.asarray)
    references: dict[str, Any] = {"mine": file if kind == "file" else make(first.copy())}
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8)).eval()
    task = Similarity(net, references, vlcam.Preprocess(16))
    assert vlcam.explain(task, first)["mine"].target.score == pytest.approx(1, abs=1e-5)
    if kind == "file":
        Image.fromarray(second).save(file)
    elif kind == "array in place":
        references["mine"][:] = second
    else:
        references["mine"] = make(second)
    assert vlcam.explain(task, second)["mine"].target.score == pytest.approx(1, abs=1e-5)
