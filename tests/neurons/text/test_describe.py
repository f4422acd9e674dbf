"""Neuron texts as users ask for them: styles, targets, contrasts, calibrated claims, JSON; and that contributions add up."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vlcam
from vlcam.cli.document import GrowingDocument
from vlcam.contracts import InputError, Target, TargetError
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import NeuronText
from vlcam.explanation.storage import save
from vlcam.files import encode_record
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.text.describe import describe, list_claims
from vlcam.neurons.text.styles import STYLES
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.classification import Classification

RED, STAR, BLUE, LINEN = ("red", "colour"), ("star", "shape"), ("blue", "colour"), ("linen", "background")
CLASS = Target("red star", "class", probability=0.91)


def layer(*units: dict[str, Any]) -> NeuronNames:
    """Named units with T_k = 1; claims as given, or the name itself above T_k."""
    made = []
    for n, unit in enumerate(units):
        options = dict(unit)
        name, category = options.pop("key")
        claims = options.pop("claims", ((name, category, 1.0),))
        made.append(NeuronName(n, "named", name, category, 0.3, threshold=1.0, claims=claims, **options))
    return NeuronNames("m", "l", None, {}, tuple(made))


def say(
    names: NeuronNames, alpha: Sequence[float], activity: Sequence[float], target: Target = CLASS, **options: Any
) -> NeuronText:
    a, peaks = torch.tensor(alpha), torch.tensor(activity)
    return describe(names, target, a, a * peaks, peaks, **options)


def explained(which: str, **options: Any) -> tuple[Explanation, NeuronNames]:
    tasks: dict[str, Any] = {
        "classifier": bundled.classifier,
        "captioner": bundled.captioner,
        "vqa": bundled.vqa,
    }
    task, names = tasks[which](), bundled.read_packaged_names(which)  # type: ignore[arg-type]
    assert names is not None
    return vlcam.explain(task, make(3, "test").image(), **options), names


# --- what may be claimed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peak", "said"),
    [(9.0, [("red star", 0)]), (6.0, [("star", 0)]), (3.0, [("red", 0)]), (2.0, []), (1.5, []), (0.5, [])],
)
def test_the_more_a_unit_fires_the_more_specific_the_claim(peak: float, said: list[tuple[str, int]]) -> None:
    claims = (("red star", "pair", 8.0), ("star", "shape", 5.0), ("red", "colour", 2.0))
    text = say(layer({"key": ("red star", "pair"), "claims": claims}), [1.0], [peak])
    assert [(one.name, one.units[0]) for one in text.named if one.case == "supports"] == said
    assert text.coverage == 1.0 and text.reliable
    if not said:
        assert "No named channel that supports it fires strongly here." in text.sentence
        assert "signs of" not in text.sentence


def test_nothing_is_claimed_below_the_threshold_or_of_dead_units() -> None:
    assert list_claims(NeuronName(0, "named", "red", "colour", threshold=4.0, claims=(("red", "colour", 1.0),))) == (
        ("red", "colour", 4.0),
    )
    assert list_claims(NeuronName(0, "named", "red", "colour", threshold=4.0)) == (("red", "colour", 4.0),)
    assert list_claims(NeuronName(0, "named", "red", "colour", claims=())) == ()
    assert list_claims(NeuronName(0, "dead")) == list_claims(NeuronName(0, "unnamed")) == ()


def test_units_that_claim_the_same_are_merged() -> None:
    names = layer(
        {"key": ("red star", "pair"), "claims": (("red star", "pair", 8.0), ("star", "shape", 2.0))},
        {"key": ("blue star", "pair"), "claims": (("star", "shape", 2.0),)},
        {"key": STAR},
        {"key": RED},
    )
    text = say(names, [1.0, 2.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0])
    supports = [one for one in text.named if one.case == "supports"]
    assert [(one.name, one.units) for one in supports] == [("star", (1, 0, 2)), ("red", (3,))]
    assert [one.share for one in supports] == pytest.approx([0.8, 0.2])


def test_what_fires_is_never_said_to_be_absent_even_if_it_is_not_claimed() -> None:
    names = layer({"key": RED}, {"key": STAR, "claims": ()}, {"key": STAR}, {"key": BLUE})
    text = say(names, [1.0, 1.0, -1.0, -1.0], [3.0, 3.0, 0.0, 0.0])
    assert {one.name for one in text.named if one.case == "absent"} == {"blue"}
    assert "stars" not in text.sentence
    assert "(50 % in channels that fire too weakly here to tell what they see)" in text.sentence


@pytest.mark.parametrize("seed", range(40))
def test_records_agree_with_the_channels(seed: int) -> None:
    """Whatever the numbers: told names fire above their claims, silent ones don't fire, shares have their sign and sum to no more
    than 1, and no name is both there and absent."""
    rng = torch.Generator().manual_seed(seed)
    keys = (RED, STAR, BLUE, LINEN, ("red star", "pair"), ("left", "region"))
    levels = (1 + torch.rand(18, generator=rng)).tolist()
    names = layer(*({"key": keys[n % 6], "claims": ((*keys[n % 6], levels[n]),)} for n in range(18)))
    alpha, parts = torch.randn(2, 18, generator=rng)
    peaks = 2 * torch.rand(18, generator=rng)
    text = describe(names, CLASS, alpha, parts, peaks)
    cases = {
        case: [one for one in text.named if one.case == case] for case in ("supports", "opposes", "missing", "absent")
    }
    for one in cases["supports"] + cases["opposes"]:
        assert all(peaks[unit] > levels[unit] for unit in one.units)
        assert (one.share > 0) == (one.case == "supports")
    for one in cases["missing"] + cases["absent"]:
        assert all(peaks[unit] <= 1.0 for unit in one.units) and one.share == 0
    there = {one.name for one in cases["supports"] + cases["opposes"]}
    assert not there & {one.name for one in cases["missing"] + cases["absent"]}
    assert sum(one.share for one in cases["supports"]) <= 1 + 1e-9
    assert all(len(found) <= 5 for found in cases.values())


def test_small_shares_are_not_worth_a_word() -> None:
    names = layer({"key": RED}, {"key": STAR}, {"key": BLUE})
    text = say(names, [1.0, 0.02, -0.0001], [3.0, 3.0, 0.0])
    assert [one.name for one in text.named] == ["red"]


# --- reliability and doubts ---------------------------------------------------------------------------------------------


def test_texts_that_are_not_reliable_say_so_and_name_nothing() -> None:
    unnamed = NeuronNames("m", "l", None, {}, (NeuronName(0, "unnamed"), NeuronName(1, "named", *RED, 0.3)))
    for style in STYLES:
        text = say(unnamed, [9.0, 1.0], [2.0, 2.0], style=style)
        assert (text.reliable, text.named) == (False, ()) and "No reliable names" in text.sentence
    for bad in ([float("nan"), 1.0], [0.0, 0.0]):
        text = say(unnamed, bad, [2.0, 2.0])
        assert (text.reliable, text.named) == (False, ())
    assert say(unnamed, [1.0, 9.0], [2.0, 2.0]).reliable


@pytest.mark.parametrize("flag", ["ambiguous", "unstable", "polysemantic"])
@pytest.mark.parametrize("style", STYLES)
def test_flagged_names_are_said_to_be_uncertain(flag: str, style: str) -> None:
    names = layer({"key": RED, "flags": (flag,), "also": ("blue",) if flag == "polysemantic" else ()}, {"key": STAR})
    text = say(names, [2.0, 1.0], [3.0, 3.0], style=style).sentence
    assert text.count("uncertain") == 1
    assert text.index("red") < text.index("uncertain")
    sure = say(layer({"key": RED}, {"key": STAR}), [2.0, 1.0], [3.0, 3.0], style=style).sentence
    assert "uncertain" not in sure
    if style == "full":
        told = {
            "ambiguous": "the next best name matches nearly as well",
            "unstable": "another name wins on many bootstrap samples of the probe",
            "polysemantic": "fires for blue as well",
        }
        assert f'The name "red" is uncertain ({told[flag]}).' in text


def test_a_flag_of_the_name_is_none_of_what_is_claimed_instead() -> None:
    """A unit that can't tell red stars from red hearts still knows red."""
    unit = {"key": ("red star", "pair"), "flags": ("ambiguous",), "claims": (("red", "colour", 2.0),)}
    text = say(layer(unit), [1.0], [3.0])
    assert "red things" in text.sentence and "uncertain" not in text.sentence


def test_names_that_were_never_calibrated_are_told_as_such() -> None:
    bare = NeuronNames("m", "l", None, {}, (NeuronName(0, "named", *RED, 0.3, threshold=1.0),))
    assert say(bare, [1.0], [2.0]).sentence.endswith("How often these names hold was not measured.")
    assert "not measured" not in say(layer({"key": RED}), [1.0], [2.0]).sentence


# --- styles and targets -------------------------------------------------------------------------------------------------


def four() -> NeuronNames:
    return layer({"key": RED}, {"key": STAR}, {"key": LINEN}, {"key": BLUE})


def test_short() -> None:
    text = say(four(), [3.0, 1.0, -1.0, -1.0], [2.0, 2.0, 0.0, 0.0], style="short")
    assert text.sentence == (
        "Predicted red star (0.91), mainly because the network sees signs of red things (75 %) and stars (25 %). "
        "No sign of a linen background or blue things."
    )
    against = say(four(), [3.0, 1.0, -1.0, -1.0], [2.0, 2.0, 2.0, 0.0], style="short").sentence
    assert against.endswith("In spite of a linen background (−100 %).")
    nothing = say(four(), [1.0] * 4, [0.5] * 4, style="short").sentence
    assert nothing == "Predicted red star (0.91). No named channel that supports it fires strongly here."
    for sentence in (text.sentence, against, nothing):
        assert sentence.count(". ") <= 1


def test_paper() -> None:
    text = say(four(), [3.0, 4.0, -1.0, -2.0], [2.0, 0.0, 0.0, 0.0], style="paper")
    assert text.sentence == (
        "Predicted red star (0.91). By the paper's ranking (alpha; class-level: it does not say what is in this image): "
        "presence raises the score: stars, red things; absence raises the score: blue things, a linen background."
    )
    assert (text.ranking, text.named, text.reliable) == ("paper", (), True)
    assert [one.unit for one in text.top] == [1, 0] and [one.unit for one in text.bottom] == [3, 2]
    assert text == say(four(), [3.0, 4.0, -1.0, -2.0], [2.0, 0.0, 0.0, 0.0], ranking="paper")


def test_contrast_text_says_what_speaks_for_which() -> None:
    target = Target("red rather than blue", "contrast")
    full = say(four(), [3.0, 1.0, -1.0, -3.0], [2.0, 2.0, 0.0, 2.0], target).sentence
    assert full.startswith(
        "Red rather than blue, because the network sees signs of red things (unit 0; 75 % of the evidence for it) and stars "
        "(unit 1; 25 %); for blue speak signs of blue things (unit 3; −100 %). "
        "No sign of a linen background, which would have spoken for blue."
    )
    short = say(four(), [3.0, 1.0, -1.0, -3.0], [2.0, 2.0, 0.0, 2.0], target, style="short").sentence
    assert short == (
        "Red rather than blue, because the network sees signs of red things (75 %) and stars (25 %). "
        "Against it speak blue things (−100 %)."
    )
    none = say(four(), [-3.0, -1.0, -1.0, -3.0], [2.0, 2.0, 0.0, 2.0], target).sentence
    assert none.startswith(
        "Red rather than blue: no named channel that supports red fires strongly here; for blue speak"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "long"}, "style 'long' was given; expected one of short, full, paper"),
        ({"style": "short", "ranking": "paper"}, "style 'short' was given with the paper's ranking"),
        ({"top_k": 0}, "top_k 0 was given; expected how many names to list, 1 or more"),
        ({"top_k": True}, "top_k True was given"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        say(four(), [1.0] * 4, [2.0] * 4, **options)


def test_top_k() -> None:
    text = say(four(), [3.0, 2.0, -1.0, -2.0], [2.0] * 4, top_k=1)
    assert [one.name for one in text.named] == ["red", "blue"] and len(text.top) == len(text.bottom) == 1


# --- the bundled models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "options", "label"),
    [
        ("classifier", {}, None),
        ("captioner", {}, None),
        ("vqa", {"question": "is there a red star"}, None),
    ],
)
def test_all_styles_of_classes_words_and_answers(which: str, options: dict[str, Any], label: str | None) -> None:
    found, names = explained(which, **options)
    for view in found:
        full, short, paper = (names.describe(found, view, style) for style in ("full", "short", "paper"))
        assert full == view.neurons  # what explain() says by itself
        assert full.named == short.named and full.top == short.top and full.coverage == short.coverage
        assert len(short.sentence) < len(full.sentence) and "unit" not in short.sentence
        assert "class-level" in paper.sentence and paper.ranking == "paper"
        assert full.reliable == (full.coverage >= 0.3)
        for text in (full, short, paper):
            assert text.sentence.endswith(".") and "nan" not in text.sentence and ".." not in text.sentence


def test_targets_by_position_label_occurrence_and_view() -> None:
    found, names = explained("captioner", caption="a red star above a red circle")
    third = names.describe(found, 1)
    assert third == names.describe(found, ("red", 0)) == names.describe(found, found[1])
    assert names.describe(found, "star") == names.describe(found, 2)
    assert names.describe(found, ("red", 1)) == names.describe(found, 5)
    assert names.describe(found) == names.describe(found, 0)
    assert names.describe(found, -1) == names.describe(found, len(found) - 1)
    assert len(names.describe(found, "star", top_k=2).top) == 2
    with pytest.raises(TargetError, match="'red' occurs 2 times"):
        names.describe(found, "red")
    with pytest.raises(TargetError, match="no target 'dragon'"):
        names.describe(found, "dragon")
    other, _ = explained("captioner", caption="a red star")
    with pytest.raises(InputError, match="the target is that of another explanation"):
        names.describe(found, other[0])
    with pytest.raises(
        InputError, match="of layer 'features' and these are names of layer 'conv9' of 'scenes-captioner'"
    ):
        replace(names, layer="conv9").describe(found)


def test_contrasts_through_a_model() -> None:
    found, names = explained("vqa", question="what colour is the star", contrast=("red", "blue"))
    view = next(one for one in found if one.target.kind == "contrast")
    assert names.describe(found, view).sentence.startswith("Red rather than blue")


# --- records ------------------------------------------------------------------------------------------------------------


def test_json_of_a_text_and_of_the_command() -> None:
    found, _ = explained("classifier")
    text = found[0].neurons
    assert text is not None and text.named
    values = encode_record(text, nonfinite="null")
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert set(values) == {"sentence", "top", "bottom", "coverage", "ranking", "named", "reliable"}
    assert values["named"][0] == {**asdict(text.named[0]), "units": list(text.named[0].units)}
    growing, out = GrowingDocument(io.StringIO()), io.StringIO()
    growing.add("scene:3", found)
    growing.write(out, ())
    document = json.loads(out.getvalue())
    assert document["results"][0]["targets"][0]["neurons"] == values


def test_texts_survive_saving(tmp_path: Path) -> None:
    found, _ = explained("captioner")
    back = Explanation.load(save(found, tmp_path / "one.safetensors"))
    assert back.neurons == found.neurons and any(one.named for one in back.neurons or ())
    assert found.neurons is not None
    text = found.neurons[0]
    broken = replace(text, named=(replace(next(one for t in found.neurons for one in t.named), units=(-1,)),))
    with pytest.raises(InputError, match="a channel has a negative number"):
        save(replace(found, neurons=(broken, *found.neurons[1:])), tmp_path / "two.safetensors")


# --- contributions add up -----------------------------------------------------------------------------------------------


class Pooling(nn.Module):
    """Convolutions, global average pooling, one linear layer."""

    def __init__(self, *, channels: int = 12, classes: int = 5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.classifier = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return out


def adds_up(found: Explanation, bias: Tensor, tolerance: float) -> None:
    for view, one in zip(found, bias.double().tolist(), strict=True):
        parts = view.contributions.double()
        size = float(parts.abs().sum())
        assert float(parts.sum()) == pytest.approx(view.target.score - one, abs=tolerance * size)
        names = NeuronNames("m", found.layer, None, {}, tuple(NeuronName(k, "unnamed") for k in range(len(parts))))
        text = names.describe(found, view, top_k=len(parts))
        assert sum(evidence.share for evidence in text.top) == pytest.approx(1.0, abs=1e-9)
        assert sum(evidence.share for evidence in text.bottom) == pytest.approx(-1.0, abs=1e-9)
        assert sum(e.contribution for e in (*text.top, *text.bottom)) == pytest.approx(float(parts.sum()), rel=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_contributions_are_the_logit_without_its_bias(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    model = Pooling().eval().to(dtype)
    preprocess = vlcam.Preprocess(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

    task = Classification(model, labels=tuple("abcde"), preprocess=preprocess, layer="features")
    photo = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(1))
    adds_up(vlcam.explain(task, photo, targets=list("abcde")), model.classifier.bias, tolerance)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_contributions_add_up_in_networks_of_torchvision(name: str) -> None:
    """Random weights; batch norms keep activations at a size where rounding does not matter."""
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    preprocess = vlcam.Preprocess(size=(96, 96), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    labels = tuple(f"class {n}" for n in range(1000))
    task = Classification(model, labels=labels, preprocess=preprocess)
    photo = torch.rand(3, 100, 120, generator=torch.Generator().manual_seed(1))
    found = vlcam.explain(task, photo, targets=[3, 141, 592])
    head = model.fc if name == "resnet18" else model.classifier[1]
    adds_up(found, head.bias[[3, 141, 592]], 1e-4)
    assert found.alpha.shape[1] == head.in_features  # the last layer with a grid


def test_alpha_is_the_same_for_every_picture_of_such_a_network() -> None:
    """Why the paper's ranking is called class-level: the contributions differ, alpha does not."""
    torch.manual_seed(0)
    model = Pooling().eval()
    preprocess = vlcam.Preprocess(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    task = Classification(model, labels=tuple("abcde"), preprocess=preprocess, layer="features")
    one, two = (
        vlcam.explain(task, torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed)), targets="b")
        for seed in (1, 2)
    )
    assert torch.allclose(one.alpha, two.alpha, atol=1e-9)
    assert not torch.allclose(one.contributions, two.contributions, atol=1e-3)
    names = layer(*({"key": (f"n{k}", None)} for k in range(12)))
    names = replace(names, layer="features")
    first, second = (
        names.describe(found, style="paper").sentence.partition(" By the paper")[2] for found in (one, two)
    )
    assert first == second and "n1" in first
