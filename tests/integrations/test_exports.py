"""Explanations in the formats of other tools, read back by their own readers or held against their documented format."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam
from tests.support.examples_of_explanations import blob, captioning, cropped, explanation
from vlcam.contracts import Target
from vlcam.image.coco import read_instances
from vlcam.integrations import to_dataset, to_fiftyone, write_coco, write_coco_results
from vlcam.metrics import box_from_map


def classified(name: str = "meadow.jpg", probability: float | None = 0.75) -> vlcam.Explanation:
    """A red barn at the lower left, nothing for the dog, and a contrast; the photo's middle was cut out."""
    targets = [
        Target("barn", "class", 4.0, probability),
        Target("dog", "class", 1.0, 0.125),
        Target("barn rather than dog", "contrast", 3.0),
    ]
    maps = [blob(0.2, 0.7, 0.1), -blob(0.5, 0.5), blob(0.8, 0.2, 0.05, 2.0)]
    found = explanation("classification", targets, maps, text="barn", geometry=cropped())
    return replace(found, photo=replace(found.photo, name=name))


def test_coco_boxes_are_those_of_the_maps_and_read_back(tmp_path: Path) -> None:
    one, file = classified(), tmp_path / "new" / "boxes.json"
    assert write_coco(one, file, threshold=0.5) == 2
    read = read_instances(file, boxes=True)
    assert [kind[0] for kind in read.categories] == ["barn", "barn rather than dog"]
    (photo,) = read.photos
    assert (photo.name, photo.size) == ("meadow.jpg", (640, 448))
    for instance, view in zip(photo.instances, (one[0], one[2]), strict=True):
        expected = box_from_map(view.heatmap(), threshold=0.5)
        assert expected is not None and instance.box == pytest.approx(expected, abs=0.01)
    document = json.loads(file.read_text())
    first = document["annotations"][0]
    assert first["score"] == 0.75 and document["annotations"][1]["score"] == 3.0  # a contrast has no probability
    assert first["area"] == pytest.approx(first["bbox"][2] * first["bbox"][3]) and len(first["segmentation"][0]) == 8
    assert "0.5 of each map's maximum" in document["info"]["description"]
    assert write_coco([one], file, threshold=0.5, kinds=["class"]) == 1


def test_coco_lists_each_photo_once_and_outcomes_without_errors(tmp_path: Path) -> None:
    outcomes = [
        vlcam.Outcome(0, "a.jpg", explanation=classified("a.jpg")),
        vlcam.Outcome(1, "b.jpg", error=ValueError("broken")),
        vlcam.Outcome(2, "a.jpg", explanation=classified("a.jpg")),
        vlcam.Outcome(3, "c.jpg", explanation=captioning()),
    ]
    file = tmp_path / "boxes.json"
    write_coco(iter(outcomes), file)
    document = json.loads(file.read_text())
    assert [one["file_name"] for one in document["images"]] == ["a.jpg", "meadow.jpg"]
    assert {one["image_id"] for one in document["annotations"]} == {1, 2}
    assert len({one["id"] for one in document["annotations"]}) == len(document["annotations"])


def test_large_photos_have_their_boxes_in_their_own_pixels(tmp_path: Path) -> None:
    small = classified()
    factor = 5
    wide, tall = small.photo.width * factor, small.photo.height * factor
    across, down = (one / factor for one in small.geometry.scale)
    geometry = replace(small.geometry, photo_size=(wide, tall), scale=(across, down))
    large = replace(small, geometry=geometry, photo=replace(small.photo, width=wide, height=tall))
    write_coco(small, tmp_path / "small.json")
    write_coco(large, tmp_path / "large.json")
    one, other = (json.loads((tmp_path / f"{name}.json").read_text())["annotations"] for name in ("small", "large"))
    for this, that in zip(one, other, strict=True):
        assert [side * factor for side in this["bbox"]] == pytest.approx(that["bbox"], abs=2 * factor)


def test_coco_results_have_the_ids_of_the_truth(tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    images = [{"id": 77, "file_name": "val/meadow.jpg", "width": 640, "height": 448}]
    categories = [{"id": 9, "name": "farm"}, {"id": 18, "name": "dog"}]
    truth.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    file = tmp_path / "results.json"
    assert write_coco_results(classified(), file, truth=truth, names={"barn": "farm"}) == 1
    (result,) = json.loads(file.read_text())
    assert set(result) == {"image_id", "category_id", "bbox", "score"}
    assert (result["image_id"], result["category_id"], result["score"]) == (77, 9, 0.75)
    with pytest.raises(vlcam.InputError, match=r"none of the labels \(barn, .*give names="):
        write_coco_results(classified(), tmp_path / "no.json", truth=truth)
    with pytest.raises(vlcam.InputError, match=r"'other.jpg' is not listed in"):
        write_coco_results(classified("other.jpg"), tmp_path / "no.json", truth=truth)
    truth.write_text(json.dumps({"images": [{"id": "x"}], "categories": []}))
    with pytest.raises(vlcam.InputError, match=r"truth\.json"):
        write_coco_results(classified(), tmp_path / "no.json", truth=truth)
    assert not (tmp_path / "no.json").exists()


def test_nothing_is_written_for_what_cannot_be_exported(tmp_path: Path) -> None:
    file = tmp_path / "x" / "boxes.json"
    with pytest.raises(vlcam.InputError, match=r"threshold=0\.0 was given"):
        write_coco(classified(), file, threshold=0.0)
    with pytest.raises(vlcam.InputError, match="at least one photo"):
        write_coco([], file)
    with pytest.raises(vlcam.InputError, match="a int was given among the explanations"):
        write_coco([3], file)
    with pytest.raises(vlcam.InputError, match="a str was given; expected an explanation"):
        write_coco("folder", file)
    with pytest.raises(vlcam.InputError, match="is a folder"):
        write_coco(classified(), tmp_path)
    assert not file.parent.exists()


# --- FiftyOne -------------------------------------------------------------------------------------------------------------------


class Label(dict[str, Any]):
    """A label of FiftyOne: its fields, and any other attribute that it is given."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)


class Heatmap(Label):
    """``fiftyone.Heatmap``: a 2D array; without a range floats are taken as lying from 0 to 1."""

    def __init__(self, *, map: np.ndarray, range: list[float], **own: Any) -> None:
        assert map.ndim == 2 and map.dtype.kind == "f" and np.isfinite(map).all()
        assert len(range) == 2 and range[0] <= map.min() and map.max() <= range[1] * 1.0001
        super().__init__(map=map, range=range, **own)


class Dataset:
    """``fiftyone.Dataset``."""

    def __init__(self, name: str | None = None) -> None:
        self.name, self.samples = name, []  # type: ignore[var-annotated]

    def add_samples(self, samples: list[Any]) -> None:
        self.samples += samples


@pytest.fixture
def fiftyone(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(Classification=Label, Heatmap=Heatmap, Sample=Label, Dataset=Dataset)
    monkeypatch.setitem(sys.modules, "fiftyone", module)


@pytest.mark.usefixtures("fiftyone")
def test_fiftyone_gets_heatmaps_with_their_range(tmp_path: Path) -> None:
    (tmp_path / "meadow.jpg").write_bytes(b"a photo")
    signed = replace(classified(), relu=False)
    outcomes = [
        vlcam.Outcome(0, "meadow.jpg", explanation=classified(), label=3, label_name="barn"),
        vlcam.Outcome(1, "meadow.jpg", explanation=signed),
    ]
    dataset = to_fiftyone(outcomes, photos=tmp_path, name="farm")
    first, second = dataset.samples
    assert dataset.name == "farm" and first["filepath"] == str(tmp_path / "meadow.jpg")
    assert first["prediction"] == {"label": "barn", "confidence": 0.75}
    assert first["ground_truth"] == {"label": "barn"} and "ground_truth" not in second
    assert "heatmap_2" not in first  # only evidence against the dog
    heat = first["heatmap"]
    assert heat["map"].shape == (90, 128) and heat["range"] == [0.0, pytest.approx(float(signed[0].map.max()))]
    assert (heat["label"], heat["kind"], heat["score"], heat["probability"]) == ("barn", "class", 4.0, 0.75)
    expected = classified()[0].heatmap().nan_to_num(0)
    y, x = np.unravel_index(int(expected.argmax()), expected.shape)
    peak = np.unravel_index(heat["map"].argmax(), heat["map"].shape)
    assert (peak[0] * 5, peak[1] * 5) == (pytest.approx(y, abs=10), pytest.approx(x, abs=10))
    assert second["heatmap_2"]["range"][0] < 0 and second["heatmap_2"]["range"][1] == -second["heatmap_2"]["range"][0]


@pytest.mark.usefixtures("fiftyone")
def test_fiftyone_wants_to_know_where_the_photos_are(tmp_path: Path) -> None:
    with pytest.raises(vlcam.InputError, match="give photos=FOLDER"):
        to_fiftyone(classified())
    with pytest.raises(vlcam.InputError, match="there is no file"):
        to_fiftyone(captioning(), photos=tmp_path)
    (tmp_path / "meadow.jpg").write_bytes(b"a photo")
    (sample,) = to_fiftyone(captioning(), photos=tmp_path).samples
    assert sample["text"] == captioning().text and "prediction" not in sample


def test_missing_partners_of_exports_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fiftyone", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(vlcam.InputError, match="pip install fiftyone"):
        to_fiftyone(classified())
    with pytest.raises(vlcam.InputError, match=r"pip install 'vlcam\[datasets\]'"):
        to_dataset(classified())


# --- Hugging Face ---------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_dataset_has_photos_and_maps_and_can_be_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    one = classified()
    made = to_dataset([one, captioning()])
    made.save_to_disk(str(tmp_path / "saved"))
    read = datasets.load_from_disk(str(tmp_path / "saved"))
    assert len(read) == len(one) + len(captioning())
    row = read[0]
    assert isinstance(row["image"], Image.Image) and row["image"].size == (640, 448)
    assert (row["target"], row["kind"], row["score"], row["probability"]) == ("barn", "class", 4.0, 0.75)
    found = torch.tensor(row["map"]).reshape(row["rows"], row["columns"])
    torch.testing.assert_close(found, one[0].map.float())
    assert read[1]["flag"] == "negative" and read[1]["truth"] is None
    broken = [row for row in read if row["flag"] == "nonfinite"]
    assert broken and all(row["map"] is None for row in broken)
    assert "image" not in to_dataset(one, pictures=False).column_names
    with pytest.raises(vlcam.InputError, match="at least one photo"):
        to_dataset([])


# --- a run ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos_of_a_run(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(vlcam.scenes.make(number).image(96)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.mark.usefixtures("fiftyone")
@pytest.mark.filterwarnings("ignore")
def test_a_run_is_exported_as_its_explanations_are(photos_of_a_run: Path, tmp_path: Path) -> None:
    folder, task = photos_of_a_run, vlcam.load("scenes/classifier")
    vlcam.run(task, folder, tmp_path / "run", top_k=2, method="gradcam", progress=False)
    run = vlcam.open_run(tmp_path / "run")
    names = ["1.png", "2.png"]
    made = [vlcam.explain(task, folder / name, top_k=2, method="gradcam") for name in names]
    counts = write_coco(run, tmp_path / "run.json"), write_coco(made, tmp_path / "made.json")
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("run", "made"))
    assert counts[0] == counts[1] > 0 and [each["file_name"] for each in one["images"]] == names
    assert one["images"] == other["images"] and one["categories"] == other["categories"]
    for this, that in zip(one["annotations"], other["annotations"], strict=True):  # maps of a run have 16 bits
        assert this["bbox"] == pytest.approx(that["bbox"], abs=2) and this["score"] == pytest.approx(that["score"])
    samples = to_fiftyone(run.where(target_index=0)).samples
    assert [Path(sample["filepath"]).name for sample in samples] == names and "heatmap_2" not in samples[0]
    rows = to_dataset(run)
    assert rows["photo"] == ["1.png", "1.png", "2.png", "2.png"] and rows[0]["image"].size == (96, 96)
    assert rows[3]["map"] == pytest.approx(made[1][1].map.flatten().tolist(), rel=2e-3, abs=1e-3)
