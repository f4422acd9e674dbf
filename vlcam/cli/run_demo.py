"""``vlcam demo``: all three tasks on a few generated pictures, on the terminal and as a page."""

from PIL import Image

from vlcam.cli import console, printing
from vlcam.cli.explain_options import DemoOptions
from vlcam.cli.run_explain import PICTURE
from vlcam.explanation.explain import explain
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.page import make_page
from vlcam.files import check_folder, stage_files, write_text
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

DEMO_QUESTIONS: dict[int, tuple[str, ...]] = {
    12: ("what colour is the star", "which is higher the red square or the circle"),
    101: ("what is the same colour as the triangle", "how many striped things are there"),
    81: ("what shape is the red thing", "which is further left the orange cross or the square"),
}
"""Test scenes, by seed, and what to ask about them: overlaps, stripes, both sizes, three of the backgrounds."""


def run_demo(wanted: DemoOptions) -> None:
    """Explain captions, answers and classes, print a summary and write ``report.html``."""
    out = wanted.out
    check_folder(out)
    classifier, captioner, vqa = bundled.classifier(), bundled.captioner(), bundled.vqa()
    explanations: list[Explanation] = []
    for seed, questions in DEMO_QUESTIONS.items():
        picture, name = Image.fromarray(make(seed, "test").image(PICTURE)), f"scene:{seed}"
        console.print_heading(name)
        found = [
            explain(captioner, picture, name=name),
            *(explain(vqa, picture, question=question, top_k=2, name=name) for question in questions),
            explain(classifier, picture, name=name),
        ]
        for explanation in found:
            printing.show(explanation, headed=False, sentences=1)
        explanations += found
    with stage_files(out) as folder:
        write_text(folder / "report.html", make_page(explanations, title="vlcam demo"))
    console.say(f"Wrote {out / 'report.html'}; open it in a browser.")
