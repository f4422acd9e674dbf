"""A command's options are the fields of one record."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, final

import pytest
import typer
from typer.testing import CliRunner

import vlcam.cli
from vlcam.cli import app
from vlcam.cli.compare_options import CompareOptions
from vlcam.cli.explain_options import DemoOptions, ExplainOptions, ModelsOptions
from vlcam.cli.neuron_options import EvaluateTextsOptions, ListOptions, NeuronOptions
from vlcam.cli.options import REQUIRED, In, add_command, list_parameters
from vlcam.cli.reproduce_options import ReproduceOptions
from vlcam.cli.scene_options import EvaluateModelsOptions, ExportOptions, NameScenesOptions, TrainOptions
from vlcam.cli.study_options import ScoreOptions, StudyOptions

HERE = Path(vlcam.cli.__file__).parent
RECORDS: dict[str, list[type]] = {
    "run_compare": [CompareOptions],
    "run_demo": [DemoOptions],
    "run_explain": [ExplainOptions],
    "run_models": [ModelsOptions],
    "run_neurons": [ListOptions, NeuronOptions, EvaluateTextsOptions],
    "run_reproduce": [ReproduceOptions],
    "run_scenes": [EvaluateModelsOptions, ExportOptions, NameScenesOptions, TrainOptions],
    "run_study": [StudyOptions, ScoreOptions],
}


@final
@dataclass(frozen=True, kw_only=True)
class Toy:
    """Four options, of which one is declared twice and one stands in a single command."""

    files: Annotated[list[str], typer.Argument(help="Files.")]
    top: Annotated[int, typer.Option("--top", min=1, help="How many.")] = 3
    method: Annotated[
        str,
        In("one", typer.Option("--method", help="One way.")),
        In("two", typer.Option("--method", help="Another way."), default=""),
    ] = "gradcam"
    question: Annotated[str | None, In("two", typer.Option("--question", help="What?"), default=REQUIRED)] = None


def made() -> tuple[typer.Typer, list[Toy]]:
    toys, seen = typer.Typer(), list[Toy]()

    @add_command(toys, "one", Toy)
    def one(wanted: Toy) -> int:
        """The first command."""
        seen.append(wanted)
        return 7

    @add_command(toys, "two", Toy)
    def two(wanted: Toy) -> None:
        """The second command."""
        seen.append(wanted)

    assert one(Toy(files=[])) == 7  # the function stays what it was
    seen.clear()
    return toys, seen


def test_a_field_is_all_that_an_option_needs() -> None:
    toys, seen = made()
    run = CliRunner().invoke
    assert run(toys, ["one", "a", "b", "--top", "5"]).exit_code == 0
    assert run(toys, ["two", "a", "--question", "why"]).exit_code == 0
    assert seen == [Toy(files=["a", "b"], top=5), Toy(files=["a"], method="", question="why")]
    assert toys.registered_commands[0].callback is not None
    assert toys.registered_commands[0].callback(files=["a"]) == 7
    for wrong in (["one"], ["one", "a", "--top", "0"], ["one", "a", "--question", "why"], ["two", "a"]):
        assert run(toys, wrong).exit_code == 2
    assert len(seen) == 3


def test_the_help_is_in_the_order_of_the_fields() -> None:
    toys, _ = made()
    texts = {name: CliRunner().invoke(toys, [name, "--help"]).output for name in ("one", "two")}
    assert "The first command." in texts["one"] and "The second command." in texts["two"]
    assert re.search(r"Files\..*How many\..*One way\.", texts["one"], re.DOTALL) and "What?" not in texts["one"]
    assert re.search(r"Another way\..*What\?", texts["two"], re.DOTALL) and "One way" not in texts["two"]
    assert [one.name for one in list_parameters(Toy, "one")] == ["files", "top", "method"]


@pytest.mark.parametrize(("module", "records"), RECORDS.items(), ids=RECORDS)
def test_every_option_is_used_by_the_module_that_does_the_work(module: str, records: list[type]) -> None:
    text = (HERE / f"{module}.py").read_text("utf-8")
    if module in ("run_compare", "run_explain", "run_models"):  # what needs no model is looked at before it
        text += (HERE / "check_explain.py").read_text("utf-8")
    for record in records:
        for field in fields(record):
            name = "targets" if field.name in ("classes", "answers") and record is ExplainOptions else field.name
            assert f"wanted.{name}" in text or f'"{name}"' in text, f"{record.__name__}.{field.name}"


def test_every_record_is_that_of_a_command() -> None:
    text = Path(app.__file__).read_text("utf-8")
    for record in [one for records in RECORDS.values() for one in records]:
        assert f", {record.__name__})\ndef " in text
