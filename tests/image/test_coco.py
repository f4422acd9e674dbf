"""COCO's instances, captions and the folders of their photos."""

import json
from array import array
from pathlib import Path
from typing import Any

import pytest

from vlcam.contracts import InputError
from vlcam.image.coco import CocoInstance, find_photo_folder, list_missing, read_instances

FOUND: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}, {"id": 9, "file_name": "x/b.jpg", "height": 4, "width": 6}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "segmentation": [[0, 0, 3, 0, 3, 2]], "bbox": [-1, 1, 9, 2]},
        {"image_id": 7, "category_id": 1, "segmentation": {"size": [4, 6], "counts": [24]}, "bbox": [1, 1, 2, 2], "iscrowd": 1},
    ],
    "categories": [{"id": 3, "name": "car", "supercategory": "vehicle"}, {"id": 1, "name": "person"}],
}  # fmt: skip


def save(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_instances_and_captions(tmp_path: Path) -> None:
    said = [{"image_id": 9, "caption": " two  words\n"}, {"image_id": 9, "caption": "more"}]
    path = save(tmp_path / "a.json", FOUND | {"captions": said})
    for captions in (None, save(tmp_path / "captions.json", {"annotations": said})):
        file = read_instances(path, boxes=True, captions=captions)
        assert file.categories == (("person", ""), ("car", "vehicle")) and file.path == path
        first, second = file.photos
        assert (first.name, first.size, first.captions) == ("a.jpg", (6, 4), ())
        assert first.instances[0] == CocoInstance(1, (0.0, 1.0, 6.0, 3.0), False, [array("d", [0, 0, 3, 0, 3, 2])])
        assert first.instances[1] == CocoInstance(0, (1.0, 1.0, 3.0, 3.0), True, {"size": [4, 6], "counts": [24]})
        assert second.instances == () and second.captions == ("two words", "more")
    assert [one.box for one in read_instances(path).photos[0].instances] == [None, None]


@pytest.mark.parametrize(
    ("bbox", "message"),
    [([1, 2, 3], r"has no, or a wrong, bbox \[1\.0, 2\.0, 3\.0\]"), (None, "has no, or a wrong, 'NoneType'"), ("gone", "'bbox'")],
)  # fmt: skip
def test_boxes_are_read_where_they_are_asked_for(tmp_path: Path, bbox: Any, message: str) -> None:
    broken = json.loads(json.dumps(FOUND))
    broken["annotations"][1]["bbox"] = bbox
    if bbox == "gone":
        del broken["annotations"][1]["bbox"]
    path = save(tmp_path / "a.json", broken)
    assert read_instances(path).photos[0].instances[1].box is None
    with pytest.raises(InputError, match=message):
        read_instances(path, boxes=True)


@pytest.mark.parametrize("document", [[], {"images": [], "annotations": [], "categories": [{}]}, {"images": [{}]}])
def test_another_json_is_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(InputError, match=r"has no images, annotations or categories; expected COCO's instances"):
        read_instances(save(tmp_path / "a.json", document))


def test_photos_are_looked_for_in_the_usual_places(tmp_path: Path) -> None:
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.parent.mkdir()
    names = ["a.jpg", "x/b.jpg"]
    with pytest.raises(InputError, match=r"the photos of .* \(such as 'a.jpg'\) aren't in '.*annotations'"):
        find_photo_folder(path, names)
    (tmp_path / "val2017" / "x").mkdir(parents=True)
    (tmp_path / "val2017" / "x" / "b.jpg").touch()
    assert find_photo_folder(path, names) == tmp_path / "val2017"
    assert list_missing(tmp_path / "val2017", names) == ["a.jpg"]
