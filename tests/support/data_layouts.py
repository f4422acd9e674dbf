"""Tiny data sets in the standard layouts, with drawn pictures: three photos of rectangles of one colour a class."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIZE = (40, 30)
"""Width and height of every photo."""

CORNERS = {"cat": (4, 6, 15, 20), "dog": (22, 3, 37, 26), "sheep": (0, 0, 39, 29)}
"""First and last pixel of each rectangle, counted from 0."""

COLOURS = {"cat": (200, 60, 30), "dog": (40, 90, 200), "sheep": (90, 160, 60)}
PHOTOS: Sequence[tuple[str, ...]] = (("cat",), ("cat", "dog"), ("sheep",))
SYNSETS = {"cat": "n02123045", "dog": "n02085620", "sheep": "n02412080"}
SYNSET_NAMES = {"n02412080": "ram, tup", "n02085620": "Chihuahua", "n02123045": "tabby, tabby cat"}


def draw(path: Path, objects: Sequence[str], **saving: Any) -> None:
    """A photo of these objects on grey."""
    image = Image.new("RGB", SIZE, (128, 128, 128))
    pen = ImageDraw.Draw(image)
    for obj in objects:
        pen.rectangle(CORNERS[obj], fill=COLOURS[obj])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=95, **saving)


def xml(
    path: Path, objects: Sequence[str], first: int, names: Mapping[str, str], difficult: Sequence[str] = ()
) -> None:
    """An annotation in Pascal VOC's XML, pixels counted from ``first``."""
    parts = ""
    for obj in objects:
        corners = zip(("xmin", "ymin", "xmax", "ymax"), CORNERS[obj], strict=True)
        box = "".join(f"<{side}>{at + first}</{side}>" for side, at in corners)
        hard = int(obj in difficult)
        parts += f"<object><name>{names[obj]}</name><difficult>{hard}</difficult><bndbox>{box}</bndbox></object>"
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>{size}{parts}</annotation>")


def ilsvrc(root: Path, form: str = "kaggle") -> Path:
    """ILSVRC's validation set: as on Kaggle; ``flat`` with photos and boxes in ``val``; or ``synsets``, one folder a class."""
    photos, boxes = root / "val", root / "val"
    if form == "kaggle":
        photos, boxes = root / "ILSVRC/Data/CLS-LOC/val", root / "ILSVRC/Annotations/CLS-LOC/val"
    if form == "synsets":
        boxes = root / "bbox/val"
    for number, objects in enumerate((("cat",), ("dog",), ("sheep", "sheep")), start=1):
        stem = f"ILSVRC2012_val_{number:08d}"
        draw((photos / SYNSETS[objects[0]] if form == "synsets" else photos) / f"{stem}.JPEG", objects)
        xml(boxes / f"{stem}.xml", objects, 0, SYNSETS)
    lines = "".join(f"{code} {name}\n" for code, name in SYNSET_NAMES.items())
    if form == "synsets":
        (root / "ILSVRC2012_devkit_t12/data").mkdir(parents=True)
        kit = "".join(f"{code} {at} {name.split(',')[0]}\n" for at, (code, name) in enumerate(SYNSET_NAMES.items(), 1))
        (root / "ILSVRC2012_devkit_t12/data/map_clsloc.txt").write_text(kit)
    else:
        (root / ("LOC_synset_mapping.txt" if form == "kaggle" else "synset_words.txt")).write_text(lines)
    return root


def voc(root: Path, year: str = "VOC2012", *, masks: bool = True) -> Path:
    """Pascal VOC: ``root/VOCdevkit/VOC20xx``. The second photo is segmented, and its dog has a border."""
    home = root / "VOCdevkit" / year
    stems = [f"2007_00000{number}" for number in range(len(PHOTOS))]
    for stem, objects in zip(stems, PHOTOS, strict=True):
        draw(home / "JPEGImages" / f"{stem}.jpg", objects)
        xml(home / "Annotations" / f"{stem}.xml", objects, 1, {one: one for one in CORNERS}, difficult=("sheep",))
    (home / "ImageSets/Main").mkdir(parents=True)
    (home / "ImageSets/Main/val.txt").write_text("\n".join(stems) + "\n")
    (home / "ImageSets/Main/cat_val.txt").write_text("".join(f"{stem}  1\n" for stem in stems))
    if masks:
        (home / "ImageSets/Segmentation").mkdir()
        (home / "ImageSets/Segmentation/val.txt").write_text(stems[1] + "\n")
        for part, numbers in (
            ("SegmentationObject", {"cat": 1, "dog": 2}),
            ("SegmentationClass", {"cat": 8, "dog": 12}),
        ):
            image = Image.new("P", SIZE, 0)
            image.putpalette(list(range(256)) * 3)
            pen = ImageDraw.Draw(image)
            for obj, number in numbers.items():
                pen.rectangle(CORNERS[obj], fill=number)
            pen.rectangle(CORNERS["dog"], outline=255)
            (home / part).mkdir()
            image.save(home / part / f"{stems[1]}.png")
    return root


def coco(root: Path, split: str = "val2017", *, captions: bool = True) -> Path:
    """COCO: polygons, and a crowd as run lengths."""
    images: list[Any] = []
    annotations: list[Any] = []
    said: list[Any] = []
    kinds = {"cat": 17, "dog": 18, "sheep": 20}
    for number, objects in enumerate(PHOTOS):
        key = 100 + number
        name = f"{key:012d}.jpg" if split == "val2017" else f"COCO_{split}_{key:012d}.jpg"
        draw(root / split / name, objects)
        images.append({"id": key, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        said += [{"image_id": key, "id": number, "caption": f"a {' and a '.join(objects)}\n"}]
        for obj in objects:
            left, top, right, bottom = CORNERS[obj]
            crowd = obj == "sheep"
            outline: Any = [[left, top, right + 1, top, right + 1, bottom + 1, left, bottom + 1]]
            if crowd:
                outline = {"size": [SIZE[1], SIZE[0]], "counts": [0, SIZE[0] * SIZE[1]]}
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": key,
                    "category_id": kinds[obj],
                    "bbox": [left, top, right + 1 - left, bottom + 1 - top],
                    "segmentation": outline,
                    "iscrowd": int(crowd),
                }
            )
    categories = [{"id": number, "name": name, "supercategory": "animal"} for name, number in reversed(kinds.items())]
    write(
        root / f"annotations/instances_{split}.json",
        {"images": images, "annotations": annotations, "categories": categories},
    )
    if captions:
        write(root / f"annotations/captions_{split}.json", {"images": images, "annotations": said})
    return root


def vqa(root: Path, *, version: str = "v2_", hat: bool = False, subset: str = "val2014") -> Path:
    """VQA: two questions on the first photo and one on the second, with human attention on the last if ``hat``."""
    questions, answers = [], []
    for key, image, question, answer in (
        (1000, 100, "Is there a cat?", "yes"),
        (1001, 100, "What animal is it?", "cat"),
        (1010, 101, "Which is blue?", "dog"),
    ):
        questions.append({"question_id": key, "image_id": image, "question": question})
        told = [{"answer": answer, "answer_confidence": "yes", "answer_id": one} for one in range(1, 11)]
        told[3]["answer"] = "no idea"
        answers.append(
            {
                "question_id": key,
                "image_id": image,
                "multiple_choice_answer": answer,
                "answer_type": "other",
                "answers": told,
            }
        )
    for number, objects in enumerate(PHOTOS[:2]):
        draw(root / subset / f"COCO_{subset}_{100 + number:012d}.jpg", objects)
    write(root / f"{version}OpenEnded_mscoco_{subset}_questions.json", {"data_subtype": subset, "questions": questions})
    write(root / f"{version}mscoco_{subset}_annotations.json", {"annotations": answers})
    if hat:
        (root / "vqahat_val").mkdir()
        for person in (1, 2, 3):
            light = np.zeros((SIZE[1], SIZE[0]), np.uint8)
            left, top, right, bottom = CORNERS["dog"]
            light[top : bottom + 1, left : right + 1] = 85 * person
            Image.fromarray(light).save(root / f"vqahat_val/1010_{person}.png")
    return root


def boxes_json(root: Path) -> Path:
    """A folder of photos and a JSON of boxes."""
    records = []
    for number, objects in enumerate((("cat",), ("dog",), ("sheep",))):
        draw(root / "some" / f"{number}.jpg", objects)
        left, top, right, bottom = CORNERS[objects[0]]
        records.append(
            {
                "file": f"{number}.jpg",
                "label": number,
                "original_size": [400, 300],
                "boxes": [[left, top, right + 1.0, bottom + 1.0]],
            }
        )
    write(root / "some.json", records)
    write(root / "some_classes.json", ["tabby, tabby cat", "Chihuahua", "ram, tup"])
    return root


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
