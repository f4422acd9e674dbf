"""``vlcam run``: what it prints and writes, that it goes on where it stopped, and what it refuses."""

from pathlib import Path

import pytest

import vlcam
from vlcam.cli import main, run_run

QUICK = ["--method", "gradcam", "--batch-size", "4"]


def test_a_run_of_the_bundled_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "run", tmp_path / "rows.csv"
    command = ["run", "scene:0-5", "--out", str(out), "--shard-size", "3", "--csv", str(table), *QUICK]
    assert main([*command, "--part", "1/2"]) == 0
    assert "3 of 6 photos by scenes-classifier, 9 rows in" in capsys.readouterr().out
    assert main([*command, "--no-gallery"]) == 0 and not (out / "_gallery").exists()
    printed = capsys.readouterr()
    assert "6 of 6 photos by scenes-classifier, 18 rows in" in printed.out and "right: " in printed.out
    assert printed.err.startswith("explained 6 of 6 photos")
    assert main(command) == 0 and (out / "_gallery" / "index.html").is_file()
    assert f"The gallery is {out / '_gallery' / 'index.html'}; it opens in any browser." in capsys.readouterr().out
    run = vlcam.open_run(out)
    assert run.manifest["job"]["method"] == "gradcam" and len(table.read_text().splitlines()) == 19


def test_a_list_of_questions_and_a_photo_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    Image.fromarray(vlcam.scenes.make(7).image(96)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(
        "photo,question\na.png,what colour is the star\na.png,how many hearts are there\nno.png,\n"
    )
    command = ["run", str(tmp_path / "list.csv"), "--out", str(tmp_path / "run"), "--task", "vqa", "--top", "1", *QUICK]
    assert main([*command, "--question", "is there a star"]) == 1
    printed = capsys.readouterr()
    assert "3 of 3 photos by scenes-vqa, 3 rows in" in printed.out and "no.png" in printed.err
    run = vlcam.open_run(tmp_path / "run")
    assert [row.question for row in run] == ["what colour is the star", "how many hearts are there", "is there a star"]
    assert [row.photo for row in run] == ["a.png", "a.png (2)", "no.png"]


def test_truth_from_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for seed, name in ((1, "red star"), (2, "blue circle")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(vlcam.scenes.make(seed).image(96)).save(tmp_path / "photos" / name / f"{seed}.png")
    command = [
        "run",
        str(tmp_path / "photos"),
        "--out",
        str(tmp_path / "run"),
        "--truth",
        "folders",
        "--top",
        "1",
        *QUICK,
    ]
    assert main(command) == 0
    run, out = vlcam.open_run(tmp_path / "run"), capsys.readouterr().out
    assert [row.truth for row in run.where(target_index=0)] == ["blue circle", "red star"]
    wrong = run.where(target_index=0, correct=False)
    assert len(run.where(kind="contrast")) == len(wrong) > 0
    for row in wrong:
        assert f"{row.truth} taken for {row.label}: 1" in out


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: object) -> None:
        error = KeyboardInterrupt()
        error.add_note("interrupted: 4 of 11 photos are done; run the same again to go on")
        raise error

    monkeypatch.setattr(run_run, "run", interrupted)
    assert main(["run", "scene:0-5", "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "interrupted: 4 of 11 photos are done; run the same again to go on\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--part", "3/2"], "--part '3/2' was given; expected I/N with I from 1 to N, such as 1/8"),
        (["--task", "speak"], "--task 'speak' was given; expected classify, caption, vqa"),
        (["--truth", "nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["--method", "gradcm"], "no method 'gradcm'; did you mean gradcam"),
        (["--csv", "."], "--csv . is a folder; give the path of a file"),
        (["--labels", "nowhere.txt"], "nowhere.txt"),
    ],
)
def test_bad_options(arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "scene:0", "--out", str(tmp_path / "run"), *arguments]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
