"""Comparisons of methods and layers: what is measured, what follows from it, and what comes of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Image
from torch import Tensor, nn

import vlcam
from vlcam.comparison import Candidate, Comparison
from vlcam.comparison.compare_candidates import measure_behind
from vlcam.comparison.layers import find_finer_layer
from vlcam.comparison.measuring import FRACTIONS, _make_judge, _measure
from vlcam.comparison.record import CONTROL, FEWEST
from vlcam.contracts import Maps, PerturbationMethod, Prepared, Request, Subject
from vlcam.explanation.rerun import PhotoSubject
from vlcam.explanation.run import run_and_record
from vlcam.image.geometry import make_resize_geometry
from vlcam.image.photo import open_photo
from vlcam.metrics.statistics import Summary
from vlcam.tasks.custom import Custom
from vlcam.tasks.recipe import read_recipe

SIDE = 16


class PlaceNet(nn.Module):
    """Its head has a weight of its own for every cell: for the upper left quarter, and more strongly against all else."""

    def __init__(self) -> None:
        super().__init__()
        first, second = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
        self.early = nn.Sequential(first, nn.ReLU())
        self.late = nn.Sequential(nn.AvgPool2d(2), second, nn.ReLU())
        self.head = nn.Linear((SIDE // 2) ** 2, 1)
        weights = torch.full((SIDE // 2, SIDE // 2), -0.5)
        weights[: SIDE // 4, : SIDE // 4] = 1.0
        with torch.no_grad():
            first.weight.fill_(1 / 3)
            second.weight.fill_(1.0)
            self.head.weight.copy_(weights.flatten()[None])
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.late(self.early(images)).flatten(1))
        return out


def to_input(photo: Image) -> tuple[Tensor, Any]:
    pixels = torch.from_numpy(np.asarray(photo, np.float32) / 255).permute(2, 0, 1)[None]
    return pixels, make_resize_geometry(photo.size, photo.size)


def make_place_task() -> Custom:
    return Custom(PlaceNet().eval(), {"corner": lambda output: output[0, 0]}, to_input, layer="late", name="places")


def draw_photos(n: int) -> list[np.ndarray]:
    """Bright upper left quarters on dark ground, with noise."""
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 60, (n, SIDE, SIDE, 3), dtype=np.uint8)
    photos[:, : SIDE // 2, : SIDE // 2] += 150
    return list(photos)


@pytest.fixture(scope="module")
def found() -> Comparison:
    """Grad-CAM and HiResCAM at two layers of a model whose head knows places."""
    return vlcam.compare(make_place_task(), draw_photos(8), methods=["gradcam", "hirescam"], seed=1)


def test_the_method_that_keeps_the_place_is_found(found: Comparison) -> None:
    names = [one.name for one in found.candidates]
    assert sorted(names) == ["gradcam at early", "gradcam at late", "hirescam at early", "hirescam at late"]
    assert found.useful and {one.method for one in found.tied} == {"hirescam"}
    assert found.choice.method == "hirescam"
    worst = found.candidates[-1]
    assert worst.method == "gradcam" and worst.behind.low > 0
    assert found.best.correlation.mean > 0.5 and np.isnan(worst.correlation.mean)  # its map is zero everywhere
    assert found.control.method == CONTROL and found.control.behind.low > 0
    assert found.targets == len(found.photos) == 8


def test_a_comparison_is_the_same_again_and_leaves_the_model_alone(found: Comparison) -> None:
    task = make_place_task()
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    again = vlcam.compare(task, draw_photos(8), methods=["gradcam", "hirescam"], seed=1)
    assert [one.faithfulness for one in again.candidates] == [one.faithfulness for one in found.candidates]
    assert all(torch.equal(before[name], value) for name, value in task.model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in task.model.parameters())
    assert not task.model._forward_hooks and not task.model.get_submodule("late")._forward_hooks


def test_the_document_and_the_page_say_the_same(found: Comparison, tmp_path: Path) -> None:
    document = json.loads(found.to_json())
    assert document == json.loads(json.dumps(found.to_dict()))
    assert document["choice"] == {"method": found.choice.method, "layer": found.choice.layer}
    assert [row["name"] for row in document["candidates"]] == [one.name for one in found.candidates]
    assert document["verdict"] == found.verdict and document["left_out"] == []
    page = found.html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == page == found.html()
    assert page.count("<tr") == len(found.candidates) + 2 and found.verdict in page
    assert "<script" not in page and " style=" not in page
    assert len(repr(found)) < 300 and "places" in repr(found)
    assert 'sandbox=""' in found._repr_html_()


def nothing(subject: Subject) -> Maps:
    raise vlcam.InputError("this model has no such thing")


def test_a_candidate_that_does_not_work_is_left_out_with_its_reason() -> None:
    odd = PerturbationMethod("odd", nothing, "odd", "", "")
    found = vlcam.compare(make_place_task(), draw_photos(2), methods=[odd, "hirescam"], layers=["late"])
    assert [one.name for one in found.candidates] == ["hirescam at late"]
    assert found.left_out == (("odd at late", "this model has no such thing"),)
    assert "this model has no such thing" in found.html()
    with pytest.raises(vlcam.InputError, match="none of the candidates works on this model: odd at late: this model"):
        vlcam.compare(make_place_task(), draw_photos(1), methods=[odd], layers=["late"])


def test_photos_that_the_model_does_not_need_are_left_out() -> None:
    dark = np.zeros((SIDE, SIDE, 3), np.uint8)
    found = vlcam.compare(make_place_task(), [dark, *draw_photos(1)], methods=["hirescam"], layers=["late"])
    assert len(found.photos) == 1 and "no target needs the photo" in found.left_out[0][1]
    with pytest.raises(vlcam.InputError, match="none of the 1 photos can tell maps apart"):
        vlcam.compare(make_place_task(), [dark])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"photos": []}, "no photos were given"),
        ({"photos": "photo.jpg"}, "photos=str was given; expected a list of photos"),
        ({"methods": []}, "no methods or no layers were given"),
        ({"layers": []}, "no methods or no layers were given"),
        ({"each": 0}, "each=0 was given"),
        ({"methods": ["gradcan"]}, "gradcan"),
        ({"question": ["one", "two"]}, "2 questions were given for 1 photos"),
    ],
)
def test_what_can_not_be_compared_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(vlcam.InputError, match=text):
        vlcam.compare(make_place_task(), **{"photos": draw_photos(1), **given})


def test_a_named_layer_has_to_be_there() -> None:
    with pytest.raises(vlcam.LayerError, match="later"):
        vlcam.compare(make_place_task(), draw_photos(1), layers=["later"])


def make_subject() -> PhotoSubject:
    task = make_place_task()
    inputs, geometry = to_input(open_photo(draw_photos(1)[0])[0])
    prepared, request = Prepared(inputs, geometry), Request()
    spoken, evidence = run_and_record(task, prepared, request, "late")
    return PhotoSubject(task, prepared, request, tuple(spoken.targets), evidence)


def test_deletion_and_insertion_are_those_of_the_textbook() -> None:
    subject = make_subject()
    judge = _make_judge(subject, 3, np.random.Generator(np.random.PCG64(0)))
    image, model = subject.image, subject.model.requires_grad_(False)
    heat = torch.from_numpy(np.random.default_rng(3).random((1, SIDE, SIDE), np.float32))
    found = _measure(judge, heat, [heat**2], 1.0, 0)
    flat = heat[0].flatten().tolist()
    ranked = sorted(range(len(flat)), key=lambda pixel: -flat[pixel])
    whole = float(model(image))
    empty = max(float(model(fill[None])) for fill in judge.fills)
    removed: list[float] = []
    alone: list[float] = []
    for part in FRACTIONS:
        top = ranked[: round(part * len(ranked))]
        for fill in judge.fills:
            one, other = image.clone().view(3, -1), fill.clone().view(3, -1)
            one[:, top], other[:, top] = fill.view(3, -1)[:, top], image.view(3, -1)[:, top]
            for pixels, into in ((one, removed), (other, alone)):
                score = float(model(pixels.view(1, 3, SIDE, SIDE)))
                into.append(min(1.0, max(0.0, (score - empty) / (whole - empty))))
    assert found.deletion == pytest.approx(np.mean(removed), abs=1e-5)
    assert found.insertion == pytest.approx(np.mean(alone), abs=1e-5)
    assert 0.9 < found.agreement < 1  # with its own square, on a grid of means


def test_a_map_that_is_the_same_everywhere_fares_as_random_pixels_do() -> None:
    judge = _make_judge(make_subject(), 3, np.random.Generator(np.random.PCG64(0)))
    flat = _measure(judge, torch.ones(1, SIDE, SIDE), [], 1.0, 0)
    noise = torch.from_numpy(np.random.default_rng(0).random((1, SIDE, SIDE), np.float32))
    assert (
        abs(
            (flat.insertion - flat.deletion)
            - (lambda one: one.insertion - one.deletion)(_measure(judge, noise, [], 1.0, 0))
        )
        < 0.2
    )
    assert np.isnan(flat.agreement)


# --- what follows from the numbers ----------------------------------------------------------------------------------------------


def test_differences_are_judged_on_the_same_photos() -> None:
    rng = np.random.default_rng(0)
    photos = rng.normal(0, 1, 12)  # photos differ far more than candidates do
    behind = measure_behind(np.stack([photos + 0.2, photos + rng.normal(0, 0.02, 12), photos + 0.19]), seed=0)
    assert behind[0].mean == 0 and behind[1].low > 0.1 and behind[2].mean == pytest.approx(0.01)


@pytest.mark.parametrize("photos", [8, 20])
def test_equal_candidates_are_rarely_told_apart(photos: int) -> None:
    wrong = 0
    for seed in range(100):
        values = np.random.default_rng(seed).normal(0, 1, (6, photos))
        wrong += any(one.low > 0 for one in measure_behind(values, seed=seed))
    assert wrong <= 12  # 5 by design; more than 12 of 100 happen once in 700 times


def test_a_single_photo_tells_nothing_apart() -> None:
    behind = measure_behind(np.array([[0.9], [0.1]]), seed=0)
    assert behind[1].mean == pytest.approx(0.8) and not behind[1].low > 0


def make_candidate(method: str, mean: float, low: float, cost: float = 1.0) -> Candidate:
    one = Summary(8, 0, 0.5 - mean, 0.4, 0.6)
    return Candidate(
        method, "late", one, one, one, one, one, Summary(8, 0, float(mean), float(low), float(2 * mean - low)), cost
    )


def make_comparison(*candidates: Candidate, control: Candidate | None = None, photos: int = 8) -> Comparison:
    random = make_candidate(CONTROL, 0.9, 0.8) if control is None else control
    return Comparison("model", "classification", ("photo",) * photos, photos, candidates, random)


def test_one_that_stands_out_is_recommended() -> None:
    found = make_comparison(make_candidate("a", 0, 0), make_candidate("b", 0.3, 0.1))
    assert found.recommended is found.choice is found.best
    assert found.verdict == "a at late is the most faithful of 2 candidates on 8 photos"
    assert 'class="verdict"' in found.html()


def test_of_those_that_tie_a_much_cheaper_one_is_chosen() -> None:
    three = make_candidate("a", 0, 0, 4.0), make_candidate("b", 0.1, -0.1, 1.2), make_candidate("c", 0.3, 0.1, 0.5)
    found = make_comparison(*three)
    assert found.recommended is None and found.choice.method == "b"
    assert found.verdict == (
        "These can't be told apart on 8 photos: a at late, b at late; the other one is less faithful. Taken is b at late, "
        "which costs much less than the best"
    )
    near = make_comparison(make_candidate("a", 0, 0, 2.0), make_candidate("b", 0.1, -0.1, 1.2))
    assert near.choice.method == "a" and near.verdict.endswith("Taken is a at late, the most faithful in the mean")
    assert 'class="verdict open"' in found.html() and found.html().count("tied</small>") == 2


def test_few_photos_and_worthless_maps_give_no_choice(tmp_path: Path) -> None:
    two = make_candidate("a", 0, 0), make_candidate("b", 0.3, 0.1)
    few = make_comparison(*two, photos=FEWEST - 1)
    assert few.tied == two and few.recommended is None and "can't be told apart on 5 photos; it takes 6" in few.verdict
    worthless = make_comparison(*two, control=make_candidate(CONTROL, 0.1, -0.1))
    assert worthless.verdict == "No candidate can be told apart from a random map on these 8 photos"
    for found in (few, worthless):
        assert found.to_dict()["choice"] is None
        with pytest.raises(vlcam.InputError, match="so there is nothing to choose; give more photos"):
            found.save(tmp_path / "recipe.toml", "torchvision/resnet18")
    assert not list(tmp_path.iterdir())


def test_the_choice_goes_into_a_recipe(tmp_path: Path) -> None:
    found = make_comparison(make_candidate("layercam", 0, 0), make_candidate("b", 0.3, 0.1))
    found.save(tmp_path / "new.toml", "scenes/classifier")
    recipe = read_recipe(tmp_path / "new.toml")
    assert (recipe.model, recipe.method, recipe.layer) == ("scenes/classifier", "layercam", "late")
    assert (tmp_path / "new.toml").read_text("utf-8").startswith("# layercam at late is the most faithful of 2")
    with pytest.raises(vlcam.InputError, match="has to name its model; give model="):
        found.save(tmp_path / "other.toml")


@pytest.mark.parametrize(
    ("rows", "name", "wanted"),
    [
        ([("a", (1, 8, 32, 32)), ("b.0", (1, 8, 16, 16)), ("b", (1, 8, 16, 16)), ("c", (1, 9, 8, 8))], "c", "b"),
        ([("c.0", (1, 8, 16, 16)), ("c.1", (1, 8, 8, 8)), ("c", (1, 8, 8, 8))], "c", "c.0"),
        ([("a", (1, 8, 64, 64)), ("c", (1, 9, 8, 8))], "c", None),
        ([("a", (1, 50, 64)), ("c", (1, 50, 64))], "c", None),
        ([("a", (1, 8, 8, 8)), ("c", (1, 9, 8, 8)), ("d", (1, 9, 16, 16))], "c", None),
    ],
)
def test_the_last_finer_layer_is_found(rows: list[tuple[str, tuple[int, ...]]], name: str, wanted: str | None) -> None:
    assert find_finer_layer(rows, name) == wanted
