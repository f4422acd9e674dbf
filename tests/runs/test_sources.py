"""What people have as photos: listed without decoding any, with keys that stay the same, and what goes with each."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch.utils.data import Dataset, IterableDataset
from torchvision.datasets import ImageFolder

from vlcam.contracts import InputError
from vlcam.image.photo import open_photo
from vlcam.runs.list_source import list_source
from vlcam.runs.photo_list import PhotoList, make_unique

VOC = """<annotation><size><width>30</width><height>20</height></size>
{objects}</annotation>"""
VOC_OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"


def paint(number: int) -> Image.Image:
    return Image.new("RGB", (30, 20), (number * 20, 90, 255 - number * 20))


def encode(number: int) -> bytes:
    data = io.BytesIO()
    paint(number).save(data, "PNG")
    return data.getvalue()


def check_photos(photos: PhotoList, numbers: list[int]) -> None:
    """Every photo is the one that it should be."""
    assert len(photos) == len(numbers)
    for place, number in enumerate(numbers):
        picture, _ = open_photo(photos.load(place))
        assert np.array_equal(np.asarray(picture), np.asarray(paint(number))), place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("photos")
    for number, name in enumerate(["b/1.png", "a/2.png", "a/deep/0.PNG", ".hidden/3.png", "a/.4.png"]):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(number))
    (home / "a" / "notes.md").write_text("no photo")
    return home


def test_a_folder_with_folders(folder: Path) -> None:
    photos = list_source(folder)
    assert photos.keys == ["a/2.png", "a/deep/0.PNG", "b/1.png"]
    assert photos.paths == [str(folder / key) for key in photos.keys]
    check_photos(photos, [1, 2, 0])


def test_patterns_and_several_sources(folder: Path) -> None:
    photos = list_source(str(folder / "**" / "*.png"))
    assert [Path(key).name for key in photos.keys] == ["2.png", "1.png"]
    both = list_source([folder / "b", folder / "a"])
    assert both.keys == ["1.png", "2.png", "deep/0.PNG"]
    check_photos(both, [0, 1, 2])
    assert list_source([folder / "b" / "1.png"] * 2).keys[1].endswith("b/1.png (2)")
    assert make_unique(["a", "a (2)", "a", "a"]) == ["a", "a (2)", "a (3)", "a (4)"]


def test_a_list_in_a_text_file(folder: Path) -> None:
    (folder / "list.txt").write_text("# of mine\nb/1.png\n\na/2.png\nnowhere.png\n")
    photos = list_source(folder / "list.txt")
    assert photos.keys == ["b/1.png", "a/2.png", "nowhere.png"]
    assert photos.load(2) == str(folder / "nowhere.png")  # its error is its own
    (folder / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match=r"empty.txt' has no lines; expected a list of photos: a path on each line"):
        list_source(folder / "empty.txt")


def test_a_table_with_questions_captions_and_labels(folder: Path) -> None:
    (folder / "table.csv").write_text("Image,question,caption,label\nb/1.png,what?,a dog,dog\n'=a/2.png,,,\n")
    photos = list_source(folder / "table.csv")
    assert photos.keys == ["b/1.png", "=a/2.png"]
    assert (photos.questions, photos.captions, photos.truths) == (["what?", None], ["a dog", None], ["dog", None])
    (folder / "odd.csv").write_text("a;b\n1;2\n")
    with pytest.raises(
        InputError, match=r"has the columns a, b; expected a table with a header and a column of photos"
    ):
        list_source(folder / "odd.csv")
    (folder / "gap.csv").write_text("photo,label\na.png,x\n,y\n")
    with pytest.raises(InputError, match=r"row 3 of .*gap.csv' has no photo"):
        list_source(folder / "gap.csv")


PICTURES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_parquet_with_pictures(tmp_path: Path) -> None:
    rows = [{"bytes": encode(number), "path": f"{number}.png" if number else None} for number in range(5)]
    names = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    schema = pa.schema([("image", PICTURES), ("label", pa.int64())], metadata={"huggingface": json.dumps(names)})
    pq.write_table(
        pa.table({"image": rows, "label": [0, 1, 1, None, 0]}, schema=schema), tmp_path / "a.parquet", row_group_size=2
    )
    photos = list_source(tmp_path / "a.parquet")
    assert photos.keys == ["a.parquet:0", "1.png", "2.png", "3.png", "4.png"]
    assert photos.truths == ["cat", "dog", "dog", None, "cat"]
    check_photos(photos, [0, 1, 2, 3, 4])
    pq.write_table(pa.table({"image": [encode(5)]}), tmp_path / "b.parquet")
    check_photos(list_source(tmp_path), [0, 1, 2, 3, 4, 5])
    pq.write_table(
        pa.table({"image": [None, {"bytes": b"no", "path": "x"}]}, schema=schema.remove(1)), tmp_path / "c.parquet"
    )
    broken = list_source(tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"c.parquet:0 has no picture"):
        broken.load(0)
    with pytest.raises(InputError, match="'x' is not a photo that can be read"):
        broken.load(1)
    pq.write_table(pa.table({"image": [3]}), tmp_path / "d.parquet")
    with pytest.raises(InputError, match=r"column 'image' of .* has int64; expected paths, bytes, or pictures"):
        list_source(tmp_path / "d.parquet")


def test_parquet_with_paths(folder: Path) -> None:
    pq.write_table(pa.table({"path": ["b/1.png", "a/2.png"], "question": ["a?", None]}), folder / "p.parquet")
    photos = list_source(folder / "p.parquet")
    assert photos.keys == ["b/1.png", "a/2.png"] and photos.questions == ["a?", None]
    check_photos(photos, [0, 1])


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))


def test_shards_of_webdataset(tmp_path: Path) -> None:
    about = json.dumps({"question": "what?", "label": "cat"}).encode()
    write_tar(
        tmp_path / "0.tar", {"a/1.png": encode(1), "a/1.cls": b"dog\n", "a/2.seg.png": encode(2), "a/2.json": about}
    )
    write_tar(tmp_path / "1.tar", {"a/1.png": encode(3), "a/1.json": b"{no", "b.png": b"broken"})
    photos = list_source(tmp_path)
    assert photos.keys == ["a/1", "a/2", "a/1 (2)", "b"]
    assert photos.truths == ["dog", "cat", None, None] and photos.questions == [None, "what?", None, None]
    for place, number in enumerate([1, 2, 3]):
        assert np.array_equal(np.asarray(open_photo(photos.load(place))[0]), np.asarray(paint(number)))
    with pytest.raises(InputError, match="'b' is not a photo"):
        photos.load(3)
    (tmp_path / "2.tar").write_bytes(b"no tar")
    with pytest.raises(InputError, match=r"2.tar' can't be read: .*expected a shard of WebDataset"):
        list_source(tmp_path / "2.tar")


def test_coco(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    for number in range(2):
        (tmp_path / "val2017" / f"{number}.png").write_bytes(encode(number))
    images = [{"id": 7 - number, "file_name": f"{number}.png", "width": 30, "height": 20} for number in range(2)]
    boxes = [{"image_id": 7, "category_id": one, "segmentation": [[0, 0, 1, 1]]} for one in (3, 9, 3)]
    kinds = [{"id": 3, "name": "dog"}, {"id": 9, "name": "cat"}]
    instances = tmp_path / "annotations" / "instances_val2017.json"
    instances.write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))
    photos = list_source(instances)
    assert photos.keys == ["0.png", "1.png"] and photos.truths == ["dog; cat", None]
    check_photos(photos, [0, 1])
    assert list_source(instances, "vqa").truths is None
    said = [{"image_id": 6, "caption": " A  dog. "}, {"image_id": 6, "caption": "A cat."}]
    captions = tmp_path / "annotations" / "captions_val2017.json"
    captions.write_text(json.dumps({"images": images, "annotations": said}))
    assert list_source(captions, "captioning").truths == [None, "A dog.; A cat."]
    captions.write_text('{"images": [{"id": 1}]}')
    with pytest.raises(InputError, match=r"has no, or a wrong, 'file_name'; expected COCO's"):
        list_source(captions)
    captions.write_text("[]")
    with pytest.raises(InputError, match="has no images; expected COCO's instances or captions"):
        list_source(captions)


def test_pascal_voc(tmp_path: Path) -> None:
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (home / part).mkdir(parents=True)
    for number, names in enumerate([("dog", "cat"), (), ("dog",)]):
        paint(number).save(home / "JPEGImages" / f"{number}.jpg")
        objects = "".join(VOC_OBJECT.format(one) for one in names)
        (home / "Annotations" / f"{number}.xml").write_text(VOC.format(objects=objects))
    (home / "ImageSets" / "Main" / "val.txt").write_text("2\n0\n")
    photos = list_source(tmp_path / "VOCdevkit")
    assert photos.keys == ["0.jpg", "1.jpg", "2.jpg"] and photos.truths == ["dog; cat", None, "dog"]
    split = list_source(home / "ImageSets" / "Main" / "val.txt", "captioning")
    assert split.keys == ["2.jpg", "0.jpg"] and split.truths is None
    assert split.load(0) == str(home / "JPEGImages" / "2.jpg")


def test_data_sets_of_hugging_face(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"img": [{"bytes": encode(number), "path": None} for number in range(3)], "label": [1, 0, 1]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    photos = list_source(dataset)
    assert photos.keys == ["img 0", "img 1", "img 2"] and photos.truths == ["dog", "cat", "dog"]
    check_photos(photos, [0, 1, 2])
    dataset.save_to_disk(tmp_path / "saved")
    saved = list_source(tmp_path / "saved")
    assert saved.keys == photos.keys and saved.truths == photos.truths
    check_photos(saved, [0, 1, 2])
    with pytest.raises(InputError, match="a data set with the splits train, test was given; give one, such as dataset"):
        list_source(datasets.DatasetDict({"train": dataset, "test": dataset}))
    with pytest.raises(InputError, match="a IterableDataset was given, which has no length"):
        list_source(dataset.to_iterable_dataset())
    with pytest.raises(InputError, match="has the columns label; expected one with pictures"):
        list_source(dataset.remove_columns("img"))


class Pairs(Dataset[Any]):
    def __init__(self, **known: Any) -> None:
        self.__dict__.update(known)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Any:
        return paint(place), 1 - place


def test_data_sets_of_torch(folder: Path) -> None:
    photos = list_source(ImageFolder(str(folder), is_valid_file=lambda path: path.endswith(".png")))
    assert photos.keys == [".hidden/3.png", "a/.4.png", "a/2.png", "b/1.png"]
    assert photos.truths == [".hidden", "a", "a", "b"] and photos.paths == [str(folder / key) for key in photos.keys]
    check_photos(photos, [3, 4, 1, 0])
    assert list_source(Pairs()).truths is None
    named = list_source(Pairs(targets=[1, 0], classes=["cat", "dog"]))
    assert named.keys == ["image 0", "image 1"] and named.truths == ["dog", "cat"]
    check_photos(named, [0, 1])


def test_pictures_in_memory() -> None:
    photos = list_source([paint(0), (paint(1), "dog"), {"image": paint(2), "question": "what?", "label": "cat"}])
    assert (
        photos.truths == [None, "dog", "cat"] and photos.questions == [None, None, "what?"] and photos.captions is None
    )
    check_photos(photos, [0, 1, 2])
    check_photos(list_source(np.stack([np.asarray(paint(number)) for number in range(2)])), [0, 1])


def test_generated_pictures() -> None:
    photos = list_source("scene:7-9")
    assert photos.keys == ["scene:7", "scene:8", "scene:9"] and photos.truths is not None and all(photos.truths)
    assert list_source("scene:unseen:7", "captioning").keys == ["scene:unseen:7"]
    with pytest.raises(InputError, match="'scene:x' was given; expected scene:SEED or scene:SEED-SEED"):
        list_source("scene:x")


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (lambda _: "nowhere.jpg", "there is no file or folder 'nowhere.jpg'"),
        (lambda _: "https://a.b/c.jpg", "the URL .* was given; vlcam doesn't download"),
        (lambda _: "no*.jpg", "no file is called 'no"),
        (lambda home: home, "has no photos in it; expected files such as a.jpg or b.png, or shards"),
        (lambda _: [], "no photos were given"),
        (lambda _: paint(1), "one Image was given as photos; expected a folder"),
        (lambda _: (one for one in range(3)), "a generator was given as photos; .*so that a run can go on"),
        (lambda _: Endless(), "a Endless was given as photos"),
        (lambda _: 7, "a int was given as photos"),
    ],
)
def test_what_cannot_be_listed(given: Callable[[Path], Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=text):
        list_source(given(tmp_path))
