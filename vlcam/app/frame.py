"""What the page shows beside its controls: vlcam's own page in a frame, and messages."""

import html
from typing import Final, Literal

from vlcam.explanation.page import make_page
from vlcam.explanation.record import AbstractExplanation

EMPTY: Final = (
    '<div class="vlcam-empty"><p>Pick a picture, or upload a photo. The model is asked at once, and what it said appears here: '
    "point at a word, a class or an answer to see what it rests on.</p></div>"
)


def make_frame(explanation: AbstractExplanation) -> str:
    """The explanation's page in a sandboxed frame: its script can't reach the app around it."""
    text = html.escape(make_page([explanation], title=explanation.photo.name), quote=True)
    return (
        f'<iframe class="vlcam-page" sandbox="allow-scripts" srcdoc="{text}" title="What the answer rests on"></iframe>'
    )


def make_message(text: str, kind: Literal["note", "error"] = "note") -> str:
    """A sentence under the controls, read out by screen readers: errors at once. Empty for no text."""
    if not text:
        return ""
    role = "alert" if kind == "error" else "status"
    return f'<p class="vlcam-message vlcam-{kind}" role="{role}">{html.escape(text)}</p>'
