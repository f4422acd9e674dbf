"""What classify, caption and vqa check before torch is imported: options, the recipe, labels, ``--out``, and whether files are pictures.

:mod:`vlcam.cli.run_explain` does the rest, for which the model is needed.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, final

from vlcam._version import JSON_SCHEMA, __version__
from vlcam.cli import console
from vlcam.cli.app_options import AppOptions
from vlcam.cli.compare_options import CompareOptions
from vlcam.cli.explain_options import ExplainOptions, ModelsOptions
from vlcam.cli.method_names import METHODS
from vlcam.cli.run_options import RunOptions
from vlcam.errors import InputError, VlcamError, find_name
from vlcam.files import check_file, check_folder, dump_json, is_there, replace_surrogates
from vlcam.image.decode import check_photo_file, check_white
from vlcam.scenes.record import SPLITS, Split
from vlcam.tasks.recipe import ENDING, STATE_ENDINGS, Recipe, read_changes, read_labels, read_recipe

TaskKind = Literal["classification", "captioning", "vqa"]
BUNDLED: Final[Mapping[TaskKind, str]] = {
    "classification": "scenes/classifier",
    "captioning": "scenes/captioner",
    "vqa": "scenes/vqa",
}
_LONGEST_SEED: Final = 18  # digits
_WORDS: Final = r"(arch|labels|weights|revision|task|device|dtype|beams|length|layer|method|prompt|white|measure|gain)"
"""Arguments in Python that are options of the same name on the command line."""


@final
@dataclass(frozen=True)
class CheckedExplain:
    """What is left to do: how to open the model, and which of the images can't be opened, with the reason."""

    recipe: Recipe
    pairs: tuple[tuple[str, str], ...]
    failed: Mapping[int, str]


def check_explain(kind: TaskKind, wanted: ExplainOptions) -> CheckedExplain:
    """Check what needs no model. Raises InputError, except for images that can't be opened: those are in the result."""
    check_choice("ranking", wanted.ranking, ("contribution", "paper"), option=False)
    check_choice("--text", wanted.text, ("short", "full", "paper"), option=False)
    check_choice("--measure", wanted.measure, ("log-probability", "logit"))
    check_choice("--gain", wanted.gain, ("blank", "blur"))
    check_choice("--dtype", wanted.dtype, ("float32", "float16", "bfloat16"))
    with name_options():
        check_white(wanted.white)
    pairs = read_pairs(wanted.contrast or ())
    if wanted.out is not None:
        check_folder(wanted.out)
    if wanted.names is not None and not is_there(wanted.names, folders=True):
        check_file(wanted.names, "names of neurons (--names)")
    recipe = make_recipe(kind, wanted)
    if recipe.method is not None:
        recipe = replace(recipe, method=find_name(recipe.method, METHODS, "method"))
    failed = {}
    for number, source in enumerate(wanted.images):
        try:
            check_image(source)
        except VlcamError as error:
            failed[number] = str(error)
    return CheckedExplain(recipe, pairs, failed)


def make_recipe(
    kind: TaskKind | None, wanted: ExplainOptions | ModelsOptions | CompareOptions | RunOptions | AppOptions
) -> Recipe:
    """How the model is opened: the recipe, with the options over it. Raises InputError for what doesn't go together."""
    model = wanted.model
    if model is not None and wanted.recipe is not None:
        raise InputError(
            f"--recipe {wanted.recipe} names its own model, so it can't be combined with --model {model}; leave one of them out"
        )
    path = wanted.recipe if model is None or not model.endswith(ENDING) else Path(model)
    recipe = Recipe(model=model) if path is None else read_recipe(path)
    given: dict[str, Any] = {"arch": wanted.arch, "revision": wanted.revision}
    given["labels"] = None if wanted.labels is None else read_labels(wanted.labels)
    changes = dict(recipe.preprocess or {})
    if isinstance(wanted, ExplainOptions):
        changes |= _read_preprocess(wanted)
    if isinstance(wanted, (ExplainOptions, RunOptions)):
        given |= {name: getattr(wanted, name) for name in ("beams", "length", "device", "dtype", "layer", "method")}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    recipe = replace(recipe, preprocess=changes or None)
    if kind is not None and recipe.task not in (None, kind):
        raise InputError(f"{path} is a recipe for {recipe.task}, not for {kind}")
    if recipe.model is None and kind is None:
        raise InputError("no model was named; give one, or a recipe that names one")
    _check_model(recipe, wanted.recipe or path)
    return replace(recipe, task=recipe.task if kind is None else kind)


def _check_model(recipe: Recipe, path: Path | None) -> None:
    """Raise InputError for parts of a model that don't go together or don't exist."""
    if recipe.model is None:
        for name, value in (("arch", recipe.arch), ("revision", recipe.revision), ("labels", recipe.labels)):
            if value is not None:
                where = {"revision": " and a hub id", "arch": " and the path of a state dict"}.get(name, "")
                raise InputError(f"--{name}{_show_value(value)} requires --model{where}")
        if recipe.preprocess:
            raise InputError(f"{', '.join(f'--{name}' for name in _dash(recipe.preprocess))} requires --model")
        if path is not None:
            raise InputError(f'{path} names no model; give it a key model, such as model = "torchvision/resnet50"')
        return
    named = recipe.model.startswith("open_clip/")  # whose name ends in the path of its weights
    state = recipe.model.endswith(STATE_ENDINGS) and not Path(recipe.model).is_dir() and not named
    if state:
        check_file(recipe.model, f"a state dict ({', '.join(STATE_ENDINGS)})")
        if recipe.arch is None:
            raise InputError(
                f"{recipe.model} is a state dict; give its architecture with --arch, such as --arch torchvision/resnet50"
            )
    if recipe.arch is not None:
        if not state:
            raise InputError(f"--arch {recipe.arch} requires the path of a state dict, but {recipe.model!r} is not one")
        if not re.fullmatch(r"(torchvision|timm)/.+", recipe.arch):
            raise InputError(
                f"--arch {recipe.arch} is neither torchvision/NAME nor timm/NAME, the architectures that a state dict can have"
            )


def _show_value(value: Any) -> str:
    return f" {value}" if isinstance(value, str) else ""


def _dash(names: Collection[str]) -> list[str]:
    return [name.replace("_", "-") for name in names]


def _read_preprocess(wanted: ExplainOptions) -> dict[str, Any]:
    """The options that change the preprocessing, as a recipe has them."""
    values: dict[str, Any] = {
        "size": wanted.size and _read_list(wanted.size.replace("x", ","), int),
        "mode": wanted.mode,
        "resize_shorter": wanted.resize_shorter,
        "mean": wanted.mean and _read_list(wanted.mean, float),
        "std": wanted.std and _read_list(wanted.std, float),
        "interpolation": wanted.interpolation,
    }
    return read_changes({name: value for name, value in values.items() if value is not None}, "the preprocessing")


def _read_list(text: str, kind: Callable[[str], Any]) -> Any:
    """The numbers of a text such as 0.5,0.5,0.5; the text itself if they can't be read, for the error that names it."""
    try:
        return [kind(one) for one in re.split(r"[,\s]+", text.strip())]
    except ValueError:
        return text


def check_choice(name: str, value: str | None, known: Sequence[str], *, option: bool = True) -> None:
    """Raise InputError for an option that is none of the known values."""
    if value is not None and value not in known:
        expected = " or ".join(known) if option and len(known) == 2 else ", ".join(known)
        raise InputError(f"{name} {value!r} was given; expected {'' if option else 'one of '}{expected}")


def read_pairs(contrasts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Contrasts THIS:THAT as pairs."""
    out = []
    for one in contrasts:
        this, _, that = (part.strip() for part in one.partition(":"))
        if not (this and that):
            raise InputError(f"--contrast {one!r} was given; expected THIS:THAT, such as red:blue")
        if this == that:
            raise InputError(f"--contrast {one!r} was given; a contrast needs two different texts, such as red:blue")
        out.append((this, that))
    return tuple(out)


def read_scene(source: str) -> tuple[int, Split] | None:
    """The seed and the split of ``scene:SEED`` or ``scene:SPLIT:SEED``; None for the path of a file."""
    if not source.startswith("scene:"):
        return None
    *before, seed = source.removeprefix("scene:").split(":")
    name = before[0] if before else "test"
    if len(before) > 1 or not (seed.isascii() and seed.isdecimal() and len(seed) <= _LONGEST_SEED):
        raise InputError(
            f"{source!r} was given; expected scene:SEED with a whole number, such as scene:7, or scene:unseen:7"
        )
    split = next((one for one in SPLITS if one == name), None)
    if split is None:
        raise InputError(f"split {name!r} was given; expected one of {', '.join(SPLITS)}")
    return int(seed), split


def check_image(source: str) -> None:
    """Raise InputError for a file that can't be opened as a photo, or a generated picture that there isn't."""
    if read_scene(source) is None:
        check_photo_file(source)


@contextmanager
def name_options() -> Iterator[None]:
    """In this context, errors about Python arguments name the command-line options instead: ``arch=`` becomes ``--arch``."""
    try:
        yield
    except VlcamError as error:
        text = re.sub(rf"\b{_WORDS}=(?=['\"\w])", r"--\1 ", str(error))
        error.args = (re.sub(rf"\b{_WORDS}=", r"--\1", text),)
        raise


def report_failures(failed: Sequence[tuple[str, str]]) -> int:
    """Report the images that could not be explained, and return the exit code."""
    for source, why in failed:
        console.complain(why if repr(source)[1:-1] in why else f"{source}: {why}")
    return 1 if failed else 0


def print_failures(wanted: ExplainOptions, checked: CheckedExplain) -> int:
    """Report that none of the images can be opened, and return the exit code."""
    failed = [(source, checked.failed[number]) for number, source in enumerate(wanted.images)]
    if wanted.as_json:
        errors = [{"source": replace_surrogates(source), "error": replace_surrogates(why)} for source, why in failed]
        console.print_data(dump_json({"schema": JSON_SCHEMA, "vlcam": __version__, "results": [], "errors": errors}))
    return report_failures(failed)
