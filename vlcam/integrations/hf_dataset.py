"""Explanations as a dataset of Hugging Face's ``datasets``: one row for each photo and target, with the photo beside its map."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

from PIL import Image

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.integrations.exported import ExportedMap, ExportedPhoto, Source, iterate_photos

_QUALITY: Final = 92
"""Of the photos' JPEG files."""


def to_dataset(source: Source, *, pictures: bool = True) -> Any:
    """A ``datasets.Dataset`` in memory, to be saved, filtered or pushed to the Hub with its own methods.

    The columns are ``image`` (if ``pictures``: a JPEG as large as the explanation keeps the photo, of a run its thumbnail), ``photo``,
    ``label`` (what the model said), ``truth``, ``question``, ``target``, ``kind``, ``score``, ``measure``, ``probability``, ``p``,
    ``flag``, ``map`` (as it is drawn, row by row, in the target's units), ``rows``, ``columns``, ``sentence``, ``model``, ``layer``
    and ``method``.

    Raises:
        InputError: datasets isn't installed, or there is no explanation.
    """
    datasets = import_extra("datasets", "datasets")
    import pyarrow as pa

    text, number = datasets.Value("string"), datasets.Value("float64")
    features: dict[str, Any] = {"image": datasets.Image()} if pictures else {}
    features |= dict.fromkeys(("photo", "label", "truth", "question", "target", "kind"), text)
    features |= {"score": number, "measure": text, "probability": number, "p": number, "flag": text}
    features |= {"map": datasets.Sequence(datasets.Value("float32"))}
    features |= dict.fromkeys(("rows", "columns"), datasets.Value("int32"))
    features |= dict.fromkeys(("sentence", "model", "layer", "method"), text)
    kept = datasets.Features(features)
    schema = kept.arrow_schema
    batches = [
        pa.RecordBatch.from_pylist(list(_make_rows(photo, pictures)), schema=schema) for photo in iterate_photos(source)
    ]
    if not batches:
        raise InputError("no explanations were given; a dataset needs at least one photo")
    info = datasets.DatasetInfo(description="Explanations made by vlcam", features=kept)
    return datasets.Dataset(pa.Table.from_batches(batches, schema=schema), info=info)


def _make_rows(photo: ExportedPhoto, pictures: bool) -> Iterator[dict[str, Any]]:
    shared: dict[str, Any] = {
        "photo": photo.name,
        "label": photo.label,
        "truth": photo.truth,
        "question": photo.question,
        "model": photo.model,
        "layer": photo.layer,
        "method": photo.method,
    }
    if pictures:
        shared["image"] = {"bytes": _encode(photo), "path": photo.name}
    for one in photo.maps:
        yield {**shared, **_describe(one)}


def _describe(one: ExportedMap) -> dict[str, Any]:
    target, finite = one.target, one.flag != "nonfinite"
    return {
        "target": target.label,
        "kind": target.kind,
        "score": target.score,
        "measure": target.measure,
        "probability": target.probability,
        "p": one.p,
        "flag": one.flag,
        "map": one.heat.flatten().float().tolist() if finite else None,
        "rows": one.heat.shape[0],
        "columns": one.heat.shape[1],
        "sentence": one.sentence,
    }


def _encode(photo: ExportedPhoto) -> bytes | None:
    if photo.pixels is None:
        return None
    file = BytesIO()
    Image.fromarray(photo.pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
