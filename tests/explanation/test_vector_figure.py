"""Figures as files for papers: what is text stays text, lines are lines, and whatever goes wrong is said in one sentence."""

import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.support.examples_of_explanations import (
    PAYLOADS,
    blob,
    captioning,
    classification,
    cropped,
    explanation,
    hostile,
    vqa,
)
from vlcam.contracts import InputError, Target, TargetError
from vlcam.explanation import figure_options, vector_figure

matplotlib = pytest.importorskip("matplotlib", reason="the extra 'plot' isn't installed")

WORDS: Any = [("red", 0), "kite", "barn", "dog"]
SVG = "{http://www.w3.org/2000/svg}"


def read_texts(path: Path) -> list[str]:
    """The texts of an SVG."""
    return [str(one.text or "").strip() for one in ElementTree.parse(path).iter(f"{SVG}text")]


def read_streams(path: Path) -> bytes:
    """The content of a PDF, uncompressed."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.DOTALL)
    parts = []
    for one in found:
        try:
            parts.append(zlib.decompress(one))
        except zlib.error:
            parts.append(one)
    return b"\n".join(parts)


def test_words_of_an_svg_are_text_and_its_lines_are_paths(tmp_path: Path) -> None:
    found = captioning()
    assert found.figure(tmp_path / "words.svg", words=WORDS, width_mm=84) == tmp_path / "words.svg"
    texts = read_texts(tmp_path / "words.svg")
    assert texts[0] == found.text
    assert {"photo", "red", "kite", "barn", "dog", "maximum 1.06", "77 %"} <= set(texts)
    assert texts[-1] == "scenes-captioner · features.28 · gradcam · each map on its own scale"
    root = ElementTree.parse(tmp_path / "words.svg").getroot()
    assert float(str(root.get("width")).removesuffix("pt")) == pytest.approx(84 / 25.4 * 72, abs=0.01)
    assert len(list(root.iter(f"{SVG}image"))) == 5
    lines = [one for one in root.iter(f"{SVG}path") if "stroke: #ffffff" in str(one.get("style"))]
    assert len(lines) == 4  # a map's line each, not pixels


def test_letters_of_a_pdf_are_letters(tmp_path: Path) -> None:
    captioning().figure(tmp_path / "words.pdf", words=WORDS, width_mm=84)
    data, content = (tmp_path / "words.pdf").read_bytes(), read_streams(tmp_path / "words.pdf")
    assert data.startswith(b"%PDF") and b"/Type3" not in data
    assert b"/FontFile2" in data and (b"/TrueType" in data or b"/CIDFontType2" in data)
    assert b"/ToUnicode" in data  # so that a reader can search and copy
    lines = re.findall(rb"\[([^\[]*?)\]\s+TJ", content)  # letters with the space between them
    shown = [b"".join(re.findall(rb"\((.*?)\)", one)) for one in lines]
    assert {"kite", "barn", "photo"} <= {one.replace(b"\0", b"").decode("latin-1") for one in shown}
    (box,) = set(re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", data))
    assert float(box[0]) == pytest.approx(84 / 25.4 * 72, abs=0.01)
    assert len(data) < 1_000_000


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_the_same_figure_is_the_same_file(tmp_path: Path, ending: str) -> None:
    for name in "ab":
        captioning().figure(tmp_path / f"{name}.{ending}", words=["kite"], width_mm=60)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_a_colour_bar_only_where_there_is_one_scale(tmp_path: Path) -> None:
    found = classification(geometry=cropped(), relu=False)
    found.figure(tmp_path / "own.svg", words=["barn", "church"], width_mm=84)
    found.figure(tmp_path / "shared.svg", words=["barn", "church"], width_mm=84, scale="shared")
    own, shared = read_texts(tmp_path / "own.svg"), read_texts(tmp_path / "shared.svg")
    assert "maximum 5.82" in own or any(one.startswith("maximum 5") for one in own)
    assert any("own scale" in one for one in own) and not any("own scale" in one for one in shared)
    assert "classes, score" in shared and not any("maximum" in one for one in shared)
    assert any(one.startswith("−5") for one in shared)  # both ends of a signed scale
    images = [len(list(ElementTree.parse(tmp_path / f"{name}.svg").iter(f"{SVG}image"))) for name in ("own", "shared")]
    assert images == [3, 4]


def test_title_facts_and_letters(tmp_path: Path) -> None:
    vqa().figure(tmp_path / "a.svg", title="", facts=False, font="DejaVu Serif", font_size=9, columns=5, dpi=30)
    texts = read_texts(tmp_path / "a.svg")
    assert texts[0] == "photo" and not any("gradcam" in one for one in texts)
    style = (tmp_path / "a.svg").read_text("utf-8")
    assert "DejaVu Serif" in style and "font-size: 9px" in style
    vqa().figure(tmp_path / "b.svg", title="Two answers, one barn", dpi=30)
    assert read_texts(tmp_path / "b.svg")[0] == "Two answers, one barn"
    vqa().figure(tmp_path / "poster.svg", width_mm=800, dpi=30)
    assert "font-size: 30px" in (tmp_path / "poster.svg").read_text("utf-8")


def test_a_font_file_of_ones_own(tmp_path: Path) -> None:
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"
    captioning().figure(tmp_path / "a.svg", words=["kite"], font=file)
    assert "STIXGeneral" in (tmp_path / "a.svg").read_text("utf-8")
    captioning().figure(tmp_path / "a.pdf", words=["kite"], font=file)
    assert b"STIXGeneral" in (tmp_path / "a.pdf").read_bytes()
    captioning().figure(tmp_path / "a.png", words=["kite"], font=file)
    captioning().figure(tmp_path / "b.png", words=["kite"])
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_a_png_has_its_size_on_paper_and_needs_no_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tests.support.examples_of_explanations import captioning\n"
        "from vlcam.contracts import InputError\n"
        f"captioning().figure({str(tmp_path / 'a.png')!r}, words=['kite', 'dog'], width_mm=84, dpi=300)\n"
        "try:\n"
        f"    captioning().figure({str(tmp_path / 'a.pdf')!r})\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'vlcam[plot]'" in ran.stdout
    assert not (tmp_path / "a.pdf").exists()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == round(84 / 25.4 * 300)
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert picture.text["Description"].startswith("meadow.jpg: kite, dog")  # type: ignore[attr-defined]


def test_settings_and_pyplot_of_the_user_are_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        "matplotlib.rcParams.update({'text.usetex': True, 'font.size': 40, 'pdf.fonttype': 3, 'axes.facecolor': 'black'})\n"
        "read = lambda: {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != 'backend'}\n"
        "before = read()\n"
        "from tests.support.examples_of_explanations import captioning\n"
        f"captioning().figure({str(tmp_path / 'a.pdf')!r}, words=['kite'])\n"
        f"captioning().figure({str(tmp_path / 'a.svg')!r}, words=['kite'])\n"
        "assert read() == before and 'matplotlib.pyplot' not in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "kite" in read_texts(tmp_path / "a.svg")


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_labels_in_any_script_and_with_signs_of_other_languages(tmp_path: Path, ending: str) -> None:
    labels = ["żółw", "漢字", "$x_1$ & <b>", "x" * 400, "", "a\nb", *PAYLOADS]
    targets = [Target(label, "class", 1.0, 0.5) for label in labels]
    found = explanation("classification", targets, [blob(0.5, 0.5)] * len(labels), text="")
    found.figure(tmp_path / f"odd.{ending}", dpi=30)
    hostile(PAYLOADS[0]).figure(tmp_path / f"hostile.{ending}", dpi=30)
    if ending == "svg":
        texts = read_texts(tmp_path / "odd.svg")
        assert {"żółw", "漢字", "$x_1$ & <b>", "a b"} <= set(texts)
        assert any(one.endswith("…") for one in texts)
        tags = {one.tag for one in ElementTree.parse(tmp_path / "hostile.svg").iter()}
        assert f"{SVG}script" not in tags


def test_maps_that_show_nothing_have_no_line(tmp_path: Path) -> None:
    captioning().figure(tmp_path / "a.svg", words=["a", "the", "barn rather than house"])
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert not [one for one in root.iter(f"{SVG}path") if "stroke: #ffffff" in str(one.get("style"))]
    assert {"only evidence against", "no evidence", "not a number: no map"} <= set(read_texts(tmp_path / "a.svg"))
    captioning().figure(tmp_path / "b.svg", words=["kite"], contour=False)
    root = ElementTree.parse(tmp_path / "b.svg").getroot()
    assert not [one for one in root.iter(f"{SVG}path") if "stroke: #ffffff" in str(one.get("style"))]


def test_the_line_lies_at_half_of_the_maximum() -> None:
    from matplotlib.figure import Figure

    axes: Any = Figure().add_axes((0, 0, 1, 1))
    y, x = (np.mgrid[0:80, 0:120] + 0.5) / [[[80]], [[120]]]
    heat = np.exp(-((x - 0.3) ** 2 + (y - 0.6) ** 2) / (2 * 0.1**2))
    vector_figure.draw_line(axes, heat, 0.5, 1.0, 1.0)
    (path,) = [one.get_paths()[0] for one in axes.collections if one.get_edgecolor()[0][0] == 1]
    away = np.hypot(path.vertices[:, 0] - 0.3, path.vertices[:, 1] - 0.6)
    assert away == pytest.approx(0.1 * 1.1774, abs=0.003)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("x.jpg", {}, r"ends in \.jpg; expected a name that ends in \.pdf, \.svg or \.png"),
        ("x", {}, "ends in nothing"),
        ("no/x.pdf", {}, "can't be written"),
        ("no/x.png", {}, "can't be written"),
        ("x.pdf", {"width": 300}, r"width=300 is in pixels.*give width_mm="),
        ("x.png", {"width": 300, "width_mm": 80}, "width=300 is in pixels"),
        ("x.png", {"font_size": 8}, "has no size on paper; give width_mm="),
        ("x.svg", {"font": "Deja Vu Sans"}, "did you mean DejaVu Sans"),
        ("x.svg", {"font": "missing.ttf"}, "can't be read as a font"),
        ("x.png", {"font": "No Such Font"}, "no font file of that name"),
        ("x.svg", {"scale": "log"}, "expected 'own'"),
        ("x.svg", {"words": "kite"}, r"expected a list of words, such as \['kite'\]"),
        ("x.svg", {"width_mm": 2}, "width_mm=2 was given; expected .* 10 to 3000"),
        ("x.svg", {"width_mm": float("nan")}, "width_mm=nan was given"),
        ("x.svg", {"dpi": True}, "dpi=True was given"),
        ("x.svg", {"width_mm": 20, "columns": 8}, "too narrow for 8 columns with letters of 7.5 points"),
        ("x.png", {"width_mm": 3000, "dpi": 1200}, "141,732 pixels"),
        ("x.svg", {"columns": 0}, "0 columns were asked for"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    tmp_path: Path, name: str, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        captioning().figure(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_other_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match="no target 'cow'"):
        captioning().figure(tmp_path / "a.svg", words=["cow"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        captioning().figure(tmp_path / "a.svg", colour="red")  # type: ignore[call-overload]
    (tmp_path / "a.svg").write_text("old", encoding="utf-8")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(vector_figure, "_draw_panel", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        captioning().figure(tmp_path / "a.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["a.svg"]
    assert (tmp_path / "a.svg").read_text("utf-8") == "old"


def test_the_old_names_still_work() -> None:
    found = captioning()
    with pytest.warns(DeprecationWarning, match=r"figure\(targets=\) is deprecated; use words="):
        old = found.figure(targets=["kite"], width=300)
    assert old.tobytes() == found.figure(words=["kite"], width=300).tobytes()
    with pytest.warns(DeprecationWarning, match="use scale='shared'"):
        old = found.figure(shared=True, width=300, words=["above"])
    assert old.tobytes() == found.figure(scale="shared", width=300, words=["above"]).tobytes()


def test_columns_follow_the_width_and_the_letters() -> None:
    found = captioning()
    columns = {
        (mm, size): figure_options.check_figure(found, width_mm=mm, font_size=size).columns
        for mm, size in ((40, 8), (84, None), (174, None), (174, 14), (800, None))
    }
    assert columns == {(40, 8): 1, (84, None): 4, (174, None): 5, (174, 14): 4, (800, None): 5}
