"""Explanations as the output of a notebook's cell: the page in a frame that is as high as the page, and pictures where there are no frames.

GitHub, nbviewer and notebooks that aren't trusted take frames and scripts out of what they show: what is left is a picture of the figure.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Final

from PIL import Image

from vlcam.explanation.figures import draw_figure
from vlcam.explanation.numbers import format_percent
from vlcam.explanation.page import make_page
from vlcam.explanation.panels import draw_panels
from vlcam.explanation.record import AbstractExplanation, TargetView
from vlcam.explanation.wording import find_peak, get_notice

_WIDTH: Final = 960
_MOST_PANELS: Final = 11
_MOST_PHOTOS: Final = 60
_SIDE: Final = 220
_SCRIPT: Final = """(() => {
  if (globalThis.vlcamListens) return;
  globalThis.vlcamListens = true;
  addEventListener("message", ({ data, source }) => {
    if (!Number.isFinite(data?.vlcamHeight)) return;
    for (const frame of document.querySelectorAll("iframe[title='vlcam explanation']")) {
      if (frame.contentWindow !== source) continue;
      frame.style.position = "static";
      frame.style.height = Math.min(Math.ceil(data.vlcamHeight), 20000) + "px";
      frame.parentNode.querySelector("img").style.display = "none";
    }
  });
})();"""
"""In the notebook: a frame whose page says how high it is becomes as high, and the picture below it goes."""


def make_cell(explanation: AbstractExplanation, picture: bytes | None = None) -> str:
    """The page in a sandboxed frame, whose script can't reach the notebook, over a picture that stands there alone without frames.

    Args:
        explanation: what to show.
        picture: what :func:`draw_still` made, if it is at hand.
    """
    text = html.escape(make_page([explanation], title=explanation.photo.name), quote=True)
    still = _encode(draw_still(explanation) if picture is None else picture)
    return (
        f'<div style="position:relative"><img src="{still}" alt="{_escape(_describe(explanation))}" '
        f'style="display:block;width:100%;max-width:{_WIDTH}px">'
        f'<iframe sandbox="allow-scripts allow-downloads" srcdoc="{text}" title="vlcam explanation" width="100%" '
        'style="position:absolute;inset:0;width:100%;height:100%;border:0;border-radius:12px;background:Canvas"></iframe>'
        f"<script>{_SCRIPT}</script></div>"
    )


def make_bundle(explanation: AbstractExplanation) -> dict[str, str]:
    """The cell, and the picture alone for notebooks that become PDFs."""
    picture = draw_still(explanation)
    return {
        "text/html": make_cell(explanation, picture),
        "image/jpeg": base64.b64encode(picture).decode("ascii"),
    }


def draw_still(explanation: AbstractExplanation) -> bytes:
    """A figure of the first targets as a JPEG file."""
    words = list(range(min(len(explanation), _MOST_PANELS)))
    return _save(draw_figure(explanation, words=words, width=_WIDTH))


def make_grid(items: Iterable[AbstractExplanation | tuple[str, str]], count: int) -> str:
    """Small pictures of many photos, each with the strongest map of what the model said; of a photo that failed, why.

    Args:
        items: explanations, or the name of a photo and its error; only the first 60 are shown.
        count: how many there are.
    """
    cells = []
    for item, _ in zip(items, range(_MOST_PHOTOS), strict=False):
        name, said, inside = _fail(*item) if isinstance(item, tuple) else _show(item)
        cells.append(
            '<figure style="margin:0;min-width:0">'
            f'{inside}<figcaption style="font-size:12px;line-height:1.35;margin-top:4px;overflow-wrap:anywhere">'
            f"<b>{_escape(said)}</b><br>{_escape(name)}</figcaption></figure>"
        )
    more = f"<p>and {count - len(cells):,} more</p>" if count > len(cells) else ""
    columns = "display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:14px;align-items:start"
    return f'<div style="{columns}">{"".join(cells)}</div>{more}' if cells else "<p>no explanations</p>"


def _show(explanation: AbstractExplanation) -> tuple[str, str, str]:
    """A photo's name, what the model said, and the picture."""
    view = choose_view(explanation)
    if view is None:
        return explanation.photo.name, explanation.text, ""
    (picture,) = draw_panels(explanation, [view.index], size=_SIDE)
    likely = " ".join(filter(None, (view.label, format_percent(view.target.probability), get_notice(view))))
    said = f"{explanation.text} ({view.label})" if explanation.task == "captioning" else likely
    if explanation.question is not None:
        said = f"{explanation.question} {said}"
    tag = (
        f'<img src="{_encode(_save(picture))}" alt="{_escape(f"{explanation.photo.name} with the map of {view.label}")}" '
        'style="display:block;width:100%;border-radius:6px">'
    )
    return explanation.photo.name, said, tag


def _fail(name: str, error: str) -> tuple[str, str, str]:
    return name, error, ""


def choose_view(explanation: AbstractExplanation) -> TargetView | None:
    """The target that stands for a photo: what the model said; of a caption the word with the strongest map."""
    views = list(explanation)
    words = [view for view in views if view.target.kind == "word"]
    if words:
        return max(words, key=find_peak)
    said = (view for view in views if view.label == explanation.text and view.target.kind in ("class", "answer"))
    return next(said, views[0] if views else None)


def _describe(explanation: AbstractExplanation) -> str:
    said = ": ".join(filter(None, (explanation.photo.name, explanation.question, explanation.text)))
    labels: Sequence[Any] = [view.label for view in explanation][:_MOST_PANELS]
    return f"{said}; heatmaps of {', '.join(labels)}"


def _escape(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode("utf-8"), quote=True)


def _save(picture: Image.Image) -> bytes:
    data = BytesIO()
    picture.save(data, "JPEG", quality=86, subsampling=0)
    return data.getvalue()


def _encode(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
