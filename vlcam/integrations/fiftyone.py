"""Heatmaps in FiftyOne: one sample for each photo, with a ``Heatmap`` field for each of its targets.

FiftyOne isn't an extra of vlcam: install it beside it. It takes floats without a range as lying from 0 to 1, so a range is always given.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import torch

from vlcam.contracts import InputError
from vlcam.files import show_path
from vlcam.integrations.exported import ExportedMap, ExportedPhoto, Source, iterate_photos

_LONGEST: Final = 128
"""Of a map's longer side, in pixels: FiftyOne stretches a map over its photo."""


def to_fiftyone(
    source: Source, *, photos: str | Path | None = None, field: str = "heatmap", name: str | None = None
) -> Any:
    """A ``fiftyone.Dataset`` of explanations: what the model said, what is true if that is known, and a heatmap for each target.

    The fields are ``prediction`` (a ``Classification``; ``text`` for captions and answers), ``ground_truth``, and ``heatmap``,
    ``heatmap_2`` and so on, in the order of the targets. A heatmap has ``map`` and ``range`` in the target's units, and as attributes of
    its own ``label``, ``kind``, ``score``, ``probability``, ``p`` and ``sentence``. A map that shows nothing has no field.

    Args:
        source: explanations, outcomes of :func:`vlcam.explain_batches`, or a run.
        photos: the folder with the photos, as an explanation knows only the name of its photo's file.
        field: the name of the field of the first heatmap.
        name: that of the dataset; by default FiftyOne chooses one.

    Raises:
        InputError: FiftyOne isn't installed, there is no explanation, or a photo isn't in the folder.
    """
    try:
        fiftyone = import_module("fiftyone")
    except ImportError as error:
        raise InputError(f"fiftyone can't be imported ({error}); install it with: pip install fiftyone") from error
    samples = [_make_sample(fiftyone, photo, photos, field) for photo in iterate_photos(source)]
    if not samples:
        raise InputError("no explanations were given; a dataset needs at least one photo")
    dataset = fiftyone.Dataset() if name is None else fiftyone.Dataset(name)
    dataset.add_samples(samples)
    return dataset


def _make_sample(fiftyone: Any, photo: ExportedPhoto, photos: str | Path | None, field: str) -> Any:
    values: dict[str, Any] = {}
    if photo.task == "classification":
        likely = next((one.target.probability for one in photo.maps if one.target.label == photo.label), None)
        values["prediction"] = fiftyone.Classification(label=photo.label, confidence=likely)
    else:
        values["text"] = photo.label
    if photo.question is not None:
        values["question"] = photo.question
    if photo.truth is not None:
        values["ground_truth"] = fiftyone.Classification(label=photo.truth)
    for number, one in enumerate(photo.maps, 1):
        if one.flag == "ok":
            values[field if number == 1 else f"{field}_{number}"] = _make_heatmap(fiftyone, one)
    return fiftyone.Sample(filepath=str(_find_file(photo, photos)), **values)


def _make_heatmap(fiftyone: Any, one: ExportedMap) -> Any:
    drawn = torch.nan_to_num(one.draw(_LONGEST), nan=0.0).numpy()
    limit, target = one.find_limit(), one.target
    own = {"label": target.label, "kind": target.kind, "score": target.score, "probability": target.probability}
    return fiftyone.Heatmap(
        map=drawn, range=[0.0 if one.relu else -limit, limit], **own, p=one.p, sentence=one.sentence
    )


def _find_file(photo: ExportedPhoto, photos: str | Path | None) -> Path:
    """The photo's file, absolute. Raises InputError if it isn't there."""
    if photo.path is None and photos is None:
        raise InputError(
            f"the explanation of {photo.name!r} doesn't say in what folder its photo is; give photos=FOLDER"
        )
    file = (photo.path if photos is None else Path(photos) / photo.name) or Path(photo.name)
    if not file.is_file():
        raise InputError(f"there is no file {show_path(file)}; give the folder of the photos with photos=")
    return file.resolve()
