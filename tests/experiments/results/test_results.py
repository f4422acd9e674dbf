"""Results: records that survive JSON, tables, only such numbers of the paper as were read somewhere, and charts."""

import json
import math
import re
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlcam.contracts import InputError
from vlcam.experiments.results.chart import draw_chart, save_chart
from vlcam.experiments.results.published import NUMBERS, find_published
from vlcam.experiments.results.result import (
    Result,
    ResultRow,
    format_number,
    from_json,
    load,
    make_cells,
    make_markdown_table,
    make_overview,
    make_row,
    save,
    to_json,
    to_markdown,
)
from vlcam.render.colour import get_colour_table

ACCENT = get_colour_table("viridis")[82].astype(int)
GREY = np.array((150, 147, 141))


def result(**changes: object) -> Result:
    """Faithfulness with two methods and two controls, one without a number."""
    plain = Result(
        6,
        "faithfulness",
        "Faithfulness",
        "Do maps agree with occlusion?",
        "Rank correlation with an occlusion map.",
        "scenes test",
        "scenes-classifier",
        (
            make_row("faithfulness", "Grad-CAM", 0.41, 0.38, 0.44, 200, undefined=3),
            make_row("faithfulness", "RISE", 0.5, 0.46, 0.53, 200, note="1000 masks"),
        ),
        controls=(ResultRow("random", 0.01, -0.02, 0.03, 200), ResultRow("untrained", math.nan, n=0, undefined=200)),
        better="higher",
        notes=("Patches of 12 pixels.",),
        seconds=12.5,
        figures=("faithfulness.png",),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def wide() -> Result:
    rows = []
    for name, values in {"Grad-CAM": (61.2, 26.5), "Gradient": (72.0, 26.5)}.items():
        for column, value in zip(("loc top-1", "cls top-1"), values, strict=True):
            rows.append(make_row("localisation", name, value, value - 4, value + 4, 150, column=column))
    control = ResultRow("centre box", 82.0, 78.0, 85.0, 150, column="loc top-1")
    return Result(
        1,
        "localisation",
        "Localisation",
        "Where?",
        "15 %.",
        "some",
        "net",
        tuple(rows),
        (control,),
        unit="%",
        better="lower",
    )


# --- JSON -------------------------------------------------------------------------------------------------------------


def same(one: Result, other: Result) -> bool:
    """Equal, where NaN is equal to NaN."""
    return repr(astuple(one)) == repr(astuple(other))


@pytest.mark.parametrize("made", [result, wide])
def test_results_survive_json(tmp_path: Path, made: object) -> None:
    before = made()  # type: ignore[operator]
    save(before, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text("utf-8")
    assert "NaN" not in text and json.loads(text)["schema"] == 1
    assert same(load(tmp_path / "a.json"), before)
    assert same(from_json(json.loads(json.dumps(to_json(before)))), before)


def test_other_files_are_refused(tmp_path: Path) -> None:
    good = to_json(result())
    for wrong, said in (
        ({**good, "schema": 2}, "schema 2; expected 1"),
        ([], "schema None"),
        ({name: value for name, value in good.items() if name != "rows"}, "the result lacks rows"),
        ({**good, "colour": "red"}, "'colour'"),
        ({**good, "rows": [{"name": "a"}]}, r"the result.rows\[0\] lacks .*, value"),
        ({**good, "number": "six"}, "the result.number is 'six'; expected a whole number"),
    ):
        (tmp_path / "a.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=said):
            load(tmp_path / "a.json")
    with pytest.raises(InputError, match="can't be read"):
        load(tmp_path / "none.json")
    with pytest.raises(InputError, match="can't be written"):
        save(result(), tmp_path / "no" / "a.json")


def test_rows_must_have_different_names() -> None:
    with pytest.raises(InputError, match="the row 'random' twice"):
        result(controls=(ResultRow("random", 0.0), ResultRow("random", 1.0)))
    with pytest.raises(InputError, match="column 'b'"):
        result(columns=("a",), rows=(ResultRow("x", 1.0, column="b"),), controls=())


# --- the paper's numbers ----------------------------------------------------------------------------------------------


def test_the_papers_numbers_are_found_whatever_a_method_is_called() -> None:
    for name in ("Grad-CAM", "gradcam", "Grad CAM"):
        assert make_row("faithfulness", name, 0.0).paper == 0.254
    assert [make_row("faithfulness", name, 0.0).paper for name in ("c-MWP", "guided backprop", "Guided BP", "CAM")] == [
        0.220,
        0.168,
        0.168,
        0.208,
    ]
    assert make_row("faithfulness", "RISE", 0.0).paper is None and make_row("nothing", "Grad-CAM", 0.0).paper is None
    assert make_row("localisation", "Grad-CAM", 0.0, column="loc top-1").paper == 56.51
    assert make_row("localisation", "Grad-CAM", 0.0, column="loc top-9").paper is None
    assert make_row("captions", "Grad-CAM", 0.0, column="pointing").paper == 30.0
    assert (found := find_published("vqa", "Grad-CAM", "occlusion")) is not None and found.spread == 0.038


# Table 1's cells and the appendix's ablations that nobody here could read: section 1 of the protocols tags them [M], from memory.
FROM_MEMORY = (61.12, 51.46, 70.92, 63.04, 33.40, 12.20, 45.14, 92.6, 89.2, 59.65, 74.98, 58.19, 59.96, 83.95, 59.14)


def test_numbers_from_memory_are_not_the_papers() -> None:
    values = [one.value for group in NUMBERS.values() for one in group.values()]
    assert not set(values) & set(FROM_MEMORY) and len(values) > 30
    assert (
        find_published("localisation googlenet", "CAM", "loc top-1") is None
        and find_published("ablations", "Grad-CAM") is None
    )


def test_every_number_of_the_paper_says_where_it_was_read() -> None:
    for key, group in NUMBERS.items():
        for one in group.values():
            assert "Selvaraju et al., arXiv 1610.02391" in one.source and one.model
            # Table 1's cells were read in others' tables only.
            assert ("as reported by" in one.source) == key.startswith("localisation")
    assert result().sources == (
        "Selvaraju et al., arXiv 1610.02391, rank correlation with occlusion (2510 images of VOC 2007 val); VGG-16",
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_of_one_measure() -> None:
    assert make_cells(result()) == [
        ["", "ours", "95 % interval", "n", "undefined", "paper", "note"],
        ["Grad-CAM", "0.410", "[0.380, 0.440]", "200", "3", "0.254", ""],
        ["RISE", "0.500", "[0.460, 0.530]", "200", "", "", "1000 masks"],
        ["(random)", "0.010", "[-0.020, 0.030]", "200", "", "", ""],
        ["(untrained)", "–", "", "", "200", "", ""],
    ]
    bare = result(rows=(ResultRow("a", 1.0, n=4),), controls=())
    assert make_cells(bare) == [["", "ours", "95 % interval", "n"], ["a", "1.00", "", "4"]]


def test_a_table_of_several_measures() -> None:
    assert make_cells(wide()) == [
        ["", "loc top-1 (%)", "paper", "cls top-1 (%)", "paper", "n"],
        ["Grad-CAM", "61.2 [57.2, 65.2]", "56.5", "26.5 [22.5, 30.5]", "30.4", "150"],
        ["Gradient", "72.0 [68.0, 76.0]", "", "26.5 [22.5, 30.5]", "", "150"],
        ["(centre box)", "82.0 [78.0, 85.0]", "", "", "", "150"],
    ]


def test_an_overview_takes_the_headline_in_the_order_of_the_numbers() -> None:
    lines = make_overview([result(headline="RISE"), wide()])
    assert [len(line) for line in lines] == [len(lines[0])] * 3
    assert lines[1][:6] == ["1", "Localisation", "Grad-CAM loc top-1 (%)", "61.2", "[57.2, 65.2]", "56.5"]
    assert lines[2] == [
        "6",
        "Faithfulness",
        "RISE",
        "0.500",
        "[0.460, 0.530]",
        "",
        "200",
        "scenes test",
        "scenes-classifier",
    ]


def test_markdown_says_all() -> None:
    text = to_markdown(result())
    assert text.startswith("### 6. Faithfulness\n\nDo maps agree with occlusion?\n\n")
    assert "| Grad-CAM | 0.410 | [0.380, 0.440] | 200 | 3 | 0.254 |  |" in text
    assert "Patches of 12 pixels." in text and "The paper's numbers: Selvaraju" in text and "Higher is better." in text
    assert "|\n| --- | ---: |" in make_markdown_table([["", "x"], ["a|b", "1"]])
    assert "a\\|b" in make_markdown_table([["", "x"], ["a|b", "1"]])
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 8


def test_numbers_have_as_many_digits_as_mean_something() -> None:
    shown = [format_number(one) for one in (0.0, -0.0001, -0.25, 1.0, 99.994, 123.4, math.inf, math.nan, None)]
    assert shown == ["0.000", "0.000", "-0.250", "1.00", "99.99", "123", "–", "–", "–"]
    assert [format_number(one, "%") for one in (0.04, 56.51, 100.0)] == ["0.0", "56.5", "100.0"]


# --- charts -----------------------------------------------------------------------------------------------------------


def centres(picture: Image.Image, colour: np.ndarray, rows: tuple[int, int]) -> np.ndarray:
    """The columns of the pixels of a colour in some rows of a picture."""
    pixels = np.asarray(picture).astype(int)[rows[0] : rows[1], :, :]
    return np.flatnonzero((np.abs(pixels - colour).sum(axis=2) < 20).any(axis=0))


def dots(picture: Image.Image, colour: np.ndarray, radius: int) -> list[tuple[float, float]]:
    """The middles (x, y) of the filled dots of a colour: places where a square that just fits a dot is full."""
    inside = np.abs(np.asarray(picture).astype(int) - colour).sum(axis=2) < 20
    side = int(radius * 1.2)
    sums = np.pad(inside.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    full = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side] == side * side
    found: list[list[tuple[int, int]]] = []
    for y, x in zip(*np.nonzero(full), strict=True):
        near = next((one for one in found if abs(one[0][0] - x) < 3 * radius and abs(one[0][1] - y) < 3 * radius), None)
        (found.append([(int(x), int(y))]) if near is None else near.append((int(x), int(y))))
    middles = [np.mean(one, axis=0) + (side - 1) / 2 for one in found]
    return [(float(x), float(y)) for x, y in middles]


def test_dots_lie_where_the_numbers_are() -> None:
    values = (0.0, 0.2, 0.3, 0.8)
    rows = tuple(ResultRow(f"row {one}", one, one - 0.001, one + 0.001, 9) for one in values)
    picture = draw_chart(result(rows=rows, controls=(ResultRow("control", 0.5, 0.4, 0.6),)))
    found = sorted(dots(picture, ACCENT, 10), key=lambda one: one[1])[1:]  # without the key's
    assert len(found) == 4
    x = [one[0] for one in found]
    scale = (x[3] - x[0]) / 0.8
    assert scale > 500
    assert all(abs(at - (x[0] + scale * value)) < 1.5 for at, value in zip(x, values, strict=True))
    (grey,) = sorted(dots(picture, GREY, 8), key=lambda one: one[1])[1:]
    assert abs(grey[0] - (x[0] + scale * 0.5)) < 1.5 and grey[1] > found[3][1]
    line = centres(picture, GREY, (round(grey[1]), round(grey[1]) + 1))
    assert abs(line.min() - (x[0] + scale * 0.4)) < 4 and abs(line.max() - (x[0] + scale * 0.6)) < 4


def test_the_papers_number_is_hollow_and_lies_where_it_belongs() -> None:
    rows = (ResultRow("a", 0.0, 0.0, 0.0), ResultRow("b", 1.0, 1.0, 1.0, paper=0.25))
    picture = draw_chart(result(rows=rows, controls=()))
    a, b = sorted(dots(picture, ACCENT, 10), key=lambda one: one[1])[1:]
    row_of_b = round(b[1])
    dark = np.flatnonzero(np.asarray(picture.convert("L"))[row_of_b] < 150)
    dark = dark[(dark > a[0] + 20) & (dark < b[0] - 20)]
    middle = a[0] + 0.25 * (b[0] - a[0])
    assert abs(dark.mean() - middle) < 1.5 and dark.max() - dark.min() > 20
    assert np.asarray(picture)[row_of_b, round(middle)].min() > 200  # nothing in it


def test_a_chart_draws_whatever_it_is_given(tmp_path: Path) -> None:
    for one in (
        result(),
        wide(),
        result(rows=(ResultRow("only", 0.3),), controls=()),
        result(rows=(ResultRow("none", math.nan),), controls=()),
        result(rows=(ResultRow("down", -3.0, -4.0, -2.0), ResultRow("up", 1.0)), controls=()),
        result(
            rows=tuple(
                ResultRow("a very long name of a row that has to be cut somewhere", 1.0, column=str(n))
                for n in range(7)
            ),
            controls=(),
        ),
        result(rows=(ResultRow("einé Zeile 漢字", 1e6, 9e5, 2e6),), controls=(), title="T" * 200, world="W" * 200),
    ):
        picture = draw_chart(one)
        assert picture.mode == "RGB" and picture.width == 1600
        assert np.asarray(picture)[:, -8:].min() == 255 and np.asarray(picture)[:, :8].min() == 255  # nothing runs over
        assert np.asarray(picture).min() < 60
    save_chart(result(), tmp_path / "a.png", width=1000)
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 1000 and image.format == "PNG"
    with pytest.raises(InputError, match="no rows"):
        draw_chart(result(rows=()))
    with pytest.raises(InputError, match="800 pixels"):
        draw_chart(result(), width=100)
    with pytest.raises(InputError, match="can't be written"):
        save_chart(result(), tmp_path / "no" / "a.png")
