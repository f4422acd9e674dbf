"""``vlcam neurons``: naming, reports and lists from the shell, names of one's own in explanations, and every kind of bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.stored import made_once
from tests.test_real_photos import REAL
from vlcam.cli import main
from vlcam.neurons import NeuronNames, read_names
from vlcam.scenes.sample import make

QUICK = ["--permutations", "19", "--bootstrap", "5"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def named() -> Path:
    """A report of the bundled captioner's units, on few scenes; for reading only."""
    return made_once("report of the units", make_report) / "captioner"


def make_report(folder: Path) -> None:
    options = ["--probe", "scenes:val:40", "--photos", "2", "--exemplars", "2", *QUICK]
    assert main(["neurons", "report", "--out", str(folder / "captioner"), *options]) == 0


def test_a_report_has_its_files(named: Path) -> None:
    assert sorted(path.name for path in named.iterdir()) == ["names.csv", "names.json", "report.html"]
    names = NeuronNames.from_json(named / "names.json")
    assert (names.model, names.layer, len(names)) == ("scenes-captioner", "features", 192)
    assert names.probe["images"] == 40 and names.probe["mask_size"] == [24, 24]
    assert any("only 40 pictures" in note for note in names.probe["notes"])
    same = read_names(named / "names.csv", model="scenes-captioner", layer="features")
    assert [unit.name for unit in same.units] == [unit.name for unit in names.units]
    page = (named / "report.html").read_text(encoding="utf-8")
    assert 'http-equiv="Content-Security-Policy"' in page and "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.extended
def test_names_alone_are_those_of_the_report(named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):  # the second time from the cache
        code, out, err = run(
            capsys, "neurons", "name", "--probe", "scenes:val:40", "--out", tmp_path / "out", "--cache", cache, *QUICK
        )
        assert (code, out) == (0, "") and re.search(r"scenes-captioner, layer features: \d+ of 192 units named", err)
        names = NeuronNames.from_json(tmp_path / "out" / "names.json")
        assert names.units == NeuronNames.from_json(named / "names.json").units
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["names.csv", "names.json"]


@pytest.mark.extended
def test_a_report_about_names_that_are_there(named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = named / "names.json"
    options = ["--probe", "scenes:val:20", "--photos", "0", "--exemplars", "1", "--out", tmp_path / "again"]
    code, _, err = run(capsys, "neurons", "report", "--names", named, *options)
    assert code == 0 and "Wrote" in err
    assert NeuronNames.from_json(tmp_path / "again" / "names.json") == NeuronNames.from_json(given)
    asked = ["--question", "what colour is the star"]
    code, _, err = run(capsys, "neurons", "report", "--names", named, "--model", "vqa", *asked, *options)
    assert code == 2 and "other weights" in err


def test_names_are_listed_from_files(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = NeuronNames.from_json(named / "names.json")
    unit = next(one for one in names.units if one.name is not None)
    for path in (named, named / "names.csv"):
        options = [] if path == named else ["--unit", unit.unit]
        code, out, err = run(capsys, "neurons", "--names", path, *options)
        expected = (0, "") if path == named else (2, err)
        assert (code, err) == expected
        if path == named:
            assert unit.name is not None and unit.name in out
        else:
            assert "layer" in err  # a table doesn't say of which layer it is
    code, out, _ = run(capsys, "neurons", "list", "--names", named, "--concept", unit.name, "--json")
    found = json.loads(out)
    assert code == 0 and {one["name"] for one in found["units"]} == {unit.name}


@pytest.mark.parametrize("command", [["captioner"], ["list", "captioner"], [], ["--unit", "3"]])
def test_list_is_what_it_does_without_a_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "neurons", *command)
    assert (code, err) == (0, "") and "scenes-captioner, layer features" in out


def test_own_names_in_explanations_link_to_their_report(
    named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, text, err = run(capsys, "caption", "scene:10", "--names", named, "--out", out)
    assert code == 0 and "Wrote" in err and "unit" not in err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "captioner/report.html" in page
    code, text, _ = run(capsys, "caption", "scene:10", "--names", named, "--json")
    own = json.loads(text)["results"][0]["targets"][0]["neurons"]
    code, text, _ = run(capsys, "caption", "scene:10", "--json")
    packaged = json.loads(text)["results"][0]["targets"][0]["neurons"]
    assert [one["unit"] for one in own["top"]] == [one["unit"] for one in packaged["top"]]
    code, _, err = run(capsys, "classify", "scene:10", "--names", named, "--layer", "features.0")
    assert code == 2 and "the names are of layer 'features'" in err


def test_photos_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(24):
        scene = make(seed, "val")
        folder = tmp_path / "photos" / scene.background
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image()).save(folder / f"{seed}.png")
    out = tmp_path / "out"
    code, _, err = run(
        capsys,
        "neurons",
        "name",
        "--model",
        "vqa",
        "--question",
        "is there a red star",
        "--probe",
        tmp_path / "photos",
        "--quantile",
        "0.1",
        "--out",
        out,
        *QUICK,
    )
    assert code == 0 and "only 24 pictures" in err
    names = NeuronNames.from_json(out / "names.json")
    assert names.model == "scenes-vqa" and names.probe["kind"] != "generated scenes"
    assert {unit.category for unit in names.units} <= {"class", None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probe", "nowhere"], "there is no 'nowhere'"),
        (["--probe", "scenes:never:9"], "split='never' was given|'never'"),
        (["--model", "writer"], "writer"),
        (["--model", "vqa", "--question", "what zebra is this"], "zebra"),
        (["--model", "vqa"], "no question was given, and scenes-vqa answers questions; give .*--question"),
        (["--model", "vqa", "--question", "is there a red star", "--prompt", "{}"], "scenes-vqa takes no prompt"),
        (["--model", "captioner", "--prompt", "a photo of"], "prompt"),
        (["--question", "what"], "answers no questions"),
        (["--scorer", "best"], "scorer 'best' was given"),
        (["--scorer", "www"], "needs pictures and words"),
        (["--layer", "fc.9"], "has no layer 'fc.9'"),
        (["--mask-size", "5"], "mask_size=5 was given for maps of 12 x 12 cells"),
        (["--task", "cooking"], "--task 'cooking' was given"),
        (["--quantile", "2"], "quantile 2.0 was given"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--probe" in arguments else ["--probe", "scenes:val:4", *arguments]
    code, out, err = run(capsys, "neurons", "name", *given, "--out", tmp_path / "out", *QUICK)
    assert code == 2 and out == "" and re.search(message, err), err
    assert len(err.strip().splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.skipif(REAL is None, reason="no real weights and photos here")
def test_a_real_model_on_few_real_photos_gets_few_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """40 annotated COCO photos: the report has to say that so small a probe supports few names, and there are few."""
    assert REAL is not None
    weights = REAL / "weights" / "mobilenet_v2_imagenet_qat.pth"
    options = ["--model", weights, "--arch", "torchvision/mobilenet_v2", "--photos", "0", "--exemplars", "1", *QUICK]
    code, _, err = run(capsys, "neurons", "report", "--probe", REAL / "coco.json", "--out", tmp_path / "out", *options)
    assert code == 0 and "only 40 pictures. So small a probe supports few names" in err
    names = NeuronNames.from_json(tmp_path / "out" / "names.json")
    assert len(names) == 1280 and names.coverage < 0.05
    assert "So small a probe supports few names" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert np.mean(["few" in unit.flags for unit in names.units if unit.name]) > 0.5 or names.coverage == 0


def test_a_command_that_is_mistyped_is_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "neurons", "nmae", "--out", "x")
    assert code == 2 and "Did you mean 'name'" in err
    code, _, err = run(capsys, "neurons", "zebra")
    assert code == 2 and "model 'zebra' was given; expected one of classifier, captioner, vqa" in err


def test_a_unit_says_how_far_its_name_can_be_trusted(named: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = NeuronNames.from_json(named / "names.json")
    unit = next(one for one in names.units if one.flags and one.also)
    code, out, _ = run(capsys, "neurons", "--names", named, "--unit", unit.unit)
    assert code == 0 and f"also stands for {', '.join(unit.also)}" in out and f"Warning: {unit.flags[0]}" in out
    assert "bootstrap samples" in out and "A text may claim that this is there" in out
    assert "Note: The probe has only 40 pictures" in out and "observed" not in out
