"""VQA's questions on COCO's photos (Antol et al. 2015; Goyal et al. 2017, arXiv 1612.00837), and where people looked (VQA-HAT).

The questions are ``[v2_]OpenEnded_mscoco_*_questions.json``, the answers ``[v2_]mscoco_*_annotations.json``, the photos
``COCO_val2014_*.jpg``. VQA-HAT (Das et al. 2016, arXiv 1606.03556) asked people to sharpen a blurred photo until they could answer: grey
pictures ``vqahat_val/{question id}_{1, 2, 3}.png``, light where they looked. Their question ids are those of VQA's first version.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import DataLayout, MissingLayout, list_files, open_annotated
from vlcam.experiments.data.samples import Has, LabelledPhoto, NumberedWorld, PhotoQuestion
from vlcam.files import check_whole, read_json, refuse_broken
from vlcam.image.label_maps import read_label_picture

_FOLDERS: Final = (".", "annotations", "Annotations", "questions", "Questions")
_QUESTIONS: Final = re.compile(r"(v2_)?OpenEnded_mscoco_(\w+?)_questions\.json")
_MAPS: Final = re.compile(r"(\d+)_(\d+)\.png", re.IGNORECASE)
_EXPECTED_QUESTIONS: Final = "VQA's questions: a JSON object with questions (question_id, image_id, question)"
_FAULT: Final = "has no, or a wrong, {}"
_EXPECTED_ANSWERS: Final = (
    "VQA's annotations: a JSON object with annotations (question_id, multiple_choice_answer, answers)"
)


def _open_vqa(root: Path, split: str | None, _needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    found = _find_files(root, split)
    return found if isinstance(found, MissingLayout) else _make_world(root, found, None)


def _open_hat(root: Path, split: str | None, _needs: frozenset[Has]) -> NumberedWorld | MissingLayout:
    folder = next((one for name in ("vqahat_val", "vqahat_train", ".") if _find_maps(one := root / name)), None)
    if folder is None:
        return MissingLayout("no human attention maps vqahat_val/*_1.png")
    home = root if folder != root else root.parent
    found = _find_files(home, split)
    if isinstance(found, MissingLayout):
        return MissingLayout(f"human attention maps are in {str(folder)!r}, but {found.what}", True)
    return _make_world(home, found, folder)


def _make_world(root: Path, files: list[tuple[Path, Path, str]], maps: Path | None) -> NumberedWorld:
    """The world of the first pair of files, or, with attention maps, of the first pair whose questions they are about."""
    looked = _find_maps(maps) if maps is not None else {}
    pairs = ((pair, _read_questions(pair[0], set(looked) if maps is not None else None)) for pair in files)
    found = next(((pair, asked) for pair, asked in pairs if asked), None)
    if found is None and maps is not None:
        raise InputError(
            f"none of the {len(looked)} questions of {str(maps)!r}, such as {min(looked)}, is in {str(files[0][0])!r}; VQA-HAT is about "
            "the questions of VQA's first version: put OpenEnded_mscoco_val2014_questions.json and its annotations there as well"
        )
    if found is None:
        raise InputError(f"{str(files[0][0])!r} has no questions; expected {_EXPECTED_QUESTIONS}")
    (questions, answers, subset), asked = found
    answered = _read_answers(answers, {number for group in asked.values() for number, _ in group})
    lost = next((number for group in asked.values() for number, _ in group if number not in answered), None)
    if lost is not None:
        raise InputError(
            f"the question {lost} of {str(questions)!r} has no answer in {str(answers)!r}; put the files of the same split there"
        )
    photos = _find_photos(root, questions.parent, subset, list(asked))
    images = sorted(asked)
    title = f"VQA questions, {subset}" + (", with human attention (VQA-HAT)" if maps is not None else "")
    version = "v2" if questions.name.startswith("v2_") else "v1"
    return NumberedWorld(
        f"vqa-hat {subset}" if maps is not None else f"vqa {version} {subset}",
        title,
        (),
        frozenset({"questions", "attention"} if maps is not None else {"questions"}),
        len(images),
        _make_reader(images, asked, answered, photos, looked),
        facts={
            "kind": "VQA-HAT" if maps is not None else "VQA",
            "path": str(questions),
            "images": len(images),
            "questions": sum(len(group) for group in asked.values()),
        },
    )


def _make_reader(
    images: list[int],
    asked: dict[int, list[tuple[int, str]]],
    answered: dict[int, tuple[str, tuple[str, ...], str]],
    photos: dict[int, Path],
    looked: dict[int, list[Path]],
) -> Callable[[int], LabelledPhoto]:
    def at(number: int) -> LabelledPhoto:
        photo = photos[images[number]]
        image, size = open_annotated(photo)
        questions = []
        for key, text in asked[images[number]]:
            answer, answers, kind = answered[key]
            maps = tuple(partial(read_attention, file) for file in looked.get(key, ()))
            questions.append(PhotoQuestion(text, answer, answers, kind=kind, number=key, looked=maps))
        return LabelledPhoto(photo.stem, image, size, questions=tuple(questions))

    return at


def read_attention(path: Path) -> Float[np.ndarray, "height width"]:
    """A human attention map, 0 to 1, as large as its picture. Raises InputError for what can't be read."""
    picture = read_label_picture(path)
    found: Float[np.ndarray, "height width"] = np.asarray(picture.convert("L"), np.float64) / 255
    return found


def _find_files(root: Path, split: str | None) -> list[tuple[Path, Path, str]] | MissingLayout:
    """Questions, answers and the name of the split, the second version's first."""
    folders = list(dict.fromkeys(root / one for one in _FOLDERS))
    listed = [
        (folder / name, match)
        for folder in folders
        for name in list_files(folder, ".json")
        if (match := _QUESTIONS.fullmatch(name))
    ]
    if not listed:
        return MissingLayout("no (v2_)OpenEnded_mscoco_*_questions.json")
    found, lone = [], []
    for file, match in listed:
        name = f"{match[1] or ''}mscoco_{match[2]}_annotations.json"
        answers = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if answers is None:
            lone.append(name)
        elif split in (None, match[2]):
            found.append((file, answers, match[2]))
    if not found and lone:
        return MissingLayout(f"questions are there, but the answers {lone[0]} are not", True)
    if not found:
        raise InputError(
            f"split={split!r} was given; the splits of VQA in the folder are: {', '.join(sorted({match[2] for _, match in listed}))}"
        )
    return sorted(found, key=lambda one: ("val" not in one[2], not one[0].name.startswith("v2_"), one[2]))


def _read_questions(path: Path, wanted: set[int] | None) -> dict[int, list[tuple[int, str]]]:
    found: dict[int, list[tuple[int, str]]] = {}
    with refuse_broken(repr(str(path)), _EXPECTED_QUESTIONS, fault=_FAULT):
        for one in read_json(path, _EXPECTED_QUESTIONS)["questions"]:
            number = check_whole(one["question_id"], "question_id")
            if wanted is None or number in wanted:
                found.setdefault(check_whole(one["image_id"], "image_id"), []).append((number, str(one["question"])))
    return found


def _read_answers(path: Path, wanted: set[int]) -> dict[int, tuple[str, tuple[str, ...], str]]:
    """The most frequent answer, all answers and the answers' type of each question."""

    def only_text(record: dict[str, Any]) -> Any:
        return record["answer"] if "answer" in record and "answer_id" in record else record

    found = {}
    with refuse_broken(repr(str(path)), _EXPECTED_ANSWERS, fault=_FAULT):
        for one in read_json(path, _EXPECTED_ANSWERS, hook=only_text)["annotations"]:
            if (number := check_whole(one["question_id"], "question_id")) in wanted:
                answers = tuple(str(answer) for answer in one.get("answers", ()))
                found[number] = (str(one["multiple_choice_answer"]), answers, str(one.get("answer_type", "")))
    return found


def _find_photos(root: Path, here: Path, subset: str, images: list[int]) -> dict[int, Path]:
    parts = (subset, f"images/{subset}", f"Images/{subset}", f"Images/mscoco/{subset}", "images", "Images", ".")
    tried = [folder for part in parts for above in (root, here, here.parent) if (folder := above / part).is_dir()]
    for folder in dict.fromkeys(tried):
        there = set(list_files(folder))
        for shape in (f"COCO_{subset}_{{:012d}}.jpg", "{:012d}.jpg"):
            names = {image: shape.format(image) for image in images}
            gone = [name for name in names.values() if name not in there]
            if len(gone) == len(names):
                continue
            if gone:
                raise InputError(
                    f"{len(gone)} of {len(names)} photos that are asked about are missing, such as {str(folder / gone[0])!r}"
                )
            return {image: folder / name for image, name in names.items()}
    first = f"COCO_{subset}_{images[0]:012d}.jpg"
    raise InputError(
        f"the photos that are asked about, such as {first!r}, aren't in {str(root / subset)!r}; put them there"
    )


def _find_maps(folder: Path) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for name in list_files(folder, ".png"):
        if match := _MAPS.fullmatch(name):
            found.setdefault(int(match[1]), []).append(folder / name)
    return found


VQA: Final = DataLayout(
    "vqa",
    "VQA",
    "v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json and the photos in val2014",
    frozenset({"questions"}),
    _open_vqa,
)
VQA_HAT: Final = DataLayout(
    "vqa-hat",
    "VQA-HAT",
    "vqahat_val/{question id}_{1, 2, 3}.png beside VQA's questions (of the first version), annotations and photos",
    frozenset({"questions", "attention"}),
    _open_hat,
)
