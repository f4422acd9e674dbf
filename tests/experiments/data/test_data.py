"""The data that experiments run on: every layout read as it was drawn, and one clear sentence for what is broken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vlcam
from tests.support.data_layouts import (
    COLOURS,
    CORNERS,
    PHOTOS,
    SIZE,
    SYNSETS,
    boxes_json,
    coco,
    draw,
    ilsvrc,
    voc,
    vqa,
    write,
    xml,
)
from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import open_annotated
from vlcam.experiments.data.matching import match
from vlcam.experiments.data.open_world import LAYOUTS, open_world
from vlcam.experiments.data.samples import LabelledPhoto, NumberedWorld, PhotoObject, World, unite_masks
from vlcam.experiments.data.scenes_world import LABELS, open_scenes
from vlcam.image.photo import open_photo
from vlcam.scenes.captions import check_words, find_word_objects
from vlcam.tasks import bundled

REAL = next((one / "shared" / "real" for one in Path(__file__).parents if (one / "shared" / "real").is_dir()), None)


def box(name: str) -> tuple[float, float, float, float]:
    left, top, right, bottom = CORNERS[name]
    return (left, top, right + 1.0, bottom + 1.0)


def shape(name: str) -> np.ndarray:
    left, top, right, bottom = CORNERS[name]
    found = np.zeros((SIZE[1], SIZE[0]), np.bool_)
    found[top : bottom + 1, left : right + 1] = True
    return found


def check_colours(sample: LabelledPhoto, called: dict[str, str]) -> None:
    """Each box holds the colour that was drawn there, exactly to the pixel."""
    image, _ = open_photo(sample.image)
    pixels = np.asarray(image).astype(int)
    assert image.size == sample.size == SIZE
    for obj in sample.objects:
        colour = COLOURS[called[obj.label]]
        near = (np.abs(pixels - np.array(colour)).sum(axis=2) < 120) & shape(called[obj.label])
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
        assert obj.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == box(called[obj.label])


# --- the bundled world ------------------------------------------------------------------------------------------------


def test_scenes_know_everything_exactly() -> None:
    world = open_world(labels=bundled.classifier().labels)
    assert isinstance(world, World)
    assert world.has == {"boxes", "masks", "captions", "questions"} and world.size is None and not world.indexed
    assert tuple(world.labels) == LABELS == tuple(bundled.classifier().labels)
    found = list(world.iterate_samples(6))
    assert [one.name for one in found] == [f"test {seed}" for seed in range(6)]
    for one in found:
        scene = one.scene
        assert np.array_equal(one.image, scene.image()) and one.size == (96, 96)
        masks = scene.masks()
        for place, obj in enumerate(one.objects):
            assert obj.label == " ".join(scene.objects[place].pair) == LABELS[obj.index]
            assert obj.mask is not None and np.array_equal(obj.mask, masks[place])
            rows, columns = np.flatnonzero(obj.mask.any(axis=1)), np.flatnonzero(obj.mask.any(axis=0))
            assert obj.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        for said in one.captions:
            assert said.about == find_word_objects(scene, said.text) and len(said.about or ()) == len(said.words)
            assert all(check_words(scene, said.text))
        assert len({asked.question for asked in one.questions}) == len(one.questions) == 8
        for asked, truth in zip(one.questions, scene.questions(8), strict=True):
            assert (asked.question, asked.answer, asked.decides) == (truth.text, truth.answer, truth.decides)
            assert asked.attention is None


def test_a_mask_belongs_to_who_asked_for_it() -> None:
    obj = next(iter(open_scenes().iterate_samples(1))).objects[0]
    first, second = obj.mask, obj.mask
    assert first is not None and second is not None
    before = second.copy()
    first[:] = False
    assert np.array_equal(second, before) and obj.mask is not None and np.array_equal(obj.mask, before)


def test_a_world_without_end_wants_a_number() -> None:
    with pytest.raises(InputError, match="no end"):
        open_scenes().iterate_samples()
    with pytest.raises(InputError, match="1 or more"):
        open_scenes().iterate_samples(0)
    assert [one.name for one in open_scenes("unseen").iterate_samples(2)] == ["unseen 0", "unseen 1"]


def test_samples_of_a_smaller_number_are_among_those_of_a_larger() -> None:
    world = NumberedWorld("w", "w", (), frozenset(), 50, lambda number: LabelledPhoto(str(number), None, (1, 1)))
    names = {n: [int(one.name) for one in world.iterate_samples(n)] for n in (5, 20, 50)}
    assert set(names[5]) < set(names[20]) < set(names[50]) and names[50] == list(range(50))
    assert names[5] == sorted(names[5]) and names[5] != [0, 1, 2, 3, 4]
    assert [one.name for one in world.iterate_samples()] == [one.name for one in world.iterate_samples(99)]
    assert [int(one.name) for one in world.iterate_samples(20)] == names[20]


def test_classes_of_a_sample() -> None:
    one = np.array([[True, False]])
    objects = (
        PhotoObject("b", (0.0, 0.0, 1.0, 1.0), 1, outline=lambda: one.copy()),
        PhotoObject("a", (0.0, 0.0, 1.0, 1.0), 0),
        PhotoObject("b", (0.0, 0.0, 2.0, 1.0), 1, outline=lambda: ~one),
    )
    sample = LabelledPhoto("s", None, (2, 1), objects)
    assert sample.present == (0, 1) and len(sample.find_objects(1)) == 2
    whole = sample.get_mask(1)
    assert whole is not None and whole.all()
    assert sample.get_mask(0) is None and sample.get_mask(7) is None and unite_masks([]) is None and sample.void is None


# --- ILSVRC -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["kaggle", "flat", "synsets"])
def test_ilsvrc(tmp_path: Path, form: str) -> None:
    world = open_world(ilsvrc(tmp_path, form), needs={"boxes"})
    assert world.name == "ilsvrc val" and world.has == {"boxes"} and world.size == 3
    first = [label.split(",")[0] for label in world.labels]
    assert first == ["Chihuahua", "tabby", "ram"]  # in the order of the synset ids
    found = list(world.iterate_samples())
    called = dict(zip(world.labels, ("dog", "cat", "sheep"), strict=True))
    for one, index in zip(found, (1, 0, 2), strict=True):
        assert one.present == (index,) and isinstance(one.image, Path)
        check_colours(one, called)
    assert len(found[2].objects) == 2 and found[2].objects[0].mask is None


def test_ilsvrc_by_the_inner_folder_and_from_one_above(tmp_path: Path) -> None:
    ilsvrc(tmp_path / "data")
    assert open_world(tmp_path).size == open_world(tmp_path / "data" / "ILSVRC").size == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("imagenet_class_index.json", json.dumps({str(at): [SYNSETS[one], one] for at, one in enumerate(CORNERS)})),
        ("synset_words.txt", "".join(f"{SYNSETS[one]} {one}\n" for one in CORNERS)),
    ],
)
def test_ilsvrc_names_from_any_file(tmp_path: Path, name: str, text: str) -> None:
    ilsvrc(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").unlink()
    (tmp_path / name).write_text(text)
    assert list(open_world(tmp_path).labels) == ["dog", "cat", "sheep"]


# --- Pascal VOC -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_boxes(tmp_path: Path, at: str) -> None:
    world = open_world(voc(tmp_path) / at, needs={"boxes"})
    assert (world.name, world.size, len(world.labels)) == ("voc2012 val", 3, 20) and world.has == {"boxes"}
    for one, objects in zip(world.iterate_samples(), PHOTOS, strict=True):
        assert tuple(obj.label for obj in one.objects) == objects
        assert all(world.labels[obj.index] == obj.label for obj in one.objects)
        assert [obj.difficult for obj in one.objects] == [name == "sheep" for name in objects]
        check_colours(one, {name: name for name in CORNERS})


def test_voc_masks_leave_the_border_out(tmp_path: Path) -> None:
    world = open_world(voc(tmp_path), needs={"masks"})
    (one,) = world.iterate_samples()
    cat, dog = one.objects
    border = shape("dog").copy()
    left, top, right, bottom = CORNERS["dog"]
    border[top + 1 : bottom, left + 1 : right] = False
    assert one.void is not None and np.array_equal(one.void, border)
    assert cat.mask is not None and np.array_equal(cat.mask, shape("cat"))
    assert dog.mask is not None and np.array_equal(dog.mask, shape("dog") & ~border)
    assert dog.box == box("dog")  # the XML's, which has the border in it


def test_voc_where_pictures_and_xml_disagree_the_pictures_count(tmp_path: Path) -> None:
    home = voc(tmp_path) / "VOCdevkit/VOC2012"
    xml(home / "Annotations/2007_000001.xml", ("dog", "cat"), 1, {one: one for one in CORNERS})
    (one,) = open_world(tmp_path, needs={"masks"}).iterate_samples()
    assert [obj.label for obj in one.objects] == ["cat", "dog"]
    assert one.objects[0].box == box("cat")  # of the mask
    left, top, right, bottom = box("dog")
    assert one.objects[1].box == (left + 1, top + 1, right - 1, bottom - 1)


def test_voc_of_two_years_takes_the_later_unless_told(tmp_path: Path) -> None:
    voc(tmp_path, "VOC2007", masks=False)
    voc(tmp_path, "VOC2012")
    assert open_world(tmp_path).name == "voc2012 val"
    assert open_world(tmp_path / "VOCdevkit/VOC2007").name == "voc2007 val"
    with pytest.raises(InputError, match="SegmentationObject"):
        open_world(tmp_path / "VOCdevkit/VOC2007", needs={"masks"})


# --- COCO -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["val2014", "val2017"])
def test_coco(tmp_path: Path, split: str) -> None:
    world = open_world(coco(tmp_path, split), needs={"masks", "captions"})
    assert world.has == {"boxes", "masks", "captions"} and list(world.labels) == ["cat", "dog", "sheep"]
    assert world.name == f"coco {split}"
    for one, objects in zip(world.iterate_samples(), PHOTOS, strict=True):
        assert tuple(obj.label for obj in one.objects) == objects
        check_colours(one, {name: name for name in CORNERS})
        for obj in one.objects:
            assert obj.mask is not None and np.array_equal(obj.mask, shape(obj.label))
            assert obj.crowd == (obj.label == "sheep")
        assert [said.text for said in one.captions] == ["a " + " and a ".join(objects)] and one.captions[
            0
        ].about is None


def test_coco_without_captions_does_for_masks_only(tmp_path: Path) -> None:
    coco(tmp_path, captions=False)
    assert open_world(tmp_path).has == {"boxes", "masks"}
    with pytest.raises(InputError, match=r"captions_val2017\.json is not beside it"):
        open_world(tmp_path, needs={"captions"})


def test_coco_in_one_file_with_its_captions(tmp_path: Path) -> None:
    coco(tmp_path / "x", captions=False)
    whole = json.loads((tmp_path / "x/annotations/instances_val2017.json").read_text())
    whole["captions"] = [{"image_id": 100, "id": 1, "caption": "one cat"}]
    write(tmp_path / "mini.json", whole)
    (tmp_path / "x/val2017").rename(tmp_path / "mini")
    for path in (tmp_path / "mini", tmp_path / "mini.json", tmp_path):
        first = next(iter(open_world(path, needs={"captions", "masks"}).iterate_samples()))
        assert [said.text for said in first.captions] == ["one cat"]


def test_coco_of_several_splits(tmp_path: Path) -> None:
    coco(tmp_path, "val2017")
    coco(tmp_path, "train2017")
    assert open_world(tmp_path).name == "coco val2017"
    assert open_world(tmp_path, split="train2017").name == "coco train2017"
    with pytest.raises(InputError, match="train2017, val2017"):
        open_world(tmp_path, split="test2017")


# --- VQA --------------------------------------------------------------------------------------------------------------


def test_vqa(tmp_path: Path) -> None:
    world = open_world(vqa(tmp_path), needs={"questions"})
    assert (world.name, world.size, len(world.labels)) == ("vqa v2 val2014", 2, 0) and world.has == {"questions"}
    first, second = world.iterate_samples()
    assert [(one.question, one.answer, one.number) for one in first.questions] == [
        ("Is there a cat?", "yes", 1000),
        ("What animal is it?", "cat", 1001),
    ]
    (asked,) = second.questions
    assert asked.answers == ("dog",) * 3 + ("no idea",) + ("dog",) * 6 and asked.attention is None
    assert asked.kind == "other" and first.size == SIZE


def test_vqa_hat_takes_the_questions_that_people_were_shown(tmp_path: Path) -> None:
    vqa(tmp_path, version="", hat=True)
    vqa(tmp_path, version="v2_")
    for name, part in (
        ("OpenEnded_mscoco_val2014_questions", "questions"),
        ("mscoco_val2014_annotations", "annotations"),
    ):
        file = tmp_path / f"v2_{name}.json"
        changed = json.loads(file.read_text())
        for one in changed[part]:
            one["question_id"] += 50_000
        write(file, changed)
    for path in (tmp_path, tmp_path / "vqahat_val"):
        world = open_world(path, needs={"attention"})
        assert world.size == 1 and world.has == {"questions", "attention"}
        (one,) = world.iterate_samples()
        (asked,) = one.questions
        assert asked.number == 1010 and asked.attention is not None and len(asked.attention) == 3
        for person, heat in enumerate(asked.attention, start=1):
            assert np.allclose(heat, shape("dog") * (85 * person / 255))
    assert open_world(tmp_path, needs={"questions"}, layout="vqa").has == {"questions"}


def test_vqa_hat_without_its_questions(tmp_path: Path) -> None:
    vqa(tmp_path, hat=True)
    (tmp_path / "vqahat_val").rename(tmp_path / "other")
    (tmp_path / "vqahat_val").mkdir()
    (tmp_path / "other/1010_1.png").rename(tmp_path / "vqahat_val/77_1.png")
    with pytest.raises(InputError, match=r"such as 77, .* VQA's first version"):
        open_world(tmp_path, needs={"attention"})


# --- a folder of photos with a JSON of boxes --------------------------------------------------------------------------


def test_boxes_in_a_json(tmp_path: Path) -> None:
    boxes_json(tmp_path)
    for path in (tmp_path, tmp_path / "some", tmp_path / "some.json"):
        world = open_world(path, needs={"boxes"})
        assert world.name == "some" and world.size == 3 and not world.indexed
        called = dict(zip(world.labels, ("cat", "dog", "sheep"), strict=True))
        for one in world.iterate_samples():
            check_colours(one, called)
    (tmp_path / "some_classes.json").unlink()
    assert list(open_world(tmp_path).labels) == ["class 0", "class 1", "class 2"]


# --- photos in the frame of their annotations -------------------------------------------------------------------------


def test_a_photo_is_given_as_it_was_annotated(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    draw(tmp_path / "a.jpg", ("cat",), exif=exif)
    stored, size = open_annotated(tmp_path / "a.jpg", SIZE)
    assert isinstance(stored, Image.Image) and size == SIZE and open_photo(stored)[0].size == SIZE
    turned, size = open_annotated(tmp_path / "a.jpg", (SIZE[1], SIZE[0]))
    assert turned == tmp_path / "a.jpg" and size == (SIZE[1], SIZE[0]) == open_photo(turned)[0].size
    with pytest.raises(InputError, match="40 x 30 pixels, but was annotated at 400 x 300"):
        open_annotated(tmp_path / "a.jpg", (400, 300))


# --- broken and partial folders: one InputError that names the file ---------------------------------------------------


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


Breaking = Callable[[Path], Any]
BROKEN: list[tuple[str, Callable[[Path], Path], Breaking, str]] = [
    ("no names", ilsvrc, lambda at: (at / "LOC_synset_mapping.txt").unlink(), "none of LOC_synset_mapping.txt"),
    (
        "names of something else",
        ilsvrc,
        lambda at: (at / "LOC_synset_mapping.txt").write_text("tench\n"),
        "LOC_synset_mapping.txt' has the line 'tench'",
    ),
    (
        "no boxes",
        ilsvrc,
        lambda at: (at / "ILSVRC/Annotations").rename(at / "elsewhere"),
        "no boxes ILSVRC2012_val_",
    ),
    (
        "one box file gone",
        ilsvrc,
        lambda at: (at / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000002.xml").unlink(),
        "'ILSVRC2012_val_00000002.xml' isn't in",
    ),
    (
        "a broken XML",
        ilsvrc,
        lambda at: _cut(at / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml"),
        "00000001.xml' is not XML",
    ),
    (
        "an XML without size",
        ilsvrc,
        lambda at: (at / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml").write_text("<a></a>"),
        "00000001.xml' has no, or a wrong, size/width",
    ),
    (
        "an unknown synset",
        ilsvrc,
        lambda at: xml(at / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", ("cat",), 0, {"cat": "n9"}),
        "00000001.xml' names the synset 'n9'",
    ),
    (
        "a photo of another size",
        ilsvrc,
        lambda at: Image.new("RGB", (8, 8)).save(at / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG"),
        "00000001.JPEG' has 8 x 8 pixels, but was annotated at 40 x 30",
    ),
    (
        "no photo at all",
        ilsvrc,
        lambda at: (at / "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG").write_bytes(b"no"),
        "00000001.JPEG' is not a photo",
    ),
    (
        "a photo gone",
        voc,
        lambda at: (at / "VOCdevkit/VOC2012/JPEGImages/2007_000002.jpg").unlink(),
        "2007_000002.jpg'",
    ),
    (
        "no annotations",
        voc,
        lambda at: (at / "VOCdevkit/VOC2012/Annotations").rename(at / "elsewhere"),
        "VOC2012' lacks Annotations",
    ),
    (
        "an empty list",
        voc,
        lambda at: (at / "VOCdevkit/VOC2012/ImageSets/Main/val.txt").write_text("\n"),
        "val.txt' is empty",
    ),
    (
        "an unknown class",
        voc,
        lambda at: xml(at / "VOCdevkit/VOC2012/Annotations/2007_000000.xml", ("cat",), 1, {"cat": "yeti"}),
        "2007_000000.xml' names the class 'yeti'",
    ),
    ("a broken JSON", coco, lambda at: _cut(at / "annotations/instances_val2017.json"), "val2017.json' is not JSON"),
    (
        "another JSON",
        coco,
        lambda at: write(at / "annotations/instances_val2017.json", {"images": []}),
        "val2017.json' has no images, annotations or categories",
    ),
    (
        "captions that aren't",
        coco,
        lambda at: write(at / "annotations/captions_val2017.json", {"annotations": [{"id": 1}]}),
        "captions_val2017.json' has no, or a wrong, 'image_id'",
    ),
    (
        "captions of another kind",
        coco,
        lambda at: write(at / "annotations/captions_val2017.json", []),
        "captions_val2017.json' has no, or a wrong,",
    ),
    ("a photo of COCO gone", coco, lambda at: (at / "val2017/000000000101.jpg").unlink(), "000000000101.jpg'"),
    (
        "all photos gone",
        coco,
        lambda at: (at / "val2017").rename(at / "elsewhere"),
        "such as '000000000100.jpg') aren't",
    ),
    (
        "no answers",
        vqa,
        lambda at: (at / "v2_mscoco_val2014_annotations.json").unlink(),
        "v2_mscoco_val2014_annotations",
    ),
    (
        "answers of other questions",
        vqa,
        lambda at: write(at / "v2_mscoco_val2014_annotations.json", {"annotations": []}),
        "the question 1000 of",
    ),
    (
        "a photo that is asked about gone",
        vqa,
        lambda at: (at / "val2014/COCO_val2014_000000000101.jpg").unlink(),
        "COCO_val2014_000000000101.jpg'",
    ),
    ("a photo of the list gone", boxes_json, lambda at: (at / "some/1.jpg").unlink(), "some/1.jpg'"),
    (
        "a box outside",
        boxes_json,
        lambda at: write(at / "some.json", [{"file": "0.jpg", "label": 0, "boxes": [[0, 0, 99, 9]]}]),
        "some.json' has the box [0, 0, 99, 9] for 0.jpg",
    ),
    (
        "a record without a label",
        boxes_json,
        lambda at: write(at / "some.json", [{"file": "0.jpg", "boxes": [[0, 0, 9, 9]]}]),
        "some.json' has the record",
    ),
]


@pytest.mark.parametrize(("made", "broken", "said"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_what_is_broken_is_named(tmp_path: Path, made: Callable[[Path], Path], broken: Breaking, said: str) -> None:
    made(tmp_path)
    broken(tmp_path)
    with pytest.raises(InputError) as caught:
        list(open_world(tmp_path).iterate_samples())
    assert said in str(caught.value).replace("\\\\", "/") and "\n" not in str(caught.value)


def test_a_broken_outline_is_named_when_it_is_drawn(tmp_path: Path) -> None:
    coco(tmp_path)
    file = tmp_path / "annotations/instances_val2017.json"
    whole = json.loads(file.read_text())
    whole["annotations"][0]["segmentation"] = [["left", "top"]]
    write(file, whole)
    obj = next(iter(open_world(tmp_path).iterate_samples())).objects[0]
    with pytest.raises(InputError, match=r"the outline of 'cat' in 000000000100\.jpg of .* is broken"):
        _ = obj.mask


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    home = voc(tmp_path) / "VOCdevkit/VOC2012"
    Image.new("P", (7, 7)).save(home / "SegmentationObject/2007_000001.png")
    with pytest.raises(InputError, match=r"2007_000001\.png' has 7 x 7 pixels, but its photo has 40 x 30"):
        list(open_world(tmp_path, needs={"masks"}).iterate_samples())


def test_what_is_known_is_said_where_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError) as caught:
        open_world(tmp_path)
    assert all(layout.expects in str(caught.value) for layout in LAYOUTS)
    with pytest.raises(InputError, match="no folder"):
        open_world(tmp_path / "gone")
    with pytest.raises(InputError, match="expected one of ilsvrc, boxes-json, voc, coco, vqa-hat, vqa"):
        open_world(tmp_path, layout="imagenet")


def test_a_data_set_without_what_is_needed_is_named(tmp_path: Path) -> None:
    ilsvrc(tmp_path)
    with pytest.raises(InputError, match="photos with boxes is there, but it has no masks"):
        open_world(tmp_path, needs={"masks"})
    with pytest.raises(InputError, match="the bundled world has no attention"):
        open_world(needs={"attention"})


def test_of_several_data_sets_the_one_that_has_what_is_needed(tmp_path: Path) -> None:
    ilsvrc(tmp_path / "a")
    coco(tmp_path / "b")
    vqa(tmp_path / "c")
    assert open_world(tmp_path).name == "ilsvrc val"
    assert open_world(tmp_path, needs={"masks"}).name == "coco val2017"
    assert open_world(tmp_path, needs={"questions"}).name == "vqa v2 val2014"
    assert open_world(tmp_path, layout="coco").name == "coco val2017"


# --- which class is which ---------------------------------------------------------------------------------------------


def world_of(*labels: str, indexed: bool = False) -> NumberedWorld:
    return NumberedWorld(
        "w", "w", labels, frozenset(), 0, lambda number: LabelledPhoto(str(number), None, (1, 1)), indexed=indexed
    )


def test_classes_match_by_name() -> None:
    found = match(
        world_of("tench, Tinca tinca", "tvmonitor", "great_white shark", "yeti"), ["TV", "Great white shark", "tench"]
    )
    assert found.by == "name" and dict(found.of) == {0: 2, 1: 0, 2: 1}
    assert "3 of 4" in found.sentence and "'yeti'" in found.sentence


def test_a_name_that_stands_for_two_classes_decides_nothing() -> None:
    found = match(world_of("crane", "crane", "maillot", "maillot, tank suit"), ["crane", "maillot", "tank suit"])
    assert dict(found.of) == {2: 1, 3: 2}


def test_classes_match_by_number_only_where_the_order_is_the_same() -> None:
    world = world_of("crane", "crane", "ram, tup", indexed=True)
    assert dict(match(world, ["crane", "crane", "tup"]).of) == {0: 0, 1: 1, 2: 2}
    assert match(world, ["class 0", "class 1", "class 2"]).by == "index"
    assert match(world, ["LABEL_0", "LABEL_1", "LABEL_2"]).by == "index"
    assert match(world, ["ram", "yeti", "crab"]).by == "name"
    with pytest.raises(InputError, match="none of the 3 classes of w"):
        match(world_of("crane", "crane", "ram"), ["class 0", "class 1", "class 2"])


def test_a_model_of_other_classes_is_refused(tmp_path: Path) -> None:
    ilsvrc(tmp_path)
    with pytest.raises(InputError, match=r"none of the 3 classes of ilsvrc val .* the model's 36"):
        open_world(tmp_path, labels=bundled.classifier().labels)


# --- with models, and with real data ----------------------------------------------------------------------------------


def test_samples_are_what_explain_takes(tmp_path: Path) -> None:
    task = bundled.classifier()
    sample = next(iter(open_world(coco(tmp_path)).iterate_samples()))
    found = vlcam.explain(task, sample.image, targets=["red star"])
    assert found.geometry.photo_size == sample.size
    mask = sample.objects[0].mask
    assert mask is not None and found[0].heatmap().shape == mask.shape


@pytest.mark.skipif(REAL is None, reason="no real photos here")
def test_real_photos() -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    assert REAL is not None
    world = open_world(REAL, needs={"boxes"})
    assert world.size == 150 and world.indexed and match(world, _IMAGENET_CATEGORIES).by == "index"
    assert all(one.size == (227, 227) and one.objects for one in world.iterate_samples(20))
    for one in open_world(REAL, needs={"masks", "captions"}).iterate_samples(10):
        assert len(one.captions) == 5
        for obj in one.objects:
            mask = obj.mask
            assert mask is not None and mask.shape == one.size[::-1]
            if mask.sum() > 50 and not obj.crowd:
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                tight = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
                assert max(abs(a - b) for a, b in zip(tight, obj.box, strict=True)) < 2
