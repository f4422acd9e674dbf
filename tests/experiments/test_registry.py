"""Experiments of your own: registered, found by their keys, numbered, and run as the paper's are."""

from dataclasses import replace
from pathlib import Path

import pytest

from vlcam.contracts import InputError
from vlcam.experiments import (
    Experiment,
    Result,
    ResultRow,
    Setting,
    get_experiment,
    list_experiments,
    register,
    registry,
    run_one,
)
from vlcam.experiments.running import choose_experiments


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))


def run(setting: Setting, /) -> Result:
    setting.report_progress(1, 1)
    return Result(
        5, "wrong", "Mine", "What?", "So.", "scenes", "tiny", (ResultRow("a", 1.0, 0.5, 1.5, setting.count(3, 9)),)
    )


MINE = Experiment("mine", "My own", run)


def test_the_papers_come_first() -> None:
    assert list_experiments()[0] == "localisation" and len(list_experiments()) == 16
    assert [get_experiment(key).number for key in list_experiments()] == list(range(1, 17))
    assert get_experiment("Words ").key == "words"
    with pytest.raises(InputError, match="no experiment 'word'; did you mean words"):
        get_experiment("word")


def test_an_experiment_of_your_own_gets_the_next_number() -> None:
    mine = register(MINE)
    assert mine == replace(MINE, number=17) == get_experiment("mine") == register(MINE)
    assert register(Experiment("my-other_2", "Other", run)).number == 18
    assert [one.key for one in choose_experiments(["all"])][-2:] == ["mine", "my-other_2"]
    assert [one.key for one in choose_experiments(["17,words"])] == ["words", "mine"]
    with pytest.raises(InputError, match="numbered 1 to 18"):
        choose_experiments(["19"])


@pytest.mark.parametrize("key", ["", "17", "1-3", "Mine", "a b", "../x", "é", "-"])
def test_a_key_is_one_plain_word(key: str) -> None:
    with pytest.raises(InputError, match="expected a word of lower-case letters"):
        register(replace(MINE, key=key))


@pytest.mark.parametrize("key", ["all", "words"])
def test_a_key_that_is_taken_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"there is an experiment '{key}' already"):
        register(replace(MINE, key=key))
    assert get_experiment("words").title == "Which target and method ground a word"


def test_it_runs_with_its_own_number_and_is_written(tmp_path: Path) -> None:
    register(MINE)
    told: list[tuple[int, int]] = []
    setting = Setting(quick=True, out=tmp_path, progress=lambda done, total: told.append((done, total)))
    result = run_one("mine", setting)
    assert (result.number, result.key, result.rows[0].n) == (17, "mine", 3) and result.seconds >= 0 and told == [(1, 1)]
    assert {file.name for file in tmp_path.iterdir()} == {"17-mine.json", "17-mine-chart.png"}
    assert run_one(get_experiment("mine"), Setting()).rows[0].n == 9


def test_what_returns_no_result_is_refused() -> None:
    register(replace(MINE, run=lambda setting, /: None))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="experiment mine returned a NoneType; expected a "):
        run_one("mine", Setting())


def test_one_of_generated_scenes_takes_no_other_data(tmp_path: Path) -> None:
    register(replace(MINE, real=False))
    with pytest.raises(InputError, match=r"experiment 17 \(mine\) runs on generated pictures"):
        run_one("mine", Setting(data=tmp_path))
