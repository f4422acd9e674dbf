"""The exported data set, read back by its own rules: COCO masks, boxes and areas, captions and questions against the scenes."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from jaxtyping import Bool
from PIL import Image

from vlcam.contracts import InputError
from vlcam.scenes.export import encode_run_lengths, export
from vlcam.scenes.record import PAIRS, UNSEEN_PAIRS
from vlcam.scenes.sample import make

N = 6
SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("export") / "new" / "set", "test", N, size=SIZE)


def _read(folder: Path, name: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads((folder / name).read_text()))


def _decode(segmentation: dict[str, Any]) -> Bool[np.ndarray, "height width"]:
    """As in pycocotools: column-major, runs of 0 and 1 in turn."""
    height, width = segmentation["size"]
    flat = np.zeros(height * width, bool)
    at, value = 0, False
    for run in segmentation["counts"]:
        flat[at : at + run] = value
        at, value = at + run, not value
    assert at == height * width
    return flat.reshape(width, height).T


def test_the_folder_holds_the_set_and_nothing_else(folder: Path) -> None:
    assert sorted(one.name for one in folder.iterdir()) == [
        "captions.json",
        "images",
        "instances.json",
        "questions.json",
    ]
    assert sorted(one.name for one in (folder / "images").iterdir()) == [f"{number:06d}.png" for number in range(N)]
    assert [one.name for one in folder.parent.iterdir()] == ["set"]


def test_pictures_are_the_scenes(folder: Path) -> None:
    for image in _read(folder, "instances.json")["images"]:
        with Image.open(folder / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (SIZE, SIZE)
            np.testing.assert_array_equal(np.asarray(picture), make(image["seed"], "test").image(SIZE))


def test_masks_boxes_and_areas_agree_with_the_scene(folder: Path) -> None:
    document = _read(folder, "instances.json")
    seeds = {image["id"]: image["seed"] for image in document["images"]}
    names = {category["id"]: category["name"] for category in document["categories"]}
    assert list(names.values()) == [f"{colour} {shape}" for colour, shape in PAIRS]
    annotations = document["annotations"]
    assert [one["id"] for one in annotations] == list(range(1, len(annotations) + 1))
    assert len(annotations) == sum(len(make(seed, "test").objects) for seed in range(N))
    rows: dict[int, int] = {}
    for one in annotations:
        scene = make(seeds[one["image_id"]], "test")
        row = rows.get(one["image_id"], 0)
        rows[one["image_id"]] = row + 1
        obj, mask = scene.objects[row], _decode(one["segmentation"])
        np.testing.assert_array_equal(mask, scene.masks(SIZE)[row])
        assert one["area"] == mask.sum() > 0
        down, across = np.nonzero(mask)
        left, top, width, height = one["bbox"]
        assert (left, top, left + width, top + height) == (across.min(), down.min(), across.max() + 1, down.max() + 1)
        assert names[one["category_id"]] == f"{obj.colour} {obj.shape}"
        assert one["attributes"] == {
            "shape": obj.shape,
            "colour": obj.colour,
            "size": obj.size,
            "texture": obj.texture,
        }
        assert one["iscrowd"] == 0


def test_every_word_is_about_instances_of_its_own_picture_that_have_it(folder: Path) -> None:
    instances = {one["id"]: one for one in _read(folder, "instances.json")["annotations"]}
    document = _read(folder, "captions.json")
    seeds = {image["id"]: image["seed"] for image in document["images"]}
    checked = 0
    for caption in document["annotations"]:
        assert caption["caption"] == " ".join(caption["words"])
        assert all(make(seeds[caption["image_id"]], "test").true_words(caption["caption"]))
        for word, about in zip(caption["words"], caption["about"], strict=True):
            for number in about:
                assert instances[number]["image_id"] == caption["image_id"]
                if word in {colour for colour, _ in PAIRS}:
                    assert instances[number]["attributes"]["colour"] == word
                    checked += 1
    assert checked > N
    assert {caption["image_id"] for caption in document["annotations"]} == set(seeds)


def test_questions_name_the_instances_that_decide_them(folder: Path) -> None:
    instances = {one["id"]: one for one in _read(folder, "instances.json")["annotations"]}
    document = _read(folder, "questions.json")
    colours = 0
    for question in document["questions"]:
        assert set(question["unique"]) <= set(question["involved"])
        assert all(instances[number]["image_id"] == question["image_id"] for number in question["involved"])
        if question["kind"] == "colour":
            (obj,) = question["unique"]
            assert instances[obj]["attributes"]["colour"] == question["answer"]
            colours += 1
    assert colours > 0


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[False, False], [False, False]], [4]),
        ([[True, True], [True, True]], [0, 4]),
        ([[False, True], [False, False]], [2, 1, 1]),  # column by column: row by row it would be [1, 1, 2]
        ([[True, False, False], [False, False, True]], [0, 1, 4, 1]),
    ],
)
def test_run_lengths(mask: list[list[bool]], counts: list[int]) -> None:
    assert encode_run_lengths(np.array(mask)) == counts


def test_the_unseen_split_has_unseen_pairs(tmp_path: Path) -> None:
    document = _read(export(tmp_path / "unseen", "unseen", 3, size=32), "instances.json")
    for image in document["images"]:
        pairs = [
            (one["attributes"]["colour"], one["attributes"]["shape"])
            for one in document["annotations"]
            if one["image_id"] == image["id"]
        ]
        assert any(pair in UNSEEN_PAIRS for pair in pairs)


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path) -> None:
    inode = tmp_path.stat().st_ino
    seen: list[tuple[int, int]] = []
    export(tmp_path, "val", 2, size=32, progress=lambda done, every: seen.append((done, every)))
    assert tmp_path.stat().st_ino == inode
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "captions.json",
        "images",
        "instances.json",
        "questions.json",
    ]
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("split", "n", "size", "text"),
    [
        ("tset", 1, 32, r"split 'tset' was given; expected one of train, val, test, unseen"),
        ("test", 0, 32, r"0 scenes were asked for; expected 1 or more"),
        ("test", 1, 8, r"8 pixels was given; expected 32 or more"),
    ],
)
def test_bad_requests_are_refused_and_write_nothing(tmp_path: Path, split: str, n: int, size: int, text: str) -> None:
    with pytest.raises(InputError, match=text):
        export(tmp_path / "out", split, n, size=size)
    assert list(tmp_path.iterdir()) == []


def test_bad_folders_are_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(InputError, match="is a file; give a folder that doesn't exist yet"):
        export(file, "test", 1, size=32)
    with pytest.raises(InputError, match="can't write to"):
        export(file / "below", "test", 1, size=32)
    with pytest.raises(InputError, match="is not empty"):
        export(tmp_path, "test", 1, size=32)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "precious"


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "set"
    if there:
        folder.mkdir(parents=True)

    def fail(done: int, every: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(folder, "test", 3, size=32, progress=fail)
    assert [one.name for one in tmp_path.rglob("*")] == (["deep", "set"] if there else [])
    export(folder, "test", 1, size=32)
    assert (folder / "instances.json").exists()
