"""A task adjusted to a recipe: another preprocessing, and the layer and the method that are used by default."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from vlcam.contracts import InputError, Task
from vlcam.image.preprocess import Preprocess
from vlcam.methods import get_method
from vlcam.tasks.classification import Classification


def change_preprocess(task: Task, changes: Mapping[str, Any]) -> Preprocess:
    """The task's preprocessing with changes of a recipe.

    A new ``size`` shows the same part of the photo: the side that the photo is resized to before its middle is taken grows with it, unless
    ``resize_shorter`` is given as well. A single ``mean`` or ``std`` applies to every channel.

    Raises:
        InputError: the model's preprocessing can't be changed, or it is that of a processor and size, mean and std are not all given.
    """
    if not isinstance(task, Classification) or task.name.startswith("scenes-"):
        raise InputError(
            f"{task.name} brings its own preprocessing, which can't be changed: leave out {', '.join(changes)}"
        )
    own = task.preprocess
    wanted: dict[str, Any] = {name: value for name, value in changes.items() if name != "interpolation"}
    if "interpolation" in changes:
        wanted["resample"] = changes["interpolation"]
    channels = changes.get("channels", own.channels if isinstance(own, Preprocess) else 3)
    for name in ("mean", "std"):
        if len(wanted.get(name, ())) == 1:
            wanted[name] = wanted[name] * channels
        elif name not in wanted and "channels" in changes:
            wanted[name] = ()
    if not isinstance(own, Preprocess):
        if missing := [name for name in ("size", "mean", "std") if name not in changes]:
            raise InputError(
                f"the preprocessing of {task.name} is that of its processor; to replace it give size, mean and std ({', '.join(missing)} "
                "is missing)"
            )
        return Preprocess(**wanted)
    if wanted.get("mode", own.mode) != "crop":
        wanted["resize_shorter"] = None
    elif "size" in wanted and own.resize_shorter is not None and "resize_shorter" not in wanted:
        size = wanted["size"]
        side = size if isinstance(size, int) else max(size)
        wanted["resize_shorter"] = max(1, round(own.resize_shorter * side / max(own.input_size)))
    return replace(own, **wanted)


def set_defaults(task: Task, *, layer: str | None = None, method: str | None = None) -> Task:
    """The task with a layer and a method that :func:`vlcam.explain` uses unless it is given others."""
    given = {name: value for name, value in (("layer", layer), ("method", method)) if value is not None}
    if method is not None:
        get_method(method)
    if not given:
        return task
    assert is_dataclass(task) and not isinstance(task, type) and any(one.name == "defaults" for one in fields(task))
    changed: Task = replace(task, defaults=given)
    return changed


def drop_remark(task: Task) -> Task:
    """The task without its remarks on photos, for pictures that are known to be generated."""
    preprocess = getattr(task, "preprocess", None)
    if isinstance(preprocess, Preprocess) and is_dataclass(task) and not isinstance(task, type):
        return replace(task, preprocess=replace(preprocess, remark=None))
    return task
