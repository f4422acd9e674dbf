"""The command line as people meet it: what it prints where, its exit codes, its files, and every kind of bad input."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, final

import pytest
from PIL import Image

from tests.support.examples_of_explanations import paint
from vlcam.cli import console, main, run_demo, run_explain, run_scenes
from vlcam.explanation.explain import explain
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.page import GrowingPage
from vlcam.files import dump_json
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

HOSTILE = '<img src=x onerror=alert(1)>\x1b[31m\x07"&\u202e.png'
QUESTION = "how many striped things are there"
SCENE = "scene:10"


@final
class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a good picture, and every kind of bad one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = Image.fromarray(make(10).image(96))
    picture.save(folder / "good.png")
    picture.save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:1500])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not a picture at all\n" * 10)
    (folder / "folder.png").mkdir()
    return folder


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(one) for one in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def _one_line(err: str) -> str:
    assert re.fullmatch(r"vlcam: [^\n]+\n", err), err
    assert "Traceback" not in err
    return err


# --- good input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["classify", SCENE, "--class", "red triangle"], ["class", "red triangle"]),
        (["caption", SCENE, "--caption", "a red triangle above a green circle"], ["caption", "above", "circle"]),
        (["vqa", SCENE, "--question", QUESTION, "--answer", "2"], ["question", QUESTION, "2"]),
        (["classify", SCENE, "--contrast", "red triangle:red square"], ["red triangle rather than red square"]),
        (["caption", SCENE, "--beams", "2"], ["caption"]),
    ],
)
def test_summaries_are_plain_text_on_stdout(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], texts: Sequence[str]
) -> None:
    code, out, err = _run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.startswith(f"{SCENE}\n")
    assert "\x1b" not in out
    assert all(text in out for text in texts)
    assert re.search(r"\d\s?%", out)


def test_a_file_gives_what_the_same_pixels_give_from_python(capsys: pytest.CaptureFixture[str], pictures: Path) -> None:
    import vlcam

    code, out, _ = _run(capsys, "classify", pictures / "good.png", "--json", "--top", 2)
    (result,) = json.loads(out)["results"]
    same = vlcam.explain(bundled.classifier(), pictures / "good.png", top_k=2)
    assert code == 0
    assert [target["label"] for target in result["targets"]] == [target.label for target in same.targets]
    assert [target["score"] for target in result["targets"]] == pytest.approx([target.score for target in same.targets])


def test_json_is_one_document_with_a_schema(capsys: pytest.CaptureFixture[str], pictures: Path) -> None:
    code, out, err = _run(capsys, "caption", pictures / "good.png", "scene:unseen:3", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert set(document) == {"schema", "vlcam", "results", "errors"}
    assert document["schema"] == 3
    assert document["errors"] == []
    assert [result["source"] for result in document["results"]] == [str(pictures / "good.png"), "scene:unseen:3"]
    for result in document["results"]:
        assert {"task", "model", "layer", "method", "question", "text", "photo", "grid", "targets"} <= set(result)
        assert result["task"] == "captioning"
        for target in result["targets"]:
            assert 0 <= target["probability"] <= 1
            start, end = target["span"]
            assert result["text"][start:end] == target["label"]
            assert target["flag"] in ("ok", "zero", "negative", "nonfinite")
            neurons = target["neurons"]
            assert neurons["sentence"]
            assert len(neurons["top"]) <= 5
            assert 0 <= neurons["coverage"] <= 1


@pytest.mark.parametrize("command", [["classify"], ["caption"], ["vqa", "--question", "what colour is the star"]])
def test_a_photograph_without_a_model_is_said_first_to_mean_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    photo = tmp_path / "meadow.jpg"
    Image.fromarray(paint()).save(photo)
    code, out, _ = _run(capsys, *command, photo, "--out", tmp_path / "out")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "meadow.jpg" and lines[1].startswith("  The bundled model knows only generated still lifes")
    assert "mean nothing" in lines[1] and "--model" in lines[1]
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert bundled.UNLIKE.replace("'", "\\u0027") in page or bundled.UNLIKE in page
    code, out, _ = _run(capsys, *command, photo, "scene:12", "--json")
    doubted, sure = json.loads(out)["results"]
    assert doubted["notes"][0] == bundled.UNLIKE and bundled.UNLIKE not in sure["notes"]
    assert doubted["preprocessing"]["size"] == [96, 96] and doubted["preprocessing"]["interpolation"] == "box"


def test_generated_pictures_by_their_seed_are_never_doubted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "looks_like_scene", lambda _: False)
    assert _run(capsys, "classify", SCENE)[1].count("mean nothing") == 0


def test_gain_and_logits_of_a_caption(capsys: pytest.CaptureFixture[str], pictures: Path) -> None:
    import vlcam

    photo = pictures / "good.png"
    code, out, err = _run(capsys, "caption", photo, "--json", "--gain", "blank", "--measure", "logit")
    assert (code, err) == (0, "")
    (result,) = json.loads(out)["results"]
    same = vlcam.explain(bundled.captioner(), photo, gain="blank", measure="logit")
    assert result["notes"] == list(same.notes) and len(same.notes) == 1
    for target, other in zip(result["targets"], same.targets, strict=True):
        assert (target["measure"], target["nearly_certain"], target["reading"]) == ("logit", False, [])
        assert target["gain"] == pytest.approx(other.gain) and target["score"] == pytest.approx(other.score)
    code, out, _ = _run(capsys, "caption", photo, "--gain", "blur")
    assert code == 0
    assert (
        out.count("nats") == len(same.targets) + 1 and "Visual information gain: how many nats" in out
    )  # and the note


def test_json_has_no_number_that_json_does_not_have() -> None:
    assert json.loads(dump_json({"a": [float("nan"), 1.0, (float("inf"),)]})) == {"a": [None, 1.0, [None]]}


def test_out_holds_the_report_and_each_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    code, text, err = _run(
        capsys, "vqa", SCENE, "scene:4", "--question", QUESTION, "--out", out, "--json", "--method", "hirescam"
    )
    assert code == 0
    assert err == f"Wrote {out / 'report.html'}\n"
    assert sorted(one.name for one in out.iterdir()) == [
        "000-scene-10.png",
        "000-scene-10.safetensors",
        "001-scene-4.png",
        "001-scene-4.safetensors",
        "report.html",
    ]
    results = json.loads(text)["results"]
    for result in results:
        loaded = Explanation.load(result["files"]["explanation"])
        assert (loaded.text, loaded.question, loaded.method) == (result["text"], QUESTION, "hirescam")
        with Image.open(result["files"]["figure"]) as figure:
            assert min(figure.size) >= 96
    page = (out / "report.html").read_text("utf-8")
    assert page.rstrip().endswith("</html>")
    assert QUESTION in page


def test_demo_prints_a_summary_and_writes_one_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "vlcam-demo"
    code, text, err = _run(capsys, "demo", "--out", out)
    assert code == 0
    assert err == f"Wrote {out / 'report.html'}; open it in a browser.\n"
    assert [one.name for one in out.iterdir()] == ["report.html"]
    page = (out / "report.html").read_text("utf-8")
    for seed, questions in run_demo.DEMO_QUESTIONS.items():
        assert f"scene:{seed}" in text
        for question in questions:
            assert question in text
            assert question in page
    assert text.count("caption  ") == len(run_demo.DEMO_QUESTIONS)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "Content-Security-Policy" in page


def test_the_demo_asks_what_its_scenes_can_answer() -> None:
    from vlcam.scenes.questions import answer

    for seed, questions in run_demo.DEMO_QUESTIONS.items():
        assert all(answer(make(seed), question).answer for question in questions)


def test_neurons_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    names = bundled.read_packaged_names("captioner")
    assert names is not None
    known = next(unit for unit in names.units if unit.name is not None)
    code, listed, err = _run(capsys, "neurons", "captioner")
    assert (code, err) == (0, "")
    assert len(listed.splitlines()) == len(names.units) + 2
    code, one, _ = _run(capsys, "neurons", "captioner", "--unit", known.unit)
    assert code == 0
    assert f"unit {known.unit}: {known.name}" in one
    code, same, _ = _run(capsys, "neurons", "--concept", known.name, "--json")
    document = json.loads(same)
    assert (code, document["schema"], document["layer"]) == (0, 3, "features")
    assert {one["name"] for one in document["together"]} <= set(names.concepts) and document["together"]
    assert {unit["name"] for unit in document["units"]} == {known.name}
    assert known.unit in {unit["unit"] for unit in document["units"]}


def test_export_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = _run(capsys, "scenes", "export", "--split", "val", "--n", 2, "--size", 32, tmp_path / "set")
    assert (code, out) == (0, "")
    assert err == f"Wrote 2 scenes of the val split to {tmp_path / 'set'}\n"
    assert len(list((tmp_path / "set" / "images").iterdir())) == 2


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing.png", r"there is no file .*missing\.png"),
        ("empty.png", r"empty\.png' is empty"),
        ("cut.jpg", r"cut\.jpg' is broken or cut off"),
        ("text.png", r"text\.png' is not a photo"),
        ("folder.png", r"folder\.png' is a folder"),
        ("\0.png", r"can't be read"),
        ("x" * 300, r"can't be read"),
        ("scene:", r"'scene:' was given; expected scene:SEED"),
        ("scene:-1", r"expected scene:SEED with a whole number"),
        ("scene:1.5", r"expected scene:SEED"),
        ("scene:²", r"expected scene:SEED"),
        ("scene:" + "9" * 5000, r"expected scene:SEED"),
        ("scene:test:1:2", r"expected scene:SEED"),
        ("scene:best:1", r"split 'best' was given; expected one of train, val, test, unseen"),
        ("https://example.org/cat.jpg", r"doesn't download"),
    ],
)
def test_a_bad_image_among_good_ones(
    capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path, name: str, text: str
) -> None:
    good, out = pictures / "good.png", tmp_path / "out"
    bad = name if ":" in name else str(pictures / name)
    code, printed, err = _run(capsys, "classify", good, bad, "scene:4", "--json", "--out", out, "--top", 1)
    assert code == 1
    assert err.startswith(f"Wrote {out / 'report.html'}\n")
    _one_line(err.partition("\n")[2])
    assert re.search(text, err)
    document = json.loads(printed)
    assert [result["source"] for result in document["results"]] == [str(good), "scene:4"]
    assert [error["source"] for error in document["errors"]] == [bad]
    assert len(list(out.glob("*.safetensors"))) == 2


def test_a_hundred_megapixels_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "huge.png")
    code, out, err = _run(capsys, "caption", tmp_path / "huge.png", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "100,000,000 pixels" in _one_line(err)
    assert [one.name for one in tmp_path.iterdir()] == ["huge.png"]


TASK_ERRORS: list[tuple[list[str], str]] = [
    (["classify", "--class", "red dog"], r"no class 'red dog'; the nearest it has: 'red"),
    (["classify", "--class", ""], r"no class ''"),
    (["classify", "--contrast", "red star"], r"'red star' was given; expected THIS:THAT"),
    (["classify", "--contrast", "red star:"], r"expected THIS:THAT"),
    (["classify", "--contrast", "red star:red dog"], r"no class 'red dog'"),
    (["classify", "--layer", "featurs"], r"featurs.*features"),
    (["classify", "--layer", ""], r"layer"),
    (["classify", "--method", "gradkam"], r"gradkam.*gradcam"),
    (["classify", "--ranking", "best"], r"ranking 'best' was given; expected one of contribution, paper"),
    (["classify", "--top", "-1"], r"--top"),
    (["classify", "--top", "0"], r"--top"),
    (["classify", "--top", "many"], r"--top"),
    (["classify", "--beams", "2"], r"No such option.*--beams"),
    (["caption", "--caption", ""], r"caption to explain is empty"),
    (["caption", "--caption", "  "], r"caption to explain is empty"),
    (["caption", "--caption", "a red dog"], r"doesn't know the word 'dog'; nearest words"),
    (["caption", "--contrast", "red:dog"], r"doesn't know the word 'dog'"),
    (["caption", "--beams", "0"], r"--beams"),
    (["caption", "--measure", "p"], r"--measure 'p' was given; expected log-probability or logit"),
    (["caption", "--gain", "black"], r"--gain 'black' was given; expected blank or blur"),
    (["vqa"], r"Missing option.*--question"),
    (["vqa", "--question", ""], r"no question was given"),
    (["vqa", "--question", " "], r"no question was given"),
    (["vqa", "--question", "what colour is the sar"], r"doesn't know the word 'sar'; nearest words it knows: star"),
    (["vqa", "--question", "star " * 40], r"has 40 words"),
    (["vqa", "--question", "is there a \x1b[31m<b>star"], r"doesn't know the word"),
    (["vqa", "--question", QUESTION, "--answer", "rd"], r"no answer 'rd'; the nearest it has: 'red'"),
    (["vqa", "--question", QUESTION, "--contrast", "2:many"], r"no answer 'many'"),
]


@pytest.mark.parametrize(("arguments", "text"), TASK_ERRORS)
def test_bad_options_stop_before_any_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: Sequence[str], text: str
) -> None:
    code, out, err = _run(capsys, *arguments, SCENE, "missing.png", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert re.search(text, _one_line(err))
    assert "\x1b" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["classify"], r"Missing argument"),
        (["clasify", SCENE], r"No such command 'clasify'"),
        (["caption", SCENE, "--out"], r"--out"),
        (["neurons", "writer"], r"model 'writer' was given; expected one of classifier, captioner, vqa"),
        (["neurons", "--unit", "-1"], r"unit -1 was given; scenes-captioner has units 0 to"),
        (["neurons", "--unit", "100000"], r"unit 100000 was given"),
        (["neurons", "--concept", "zebra"], r"no unit is named 'zebra'; names in use: "),
        (["scenes", "export", "new", "--split", "tset"], r"split 'tset' was given; expected one of train, val"),
        (["scenes", "export", "new", "--n", "0"], r"--n"),
        (["scenes", "export", "new", "--size", "4"], r"--size"),
        (["scenes", "export", "."], r"is not empty"),
        (["scenes", "export", "file"], r"is a file"),
        (["scenes", "train", "file"], r"'file' is a file"),
        (
            ["scenes", "train", "new", "--device", "warp"],
            r"device 'warp' can't be used: .*; expected cpu, or cuda with a GPU",
        ),
        (["scenes", "evaluate", "--method", "gradkam"], r"gradkam.*gradcam"),
        (["scenes", "evaluate", "--weights", "new"], r"no weights of the bundled classifier in new"),
        (["demo", "--out", "file"], r"can't write into 'file': 'file' is a file"),
        (["demo", "--out", "file/below"], r"'file' is a file"),
        (["demo", "--out", "x" * 300], r"can't write into .*too long"),
        (["classify", SCENE, "--out", "file"], r"'file' is a file"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: Sequence[str],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    code, out, err = _run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert re.search(text, _one_line(err))
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "precious"


def test_without_a_command_the_help_appears(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys)
    assert (code, out) == (2, "")
    assert "Usage: vlcam" in err
    assert "demo" in err


# --- hostile names ----------------------------------------------------------------------------------------------------


def test_markup_and_escapes_in_a_file_name_stay_text(
    capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path
) -> None:
    hostile, out = pictures / HOSTILE, tmp_path / "out"
    (pictures / "good.png").rename(hostile)
    code, text, err = _run(capsys, "caption", hostile, pictures / f"gone{HOSTILE}", "--out", out)
    assert code == 1
    for shown in (text, err):
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "\u202e" not in shown
    assert "<img src=x onerror=alert(1)>" in text
    assert len(err.splitlines()) == 2
    page = (out / "report.html").read_text("utf-8")
    assert "<img src=x" not in page
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", one.name) for one in out.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_no_utf8(capsys: pytest.CaptureFixture[str], pictures: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (pictures / "good.png").rename(pictures / name)
    code, out, _ = _run(capsys, "classify", pictures / name, "--json", "--out", tmp_path / "out")
    assert code == 0
    assert json.loads(out)["results"][0]["photo"]["name"] == "caf\ufffd.png"
    assert (tmp_path / "out" / "report.html").read_text("utf-8")


# --- nothing half-written ---------------------------------------------------------------------------------------------


def test_what_was_found_is_told_where_it_can_not_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GrowingPage, "add", fail)
    assert main(["classify", SCENE, "nowhere.png", "scene:8", "--json", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert [one["source"] for one in document["results"]] == [SCENE, "scene:8"] and "files" not in document["results"][
        0
    ]
    assert [one["source"] for one in document["errors"]] == ["nowhere.png"]
    assert "nowhere.png" in said.err and "No space left on device; give another place; nothing was written" in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_foresaw_comes_after_the_results(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inner = explain

    def fail(task: Any, image: Any, **options: Any) -> Any:
        if options["name"] == "scene:8":
            raise RuntimeError("a bug")
        return inner(task, image, **options)

    monkeypatch.setattr(run_explain, "explain", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["classify", SCENE, "scene:8", "--json", "--out", str(tmp_path / "out")])
    assert [one["source"] for one in json.loads(capsys.readouterr().out)["results"]] == [SCENE]
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 1), (RuntimeError("a bug"), None)]
)
def test_a_failure_while_writing_leaves_the_folder_as_it_was(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    code: int | None,
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(GrowingPage, "write", fail)
    out = tmp_path / "deep" / "out"
    arguments = ["classify", SCENE, "--out", str(out)]
    for existing in (False, True):
        if existing:
            out.mkdir(parents=True)
            (out / "report.html").write_text("an earlier one")
        before = sorted(tmp_path.rglob("*"))
        if code is None:  # nobody foresaw it: the traceback is kept
            with pytest.raises(RuntimeError, match="a bug"):
                main(arguments)
        else:
            assert main(arguments) == code
            assert "No space left on device" in _one_line(capsys.readouterr().err)
        assert sorted(tmp_path.rglob("*")) == before
    assert (out / "report.html").read_text() == "an earlier one"


# --- terminals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_colours_only_where_they_are_welcome(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    out, err = Tty(), Tty()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console.print_heading("[red]scene[/red]\x1b[2J")
    assert ("\x1b[" in out.getvalue()) is coloured
    assert "[red]scene[/red]?[2J" in out.getvalue()
    with console.show_bar("drawing") as advance:
        advance(1, 2)
    assert ("drawing" in err.getvalue()) is coloured


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with console.show_bar("drawing") as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")


def test_training_says_its_losses_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with console.show_training() as report:
        report(0, 1000, {"drawn": 500, "of": 1000})
        for step in range(0, 1000, 20):
            report(step, 1000, {"words": 1.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["drawing 500/1000", "training 0/1000 words 1.500"]
    assert len(lines) == 21


def test_measured_numbers_become_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import vlcam.benchmark.measure

    kinds = {"colour words": {"n": 7, "map": 0.5, "area": 0.04, "interval": (0.4, 0.6)}}
    found = {"scenes": 20, "quality": {"map": 0.98, "vqa": float("nan")}, "grounded_scenes": 5, "grounding": kinds}
    measured: dict[str, Any] = {"method": "gradcam", "splits": {"test": found}}
    asked: list[dict[str, Any]] = []

    def measure(folder: Path | None, **options: Any) -> dict[str, Any]:
        asked.append(options)
        return measured

    monkeypatch.setattr(vlcam.benchmark.measure, "measure", measure)
    code, out, _ = _run(capsys, "scenes", "evaluate", "--n", 20, "--grounding", 5)
    assert code == 0
    assert (asked[0]["n"], asked[0]["grounded"], asked[0]["method"]) == (20, 5, "gradcam")
    assert re.search(r"map +0\.980", out)
    assert re.search(r"vqa +-\n", out)
    assert re.search(r"colour words +7 +0\.500 +0\.040 +0\.400-0\.600", out)
    code, out, _ = _run(capsys, "scenes", "evaluate", "--n", 20, "--json")
    assert json.loads(out)["splits"]["test"]["quality"] == {"map": 0.98, "vqa": None}


def test_the_defaults_of_train_are_the_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlcam.scenes.models import train

    plans: list[train.TrainingPlan] = []
    monkeypatch.setattr(train, "train", lambda folder, plan, **_: plans.append(plan))
    assert _run(capsys, "scenes", "train", "never-made")[0] == 0
    assert plans == [train.TrainingPlan()]


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_scenes, "run_export", stop)
    assert main(["scenes", "export", "nowhere"]) == 130


# --- as real processes ------------------------------------------------------------------------------------------------


def _process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vlcam", *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, env={**os.environ, **variables}, check=False)


def test_a_process_prints_ascii_where_it_must_and_no_warning() -> None:
    done = _process("vqa", SCENE, "missing.png", "--question", QUESTION, PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert QUESTION.encode() in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr
    assert re.fullmatch(rb"vlcam: there is no file 'missing\.png'[^\n]*\n", done.stderr), done.stderr


def test_usage_errors_of_a_process_load_no_torch() -> None:
    code = "import sys\nfrom vlcam.cli import main\ncode = main(['vqa', 'x.png'])\nprint(code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "2 False\n"
    assert done.stderr == "vlcam: Missing option '--question' (see vlcam vqa --help)\n"


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind on Windows")
def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    command = [sys.executable, "-c", "import sys; from vlcam.cli import main; sys.exit(main(['neurons']))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        cast(io.BufferedReader, process.stdout).close()
        err = cast(io.BufferedReader, process.stderr).read()
    assert process.returncode == 1
    assert err == b""


def test_the_default_is_the_method_that_suits_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"masked-gradients-balanced": [], "xgradcam": ["--method", "xgradcam"]}
    for method, more in asked.items():
        assert main(["caption", "scene:12", "--caption", "a red star", *more, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["results"]
        assert found["method"] == method and (found["choice"] is None) == bool(more)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["classify", "scene:3"], 0),
        (["classify", "scene:3", "there-is-no-such-photo.png"], 1),
        (["classify", "scene:3", "--method", "no-such-method"], 2),
        (["no-such-command"], 2),
        (["classify"], 2),
    ],
)
def test_exit_codes_are_those_of_the_help(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    assert (capsys.readouterr().err != "") == (code != 0)
    assert main(["--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Exit codes: 0 done; 1 something could not be done" in said and "130 interrupted" in said
