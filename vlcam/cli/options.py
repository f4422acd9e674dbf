"""How a command gets its options: all of them are declared in one frozen record, whose fields carry typer's declarations.

A new option takes two edits: a field of the group's record (such as :class:`vlcam.cli.explain_options.ExplainOptions`), and its use in
the module that does the work (such as :mod:`vlcam.cli.run_explain`). Nothing heavy is imported here.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, final, get_args, get_type_hints

import typer
from typer.models import ParameterInfo

from vlcam.cli.method_names import METHODS

Given = TypeVar("Given")
"""The record of a command's options."""

REQUIRED: Final = Parameter.empty
"""The default of an option that has to be given."""


_FIELDS_OWN: Final = object()


@final
@dataclass(frozen=True)
class In:
    """In the annotation of a field that the commands of a group don't all share: which ones have it, and how they declare it.

    ``commands`` are their names, separated by blanks; ``default`` is used in place of the field's.
    """

    commands: str
    declaration: Any
    default: Any = _FIELDS_OWN


def add_command(
    app: typer.Typer, name: str, options: type[Given]
) -> Callable[[Callable[[Given], int | None]], Callable[[Given], int | None]]:
    """Make the decorated function, which takes a record of options, a command with an option for each field of the record.

    A field's annotation holds typer's declaration, ``Annotated[int, typer.Option("--top", help="...")]``, or an :class:`In` for each
    way in which it is declared. The options come in the order of the fields, with their defaults; what a command lacks keeps its default.
    """

    def add(function: Callable[[Given], int | None]) -> Callable[[Given], int | None]:
        def command(**given: Any) -> int | None:
            return function(options(**given))

        command.__doc__ = function.__doc__
        command.__signature__ = Signature(list_parameters(options, name))  # type: ignore[attr-defined]
        app.command(name)(command)
        return function

    return add


def list_parameters(options: type, command: str) -> list[Parameter]:
    """The parameters from which typer makes a command's options, in the order of the record's fields."""
    hints = get_type_hints(options, include_extras=True)
    found = []
    for field in fields(options):
        kind, *about = get_args(hints[field.name])
        own = next((one for one in about if isinstance(one, In) and command in one.commands.split()), None)
        declaration = next((one for one in about if isinstance(one, ParameterInfo)), own and own.declaration)
        if declaration is None:  # an option of other commands
            continue
        plain = REQUIRED if field.default is MISSING else field.default
        default = plain if own is None or own.default is _FIELDS_OWN else own.default
        annotation = Annotated[kind, declaration]  # type: ignore[valid-type]
        found.append(Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return found


# --- options of several groups ----------------------------------------------------------------------------------------------

ARCH: Final = typer.Option("--arch", help="The architecture of the state dict, such as torchvision/resnet50.")
METHOD_HELP: Final = f"How maps are made: {', '.join(METHODS)}; by default the recipe's, or auto."
METHOD: Final = typer.Option("--method", help=METHOD_HELP, show_default=False)

ArchOption = Annotated[str | None, ARCH]
CardOption = Annotated[
    Path | None, typer.Option("--card", help="Folder of a model card to add the tables to (card.json, plan.json).")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Where to run the model, such as cuda; by default the CPU.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a summary.")]
LayerOption = Annotated[str | None, typer.Option("--layer", help="The layer to explain, by dotted name.")]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="torchvision/NAME, timm/NAME, open_clip/NAME:WEIGHTS, a folder or hub id of transformers, a state dict (with --arch), or a "
        "recipe (NAME.toml); see: vlcam models.",
    ),
]
NAMES: Final = typer.Option(
    "--names", help="A file of names (or a folder with names.json): vlcam's, NetDissect's or CLIP-Dissect's."
)
NamesOption = Annotated[Path | None, NAMES]
LABELS: Final = typer.Option(
    "--labels", help="File with the model's class names in order: one per line, or a JSON list or {number: name}."
)
LabelsOption = Annotated[Path | None, LABELS]
RecipeOption = Annotated[
    Path | None,
    typer.Option("--recipe", help="TOML file that says which model to open and how; other options override it."),
]
RevisionOption = Annotated[str | None, typer.Option("--revision", help="A branch, tag or commit of a hub model.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same result.")]
WeightsOption = Annotated[
    Path | None, typer.Option("--weights", help="Folder of the weights; by default the packaged ones.")
]
