"""What ``vlcam export`` does. Imported when a command runs, never before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlcam.cli import console
from vlcam.cli.export_options import ExportFormatOptions
from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.explanation.explanation import Explanation
from vlcam.files import show_path, stage_folder
from vlcam.integrations import to_dataset, write_coco, write_coco_results
from vlcam.metrics.localisation import THRESHOLD
from vlcam.runs import open_run
from vlcam.runs.shards import MANIFEST

SAVED = ".safetensors"


def export_formats(wanted: ExportFormatOptions) -> None:
    """Write each format that was asked for; a file is there whole or not at all."""
    open_source(wanted.source)  # before anything is written
    threshold = THRESHOLD if wanted.threshold is None else wanted.threshold
    if wanted.coco is not None:
        count = write_coco(open_source(wanted.source), wanted.coco, threshold=threshold)
        console.say(f"Wrote {wanted.coco}: {count} box{'' if count == 1 else 'es'}")
    if wanted.results is not None and wanted.truth is not None:
        count = write_coco_results(open_source(wanted.source), wanted.results, truth=wanted.truth, threshold=threshold)
        console.say(f"Wrote {wanted.results}: {count} result{'' if count == 1 else 's'}")
    if wanted.dataset is not None:
        with stage_folder(wanted.dataset) as folder:
            rows = save_dataset(open_source(wanted.source), folder)
        console.say(f"Wrote {wanted.dataset}: {rows} rows")


def open_source(place: Path) -> Any:
    """A run, or saved explanations one after the other. Raises InputError if there is neither."""
    if (place / MANIFEST).is_file():
        return open_run(place)
    if place.is_file():
        files = [place]
    elif place.is_dir():
        files = sorted(place.glob(f"*{SAVED}"))
    else:
        raise InputError(f"there is nothing at {show_path(place)}; give the folder of a run or of saved explanations")
    if not files:
        raise InputError(f"{show_path(place)} holds neither a run nor saved explanations (*{SAVED})")
    return _load(files)


def save_dataset(source: Any, folder: Path) -> int:
    """Save a dataset of Hugging Face into a folder, without its progress bars; return how many rows it has."""
    dataset = to_dataset(source)
    logging = import_extra("datasets.utils.logging", "datasets")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        dataset.save_to_disk(str(folder))
    finally:
        if shown:
            logging.enable_progress_bar()
    return len(dataset)


def _load(files: list[Path]) -> Iterator[Explanation]:
    return (Explanation.load(file) for file in files)
