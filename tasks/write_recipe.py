"""Writing a recipe: a new one, or a method and a layer into one that is there, whose other lines stay as they are."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from vlcam.errors import InputError
from vlcam.files import is_there, read_text, refuse_broken, show_path, write_text
from vlcam.tasks.recipe import ENDING, STATE_ENDINGS, Recipe, read_recipe

_CHOICE: Final = re.compile(r"\s*(method|layer|\"method\"|\"layer\"|'method'|'layer')\s*=")
_TABLE: Final = re.compile(r"\s*\[")


def save_choice(
    path: str | Path, method: str, layer: str, *, model: str | Recipe | None = None, remark: str | None = None
) -> None:
    """Write the method and the layer that a model is explained by into the recipe at ``path``.

    A recipe that is there keeps its other lines, comments included. A new one says what ``model`` says, a recipe or what
    :func:`vlcam.load` opens it by, and begins with ``remark`` as a comment.

    Raises InputError for a name that doesn't end in .toml, a file that is no recipe or is for another model, or a new recipe without a
    model.
    """
    if Path(path).suffix != ENDING:
        raise InputError(f"{show_path(path)} was given for a recipe; expected a name that ends in {ENDING}")
    given = Recipe(model=model) if isinstance(model, str) else model
    if is_there(path):
        before = read_recipe(path)
        if given is not None and before.model is not None and not _is_same(before.model, given.model):
            raise InputError(
                f"{show_path(path)} is a recipe for {before.model}, not for {given.model}; give the name of a new file"
            )
        write_text(path, _change_lines(read_text(path, "a recipe (TOML)"), method, layer, show_path(path)))
        return
    if given is None or given.model is None:
        raise InputError(
            f"there is no recipe {show_path(path)}, and a new one has to name its model; give model=, what vlcam.load opens it by"
        )
    write_text(path, format_recipe(replace(given, method=method, layer=layer), remark=remark))


def format_recipe(recipe: Recipe, *, remark: str | None = None) -> str:
    """A recipe as TOML, with ``remark`` as a comment on top. The path of a model is written in full.

    >>> print(format_recipe(Recipe(model="torchvision/resnet50", beams=2, preprocess={"size": (64, 32)})), end="")
    model = "torchvision/resnet50"
    beams = 2
    <BLANKLINE>
    [preprocess]
    size = [64, 32]
    """
    lines = [f"# {' '.join(remark.split())}"] if remark else []
    for one in fields(recipe):
        value = getattr(recipe, one.name)
        if value is None or one.name == "preprocess":
            continue
        lines.append(f"{one.name} = {_format_value(_place(value) if one.name == 'model' else value)}")
    if recipe.preprocess:
        lines += ["", "[preprocess]", *(f"{key} = {_format_value(value)}" for key, value in recipe.preprocess.items())]
    return "\n".join(lines) + "\n"


def _format_value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_format_value, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


def _place(model: str) -> str:
    """A model's name, or the whole path that it is: the recipe may lie in another folder than the one that commands run in."""
    arch, _, source = model.partition(":")
    if arch.startswith("open_clip/"):  # its weights may be a file
        return f"{arch}:{_place(source)}" if source.endswith(STATE_ENDINGS) else model
    is_path = model.endswith(STATE_ENDINGS) or model.startswith(("./", "../", "/")) or is_there(model, folders=True)
    return str(Path(model).resolve()) if is_path else model


def _is_same(one: str, other: str | None) -> bool:
    return other is not None and _place(one) == _place(other)


def _change_lines(text: str, method: str, layer: str, where: str) -> str:
    """The text of a recipe with these two keys set, in the place of the old ones or before its first table."""
    lines = text.splitlines()
    end = next((place for place, line in enumerate(lines) if _TABLE.match(line)), len(lines))
    top = [line for line in lines[:end] if not _CHOICE.match(line)]
    while top and not top[-1].strip():
        top.pop()
    top += [f"method = {_format_value(method)}", f"layer = {_format_value(layer)}"]
    changed = "\n".join([*top, *([""] if end < len(lines) else []), *lines[end:]]) + "\n"
    with refuse_broken(where, "a recipe (TOML)", fault="is not TOML ({})"):
        wanted: Mapping[str, Any] = {**tomllib.loads(text), "method": method, "layer": layer}
        fits = _loads(changed) == wanted
    if not fits:
        raise InputError(
            f"{where} can't be changed without losing something it says; write these two lines into it: "
            f"method = {_format_value(method)}, layer = {_format_value(layer)}"
        )
    return changed


def _loads(text: str) -> Any:
    """What a TOML text says; None for what is no longer TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
