"""Two runs side by side: what is matched, what is counted, and what the command says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gallery.test_data_files import read_script, unpack
from tests.support.examples_of_explanations import blob, explanation, photo
from tests.support.run_folders import make_run, write_explanations
from vlcam.cli import main
from vlcam.contracts import Target
from vlcam.errors import InputError
from vlcam.explanation.explanation import Explanation
from vlcam.gallery import compare_runs


def seen(name: str, label: str, *maps: tuple[str, float], sha256: str = "") -> Explanation:
    """An explanation of a photo with this name: a label, and targets with their maps' places."""
    targets = [Target(target, "class", 1.0, 0.5) for target, _ in maps]
    picture = replace(photo(name), sha256=sha256 or name)
    return explanation("classification", targets, [blob(x, 0.5) for _, x in maps], text=label, picture=picture)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs with every way in which photos and targets may match or not."""
    first: list[Explanation | Exception] = [
        seen("same.jpg", "cat", ("cat", 0.3), ("dog", 0.7), ("cow", 0.5)),
        seen("labels.jpg", "cat", ("cat", 0.2)),
        seen("moved.jpg", "cat", ("cat", 0.2), sha256="moved"),
        seen("pixels.jpg", "cat", ("cat", 0.2), sha256="one"),
        seen("mine.jpg", "cat", ("cat", 0.2)),
        ValueError("broken"),
        seen("twice.jpg", "a cat, a cat", ("cat", 0.2), ("cat", 0.8)),
    ]
    second: list[Explanation | Exception] = [
        seen("same.jpg", "cat", ("dog", 0.2), ("cat", 0.3)),
        seen("labels.jpg", "dog", ("dog", 0.8)),
        seen("elsewhere.jpg", "cat", ("cat", 0.8), sha256="moved"),
        seen("pixels.jpg", "cat", ("cat", 0.2), sha256="other"),
        seen("theirs.jpg", "cat", ("cat", 0.2)),
        seen("photo-5.jpg", "cat", ("cat", 0.2)),
        seen("twice.jpg", "a cat, a cat", ("cat", 0.2), ("cat", 0.8)),
    ]
    write_explanations(tmp_path / "a", first, ["cat"] * 7)
    write_explanations(tmp_path / "b", second, ["cat", "cat", "cat", "cat", "cat", "cat", "a cat, a cat"])
    return tmp_path / "a", tmp_path / "b"


def test_photos_and_targets_are_matched_and_the_rest_counted(pair: tuple[Path, Path]) -> None:
    found = compare_runs(*pair)
    assert found.names == ("a", "b") and found.photos == (7, 7)
    assert found.matched == 5 and found.other_pixels == 1  # mine.jpg and pixels.jpg are only in A
    assert found.failed == 1 and found.same_label == 3 and found.different_label == 1
    assert found.pairs == 2 + 0 + 1 + 0 + 2
    assert found.alone == (1 + 1, 1 + 1)
    assert found.truths == 4 and found.right == (3, 3)
    assert found.compared == 5
    assert [one[:2] for one in found.most[:2]] == [("2/moved.jpg", "cat"), ("0/same.jpg", "dog")]
    assert all(value == pytest.approx(0, abs=1e-6) for *_, value in found.most[2:])
    assert found.page == pair[0] / "_compared" / "b" / "index.html" and found.page.is_file()


def test_the_index_has_both_sides(pair: tuple[Path, Path]) -> None:
    page = compare_runs(*pair).page
    (part,) = [read_script(one) for one in page.parent.rglob("index-*.js")]
    strings = [*part["strings"], None]
    said = [[strings[at] for at in unpack(side["said"], "<i4")] for side in part["sides"]]
    assert said[0] == ["cat", "cat", "cat", None, "a cat, a cat"] and said[1][1] == "dog"
    targets = [[strings[at] for at in unpack(side["target"], "<i4")] for side in part["sides"]]
    assert targets[0] == ["cat", "dog", "cat", "cat", None, "cat", "cat"]
    assert targets[1] == ["cat", "dog", "dog", "cat", "cat", "cat", "cat"]
    assert [unpack(side["number"], "<u2") for side in part["sides"]] == [[0, 1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 1]]
    apart = unpack(part["apart"], "<f4")
    assert apart[0] == pytest.approx(0, abs=1e-6) and apart[1] > 0.5 and [one != one for one in apart] == [
        *([False] * 2), True, False, True, False, False
    ]  # fmt: skip


def test_order_and_sizes_of_shards_dont_matter(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 30, shard=7)
    make_run(tmp_path / "b", 30, shard=30)
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert found.matched == 30 and found.pairs == 90 and found.alone == (0, 0)
    assert found.disagreement == pytest.approx((0, 0, 0), abs=1e-6)


def test_runs_without_a_photo_in_common_are_refused(tmp_path: Path) -> None:
    write_explanations(tmp_path / "a", [seen("one.jpg", "cat", ("cat", 0.2))])
    write_explanations(tmp_path / "b", [seen("two.jpg", "cat", ("cat", 0.2))])
    with pytest.raises(
        InputError, match=r"no photo of '.*a' \(1 photos\) is in '.*b' \(1\), neither by its name nor by its pixels"
    ):
        compare_runs(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "a" / "_compared").exists()
    with pytest.raises(InputError, match="was given twice"):
        compare_runs(tmp_path / "a", tmp_path / "b" / ".." / "a")


def test_runs_with_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("x/run", "y/run"):
        make_run(tmp_path / folder, 5)
    found = compare_runs(tmp_path / "x" / "run", tmp_path / "y" / "run", tmp_path / "out")
    assert found.names == ("x/run", "y/run")
    assert "A: x/run · B: y/run" in found.page.read_text("utf-8")


def test_the_command_says_what_differs(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare-runs", *map(str, pair)]) == 0
    text = capsys.readouterr().out
    assert "A a, B b: 5 photos in both" in text
    assert "Not matched: 2 photos only in A, 2 photos only in B, 1 of them with the same name but other pixels" in text
    assert "2 targets only in A, 2 targets only in B." in text
    assert "The same label: 3 photos; different ones: 1." in text
    assert "Right, of 4 with a truth: A 75.0 %, B 75.0 %." in text
    assert "0/same.jpg" in text and "index.html; it opens in any browser." in text
    assert main(["compare-runs", *map(str, pair), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["matched"] == 5
    assert main(["compare-runs", str(pair[0]), str(pair[0])]) == 2


def test_runs_without_maps_have_no_numbers(failed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_explanations(tmp_path / "other", [ValueError("no")] * 3)
    assert main(["compare-runs", str(failed), str(tmp_path / "other"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["disagreement"] == [None, None, None] and found["failed"] == 3 and found["compared"] == 0
    assert main(["compare-runs", str(failed), str(tmp_path / "other")]) == 0
    assert "No maps to compare: 0 targets are in both." in capsys.readouterr().out
