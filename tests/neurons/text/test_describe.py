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
from vlcam.neurons.names.record import NameGroup
from vlcam.neurons.text.claimable import list_claims
from vlcam.neurons.text.describe import describe
from vlcam.neurons.text.short import write_short
from vlcam.neurons.text.styles import STYLES
from vlcam.neurons.text.wording import Group
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
    [
        (9.0, ("red star", "star", "red")),
        (6.0, ("star", "red")),
        (3.0, ("red",)),
        (2.0, ()),
        (1.5, ()),
        (0.5, ()),
    ],
)
def test_the_more_a_unit_fires_the_more_may_be_claimed(peak: float, said: tuple[str, ...]) -> None:
    claims = (("red star", "pair", 8.0), ("star", "shape", 5.0), ("red", "colour", 2.0))
    text = say(layer({"key": ("red star", "pair"), "claims": claims}), [1.0], [peak])
    assert text.top[0].says == said
    assert text.top[0].standing == ("claimable" if said else "weak" if peak > 1 else "background")
    told = [one.name for one in text.named if one.case == "supports"]
    # Whatever the unit is told as accounts for all of it, so that nothing but a kind of that is told besides.
    assert bool(told) == bool(said) and set(told) <= set(said)
    assert ("red star" in told) == ("red star" in said)
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
    text = say(names, [1.0, 2.0, 1.0, 3.0], [3.0, 3.0, 3.0, 3.0])
    supports = [one for one in text.named if one.case == "supports"]
    assert [(one.name, one.units) for one in supports] == [("star", (1, 0, 2)), ("red", (3,))]
    assert [one.share for one in supports] == pytest.approx([4 / 7, 3 / 7]) and text.accounted == pytest.approx(1.0)


def together() -> NeuronNames:
    """Two units of red stars that may only claim something together, and one of blue things."""
    claims: tuple[Any, ...] = (("red star", "pair", 3.0), ("red", "colour", 2.0))
    names = layer(
        {"key": ("red star", "pair"), "claims": ()},
        {"key": ("red star", "pair"), "claims": ()},
        {"key": BLUE},
    )
    return replace(names, together=(NameGroup("red star", "pair", (0, 1), (0.75, 0.25), claims),))


@pytest.mark.parametrize(
    ("peaks", "says"),
    [
        ((4.0, 2.0), (("red star", "red"), ("red star", "red"))),  # 3.5 together
        ((2.0, 4.0), (("red",), ("red",))),  # 2.5: the first unit counts for more
        ((2.0, 2.0), ((), ())),  # 2.0 is not above 2.0
        ((5.0, 0.5), (("red star", "red"), ())),  # the second does not fire, so nothing is said of it
    ],
)
def test_units_of_one_name_claim_together_what_none_may_claim_alone(
    peaks: tuple[float, float], says: tuple[tuple[str, ...], ...]
) -> None:
    text = say(together(), [1.0, 1.0, 0.0], [*peaks, 0.0])
    assert tuple(one.says for one in sorted(text.top, key=lambda one: one.unit))[:2] == says


def test_a_group_whose_names_were_dropped_claims_nothing() -> None:
    names = together()
    fewer = replace(names, units=(names.units[0], NeuronName(1, "unnamed", threshold=1.0), names.units[2]))
    assert say(fewer, [1.0, 1.0, 0.0], [9.0, 9.0, 0.0]).named == ()


def test_bad_groups() -> None:
    for group, message in (
        (NameGroup("red", None, (0, 7), (0.5, 0.5), ()), r"has the units \(0, 7\); expected two or more of 0 to 2"),
        (NameGroup("red", None, (0,), (1.0,), ()), "expected two or more"),
        (NameGroup("red", None, (0, 1), (1.0,), ()), "has 2 units and 1 weights; expected one for each"),
        (NameGroup("red", None, (0, 1), (0.5, float("inf")), ()), "has a number that is not finite"),
    ):
        with pytest.raises(InputError, match=message):
            replace(together(), together=(group,))


def test_a_unit_counts_for_all_names_that_it_may_be_claimed_to_see() -> None:
    """A unit of red stars speaks for stars and for red things; each of them is told if it has enough of the evidence that can be told."""
    pair = {"key": ("red star", "pair"), "claims": (("star", "shape", 1.0), ("red", "colour", 1.0))}
    text = say(layer(pair, {"key": STAR}), [1.0, 3.0], [3.0, 3.0])  # red things have a quarter
    assert [(one.name, one.units) for one in text.named] == [("star", (1, 0))]
    more = say(layer(pair, {"key": STAR}, {"key": RED}), [1.0, 1.0, 1.0], [3.0, 3.0, 3.0])
    assert {(one.name, one.units) for one in more.named} == {("star", (0, 1)), ("red", (0, 2))}
    assert sum(one.share for one in more.named) > 1 and more.accounted == pytest.approx(1.0)
    # What can't be told does not count for the choice, but for the shares.
    weak = say(layer(pair, {"key": STAR}, {"key": BLUE, "claims": ()}), [1.0, 3.0, 6.0], [3.0, 3.0, 3.0])
    assert [(one.name, round(one.share, 6)) for one in weak.named] == [("star", 0.4)]


def test_kinds_of_a_told_name_are_told_with_a_tenth_of_its_share() -> None:
    def told(kind: float) -> list[str]:
        pair = {"key": ("red star", "pair"), "claims": (("red star", "pair", 1.0), ("star", "shape", 1.0))}
        return [one.name for one in say(layer(pair, {"key": STAR}), [kind, 1.0 - kind], [3.0, 3.0]).named]

    assert told(0.05) == ["star"] and told(0.11) == told(0.9) == ["star", "red star"]


def test_a_name_whose_units_cancel_is_not_told() -> None:
    text = say(layer({"key": RED}, {"key": RED}, {"key": STAR}), [1.0, -1.0, 1.0], [3.0, 3.0, 3.0])
    assert [one.name for one in text.named] == ["star"]


def test_what_fires_is_never_said_to_be_absent_even_if_it_is_not_claimed() -> None:
    names = layer({"key": RED}, {"key": STAR, "claims": ()}, {"key": STAR}, {"key": BLUE})
    text = say(names, [1.0, 1.0, -1.0, -1.0], [3.0, 3.0, 0.0, 0.0])
    assert {one.name for one in text.named if one.case == "absent"} == {"blue"}
    assert "stars" not in text.sentence
    assert "(50 % in channels that fire too weakly here to tell what they see)" in text.sentence


def test_what_only_adds_its_background_is_told_apart_from_what_fires_too_weakly() -> None:
    names = layer({"key": RED, "claims": ((*RED, 5.0),)}, {"key": STAR}, {"key": BLUE})
    text = say(names, [1.0, 2.0, 1.0], [2.0, 0.5, 3.0])
    assert {one.unit: one.standing for one in text.top} == {0: "weak", 1: "background", 2: "claimable"}
    assert (
        "(33 % in channels that fire too weakly here to tell what they see, 17 % in channels that don't fire here and only add their "
        "background)"
    ) in text.sentence


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
    assert text.accounted is not None and 0 <= text.accounted <= 1
    assert text.accounted == pytest.approx(
        sum(one.share for one in cases["supports"]), abs=1e-6
    )  # here no unit has two names
    assert len(text.short.split()) <= 25 and text.short.count(".") == 1
    assert ("mainly" in text.short) == (text.accounted >= 0.5)
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
    word = "perhaps" if style == "short" else "uncertain"
    assert text.count(word) == 1
    assert "perhaps red things" in text if style == "short" else text.index("red") < text.index(word)
    sure = say(layer({"key": RED}, {"key": STAR}), [2.0, 1.0], [3.0, 3.0], style=style).sentence
    assert word not in sure
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
    text = say(four(), [3.0, 2.0, -1.0, -1.0], [2.0, 2.0, 0.0, 0.0], style="short")
    assert text.sentence == text.short == '"red star" rests mainly on signs of red things and stars.'
    against = say(four(), [3.0, 2.0, -1.0, -1.0], [2.0, 2.0, 2.0, 0.0]).short
    assert (
        against == '"red star" rests mainly on signs of red things and stars, in spite of signs of a linen background.'
    )
    nothing = say(four(), [1.0] * 4, [0.5] * 4).short
    assert nothing == 'No short reason can be named for "red star".'
    assert say(four(), [0.0] * 4, [2.0] * 4).short == 'Nothing in the picture contributes to "red star".'
    word = Target("star", "word")
    part = say(four(), [1.0, 3.0, 0.0, 0.0], [2.0, 0.5, 0.0, 0.0], word)
    assert part.accounted == pytest.approx(0.57, abs=0.01)  # 2 of 3.5
    less = say(four(), [1.0, 5.0, 0.0, 0.0], [2.0, 0.5, 0.0, 0.0], word)
    assert less.short == 'No short reason accounts for "star": signs of red things are only part of it.'
    assert less.sentence.startswith('The word "star". In part because the network sees signs of red things')
    assert part.short == '"star" rests mainly on signs of red things.' and "Mainly because" in part.sentence


def test_get_text() -> None:
    text = say(four(), [3.0, 1.0, -1.0, -1.0], [2.0, 2.0, 0.0, 0.0])
    assert [text.get_text(form) for form in STYLES] == [text.short, text.sentence, text.paper]
    assert text.get_text() == text.short and "ranking" in text.paper
    old = replace(text, short="", paper="")  # a file of an earlier version
    assert {old.get_text(form) for form in STYLES} == {text.sentence}


def test_a_short_sentence_stays_short_whatever_the_names() -> None:
    """Names are left out until there are at most 25 words; if the rest is less than half, it says so."""
    long = [f"{'very ' * 8}long name number {n}" for n in range(4)]
    names = layer(*({"key": (name, None)} for name in long))
    label = Target(" ".join(["word"] * 30), "class", probability=0.9)
    text = say(names, [5.0, 4.9, 1.0, 0.0], [2.0] * 4, label)
    assert len(text.short.split()) <= 25 and "word…" in text.short
    assert "No short reason" in text.short and text.accounted == pytest.approx(9.9 / 10.9)
    one = say(names, [6.0, 4.9, 0.0, 0.0], [2.0] * 4, label)
    assert one.short.endswith(f"rests mainly on signs of {long[0]}.") and len(one.short.split()) == 25


def test_kinds_stand_behind_what_they_are_kinds_of() -> None:
    keys = [("star", "shape"), ("red star", "pair"), ("blue star", "pair"), ("red", "colour")]
    groups = [Group(key, (n,), 0.5) for n, key in enumerate(keys)]
    said = write_short(Target("star", "word"), groups, (), lambda _: 1.0, lambda _: False)
    assert said == '"star" rests mainly on signs of stars (red stars and blue stars) and red things.'
    unsure = write_short(Target("star", "word"), groups[:2], (), lambda _: 1.0, lambda one: one.key[1] == "pair")
    assert unsure == '"star" rests mainly on signs of stars (perhaps red stars).'


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
    full = say(four(), [3.0, 2.0, -1.0, -3.0], [2.0, 2.0, 0.0, 2.0], target).sentence
    assert full.startswith(
        "Red rather than blue, mainly because the network sees signs of red things (unit 0; 60 %) and stars (unit 1; 40 %): together "
        "100 % of the evidence for it; for blue speak signs of blue things (unit 3; −100 %). "
        "No sign of a linen background, which would have spoken for blue."
    )
    short = say(four(), [3.0, 2.0, -1.0, -3.0], [2.0, 2.0, 0.0, 2.0], target, style="short").sentence
    assert short == (
        '"red" rather than "blue" rests mainly on signs of red things and stars, in spite of signs of blue things.'
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
        assert short.sentence == full.short and paper.sentence == full.paper
        assert len(short.sentence) < len(full.sentence) and not set("0123456789%") & set(
            short.sentence.replace(view.label, "")
        )
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
    assert set(values) == {
        "sentence", "top", "bottom", "coverage", "ranking", "named", "reliable", "short", "paper", "accounted",
    }  # fmt: skip
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
