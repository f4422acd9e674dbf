"""What ``vlcam run`` does. Imported when the command runs, never before."""

from dataclasses import replace
from typing import Any

from vlcam.cli import console
from vlcam.cli.check_explain import BUNDLED, name_options
from vlcam.cli.check_run import CheckedRun
from vlcam.cli.run_explain import open_task
from vlcam.cli.run_gallery import add_gallery
from vlcam.cli.run_options import RunOptions
from vlcam.explanation.numbers import format_percent
from vlcam.neurons import read_names
from vlcam.neurons.names.json_files import find_names_file
from vlcam.runs import Run, run

_SHOWN = 5


def run_run(wanted: RunOptions, checked: CheckedRun) -> int:
    """Explain the photos into the folder, say what came of it, and return the exit code: 1 if some photos failed."""
    options = read_options(wanted, checked)
    try:
        found = run(**options)
    except KeyboardInterrupt as error:
        for note in getattr(error, "__notes__", ()):
            console.say(note)
        return 130
    if wanted.csv is not None:
        found.to_csv(wanted.csv)
    code = show(found, wanted)
    if wanted.gallery:
        add_gallery(found)
    return code


def read_options(wanted: RunOptions, checked: CheckedRun) -> dict[str, Any]:
    """The arguments of :func:`vlcam.run`, with the task opened."""
    recipe = checked.recipe
    names = None if wanted.names is None else read_names(find_names_file(wanted.names))
    if names is not None and recipe.layer is None:
        recipe = replace(recipe, layer=names.layer)
    if recipe.model is None:
        recipe = replace(recipe, model=BUNDLED[checked.kind or "classification"])
    with name_options():
        task = open_task(recipe)
    return {
        "task": task,
        "photos": wanted.photos,
        "out": wanted.out,
        "batch_size": wanted.batch_size,
        "shard_size": wanted.shard_size,
        "part": checked.part,
        "limit": wanted.limit,
        "shuffle": wanted.shuffle,
        "truth": wanted.truth,
        "contrast_truth": wanted.contrast_truth,
        "verify": wanted.verify,
        "ray": wanted.ray or False,
        "ray_actors": wanted.ray_actors,
        "targets": tuple(dict.fromkeys(wanted.classes or ())),
        "caption": wanted.caption,
        "question": wanted.question,
        "contrast": checked.pairs,
        "top_k": wanted.top,
        "names": names,
        "ranking": wanted.ranking,
        "prompt": wanted.prompt,
        "measure": wanted.measure,
        "gain": wanted.gain,
    }


def show(found: Run, wanted: RunOptions) -> int:
    """Say what is in the folder, and return the exit code."""
    job, done = found.manifest["job"], len(found.photos)
    count = int(job["photos"]["count"])
    console.print_heading(f"{done} of {count} photos by {job['model']}, {len(found)} rows in {wanted.out}")
    if found.accuracy is not None:
        console.print_line([(f"right: {format_percent(found.accuracy)}", "")])
        for pair in found.confusions()[:_SHOWN]:
            console.print_line([(f"  {pair.truth} taken for {pair.predicted}: {pair.photos}", "")])
    failed = list(found.errors.to_table(["photo", "error"]).to_pylist())
    for row in failed[:_SHOWN]:
        console.complain(row["error"] if row["photo"] in row["error"] else f"{row['photo']}: {row['error']}")
    if len(failed) > _SHOWN:
        console.complain(f"{len(failed) - _SHOWN} more photos failed; their errors are in the column error")
    return 1 if failed else 0
