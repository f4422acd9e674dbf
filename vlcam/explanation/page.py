"""The interactive page: one HTML file that loads nothing, works from ``file://`` and keeps every text a text.

Safety in three layers: the JSON is escaped for its place in the page; the script builds every element and sets text as text
only; and a content security policy allows exactly this script and this style (by hash) and pictures inside the file.
"""

import html
import io
import re
import shutil
from collections.abc import Sequence
from string import Template
from typing import Any, final

from vlcam._version import __version__
from vlcam.contracts import InputError
from vlcam.explanation.document import encode_colours, make_document
from vlcam.explanation.record import AbstractExplanation
from vlcam.explanation.wording import LEFT_OUT, shows_against
from vlcam.render.colour import choose_colours
from vlcam.render.html import embed, make_policy, read_template

_TITLE = "vlcam"
_MEANING = (
    "Colour marks where the method found evidence {side} the word, class or answer: for Grad-CAM and related methods in the explained "
    "layer, for occlusion in how the score changes when a place is covered. The stronger the colour, the stronger the evidence; where "
    "there is none, you see the photo."
)
_MEANING_BOTH = "For {methods} it is the reverse: colour marks evidence against the word, class or answer."

_QUESTION = (
    "Words of a question are tinted by how much they contribute to the answer shown: warm with a solid line for it, cool with a dashed "
    "line against it. The numbers below them are {measure}, in units of the answer's score."
)
_GRADIENT, _FALL = "gradient times embedding", "how much the score falls without the word"


def make_page(explanations: Sequence[AbstractExplanation], *, title: str = _TITLE, neurons: str | None = None) -> str:
    """Explanations as one self-contained HTML document. About 50 photos fit comfortably in one page; split longer lists.

    Write it with ``Path("report.html").write_text(make_page(explanations), encoding="utf-8")``. With the default title, a page of one
    explanation is named after it. ``neurons`` is the address of a neuron report of the same layer, such as ``neurons/report.html``: unit
    numbers then lead to its cards.

    Raises:
        InputError: there are no explanations, or ``neurons`` is neither a relative path nor an http(s) address.
    """
    explanations = list(explanations)
    page, text = GrowingPage(io.StringIO(), title=title, neurons=neurons), io.StringIO()
    for explanation in explanations:
        page.add(explanation)
    page.write(text)
    return text.getvalue()


@final
class GrowingPage:
    """A page that grows photo by photo, and keeps no pixels and maps of those that it has.

    Args:
        store: an empty text file that may be written and read, for what the page is to hold.
        title: as :func:`make_page` takes it.
        neurons: as :func:`make_page` takes it.

    Raises:
        InputError: ``neurons`` is neither a relative path nor an http(s) address.
    """

    def __init__(self, store: io.TextIOBase, *, title: str = _TITLE, neurons: str | None = None) -> None:
        self._address = None if neurons is None else _check_link(neurons)
        self._store, self._title, self._alone = store, title, ""
        self._count = 0
        self._kinds: dict[tuple[Any, ...], AbstractExplanation] = {}

    def add(self, explanation: AbstractExplanation) -> None:
        """Put one more explanation on the page."""
        document = make_document(explanation)
        self._store.write(("," if self._count else "") + embed(document))
        kind = explanation.method, explanation.relu, bool(explanation.question_words), LEFT_OUT in explanation.notes
        self._kinds.setdefault(kind, explanation)
        self._alone = "" if self._count else f"{explanation.photo.name}: {document['task']}"
        self._count += 1

    def write(self, out: io.TextIOBase) -> None:
        """Write the page. Raises InputError if there is nothing on it."""
        if not self._count:
            raise InputError("no explanations were given; a page needs at least one")
        kinds = list(self._kinds.values())
        colours = sorted({choose_colours(relu=one.relu) for one in kinds})
        title = self._alone if self._alone and self._title == _TITLE else self._title
        names = ("page.css", "page_tools.css", "page.js", "page_tools.js")
        style, more, script, tools = (read_template("vlcam.explanation", name) for name in names)
        style += "\n" + more
        known = {
            "policy": make_policy(script, style, tools),
            "title": html.escape(title.encode("utf-8", "replace").decode("utf-8")),
            "version": html.escape(__version__),
            "meaning": "</li>\n    <li>".join(html.escape(line) for line in explain_colours(kinds)),
            "style": style,
            "script": script,
            "tools": tools,
        }
        halves = read_template("vlcam.explanation", "page.html").split("$data")
        before, after = (Template(half).substitute(known) for half in halves)
        out.write(f'{before}{{"colours":{embed({name: encode_colours(name) for name in colours})},"explanations":[')
        self._store.seek(0)
        shutil.copyfileobj(self._store, out)
        out.write("]" + ("" if self._address is None else f',"neurons":{embed(self._address)}') + f"}}{after}")


def explain_colours(explanations: Sequence[AbstractExplanation]) -> list[str]:
    """What colour stands for on a page of these explanations, in a few sentences."""
    against = sorted({one.method for one in explanations if shows_against(one)})
    only = all(map(shows_against, explanations))
    lines = [_MEANING.format(side="against" if only else "for")]
    if against and not only:
        lines.append(_MEANING_BOTH.format(methods=" or ".join(against)))
    asked = [one for one in explanations if one.question_words]
    measures = {_FALL if LEFT_OUT in one.notes else _GRADIENT: None for one in asked}
    return [*lines, _QUESTION.format(measure=" or, as the notes say, ".join(measures))] if asked else lines


def _check_link(address: str) -> str:
    """An address to put before ``#unit-3``: http, https or a relative path, so that no link of the page runs anything."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", address)
    odd = (
        not address
        or address != address.strip()
        or re.search(r"[\x00-\x1f\x7f#\\]", address)
        or address.startswith("//")
    )
    if odd or (scheme is not None and scheme[1].lower() not in ("http", "https")):
        raise InputError(
            f"neurons={address!r} was given; expected a relative path such as 'neurons/report.html', or an http(s) address, without '#'"
        )
    return address
