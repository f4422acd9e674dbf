"""``vlcam export``: what the commands have saved, in the formats of other tools."""

import json
from pathlib import Path

import pytest

from vlcam.cli import main
from vlcam.image.coco import read_instances


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    scenes = ["scene:3", "scene:val:4"]
    assert main(["classify", *scenes, "--method", "gradcam", "--top", "2", "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.mark.filterwarnings("ignore")
def test_saved_explanations_become_boxes_and_a_dataset(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    boxes, rows = tmp_path / "boxes.json", tmp_path / "rows"
    assert main(["export", str(saved), "--coco", str(boxes), "--threshold", "0.5", "--dataset", str(rows)]) == 0
    found = read_instances(boxes, boxes=True)
    assert [photo.name for photo in found.photos] == ["scene:3", "scene:val:4"]
    count = sum(len(photo.instances) for photo in found.photos)
    said = capsys.readouterr().err
    assert f"boxes.json: {count} boxes" in said and "rows: 4 rows" in said
    assert len(datasets.load_from_disk(str(rows))) == 4
    assert main(["export", str(saved), "--dataset", str(rows)]) == 2  # never over another one
    assert "is not empty" in capsys.readouterr().err


def test_results_take_the_ids_of_the_truth(saved: Path, tmp_path: Path) -> None:
    boxes, results = tmp_path / "boxes.json", tmp_path / "results.json"
    one = next(iter(sorted(saved.glob("*.safetensors"))))
    assert main(["export", str(one), "--coco", str(boxes)]) == 0
    assert main(["export", str(one), "--coco-results", str(results), "--truth", str(boxes)]) == 0
    expected = json.loads(boxes.read_text())["annotations"]
    assert [each["bbox"] for each in json.loads(results.read_text())] == [each["bbox"] for each in expected]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "nothing is to be written; give --coco FILE"),
        (["--coco-results", "r.json"], "--coco-results and --truth go together"),
        (["--dataset", "d", "--threshold", "0.5"], "--threshold is for boxes"),
        (["--coco", "b.json", "--threshold", "2"], "threshold=2.0 was given"),
        (["--coco", "."], "is a folder"),
    ],
)
def test_what_can_not_be_exported_is_said_in_a_line(
    arguments: list[str],
    text: str,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(saved), *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_place_without_anything_to_export_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, text in ((tmp_path, "holds neither a run nor saved"), (tmp_path / "no", "there is nothing at")):
        assert main(["export", str(place), "--coco", str(tmp_path / "b.json")]) == 2
        assert text in capsys.readouterr().err
