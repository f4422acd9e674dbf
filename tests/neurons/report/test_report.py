"""Unit cards, effects and the report as a text. What the page does in a browser is in test_neuron_report_browser.py."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.explanation.test_page import Elements, data_of
from tests.support.examples_of_explanations import PAYLOADS, captioning
from vlcam import explain
from vlcam.contracts import Geometry, InputError, LayerError, Request
from vlcam.explanation.page import make_page
from vlcam.image.geometry import make_letterbox_geometry, make_resize_geometry
from vlcam.image.photo import open_photo
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.names.record import NameGroup
from vlcam.neurons.probes.probe import NOTHING, LabelMap, Sample
from vlcam.neurons.report import cards as cards_module
from vlcam.neurons.report.cards import Card, Exemplar, choose_plan, collect
from vlcam.neurons.report.drawings import crop, draw_outline, make_thumbnail, place_on_photo
from vlcam.neurons.report.effects import Effects, effects
from vlcam.neurons.report.report import make_document, rate_confidence, report, write_report
from vlcam.neurons.scoring import survey as survey_module
from vlcam.neurons.scoring.activations import Activations
from vlcam.neurons.scoring.survey import survey
from vlcam.render.html import make_policy
from vlcam.scenes.models.zoo import load
from vlcam.scenes.sample import make
from vlcam.tasks import bundled

SIZE = (48, 32)
"""Width and height of the photos; their grid has 6 x 4 cells of 8 pixels."""
RED, BLUE = (210, 40, 40), (40, 60, 210)


class Squares:
    """Photos with a red square at the left, a blue one at the right, both, or none; every third has no labels of colours."""

    name = "squares"
    concepts = (("day", "class"), ("red", "colour"), ("blue", "colour"), ("night", "class"))
    facts: Mapping[str, Any] = {"kind": "squares"}

    def __init__(self, count: int = 12) -> None:
        self.count, self.read = count, list[int]()

    def __len__(self) -> int:
        return self.count

    def has(self, index: int) -> tuple[bool, bool]:
        """Whether there is red, and blue."""
        return index % 2 == 0, index % 4 < 2

    def __getitem__(self, index: int, /) -> Sample:
        self.read.append(index)
        photo = np.full((SIZE[1], SIZE[0], 3), 200, np.uint8)
        labels = np.full((4, 6), NOTHING)
        for there, colour, concept, columns in zip(self.has(index), (RED, BLUE), (1, 2), (0, 4), strict=True):
            if there:
                photo[8:24, 8 * columns : 8 * columns + 16] = colour
                labels[1:3, columns : columns + 2] = concept
        whole = 0 if index < self.count // 2 else 3
        known = {"class"} | ({"colour"} if index % 3 else set())
        return Sample(
            f"photo {index}", Image.fromarray(photo), frozenset(known), (whole,), (LabelMap("colour", labels),)
        )


class Worded:
    """The same photos without labels."""

    name, words, facts = "worded", ("red",), dict[str, Any]()

    def __init__(self) -> None:
        self.of = Squares()

    def __len__(self) -> int:
        return len(self.of)

    def photo(self, index: int, /) -> str | Path | Image.Image:
        return self.of[index].photo

    def similarity(self) -> torch.Tensor:
        return torch.zeros(len(self), 1)

    def of_template(self) -> torch.Tensor:
        return torch.zeros(len(self), 1)


def activations(probe: Any, geometry: Geometry | None = None) -> Activations:
    """Unit 0 fires for red (stronger in later photos), 1 is dead, 2 fires everywhere at the right, blue or not."""
    maps = np.zeros((len(probe), 3, 4, 6), np.float32)
    squares = probe.of if isinstance(probe, Worded) else probe
    for image in range(len(probe)):
        red, _ = squares.has(image)
        maps[image, 0, 1:3, 0:2] = (2 + 0.1 * image) * red
        maps[image, 2, 1:3, 4:6] = 3 - 0.1 * image
    every = (geometry or make_resize_geometry(SIZE, SIZE),) * len(probe)
    return Activations("toy", "layer", None, maps, every, tuple(f"photo {n}" for n in range(len(probe))))


NAMES = NeuronNames(
    "toy",
    "layer",
    "ab" * 32,
    {"scorer": "iou", "images": 12, "quantile": 0.01, "notes": ["A small probe."], "seconds": 3.14},
    (
        NeuronName(0, "named", "red", "colour", 0.5, 0.9, 0.001, 1.0, (("blue", "colour", 0.1),), iou=0.5),
        NeuronName(1, "dead"),
        NeuronName(2, "named", "blue", "colour", 0.3, 0.9, 0.001, 1.0, (("red", "colour", 0.29),), iou=0.3),
    ),
)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def made(probe: Any = None, **options: Any) -> tuple[Card, ...]:
    probe = probe or Squares()
    return collect(NAMES, activations(probe), probe, **options)


def named(exemplars: Sequence[Exemplar]) -> list[int]:
    return [int(one.picture.split()[1]) for one in exemplars]


class TestCards:
    def test_the_strongest_pictures_come_first_one_of_each_class_at_first(self) -> None:
        two = made(exemplars=2)[0].top
        assert [(one.group, named([one])[0]) for one in two] == [("night", 10), ("day", 4)]
        assert named(made(exemplars=5)[0].top) == [10, 8, 6, 4, 2]
        assert [one.value for one in made(exemplars=2)[0].top] == pytest.approx([3.0, 2.4])

    def test_pictures_where_nothing_happens_are_no_exemplars(self) -> None:
        assert named(made(exemplars=8)[0].top) == [10, 8, 6, 4, 2, 0]

    def test_the_middle_is_between_the_quantiles_and_not_on_top(self) -> None:
        card = made(Squares(60), exemplars=3)[2]
        low, high = np.quantile([3 - 0.1 * n for n in range(60)], (0.68, 0.92))
        assert len(card.middle) == 2
        assert all(low <= one.value <= high for one in card.middle)
        chosen = {tuple(named(made(Squares(60), seed=seed)[2].middle)) for seed in range(5)}
        assert len(chosen) > 1
        assert made(Squares(60), seed=3) == made(Squares(60), seed=3)

    def test_precision_and_recall_count_labelled_pictures_only(self) -> None:
        first, _, third = made()
        assert (first.precision, first.recall) == (1.0, 1.0)
        labelled = [n for n in range(12) if n % 3]
        there = [n for n in labelled if n % 4 < 2]
        assert (third.precision, third.recall) == (len(there) / len(labelled), 1.0)
        assert named(third.wrong) == [n for n in labelled if n % 4 >= 2][:2]
        assert third.missed == ()

    def test_a_silent_unit_misses_its_concept(self) -> None:
        names = replace(NAMES, units=(replace(NAMES.units[0], threshold=2.7), *NAMES.units[1:]))
        probe = Squares()
        card = collect(names, activations(probe), probe)[0]
        silent = [n for n in range(12) if n % 3 and n % 2 == 0 and 2 + 0.1 * n <= 2.7]
        assert named(card.missed) == silent
        assert card.recall == pytest.approx(1 - len(silent) / 4)
        shown = pixels(card.missed[0].photo)
        assert shown[0, 60].mean() > 180  # not dimmed
        assert card.missed[0].crop is None

    def test_where_it_fires_stays_bright_and_is_cut_out(self) -> None:
        one = made()[0].top[0]
        shown = pixels(one.photo)
        assert shown.shape == (75, 112, 3)
        assert np.abs(shown[37, 18] - RED).max() < 40
        assert shown[37, 60].mean() < 90  # the grey of 200, dimmed
        assert one.crop is not None
        cut = pixels(one.crop)
        assert np.abs(cut[cut.shape[0] // 2, cut.shape[1] // 2] - RED).max() < 40
        assert max(cut.shape) <= 80

    def test_the_region_lies_right_on_a_letterbox(self) -> None:
        small = make_thumbnail(Image.new("RGB", (40, 20), (200, 200, 200)), 80)
        maps = np.zeros((1, 4, 4), np.float32)
        maps[0, 1, 0] = 1  # rows 1 and 2 of the input are the photo, so this is its upper left quarter
        heat = place_on_photo(maps, make_letterbox_geometry((40, 20), (40, 40)), small)[0]
        assert heat.shape == (40, 80)
        assert np.unravel_index(int(heat.argmax()), heat.shape)[1] < 20
        assert heat[10, 10] > 0.9
        assert heat[35, 70] == 0

    def test_outlines_need_a_region_and_unseen_parts_are_dimmed(self) -> None:
        small = np.full((20, 40, 3), 200, np.uint8)
        heat = np.zeros((20, 40))
        assert np.abs(pixels(draw_outline(small, heat, 0.5)) - 200).max() < 3
        assert crop(Image.fromarray(small), heat, 0.5, 32) is None
        heat[:, :10], heat[:, 30:] = 1, np.nan
        shown = pixels(draw_outline(small, heat, 0.5))
        assert shown[10, 3].mean() > 190 > 90 > shown[10, 36].mean()

    def test_a_crop_takes_the_part_around_the_peak(self) -> None:
        photo = Image.new("RGB", (100, 100), (0, 0, 255))
        photo.paste((255, 0, 0), (60, 60, 90, 90))
        heat = np.zeros((50, 50))
        heat[5:10, 5:10], heat[30:45, 30:45] = 1, 2
        cut = crop(photo, heat, 0.5, 64)
        assert cut is not None
        assert pixels(cut)[..., 0].mean() > 150

    def test_counts_zeros_and_ranges(self) -> None:
        probe = Squares()
        maps = activations(probe).maps
        for unit, card in enumerate(made(probe)):
            assert sum(card.counts) == 12 * 24
            assert (card.low, card.high) == pytest.approx((maps[:, unit].min(), maps[:, unit].max()))
            assert card.zeros == pytest.approx((maps[:, unit] == 0).mean())
            if card.high > card.low:
                want = np.histogram(maps[:, unit].astype(float), len(card.counts))[0]
                assert np.abs(np.cumsum(want) - np.cumsum(card.counts)).max() <= 4  # values on an edge
            assert card.fires == (maps[:, unit].max((1, 2)) > NAMES.units[unit].threshold).sum()

    def test_a_dead_unit_has_no_pictures(self) -> None:
        dead = made()[1]
        assert (dead.top, dead.middle, dead.missed, dead.wrong, dead.classes) == ((), (), (), (), ())
        assert (dead.fires, dead.zeros, dead.precision) == (0, 1.0, None)

    def test_mean_activation_by_class(self) -> None:
        probe = Squares()
        means = activations(probe).maps.mean((2, 3))
        assert dict(made(probe)[2].classes) == pytest.approx({"day": means[:6, 2].mean(), "night": means[6:, 2].mean()})
        assert [name for name, _ in made(probe)[2].classes] == ["day", "night"]

    def test_photos_are_opened_once_and_only_if_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = list[object]()

        def counting(photo: Any) -> Any:
            opened.append(photo)
            return open_photo(photo)

        monkeypatch.setattr(cards_module, "open_photo", counting)
        probe = Squares(60)
        cards = made(probe)
        shown = {one.picture for card in cards for one in (*card.top, *card.middle, *card.missed, *card.wrong)}
        assert len(opened) == len(shown) < 60
        assert len(probe.read) == 60 + len(shown)

    def test_without_labels_there_are_pictures_and_no_errors(self) -> None:
        cards = made(Worded())
        assert named(cards[0].top) == [10, 8, 6, 4, 2, 0]
        assert (cards[0].precision, cards[0].recall, cards[0].wrong, cards[0].classes) == (None, None, (), ())

    def test_a_name_may_stand_for_several_concepts(self) -> None:
        names = replace(NAMES, units=(replace(NAMES.units[0], name="any"), *NAMES.units[1:]))
        probe = Squares()
        assert collect(names, activations(probe), probe)[0].precision is None
        card = collect(names, activations(probe), probe, joined=[(("any", "colour"), (1, 2))])[0]
        labelled = [n for n in range(12) if n % 3]
        there = [n for n in labelled if any(probe.has(n))]
        assert card.precision == 1.0
        assert card.recall == pytest.approx(sum(n % 2 == 0 for n in there) / len(there))

    def test_names_without_a_category_find_their_concept(self) -> None:
        names = replace(NAMES, units=(replace(NAMES.units[0], category=None), *NAMES.units[1:]))
        probe = Squares()
        assert collect(names, activations(probe), probe)[0] == made(probe)[0]

    def test_maps_are_read_in_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        maps = np.random.default_rng(0).normal(size=(23, 5, 4, 6)).astype(np.float32)
        whole = survey(maps)
        monkeypatch.setattr(survey_module, "_CHUNK", 5 * 24 * 4)
        pieces = survey(maps)
        for key in ("peaks", "means", "low", "high", "zeros", "counts"):
            assert np.array_equal(getattr(whole, key), getattr(pieces, key))

    def test_more_units_get_fewer_and_smaller_pictures(self) -> None:
        weights = [
            units * (plan.exemplars + plan.middle + 2 * plan.errors) * (plan.side**2 + plan.crop**2)
            for units in (192, 512, 1280, 4096)
            for plan in (choose_plan(units),)
        ]
        assert weights[0] < weights[1] < 8 * weights[0]
        assert max(weights[2:]) < 8 * weights[0]
        assert choose_plan(100, 3).exemplars == 3

    def test_progress_goes_to_the_end(self) -> None:
        told = list[tuple[int, int]]()
        made(progress=lambda done, all_: told.append((done, all_)))
        assert told == sorted(told)
        assert told[-1] == (24, 24)

    def test_what_does_not_belong_together_is_refused(self) -> None:
        probe = Squares()
        with pytest.raises(InputError, match="same layer"):
            collect(replace(NAMES, units=NAMES.units[:2]), activations(probe), probe)
        with pytest.raises(InputError, match="same layer"):
            collect(replace(NAMES, layer="other"), activations(probe), probe)
        with pytest.raises(InputError, match="probe has 5 pictures"):
            collect(NAMES, activations(probe), Squares(5))
        with pytest.raises(InputError, match="exemplars=-1"):
            made(exemplars=-1)
        maps = activations(probe).maps.copy()
        maps[3, 0, 0, 0] = np.nan
        with pytest.raises(InputError, match="not finite"):
            collect(NAMES, replace(activations(probe), maps=maps), probe)


def scenes(count: int) -> list[str | Path | Image.Image]:
    return [Image.fromarray(make(seed, "val").image()) for seed in range(count)]


class TestEffects:
    def test_they_are_means_over_the_targets_of_explanations(self) -> None:
        task, photos = bundled.captioner(load("captioner")), scenes(3)
        found = effects(task, photos)
        views = [
            view for photo in photos for view in explain(task, photo, method="gradcam") if view.target.kind == "word"
        ]
        assert found.photos == 3
        for row, label in enumerate(found.labels):
            same = [view for view in views if view.label == label]
            assert found.counts[row] == len(same) > 0
            assert np.allclose(found.alpha[row], torch.stack([v.alpha for v in same]).mean(0), atol=1e-6)
            want = torch.stack([v.contributions for v in same]).mean(0)
            assert np.allclose(found.contribution[row], want, atol=1e-4, rtol=1e-3)
        assert set(found.labels) == {view.label for view in views}

    def test_evenly_spread_photos_and_top_k(self) -> None:
        found = effects(bundled.classifier(load("classifier")), scenes(9), photos=4, top_k=2)
        assert (found.photos, int(found.counts.sum())) == (4, 8)

    def test_a_question_is_asked(self) -> None:
        found = effects(
            bundled.vqa(load("vqa")), scenes(2), request=Request(question="what colour is the star"), top_k=1
        )
        assert found.counts.sum() == 2
        again = effects(bundled.vqa(load("vqa")), scenes(2), question="what colour is the star", top_k=1)
        assert again.labels == found.labels and np.array_equal(again.alpha, found.alpha)
        with pytest.raises(
            InputError, match=r"no question was given, and scenes-vqa answers questions; give question="
        ):
            effects(bundled.vqa(load("vqa")), scenes(1))

    def test_another_layer(self) -> None:
        task = bundled.classifier(load("classifier"))
        layer = next(
            name for name, part in task.model.named_modules() if name.startswith("features.") and name.count(".") == 1
        )
        assert effects(task, scenes(1), layer=layer).layer == layer
        with pytest.raises(LayerError):
            effects(task, scenes(1), layer="nowhere")

    def test_helped_and_hurt_are_ranked(self) -> None:
        found = made_effects()
        assert [one.label for one in found.list_helped(0)] == ["cat", "dog"]
        assert [(one.label, one.contribution, one.count) for one in found.list_hurt(0)] == [("fish", -4.0, 3)]
        assert [one.label for one in found.list_helped(0, 1)] == ["cat"]
        assert found.list_helped(1) == found.list_hurt(1) == ()

    def test_no_photos(self) -> None:
        with pytest.raises(InputError, match="at least 1"):
            effects(bundled.classifier(load("classifier")), [])


def made_effects(units: int = 3) -> Effects:
    values = np.zeros((3, units))
    values[:, 0] = 2.0, 1.0, -4.0
    return Effects("layer", ("cat", "dog", "fish"), np.array([1, 2, 3]), values / 10, values, 5)


class TestConfidence:
    SURE = NeuronName(0, "named", "red", "colour", 0.3, 0.9, 0.001, iou=0.3, stability=0.95, margin=0.5)

    def test_the_rules(self) -> None:
        for word, changes in (
            ("strong", {}),
            ("strong", {"stability": None, "iou": None}),
            ("strong", {"claims": (("red", "colour", 2.0), ("thing", "object", 1.0))}),
            ("broad", {"claims": (("thing", "object", 1.0),)}),
            ("weak", {"claims": ()}),
            ("weak", {"claims": (("red", "colour", 2.0),), "p": 0.02}),
            ("circular", {"flags": ("target",)}),
            ("circular", {"flags": ("target", "ambiguous")}),
            ("weak", {"p": 0.02}),
            ("weak", {"p": None}),
            ("weak", {"stability": 0.79}),
            ("weak", {"flags": ("few",)}),
            ("weak", {"flags": ("unstable",)}),
            ("weak", {"iou": 0.2}),
            ("ambiguous", {"flags": ("ambiguous", "few")}),
            ("ambiguous", {"flags": ("polysemantic",)}),
        ):
            assert rate_confidence(replace(self.SURE, **changes)) == word
        together = (NameGroup("red", "colour", (0, 4), (0.5, 0.5), (("red", "colour", 2.0),)),)
        assert rate_confidence(replace(self.SURE, claims=()), together) == "strong"
        assert rate_confidence(replace(self.SURE, claims=(), unit=1), together) == "weak"
        assert rate_confidence(NeuronName(0, "dead")) is None
        assert rate_confidence(NeuronName(0, "unnamed", p=0.001)) is None

    def test_rivals_count_where_no_margin_was_measured(self) -> None:
        rival = (("green", "colour", 0.28),)
        bare = replace(self.SURE, margin=None, stability=None, alternatives=rival)
        assert rate_confidence(bare) == "ambiguous"
        assert rate_confidence(replace(bare, alternatives=(("red star", "pair", 0.29),))) == "strong"
        assert rate_confidence(replace(self.SURE, alternatives=rival)) == "strong"


def named_everything(text: str) -> NeuronNames:
    """Names with one text wherever there can be one."""
    unit = NeuronName(
        0, "named", text, text, 0.3, 0.9, 0.01, 0.5, ((text, text, 0.1),), 0.3, 0.2, 0.1, 0.9, 0.5, (text,), (text, 0.4),
        ("few",), ((text, text, 0.6),),
    )  # fmt: skip
    facts = {text: text, "kind": text, "path": text, "notes": [text], "scorer": text, "nested": {text: [text]}}
    return NeuronNames(text, text, text, facts, (unit,))


def card_of(text: str) -> Card:
    one = Exemplar(text, 1.0, text, b"jpeg", b"jpeg")
    return Card(0, 2, 1, 0.0, 1.0, 0.5, (3, 1), (one,), (one,), (one,), (one,), 0.5, 0.5, ((text, 1.0), ("b", 0.5)))


class TestDocument:
    def test_counts_and_concepts(self) -> None:
        found = make_document(NAMES)
        assert found["counts"] == {
            "named": 2, "unnamed": 0, "dead": 1, "flagged": 0, "concepts": 2, "coverage": 2 / 3, "units": 3,
        }  # fmt: skip
        assert found["concepts"] == [
            {"name": "blue", "category": "colour", "units": [2]},
            {"name": "red", "category": "colour", "units": [0]},
        ]
        assert found["notes"] == ["A small probe."]
        assert [one["trust"] for one in found["units"]] == ["strong", None, "ambiguous"]

    def test_facts_are_told_in_words_and_none_is_lost(self) -> None:
        names = replace(NAMES, probe=dict(NAMES.probe) | {"my_own_fact": [1, 2], "empty": None, "mask_size": 24})
        facts = dict(make_document(names)["facts"])
        assert facts["Scorer"] == "IoU"
        assert facts["Runtime"] == "3.1 s"
        assert facts["Grid of masks"] == "24 × 24"
        assert facts["My own fact"] == "[1, 2]"
        assert facts["Weights (SHA-256)"] == "ab" * 32
        assert not {"Empty", "Notes"} & set(facts)

    def test_nothing_named_is_said(self) -> None:
        dead = NeuronNames("m", "l", None, {}, (NeuronName(0, "dead"),))
        assert make_document(dead)["notes"] == ["No unit has a reliable name."]
        noted = replace(dead, probe={"notes": ["No unit has a reliable name: nothing fits."]})
        assert len(make_document(noted)["notes"]) == 1

    def test_the_null_curve(self) -> None:
        curve = {"observed": [0.0, 0.1, 0.5, 0.6], "null": np.linspace(0, 0.2, 101).tolist(), "limit95": 0.19}
        found = make_document(replace(NAMES, probe={"null": curve}))["null"]
        assert sum(found["observed"]) == pytest.approx(1)
        assert sum(found["chance"]) == pytest.approx(1, abs=1e-4)
        assert (found["above"], found["units"], found["high"]) == (2, 4, 0.6)
        edges = np.linspace(found["low"], found["high"], len(found["chance"]) + 1)
        assert sum(share for share, low in zip(found["chance"], edges, strict=False) if low > 0.2) == 0

    @pytest.mark.parametrize(
        "curve",
        [None, 3, {}, {"observed": [], "null": [], "limit95": 0}, {"observed": [1], "null": [float("nan")], "limit95": 0},
         {"observed": ["x"], "null": [1], "limit95": 0}],
    )  # fmt: skip
    def test_a_null_that_is_none_is_left_out(self, curve: Any) -> None:
        assert make_document(replace(NAMES, probe={"null": curve}))["null"] is None

    def test_a_null_of_one_value(self) -> None:
        found = make_document(replace(NAMES, probe={"null": {"observed": [0.0], "null": [0.0], "limit95": 0.0}}))[
            "null"
        ]
        assert sum(found["chance"]) == sum(found["observed"]) == 1

    def test_other_scorers_keep_their_iou_apart(self) -> None:
        names = replace(NAMES, probe={"scorer": "soft-wpmi"}, units=(replace(NAMES.units[0], iou=None, score=12.5),))
        found = make_document(names)
        assert found["scorer"] == "Soft-WPMI"
        assert (found["units"][0]["score"], found["units"][0]["iou"]) == (12.5, None)
        legacy = make_document(replace(names, probe={}, units=(replace(NAMES.units[0], iou=None),)))
        assert legacy["units"][0]["iou"] == 0.5

    def test_cards_and_effects_of_others_are_refused(self) -> None:
        with pytest.raises(InputError, match="2 cards"):
            make_document(NAMES, made()[:2])
        with pytest.raises(InputError, match="3 units"):
            make_document(NAMES, None, replace(made_effects(), layer="other"))
        with pytest.raises(InputError, match="4 units"):
            make_document(NAMES, None, made_effects(4))

    def test_effects_are_listed(self) -> None:
        found = make_document(NAMES, None, made_effects())["units"][0]
        assert (found["helps"], found["hurts"]) == ([["cat", 2.0, 1], ["dog", 1.0, 2]], [["fish", -4.0, 3]])


class TestText:
    def test_nothing_comes_from_outside(self) -> None:
        text = report(NAMES, made(), effects=made_effects())
        assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*|@import|url\(", text)
        for tag, attributes in Elements(text).found:
            assert tag not in ("link", "iframe", "object", "embed", "base", "img")
            assert not {"src", "style"} & set(attributes)
            assert not [name for name in attributes if name.startswith("on")]

    def test_the_policy_is_that_of_pages(self) -> None:
        elements = Elements(report(NAMES))
        found = next(attributes["content"] for _, attributes in elements.found if "http-equiv" in attributes)
        assert found == make_policy(elements.texts["script"][1], elements.texts["style"][0])

    def test_the_script_never_parses_text_as_html(self) -> None:
        script = Elements(report(NAMES)).texts["script"][1]
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in script

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_payloads_stay_data(self, payload: str) -> None:
        text = report(named_everything(payload), [card_of(payload)], title=payload)
        text.encode("utf-8")
        plain = report(named_everything("plain"), [card_of("plain")], title="plain")
        assert [tag for tag, _ in Elements(text).found] == [tag for tag, _ in Elements(plain).found]
        found = data_of(text)
        unit = found["units"][0]
        shown = (found["model"], unit["name"], unit["alternatives"][0][0], unit["also"][0], unit["formula"][0], unit["claims"][0][0],
                 unit["card"]["top"][0]["picture"], unit["card"]["classes"][0][0], found["notes"][0])  # fmt: skip
        assert set(shown) == {payload}

    def test_numbers_that_json_does_not_have_are_left_out(self) -> None:
        card = replace(card_of("x"), low=float("nan"), high=float("inf"))
        found = data_of(report(named_everything("x"), [card]))["units"][0]["card"]
        assert (found["low"], found["high"]) == (None, None)

    def test_the_title_and_the_same_every_time(self) -> None:
        assert Elements(report(NAMES)).texts["title"] == ["toy: neurons of layer"]
        assert report(NAMES, made()) == report(NAMES, made())

    def test_a_layer_without_units(self) -> None:
        assert data_of(report(NeuronNames("m", "l", None, {}, ())))["units"] == []

    def test_the_three_files(self, tmp_path: Path) -> None:
        paths = write_report(tmp_path / "new" / "folder", NAMES, made())
        assert [path.name for path in paths] == ["report.html", "names.csv", "names.json"]
        assert sorted(path.name for path in paths[0].parent.iterdir()) == ["names.csv", "names.json", "report.html"]
        assert paths[1].read_text() == NAMES.to_csv()
        assert NeuronNames.from_json(paths[2]) == NAMES
        assert data_of(paths[0].read_text(encoding="utf-8"))["files"] == ["names.csv", "names.json"]
        assert data_of(report(NAMES))["files"] == []

    def test_a_report_that_can_not_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "names.csv").mkdir()
        with pytest.raises(InputError, match="another folder"):
            write_report(tmp_path, NAMES)
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".vlcam")]
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="another folder"):
            write_report(tmp_path / "file", NAMES)


class TestLinks:
    @pytest.mark.parametrize(
        "address", ["report.html", "../n/report.html", "https://example.org/r.html", "a b.html?x=1"]
    )
    def test_addresses_of_reports(self, address: str) -> None:
        assert data_of(make_page([captioning()], neurons=address))["neurons"] == address

    @pytest.mark.parametrize(
        "address",
        ["javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,x",
         "vbscript:x", "file:///etc/passwd", "", "//host/r.html", "\\\\host\\r.html", "r.html#unit-1", "blob:x", "\x01javascript:x"],
    )  # fmt: skip
    def test_other_addresses_are_refused(self, address: str) -> None:
        with pytest.raises(InputError, match="relative path"):
            make_page([captioning()], neurons=address)

    def test_without_an_address_there_is_none(self) -> None:
        assert "neurons" not in json.loads(Elements(make_page([captioning()])).texts["script"][0])
