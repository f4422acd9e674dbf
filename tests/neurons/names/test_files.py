"""Neuron names: records, vlcam's own files of them, and those of Network Dissection and CLIP-Dissect."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlcam.contracts import InputError, Names
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.names.names import read_names
from vlcam.neurons.names.record import NameGroup

# --- vlcam's own --------------------------------------------------------------------------------------------------------


def some_names() -> NeuronNames:
    """A named unit with all fields, an unnamed and a dead one, and one whose name is hard to write."""
    full = NeuronName(
        0,
        "named",
        "red",
        "colour",
        0.31,
        0.5,
        0.0001,
        1.25,
        (("red star", "pair", 0.2), ("thing", "object", 0.1)),
        iou=0.31,
        auprc=0.4,
        correlation=-0.2,
        stability=0.99,
        margin=1 / 3,
        also=("orange", "pink"),
        formula=("(red OR orange) AND NOT star", 0.5),
        flags=("few", "ambiguous"),
    )
    return NeuronNames(
        "scenes-captioner",
        "features",
        "ab" * 32,
        {"command": "vlcam scenes name", "images": 1000, "quantile": 0.01, "nested": {"seeds": [0, 999]}},
        (
            full,
            NeuronName(1, "unnamed", None, None, 0.02, 0.9, 0.6, 0.5, (("linen", "background", 0.02),)),
            NeuronName(2, "dead", p=1.0),
            NeuronName(3, "named", "star, “big”\n& more", None, 0.2, 1.0, None, 0.0),
        ),
    )


def test_coverage_and_concepts() -> None:
    names = some_names()
    assert names.coverage == 0.5
    assert names.concepts == ("red", "star, “big”\n& more")
    assert len(names) == 4
    check: Names = names  # the protocol, for the type checker
    assert check.layer == "features"


def test_json_round_trip(tmp_path: Path) -> None:
    names = some_names()
    text = names.to_json()
    assert NeuronNames.from_json(text) == names
    assert NeuronNames.from_json(text).to_json() == text
    path = tmp_path / "names.json"
    path.write_text(text + "\n", "utf-8")
    assert NeuronNames.from_json(path) == NeuronNames.from_json(str(path)) == names
    assert json.loads(text)["units"][0]["alternatives"][0] == ["red star", "pair", 0.2]
    nobody = NeuronNames("m", "l", None, {}, ())
    assert NeuronNames.from_json(nobody.to_json()) == nobody and nobody.coverage == 0.0


def test_what_units_claim_together_is_kept_and_older_files_lack_it() -> None:
    group = NameGroup("red", "colour", (0, 3), (0.75, 0.25), (("red", "colour", 2.5),))
    names = replace(some_names(), together=(group,))
    text = names.to_json()
    assert NeuronNames.from_json(text) == names and json.loads(text)["together"][0]["weights"] == [0.75, 0.25]
    old = json.loads(some_names().to_json()) | {"version": 2}
    del old["together"]
    assert NeuronNames.from_json(json.dumps(old)) == some_names()
    with pytest.raises(InputError, match=r"the group of 'red' has the units \(0, 9\)"):
        NeuronNames.from_json(text.replace("[0, 3]", "[0, 9]"))


def edited(**changes: Any) -> str:
    found = json.loads(some_names().to_json())
    unit = changes.pop("unit", {})
    found["units"][0] |= unit
    found |= changes
    return json.dumps({key: value for key, value in found.items() if value != "gone"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"the text is not JSON"),
        ("{}", r"holds no neuron names; expected JSON with \"format\": \"vlcam neuron names\""),
        (edited(version=9), r"has version 9; this vlcam reads versions 2 and 3"),
        (edited(model="gone"), r"the file lacks model"),
        (edited(units=3), r"is not what NeuronNames.to_json\(\) wrote"),
        (edited(units=[3]), r"units\[0\] is 3; expected an object"),
        (edited(probe=[1]), r"is not what NeuronNames.to_json\(\) wrote"),
        (edited(unit={"unit": 1}), r"unit 1 stands at place 0 of the names; expected every unit of the layer once"),
        (edited(unit={"unit": True}), r"units\[0\].unit is True; expected a whole number"),
        (edited(unit={"state": "famous"}), r"units\[0\].state is 'famous'; expected one of named, unnamed, dead"),
        (edited(unit={"state": "dead"}), r"unit 0 is 'dead' with name 'red'"),
        (edited(unit={"name": None}), r"unit 0 is 'named' with name None"),
        (edited(version=1), r"has version 1; this vlcam reads versions 2 and 3: name the units again"),
        (edited(probes={}), r"the file has the unknown 'probes'"),
        (edited(unit={"colour": "red"}), r"units\[0\] has the unknown 'colour'"),
        (some_names().to_json().replace('"auprc"', '"area"'), r"units\[0\] lacks auprc"),
        (edited(unit={"also": "orange"}), r"units\[0\].also is 'orange'; expected a list"),
        (edited(unit={"formula": ["red"]}), r"is not what NeuronNames.to_json\(\) wrote"),
        (edited(unit={"formula": [1, 2]}), r"units\[0\].formula\[0\] is 1; expected a text"),
        (edited(unit={"flags": ["famous"]}), r"unit 0 has the flag 'famous'; expected some of polysemantic, "),
        (edited(unit={"margin": True}), r"units\[0\].margin is True; expected a number"),
        (edited(unit={"score": 10**400}), r"is not what NeuronNames.to_json\(\) wrote: units\[0\].score is 1000"),
        ("[" * 100_000, r"the text is not JSON|can't be read: File name too long"),
        (edited(unit={"iou": "high"}), r"units\[0\].iou is 'high'; expected a number"),
        (edited(unit={"iou": float("nan")}), r"NaN is not a JSON number"),
        (edited(unit={"threshold": 1e999}), r"Infinity is not a JSON number"),
        (some_names().to_json().replace("0.31", "1e999"), r"units\[0\].score is inf; expected a number"),
        (edited(unit={"alternatives": [["red"]]}), r"is not what NeuronNames.to_json\(\) wrote"),
    ],
)
def test_bad_json(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        NeuronNames.from_json(text)
    assert "\n" not in str(caught.value)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be read: .*; expected a file of neuron names"):
        NeuronNames.from_json(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"can't be read: .*; expected a file of neuron names"):
        NeuronNames.from_json(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.json' can't be read: it is not UTF-8 text"):
        NeuronNames.from_json(tmp_path / "binary.json")


@pytest.mark.parametrize("order", [(0, 2), (1, 2), (0, 0), (0, 1, 1)])
def test_units_must_be_all_there_once(order: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected every unit of the layer once, in order, counted from 0"):
        NeuronNames("m", "l", None, {}, tuple(NeuronName(unit, "unnamed") for unit in order))


def test_csv_round_trip_and_from_elsewhere(tmp_path: Path) -> None:
    names = some_names()
    back = NeuronNames.from_csv(names.to_csv(), model=names.model, layer=names.layer)
    assert back.units == tuple(replace(unit, alternatives=()) for unit in names.units)
    path = tmp_path / "other.csv"
    path.write_text("\ufeffunit,name,score\n1,sky,0.3\n0,grass,0.02\n2,,0\n", "utf-8")
    other = NeuronNames.from_csv(path, model="resnet", layer="layer4", min_score=0.04)
    assert [(u.name, u.score) for u in other.units] == [(None, 0.02), ("sky", 0.3), (None, 0.0)]
    assert other.units[0].alternatives == (("grass", None, 0.02),)
    assert all((u.p, u.threshold, u.ceiling) == (None, 0.0, 1.0) for u in other.units)
    assert other.coverage == pytest.approx(1 / 3)
    lowest = NeuronNames.from_csv("unit,name,score\n0,sky,-3.5\n", model="m", layer="l")  # a log-probability
    assert lowest.units[0].name == "sky"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit,label\n0,sky\n", r"the text has the columns unit, label; expected a header with unit,name"),
        (
            "unit,name,score\n0,sky,much\n",
            r"the text, line 2: score is 'much', which is not a finite number; expected unit,",
        ),
        ("unit,name,score\n1,sky,0.1\n", r"has no unit 0 \(counted from 0\) but one of number 1; .* give units=K"),
        ("unit,name,score\n0,a,1\n9,b,1\n", r"has no unit 1 \(counted from 0\) but one of number 9"),
        ("unit,name,score\n0,sky,nan\n", r"line 2: score is 'nan', which is not a finite number"),
        ("unit,name,score\n0\n", r"line 2: it has 1 cells where the header has 3"),
        ("unit,name,score\n-1,sky,1\n", r"line 2: unit is '-1', which is not a whole number from 0"),
        ("unit,name\n0,sky\n\n0,sea\n", r"line 4: unit 0 stands in line 2 already; expected every unit once"),
        ('unit,name\n0,"sky\n', r"the text is not a table \("),
        ("unit,name,name\n0,sky,sea\n", r"name more than once; expected every column once"),
        ("unit,name,state\n0,sky,dead\n", r"unit 0 is 'dead' with name 'sky'"),
        ("unit,name,state\n0,sky,famous\n", r"line 2: state is 'famous', which is none of named, unnamed, dead"),
        ("unit,name,flags\n0,sky,famous\n", r"has the flag 'famous'"),
        ("unit,name,formula,formula_iou\n0,sky,sky OR sea,\n", r"line 2: formula_iou is ''"),
    ],
)
def test_bad_csv(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        NeuronNames.from_csv(text, model="m", layer="l")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["iou", "stability", "score", "formula", "alternatives"])
def test_numbers_must_be_finite(number: str) -> None:
    bad: Any = {"formula": ("a OR b", float("nan")), "alternatives": (("a", None, float("nan")),)}.get(
        number, float("inf")
    )
    with pytest.raises(InputError, match="unit 0 has a number that is not finite"):
        NeuronNames("m", "l", None, {}, (NeuronName(0, "named", "a", **{number: bad}),))


# --- any file -----------------------------------------------------------------------------------------------------------


def test_own_files_are_recognised(tmp_path: Path) -> None:
    names = some_names()
    (tmp_path / "names.json").write_text("\ufeff\n" + names.to_json(), "utf-8")
    assert read_names(tmp_path / "names.json") == names
    assert read_names(tmp_path / "names.json", model=names.model, layer="features", units=4) == names
    (tmp_path / "names.csv").write_bytes(names.to_csv().replace("\n", "\r\n").encode("utf-8"))
    found = read_names(str(tmp_path / "names.csv"), model="m", layer="features")
    assert [unit.name for unit in found.units] == ["red", None, None, "star, “big”\r\n& more"]
    assert found.units[:3] == tuple(replace(unit, alternatives=()) for unit in names.units[:3])
    assert found.probe == {"source": "names.csv", "format": "csv", "min_score": None}
    assert read_names(tmp_path / "names.csv", layer="features").model == "unknown"


def test_a_limit_takes_names_away(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(some_names().to_json(), "utf-8")
    found = read_names(tmp_path / "names.json", min_score=0.25)
    assert found.units[:3] == some_names().units[:3]
    assert found.units[3] == NeuronName(3, "unnamed", score=0.2, alternatives=(("star, “big”\n& more", None, 0.2),))


def test_any_table_of_names(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_bytes(b'\xef\xbb\xbf unit , name,comment\r\n2,"sky, blue",x\r\n\r\n0, grass ,y\r\n')
    with pytest.raises(InputError, match=r"has no unit 1 .* give units=K, the number of its channels"):
        read_names(path, layer="layer4")
    found = read_names(path, model="resnet", layer="layer4", units=4)
    assert [unit.name for unit in found.units] == ["grass", None, "sky, blue", None]
    assert [unit.state for unit in found.units] == ["named", "unnamed", "named", "unnamed"]
    assert (found.model, found.layer, len(found)) == ("resnet", "layer4", 4)
    with pytest.raises(InputError, match=r"names unit 2 \(counted from 0\) but units=2 was given"):
        read_names(path, layer="layer4", units=2)
    with pytest.raises(InputError, match=r"doesn't say which layer its units are of"):
        read_names(path)


PARTS = ("label", "truth", "activation", "intersect", "iou")
TALLY = {
    # unit: category and, of each category, the label, the pixels of it, those of the unit, those of both, and the IoU
    2: ("object", {"object": ("sky", 200, 100, 60, 0.25), "scene": ("street-s", 300, 90, 30, 0.0833)}),
    1: ("scene", {"object": ("car", 50, 10, 1, 0.0169), "scene": ("beach-s", 300, 10, 9, 0.0299)}),
    3: ("object", {"object": ("-", 0, 5, 0, 0.0), "scene": ("-", 0, 5, 0, 0.0)}),
}


def write_tally(path: Path) -> Path:
    """As Network Dissection's light version writes it: best units first, counted from 1, lines that end in CR LF."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["unit", "category", "label", "score", *(f"{c}-{p}" for c in ("object", "scene") for p in PARTS)]
        )
        for unit, (best, every) in TALLY.items():
            cells = [cell for category in ("object", "scene") for cell in every[category]]
            writer.writerow([unit, best, every[best][0], every[best][4], *cells])
    return path


def test_tally_of_network_dissection(tmp_path: Path) -> None:
    path = write_tally(tmp_path / "tally.csv")
    first, second, third = read_names(path, model="vgg16", layer="conv5_3").units
    assert (second.name, second.category, second.score, second.iou) == ("sky", "object", 0.25, 0.25)
    assert second.ceiling == 0.5  # 100 pixels of the unit, 200 of the sky
    assert second.alternatives == (("street", "scene", 0.0833),)
    assert (first.state, first.name, first.score, first.iou) == ("unnamed", None, 0.0299, None)
    assert first.alternatives == (("beach", "scene", 0.0299), ("car", "object", 0.0169))
    assert third == NeuronName(2, "unnamed")
    assert [unit.name for unit in read_names(path, layer="conv5_3", min_score=0.02).units] == ["beach", "sky", None]
    assert [unit.name for unit in read_names(path, layer="conv5_3", min_score=0.3).units] == [None] * 3
    assert read_names(path, layer="conv5_3", format="tally").probe["format"] == "tally"


def test_descriptions_of_clip_dissect(tmp_path: Path) -> None:
    path = tmp_path / "descriptions.csv"
    path.write_text(
        "layer,unit,description,similarity\nlayer3,0,dots,0.7\nlayer4,0,snow,1.25\nlayer4,1,a red car,-0.5\n", "utf-8"
    )
    with pytest.raises(InputError, match=r"has names of the layers layer3, layer4; choose one, as in layer='layer4'"):
        read_names(path)
    with pytest.raises(InputError, match=r"has no names of the layer 'layer5'; its layers are: layer3, layer4"):
        read_names(path, layer="layer5")
    found = read_names(path, model="resnet50", layer="layer4")
    assert [(unit.name, unit.score) for unit in found.units] == [("snow", 1.25), ("a red car", -0.5)]
    assert found.layer == "layer4" and found.units[0].iou is None
    assert [unit.name for unit in read_names(path, layer="layer4", min_score=0.0).units] == ["snow", None]
    path.write_text("layer,unit,description,similarity\nfc,0,dots,0.7\n", "utf-8")
    assert read_names(path).layer == "fc"


HEADER = "unit,category,label,score,object-label,object-iou\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "",
            {},
            r"has the columns \(none\); expected a header with unit,name,score \(score may be left out\), Network",
        ),
        ("a,b\n1,2\n", {}, r"has the columns a, b; .*or CLIP-Dissect's layer,unit,description,similarity"),
        ("unit,name\n0,sky\n", {"format": "tally"}, r"expected a header with unit,category,label,score$"),
        ("unit,name\n0,sky\n", {"format": "json"}, r"is not JSON"),
        (
            "unit,name\n0,sky\n",
            {"format": "xml"},
            r"format 'xml' was given; expected one of auto, json, csv, tally, clip-",
        ),
        ("unit,name\n", {}, r"has a header and no units"),
        (HEADER + "0,object,sky,0.1,sky,0.1\n", {}, r"line 2: unit is 0, but units of a tally count from 1"),
        (
            HEADER + "1,object,sky,0.1,sky,0.1\n1,object,sky,0.1,sky,0.1\n",
            {},
            r"line 3: unit 1 stands in line 2 already",
        ),
        (
            HEADER + "1,scene,sky,0.1,sky,high\n",
            {},
            r"line 2: object-iou is 'high', which is not a finite number; expected a unit",
        ),
        (HEADER + "1,scene,sky,,sky,0.1\n", {}, r"line 2: score is '', which is not a finite number"),
        (HEADER + "2,object,sky,0.1,sky,0.1\n", {}, r"has no unit 0 \(counted from 0\)"),
        ("layer,unit,description,similarity\nl,0,sky,x\n", {}, r"line 2: similarity is 'x'"),
    ],
)
def test_bad_files_of_names(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "names.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        read_names(path, **({"layer": "l"} | options))


def test_names_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(some_names().to_json(), "utf-8")
    for options, message in (
        ({"layer": "layer4"}, r"names the layer 'features'; 'layer4' was asked for"),
        ({"model": "resnet"}, r"names the model 'scenes-captioner'; 'resnet' was asked for"),
        ({"units": 3}, r"names unit 3 \(counted from 0\) but units=3 was given"),
    ):
        with pytest.raises(InputError, match=message):
            read_names(path, **options)
