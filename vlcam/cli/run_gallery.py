"""What ``vlcam gallery`` and ``vlcam compare-runs`` do. Imported when a command runs, never before."""

import math
from dataclasses import asdict
from typing import Final

from vlcam.cli import console
from vlcam.cli.gallery_options import CompareRunsOptions, GalleryOptions
from vlcam.files import dump_json, replace_nonfinite
from vlcam.gallery import RunComparison, compare_runs, make_gallery
from vlcam.runs import Run

_MOST_UNASKED: Final = 100_000
"""Photos of a run whose gallery is made without being asked for."""


def run_gallery(wanted: GalleryOptions) -> None:
    """Write the gallery and say where it is."""
    with console.show_bar("gallery") as progress:
        page = make_gallery(wanted.run, wanted.out, title=wanted.title, progress=progress)
    console.print_paragraph(f"The gallery is {page}; it opens in any browser.", 0)


def add_gallery(found: Run) -> None:
    """Write the gallery of a run that has just been finished and say where it is; of a very large one say how to."""
    if not found.is_complete:
        return
    if len(found.photos) > _MOST_UNASKED:
        console.print_paragraph(f"For a gallery, of about 20 kB a photo: vlcam gallery {found.folder}", 0)
        return
    with console.show_bar("gallery") as progress:
        page = make_gallery(found.folder, progress=progress)
    console.print_paragraph(f"The gallery is {page}; it opens in any browser.", 0)


def run_compare_runs(wanted: CompareRunsOptions) -> None:
    """Compare, print a summary or JSON, and say where the gallery is."""
    with console.show_bar("comparing") as progress:
        found = compare_runs(wanted.a, wanted.b, wanted.out, progress=progress)
    if wanted.as_json:
        console.print_data(dump_json(replace_nonfinite({**asdict(found), "page": str(found.page)})))
    else:
        _show(found)


def _show(found: RunComparison) -> None:
    console.print_heading(f"A {found.names[0]}, B {found.names[1]}: {found.matched:,} photos in both")
    lost = [
        f"{found.photos[side] - found.matched:,} photos only in {'AB'[side]}"
        for side in (0, 1)
        if found.photos[side] > found.matched
    ]
    if found.other_pixels:
        lost.append(f"{found.other_pixels:,} of them with the same name but other pixels")
    lost += [f"{count:,} targets only in {'AB'[side]}" for side, count in enumerate(found.alone) if count]
    if lost:
        console.print_paragraph(f"Not matched: {', '.join(lost)}.", 0)
    if found.failed:
        console.print_paragraph(f"Failed in one of them: {found.failed:,} photos.", 0)
    console.print_paragraph(
        f"The same label: {found.same_label:,} photos; different ones: {found.different_label:,}.", 0
    )
    if found.truths:
        shares = [f"{count / found.truths:.1%}".replace("%", " %") for count in found.right]
        console.print_paragraph(f"Right, of {found.truths:,} with a truth: A {shares[0]}, B {shares[1]}.", 0)
    if not found.compared:
        console.print_paragraph(f"No maps to compare: {found.pairs:,} targets are in both.", 0)
    else:
        low, middle, high = found.disagreement
        console.print_paragraph(
            f"Disagreement of {found.compared:,} pairs of maps of {found.pairs:,} (1 less their rank correlation): half of them are "
            f"between {low:.2f} and {high:.2f}, the median is {middle:.2f}.",
            0,
        )
        console.print_line()
        rows = [[photo, target, f"{value:.2f}"] for photo, target, value in found.most if not math.isnan(value)]
        console.print_table(["photo", "target", "disagreement"], rows, texts=2)
    console.print_paragraph(f"The gallery is {found.page}; it opens in any browser.", 0)
