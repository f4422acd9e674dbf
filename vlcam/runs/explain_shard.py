"""The photos of one shard, explained batch by batch: the same function whoever works on the run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vlcam.contracts import InputError, Task
from vlcam.engine.restore import undo_after_errors
from vlcam.explanation.batches import explain_prepared
from vlcam.explanation.explain import PreparedPhoto, prepare_photo
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.options import CheckedOptions
from vlcam.runs.job import Job
from vlcam.runs.photo_list import get_text
from vlcam.runs.rows import RowContext, make_rows
from vlcam.runs.truth import Verdict, judge

Record = dict[str, Any]


@undo_after_errors
def explain_shard(
    task: Task, job: Job, number: int, advance: Callable[[int, int], Any] | None = None
) -> tuple[list[Record], list[Record]]:
    """The rows of a shard's targets, and of its photos. Nothing is written, and the model is left as it was.

    ``advance`` is called after each batch with how many photos were explained, and how many of them failed.
    """
    rows: list[Record] = []
    photos: list[Record] = []
    places = job.get_shard(number)
    for start in range(places.start, places.stop, job.batch_size):
        batch = range(start, min(start + job.batch_size, places.stop))
        failed = 0
        for targets, photo in explain_places(task, job, batch):
            rows += targets
            photos.append(photo)
            failed += photo["error"] is not None
        if advance is not None:
            advance(len(batch), failed)
    return rows, photos


def refuse_hopeless(rows: Sequence[Record], photos: Sequence[Record]) -> None:
    """Raise InputError for the first shard of a job in which every photo could be opened and failed for the same reason."""
    reasons = {photo["error"] for photo in photos}
    if len(photos) > 1 and len(reasons) == 1 and None not in reasons and all(photo.get("sha256") for photo in photos):
        raise InputError(f"all of the first {len(photos)} photos fail, so nothing was written: {rows[0]['error']}")


def explain_places(task: Task, job: Job, batch: Sequence[int]) -> list[tuple[list[Record], Record]]:
    """The rows of the photos at some places of the job's order, which are in memory together."""
    ready: dict[int, tuple[PreparedPhoto, CheckedOptions]] = {}
    found: dict[int, Explanation | Exception] = {}
    for index in batch:
        try:
            own = job.get_options(index)
            place = job.order[index]
            image = job.photos.load(place)
            ready[index] = prepare_photo(task, image, own, job.photos.get_name(place)), own
        except Exception as error:
            found[index] = error
    found.update(explain_prepared(task, ready))
    verdicts = {
        index: judge(task, one, get_text(job.photos.truths, job.order[index]))
        for index, one in found.items()
        if isinstance(one, Explanation)
    }
    if job.contrast_truth:
        found.update(_contrast_wrong(task, ready, found, verdicts))
    if job.verify is not None:
        found.update(_verify(task, job, found))
    return [
        make_rows(
            _describe(task, job, index, verdicts.get(index, Verdict())),
            found[index],
            ready[index][0].photo if index in ready else None,
        )
        for index in batch
    ]


def _contrast_wrong(
    task: Task,
    ready: dict[int, tuple[PreparedPhoto, CheckedOptions]],
    found: dict[int, Explanation | Exception],
    verdicts: dict[int, Verdict],
) -> dict[int, Explanation | Exception]:
    """Wrong photos explained once more, with the contrast of what was said and what is true beside the other targets."""
    again = {}
    for index, verdict in verdicts.items():
        photo, own = ready[index]
        if verdict.contrast is None or verdict.contrast in own.request.contrasts:
            continue
        contrasts = (*own.request.contrasts, verdict.contrast)
        again[index] = photo, replace(own, request=replace(own.request, contrasts=contrasts))
    done = explain_prepared(task, again)
    # What can't be contrasted keeps its explanation, which is whole without that.
    return {index: one for index, one in done.items() if isinstance(one, Explanation)}


def _verify(task: Task, job: Job, found: dict[int, Explanation | Exception]) -> dict[int, Explanation | Exception]:
    """The explanations with a significance test of every map."""
    tested: dict[int, Explanation | Exception] = {}
    for index, one in found.items():
        if not isinstance(one, Explanation):
            continue
        try:
            image = job.photos.load(job.order[index])
            tested[index] = one.verify(task, image, regions=job.verify or None, prompt=job.options.request.prompt)
        except Exception as error:
            tested[index] = error
    return tested


def _describe(task: Task, job: Job, index: int, verdict: Verdict) -> RowContext:
    photos, place = job.photos, job.order[index]
    return RowContext(
        index=index,
        key=photos.keys[place],
        path=get_text(photos.paths, place),
        name=photos.get_name(place),
        question=get_text(photos.questions, place) or job.options.request.question,
        truth=get_text(photos.truths, place),
        correct=verdict.correct,
        notes=() if verdict.note is None else (verdict.note,),
        task=task.kind,
        model=task.name,
        revision=job.revision,
    )
