"""Many photos into a folder of Parquet shards: :func:`run`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from PIL import Image

from vlcam.contracts import InputError, LayerError, TargetError, Task
from vlcam.explanation.explain import BATCH, check_layer
from vlcam.explanation.options import Options
from vlcam.files import show_path
from vlcam.runs.explain_shard import explain_shard, refuse_hopeless
from vlcam.runs.job import SHARD_SIZE, Job, make_job
from vlcam.runs.list_source import list_source
from vlcam.runs.on_ray import explain_shards_on_ray
from vlcam.runs.photo_list import with_texts
from vlcam.runs.progress import show_progress
from vlcam.runs.read_truth import read_truths
from vlcam.runs.reading import Run, open_run
from vlcam.runs.shards import check_manifest, has_shards, is_done, start_folder, write_shard
from vlcam.runs.truth import check_truths


def run(
    task: Task,
    photos: Any,
    out: str | Path,
    *,
    batch_size: int = BATCH,
    shard_size: int = SHARD_SIZE,
    part: tuple[int, int] | None = None,
    limit: int | None = None,
    shuffle: int | None = None,
    truth: Any = None,
    contrast_truth: bool = True,
    verify: bool | int = False,
    ray: bool | str = False,
    ray_actors: int | None = None,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> Run:
    """Explain many photos into a folder of Parquet files, one row for each photo and target, and open it.

    The folder holds ``part-000000.parquet`` and so on with the rows, the same names in ``_photos`` with thumbnails and pages' data, and
    ``_manifest.json``, which says what job they are of. Every file is written whole or not at all, so a run that was interrupted or killed
    is continued by the same call: what is there is not done again. A photo that fails has a row with its error, and stops none of the
    others. The model is left as it was.

    Args:
        task: the model and how to talk to it.
        photos: a folder (with the folders in it), a pattern such as ``photos/*.jpg``, a file that lists photos or holds them, a list of
            these, of pictures, a data set of torch or of Hugging Face's ``datasets``; see the guide on runs.
        out: the folder. A different job into the same folder is refused.
        batch_size: how many photos are prepared, and if possible run, together.
        shard_size: how many photos a file has; that much is at most done again after a crash.
        part: ``(i, n)`` does the i-th of n parts (from 1) of the job, so that several processes or machines share a folder.
        limit: take the first so many photos only, after shuffling.
        shuffle: a seed; the photos are taken in a random order.
        truth: what is true of the photos: a CSV file with ``photo`` and ``label``; ``"folders"`` for the names of the folders that they are
            in; a mapping from photos to labels, or a list with one label for each; by default what the photos' source knows. It says which
            photos the model got wrong.
        contrast_truth: also explain, for each wrong photo, what was predicted rather than what is true.
        verify: also test every map against random regions and untrained models; a number says how many.
        ray: work on Ray (extra ``ray``): True starts one on this machine, ``"auto"`` or an address takes a cluster whose machines all see
            the folder and the photos.
        ray_actors: how many actors there are; by default one for each GPU if the model is on one, else for each CPU.
        progress: whether progress is shown on stderr; by default a bar on a terminal, and a line now and then elsewhere.
        **options: the options of :func:`vlcam.explain`, the same for every photo; but a list of ``targets`` has one entry for each, and
            questions and captions that the photos' source has take precedence.

    Returns:
        The run, as :func:`open_run` opens it.

    Raises:
        InputError: the photos can't be listed, an option makes no sense, or the folder has another job's results.
        TargetError: targets that the model doesn't know, or not one entry for each photo.
        LayerError: the layer doesn't exist.
        KeyboardInterrupt: as usual; its note says how to go on. The shard that was being made is lost.
    """
    folder = Path(out)
    number, parts = check_part(part)
    listed = list_source(photos, task.kind)
    if truth is not None:
        listed = with_texts(listed, truths=read_truths(truth, listed))
    listed = check_truths(task, listed, given=truth is not None)
    job = make_job(
        task,
        listed,
        batch_size=batch_size,
        shard_size=shard_size,
        limit=limit,
        shuffle=shuffle,
        verify=check_regions(verify),
        contrast_truth=contrast_truth,
        options=dict(options),
    )
    check_job(task, job)
    start_folder(folder, job.about)
    numbers = range(number - 1, job.shards, parts)
    with watch_shards(job, folder, numbers, progress) as (missing, advance):
        if ray and missing:
            explain_shards_on_ray(task, job, folder, missing, advance, address=ray, actors=ray_actors)
        elif missing:
            explain_shards(task, job, folder, missing, advance)
    return open_run(folder)


def explain_shards(
    task: Task, job: Job, folder: Path, numbers: Sequence[int], advance: Callable[[int, int], Any]
) -> None:
    """Explain some shards, and write each as soon as it is done."""
    for number in numbers:
        if is_done(folder, number):  # by another process meanwhile
            continue
        rows, photos = explain_shard(task, job, number, advance)
        if not has_shards(folder):
            refuse_hopeless(rows, photos)
        check_manifest(folder, job.about)
        write_shard(folder, number, rows, photos)


@contextmanager
def watch_shards(
    job: Job, folder: Path, numbers: Iterable[int], progress: bool | None
) -> Iterator[tuple[list[int], Callable[[int, int], None]]]:
    """The shards that aren't there yet, and what shows progress; an interrupt inside gets a note that says how to go on."""
    wanted = list(numbers)
    missing = [one for one in wanted if not is_done(folder, one)]
    total = sum(len(job.get_shard(one)) for one in wanted)
    before = total - sum(len(job.get_shard(one)) for one in missing)
    try:
        with show_progress(total, before, wanted=progress) as advance:
            yield missing, advance
    except KeyboardInterrupt as error:
        done = sum(len(job.get_shard(one)) for one in wanted if is_done(folder, one))
        error.add_note(
            f"interrupted: {done} of {total} photos are done, in {show_path(folder)}; run the same again to go on"
        )
        raise


def check_part(part: tuple[int, int] | None) -> tuple[int, int]:
    """Which part of how many, from 1. Raises InputError."""
    if part is None:
        return 1, 1
    if not (
        isinstance(part, tuple) and len(part) == 2 and all(type(one) is int for one in part) and 1 <= part[0] <= part[1]
    ):
        raise InputError(f"part={part!r} was given; expected (i, n) with i from 1 to n, such as (1, 8)")
    return part


def check_regions(verify: bool | int) -> int | None:
    """With how many random regions maps are tested: None for no test, 0 for as many as usual. Raises InputError."""
    if isinstance(verify, bool):
        return 0 if verify else None
    if not isinstance(verify, int) or verify < 19:
        raise InputError(f"verify={verify!r} was given; expected True, False or a number of regions from 19")
    return verify


def check_job(task: Task, job: Job) -> None:
    """Refuse what would fail for every photo, before anything is written. Raises InputError, TargetError or LayerError."""
    own = job.get_options(0)
    names, layer = job.options.names, job.about["layer"]
    if names is not None and layer is not None and names.layer != layer:
        raise LayerError(
            f"the names are of layer {names.layer!r}, but layer {layer!r} is explained; give layer={names.layer!r}"
        )
    texts = job.photos.questions is not None or job.photos.captions is not None
    try:
        prepared = task.prepare(Image.new("RGB", (64, 64)), own.request)
    except (InputError, TargetError):
        if texts or job.options.each is not None:  # it may be this photo's own
            return
        raise
    if isinstance(own.layer, str):
        try:
            check_layer(task, own.layer, prepared, own.request)
        except InputError:  # the model has nothing to say about a blank picture
            return
