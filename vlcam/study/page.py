"""One study as one HTML file that loads nothing, sends nothing, and holds no answer.

The page knows the items by id, their pictures and the possible answers, in the order of the ids. Which booklet a rater fills in and in
which order follows from the rater's id (the number at its end, or else a hash). Answers are kept in the browser's local storage
at every step, and leave it as a CSV file that the rater downloads. Safety as in :mod:`vlcam.explanation.page`.
"""

import html
import math
from string import Template
from typing import Any, Final

from vlcam._version import __version__
from vlcam.render.html import embed, make_policy, read_template
from vlcam.study.plan import Kind, Part
from vlcam.study.score import TRUST_ANSWERS

SECONDS: Final[dict[Kind, int]] = {"discrimination": 6, "trust": 10}
"""About how long people take for one question."""

_TEXTS: Final[dict[Kind, dict[str, Any]]] = {
    "discrimination": {
        "title": "Which of the two is shown?",
        "intro": (
            "A computer program looked at pictures and was asked about one object in each of them.",
            "You will see drawings of what mattered to the program: bright colours on the picture, or coloured lines on grey. The "
            "picture itself may be hard to make out, or not be there at all.",
            "Each time you are given the names of two objects. Choose the one that the drawing is about.",
            "If you can't tell, guess. There is no trick, and it is the drawings that are tested, not you.",
        ),
        "question": "Which of the two does this drawing show?",
    },
    "trust": {
        "title": "Which one would you rely on?",
        "intro": (
            "Two computer programs, A and B, looked at the same picture. Both gave the same answer, and it is right.",
            "You will see the picture, and for each program a drawing of what mattered to it: bright colours on the picture, or coloured "
            "lines on grey.",
            "Each time, judge by the drawings alone which program seems more reliable, and how clearly.",
            "A and B swap places at random, so A is not always the same program. There are no wrong answers.",
        ),
        "question": "Which program seems more reliable?",
    },
}
_CHOICES: Final = (
    "A is clearly more reliable",
    "A is slightly more reliable",
    "Both are equally reliable",
    "B is slightly more reliable",
    "B is clearly more reliable",
)


def make_study_page(part: Part, *, note: str = "") -> str:
    """The page that raters open, as a self-contained HTML document.

    Write it with ``Path("trust.html").write_text(make_study_page(part), encoding="utf-8")``. ``note`` is shown on its first screen: who
    asks, and where the file with the answers is to be sent, say.
    """
    texts = _TEXTS[part.kind]
    longest = max(sum(item.booklet == number for item in part.items) for number in range(part.booklets))
    minutes = max(1, math.ceil(longest * SECONDS[part.kind] / 60))
    pictures = sorted({one for item in part.items for one in item.images})
    places = {one: place for place, one in enumerate(pictures)}  # the same photo goes with every method
    content = {
        "study": part.study,
        "kind": part.kind,
        "question": texts["question"],
        "booklets": part.booklets,
        "answers": [list(pair) for pair in zip(TRUST_ANSWERS, _CHOICES, strict=True)],
        "pictures": pictures,
        "items": [
            {"id": item.id, "booklet": item.booklet, "images": [places[one] for one in item.images]}
            | ({"choices": list(item.choices)} if part.kind == "discrimination" else {"about": item.about})
            for item in sorted(part.items, key=lambda item: item.id)
        ],
    }
    style, script = read_template("vlcam.study", "study.css"), read_template("vlcam.study", "study.js")
    return Template(read_template("vlcam.study", "study.html")).substitute(
        policy=make_policy(script, style),
        version=html.escape(__version__),
        title=html.escape(texts["title"]),
        intro="\n      ".join(f"<p>{html.escape(line)}</p>" for line in texts["intro"]),
        note=f'<p class="note">{html.escape(note)}</p>' if note.strip() else "",
        length=f"{longest} question{'s' if longest != 1 else ''}, about {minutes} minute{'s' if minutes != 1 else ''}",
        keys="1 and 2" if part.kind == "discrimination" else "1 to 5",
        style=style,
        script=script,
        data=embed(content),
    )
