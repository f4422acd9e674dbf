"""Opening the data that an experiment runs on: the bundled world, or a folder that holds a known data set."""

from collections.abc import Collection, Sequence
from itertools import product
from pathlib import Path
from typing import Final

from vlcam.contracts import InputError
from vlcam.experiments.data.boxes_json import BOXES_JSON
from vlcam.experiments.data.coco import COCO
from vlcam.experiments.data.ilsvrc import ILSVRC
from vlcam.experiments.data.layouts import DataLayout, MissingLayout
from vlcam.experiments.data.matching import match
from vlcam.experiments.data.samples import HAS, Has, World
from vlcam.experiments.data.scenes_world import open_scenes
from vlcam.experiments.data.voc import VOC
from vlcam.experiments.data.vqa import VQA, VQA_HAT
from vlcam.files import list_subfolders

LAYOUTS: Final[tuple[DataLayout, ...]] = (ILSVRC, BOXES_JSON, VOC, COCO, VQA_HAT, VQA)
"""The known layouts, in the order in which a folder that has several is read."""


def open_world(
    path: str | Path | None = None,
    *,
    needs: Collection[Has] = (),
    layout: str | None = None,
    split: str | None = None,
    labels: Sequence[str] | None = None,
) -> World:
    """The data set in a folder, or the bundled world.

    The files in the folder decide; if it holds several data sets, or has them one folder below, the first one that has what is needed is
    taken.

    Args:
        path: the folder (of some data sets also a JSON file); None: the bundled world.
        needs: what the experiment needs to know about the photos.
        layout: the name of a layout, where there are several: one of :data:`LAYOUTS`.
        split: the split, where there are several; by default the validation set.
        labels: the labels of the model that is to be run on it.

    Raises:
        InputError: no known layout is there (the text says which are known and what was missing), files are broken or missing, the
            data set doesn't have what is needed, or none of its classes is one of ``labels``.
    """
    wanted = frozenset(needs)
    if path is None:
        if layout not in (None, "scenes"):
            raise InputError(f"layout={layout!r} was given without a folder; give the folder of that data set as well")
        world: World = open_scenes() if split is None else open_scenes(split)  # type: ignore[arg-type]
        if not wanted <= world.has:
            raise InputError(
                f"the bundled world has no {_join_words(wanted - world.has, ' or ')}; give the folder of a data set that has them"
            )
    else:
        world = _find_world(Path(path), wanted, _choose_layouts(layout), split)
    if labels is not None:
        match(world, labels)
    return world


def _choose_layouts(name: str | None) -> tuple[DataLayout, ...]:
    chosen = tuple(one for one in LAYOUTS if name in (None, one.name))
    if not chosen:
        raise InputError(f"layout={name!r} was given; expected one of {', '.join(one.name for one in LAYOUTS)}")
    return chosen


def _find_world(root: Path, wanted: frozenset[Has], layouts: Sequence[DataLayout], split: str | None) -> World:
    if not root.exists():
        raise InputError(f"there is no folder {str(root)!r} (looked from {Path.cwd()}); check the path")
    folders = (root, *(list_subfolders(root) if root.is_dir() else ()))
    reasons: list[str] = []
    for here, layout in product(folders, (one for one in layouts if wanted <= one.has)):
        found = layout.open(here, split, wanted)
        if not isinstance(found, MissingLayout) and wanted <= found.has:
            return found
        if not isinstance(found, MissingLayout):
            reasons.append(f"{found.title} is there, but without {_join_words(wanted - found.has)}")
        elif found.partly:
            reasons.append(f"{layout.title}: {found.what}")
    for here, layout in product(folders, (one for one in layouts if not wanted <= one.has)):
        if _is_there(layout, here, split):
            reasons.append(f"{layout.title} is there, but it has no {_join_words(wanted - layout.has, ' or ')}")
    able = [one for one in layouts if wanted <= one.has] or layouts
    known = "; ".join(f"{one.title}: {one.expects}" for one in able)
    what = f"with {_join_words(wanted)} " if wanted else ""
    if reasons:
        raise InputError(
            f"{str(root)!r} holds no complete data set {what}that vlcam knows. {'. '.join(dict.fromkeys(reasons))}. Expected {known}"
        )
    raise InputError(f"{str(root)!r} holds no data set {what}that vlcam knows; expected {known}")


def _is_there(layout: DataLayout, here: Path, split: str | None) -> bool:
    """Whether a folder has a layout; what is broken in it doesn't matter here."""
    try:
        return not isinstance(layout.open(here, split, frozenset()), MissingLayout)
    except InputError:
        return True


def _join_words(parts: Collection[str], word: str = " and ") -> str:
    return word.join(one for one in HAS if one in parts)
