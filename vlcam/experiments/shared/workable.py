"""Which methods work for a model at all: a rule for ReLUs needs ReLUs, and c-MWP a layer without negative values."""

from collections.abc import Sequence
from typing import Any

from vlcam.contracts import InputError, LayerError, Request, Task
from vlcam.experiments.shared.maps import make_every_map


def find_workable(
    task: Task, image: Any, request: Request, methods: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The methods that can make maps of what the task says about one photo, and a sentence about each that can't.

    Grad-CAM comes first and has to work. Raises what it raises.
    """
    make_every_map(task, image, request, ["gradcam"])
    able, why = [], []
    for name in methods:
        try:
            make_every_map(task, image, request, [name])
        except (InputError, LayerError) as error:
            why.append(f"{name} is left out: {error}.")
        else:
            able.append(name)
    return tuple(able), tuple(why)
