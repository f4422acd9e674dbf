"""What a notebook shows: a frame, a picture beneath it, grids of lists, and its own progress bar."""

import re

import pytest

from tests.support.examples_of_explanations import captioning, classification
from vlcam.explanation.batches import Outcome, Outcomes
from vlcam.explanation.explanation import Explanations
from vlcam.render import notebook_bar


def test_a_cell_has_a_picture_for_where_frames_are_taken_out() -> None:
    bundle = captioning()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/jpeg"}
    stripped = re.sub(r"<iframe.*?</iframe>|<script>.*?</script>", "", bundle["text/html"], flags=re.DOTALL)
    assert "data:image/jpeg;base64," + bundle["image/jpeg"] in stripped and "heatmaps of" in stripped


def test_lists_are_grids_of_small_pictures() -> None:
    page = Explanations([captioning(), classification()])._repr_html_()
    assert page.count("<figure") == page.count("<img") == 2 and "iframe" not in page
    many = Explanations([captioning()] * 62)._repr_html_()
    assert many.count("<figure") == 60 and "and 2 more" in many
    assert Explanations()._repr_html_() == "<p>no explanations</p>"


def test_a_photo_that_failed_says_why_in_the_grid() -> None:
    failed = Outcome(1, "b.png", error=ValueError("<script>"))
    several = Outcomes([Outcome(0, "a.png", explanation=captioning()), failed])
    page = several._repr_html_()
    assert page.count("<img") == 1 and "ValueError: &lt;script&gt;" in page and "b.png" in page
    assert repr(several) == "Outcomes(2 images, 1 failed)" and "&lt;script&gt;" in failed._repr_html_()


class Shown:
    """Stands for what IPython shows: keeps every state of one output."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def HTML(self, text: str) -> str:  # noqa: N802
        return text

    def display(self, page: str, *, display_id: bool) -> "Shown":
        assert display_id
        self.states.append(page)
        return self

    def update(self, page: str) -> None:
        self.states.append(page)


def test_the_bar_is_an_element_of_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    monkeypatch.setattr("importlib.import_module", lambda name: {"IPython.display": shown}[name])
    with notebook_bar.open_notebook_bar("explaining") as show:
        for done in range(4):
            show(done, 3, "explaining <photos>")
    assert shown.states[0].startswith('<progress value="0" max="3"') and "&lt;photos&gt;" in shown.states[0]
    assert shown.states[-2].startswith('<progress value="3" max="3"')
    assert shown.states[-1] == "<small>explaining &lt;photos&gt; 3/3</small>"


def test_no_notebook_is_one() -> None:
    assert not notebook_bar.in_notebook()
