"""The gallery of one run."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vlcam.gallery.data_files import DataWriter
from vlcam.gallery.run_tables import count_planned, list_parts, read_photos
from vlcam.gallery.shell import Shell, write_gallery

GALLERY: Final = "_gallery"
"""The folder of the gallery inside that of the run; readers of Parquet folders skip names that begin with an underscore."""

_SORTS: Final = (
    ("mistakes", "Wrong first, the surest on top", "truth"),
    ("sure", "Confidence, high first", "probability"),
    ("unsure", "Confidence, low first", "probability"),
    ("p", "p-value, small first", "p"),
    ("notproven", "p-value, large first", "p"),
    ("gain", "Visual gain, large first", "gain"),
    ("faint", "Faintest maps first", ""),
    ("name", "File name", ""),
)
_GROUPS: Final = (
    ("said", "By what the model said", "said"),
    ("truth", "By what is true", "truth"),
    ("pair", "By confusion pair", "truth"),
    ("target", "By what the map is of", ""),
)


def make_gallery(
    run_folder: str | Path,
    out: str | Path | None = None,
    *,
    title: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the gallery of a run: a static folder whose ``index.html`` opens from disk, and return the path of that file.

    It takes about as many bytes as the thumbnails and documents of the run. A gallery that is there already is replaced, when the new one
    is whole.

    Args:
        run_folder: the folder that ``vlcam run`` or :func:`vlcam.run` wrote.
        out: the folder for the gallery; by default ``_gallery`` in that of the run.
        title: the page's; by default the name of the run's folder.
        progress: called with how many parts of the run are done, and how many there are.

    Raises:
        InputError: ``run_folder`` isn't the folder of a run, a file in it can't be read, or ``out`` has something else in it.
    """
    run = Path(run_folder)
    parts = list_parts(run)
    planned = count_planned(run)
    name = title if title is not None else run.resolve().name or "Gallery"
    facts: Counter[tuple[str, str]] = Counter()

    def fill(writer: DataWriter) -> Callable[[dict[str, Any]], Shell]:
        for done, part in enumerate(parts):
            if progress is not None:
                progress(done, len(parts))
            for photo in read_photos(part):
                writer.add([photo], [(row,) for row in photo.rows])
                facts.update(photo.facts.items())
        if progress is not None:
            progress(len(parts), len(parts))
        return lambda counts: Shell(
            title=name,
            lead=_describe(writer, planned, list_facts(facts)),
            sides=(name,),
            facts=tuple(list_facts(facts).items()),
            sorts=_SORTS,
            groups=_GROUPS,
        )

    return write_gallery(run / GALLERY if out is None else Path(out), 1, fill)


def list_facts(facts: Counter[tuple[str, str]]) -> dict[str, str]:
    """What the photos of a run were explained with: usually one value for each name."""
    found: dict[str, str] = {}
    for name in ("task", "model", "revision", "layer", "method"):
        values = [value for (other, value), _ in facts.most_common() if other == name]
        if values:
            shown = ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")
            found[name[0].upper() + name[1:]] = shown
    return found


def _describe(writer: DataWriter, planned: int, facts: dict[str, str]) -> str:
    """The run in one line."""
    many = f"{writer.photos:,} photo{'' if writer.photos == 1 else 's'}"
    texts = [
        many if writer.photos >= planned else f"{writer.photos:,} of {planned:,} photos so far",
        f"{writer.rows:,} map{'' if writer.rows == 1 else 's'}",
    ]
    if writer.truths:
        texts.append(
            f"{writer.right / writer.truths:.1%} of {writer.truths:,} with a truth right".replace("%", "\u00a0%")
        )
    if writer.errors:
        texts.append(f"{writer.errors:,} failed")
    texts += [facts[name] for name in ("Model", "Layer", "Method") if name in facts]
    return " · ".join(texts)
