"""Boxes of maps as COCO's JSON: a file of annotations that stands alone, or results to be scored against somebody's truth.

A box is that of the largest connected part of a map that has at least a fraction of its maximum (:func:`vlcam.metrics.box_from_map`), in
pixels of the photo. Its score is the target's probability, or its score where it has none.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from vlcam._version import __version__
from vlcam.contracts import InputError
from vlcam.files import check_folder, check_whole, make_folder, read_json, refuse_broken, show_path, write_json
from vlcam.image.coco import INSTANCES
from vlcam.image.geometry import Box
from vlcam.integrations.exported import ExportedMap, ExportedPhoto, Source, iterate_photos
from vlcam.metrics.localisation import THRESHOLD, box_from_map

_LONGEST: Final = 1024
"""Of the copy of a photo on which boxes are found, in pixels."""


def write_coco(
    source: Source, path: str | Path, *, threshold: float = THRESHOLD, kinds: Collection[str] | None = None
) -> int:
    """Write the boxes of all maps as COCO's annotations: images, categories (the targets' labels) and annotations with ``score``.

    The outline of an annotation (``segmentation``) is its box. Photos without a box are listed as images.

    Args:
        source: explanations, outcomes of :func:`vlcam.explain_batches`, or a run.
        path: the JSON file to write, whole or not at all.
        threshold: the fraction of a map's maximum from which a pixel belongs to the region.
        kinds: which kinds of targets, such as ``class``; by default all. A contrast's label is ``A rather than B``.

    Returns:
        How many boxes were written.

    Raises:
        InputError: there is no photo, the threshold isn't above 0 and at most 1, or the file can't be written.
    """
    target = _check_place(path, threshold)
    images: dict[str, dict[str, Any]] = {}
    categories: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    for photo in iterate_photos(source):
        width, height = photo.size
        about = {"id": len(images) + 1, "file_name": _name_photo(photo), "width": width, "height": height}
        image = images.setdefault(photo.key, about)["id"]
        for label, box, score in _find_boxes(photo, threshold, kinds):
            category = categories.setdefault(label, len(categories) + 1)
            found = _make_annotation(image, category, box, score)
            annotations.append({"id": len(annotations) + 1, **found, **_outline(found["bbox"])})
    if not images:
        raise InputError("no explanations were given; a COCO file needs at least one photo")
    make_folder(target.parent)
    write_json(
        target,
        {
            "info": {
                "description": f"Boxes of the regions with at least {threshold:g} of each map's maximum",
                "version": __version__,
            },
            "images": list(images.values()),
            "categories": [{"id": number, "name": label} for label, number in categories.items()],
            "annotations": annotations,
        },
        indent=None,
    )
    return len(annotations)


def write_coco_results(
    source: Source,
    path: str | Path,
    *,
    truth: str | Path,
    threshold: float = THRESHOLD,
    names: Mapping[str, str] | None = None,
) -> int:
    """Write the boxes as a list of COCO's results, with the ids of a file of instances: what COCO's own evaluation takes.

    Args:
        source: explanations, outcomes of :func:`vlcam.explain_batches`, or a run.
        path: the JSON file to write, whole or not at all.
        truth: COCO's instances of the same photos, which are found by the names of their files, and categories by theirs.
        threshold: the fraction of a map's maximum from which a pixel belongs to the region.
        names: what the truth's categories are called, by label, where they differ. Other labels are left out.

    Returns:
        How many boxes were written.

    Raises:
        InputError: a photo isn't among the truth's, no label is one of its categories, the threshold isn't above 0 and at most 1, or a
            file can't be read or written.
    """
    target = _check_place(path, threshold)
    images, categories = _read_ids(Path(truth))
    results: list[dict[str, Any]] = []
    seen: dict[str, None] = {}
    for photo in iterate_photos(source):
        name = _name_photo(photo)
        if name not in images:
            raise InputError(
                f"the photo {name!r} is not listed in {show_path(Path(truth))}; give the photos of that file"
            )
        for label, box, score in _find_boxes(photo, threshold, None):
            own = label if names is None else names.get(label, label)
            seen[own] = None
            if own in categories:
                results.append(_make_annotation(images[name], categories[own], box, score))
    if not results:
        raise InputError(
            f"none of the labels ({', '.join(list(seen)[:5]) or 'no map shows anything'}) is a category of {show_path(Path(truth))} "
            f"({', '.join(list(categories)[:5])}, ...); give names={{label: category}}"
        )
    make_folder(target.parent)
    write_json(target, results, indent=None)
    return len(results)


def _check_place(path: str | Path, threshold: float) -> Path:
    """The file to write, before anything is explained. Raises InputError for a folder or a threshold that makes no sense."""
    target = Path(path)
    if not 0 < threshold <= 1:
        raise InputError(
            f"threshold={threshold} was given; expected a fraction of the map's maximum, above 0 and at most 1"
        )
    if target.is_dir():
        raise InputError(f"{show_path(target)} is a folder; give the name of a JSON file")
    check_folder(target.parent)
    return target


def _find_boxes(photo: ExportedPhoto, threshold: float, kinds: Collection[str] | None) -> list[tuple[str, Box, float]]:
    """The label, the box in pixels of the photo and the score of every map that has a box."""
    found = []
    for one in photo.maps:
        box = None if kinds is not None and one.target.kind not in kinds else _find_box(one, threshold)
        if box is not None:
            likely = one.target.probability
            found.append((one.target.label, box, one.target.score if likely is None else likely))
    return found


def _find_box(one: ExportedMap, threshold: float) -> Box | None:
    if one.flag != "ok":
        return None
    drawn = one.draw(_LONGEST)
    box = box_from_map(drawn, threshold=threshold)
    if box is None:
        return None
    (width, height), (rows, columns) = one.geometry.photo_size, drawn.shape
    across, down = width / columns, height / rows
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def _make_annotation(image: int, category: int, box: Box, score: float) -> dict[str, Any]:
    left, top, right, bottom = box
    numbers = [round(one, 3) for one in (left, top, right - left, bottom - top)]
    return {"image_id": image, "category_id": category, "bbox": numbers, "score": float(score)}


def _outline(box: list[float]) -> dict[str, Any]:
    left, top, width, height = box
    corners = [left, top, left + width, top, left + width, top + height, left, top + height]
    return {"area": width * height, "iscrowd": 0, "segmentation": [[round(one, 3) for one in corners]]}


def _name_photo(photo: ExportedPhoto) -> str:
    return photo.name if photo.path is None else photo.path.name


def _read_ids(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """The ids of a file of instances: of images by file name without its folders, and of categories by name."""
    read = read_json(path, INSTANCES)
    with refuse_broken(show_path(path), INSTANCES, fault="has no, or a wrong, {}"):
        images = {Path(str(one["file_name"])).name: check_whole(one["id"], "id") for one in read["images"]}
        categories = {str(one["name"]): check_whole(one["id"], "id") for one in read["categories"]}
    return images, categories
