"""The human studies: what is shown to whom, what the page gives away, and what answers score."""

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from vlcam.cli.run_study import run_make, run_score
from vlcam.cli.study_options import ScoreOptions, StudyOptions
from vlcam.contracts import InputError
from vlcam.engine.weights import FALL
from vlcam.methods import get_method, pixels
from vlcam.scenes.sample import make
from vlcam.study import (
    Part,
    Picture,
    iterate_photos,
    iterate_scenes,
    list_default_methods,
    make_discrimination_study,
    make_key,
    make_study_page,
    make_trust_study,
    read_answers,
    read_key,
    score_answers,
    weaken_model,
)
from vlcam.study.drawing import visualise
from vlcam.study.plan import STRONGER, Item, compute_study_id
from vlcam.study.score import PAPER, TRUST_ANSWERS, Rating, krippendorff, make_document
from vlcam.tasks import bundled

METHODS = ("gradcam", "hirescam")
COLUMNS = ("study", "rater", "item", "answer", "place", "seconds")
Answerer = Callable[[Mapping[str, Any]], str]


@pytest.fixture(scope="module")
def classifier() -> Any:
    return bundled.classifier()


@pytest.fixture(scope="module")
def parts(classifier: Any) -> tuple[Part, Part]:
    """Both studies, small; the weaker model is the bundled one with a little noise."""

    def noisy(model: nn.Module) -> float:
        return 1.0 if model is classifier.model else 0.5

    model, _ = weaken_model(classifier.model, noisy)
    weaker = replace(bundled.classifier(model), name="its-noisy-copy")
    seen = list(islice(iterate_scenes(), 5))
    return (
        make_discrimination_study(classifier, seen, methods=METHODS, n=4),
        make_trust_study(classifier, weaker, seen, methods=METHODS, n=4),
    )


def made_up(kind: Any, n: int = 200, seed: int = 3) -> dict[str, Any]:
    """The key of a study without pictures: two methods, two booklets."""
    rng = np.random.default_rng(seed)
    items = []
    for place in range(n):
        for turn, name in enumerate(METHODS):
            choices = ("cat", "dog") if kind == "discrimination" else ("stronger", "weaker")
            if rng.random() < 0.5:
                choices = choices[::-1]
            about = "cat" if place % 2 else "dog"
            items.append(Item(f"{place:04d}{turn}", f"p{place}", name, about, choices, (place + turn) % 2, False, ()))
    return make_key([Part(kind, tuple(items), {"methods": list(METHODS)})])


def answered(known: Mapping[str, Any], raters: Mapping[str, Answerer], kind: str) -> list[Rating]:
    """What simulated raters say; r1, r3, ... get the first booklet."""
    part = known["parts"][kind]
    found = []
    for rater, says in raters.items():
        mine = [one for one in part["items"] if one["booklet"] == (int(rater[1:]) - 1) % part["booklets"]]
        found += [
            Rating(part["study"], rater, one["id"], says(one), f"{rater}.csv, line {line}")
            for line, one in enumerate(mine, 2)
        ]
    return found


def written(path: Path, ratings: list[Rating]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        out.writerows((one.study, one.rater, one.item, one.answer, 1, 2.5) for one in ratings)
    return path


def right(item: Mapping[str, Any]) -> str:
    return str(item["about"])


def for_the_stronger(item: Mapping[str, Any]) -> str:
    return "left clearly" if item["choices"][0] == STRONGER else "right clearly"


def always(answer: str) -> Answerer:
    return lambda _: answer


class TestPlan:
    def test_every_picture_has_every_method_and_two_real_categories(self, parts: tuple[Part, Part]) -> None:
        part = parts[0]
        truth = {one.name: set(one.categories) for one in islice(iterate_scenes(), 5)}
        assert Counter(item.method for item in part.items) == dict.fromkeys(METHODS, 4)
        for item in part.items:
            assert set(item.choices) == truth[item.picture] and item.about in item.choices
            assert len(item.images) == 1 and item.images[0].startswith("data:image/jpeg;base64,")
        shown = {(item.picture, item.about) for item in part.items}
        assert len(shown) == 4  # all methods are asked about the same category

    @pytest.mark.parametrize("which", [0, 1])
    def test_nobody_sees_a_picture_twice_and_sides_are_balanced(self, parts: tuple[Part, Part], which: int) -> None:
        part = parts[which]
        assert part.booklets == len(METHODS)
        for number in range(part.booklets):
            mine = [item for item in part.items if item.booklet == number]
            assert len({item.picture for item in mine}) == len(mine) == 4
            assert Counter(item.method for item in mine) == dict.fromkeys(METHODS, 2)
        for name in METHODS:
            first = [
                item.choices[0] == (item.about if which == 0 else STRONGER)
                for item in part.items
                if item.method == name
            ]
            assert sum(first) == 2
        # Neither do the ids, in whose order the items are, tell the methods apart.
        assert [item.id for item in part.items] == sorted(item.id for item in part.items)
        assert len({item.id for item in part.items}) == len(part.items)
        assert [item.method for item in part.items] != sorted(item.method for item in part.items)

    def test_sides_of_many_items_are_halves_and_look_random(self) -> None:
        from vlcam.study.plan import _draw_halves

        drawn = np.array([_draw_halves(np.random.default_rng(seed), 90) for seed in range(200)])
        assert (drawn.sum(1) == 45).all()
        # Each place is 0 or 1 alike: 200 fair draws lie within 100 +- 38 but for one place in ten million.
        assert np.abs(drawn.sum(0) - 100).max() < 38
        runs = (drawn[:, 1:] != drawn[:, :-1]).sum(1).mean()
        assert runs == pytest.approx(45, abs=1.5)  # 90 / 2 changes of side, give or take 3 standard errors

    def test_trust_shows_what_both_models_rightly_say(self, parts: tuple[Part, Part], classifier: Any) -> None:
        part = parts[1]
        truth = {one.name: one for one in islice(iterate_scenes(), 5)}
        for item in part.items:
            picture = truth[item.picture]
            assert item.about in picture.categories
            photo, *sides = item.images
            strong = visualise(classifier, picture.image, item.about, get_method(item.method))
            from vlcam.study.drawing import to_data_uri

            assert photo == to_data_uri(strong.photo)
            assert (
                sides[item.choices.index(STRONGER)]
                == to_data_uri(strong.drawn)
                != sides[1 - item.choices.index(STRONGER)]
            )
        assert part.facts["stronger"]["right"] == 1.0 and part.facts["weaker"]["model"] == "its-noisy-copy"

    def test_the_same_seed_gives_the_same_study(self, classifier: Any, parts: tuple[Part, Part]) -> None:
        seen = list(islice(iterate_scenes(), 5))
        again = make_discrimination_study(classifier, seen, methods=METHODS, n=4)
        other = make_discrimination_study(classifier, seen, methods=METHODS, n=4, seed=1)
        assert again.to_key_entry() == parts[0].to_key_entry() and make_study_page(again) == make_study_page(parts[0])
        assert other.study != again.study and {one.id for one in other.items}.isdisjoint(one.id for one in again.items)
        whole = make_discrimination_study(classifier, seen, methods=METHODS, n=2, rotate=False)
        assert whole.booklets == 1 and len(whole.items) == 4

    def test_pictures_of_no_use_are_passed_over(self, classifier: Any) -> None:
        good = next(iterate_scenes())
        odd = [
            Picture("one", good.image, good.categories[:1]),
            Picture("unknown", good.image, ("red star", "giraffe")),
            good,
        ]
        part = make_discrimination_study(classifier, odd, methods=["gradcam"], n=5)
        assert [item.picture for item in part.items] == [good.name]
        assert part.facts["pictures"] == 1 and part.facts["looked_at"] == 3
        with pytest.raises(InputError, match="none of 2 pictures has exactly two annotated categories that scenes-cl"):
            make_discrimination_study(classifier, odd[:2], methods=["gradcam"])
        with pytest.raises(InputError, match="on none of 1 pictures"):
            make_trust_study(classifier, classifier, [Picture("wrong", good.image, ("giraffe",))], methods=["gradcam"])

    def test_bad_options(self, classifier: Any) -> None:
        with pytest.raises(InputError, match="need a classifier"):
            make_discrimination_study(bundled.captioner(), iterate_scenes())
        with pytest.raises(InputError, match="n=0 was given"):
            make_discrimination_study(classifier, iterate_scenes(), n=0)
        with pytest.raises(InputError, match="no method 'gradcan'"):
            make_discrimination_study(classifier, iterate_scenes(), methods=["gradcan"])
        with pytest.raises(InputError, match="no method was given"):
            make_discrimination_study(classifier, iterate_scenes(), methods=[])
        assert list_default_methods()[0] == "gradcam"

    def test_a_weaker_model_is_just_weak_enough(self) -> None:
        torch.manual_seed(0)
        inputs = torch.randn(400, 16)
        model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        truth = model(inputs).argmax(1)
        before = [weight.clone() for weight in model.parameters()]

        def accuracy(one: nn.Module) -> float:
            with torch.no_grad():
                return float((one(inputs).argmax(1) == truth).float().mean())

        copy, facts = weaken_model(model, accuracy)
        assert facts["full_accuracy"] == 1.0 and FALL - 0.05 < facts["accuracy"] <= FALL
        assert accuracy(copy) == facts["accuracy"] and not copy.training
        assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
        assert all(
            torch.equal(old, new)
            for old, new in zip(weaken_model(model, accuracy)[0].parameters(), copy.parameters(), strict=True)
        )
        with pytest.raises(InputError, match=r"doesn't lower the accuracy of 1\.000; give a weaker model"):
            weaken_model(model, lambda _: 1.0)
        with pytest.raises(InputError, match="accuracy is 0"):
            weaken_model(model, lambda _: 0.0)


class TestDrawing:
    def test_pixel_methods_stand_alone_on_grey(self, classifier: Any) -> None:
        scene = make(10)
        about = " ".join(scene.objects[0].pair)
        guided = next(one for one in pixels.BUILT_IN if one.name == "guided-gradcam")
        found = visualise(classifier, scene.image(), about, guided)
        assert found.drawn.shape == found.photo.shape == (384, 384, 3) and not found.empty
        assert Counter(map(tuple, found.drawn.reshape(-1, 3).tolist())).most_common(1)[0][0] == (128, 128, 128)
        mask = np.asarray(Image.fromarray(scene.masks()[0]).resize((384, 384)))
        strength = np.abs(found.drawn.astype(float) - 128).sum(2)
        assert strength[mask].mean() > 3 * strength[~mask].mean()

    def test_coarse_methods_lie_on_the_photo(self, classifier: Any) -> None:
        scene = make(10)
        found = visualise(classifier, scene.image(384), " ".join(scene.objects[0].pair), get_method("gradcam"))
        changed = np.abs(found.drawn.astype(float) - found.photo).sum(2)
        mask = scene.masks(384)[0]
        assert changed[mask].mean() > 3 * changed[~mask].mean()
        assert (found.photo == scene.image(384)).all()


class TestPictures:
    def test_a_list_beside_photos(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.png", "c.png"):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        listed = tmp_path / "categories.csv"
        listed.write_text('file,category\na.png,red star,"blue circle, dark"\n\nb.png,red star,red star\n', "utf-8")
        found = {one.name: one.categories for one in iterate_photos(tmp_path)}
        assert found == {"a.png": ("red star", "blue circle, dark"), "b.png": ("red star",)}
        for text, why in (
            ("a.png,x\nd.png,y\n", "line 2: there is no photo 'd.png'"),
            ("a.png\n", "line 1: 'a.png' has no category"),
            ("file\n", "names no photo"),
        ):
            listed.write_text(text, "utf-8")
            with pytest.raises(InputError, match=why):
                iterate_photos(tmp_path)
        listed.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="CSV file in UTF-8"):
            iterate_photos(tmp_path)

    def test_pascal_voc(self, tmp_path: Path) -> None:
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (tmp_path / part).mkdir(parents=True)
        (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("000001\n000002\n")
        for stem, names in (("000001", ("dog", "person", "dog")), ("000002", ("cat",))):
            objects = "".join(f"<object><name>{name}</name><part><name>head</name></part></object>" for name in names)
            (tmp_path / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{objects}</annotation>")
        found = {one.name: one for one in iterate_photos(tmp_path)}
        assert found["000001"].categories == ("dog", "person") and found["000002"].categories == ("cat",)
        assert found["000001"].image == tmp_path / "JPEGImages" / "000001.jpg"
        with pytest.raises(InputError, match=r"the splits of .* are: val"):
            iterate_photos(tmp_path, split="test")
        hostile = '<!DOCTYPE a [<!ENTITY b "c">]><annotation><object><name>&b;</name></object></annotation>'
        (tmp_path / "Annotations" / "000002.xml").write_text(hostile)
        with pytest.raises(InputError, match="declares a document type"):
            list(iterate_photos(tmp_path))

    def test_coco(self, tmp_path: Path) -> None:
        Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
        square = [[1, 1, 5, 1, 5, 5, 1, 5]]
        content = {
            "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 8}],
            "categories": [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}, {"id": 9, "name": "cow"}],
            "annotations": [
                {"image_id": 1, "category_id": number, "segmentation": square, "iscrowd": 0} for number in (7, 3, 7)
            ],
        }
        (tmp_path / "instances.json").write_text(json.dumps(content))
        assert [one.categories for one in iterate_photos(tmp_path / "instances.json")] == [("dog", "cat")]

    def test_anything_else_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"expected a folder of photos with categories\.csv"):
            iterate_photos(tmp_path)

    def test_scenes_have_two_objects(self) -> None:
        for one in islice(iterate_scenes("val"), 3):
            assert len(set(one.categories)) == 2 and one.image.shape == (384, 384, 3)


class TestPage:
    @pytest.mark.parametrize("which", [0, 1])
    def test_it_gives_nothing_away(self, parts: tuple[Part, Part], which: int) -> None:
        part = parts[which]
        text = make_study_page(part, note="Send it to <me> & her")
        assert "Send it to &lt;me&gt; &amp; her" in text
        plain = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", text).lower()
        for secret in (*METHODS, "grad-cam", "gradcam", "scenes-classifier", "noisy", "stronger", "weaker", "scene:"):
            assert secret not in plain
        data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
        assert {item["id"] for item in data["items"]} == {item.id for item in part.items}
        allowed = {"id", "booklet", "images", "choices"} if which == 0 else {"id", "booklet", "images", "about"}
        assert all(set(item) == allowed for item in data["items"])
        by_id = {item.id: item for item in part.items}
        for item in data["items"]:
            assert [data["pictures"][place] for place in item["images"]] == list(by_id[item["id"]].images)
        assert data["study"] == part.study

    def test_it_loads_nothing(self, parts: tuple[Part, Part]) -> None:
        text = make_study_page(parts[0])
        assert "default-src 'none'" in text and "http://" not in text and "https://" not in text
        assert re.findall(r"(?:src|href)=", text.partition("<script")[0]) == []
        assert "4 questions, about 1 minute." in text

    def test_markup_in_a_category_stays_text(self) -> None:
        item = Item("0", "p", "gradcam", "</script><b>", ("</script><b>", "a&b"), 0, False, ("data:,x",))
        text = make_study_page(Part("discrimination", (item,), {"methods": ["gradcam"]}))
        assert "</script><b>" not in text and "\\u003c/script\\u003e\\u003cb\\u003e" in text


class TestScore:
    def test_perfect_raters(self) -> None:
        known = made_up("discrimination")
        (found,) = score_answers(known, answered(known, {f"r{n}": right for n in range(1, 5)}, "discrimination"))
        assert [(one.method, one.value, one.low, one.high) for one in found.methods] == [
            (name, 1.0, 1.0, 1.0) for name in METHODS
        ]
        assert found.agreement == 1.0 and found.chance == 0.5
        assert [one.ratings for one in found.methods] == [400, 400]
        known = made_up("trust")
        (found,) = score_answers(known, answered(known, {f"r{n}": for_the_stronger for n in range(1, 5)}, "trust"))
        assert [one.value for one in found.methods] == [2.0, 2.0] and found.agreement == 1.0
        assert found.differences[0].value == 0.0

    def test_random_raters(self) -> None:
        rng = np.random.default_rng(0)
        known = made_up("discrimination")
        ratings = answered(
            known,
            {f"r{n}": lambda item: str(item["choices"][int(rng.integers(2))]) for n in range(1, 7)},
            "discrimination",
        )
        (found,) = score_answers(known, ratings)
        for one in found.methods:
            hits = round(one.value * one.ratings)
            # Two-sided exact binomial: the chance of being at least so far from a half.
            away = abs(hits - one.ratings / 2)
            tail = sum(math.comb(one.ratings, k) for k in range(one.ratings + 1) if abs(k - one.ratings / 2) >= away)
            assert tail / 2**one.ratings > 0.01
            assert one.low is not None and one.high is not None and one.low < 0.5 < one.high
        assert found.agreement == pytest.approx(0, abs=0.1)
        known = made_up("trust")
        ratings = answered(
            known, {f"r{n}": lambda _: TRUST_ANSWERS[int(rng.integers(5))] for n in range(1, 7)}, "trust"
        )
        (found,) = score_answers(known, ratings)
        for one in found.methods:
            assert abs(one.value) < 4 * math.sqrt(2 / one.ratings)  # the variance of a uniform answer is 2
        assert found.agreement == pytest.approx(0, abs=0.1)

    def test_always_the_left_one_is_chance(self) -> None:
        known = made_up("trust", n=400)
        ratings = answered(known, {"r1": always("left clearly"), "r2": always("left clearly")}, "trust")
        (found,) = score_answers(known, ratings)
        left = Counter(item["choices"][0] for item in known["parts"]["trust"]["items"])
        mean = sum(one.value * one.ratings for one in found.methods) / sum(one.ratings for one in found.methods)
        assert mean == pytest.approx(2 * (left["stronger"] - left["weaker"]) / 800)
        assert found.agreement is None  # nothing varies

    def test_answers_count_towards_the_stronger_model(self) -> None:
        known = made_up("trust", n=2)
        part = known["parts"]["trust"]
        for answer, value in zip(TRUST_ANSWERS, (2, 1, 0, -1, -2), strict=True):
            ratings = answered(known, {"r1": always(answer)}, "trust")
            (found,) = score_answers(known, ratings)
            of = {item["id"]: item for item in part["items"]}
            for one in found.methods:
                signs = [
                    1 if of[rating.item]["choices"][0] == "stronger" else -1
                    for rating in ratings
                    if of[rating.item]["method"] == one.method
                ]
                assert one.value == value * np.mean(signs)
                assert one.paper == PAPER["trust"].get(one.method)

    def test_a_known_difference_has_an_interval_around_it(self) -> None:
        rng = np.random.default_rng(1)

        def skilled(item: Mapping[str, Any]) -> str:
            sure = 0.9 if item["method"] == METHODS[0] else 0.5
            wrong = item["choices"][1 - item["choices"].index(item["about"])]
            return str(item["about"] if rng.random() < sure else wrong)

        known = made_up("discrimination")
        (found,) = score_answers(known, answered(known, {f"r{n}": skilled for n in range(1, 9)}, "discrimination"))
        (gap,) = found.differences
        assert (gap.one, gap.other) == METHODS and gap.low is not None and gap.high is not None
        assert 0.25 < gap.low < gap.value < gap.high < 0.55 and gap.low < 0.4 < gap.high
        assert (
            json.loads(json.dumps(make_document([found])))["parts"]["discrimination"]["differences"][0]["one"]
            == "gradcam"
        )

    def test_agreement_as_published(self) -> None:
        """The worked example of Krippendorff 2011, sections C and D: four observers, twelve units, gaps."""
        gap = math.nan
        rows = [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, gap, gap, gap],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gap, 3],
            [gap, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gap],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gap],
        ]
        table = np.array(rows, float).T
        assert krippendorff(table) == pytest.approx(0.743, abs=5e-4)
        assert krippendorff(table, metric="interval") == pytest.approx(0.849, abs=5e-4)
        assert math.isnan(krippendorff(table[:, :1]))

    def test_few_answers_have_no_interval(self) -> None:
        known = made_up("discrimination", n=1)
        (found,) = score_answers(known, answered(known, {"r1": right}, "discrimination"))
        (one,) = found.methods
        assert (one.value, one.low, one.high, one.pictures) == (1.0, None, None, 1) and found.agreement is None


class TestFiles:
    @pytest.fixture
    def study(self, tmp_path: Path) -> tuple[Path, dict[str, Any], list[Rating]]:
        known = made_up("discrimination", n=4)
        path = tmp_path / "key.json"
        path.write_text(json.dumps(known), encoding="utf-8")
        return path, known, answered(known, {"r1": right}, "discrimination")

    def test_there_and_back(self, study: tuple[Path, dict[str, Any], list[Rating]], tmp_path: Path) -> None:
        path, known, ratings = study
        assert read_key(path) == known
        file = written(tmp_path / "a.csv", ratings)
        found = read_answers(file, known)
        assert [(one.item, one.answer) for one in found] == [(one.item, one.answer) for one in ratings]
        assert found[0].where == "a.csv, line 2"
        # A spreadsheet may have written it: semicolons, a byte order mark, other line ends, R1 for r1.
        text = file.read_text("utf-8").replace(",", ";").replace(";r1;", ";R1;")
        file.write_text("\ufeff" + text, "utf-8", newline="\r\n")
        assert [(one.rater, one.item) for one in read_answers(file, known)] == [("r1", one.item) for one in ratings]

    def test_wrong_lines_are_named(self, study: tuple[Path, dict[str, Any], list[Rating]], tmp_path: Path) -> None:
        _, known, ratings = study
        first = ratings[1]
        for wrong, why in (
            (replace(first, study="other"), "a.csv, line 3: study 'other' isn't in this key"),
            (replace(first, item="nothing"), "a.csv, line 3: the discrimination study has no item 'nothing'"),
            (
                replace(first, answer="cow"),
                "a.csv, line 3: 'cow' is not an answer to item .*; expected (cat or dog|dog or cat)",
            ),
            (replace(first, answer=""), "a.csv, line 3: item .* has no answer"),
            (replace(first, rater=" "), "a.csv, line 3: the rater id is missing"),
        ):
            with pytest.raises(InputError, match=why):
                read_answers(written(tmp_path / "a.csv", [ratings[0], wrong]), known)
        for text, why in (
            ("a,b\n1,2\n", "a.csv, line 1: the columns are a, b; expected the file"),
            ("", "a.csv, line 1: the columns are none"),
            ("study,rater,item,answer\n", "holds no answers"),
            ("study,rater,item,answer\nx,y\n", "a.csv, line 2: 2 cells under 4 columns"),
            ('study,rater,item,answer\n"x"y,1,2,3\n', "a.csv, line 2: "),
        ):
            (tmp_path / "a.csv").write_text(text, "utf-8")
            with pytest.raises(InputError, match=why):
                read_answers(tmp_path / "a.csv", known)
        (tmp_path / "a.csv").write_bytes(b"\xff\xff")
        with pytest.raises(InputError, match="can't be read"):
            read_answers(tmp_path / "a.csv", known)

    def test_duplicates_gaps_and_mixed_booklets(self, study: tuple[Path, dict[str, Any], list[Rating]]) -> None:
        _, known, ratings = study
        twice = replace(ratings[0], where="again.csv, line 2")
        with pytest.raises(
            InputError, match=r"again\.csv, line 2: rater 'r1' has answered item .* already \(r1\.csv, line 2\)"
        ):
            score_answers(known, [*ratings, twice])
        with pytest.raises(InputError, match=r"r1\.csv: rater 'r1' answered 3 of 4 questions \(item .* is missing\)"):
            score_answers(known, ratings[1:])
        (found,) = score_answers(known, ratings[1:], partial=True)
        assert found.answered == {"r1": (3, 4)}
        both = [*ratings, *(replace(one, rater="r1") for one in answered(known, {"r2": right}, "discrimination"))]
        with pytest.raises(InputError, match=r"r2\.csv, line 2: rater 'r1' has answers of 2 booklets"):
            score_answers(known, both)
        with pytest.raises(InputError, match="no answers were given"):
            score_answers(known, [])
        with pytest.raises(InputError, match="draws=9"):
            score_answers(known, ratings, draws=9)

    def test_a_changed_key_is_refused(self, study: tuple[Path, dict[str, Any], list[Rating]]) -> None:
        path, known, _ = study
        known["parts"]["discrimination"]["items"][0]["about"] = "cow"
        path.write_text(json.dumps(known), "utf-8")
        with pytest.raises(InputError, match="was changed after it was made"):
            read_key(path)
        for text, why in (
            ("{}", "is not the key of a study"),
            ("[", "is not JSON"),
            ('{"parts": {"a": {}}}', "has schema None"),
        ):
            path.write_text(text, "utf-8")
            with pytest.raises(InputError, match=why):
                read_key(path)


class TestCommands:
    def test_make_then_score(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vlcam.cli.run_study._TRIAL_SCENES", 16)  # enough to see that it works
        out = tmp_path / "study"
        made = run_make(StudyOptions(out=out, methods=list(METHODS), n=3, note="Send it to Ada."))
        assert {path.name for path in out.iterdir()} == {"discrimination.html", "trust.html", "key.json"}
        said = capsys.readouterr().err
        assert "18 raters (give them the ids r1 to r18) make 9 ratings of each" in said
        known = read_key(out / "key.json")
        assert (
            known["parts"]["trust"]["study"]
            == made[1].study
            == compute_study_id({name: value for name, value in made[1].to_key_entry().items() if name != "study"})
        )
        facts = known["parts"]["trust"]["facts"]
        assert facts["weakened"]["accuracy"] <= FALL * facts["weakened"]["full_accuracy"]
        with pytest.raises(InputError, match="key of another study"):
            run_make(StudyOptions(out=out, methods=list(METHODS), n=3))
        files = [
            written(tmp_path / "d.csv", answered(known, {"r1": right, "r2": right}, "discrimination")),
            written(tmp_path / "t.csv", answered(known, {"r1": for_the_stronger}, "trust")),
        ]
        wanted = ScoreOptions(key=out / "key.json", answers=files, draws=200, out=tmp_path / "x" / "scores.json")
        run_score(wanted)
        shown = capsys.readouterr().out
        assert re.search(r"gradcam +100\.00 % +100\.00 % to 100\.00 % +- +3 +3\n", shown)
        assert re.search(r"hirescam +\+2\.00 ", shown) and "Incomplete" not in shown
        scores = json.loads((tmp_path / "x" / "scores.json").read_text("utf-8"))
        assert scores["parts"]["trust"]["methods"][0]["value"] == 2.0
        run_score(replace(wanted, answers=files[:1], out=None, as_json=True))
        assert set(json.loads(capsys.readouterr().out)["parts"]) == {"discrimination"}

    def test_photos_of_ones_own(self, tmp_path: Path) -> None:
        folder, out = tmp_path / "photos", tmp_path / "study"
        folder.mkdir()
        rows = []
        for number, one in enumerate(islice(iterate_scenes(), 3)):
            Image.fromarray(one.image).save(folder / f"{number}.png")
            rows.append(f"{number}.png,{','.join(one.categories)}")
        (folder / "categories.csv").write_text("\n".join(rows), "utf-8")
        wanted = StudyOptions(
            out=out, part="discrimination", methods=["gradcam"], model="scenes/classifier", data=folder
        )
        (part,) = run_make(wanted)
        assert {item.picture for item in part.items} == {"0.png", "1.png", "2.png"}
        assert not (out / "trust.html").exists()
        (part,) = run_make(replace(wanted, part="trust", against="scenes/classifier", n=2, out=tmp_path / "trust"))
        assert part.facts["stronger"] == part.facts["weaker"]

    @pytest.mark.parametrize(
        ("wanted", "why"),
        [
            ({"part": "all"}, "--part 'all'"),
            ({"data": Path("x")}, "--data was given without --model"),
            ({"model": "torchvision/resnet50"}, "given without --data"),
            ({"model": "torchvision/resnet50", "data": Path("x")}, "give the weaker one with --against"),
            ({"arch": "torchvision/resnet50"}, "require --model"),
        ],
    )
    def test_options_that_do_not_fit(self, wanted: dict[str, Any], why: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=re.escape(why)):
            run_make(StudyOptions(out=tmp_path / "out", **wanted))
        assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlcam.cli import main, run_study

    calls: list[Any] = []
    monkeypatch.setattr(run_study, "run_make", calls.append)
    monkeypatch.setattr(run_study, "run_score", calls.append)
    made = ["--out", str(tmp_path), "--part", "trust", "--method", "gradcam", "--n", "7", "--whole", "--note", "hi"]
    assert main(["study", "make", *made]) == 0
    assert calls[0] == StudyOptions(out=tmp_path, part="trust", methods=["gradcam"], n=7, whole=True, note="hi")
    assert main(["study", "score", "key.json", "a.csv", "b.csv", "--partial", "--bootstrap", "300"]) == 0
    files = [Path("a.csv"), Path("b.csv")]
    assert calls[1] == ScoreOptions(key=Path("key.json"), answers=files, partial=True, draws=300)
