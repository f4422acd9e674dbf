"""What ``vlcam models`` shows: the families that vlcam knows, and the layers of one model."""

from dataclasses import asdict, dataclass
from typing import final

from vlcam._version import __version__
from vlcam.cli import console
from vlcam.cli.check_explain import make_recipe, name_options
from vlcam.cli.document import SCHEMA
from vlcam.cli.explain_options import ModelsOptions
from vlcam.files import dump_json
from vlcam.tasks.hub_families import CLASSIFIERS, FAMILIES, MATCHING_TOWERS, ZERO_SHOT_TOWERS
from vlcam.tasks.layer_list import list_grid_layers
from vlcam.tasks.load import open_recipe


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
    layers, default, kind = list_grid_layers(task)
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
