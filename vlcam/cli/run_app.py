"""What ``vlcam app`` does. Imported when the command runs, never before."""

import time
import webbrowser
from collections.abc import Callable
from dataclasses import replace

from vlcam.app import serve_app
from vlcam.cli import console
from vlcam.cli.app_options import AppOptions
from vlcam.cli.check_explain import make_recipe, name_options
from vlcam.contracts import Task
from vlcam.tasks.load import open_recipe


def run_app(wanted: AppOptions, wait: Callable[[], None] | None = None) -> None:
    """Serve the page until Ctrl-C is pressed, or until ``wait`` returns."""
    with serve_app(_open_task(wanted), port=wanted.port) as address:
        console.say(f"Open {address} in a browser on this machine; press Ctrl-C to end it.")
        if wanted.browser:
            webbrowser.open(address)
        try:
            (wait or _wait)()
        except KeyboardInterrupt:
            console.say("Ended.")


def _open_task(wanted: AppOptions) -> Task | None:
    """The model that was asked for; None stands for the bundled ones."""
    if wanted.model is None and wanted.recipe is None:
        return None
    recipe = make_recipe(None, wanted)
    if not str(recipe.model).startswith(("torchvision/", "scenes/")):
        console.hush_transformers()
    with name_options():
        return open_recipe(recipe if wanted.device is None else replace(recipe, device=wanted.device))


def _wait() -> None:
    while True:
        time.sleep(3600)
