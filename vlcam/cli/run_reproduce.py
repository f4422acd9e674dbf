"""What ``vlcam reproduce`` does. Imported when the command runs, never before."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from vlcam.cli import console
from vlcam.cli.check_explain import name_options
from vlcam.cli.reproduce_options import ReproduceOptions
from vlcam.contracts import InputError, VlcamError
from vlcam.experiments.registry import get_experiment, list_experiments
from vlcam.experiments.results.result import (
    Result,
    load,
    make_cells,
    make_markdown_table,
    make_overview,
    to_json,
    to_markdown,
)
from vlcam.experiments.running import ExperimentOutcome, choose_experiments, run_one
from vlcam.experiments.setting import Setting
from vlcam.files import check_folder, dump_json, make_folder, write_text
from vlcam.methods import get_method
from vlcam.metrics import get_metric

TABLE = "results.md"


def run_reproduce(wanted: ReproduceOptions) -> int:
    """Run the experiments, print each as soon as it is done, and write what was found.

    Returns the exit code: 1 if an experiment could not run. If several are wanted, one that doesn't suit the data is reported and skipped;
    if none could run, that is an error.
    """
    for module in wanted.modules or ():
        import_extension(module)
    if wanted.list_all:
        list_known(as_json=wanted.as_json)
        return 0
    if not wanted.experiments:
        raise InputError(
            "no experiment was named; give all, numbers such as 1 3-6, or keys (see vlcam reproduce --list)"
        )
    setting = make_setting(wanted)
    experiments = choose_experiments(wanted.experiments)
    if setting.data is not None and not setting.data.exists():
        raise InputError(f"there is nothing at {str(setting.data)!r}; give the folder of a data set with --data")
    if setting.out is not None:
        check_folder(setting.out)
        make_folder(setting.out)
    done: list[ExperimentOutcome] = []
    for experiment in experiments:
        with console.show_bar(f"{experiment.number}. {experiment.title}") as progress:
            try:
                with name_options():
                    ran = ExperimentOutcome(experiment, run_one(experiment, setting.replace_progress(progress)))
            except VlcamError as error:
                if len(experiments) == 1:
                    raise
                ran = ExperimentOutcome(experiment, why=str(error))
        done.append(ran)
        if not wanted.as_json:
            _show(ran)
    results = [ran.result for ran in done if ran.result is not None]
    if not results:
        raise InputError(f"none of the {len(done)} experiments could run: {done[0].why}")
    if not wanted.as_json and len(results) > 1:
        head, *body = make_overview(results)
        console.print_table(head, body, texts=3)
    if setting.out is not None:
        write_text(setting.out / TABLE, make_document(read_results(setting.out)))
        console.say(f"Wrote {setting.out / TABLE}, and for each experiment a JSON file and a chart")
    if wanted.as_json:
        failed = [
            {"number": ran.experiment.number, "key": ran.experiment.key, "why": ran.why} for ran in done if ran.why
        ]
        console.print_data(dump_json({"results": [to_json(one) for one in results], "not run": failed}))
    return 1 if len(results) < len(done) else 0


def list_known(*, as_json: bool) -> None:
    """Print the known experiments: number, key, title, and whether they run on your own data."""
    found = [get_experiment(key) for key in list_experiments()]
    if as_json:
        rows = [{"number": one.number, "key": one.key, "title": one.title, "real": one.real} for one in found]
        console.print_data(dump_json({"experiments": rows}))
        return
    body = [[str(one.number), one.key, one.title, "yes" if one.real else "generated only"] for one in found]
    console.print_table(["no.", "key", "experiment", "your own data"], body, texts=4)


def import_extension(module: str) -> None:
    """Import a module by its name, or run a .py file, so that it can register what it has. Its exceptions are passed on.

    Raises InputError if there is no such module or file.
    """
    if not module.endswith(".py"):
        try:
            found = find_spec(module)
        except (ImportError, ValueError):  # of the package that it should be in
            found = None
        if found is None:
            raise InputError(
                f"there is no module {module!r}; give one that Python can import, or the path of a .py file"
            )
        import_module(module)
        return
    path = Path(module)
    if not path.is_file():
        raise InputError(f"there is no file {module!r} (looked from {Path.cwd()}); check the path")
    spec = spec_from_file_location(f"_vlcam_extension_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{module!r} can't be run as a module; give a .py file")
    sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])


def read_results(folder: Path) -> list[Result]:
    """Every result in a folder, of this run and of earlier ones, by number. Raises InputError for a file that isn't a result."""
    files = (folder / f"{get_experiment(key).number:02d}-{key}.json" for key in list_experiments())
    return [load(file) for file in files if file.is_file()]


def make_document(results: Sequence[Result]) -> str:
    """All results as Markdown: the overview, then each experiment."""
    return "\n".join([make_markdown_table(make_overview(results), texts=3), "", *map(to_markdown, results)])


def _show(ran: ExperimentOutcome) -> None:
    result = ran.result
    console.print_heading(f"{ran.experiment.number}. {ran.experiment.title}")
    if result is None:
        console.print_paragraph(f"Not run: {ran.why}", indent=2)
        console.print_line()
        return
    console.print_paragraph(result.question, indent=2)
    better = f" {result.better.capitalize()} is better." if result.better else ""
    console.print_paragraph(f"{result.protocol} Data: {result.world}. Model: {result.model}.{better}", indent=2)
    head, *body = make_cells(result)
    console.print_table(head, body)
    for note in result.notes:
        console.print_paragraph(note, indent=2)
    for source in result.sources:
        console.print_paragraph(f"Paper: {source}.", indent=2)
    console.print_paragraph(f"{result.seconds:.0f} s", indent=2)
    console.print_line()


def make_setting(wanted: ReproduceOptions) -> Setting:
    """The options of the command as a setting. Raises InputError for methods that don't exist."""
    if wanted.arch is not None and wanted.model is None:
        raise InputError(f"--arch {wanted.arch} requires --model and the path of a state dict")
    return Setting(
        data=wanted.data,
        model=wanted.model,
        arch=wanted.arch,
        rival=wanted.rival,
        methods=tuple(dict.fromkeys(get_method(one).name for one in wanted.methods or ())),
        metrics=tuple(dict.fromkeys(get_metric(one).name for one in wanted.metrics or ())),
        quick=wanted.quick,
        most=wanted.most,
        seed=wanted.seed,
        out=wanted.out,
    )
