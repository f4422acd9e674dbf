"""What ``vlcam compare`` does. Imported when the command runs, never before."""

import math
from dataclasses import replace

import numpy as np

from vlcam.cli import console
from vlcam.cli.check_explain import make_recipe, name_options
from vlcam.cli.compare_options import CompareOptions
from vlcam.cli.run_explain import open_image
from vlcam.comparison import Comparison, compare
from vlcam.metrics.statistics import Summary
from vlcam.tasks.load import open_recipe


def run_compare(wanted: CompareOptions) -> None:
    """Compare, print a table or JSON, and write the page and the recipe that were asked for."""
    recipe = make_recipe(None, wanted)
    if wanted.device is not None:
        recipe = replace(recipe, device=wanted.device)
    console.hush_transformers()
    with name_options():
        task = open_recipe(recipe)
    photos = [source if isinstance(source, str) else np.asarray(source) for source, _ in map(open_image, wanted.photos)]
    with console.show_bar("comparing") as progress, name_options():
        found = compare(
            task,
            photos,
            methods=_split(wanted.methods),
            layers=_split(wanted.layers),
            targets=tuple(wanted.classes or ()),
            question=wanted.question,
            each=wanted.each,
            seed=wanted.seed,
            progress=progress,
        )
    found = replace(found, photos=_name_photos(wanted.photos, found))
    if wanted.html is not None:
        found.html(wanted.html)
    if wanted.save is not None:
        found.save(wanted.save, recipe)
    if wanted.as_json:
        console.print_data(found.to_json())
    else:
        _show(found, wanted)


def _split(text: str | None) -> list[str] | None:
    """The parts of a text that are separated by commas; None for none."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _name_photos(given: list[str], found: Comparison) -> tuple[str, ...]:
    """The photos that count, by their files' names or as generated pictures are called on the command line."""
    if len(found.photos) == len(given):
        return tuple(name for _, name in map(open_image, given))
    return found.photos


def _show(found: Comparison, wanted: CompareOptions) -> None:
    console.print_heading(
        f"{found.model}: {found.targets} targets on {len(found.photos)} photos, measured without masks"
    )
    head = ["method", "layer", "faithfulness", "behind the best", "removed", "alone", "occlusion", "forwards"]
    body = [
        [
            one.method,
            one.layer,
            _format(one.faithfulness),
            "" if one is found.best else _format(one.behind),
            _format_mean(one.deletion),
            _format_mean(one.insertion),
            _format_mean(one.correlation),
            "" if one is found.control else f"{one.cost:.1f}",
        ]
        for one in (*found.candidates, found.control)
    ]
    console.print_table(head, body, texts=2)
    console.print_line()
    console.print_paragraph(f"{found.verdict}.", 0)
    for name, reason in found.left_out:
        console.print_paragraph(f"Left out: {name}: {reason}", 0)
    for path, what in ((wanted.html, "page"), (wanted.save, "recipe")):
        if path is not None:
            console.print_paragraph(f"The {what} is {path}.", 0)


def _format(one: Summary) -> str:
    if math.isnan(one.mean):
        return "–"
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" if math.isfinite(one.low) else f"{one.mean:.3f}"


def _format_mean(one: Summary) -> str:
    return "–" if math.isnan(one.mean) else f"{one.mean:.3f}"
