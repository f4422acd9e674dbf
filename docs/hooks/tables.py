"""What stands in a page where it says ``<!-- generate: NAME -->``: tables made from the package and from measured numbers.

Nothing in them is typed. Each maker gives Markdown; :data:`MAKERS` has them by name.
"""

import html
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import typer

import vlcam
from vlcam.benchmark import card
from vlcam.benchmark.gains import COLUMNS as GAIN_COLUMNS
from vlcam.cli.app import app
from vlcam.cli.run_models import list_families
from vlcam.contracts import Method
from vlcam.experiments.results.result import Result, load, make_markdown_table, make_overview, to_markdown
from vlcam.neurons.names.record import FLAGS
from vlcam.neurons.probes.open_probe import FORMS
from vlcam.scenes.models.zoo import get_weights_folder
from vlcam.tasks import recipe

DATA: Final = Path(__file__).resolve().parents[1] / "results" / "data"
"""Numbers that commands measured and wrote, beside those in the package."""

_TYPE: Final = re.compile(r"<([^>]+)>")
_ARXIV: Final = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def make_table(head: Sequence[str], body: Sequence[Sequence[str]], *, texts: int | None = None) -> str:
    """A Markdown table; by default all columns are texts."""
    return make_markdown_table([head, *body], texts=len(head) if texts is None else texts)


def find_packages() -> Iterator[str]:
    """The packages with a public face: those whose ``__init__`` exports something. The command line has a page of its own."""
    root = Path(vlcam.__file__).parent
    folders = (Path(folder) for folder, _, _ in os.walk(root, followlinks=True))  # vlcam/tasks is a link in a checkout
    for file in sorted(folder / "__init__.py" for folder in folders if (folder / "__init__.py").is_file()):
        name = ".".join(("vlcam", *file.parent.relative_to(root).parts))
        if name != "vlcam.cli" and list_exports(name):
            yield name


def list_exports(package: str) -> list[str]:
    """What a package's ``__init__`` exports: its ``__all__``, or without one all that it imports but modules."""
    module = import_module(package)
    own = [name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)]
    return list(getattr(module, "__all__", own))


def list_public(package: str) -> list[str]:
    """The public names of a package that are not packages themselves."""
    packages = set(find_packages())
    return [one for one in list_exports(package) if not one.startswith("__") and f"{package}.{one}" not in packages]


def summarise(package: str) -> str:
    """The first sentence of a package's docstring."""
    text = (import_module(package).__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.split())


def make_packages() -> str:
    """Every public package, and what it is for."""
    return make_table(
        ["package", "what is in it"], [[f"[`{one}`]({one}.md)", summarise(one)] for one in find_packages()]
    )


def make_methods() -> str:
    """Every registered method."""
    body = []
    for name in vlcam.list_methods():
        method = vlcam.get_method(name)
        paper = _ARXIV.sub(lambda found: f"[arXiv {found[1]}](https://arxiv.org/abs/{found[1]})", method.paper)
        kind = "one-run" if isinstance(method, Method) else "perturbation"
        equation = html.escape(method.equation).replace("|", "&#124;")
        body.append([f"`{name}`", method.title, kind, method.cost, paper, f"<code>{equation}</code>"])
    return make_table(["name", "title", "kind", "cost", "source", "equation"], body)


def make_families() -> str:
    """The families of models that are known, as ``vlcam models`` lists them."""
    body = [[f"`{one.name}`", one.does, one.tower, f"`{one.tap}`", one.tested] for one in list_families()]
    return make_table(["model", "says", "vision tower", "layer explained", "tested"], body)


def make_probes() -> str:
    """What may be given as a probe."""
    return "\n".join(f"- {one}" for one in FORMS)


def make_flags() -> str:
    """The warnings about names."""
    return make_table(["flag", "meaning"], [[f"`{flag}`", meaning] for flag, meaning in FLAGS.items()])


def make_commands() -> str:
    """Every command with its arguments and options, from the application itself."""
    root = typer.main.get_command(app)
    context = root.make_context("vlcam", [], resilient_parsing=True)
    return "\n\n".join(_describe_command(root, context, "vlcam"))


def _describe_command(command: Any, context: Any, path: str) -> Iterator[str]:
    level = "#" * min(2 + path.count(" "), 4)
    yield f"{level} {path}"
    yield (command.help or "").strip()
    commands: Mapping[str, Any] = getattr(command, "commands", {})
    if not commands:
        yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    records = [one.get_help_record(context) for one in command.get_params(context)]
    shown = [[f"`{_TYPE.sub(_name_type, name)}`", text] for name, text in filter(None, records) if "--help" not in name]
    if shown:
        yield make_table(["option", "meaning"], [[name, _escape(text)] for name, text in shown])
    for name, child in commands.items():
        inner = child.make_context(name, [], parent=context, resilient_parsing=True)
        yield from _describe_command(child, inner, f"{path} {name}")


def _name_type(found: re.Match[str]) -> str:
    """What stands for a value: typer writes Python's types."""
    kind = found[1].removeprefix("list[").removesuffix("]").removesuffix(" range")
    return {"str": "TEXT", "path": "PATH", "int": "N", "float": "NUMBER"}[kind.lower()]


def _escape(text: str) -> str:
    return text.replace("[", "\\[").replace("<", "&lt;").replace("{", "&#123;")


def read_weights_json(name: str) -> dict[str, Any]:
    """Numbers that were measured of the bundled models, from the package."""
    found: dict[str, Any] = json.loads((get_weights_folder() / name).read_text("utf-8"))
    return found


def read_data(name: str) -> dict[str, Any]:
    """Numbers that a command measured and wrote."""
    found: dict[str, Any] = json.loads((DATA / name).read_text("utf-8"))
    return found


def make_benchmark(name: str) -> str:
    """A table that a script of tests/benchmarks wrote, and what wrote it."""
    found = read_data(name)
    if "commit" in found:
        when = f"as printed on {found['date']}, commit {found['commit']}"
    else:
        when = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    return f"`{found['command']}` ({when}):\n\n" + make_table(found["head"], found["rows"], texts=1)


def make_kept_warning(part: str) -> str:
    """How often the warning about Grad-CAM errs: in each world, or at each threshold."""
    found = read_data("kept-warning.json")
    note = f"`{found['command']}`, with two trainings of the flattened head:\n\n" if part == "worlds" else ""
    return note + make_table(found[part]["head"], found[part]["rows"], texts=1)


def make_gains() -> str:
    """How well the visual gain, and the plain log-probability, tell words apart."""
    gains = read_data("gain.json")["gain"]
    parts = [f"On {gains['scenes']} test scenes:"]
    for title, rows in (
        ("visible words against function words", gains["seen"]),
        ("true words against false ones in their place", gains["true"]),
    ):
        body = [[kind, *map(_format_area, (row[name] for name in GAIN_COLUMNS))] for kind, row in rows.items()]
        heads = [name if name == "log-probability" else f"gain ({name})" for name in GAIN_COLUMNS]
        parts.append(make_table([title, *heads], body, texts=1))
    return "\n\n".join(parts)


def _format_area(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{found['auroc']:.2f} ({low:.2f}-{high:.2f})"


def read_experiments() -> list[Result]:
    """What ``vlcam reproduce`` found, in the order of the experiments."""
    return sorted((load(file) for file in (DATA / "reproduce").glob("*.json")), key=lambda one: one.number)


def make_experiments_overview() -> str:
    """A line for every experiment, without what all have in common."""
    found = read_experiments()
    head, *body = (line[:7] for line in make_overview(found))
    seconds = sum(one.seconds for one in found)
    note = f"`vlcam reproduce all --n 150`, {seconds / 60:.0f} minutes in all on one core of a busy machine. Each experiment is below."
    return f"{note}\n\n{make_table(head, body, texts=3)}"


def make_experiments() -> str:
    """Every experiment with its table."""
    return "\n".join(to_markdown(one) for one in read_experiments())


def make_recipe(meanings: Mapping[str, str]) -> str:
    """The keys of a recipe, or of a part of it."""
    return make_table(["key", "meaning"], [[f"`{key}`", _escape(meaning)] for key, meaning in meanings.items()])


def make_schema(part: str) -> str:
    """The fields of one part of the JSON document, from its schema: ``explanation``, ``target`` or another of its definitions."""
    schema = json.loads(files("vlcam.explanation").joinpath("schema.json").read_text("utf-8"))
    fields = (schema if part == "explanation" else schema["$defs"][part])["properties"]

    def name_type(field: Mapping[str, Any]) -> str:
        if "$ref" in field:
            return str(field["$ref"]).rpartition("/")[2]
        if "items" in field:
            return f"list of {name_type(field['items'])}"
        if "enum" in field or "const" in field:
            return ", ".join(f"`{'null' if one is None else one}`" for one in field.get("enum", [field.get("const")]))
        if "oneOf" in field:
            return " or ".join(name_type(one) for one in field["oneOf"])
        kind = field["type"]
        return " or ".join(kind) if isinstance(kind, list) else str(kind)

    return make_table(
        ["field", "type", "what it is"],
        [[f"`{name}`", name_type(field), field.get("description", "")] for name, field in fields.items()],
    )


MAKERS: Final[Mapping[str, Callable[[], str]]] = {
    "packages": make_packages,
    "methods": make_methods,
    "families": make_families,
    "probes": make_probes,
    "flags": make_flags,
    "commands": make_commands,
    "quality": lambda: card.make_quality_table(read_weights_json("card.json")),
    "grounding test": lambda: card.make_grounding_table(read_weights_json("card.json"), "test"),
    "grounding unseen": lambda: card.make_grounding_table(read_weights_json("card.json"), "unseen"),
    "texts": lambda: card.make_texts_table(read_weights_json(card.TEXTS_FILE)),
    "texts by kind": lambda: card.make_kinds_table(read_weights_json(card.TEXTS_FILE)),
    "texts causes": lambda: card.make_causes_table(read_weights_json(card.TEXTS_FILE)),
    "json explanation": lambda: make_schema("explanation"),
    "json target": lambda: make_schema("target"),
    "json evidence": lambda: make_schema("evidence"),
    "json named evidence": lambda: make_schema("named_evidence"),
    "recipe keys": lambda: make_recipe(recipe.KEY_MEANINGS),
    "recipe preprocess": lambda: make_recipe(recipe.CHANGE_MEANINGS),
    "planted": lambda: card.make_planted_table(read_weights_json(card.TEXTS_FILE)),
    "gains": make_gains,
    "experiments overview": make_experiments_overview,
    "experiments": make_experiments,
    "speed": lambda: make_benchmark("speed.json"),
    "method cost": lambda: make_benchmark("method-cost.json"),
    "default method": lambda: make_benchmark("default-method.json"),
    "kept in worlds": lambda: make_kept_warning("worlds"),
    "kept as a warning": lambda: make_kept_warning("errors"),
    "default method unseen": lambda: make_benchmark("default-method-unseen.json"),
    "recipe": lambda: make_benchmark("recipe.json"),
    "throughput": lambda: make_benchmark("throughput.json"),
    "drop-in": lambda: make_benchmark("drop-in.json"),
}
