"""What is true of photos: where it comes from, whether the model said so, and the contrast that explains why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam
from tests.runs.test_run_photos import LABELS, make_task
from vlcam.contracts import InputError
from vlcam.explanation.explanation import Explanation
from vlcam.runs import Confusion
from vlcam.runs.photo_list import PhotoList
from vlcam.runs.read_truth import read_truths
from vlcam.runs.truth import Verdict, judge, normalise_answer
from vlcam.tasks import bundled

PHOTOS = PhotoList(
    ["a/1.jpg", "a/2.jpg", "b/1.jpg"], str, paths=["/photos/a/1.jpg", "/photos/a/2.jpg", "/photos/b/1.jpg"]
)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)) for _ in range(6)]


@pytest.fixture(scope="module")
def said(pictures: list[Image.Image]) -> list[Explanation]:
    return [vlcam.explain(make_task(), one) for one in pictures]


def test_truths_by_key_path_and_name(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("photo,label\na/1.jpg,cat\n/photos/a/2.jpg,'=dog\nelsewhere/2.jpg,cow\n")
    assert read_truths(table, PHOTOS) == ["cat", "=dog", None]
    table.write_text("label;file\ncat;2.jpg\ndog;2.jpg\nx;1.jpg\n")  # both photos of that name
    assert read_truths(table, PHOTOS) == ["x", "cat; dog", "x"]
    assert read_truths({"2": ["cat", "dog"]}, PHOTOS) == [None, "cat; dog", None]
    assert read_truths({"/x/b/1.jpg": "cat", "y/1.jpg": "dog", "2": 3}, PHOTOS) == [None, "3", "cat"]
    assert read_truths(["cat", None, 3], PHOTOS) == ["cat", None, "3"]
    assert read_truths("folders", PHOTOS) == ["a", "a", "b"]


@pytest.mark.parametrize(
    ("truth", "text"),
    [
        (
            {"3.jpg": "cat"},
            r"none of the 1 photos in truth \(such as 3.jpg\) is one of the 3 photos of the run \(such as a/1.jpg",
        ),
        (["cat"], "1 truths were given for 3 photos; expected one for each, or None"),
        (3, "truth=3 was given; expected the path of a CSV file, 'folders', a mapping, or a list"),
        ("nowhere.csv", "'nowhere.csv' can't be read"),
    ],
)
def test_truths_that_fit_nothing(truth: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        read_truths(truth, PHOTOS)


def test_a_table_without_labels(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("photo,size\na.jpg,3\n")
    with pytest.raises(
        InputError, match="has the columns photo, size; expected a CSV file with a header, and columns photo and label"
    ):
        read_truths(tmp_path / "a.csv", PHOTOS)
    (tmp_path / "a.csv").write_text("photo,label\na.jpg\n")
    with pytest.raises(InputError, match=r"line 2 of .* has 1 cells; expected 2"):
        read_truths(tmp_path / "a.csv", PHOTOS)
    with pytest.raises(InputError, match=r"the photos don't lie in several folders; expected a folder for each class"):
        read_truths("folders", PhotoList(["1"], str, paths=["/a/1.jpg"]))


def test_a_classifier_is_judged_by_its_own_classes(said: list[Explanation]) -> None:
    task = make_task(labels=["tiger, Panthera tigris", "house_cat", "dog", "dog", "bus"])
    one = said[0]
    place = LABELS.index(one.text)
    own = vlcam.explain(task, np.asarray(one.photo.pixels))
    assert own.targets[0].token_ids == (place,)
    truths = ["Panthera Tigris", "House Cat", str(place), "bus"]
    verdicts = [judge(task, own, truth) for truth in truths]
    for truth, verdict in zip(truths, verdicts, strict=True):
        wanted = {"Panthera Tigris": 0, "House Cat": 1, "bus": 4}.get(truth, place)
        assert verdict == (Verdict(True) if wanted == place else Verdict(False, (place, wanted)))
    assert sum(verdict.correct is True for verdict in verdicts) in (1, 2)
    unknown = judge(task, own, "lion")
    assert unknown.correct is None and unknown.note == (
        "the truth 'lion' is no class of the model, so right and wrong can't be told"
    )
    assert judge(task, own, None) == Verdict()
    assert judge(task, own, f"lion; {place}") == Verdict(True)


def test_answers_are_compared_without_case_and_articles() -> None:
    assert [normalise_answer(one) for one in ("The  RED one.", "a", "Yes!")] == ["red one", "", "yes"]
    picture = vlcam.scenes.make(7).image(96)
    task = bundled.vqa()
    explanation = vlcam.explain(task, picture, question="what colour is the star")
    assert judge(task, explanation, f" {explanation.text.upper()}. ").correct is True
    other = next(one for one in task.answers if one != explanation.text)
    verdict = judge(task, explanation, other)
    assert verdict.correct is False and verdict.contrast == (
        task.answers.index(explanation.text),
        task.answers.index(other),
    )
    assert judge(task, explanation, "no such answer") == Verdict(False)


def test_a_caption_is_right_or_nothing_is_known() -> None:
    task = bundled.captioner()
    explanation = vlcam.explain(task, vlcam.scenes.make(7).image(96), method="gradcam")
    assert judge(task, explanation, f"something else; {explanation.text}") == Verdict(True)
    assert judge(task, explanation, "something else") == Verdict()


def test_a_run_with_truths(pictures: list[Image.Image], said: list[Explanation], tmp_path: Path) -> None:
    wrong = {one: LABELS[(LABELS.index(one) + 1) % 5] for one in LABELS}
    truths = [one.text if place % 3 == 0 else wrong[one.text] for place, one in enumerate(said)]
    run = vlcam.run(make_task(), pictures, tmp_path / "run", truth=truths, top_k=1)
    assert [row.correct for row in run.where(target_index=0)] == [place % 3 == 0 for place in range(6)]
    assert run.accuracy == pytest.approx(1 / 3) and run[0].truth == truths[0]
    assert sum(pair.photos for pair in run.confusions()) == 4
    assert run.confusions()[0] == max(run.confusions(), key=lambda one: one.photos)
    assert all(wrong[pair.predicted] == pair.truth for pair in run.confusions())
    contrasts = list(run.where(kind="contrast"))
    assert [row.photo for row in contrasts] == ["image 1", "image 2", "image 4", "image 5"]
    for row in contrasts:
        pair = row.label, row.truth
        assert row.target == f"{pair[0]} rather than {pair[1]}"
        view = vlcam.explain(make_task(), pictures[row.photo_index], top_k=1, contrast=[pair])[1]
        torch.testing.assert_close(
            row.signed_map, view.signed_map, rtol=1e-3, atol=2e-3 * float(view.signed_map.abs().max())
        )
    plain = vlcam.run(make_task(), pictures, tmp_path / "plain", truth=truths, top_k=1, contrast_truth=False)
    assert len(plain.where(kind="contrast")) == 0 and plain.confusions() == run.confusions()
    assert isinstance(plain.confusions()[0], Confusion)


def test_truths_of_other_classes(pictures: list[Image.Image], tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"none of the 1 labels \(such as lion\) is a class of tiny, whose classes are tiger, cat"
    ):
        vlcam.run(make_task(), pictures, tmp_path / "run", truth=["lion"] * 6)
    assert not (tmp_path / "run").exists()
    run = vlcam.run(make_task(), [(pictures[0], "lion")], tmp_path / "own", top_k=1)  # what the source says is let be
    assert run[0].truth is None and run[0].correct is None and run.accuracy is None
