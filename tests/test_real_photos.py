"""Real weights and real photos, where there are some beside the checkout: the maps lie on the right objects, as the peers' do.

The folder ``shared/real`` is not part of the project; without it these tests are skipped. tests/benchmarks/real_photos.py prints
the tables behind them.
"""

import importlib
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vlcam
from vlcam.methods import get_one_run_method, list_methods
from vlcam.metrics import box_hit

BENCH = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "real_photos.py"))
REAL = BENCH["folder"]()
MODELS: list[str] = list(BENCH["MODELS"])
# Set by looking at the photo of 640 x 480 pixels: left, top, right, bottom.
CAT, DOG = (126.0, 254.0, 572.0, 480.0), (222.0, 30.0, 472.0, 318.0)
MADE_FOR_IT = sorted(
    name
    for name in list_methods("one-run")
    if get_one_run_method(name).relu and name not in ("counterfactual", "eigen-cam")
)

pytestmark = pytest.mark.skipif(REAL is None, reason="no real weights and photos here")


@pytest.fixture(scope="module", params=MODELS)
def task(request: pytest.FixtureRequest) -> Any:
    return BENCH["load"](REAL, request.param)


def share(heat: Tensor, box: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """How much of a heatmap lies in a box and not in the other one."""
    inside = torch.zeros(heat.shape, dtype=torch.bool)
    inside[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    inside[int(other[1]) : int(other[3]), int(other[0]) : int(other[2])] = False
    return float(heat[inside].sum() / heat.sum())


@pytest.mark.parametrize("method", MADE_FOR_IT)
def test_the_cat_and_the_dog(task: Any, method: str) -> None:
    found = vlcam.explain(task, REAL / "photos" / "cat_dog.jpg", targets=["tiger cat", "boxer"], method=method)
    assert found.layer == "features" and found.geometry.photo_size == (640, 480)
    cat, dog = (found[label].heatmap() for label in ("tiger cat", "boxer"))
    assert box_hit(cat, [CAT]) and box_hit(dog, [DOG])
    # Where only positive gradients count, a map says less about which of the two it is for.
    more = 1.25 if method in ("gradcam++", "layercam") else 2.0
    assert share(cat, CAT, DOG) > more * share(dog, CAT, DOG)
    assert share(dog, DOG, CAT) > more * share(cat, DOG, CAT)


def test_one_animal_rather_than_the_other(task: Any) -> None:
    pairs = [("tiger cat", "boxer"), ("boxer", "tiger cat")]
    found = vlcam.explain(task, REAL / "photos" / "cat_dog.jpg", targets=["boxer"], contrast=pairs)
    cat, dog = (found[f"{this} rather than {that}"] for this, that in pairs)
    torch.testing.assert_close(cat.signed_map, -dog.signed_map)
    assert box_hit(cat.heatmap(), [CAT]) and box_hit(dog.heatmap(), [DOG])


def test_grad_cam_finds_the_objects_of_150_photos(task: Any) -> None:
    photos = BENCH["photos"](REAL)
    every, tops = BENCH["vlcam_maps"](task, photos, [get_one_run_method("gradcam")])
    maps = every["gradcam"]
    heats = BENCH["on_photos"](maps, task, photos)
    # The way of a single photo through vlcam.explain is the same.
    for number in (0, 77, 149):
        alone = vlcam.explain(task, photos[number].image, targets=[photos[number].label])[0]
        torch.testing.assert_close(alone.heatmap(), heats[number], rtol=1e-4, atol=1e-5 * float(heats[number].max()))
    score = BENCH["judged"](heats, photos, tops)
    chance = BENCH["baselines"](photos, tops, maps.shape[1:], draws=1)
    right = sum(top == photo.label for top, photo in zip(tops, photos, strict=True)) / len(photos)
    assert len(photos) == 150 and right > 0.7  # the preprocessing is the right one
    for blind in ("whole photo", "random map"):  # a random pixel, and a random cell
        assert score.points > chance[blind].points + 0.15
    assert score.points <= score.points_15 and score.box_error < chance["random map"].box_error
    assert score.box_error < score.box_error_top1


def test_the_raw_maps_are_those_of_the_peers(task: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the peers import
        for name in ("pytorch_grad_cam", "torchcam.methods"):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                pytest.skip(f"{name} is not installed")
    photos = BENCH["photos"](REAL, 4)
    apart: Callable[[Tensor, Tensor], float] = BENCH["apart"]
    deviations = BENCH["DEVIATIONS"]
    maps, _ = BENCH["vlcam_maps"](
        task, photos, [*(get_one_run_method(name) for name in BENCH["METHODS"]), *deviations.values()]
    )
    for method, names in BENCH["METHODS"].items():
        assert bool((maps[method].amax((1, 2)) > 0).all())
        for (peer, make), theirs in zip(BENCH["PEERS"].items(), names, strict=True):
            if theirs is None:
                continue
            _, raw = make(task, photos, theirs)
            if (peer, method) not in deviations:
                assert apart(raw, maps[method]) < 1e-5, (peer, method)
            else:  # not the paper's formula; what it is instead, and nothing else
                assert apart(raw, maps[method]) > 0.1, (peer, method)
                assert apart(raw, maps[deviations[peer, method].name]) < 1e-5, (peer, method)
    assert not task.model.training and all(parameter.grad is None for parameter in task.model.parameters())


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for table, one in (("MODELS", MODELS[0]), ("METHODS", "layercam")):  # a short one
        monkeypatch.setitem(BENCH["main"].__globals__, table, {one: BENCH[table][one]})
    monkeypatch.setitem(BENCH["main"].__globals__, "DEVIATIONS", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the peers import
        assert BENCH["main"](["--photos", "2", "--threads", str(torch.get_num_threads())]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith(f"{MODELS[0]}, 2 photos, top-1 accuracy ") for line in lines)
    rows = {line.split("  ")[0]: line.split() for line in lines}
    for name in ("vlcam", "the middle", "random map", "whole photo"):
        assert all(0 <= float(cell) <= 1 for cell in rows[name][-4:]), name
