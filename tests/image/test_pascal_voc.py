"""Pascal VOC's folders, lists and annotations."""

from pathlib import Path

import pytest

from tests.support.data_layouts import CORNERS, PHOTOS, SIZE, voc, xml
from vlcam.contracts import InputError
from vlcam.image.pascal_voc import (
    check_voc_files,
    find_voc_home,
    list_missing_parts,
    list_splits,
    list_voc_homes,
    read_annotation,
    read_categories,
    read_split,
)

MAIN = ("JPEGImages", "Annotations", "ImageSets/Main")


def box(name: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = CORNERS[name]
    return (left, top, right + 1.0, bottom + 1.0)


def test_boxes_that_touch_all_edges_cover_the_photo(tmp_path: Path) -> None:
    for first in (0, 1):
        xml(tmp_path / "a.xml", ("sheep", "cat"), first, {one: one for one in CORNERS})
        size, (sheep, cat) = read_annotation(tmp_path / "a.xml", first=first)
        assert size == SIZE and sheep.box == (0, 0, *SIZE) and cat.box == box("cat")


def test_the_latest_year_is_found_from_above(tmp_path: Path) -> None:
    voc(tmp_path, "VOC2007", masks=False)
    voc(tmp_path, "VOC2012")
    kit = tmp_path / "VOCdevkit"
    for root in (tmp_path, kit, kit / "VOC2012"):
        assert find_voc_home(root, MAIN) == kit / "VOC2012"
    assert find_voc_home(kit / "VOC2007", MAIN) == kit / "VOC2007"
    assert find_voc_home(kit / "VOC2007", ("SegmentationClass",)) is None
    assert list_missing_parts(kit / "VOC2007", (*MAIN, "SegmentationClass")) == ["SegmentationClass"]
    assert find_voc_home(tmp_path / "none", MAIN) is None and list_voc_homes(tmp_path / "none") == []


def test_lists_and_their_files(tmp_path: Path) -> None:
    home = voc(tmp_path) / "VOCdevkit" / "VOC2012"
    assert list_splits(home, "Main") == ["val"]  # cat_val is a list for one class
    stems = read_split(home, "Main", "val")
    assert stems == tuple(f"2007_00000{number}" for number in range(len(PHOTOS)))
    check_voc_files(home, stems, ("JPEGImages", "Annotations"))
    with pytest.raises(InputError, match=r"2 of the 3 files of a list are missing in '.*SegmentationClass', such as"):
        check_voc_files(home, stems, ("JPEGImages", "SegmentationClass"))
    with pytest.raises(InputError, match=r"split='test' was given, but the splits of .* are: val"):
        read_split(home, "Main", "test")
    with pytest.raises(InputError, match=r"the splits of .* are: none"):
        read_split(home, "Layout", "test")
    (home / "ImageSets" / "Main" / "val.txt").write_text("\n")
    with pytest.raises(InputError, match=r"val\.txt' is empty; expected one photo's name a line"):
        read_split(home, "Main", "val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", r"a\.xml' is not XML \(.*\); expected an annotation in Pascal VOC's XML"),
        ("<annotation/>", r"has no, or a wrong, size/width; expected size, and objects with name and bndbox"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "declares a document type"),
    ],
)
def test_what_is_no_annotation(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_annotation(tmp_path / "a.xml")
    with pytest.raises(InputError, match=r"none\.xml' can't be read: No such file or directory"):
        read_categories(tmp_path / "none.xml")


def test_a_box_outside_the_photo_is_refused_and_its_class_known_all_the_same(tmp_path: Path) -> None:
    xml(tmp_path / "a.xml", ("sheep", "cat", "sheep"), 999, {one: one for one in CORNERS})
    assert read_categories(tmp_path / "a.xml") == ("sheep", "cat")
    assert read_annotation(tmp_path / "a.xml", first=999)[0] == SIZE
    with pytest.raises(InputError, match=r"has no, or a wrong, box \(.*\) in a photo of 40 x 30 pixels"):
        read_annotation(tmp_path / "a.xml")
