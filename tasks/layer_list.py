"""The layers of a task's model whose output lies as a grid on the photo."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from vlcam.contracts import LayerError, Request, Task
from vlcam.engine.find_layer import infer_layout
from vlcam.engine.layers import trace_layers
from vlcam.engine.recording import record
from vlcam.explanation.explain import get_defaults
from vlcam.tasks.hub_families import find_tower
from vlcam.tasks.matching import TextMatching
from vlcam.tasks.zero_shot import ZeroShotClassification

_QUESTION = "what colour is the star"


def list_grid_layers(task: Task) -> tuple[list[dict[str, Any]], str, str]:
    """The layers of a model whose output lies as a grid on the photo, the one that is explained by default, and what it is.

    The model runs on a picture of noise, so that shapes are those that a photo of that size gives.
    """
    chosen = get_defaults(task)["layer"] or task.layer
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))
    any_text = isinstance(task, (ZeroShotClassification, TextMatching)) and not task.labels
    labels = ("a photo",) if any_text else ()
    request = Request(labels=labels, question=_QUESTION if task.kind == "vqa" else None)
    prepared = task.prepare(noise, request)
    size = prepared.geometry.input_size
    with record(task.model, chosen) as recording:
        spoken = task.run(prepared, request)
    recording.resolve(spoken.scores)
    default = recording.layer_name
    seen = trace_layers(task.model, lambda: task.run(prepared, request))
    shape = next((layer.shape for layer in seen if layer.name == default), ())
    reads = task.kind != "classification" or isinstance(task, TextMatching)
    tower = find_tower(task.model) if reads and len(shape) < 4 else None
    rows: dict[str, dict[str, Any]] = {}
    for layer in seen:
        if tower is not None and not layer.name.startswith(tower):  # text tokens can look like a grid as well
            continue
        grid = _format_grid(layer.shape, size) if len(layer.shape) == len(shape) else ""
        if not grid and layer.shape[: len(shape) - 1] == shape[:-1]:
            grid = "as the tokens lie"
        if grid:
            sides = " x ".join(str(side) for side in layer.shape)
            rows[layer.name] = {"name": layer.name, "type": layer.type, "shape": sides, "grid": grid}
    if default not in rows:
        raise LayerError(f"the layer {default!r} that is explained by default did not run on a picture of noise")
    return list(rows.values()), default, task.kind


def _format_grid(shape: tuple[int, ...], size: tuple[int, int]) -> str:
    if len(shape) < 3:
        return ""
    found = infer_layout(torch.empty(shape, device="meta"), size)
    if found is None:
        return ""
    sides = {"BCHW": shape[2:], "BHWC": shape[1:3]}.get(found.layout, (found.rows, found.columns))
    return f"{sides[0]} x {sides[1]}" + (f" after {found.prefix}" if found.prefix else "")
