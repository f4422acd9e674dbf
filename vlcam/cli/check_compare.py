"""What ``vlcam compare`` checks before torch is imported: names of methods, photos, and places to write to."""

from vlcam.cli.check_explain import check_image, make_recipe
from vlcam.cli.compare_options import CompareOptions
from vlcam.cli.method_names import METHODS
from vlcam.errors import InputError, find_name
from vlcam.files import check_folder
from vlcam.tasks.recipe import ENDING


def check_compare(wanted: CompareOptions) -> None:
    """Raise InputError for a model, method, photo or place that can't be used."""
    make_recipe(None, wanted)
    for method in (wanted.methods or "").split(","):
        if method.strip():
            find_name(method.strip(), METHODS, "method")
    for source in wanted.photos:
        check_image(source)
    for path in (wanted.html, wanted.save):
        if path is not None:
            check_folder(path.parent)
    if wanted.save is not None and wanted.save.suffix != ENDING:
        raise InputError(f"--save {wanted.save} was given; expected the name of a recipe, which ends in {ENDING}")
