"""Which layers a comparison takes where none are named: the one that is explained by default, and the last one with a finer grid."""

from collections.abc import Sequence
from typing import Final

from torch import nn

from vlcam.contracts import Prepared, Request, Task
from vlcam.engine.layers import trace_layers
from vlcam.engine.recording import record
from vlcam.explanation.explain import get_defaults

_FINEST: Final = 9.0
"""How many times as many cells as the layer explained by default another may have: beyond, it hardly knows objects."""


def propose_layers(task: Task, prepared: Prepared, request: Request) -> tuple[str | nn.Module | None, ...]:
    """The layer that is explained by default, as the task calls it, and if there is one, the last one before it with more cells.

    Only layers that return maps ``(batch, channels, rows, columns)`` count; of tokens and tiles only the default one is taken.
    """
    usual: str | nn.Module | None = get_defaults(task)["layer"] or task.layer
    with record(task.model, usual) as recording:
        spoken = task.run(prepared, request)
    recording.resolve(spoken.scores)
    seen = trace_layers(task.model, lambda: task.run(prepared, request))
    rows = [(one.name, tuple(one.shape)) for one in seen]
    earlier = find_finer_layer(rows, recording.layer_name)
    return (usual,) if earlier is None else (usual, earlier)


def find_finer_layer(rows: Sequence[tuple[str, tuple[int, ...]]], name: str) -> str | None:
    """Of layers in the order in which they ran, the last one before ``name`` with a finer grid, if there is one.

    Of several modules that return the same thing, the outermost is taken: it is the one that ran to its end last.

    >>> find_finer_layer([("a", (1, 8, 32, 32)), ("b", (1, 8, 16, 16)), ("c", (1, 9, 8, 8))], "c")
    'b'
    """
    shape = next((shape for one, shape in rows if one == name), ())
    if len(shape) != 4:
        return None
    cells = shape[2] * shape[3]
    found = None
    for one, other in rows:
        if one == name:
            break
        inside = one.startswith(f"{name}.")
        if (
            len(other) == 4
            and cells < other[2] * other[3] <= _FINEST * cells
            and (inside or not name.startswith(f"{one}."))
        ):
            found = one
    return found
