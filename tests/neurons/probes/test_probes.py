"""Probes read from disk, and their labels on a grid over the model's input."""

import json
import pickle
from collections.abc import Callable
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlcam.contracts import Geometry, InputError
from vlcam.image.geometry import make_crop_geometry, make_letterbox_geometry, make_resize_geometry
from vlcam.image.outlines import fill_outline
from vlcam.neurons.probes.broden import Broden
from vlcam.neurons.probes.datasets import CocoInstances, VocSegmentation
from vlcam.neurons.probes.folders import ClassFolders, LabelMaps, read_names
from vlcam.neurons.probes.open_probe import FORMS, ProbeSubset, open_probe
from vlcam.neurons.probes.probe import IGNORED, NOTHING, Concept, GridLabels, LabelMap, Probe, Sample
from vlcam.neurons.probes.rasters import POINTS, rasterise
from vlcam.neurons.probes.scenes import CONCEPTS, SceneProbe, make_concept_masks
from vlcam.scenes.sample import make

CONCEPTS_HERE: tuple[Concept, ...] = (("sky", "scene"), ("car", "object"), ("wheel", "object"), ("red", "colour"))


def photo(size: tuple[int, int] = (4, 4), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size)


def sample(*maps: LabelMap, **others: Any) -> Sample:
    return Sample("a", photo(), frozenset({"object"}), maps=maps, **others)


def by_name(found: GridLabels, concepts: Any = CONCEPTS_HERE) -> dict[str, list[list[int]]]:
    pairs = zip(found.concepts, found.masks, strict=True)
    return {concepts[index][0]: mask.astype(int).tolist() for index, mask in pairs}


class TestRasterise:
    def test_by_hand(self) -> None:
        values = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [1, 2, -1, -1], [1, 2, -1, -2]])
        found = rasterise(
            sample(LabelMap("object", values)), CONCEPTS_HERE, make_resize_geometry((4, 4), (8, 8)), (2, 2)
        )
        assert by_name(found) == {"car": [[1, 0], [1, 0]], "wheel": [[0, 1], [1, 0]]}  # one cell is half and half
        assert found.categories.tolist() == [1] and found.valid.tolist() == [[[True, True], [True, True]]]
        fine = rasterise(
            sample(LabelMap("object", values)), CONCEPTS_HERE, make_resize_geometry((4, 4), (8, 8)), (4, 4)
        )
        assert by_name(fine) == {"car": (values == 1).astype(int).tolist(), "wheel": (values == 2).astype(int).tolist()}
        assert fine.valid[0].tolist() == (values != IGNORED).tolist()

    def test_margins_of_a_letterbox_are_not_valid(self) -> None:
        geometry = make_letterbox_geometry((4, 2), (4, 4))
        values = np.array([[1, 1, -1, -1], [1, 1, 2, 2]])
        found = rasterise(sample(LabelMap("object", values)), CONCEPTS_HERE, geometry, (4, 4))
        none = [0, 0, 0, 0]
        assert by_name(found) == {
            "car": [none, [1, 1, 0, 0], [1, 1, 0, 0], none],
            "wheel": [none, none, [0, 0, 1, 1], none],
        }
        assert found.valid[0].any(axis=1).tolist() == [False, True, True, False]

    def test_a_crop_leaves_labels_out(self) -> None:
        values = np.repeat(np.array([[1, 1, -1, -1, 2, 2, 2, 2]]), 4, axis=0)
        found = rasterise(sample(LabelMap("object", values)), CONCEPTS_HERE, make_crop_geometry((8, 4), 4, 4), (4, 4))
        assert by_name(found) == {"wheel": [[0, 0, 1, 1]] * 4}  # columns 2 to 5

    def test_labels_of_half_the_resolution(self) -> None:
        values = np.array([[1, 2], [-1, 1]])
        found = rasterise(
            sample(LabelMap("object", values)), CONCEPTS_HERE, make_resize_geometry((4, 4), (4, 4)), (4, 4)
        )
        assert by_name(found)["car"] == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]

    def test_points_on_the_edges_of_the_photo(self) -> None:
        """The upper left edge belongs to the photo, the lower right one doesn't, also where rounding moves a point."""
        for scale, size in ((1.0, 4), (0.1, 40), (4 / 3, 3), (4 / 93, 93)):
            geometry = Geometry((size, size), (6, 6), (scale, scale), (1.0, 1.0))
            found = rasterise(sample(), CONCEPTS_HERE, geometry, (3, 3), points=1)  # at 1, 3 and 5 of the input
            assert found.valid[0, 0].tolist() == [True, True, False] == found.valid[0, :, 0].tolist()

    def test_half_of_the_valid_points_are_enough(self) -> None:
        one = make_resize_geometry((3, 3), (3, 3))  # one cell of nine pixels, a point each
        cases = [
            ([[1, 1, 1], [1, 1, -1], [-1, -1, -1]], True, True),  # 5 of 9
            ([[1, 1, 1], [1, -1, -1], [-1, -1, -1]], False, True),  # 4 of 9
            ([[1, 1, 1], [1, -1, -1], [-1, -1, -2]], True, True),  # 4 of 8
            ([[1, 1, 1], [-1, -1, -2], [-2, -2, -2]], True, True),  # 3 of 5
            ([[1, 1, 1], [1, -2, -2], [-2, -2, -2]], False, False),  # 4 valid points are not a cell
        ]
        for values, shown, valid in cases:
            found = rasterise(sample(LabelMap("object", np.array(values))), CONCEPTS_HERE, one, (1, 1), points=3)
            assert found.concepts.tolist() == ([1] if shown else []), values
            assert found.valid.tolist() == [[[valid]]], values

    def test_several_maps_of_a_category(self) -> None:
        first = LabelMap("object", np.array([[1, 1], [-1, -2]]))
        second = LabelMap("object", np.array([[2, -2], [1, -1]]))
        found = rasterise(sample(first, second), CONCEPTS_HERE, make_resize_geometry((2, 2), (2, 2)), (2, 2))
        assert found.valid.tolist() == [[[True, False], [True, False]]]  # ignored in any of them
        assert by_name(found) == {"car": [[1, 0], [1, 0]], "wheel": [[1, 0], [0, 0]]}

    def test_parts_of_the_same_concept_add_up(self) -> None:
        left, right = np.zeros((3, 3), bool), np.zeros((3, 3), bool)
        left[:, 0], right[:, 2] = True, True
        one = make_resize_geometry((3, 3), (3, 3))
        assert not len(rasterise(sample(masks=((1, left),)), CONCEPTS_HERE, one, (1, 1), points=3).concepts)
        both = rasterise(sample(masks=((1, left), (1, right))), CONCEPTS_HERE, one, (1, 1), points=3)
        assert both.concepts.tolist() == [1] and both.masks.tolist() == [[[True]]]

    def test_whole_pictures_and_categories_that_nobody_labelled(self) -> None:
        every = Sample("a", photo(), frozenset({"scene"}), whole=(0, 3))
        found = rasterise(every, CONCEPTS_HERE, make_letterbox_geometry((4, 2), (4, 4)), (2, 2))
        assert found.categories.tolist() == [0] and by_name(found) == {"sky": [[1, 1], [1, 1]]}
        found = rasterise(every, CONCEPTS_HERE, make_letterbox_geometry((4, 2), (4, 4)), (4, 2))
        assert by_name(found) == {"sky": [[0, 0], [1, 1], [1, 1], [0, 0]]}
        nothing = rasterise(
            Sample("a", photo(), frozenset()), CONCEPTS_HERE, make_resize_geometry((4, 4), (4, 4)), (2, 3)
        )
        assert nothing.masks.shape == (0, 2, 3) and nothing.valid.shape == (0, 2, 3)

    @pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64])
    def test_any_whole_numbers(self, dtype: Any) -> None:
        concepts = [(f"c{number}", "object") for number in range(128)]
        values = np.array([[127, -2], [0, -1]], dtype)
        found = rasterise(sample(LabelMap("object", values)), concepts, make_resize_geometry((2, 2), (2, 2)), (2, 2))
        assert found.concepts.tolist() == [0, 127] and found.valid.sum() == 3

    def test_what_is_wrong(self) -> None:
        square = make_resize_geometry((4, 4), (4, 4))
        one = sample(LabelMap("object", np.array([[4]])))
        with pytest.raises(InputError, match=r"the 'object' map of a holds 4; expected 0 to 3"):
            rasterise(one, CONCEPTS_HERE, square, (2, 2))
        with pytest.raises(InputError, match=r"holds -3"):
            rasterise(sample(LabelMap("object", np.array([[-3]]))), CONCEPTS_HERE, square, (2, 2))
        with pytest.raises(InputError, match=r"a is labelled with concept 4; expected 0 to 3"):
            rasterise(sample(whole=(4,)), CONCEPTS_HERE, square, (2, 2))
        with pytest.raises(InputError, match=r"a grid of 0 x 2"):
            rasterise(sample(), CONCEPTS_HERE, square, (0, 2))
        crosswise = sample(LabelMap("object", np.zeros((6, 4), np.int64)))
        with pytest.raises(
            InputError, match=r"the labels of a are 4 wide and 6 high, its photo .* is 6 wide and 4 high"
        ):
            rasterise(crosswise, CONCEPTS_HERE, make_resize_geometry((6, 4), (4, 4)), (2, 2))

    @pytest.mark.parametrize("seed", range(12))
    def test_the_same_as_point_by_point(self, seed: int) -> None:
        """Against exact fractions, cell by cell."""
        rng = np.random.default_rng(seed)
        size, new, into = (tuple(int(one) for one in rng.integers(3, 14, 2)) for _ in range(3))
        offset = tuple(int(one) for one in rng.integers(-4, 5, 2))
        scale = (new[0] / size[0], new[1] / size[1])
        geometry = Geometry((size[0], size[1]), (into[0], into[1]), scale, (float(offset[0]), float(offset[1])))
        grid = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        concepts = [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "y"), ("f", "z")]
        in_category = {"x": [0, 2, 3, NOTHING, IGNORED], "y": [1, 4, NOTHING, IGNORED]}

        def made(category: str) -> LabelMap:
            height, width = rng.integers(1, 17, 2)
            if size[0] != size[1] and (height, width) == size:
                height += 1
            return LabelMap(category, rng.choice(in_category[category], (height, width)))

        shape = rng.integers(20, 25, 2)
        masks = tuple((index, rng.random(shape) < 0.6) for index in (0, 0, 5))
        one = Sample("a", photo(), frozenset("xy"), (2,), (made("x"), made("y"), made("x")), masks)
        found = rasterise(one, concepts, geometry, grid)

        valid = np.zeros((2, *grid), bool)
        shown = np.zeros((6, *grid), bool)
        for row in range(grid[0]):
            for column in range(grid[1]):
                for number, category in enumerate("xy"):
                    counts, good = [0] * 6, 0
                    for place in range(POINTS**2):
                        at = [
                            (cell + Fraction(2 * part + 1, 2 * POINTS)) / cells * length
                            for cell, part, cells, length in (
                                (column, place % POINTS, grid[1], into[0]),
                                (row, place // POINTS, grid[0], into[1]),
                            )
                        ]
                        x, y = ((at[axis] - offset[axis]) * size[axis] / new[axis] for axis in (0, 1))
                        if not (0 <= x < size[0] and 0 <= y < size[1]):
                            continue

                        def label(values: np.ndarray, x: Fraction = x, y: Fraction = y) -> Any:
                            height, width = values.shape
                            return values[floor(y * height / size[1]), floor(x * width / size[0])]

                        here = [label(map_.values) for map_ in one.maps if map_.category == category]
                        if IGNORED in here:
                            continue
                        good += 1
                        have = {*here, *(index for index, mask in masks if label(mask)), 2}
                        for index in range(6):
                            counts[index] += index in have and concepts[index][1] == category
                    valid[number, row, column] = 2 * good >= POINTS**2
                    for index in range(6):
                        shown[index, row, column] |= 2 * good >= POINTS**2 and 0 < 2 * counts[index] >= good
        assert (found.valid == valid).all()
        assert found.concepts.tolist() == [index for index in range(6) if shown[index].any()]
        assert (found.masks == shown[found.concepts]).all()


def write(file: Path, image: Image.Image | np.ndarray | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    shown = photo() if image is None else Image.fromarray(image) if isinstance(image, np.ndarray) else image
    shown.save(file)
    return file


def palette(values: Any) -> Image.Image:
    found = Image.fromarray(np.array(values, np.uint8), "L").convert("P")
    found.putdata(np.array(values, np.uint8).ravel().tolist())
    found.putpalette([5, 7, 9] * 256)
    return found


def every(probe: Probe) -> list[Sample]:
    return [probe[index] for index in range(len(probe))]


def same_after_pickle(probe: Any) -> bool:
    """Also: its facts are JSON, and there is an end of it."""
    assert json.loads(json.dumps(probe.facts)) == probe.facts
    with pytest.raises(IndexError):
        probe[len(probe)]
    again = pickle.loads(pickle.dumps(probe))
    ours, theirs = probe[len(probe) - 1], again[len(again) - 1]
    return bool(again.facts == probe.facts and ours.name == theirs.name and ours.categories == theirs.categories)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for name in ("b/1.jpg", "b/2.PNG", "a/3.webp", "a/4.bmp", "a/5.gif", ".hidden/6.jpg"):
        write(tmp_path / "classes" / name, photo(mode="P" if name.endswith("gif") else "RGB"))
    (tmp_path / "classes" / "a" / "notes.txt").write_text("no photo")
    (tmp_path / "classes" / "notes.txt").write_text("no folder")
    return tmp_path / "classes"


class TestClassFolders:
    def test_a_class_a_folder(self, classes: Path) -> None:
        probe = ClassFolders(classes)
        assert isinstance(probe, Probe) and same_after_pickle(probe)
        assert probe.name == "classes" and probe.concepts == (("a", "class"), ("b", "class"))
        assert [(one.name, one.whole) for one in every(probe)] == [
            ("a/3.webp", (0,)), ("a/4.bmp", (0,)), ("a/5.gif", (0,)), ("b/1.jpg", (1,)), ("b/2.PNG", (1,)),
        ]  # fmt: skip
        assert all(one.categories == {"class"} for one in every(probe))
        assert probe.facts == {"kind": "class folders", "path": str(classes), "images": 5, "concepts": 2}
        found = rasterise(probe[3], probe.concepts, make_resize_geometry((4, 4), (4, 4)), (2, 2))
        assert found.concepts.tolist() == [1] and found.masks.all() and found.valid.all()

    def test_names_and_how_many_of_each(self, classes: Path, tmp_path: Path) -> None:
        probe = ClassFolders(classes, names={"a": "crane", "b": "crane"}, each=1)
        assert probe.concepts == (("crane", "class"),) and [one.name for one in every(probe)] == ["a/3.webp", "b/1.jpg"]
        assert probe.facts["each"] == 1
        (tmp_path / "names.json").write_text('{"a": "tench", "b": "shark", "c": "of no folder"}')
        assert ClassFolders(classes, names=tmp_path / "names.json").concepts == (("tench", "class"), ("shark", "class"))
        (tmp_path / "list.json").write_text('["tench"]')
        with pytest.raises(InputError, match="names hold no mapping"):
            ClassFolders(classes, names=tmp_path / "list.json")
        with pytest.raises(InputError, match="names have no name for the folder 'b'"):
            ClassFolders(classes, names={"a": "crane"})
        with pytest.raises(InputError, match="each=0 was given"):
            ClassFolders(classes, each=0)

    def test_what_is_no_such_folder(self, classes: Path) -> None:
        with pytest.raises(InputError, match="is not a folder"):
            ClassFolders(classes / "none")
        with pytest.raises(InputError, match="has no folders in it"):
            ClassFolders(classes / "a")
        (classes / "empty").mkdir()
        with pytest.raises(InputError, match="empty' has no photos in it"):
            ClassFolders(classes)


MAP = [[0, 1], [2, 255]]


class TestLabelMaps:
    def make(self, path: Path, labels: Any = None, names: Any = None, **options: Any) -> LabelMaps:
        write(path / "images" / "one.jpg", photo(mode="L"))
        if labels is not False:
            write(path / "labels" / "one.png", palette(MAP) if labels is None else labels)
        (path / "labels").mkdir(exist_ok=True)
        return LabelMaps(path / "images", path / "labels", names or {"1": "sky", "2": "car"}, **options)

    def test_a_palette(self, tmp_path: Path) -> None:
        probe = self.make(tmp_path)
        assert isinstance(probe, Probe) and same_after_pickle(probe)
        assert probe.concepts == (("sky", "object"), ("car", "object")) and len(probe) == 1
        assert probe[0].maps[0].values.tolist() == [[NOTHING, 0], [1, IGNORED]]
        assert probe[0].name == "one.jpg" and probe[0].categories == {"object"}
        assert probe.facts["kind"] == "label maps" and probe.facts["images"] == 1 and probe.facts["concepts"] == 2
        found = rasterise(probe[0], probe.concepts, make_resize_geometry((4, 4), (8, 8)), (2, 2))
        assert by_name(found, probe.concepts) == {"sky": [[0, 1], [0, 0]], "car": [[0, 0], [1, 0]]}
        assert found.valid.tolist() == [[[True, True], [True, False]]]

    def test_grey_of_8_and_16_bits_and_black_and_white(self, tmp_path: Path) -> None:
        probe = self.make(tmp_path / "a", np.array(MAP, np.uint8))
        assert probe[0].maps[0].values.tolist() == [[NOTHING, 0], [1, IGNORED]]
        names = {300: "sky", 65535: "car"}
        probe = self.make(tmp_path / "b", np.array([[0, 300], [65535, 255]], np.uint16), names)
        assert probe[0].maps[0].values.tolist() == [[NOTHING, 0], [1, IGNORED]]
        probe = self.make(tmp_path / "c", Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"))
        assert probe[0].maps[0].values.tolist() == [[NOTHING, 0]]

    def test_categories(self, tmp_path: Path) -> None:
        names = {"1": ["sky", "scene"], "2": ["car", "object"], "0": ["ground", "scene"]}
        probe = self.make(tmp_path, names=names)
        assert probe[0].categories == {"scene", "object"}
        assert {one.category: one.values.tolist() for one in probe[0].maps} == {
            "scene": [[2, 0], [NOTHING, IGNORED]], "object": [[NOTHING, NOTHING], [1, IGNORED]],
        }  # fmt: skip

    def test_numbers_of_the_same_name_and_of_none(self, tmp_path: Path) -> None:
        probe = self.make(tmp_path, names={0: "sky", 1: "", 2: "sky", 255: "car"})
        assert probe.concepts == (("sky", "object"), ("car", "object"))
        assert probe[0].maps[0].values.tolist() == [[0, NOTHING], [0, 1]]  # a name comes before ignore

    def test_ignore(self, tmp_path: Path) -> None:
        assert self.make(tmp_path, ignore=2, names=["", "sky"] + [""] * 253 + ["car"])[0].maps[0].values.tolist() == [
            [NOTHING, 0], [NOTHING, 1],
        ]  # fmt: skip
        assert self.make(tmp_path, ignore=0, names={1: "sky", 2: "car", 255: None})[0].maps[0].values.tolist() == [
            [IGNORED, 0], [1, NOTHING],
        ]  # fmt: skip
        with pytest.raises(InputError, match="holds 255, which names doesn't name"):
            self.make(tmp_path, ignore=None)[0]
        with pytest.raises(InputError, match="ignore=-1 was given"):
            self.make(tmp_path, ignore=-1)

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("a.json", '{"1": "sky", "2": ["car", "object"]}'),
            ("a.json", '[null, "sky", "car"]'),
            ("a.txt", "\nsky\n car \n"),
            ("a.txt", "\ufeff\nsky\ncar"),
        ],
    )
    def test_files_of_names(self, tmp_path: Path, file: str, text: str) -> None:
        (tmp_path / file).write_text(text, "utf-8")
        found = read_names(tmp_path / file)
        assert {number: one for number, one in found.items() if one} == {1: ("sky", "object"), 2: ("car", "object")}

    @pytest.mark.parametrize(
        "text", ["3", '"sky"', '{"one": "sky"}', '{"1": 3}', '{"1": ["a", "b", "c"]}', '{"-1": "a"}', '{"1": [1, "b"]}']
    )
    def test_files_of_anything_else(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "names.json").write_text(text)
        with pytest.raises(InputError, match=r'names hold .*; expected names as in \{"1": "sky"\}'):
            read_names(tmp_path / "names.json")

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xfa")
        with pytest.raises(InputError, match=r"broken.json' is not JSON"):
            read_names(tmp_path / "broken.json")
        with pytest.raises(InputError, match=r"binary.txt' can't be read: it is not UTF-8 text"):
            read_names(tmp_path / "binary.txt")
        with pytest.raises(InputError, match=r"none.txt' can't be read: No such file"):
            read_names(tmp_path / "none.txt")

    def test_what_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"the photo 'one.jpg' has no label map: there is no one.png in"):
            self.make(tmp_path / "a", False)
        with pytest.raises(InputError, match=r"one.png' holds 2, 255, which names doesn't name"):
            self.make(tmp_path / "b", names={1: "sky"}, ignore=None)[0]
        with pytest.raises(InputError, match="is an image of mode RGB; expected a PNG with a palette or grey"):
            self.make(tmp_path / "c", photo())[0]
        with pytest.raises(InputError, match="names without a single name"):
            self.make(tmp_path / "d", names={1: ""})
        with pytest.raises(InputError, match="photos and labels are both in"):
            LabelMaps(tmp_path / "a" / "images", tmp_path / "a" / "images", ["sky"])
        with pytest.raises(InputError, match=r"labels=.* is not a folder"):
            LabelMaps(tmp_path / "a" / "images", tmp_path / "none", ["sky"])
        broken = self.make(tmp_path / "e")
        file = tmp_path / "e" / "labels" / "one.png"
        whole = file.read_bytes()
        file.write_bytes(whole[:-30])
        with pytest.raises(InputError, match="is broken or cut off"):
            broken[0]
        file.write_bytes(b"nothing")
        with pytest.raises(InputError, match="is not a picture that can be read"):
            broken[0]
        file.unlink()
        with pytest.raises(InputError, match="there is no label map"):
            broken[0]


def coco(folder: Path, change: Callable[[dict[str, Any]], None] | None = None, photos: str = "photos") -> Path:
    """Two pictures: one with two polygons and a crowd, and one without instances."""
    for name in ("a.jpg", "b.jpg"):
        write(folder / photos / name, photo((6, 4)))
    square = [[0, 0, 3, 0, 3, 2, 0, 2]]
    crowd = {"size": [4, 6], "counts": [20, 4]}
    found: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}, {"id": 9, "file_name": "b.jpg", "height": 4, "width": 6}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "segmentation": square, "iscrowd": 0},
            {"image_id": 7, "category_id": 3, "segmentation": crowd, "iscrowd": 1},
            {"image_id": 7, "category_id": 1, "segmentation": square, "iscrowd": 0},
        ],
        "categories": [{"id": 3, "name": "car", "supercategory": "vehicle"}, {"id": 1, "name": "person", "supercategory": "person"}],
    }  # fmt: skip
    if change:
        change(found)
    (folder / "annotations").mkdir(exist_ok=True)
    path = folder / "annotations" / "instances_tiny.json"
    path.write_text(json.dumps(found))
    return path


class TestCoco:
    def test_instances(self, tmp_path: Path) -> None:
        probe = CocoInstances(coco(tmp_path), tmp_path / "photos")
        assert isinstance(probe, Probe) and same_after_pickle(probe)
        assert probe.concepts == (("person", "object"), ("car", "object")) and len(probe) == 2
        assert probe.facts["supercategories"] == {"person": "person", "car": "vehicle"}
        assert (probe.facts["kind"], probe.facts["images"], probe.facts["concepts"]) == ("COCO instances", 2, 2)
        (person, first), (car, second) = probe[0].masks
        square = np.zeros((4, 6), bool)
        square[:2, :3] = True
        both = square.copy()
        both[:, 5] = True  # the crowd
        assert (person, car) == (0, 1) and (first == square).all() and (second == both).all()
        assert probe[1].masks == () and probe[1].categories == {"object"}
        nothing = rasterise(probe[1], probe.concepts, make_resize_geometry((6, 4), (6, 4)), (2, 2))
        assert not len(nothing.concepts) and nothing.valid.all()

    def test_photos_that_are_missing(self, tmp_path: Path) -> None:
        path = coco(tmp_path)
        (tmp_path / "photos" / "a.jpg").unlink()
        with pytest.raises(InputError, match=r"1 of 2 photos of .* aren't in .*, such as 'a.jpg'"):
            CocoInstances(path, tmp_path / "photos")
        probe = CocoInstances(path, tmp_path / "photos", missing="skip")
        assert [one.name for one in every(probe)] == ["b.jpg"] and probe.facts["skipped"] == 1
        (tmp_path / "photos" / "b.jpg").unlink()
        with pytest.raises(InputError, match=r"2 of 2 photos"):
            CocoInstances(path, tmp_path / "photos", missing="skip")
        with pytest.raises(InputError, match="missing='drop' was given"):
            CocoInstances(path, tmp_path / "photos", missing="drop")
        with pytest.raises(InputError, match="is not a folder"):
            CocoInstances(path, tmp_path / "none")

    @pytest.mark.parametrize(
        "place", ["annotations", "annotations/instances_tiny", "tiny", "images", "images/tiny", "val2017"]
    )
    def test_photos_are_found(self, tmp_path: Path, place: str) -> None:
        assert [one.name for one in every(CocoInstances(coco(tmp_path, photos=place)))] == ["a.jpg", "b.jpg"]

    def test_photos_are_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"the photos of .* \(such as 'a.jpg'\) aren't in '.*annotations'; put them"
        ):
            CocoInstances(coco(tmp_path))

    def test_what_is_wrong(self, tmp_path: Path) -> None:
        photos = tmp_path / "photos"
        for change, text in [
            (lambda all_: all_.pop("images"), "has no images, annotations or categories"),
            (lambda all_: all_["annotations"][0].pop("segmentation"), "has no, or a wrong, 'segmentation'"),
            (lambda all_: all_["annotations"][0].update(category_id=5), "has no, or a wrong, 5"),
            (lambda all_: all_["images"][0].pop("height"), "has no, or a wrong, 'height'"),
        ]:
            with pytest.raises(InputError, match=text):
                CocoInstances(coco(tmp_path, change), photos)
        path = coco(tmp_path, lambda all_: all_["annotations"][0].update(segmentation=[[1]]))
        with pytest.raises(InputError, match=r"an instance of 'car' in a.jpg: the outline \[1\] was given"):
            CocoInstances(path, photos)[0]

    def test_real_instances_have_the_areas_that_coco_says(self, root: Path) -> None:
        real = root.parent / "shared" / "real"
        if not (real / "coco.json").is_file():
            pytest.skip("no real photos here")
        probe = CocoInstances(real / "coco.json")
        assert len(probe) == 40 and len(probe.concepts) == 80
        listed = json.loads((real / "coco.json").read_text())
        sizes = {one["id"]: (one["height"], one["width"]) for one in listed["images"]}
        ratios = [
            fill_outline(one["segmentation"], *sizes[one["image_id"]]).sum() / one["area"]
            for one in listed["annotations"]
            if one["area"] > 1000 and not one["iscrowd"]
        ]
        assert len(ratios) > 100 and min(ratios) > 0.97 and max(ratios) < 1.03
        crowds = [
            one for one in listed["annotations"] if one["iscrowd"]
        ]  # their areas are of other masks, their boxes aren't
        for one in crowds:
            rows, columns = np.nonzero(fill_outline(one["segmentation"], *sizes[one["image_id"]]))
            box = [columns.min(), rows.min(), columns.max() - columns.min(), rows.max() - rows.min()]
            assert box == one["bbox"]
        assert crowds


def voc(root: Path) -> Path:
    home = root / "VOCdevkit" / "VOC2012"
    for stem, values in (("2007_1", [[0, 1], [20, 255]]), ("2007_2", [[0, 0], [0, 15]])):
        write(home / "JPEGImages" / f"{stem}.jpg")
        write(home / "SegmentationClass" / f"{stem}.png", palette(values))
    lists = home / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("2007_1\n2007_2\n")
    (lists / "train.txt").write_text("2007_2\n")
    return home


class TestVoc:
    def test_classes_and_borders(self, tmp_path: Path) -> None:
        probe = VocSegmentation(voc(tmp_path))
        assert isinstance(probe, Probe) and same_after_pickle(probe) and len(probe) == 2
        assert probe[0].maps[0].values.tolist() == [[NOTHING, 0], [19, IGNORED]]
        assert probe.concepts[0] == ("aeroplane", "object") and probe.concepts[19] == ("tvmonitor", "object")
        assert probe.concepts[probe[1].maps[0].values[1, 1]] == ("person", "object")
        assert probe.facts["split"] == "val" and probe.facts["images"] == 2 and probe.facts["concepts"] == 20

    def test_folders_above_and_splits(self, tmp_path: Path) -> None:
        voc(tmp_path)
        assert [one.name for one in every(VocSegmentation(tmp_path / "VOCdevkit", "train"))] == ["2007_2"]
        assert len(VocSegmentation(tmp_path)) == 2
        with pytest.raises(InputError, match=r"split='test' was given, but the splits of .* are: train, val"):
            VocSegmentation(tmp_path, "test")

    def test_what_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is not a folder of Pascal VOC; expected JPEGImages"):
            VocSegmentation(tmp_path)
        home = voc(tmp_path)
        write(home / "SegmentationClass" / "2007_1.png", palette([[21]]))
        with pytest.raises(InputError, match=r"2007_1.png' holds 21; expected 0 to 20"):
            VocSegmentation(home)[0]
        (home / "JPEGImages" / "2007_2.jpg").unlink()
        with pytest.raises(
            InputError, match=r"1 of the 2 files of a list are missing in .*JPEGImages', such as '2007_2.jpg'"
        ):
            VocSegmentation(home)
        (home / "ImageSets" / "Segmentation" / "val.txt").write_text("")
        with pytest.raises(InputError, match=r"val.txt' is empty"):
            VocSegmentation(home)


INDEX = """image,split,ih,iw,sh,sw,color,object,part,material,scene,texture
a/1.jpg,train,4,4,2,2,a/1_c.png,a/1_o.png,a/1_p1.png;a/1_p2.png,,7,
a/2.jpg,val,4,4,2,2,,,,,,8;9
a/3.jpg,val,4,4,2,2,,a/3_o.png,,,,
"""
LABELS = """number,name,category,frequency,coverage,syns
1,black-c,color(9),9,1.0,
2,wheel,part(3);object(1),4,1.0,
3,car,object(5),5,1.0,auto;machine
300,door,part(2),2,1.0,
5,wood,material(1),1,1.0,
7,street-s,scene(4),4,,
8,dotted,texture(1),1,,
9,striped,texture,1,,
"""


def labels_png(values: Any) -> np.ndarray:
    numbers = np.array(values)
    return np.stack([numbers % 256, numbers // 256, numbers * 0 + 99], axis=2).astype(np.uint8)


def broden(root: Path, labels: str = LABELS, index: str = INDEX) -> Path:
    for name in ("1", "2", "3"):
        write(root / "images" / "a" / f"{name}.jpg")
    for name, values in (
        ("1_c", [[1, 1], [0, 0]]), ("1_o", [[3, 2], [3, 0]]), ("1_p1", [[0, 2], [0, 0]]), ("1_p2", [[300, 0], [0, 2]]),
        ("3_o", [[0, 0], [0, 3]]),
    ):  # fmt: skip
        write(root / "images" / "a" / f"{name}.png", labels_png(values))
    (root / "index.csv").write_text(index)
    (root / "label.csv").write_text(labels)
    (root / "category.csv").write_text("name,first,last,count,frequency\n" + "".join(
        f"{name},1,9,1,1\n" for name in ("color", "object", "part", "material", "scene", "texture")
    ))  # fmt: skip
    return root


class TestBroden:
    def test_maps_whole_pictures_and_partial_labels(self, tmp_path: Path) -> None:
        probe = Broden(broden(tmp_path))
        assert isinstance(probe, Probe) and same_after_pickle(probe) and len(probe) == 3
        assert probe.concepts == (
            ("black", "color"), ("wheel", "part"), ("wheel", "object"), ("car", "object"), ("door", "part"), ("wood", "material"),
            ("street", "scene"), ("dotted", "texture"), ("striped", "texture"),
        )  # fmt: skip
        first, second, third = every(probe)
        assert first.categories == {"color", "object", "part", "scene"} and first.whole == (6,)
        assert [(one.category, one.values.tolist()) for one in first.maps] == [
            ("color", [[0, 0], [-1, -1]]), ("object", [[3, 2], [3, -1]]), ("part", [[-1, 1], [-1, -1]]), ("part", [[4, -1], [-1, 1]]),
        ]  # fmt: skip
        assert second.categories == {"texture"} and second.whole == (7, 8) and not second.maps
        assert third.categories == {"object"}
        assert probe.facts["categories"] == ["color", "object", "part", "material", "scene", "texture"]
        assert (probe.facts["kind"], probe.facts["images"], probe.facts["concepts"]) == ("Broden", 3, 9)
        found = rasterise(first, probe.concepts, make_resize_geometry((4, 4), (4, 4)), (2, 2))
        assert found.concepts.tolist() == [0, 1, 2, 3, 4, 6] and len(found.categories) == 4 and found.valid.all()
        assert found.masks[found.concepts.tolist().index(1)].tolist() == [[False, True], [False, True]]

    def test_splits(self, tmp_path: Path) -> None:
        probe = Broden(broden(tmp_path), "val")
        assert [one.name for one in every(probe)] == ["a/2.jpg", "a/3.jpg"] and probe.facts["split"] == "val"
        with pytest.raises(InputError, match="no pictures of split='test'; its splits are: train, val"):
            Broden(tmp_path, "test")

    def test_other_categories_without_a_list_of_them(self, tmp_path: Path) -> None:
        index = "image,split,ih,iw,sh,sw,diagnosis\na/1.jpg,train,4,4,,,4\na/2.jpg,train,4,4,,,\n"
        broden(tmp_path, "number,name,category\n4,cancer,diagnosis\n", index)
        with pytest.raises(InputError, match=r"has no label of the categories \(none\) in label.csv"):
            Broden(tmp_path)
        (tmp_path / "category.csv").unlink()
        assert [one.whole for one in every(Broden(tmp_path))] == [(0,), ()] and not Broden(tmp_path)[1].categories

    def test_what_is_wrong(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"index.csv' can't be read"):
            Broden(tmp_path)
        broden(tmp_path)
        write(tmp_path / "images" / "a" / "1_o.png", labels_png([[4]]))
        with pytest.raises(InputError, match=r"'a/1_o.png' of Broden holds 4, which is not a number in label.csv"):
            Broden(tmp_path)[0]
        broden(tmp_path, index=INDEX.replace("8;9", "8;70000"))
        with pytest.raises(InputError, match=r"'a/2.jpg' of Broden holds 70000"):
            Broden(tmp_path)[1]
        broden(tmp_path, index=INDEX + "a/4.jpg,val\n")
        with pytest.raises(InputError, match=r"index.csv' is not a table of Broden .* all of them in every row"):
            Broden(tmp_path)
        broden(tmp_path, labels=LABELS.replace("number", "nr"))
        with pytest.raises(
            InputError, match=r"label.csv' is not a table of Broden with the columns number, name, category"
        ):
            Broden(tmp_path)
        broden(tmp_path, labels=LABELS.replace("300", "x"))
        with pytest.raises(InputError, match=r"label.csv' has the number 'x'"):
            Broden(tmp_path)


class TestScenes:
    @pytest.mark.parametrize("seed", [0, 7, 31])
    def test_the_masks_of_the_concepts(self, seed: int) -> None:
        probe = SceneProbe("test", 40)
        expected = make_concept_masks(make(seed, "test"), 24)
        found = rasterise(probe[seed], probe.concepts, make_resize_geometry((96, 96), (96, 96)), (24, 24))
        assert found.concepts.tolist() == np.flatnonzero(expected.any(axis=(1, 2))).tolist()
        assert (found.masks == expected[found.concepts]).all() and found.valid.all() and len(found.categories) == 8

    def test_what_it_is(self) -> None:
        probe = SceneProbe(n=2)
        assert isinstance(probe, Probe) and same_after_pickle(probe)
        assert probe.concepts == CONCEPTS and [one.name for one in every(probe)] == ["val 0", "val 1"]
        shown = probe[1].photo
        assert isinstance(shown, Image.Image) and (np.asarray(shown) == make(1, "val").image()).all()
        assert (probe.facts["path"], probe.facts["images"], probe.facts["concepts"]) == (
            "scenes:val:2",
            2,
            len(CONCEPTS),
        )
        for options in ({"split": "none"}, {"n": 0}, {"size": 2}):
            with pytest.raises(InputError, match="was given; expected"):
                SceneProbe(**options)


class TestOpening:
    @pytest.mark.parametrize(
        ("text", "options", "expected"),
        [
            ("scenes", {}, ("val", 1000)),
            ("scenes:test", {}, ("test", 1000)),
            ("scenes:test:5", {}, ("test", 5)),
            ("scenes", {"split": "train", "n": 3}, ("train", 3)),
        ],
    )
    def test_scenes(self, text: str, options: Any, expected: tuple[str, int]) -> None:
        made = open_probe(text, scenes=SceneProbe, **options)
        assert (made.facts["split"], len(made)) == expected

    def test_scenes_that_cannot_be(self) -> None:
        for text in ("scenes:", "scenes:val:x", "scenes:val:0", "scenes:val:1:2"):
            with pytest.raises(InputError, match="expected scenes, scenes:SPLIT or scenes:SPLIT:N"):
                open_probe(text, scenes=SceneProbe)
        with pytest.raises(InputError, match="which say otherwise"):
            open_probe("scenes:val:5", n=6, scenes=SceneProbe)
        with pytest.raises(InputError, match="aren't at hand here"):
            open_probe("scenes")

    def test_every_form_on_disk(self, tmp_path: Path, classes: Path) -> None:
        assert isinstance(open_probe(str(classes)), ClassFolders)
        named = open_probe(classes, names={"a": "x", "b": "y"})
        assert isinstance(named, ClassFolders) and named.concepts[0] == ("x", "class")
        assert isinstance(open_probe(coco(tmp_path, photos="images")), CocoInstances)
        made = open_probe(voc(tmp_path).parent, split="train")
        assert isinstance(made, VocSegmentation) and made.facts["split"] == "train"
        made = open_probe(broden(tmp_path / "broden"), split="val")
        assert isinstance(made, Broden) and len(made) == 2
        TestLabelMaps().make(tmp_path / "maps")
        home = tmp_path / "maps"
        made = open_probe(home / "images", labels=home / "labels", names={1: "sky", 2: "car"})
        assert isinstance(made, LabelMaps)

    def test_some_of_the_pictures(self, classes: Path) -> None:
        made = open_probe(classes, n=2)
        assert isinstance(made, ProbeSubset) and isinstance(made, Probe) and same_after_pickle(made)
        assert [one.name for one in every(made)] == ["a/4.bmp", "b/1.jpg"]
        assert made.facts["images"] == 2 and made.facts["of"] == 5 and made.facts["kind"] == "class folders"
        assert isinstance(open_probe(classes, n=5), ClassFolders)
        with pytest.raises(InputError, match="n=0 was given"):
            open_probe(classes, n=0)

    def test_what_is_none_of_the_forms(self, tmp_path: Path, classes: Path) -> None:
        forms = f"A probe is one of: {'; '.join(FORMS)}"
        (tmp_path / "empty").mkdir()
        write(tmp_path / "some.png")
        for path, options, text in [
            (tmp_path / "none", {}, "there is no"),
            (tmp_path / "empty", {}, "has no photos"),
            (tmp_path / "some.png", {}, "is a file, but no JSON"),
            (classes / "b", {}, "has 2 photos, but nothing that says what they show"),
            (classes / "b", {"labels": classes / "a"}, "labels= was given without names="),
            (classes / "b", {"words": ["x"]}, "words= was given without encoder="),
            (classes / "b", {"encoder": "x"}, "encoder= was given without words="),
        ]:
            with pytest.raises(InputError) as raised:
                open_probe(path, **options)  # type: ignore[arg-type]
            assert text in str(raised.value) and forms in str(raised.value)

    def test_options_that_would_change_nothing(self, tmp_path: Path, classes: Path) -> None:
        with pytest.raises(InputError, match=r"split= was given, which class folders can't use"):
            open_probe(classes, split="val")
        with pytest.raises(InputError, match=r"names= was given, which COCO's instances can't use"):
            open_probe(coco(tmp_path), names={})
        with pytest.raises(InputError, match=r"names= and labels= was given, which Broden can't use"):
            open_probe(broden(tmp_path), names={}, labels="x")
        with pytest.raises(InputError, match=r"names= of class folders is a list"):
            open_probe(classes, names=["x"])

    def test_photos_and_labels_in_one_folder(self, tmp_path: Path) -> None:
        TestLabelMaps().make(tmp_path)
        with pytest.raises(
            InputError, match=r"holds the folders images and labels; give .*images' with labels=.*labels'"
        ):
            open_probe(tmp_path)
