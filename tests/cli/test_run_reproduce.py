"""vlcam reproduce: which experiments are meant, what is printed and written, and what can't run."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlcam.cli import main
from vlcam.contracts import InputError
from vlcam.experiments import registry, running
from vlcam.experiments.registry import PAPER
from vlcam.experiments.results.result import Result, make_row
from vlcam.experiments.running import choose_experiments
from vlcam.experiments.setting import Setting


def fake(number: int, key: str) -> Any:
    """A module whose experiment takes no time."""

    def run(setting: Setting) -> Result:
        setting.report_progress(1, 1)
        if setting.data is not None:
            raise InputError("the data don't have what is needed; give others")
        own = make_row("faithfulness", "gradcam", 0.5, 0.4, 0.6, 20, column="")
        return Result(number, key, f"Title of {key}", "What?", "So.", "scenes", "tiny", (own,), notes=("A note.",))

    return SimpleNamespace(run=run)


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {one.key: one.number for one in PAPER}
    monkeypatch.setattr(
        registry, "import_module", lambda name: fake(numbers[name.rpartition(".")[2]], name.rpartition(".")[2])
    )


def test_there_are_sixteen_experiments_and_each_has_a_module() -> None:
    from importlib import import_module

    assert [one.number for one in PAPER] == list(range(1, 17))
    assert all(callable(import_module(f"vlcam.experiments.{one.key}").run) for one in PAPER)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (["all"], list(range(1, 17))),
        (["3"], [3]),
        (["1-3", "16"], [1, 2, 3, 16]),
        (["words,1", "seeds"], [1, 2, 16]),
        (["2", "2", "SEEDS"], [2]),
    ],
)
def test_experiments_are_named_by_number_range_key_or_all(wanted: list[str], numbers: list[int]) -> None:
    assert [one.number for one in choose_experiments(wanted)] == numbers


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (["17"], "they are numbered 1 to 16"),
        (["0"], "they are numbered 1 to 16"),
        (["5-3"], "they are numbered 1 to 16"),
        (["word"], "did you mean words"),
        (["zzz"], "there is no experiment 'zzz'. The experiments are 1 localisation"),
        ([","], "no experiment was named"),
    ],
)
def test_experiments_that_do_not_exist(wanted: list[str], text: str) -> None:
    with pytest.raises(InputError, match=text):
        choose_experiments(wanted)


@pytest.mark.usefixtures("quickly")
def test_results_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    assert main(["reproduce", "1", "6", "--quick", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert (
        "Title of localisation" in printed
        and "gradcam" in printed
        and "[0.400, 0.600]" in printed
        and "A note." in printed
    )
    assert {path.name for path in out.iterdir()} == {
        "01-localisation.json",
        "01-localisation-chart.png",
        "06-faithfulness.json",
        "06-faithfulness-chart.png",
        "results.md",
    }
    assert main(["reproduce", "3", "--out", str(out)]) == 0  # the table has earlier results, too
    table = (out / "results.md").read_text("utf-8")
    assert all(f"Title of {key}" in table for key in ("localisation", "pointing", "faithfulness"))
    assert "0.254" in table  # the paper's number beside ours


@pytest.mark.usefixtures("quickly")
def test_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "1-2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["number"] for one in found["results"]] == [1, 2] and found["not run"] == []


@pytest.mark.usefixtures("quickly")
def test_what_the_data_do_not_suit_is_said_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["reproduce", "1", "--data", str(tmp_path)]) == 2
    assert "the data don't have what is needed" in capsys.readouterr().err
    assert main(["reproduce", "bias", "--data", str(tmp_path)]) == 2
    assert "runs on generated pictures and the bundled models only" in capsys.readouterr().err
    assert main(["reproduce", "1", "2", "--data", str(tmp_path)]) == 2
    assert "none of the 2 experiments could run" in capsys.readouterr().err
    kept = running.run_one

    def sometimes(experiment: Any, setting: Setting) -> Result:
        return kept(experiment, Setting() if experiment.number == 2 else setting)

    monkeypatch.setattr("vlcam.cli.run_reproduce.run_one", sometimes)
    assert main(["reproduce", "1", "2", "--data", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "Not run: the data don't have what is needed" in printed and "[0.400, 0.600]" in printed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["1", "--data", "nowhere"], "there is nothing at 'nowhere'"),
        (["1", "--method", "gradcan"], "did you mean gradcam"),
        (["1", "--arch", "torchvision/vgg16"], "requires --model"),
        (["1", "--out", "file"], "is a file"),
    ],
)
def test_wrong_options(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(["reproduce", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_real_data_need_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the bundled models know generated scenes only: give --model"):
        Setting(data=tmp_path).load_task("classification")


# --- extensions of your own ------------------------------------------------------------------------------------------------------

EXTENSION = """
from vlcam.experiments import Experiment, Result, ResultRow, register

def run(setting):
    rows = tuple(ResultRow(name, 1.5, 1.0, 2.0, 3) for name in ("mine", *setting.methods, *setting.metrics))
    return Result(99, "other", "Mine", "What?", "So.", "scenes", "tiny", rows)

register(Experiment("mine", "Mine", run))
"""


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    monkeypatch.setattr(sys, "modules", sys.modules.copy())


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("by", ["path", "name"])
def test_an_experiment_of_your_own_runs_by_its_key(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_extension.py").write_text(EXTENSION)
    monkeypatch.syspath_prepend(tmp_path)
    module = str(tmp_path / "my_extension.py") if by == "path" else "my_extension"
    out = tmp_path / "out"
    more = ["--method", "gradcam", "--metric", "relevance-mass", "--out", str(out)]
    assert main(["reproduce", "mine", "--import", module, *more]) == 0
    printed = capsys.readouterr().out
    assert "17. Mine" in printed and "[1.00, 2.00]" in printed and "relevance-mass" in printed
    assert {file.name for file in out.iterdir()} == {"17-mine.json", "17-mine-chart.png", "results.md"}
    assert json.loads((out / "17-mine.json").read_text())["number"] == 17
    assert "### 17. Mine" in (out / "results.md").read_text()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--import", "no_such_module"], "there is no module 'no_such_module'"),
        (["--import", "no.such.module"], "there is no module 'no.such.module'"),
        (["--import", "missing.py"], "there is no file 'missing.py'"),
        (["--metric", "relevance"], "did you mean relevance-mass"),
    ],
)
def test_extensions_that_are_not_there(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "1", *arguments]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.usefixtures("own")
def test_an_error_in_an_extension_is_shown_whole(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('in my own code')")
    with pytest.raises(RuntimeError, match="in my own code"):
        main(["reproduce", "1", "--import", str(tmp_path / "broken.py")])
