"""The options of ``vlcam app``. Nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Annotated, final

import typer

from vlcam.cli.options import ArchOption, DeviceOption, LabelsOption, ModelOption, RecipeOption, RevisionOption


@final
@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """The options of ``vlcam app``; without a model the bundled ones are to choose from."""

    model: ModelOption = None
    recipe: RecipeOption = None
    arch: ArchOption = None
    revision: RevisionOption = None
    labels: LabelsOption = None
    device: DeviceOption = None
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Where to listen on 127.0.0.1; 0 finds a free port.")
    ] = 7860
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False
