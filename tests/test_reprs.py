"""What a person sees at a prompt: every record in one short line, whatever is in it."""

import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support import examples_of_explanations as examples
from vlcam.contracts import (
    Geometry,
    InputError,
    LeftOutWords,
    Method,
    PerturbationMethod,
    Prepared,
    QuestionEmbeddings,
    Request,
    Spoken,
    Target,
    shorten,
    show_value,
)
from vlcam.engine.layers import TokenLayout
from vlcam.engine.recording import record
from vlcam.experiments.data.samples import LabelledPhoto, PhotoObject
from vlcam.experiments.registry import PAPER
from vlcam.experiments.results.result import Result, ResultRow
from vlcam.experiments.running import ExperimentOutcome
from vlcam.experiments.setting import Setting
from vlcam.explanation import Explanation, Explanations, FillTest, NamedEvidence, NeuronText, Outcome, SignificanceTest
from vlcam.explanation.question_words import WeighedWords
from vlcam.explanation.record import Evidence
from vlcam.image.photo import Bands, Photo
from vlcam.image.preprocess import Preprocess
from vlcam.metrics import Confidence
from vlcam.metrics.scoring import Curve
from vlcam.neurons import ClassFolders, EncodedWords, Encoder, NeuronName, NeuronNames
from vlcam.neurons.probes.probe import LabelMap, Sample
from vlcam.neurons.probes.scenes import SceneProbe
from vlcam.scenes import Caption, Question, Scene, SceneObject
from vlcam.study import Picture
from vlcam.tasks.answering import Answering
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.classification import Classification
from vlcam.tasks.custom import Custom
from vlcam.tasks.hub_speech import HubSpeech
from vlcam.tasks.matching import TextMatching
from vlcam.tasks.reading import Reading
from vlcam.tasks.similarity import Similarity
from vlcam.tasks.vqa import VQA
from vlcam.tasks.zero_shot import ZeroShotClassification

LONGEST = 300
BAD = "\x1b[31mred\x07\r\nsecond line\u202e\ud800 " + 500 * "very "
"""A long text that would give orders to a terminal."""
MANY = tuple(f"label {n}{BAD}" for n in range(1000))
BIG = torch.rand(1000, 7, 7)
PLACE = Geometry((500, 375), (224, 224), (0.5, 0.5), (0.0, 0.0))


@cache
def explanation(task: str = "classification", question: str | None = None) -> Explanation:
    """A thousand targets, each with a name nobody should print."""
    targets = tuple(Target(one, "class", 1.0, 0.1, tuple(range(500)), measure="logit") for one in MANY)
    found = Explanation(
        task, BAD, BAD, BAD, True, MANY[3], question, photo(), PLACE, targets, BIG, BIG[:, 0], BIG[:, 0], BIG[0, 0]
    )
    return replace(found, neurons=(text(),) * 1000, significance=(significance(),) * 1000, notes=(BAD,) * 50)


def photo() -> Photo:
    return Photo(BAD, 500, 375, BAD, np.zeros((375, 500, 3), np.uint8))


def text() -> NeuronText:
    one = Evidence(3, BAD, 0.1, 0.2, 0.3, True, 0.4)
    return NeuronText(BAD, (one,) * 100, (one,) * 100, 0.5, named=(NamedEvidence("supports", BAD, BAD, (1,), 0.1),))


def significance() -> SignificanceTest:
    return SignificanceTest(0.1, 200, 1.0, 3, 200, 0, (FillTest(BAD, 1.0, 9, 0),) * 50, 0.01, 0.02, 0.5, 0.2, BAD)


@cache
def names() -> NeuronNames:
    unit = NeuronName(0, "named", BAD, BAD, 0.3, alternatives=((BAD, BAD, 0.1),) * 50, also=MANY, flags=("few",))
    units = tuple(replace(unit, unit=n) for n in range(1000))
    return NeuronNames(BAD, BAD, BAD, {one: one for one in MANY}, units)


def scene() -> Scene:
    thing = SceneObject(BAD, BAD, BAD, BAD, 0.1, 0.2, 0.3, 0.4, 0.5, (0.1, 0.2, 0.3))
    return Scene("test", 10**400, (thing,) * 50, BAD, 0, 0.0)


def result() -> Result:
    rows = tuple(ResultRow(one, 1.0, 0.9, 1.1, 100, column=BAD, note=BAD, source=BAD) for one in MANY)
    return Result(1, BAD, BAD, BAD, BAD, BAD, BAD, rows, notes=MANY)


def nothing(*given: Any) -> Any:
    raise AssertionError("nothing may run for a repr")


nothing.__name__ = BAD
MODEL = nn.Sequential(*(nn.Linear(2, 2) for _ in range(200)))
TASKS = {
    one.__name__: one
    for one in (
        Answering,
        Captioning,
        Classification,
        Custom,
        HubSpeech,
        Similarity,
        TextMatching,
        VQA,
        ZeroShotClassification,
    )
}


def make_task(name: str) -> Any:
    """An adapter with as much in it as it can hold."""
    held = {"labels": MANY, "answers": MANY, "notes": MANY, "model": MODEL, "references": dict.fromkeys(MANY, BIG)}
    return make(TASKS[name], targets=dict.fromkeys(MANY, nothing), names=names(), **held)


def make(cls: Any, **given: Any) -> Any:
    """An instance with hostile fields, made without the class's own checks."""
    made = object.__new__(cls)
    for one in fields(cls):
        object.__setattr__(made, one.name, given.get(one.name, BAD))
    return made


def recorded(*, resolved: bool) -> Any:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with record(model, "0") as recording:
        scores = model(torch.zeros(2, 3, 9, 9))
    if resolved:
        recording.resolve(scores[:, 0])
    return recording


def attribution() -> Any:
    return vlcam.attribute(nn.Sequential(nn.Conv2d(3, 900, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), BIG[None, :3])


def folders(tmp_path: Path) -> ClassFolders:
    for name in ("a cat", "a dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")
    return ClassFolders(tmp_path)


def words(tmp_path: Path) -> EncodedWords:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")

    def embed(given: list[Any]) -> Tensor:
        return torch.ones(len(given), 2)

    return EncodedWords(tmp_path, [f"word {n}" for n in range(1000)], Encoder(embed, embed, "mine"))


HOSTILE: dict[str, Callable[[], Any]] = {
    "explanation": explanation,
    "caption": lambda: explanation("captioning"),
    "answer": lambda: explanation("vqa", BAD),
    "list of explanations": lambda: Explanations([explanation()] * 50),
    "view": lambda: explanation()[7],
    "neuron text": text,
    "evidence": lambda: text().top[0],
    "named evidence": lambda: text().named[0],
    "significance": significance,
    "fill test": lambda: FillTest(BAD, 1.0, 9, 0),
    "outcome": lambda: Outcome(3, BAD, explanation()),
    "failed outcome": lambda: Outcome(3, BAD, error=InputError(BAD)),
    "photo": photo,
    "bands": lambda: Bands(np.zeros((64, 64, 9))),
    "preprocess": lambda: Preprocess(224, channels=300),
    "target": lambda: explanation().targets[0],
    "request": lambda: Request(MANY, BAD, BAD, 10**9000, ((BAD, BAD),) * 90, BAD, ids=tuple(range(999))),
    "prepared": lambda: Prepared(dict.fromkeys(MANY, BIG), PLACE),
    "spoken": lambda: Spoken(BIG[0, 0], explanation().targets, BAD, notes=MANY),
    "question": lambda: QuestionEmbeddings(BIG[:1], (((0, 4), (1, 2)),) * 100),
    "left out words": lambda: LeftOutWords(((0, 4),) * 100, lambda: BIG[0]),
    "weighed words": lambda: WeighedWords(explanation().targets, ((0, 4),) * 100, MANY),
    "method": lambda: Method(BAD, nothing, BAD, BAD, BAD, cost=BAD),
    "perturbation method": lambda: PerturbationMethod(BAD, nothing, BAD, BAD, BAD, cost=BAD),
    "tokens": lambda: TokenLayout(torch.zeros(1, 32, 32, dtype=torch.long)),
    "recording": lambda: recorded(resolved=False),
    "resolved recording": lambda: recorded(resolved=True),
    "attribution": attribution,
    "names": names,
    "name": lambda: names().units[5],
    "no name": lambda: NeuronName(3, "unnamed"),
    "probe of scenes": lambda: SceneProbe("val", 100),
    "sample": lambda: Sample(BAD, BAD, frozenset(MANY), maps=(LabelMap(BAD, np.zeros((9, 9), np.int64)),) * 9),
    "scene": scene,
    "object of a scene": lambda: scene().objects[0],
    "caption of a scene": lambda: Caption(MANY, ((),) * 1000),
    "question of a scene": lambda: Question(BAD, BAD, BAD, (), ()),
    "result": result,
    "row": lambda: result().rows[0],
    "experiment": lambda: replace(PAPER[0], title=BAD),
    "outcome of an experiment": lambda: ExperimentOutcome(PAPER[0], result(), BAD),
    "setting": lambda: Setting(
        Path("x" * 3000), BAD, BAD, MANY, MANY, opened={one: make_task("VQA") for one in MANY[:3]}
    ),
    "photo of a data set": lambda: LabelledPhoto(
        BAD, photo(), (9, 9), (PhotoObject(BAD, (0.0, 0.0, 1.0, 1.0), 3),) * 300
    ),
    "picture of a study": lambda: Picture(BAD, photo(), MANY),
    "curve": lambda: Curve(torch.rand(999).double(), torch.rand(9, 999)),
    "confidence": lambda: make(Confidence, scores=BIG),
    "reading": lambda: make(Reading, ids=tuple(range(999))),
    **{name: partial(make_task, name) for name in TASKS},
}


def check(shown: str) -> None:
    """Short, one line, nothing that a terminal obeys, no numbers of tensors, no list of labels."""
    assert 0 < len(shown) < LONGEST, shown
    assert shown.isprintable(), ascii(shown)
    assert "tensor(" not in shown and "array(" not in shown and "Linear(" not in shown
    assert shown.count("label ") <= 4


@pytest.mark.parametrize("what", HOSTILE)
def test_a_repr_is_short_whatever_is_in_it(what: str) -> None:
    check(repr(HOSTILE[what]()))


def test_probes_are_short(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert repr(folders(tmp_path / "one")) == "ClassFolders(one: 2 pictures, 2 concepts)"
    assert repr(words(tmp_path / "two")) == "EncodedWords(two: 1 pictures, 1000 words)"


def test_an_explanation_says_what_of_which_photo_by_which_method() -> None:
    assert repr(examples.classification()) == "Explanation(meadow.jpg: barn 83 %, 4 maps 14x14, gradcam at features.28)"
    assert repr(examples.vqa()) == (
        "Explanation(meadow.jpg: What colour is the barn? -> red 71 %, 4 maps 14x14, gradcam at features.28)"
    )
    assert repr(examples.captioning()) == (
        "Explanation(meadow.jpg: A red kite above a red barn, beside the dog., 13 maps 14x14, gradcam at features.28)"
    )
    long = replace(examples.captioning(), text="a dog and " * 20)
    assert "meadow.jpg: a dog and a dog and a dog and a dog and a dog and a dog and…, 13 maps" in repr(long)
    one = examples.explanation("classification", [Target("owl", "class", 1.0)], [examples.blob(0.5, 0.5)], text="barn")
    assert repr(one) == "Explanation(meadow.jpg: barn, 1 map 14x14, gradcam at features.28)"


def test_other_reprs_say_what_matters() -> None:
    found = examples.classification()
    assert (
        repr(found[0]) == "TargetView(class 'barn': score 9.1, 83 %, map 14x14, gradcam at features.28 of meadow.jpg)"
    )
    assert repr(found[0].target) == "Target(class 'barn': score 9.1, p 0.83)"
    assert repr(found.photo).startswith("Photo(meadow.jpg: 640x448, sha256 ")
    assert repr(found.neurons[0] if found.neurons else None).endswith("5 for, 5 against, 77 % named)")
    several = Explanations([found] * 50)
    assert repr(several) == f"[{found!r}, and 49 more]" and repr(Explanations()) == "[]"
    assert several[3] is found and isinstance(several, list) and repr(Explanations([found])) == f"[{found!r}]"
    assert repr(Outcome(3, "a.jpg", found)) == f"Outcome(3: {found!r})"
    assert repr(Outcome(3, "a.jpg", error=InputError("too small"))) == "Outcome(3 a.jpg: InputError: too small)"
    assert repr(recorded(resolved=False)) == "Recording(0: 1 output kept)"
    assert repr(recorded(resolved=True)) == "Recording(0: 2x4x7x7, 1 output kept)"
    assert repr(NeuronName(3, "named", "red", "colour", 0.314)) == "NeuronName(3: red (colour), score 0.31)"
    assert repr(ResultRow("Grad-CAM", 45.123, 40.0, 50.0, 300, column="top-1")) == (
        "ResultRow(Grad-CAM / top-1: 45.12 [40, 50], n 300)"
    )
    assert repr(vlcam.scenes.make(7)) == (
        "Scene(test 7: large striped purple cross, small striped purple cross on linen)"
    )


def test_texts_are_cut_and_cleaned() -> None:
    assert shorten("short") == "short" and shorten("a" * 40) == "a" * 40
    assert shorten("a" * 41) == "a" * 39 + "…"
    assert shorten("a\x1b\n\u202e\ud800é 光 '", 80) == r"a\x1b\n\u202e\ud800é 光 '"
    assert len(shorten("\x00" * 10**6)) == 40


def test_values_are_shown_by_their_size() -> None:
    assert [show_value(one) for one in (None, True, 3, 2.5, np.float32(0.25).item())] == [
        "None",
        "True",
        "3",
        "2.5",
        "0.25",
    ]
    assert show_value(10**9000) == "<int of 29898 bits>"
    assert (
        show_value(torch.zeros(3, 7, 7)) == "<Tensor 3x7x7>" and show_value(torch.tensor([0.5, 2])) == "<Tensor 0.5 2>"
    )
    assert show_value(torch.zeros(3, device="meta")) == "<Tensor 3>" and show_value(np.zeros(3)) == "<ndarray 3>"
    assert show_value(MODEL) == "<Sequential>" and show_value(examples.vqa()) == "<Explanation>"
    assert show_value(len) == "<len>" and show_value({1: 2}) == "<1 items>" and show_value((1, 2.5)) == "(1, 2.5)"
    assert show_value(MANY) == "<1000 items>" and show_value(()) == "<0 items>"


NUMBERS = r"<class '(int|float|bool)'>|tuple\[(int|float)(, (int|float|\.\.\.))*\]|(int|float|bool) \| None"
"""Types of fields that can't be long."""

PACKAGES = sorted(
    {"vlcam", *(one.name for one in pkgutil.walk_packages(vlcam.__path__, "vlcam.") if one.ispkg)} - {"vlcam.cli"}
)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_record_prints_all_that_it_holds(package: str) -> None:
    """A record that holds more than numbers has a repr of its own, not the one that dataclass writes."""
    module = import_module(package)
    public = [getattr(module, name) for name in getattr(module, "__all__", ())]
    records = [one for one in public if inspect.isclass(one) and is_dataclass(one)]
    long = [
        one.__name__
        for one in records
        if inspect.unwrap(one.__repr__).__code__.co_filename == "<string>"
        and not all(re.fullmatch(NUMBERS, str(field.type)) for field in fields(one))
    ]
    assert long == []


def test_the_check_for_long_records_can_fail() -> None:
    @dataclass(frozen=True)
    class Long:
        name: str

    assert inspect.unwrap(Long.__repr__).__code__.co_filename == "<string>"
    assert inspect.unwrap(Photo.__repr__).__code__.co_filename.endswith("photo.py")
