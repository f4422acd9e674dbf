"""What ``vlcam models`` shows: the families that vlcam knows, and the layers of one model."""

from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import torch
from PIL import Image

from vlcam._version import __version__
from vlcam.cli import console
from vlcam.cli.check_explain import make_recipe, name_options
from vlcam.cli.document import SCHEMA
from vlcam.cli.explain_options import ModelsOptions
from vlcam.contracts import LayerError, Request, Task
from vlcam.engine.find_layer import infer_layout
from vlcam.engine.layers import trace_layers
from vlcam.engine.recording import record
from vlcam.explanation.explain import get_defaults
from vlcam.files import dump_json
from vlcam.tasks.hub_families import CLASSIFIERS, FAMILIES, MATCHING_TOWERS, ZERO_SHOT_TOWERS, find_tower
from vlcam.tasks.load import open_recipe
from vlcam.tasks.matching import TextMatching
from vlcam.tasks.zero_shot import ZeroShotClassification

_QUESTION = "what colour is the star"


@final
@dataclass(frozen=True)
class FamilyRow:
    """One family: what it is opened as, what it does, its vision tower, where it is tapped, and what the tests cover."""

    name: str
    does: str
    tower: str
    tap: str
    tested: str


def list_families() -> list[FamilyRow]:
    """Every family that vlcam knows, in the order in which a person may look for it."""
    rows = [
        FamilyRow(
            "scenes/classifier, captioner, vqa", "classes, captions, answers", "CNN (bundled)", "features", "everything"
        ),
        FamilyRow(
            "torchvision/NAME", "classes", "CNN or Swin", "last spatial layer", "every classifier, random weights"
        ),
        FamilyRow("torchvision/vit_*", "classes", "ViT, class token", "encoder.layers.-1.ln_1", "order, one forward"),
        FamilyRow(
            "timm/NAME", "classes", "CNN or transformer", "found by a trial run", "CNNs, ViTs, Swin; random weights"
        ),
        FamilyRow(
            "open_clip/NAME:WEIGHTS",
            "similarity to texts",
            "ViT or CNN",
            "found by a trial run",
            "ViTs, ResNets; random weights",
        ),
    ]
    rows += [
        FamilyRow(f"transformers: {kind}", "classes", tower, "found by a trial run", "order, one forward")
        for kind, tower in CLASSIFIERS.items()
    ]
    rows += [
        FamilyRow(f"transformers: {kind}", "similarity to texts", tower, "found by a trial run", "order, one look")
        for kind, tower in ZERO_SHOT_TOWERS.items()
    ]
    rows += [
        FamilyRow(
            f"transformers: {kind}, matching head",
            "matches of texts",
            tower,
            "vilt.encoder.layer.-1.layernorm_before" if kind == "vilt" else "last block of the vision tower",
            "order, one look",
        )
        for kind, tower in MATCHING_TOWERS.items()
    ]
    for family in FAMILIES.values():
        does = " and ".join(
            name for name, how in (("captions", family.caption), ("answers", family.question)) if how is not None
        )
        tap = f"{'vision tower' if family.order != 'shuffled' else 'vilt.encoder'}.{family.taps[0]}"
        rows.append(FamilyRow(f"transformers: {family.model_type}", does, family.tower, tap, family.tested))
    rows.append(
        FamilyRow(
            "transformers: any other", "classes, captions, answers", "any", "guessed by a trial run", "the check itself"
        )
    )
    return rows


def run_models(wanted: ModelsOptions) -> None:
    """Print the families, or the layers of one model."""
    head = {"schema": SCHEMA, "vlcam": __version__}
    if wanted.name is None and wanted.recipe is None:
        found = list_families()
        if wanted.as_json:
            console.print_data(dump_json({**head, "families": [asdict(row) for row in found]}))
            return
        body = [[row.name, row.does, row.tower, row.tap, row.tested] for row in found]
        console.print_table(["model", "says", "vision tower", "layer explained", "tested"], body, texts=5)
        return
    recipe = make_recipe(None, wanted)
    console.hush_transformers()
    with name_options():
        task = open_recipe(recipe)
    layers, default, kind = list_layers(task)
    if wanted.as_json:
        console.print_data(
            dump_json({**head, "model": task.name, "kind": task.kind, "default": default, "layers": layers})
        )
        return
    console.print_line(
        [
            (f"{task.name} ({kind}): ", "bold"),
            (f"{len(layers)} layers with a grid; explained by default: ", ""),
            (default, "bold"),
        ]
    )
    rows = [
        ["→" if one["name"] == default else "", one["name"], one["type"], one["shape"], one["grid"]] for one in layers
    ]
    console.print_table(["", "layer", "type", "output", "grid"], rows, texts=5)


def list_layers(task: Task) -> tuple[list[dict[str, Any]], str, str]:
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
