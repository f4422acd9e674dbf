"""What ``vlcam run`` checks before torch is imported."""

import re
from dataclasses import dataclass, replace
from typing import Final, final

from vlcam.cli.check_explain import TaskKind, check_choice, make_recipe, read_pairs
from vlcam.cli.method_names import METHODS
from vlcam.cli.run_options import LOCAL, RAY, TASKS, RunOptions
from vlcam.errors import InputError, find_name
from vlcam.files import check_file, check_folder, is_there
from vlcam.tasks.recipe import Recipe

_FOLDERS: Final = "folders"
_KINDS: Final[dict[str, TaskKind]] = {"classify": "classification", "caption": "captioning", "vqa": "vqa"}


@final
@dataclass(frozen=True)
class CheckedRun:
    """What is left to do: how to open the model and what for (None: what the model is for), the contrasts, and the part."""

    recipe: Recipe
    kind: TaskKind | None
    pairs: tuple[tuple[str, str], ...]
    part: tuple[int, int] | None


def check_run(wanted: RunOptions) -> CheckedRun:
    """Check what needs no model. Raises InputError."""
    check_choice("--task", wanted.task, tuple(TASKS))
    check_choice("--ranking", wanted.ranking, ("contribution", "paper"))
    check_choice("--measure", wanted.measure, ("log-probability", "logit"))
    check_choice("--gain", wanted.gain, ("blank", "blur"))
    check_choice("--dtype", wanted.dtype, ("float32", "float16", "bfloat16"))
    check_folder(wanted.out)
    if wanted.csv is not None:
        check_folder(wanted.csv.parent)
        if wanted.csv.is_dir():
            raise InputError(f"--csv {wanted.csv} is a folder; give the path of a file")
    if wanted.names is not None and not is_there(wanted.names, folders=True):
        check_file(wanted.names, "names of neurons (--names)")
    if wanted.truth is not None and wanted.truth != _FOLDERS:
        check_file(wanted.truth, f"a CSV file with columns photo and label, or the word {_FOLDERS} (--truth)")
    if wanted.ray is not None and (wanted.ray == "" or is_there(wanted.ray, folders=True)):
        raise InputError(
            f"--ray {wanted.ray} was given, which is no address of a Ray; give {RAY}={LOCAL}, or put {RAY} after the photos"
        )
    kind = _find_kind(wanted)
    named = wanted.model is not None or wanted.recipe is not None
    if kind is None and not named:
        kind = "classification"
    recipe = make_recipe(kind, wanted)
    if recipe.method is not None:
        recipe = replace(recipe, method=find_name(recipe.method, METHODS, "method"))
    return CheckedRun(recipe, kind, read_pairs(wanted.contrast or ()), read_part(wanted.part))


def _find_kind(wanted: RunOptions) -> TaskKind | None:
    """What the model is asked to do; None if only the model says it."""
    if wanted.task is not None:
        return _KINDS[wanted.task]
    return "vqa" if wanted.question is not None else "captioning" if wanted.caption is not None else None


def read_part(text: str | None) -> tuple[int, int] | None:
    """The part I/N that is to be done. Raises InputError.

    >>> read_part("2/8")
    (2, 8)
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"--part {text!r} was given; expected I/N with I from 1 to N, such as 1/8")
    return int(found[1]), int(found[2])
