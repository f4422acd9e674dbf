"""The pages and shared files of a gallery, around its data: the same for one run and for two.

A gallery is a folder with ``index.html`` and one folder ``files-N``, which has everything else. A new gallery in the same place is written
into the next such folder; then ``index.html`` is replaced, which is one step for whoever looks; then the old folder goes.
"""

import html
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Final, final

from vlcam._version import __version__
from vlcam.errors import InputError
from vlcam.explanation.document import encode_colours
from vlcam.explanation.wording import FAINT
from vlcam.files import check_folder, name_unwritable, show_path, stage_folder, write_text
from vlcam.gallery.data_files import DataWriter
from vlcam.render.html import embed, read_template

_MARK: Final = '<meta name="generator" content="vlcam gallery '
_SCRIPTS: Final = ("overlay.js", "choose.js", "tile.js", "grid.js", "gallery.js")
_POLICY: Final = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src data:; frame-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
"""Scripts, styles and frames that lie beside the page, and nothing inline; ``file:`` is for browsers in which no file is its own origin."""

_MEANING: Final = (
    "Colour marks where the method found evidence for the word, class or answer (or against it, where a method shows that): the stronger "
    "the colour, the stronger the evidence. The white line runs at half of the map's peak, and says the same without colours.",
    "Hatched parts of a photo were cut off before the model saw it. A map says nothing about them.",
    "A p-value says how often a random region of the map's size and shape did as well as the map: a large one means that the map may be "
    "chance. Where a run corrected for several tests, it is the corrected one.",
    "Visual gain is by how much the photo raises the log-probability of a word, in nats.",
    f"A map is faint if it is {FAINT} or more times fainter than the strongest map of its photo and kind.",
    "A map doesn't say that the model is right, that it recognises the object that the map points at, or what it would have said without "
    "that part of the photo.",
)
_OWN: Final = (
    "Each map is drawn on its own scale, unless you choose one scale for all maps of a photo: compare numbers, not colours.",
)


@final
@dataclass(frozen=True, kw_only=True)
class Shell:
    """What the pages say and offer; ``sides`` names the runs, ``facts`` are lines of name and text, the rest are choices (value, text)."""

    title: str
    lead: str
    sides: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    meaning: tuple[str, ...] = _OWN
    sorts: tuple[tuple[str, str, str], ...] = ()
    first_sort: str = "Order of the run"
    sort: str = ""
    groups: tuple[tuple[str, str, str], ...] = ()
    shows: tuple[tuple[str, str], ...] = (("", "Photos"), ("maps", "Every map"))
    rights: tuple[tuple[str, str], ...] = (("right", "Right"), ("wrong", "Wrong"), ("unknown", "Without a truth"))
    one_scale: str = "One scale for each photo"


def write_gallery(out: Path, sides: int, fill: Callable[[DataWriter], Callable[[dict[str, Any]], Shell]]) -> Path:
    """Write a gallery and return its ``index.html``: ``fill`` puts the photos in, and returns what makes the shell from the counts.

    Raises:
        InputError: ``out`` is a file, or a folder with something else in it, or can't be written to. What was there stays as it was.
    """
    old = _find_old(out)
    check_folder(out)
    number = 1 + max((int(one.name.removeprefix("files-")) for one in old), default=0)
    home = out / f"files-{number}"
    with stage_folder(home) as folder:
        for name in ("data", "assets"):
            (folder / name).mkdir()
        writer = DataWriter(folder / "data", sides)
        describe = fill(writer)
        counts = writer.finish()
        shell = describe(counts)
        _write_shared(folder, shell, {**counts, "home": f"{home.name}/"})
    index = out / "index.html"
    with name_unwritable(index):
        write_text(index, _make_index(shell, f"files-{number}/"), errors="replace")
    for one in old:
        shutil.rmtree(one, ignore_errors=True)
    return index


def _find_old(out: Path) -> list[Path]:
    """The data folders of the gallery that is there; none if there is nothing. Raises InputError if there is something else."""
    shown = show_path(out)
    try:
        if not out.exists():
            return []
        if not out.is_dir():
            raise InputError(f"can't write a gallery to {shown}: it is a file; give another folder")
        inside = [one for one in out.iterdir() if not one.name.startswith(".vlcam-")]
        index = out / "index.html"
        ours = index.is_file() and _MARK in index.read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError as error:
        raise InputError(f"can't write a gallery to {shown}: {error.strerror}; give another folder") from error
    data = [one for one in inside if re.fullmatch(r"files-[0-9]{1,9}", one.name) and one.is_dir()]
    others = [one for one in inside if one not in data and one != index]
    if others or (inside and not ours and (index in inside or not _are_data(data))):
        raise InputError(
            f"the folder {shown} has something other than a gallery in it ({(others or inside)[0].name}); "
            "give a folder that doesn't exist yet, an empty one, or one of a gallery, which is then replaced"
        )
    return data


def _are_data(folders: list[Path]) -> bool:
    """Whether these are data folders of galleries, from a process that ended before it had written index.html."""
    return all((one / "view.html").is_file() for one in folders)


def _write_shared(folder: Path, shell: Shell, counts: dict[str, Any]) -> None:
    """Everything but the data, which lies in ``folder`` already."""
    about = {
        **counts,
        "sides": [{"name": name} for name in shell.sides],
        "compare": len(shell.sides) > 1,
        "faint": FAINT,
        "sort": shell.sort,
        "scripts": _list_page_files(".js"),
    }
    colours = {name: encode_colours(name) for name in ("inferno", "coolwarm")}
    assets = folder / "assets"
    for name in ("data.js", "view.js", "gallery.css", *_SCRIPTS):
        (assets / name).write_text(_read(name), encoding="utf-8")
    for name in _list_page_files(".js") + _list_page_files(".css"):
        (assets / name).write_text(read_template("vlcam.explanation", name) + "\n", encoding="utf-8")
    text = f"vlcamGallery.about={embed(about)};\nvlcamGallery.colours={embed(colours)};\n"
    (folder / "data" / "about.js").write_text(text, encoding="ascii")
    (folder / "view.html").write_text(_make_view(), encoding="utf-8")


def _read(name: str) -> str:
    return files("vlcam.gallery").joinpath("templates", name).read_text(encoding="utf-8")


def _make_index(shell: Shell, home: str) -> str:
    scripts = [f"{home}assets/data.js", f"{home}data/about.js", *(f"{home}assets/{name}" for name in _SCRIPTS)]
    compare = len(shell.sides) > 1
    return Template(_read("gallery.html")).substitute(
        policy=_POLICY,
        version=html.escape(__version__),
        title=_escape(shell.title),
        lead=_escape(shell.lead),
        home=home,
        scripts="\n".join(f'<script src="{one}" defer></script>' for one in scripts),
        first_sort=html.escape(shell.first_sort),
        sorts=_list_options(shell.sorts),
        groups=_list_options(shell.groups),
        shows=_list_options(shell.shows),
        rights=_list_options(shell.rights),
        labels=_LABELS if compare else "",
        apart=_APART if compare else "",
        grid="pairs" if compare else "",
        faint=FAINT,
        one_scale=html.escape(shell.one_scale),
        meaning="</li>\n      <li>".join(html.escape(line, quote=False) for line in (*_MEANING, *shell.meaning)),
        facts="".join(f"<div><dt>{_escape(name)}</dt><dd>{_escape(text)}</dd></div>" for name, text in shell.facts),
    )


_LABELS: Final = (
    '      <label id="labels-field"><span class="label">Labels</span><select id="labels"><option value="">All</option>'
    '<option value="different">Different</option><option value="same">The same</option></select></label>'
)
_APART: Final = (
    '      <fieldset><legend>Disagreement, 0 to 2</legend><label>from <input id="apart-from" inputmode="decimal" size="4"></label> '
    '<label>to <input id="apart-to" inputmode="decimal" size="4"></label></fieldset>'
)


def _list_options(choices: tuple[tuple[str, ...], ...]) -> str:
    """Options of a list: value, text, and what a run must have for it."""
    found = []
    for value, text, *needs in choices:
        only = f' data-needs="{needs[0]}"' if needs and needs[0] else ""
        found.append(f'      <option value="{html.escape(value)}"{only}>{html.escape(text)}</option>')
    return "\n".join(found)


def _list_page_files(ending: str) -> list[str]:
    """The style sheets or scripts of the page of an explanation, in the order in which it has them: ``page`` before ``page_tools``."""
    inside = files("vlcam.explanation").joinpath("templates").iterdir()
    return sorted(one.name for one in inside if one.name.startswith("page") and one.name.endswith(ending))


def _make_view() -> str:
    """The page of one photo: that of ``make_page``, with its styles, scripts and data in files."""
    names = ("assets/data.js", "data/about.js", "assets/view.js")
    styles = "".join(f'<link rel="stylesheet" href="assets/{one}">' for one in _list_page_files(".css"))
    scripts = "".join(f'<script src="{one}" defer></script>' for one in names)
    page = read_template("vlcam.explanation", "page.html")
    for inside, outside in (
        (r"<style>\$style</style>", styles),
        (r"(<script>\$\w+</script>\s*)+", scripts + "\n"),
        (r">\$data<", "><"),
        (r"This file is self-contained: it loads nothing from the network\.", "Nothing is loaded from the network."),
    ):
        page, count = re.subn(inside, outside, page)
        if count != 1:
            raise AssertionError(f"the template of the page has {count} of {inside}; expected one")
    return Template(page).substitute(
        policy=_POLICY, title="vlcam", version=html.escape(__version__), meaning=html.escape(_MEANING[0], quote=False)
    )


def _escape(text: str) -> str:
    """Text that is safe in HTML, with half of a surrogate pair replaced."""
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"))
