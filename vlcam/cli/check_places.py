"""What commands other than classify, caption and vqa check before torch is imported: places to write to, data, names of methods."""

from pathlib import Path

from vlcam.cli.export_options import ExportFormatOptions
from vlcam.cli.method_names import METHODS
from vlcam.cli.reproduce_options import ReproduceOptions
from vlcam.errors import InputError, find_name
from vlcam.files import check_folder


def check_out(out: Path | None) -> None:
    """Raise InputError for a folder that can't be written to."""
    if out is not None:
        check_folder(out)


def check_reproduce(wanted: ReproduceOptions) -> None:
    """Raise InputError for an output folder, data, a module file or a method that doesn't exist.

    With ``--import`` the methods are checked later, as the module may register some.
    """
    check_out(wanted.out)
    if wanted.data is not None and not wanted.data.exists():
        raise InputError(f"there is nothing at {str(wanted.data)!r}; give the folder of a data set with --data")
    for module in wanted.modules or ():
        if module.endswith(".py") and not Path(module).is_file():
            raise InputError(f"there is no file {module!r} (looked from {Path.cwd()}); check the path")
    if wanted.arch is not None and wanted.model is None:
        raise InputError(f"--arch {wanted.arch} requires --model and the path of a state dict")
    if not wanted.modules:
        for method in wanted.methods or ():
            find_name(method, METHODS, "method")


def check_export(wanted: ExportFormatOptions) -> None:
    """Raise InputError for options that don't fit together."""
    if wanted.coco is None and wanted.results is None and wanted.dataset is None:
        raise InputError("nothing is to be written; give --coco FILE, --coco-results FILE or --dataset FOLDER")
    if (wanted.results is None) != (wanted.truth is None):
        raise InputError(
            "--coco-results and --truth go together: results have the ids of the truth's photos and categories"
        )
    if wanted.threshold is not None and wanted.coco is None and wanted.results is None:
        raise InputError("--threshold is for boxes; give --coco or --coco-results with it")
