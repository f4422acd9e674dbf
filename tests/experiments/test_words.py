"""Experiments 11, 12, 13 and 16: what is explained of a word, what removing an object does, and that rows count what they say."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vlcam
from tests.support import data_layouts
from vlcam.benchmark import texts as naming_bench
from vlcam.contracts import InputError, Request
from vlcam.experiments import answers, captions, texts, words
from vlcam.experiments.data.samples import PhotoCaption, unite_masks
from vlcam.experiments.data.scenes_world import convert_scene, open_scenes
from vlcam.experiments.data.visual_words import find_visual_words, find_word_masks, make_phrases
from vlcam.experiments.results.result import Result, from_json, make_cells, to_json
from vlcam.experiments.setting import Setting
from vlcam.experiments.shared import word_choice
from vlcam.experiments.shared.interventions import (
    draw_without_each,
    has_order,
    measure_effects,
    measure_masses,
    measure_rank_agreement,
    measure_top_agreement,
    remove_object,
)
from vlcam.experiments.shared.maps import make_every_map
from vlcam.experiments.shared.word_choice import choose, compare
from vlcam.experiments.shared.word_grounding import (
    COLUMNS,
    F1,
    MASS,
    POINTING,
    TOP,
    WRONG,
    GroundingScores,
    ground,
    judge_caption,
    name_pair,
)
from vlcam.experiments.shared.word_targets import FUNCTION, KIND_OF, TARGETS, WordTargets, find_others, score_words
from vlcam.image.preprocess import Preprocess
from vlcam.metrics import occlusion_correlation, pointing_hit
from vlcam.scenes.captions import check_words, find_word_objects
from vlcam.scenes.models.data import CAPTION_VOCABULARY
from vlcam.scenes.sample import make
from vlcam.tasks import bundled
from vlcam.tasks.captioning import Captioning
from vlcam.tasks.vqa import VQA


@pytest.fixture(scope="module")
def captioner() -> Captioning:
    return bundled.captioner()


def value(result: Result, name: str, column: str) -> float:
    return next(one.value for one in (*result.rows, *result.controls) if (one.name, one.column) == (name, column))


# --- four targets of a word ---


def test_word_scores_match_plain_loops() -> None:
    torch.manual_seed(1)
    logits = 3 * torch.randn(3, 7, dtype=torch.float64)
    ids, rivals = [2, 6, 0], [[1, 3], [5], [1, 2, 3, 4]]
    found = score_words(logits, ids, rivals)
    for place, (word, beside) in enumerate(zip(ids, rivals, strict=True)):
        z = logits[place].tolist()
        expected = (
            z[word] - math.log(sum(math.exp(one) for one in z)),
            z[word],
            z[word] - math.log(sum(math.exp(z[one]) for one in beside)),
            z[word] - sum(z[one] for one in beside) / len(beside),
        )
        assert found[:, place].tolist() == pytest.approx(expected, abs=1e-9)


def test_the_targets_are_those_of_explain(captioner: Captioning) -> None:
    """Log-probability and logit as ``vlcam.explain`` gives them; both contrasts of a size word are its contrast with the other size."""
    image, text = make(2, "test").image(), "a large striped red heart"
    ids = CAPTION_VOCABULARY.encode(text)
    mapped = make_every_map(WordTargets(captioner), image, Request(ids=ids), ["gradcam"])
    own = vlcam.explain(captioner, image, caption=text, contrast=("large", "small"), method="gradcam")
    logits = vlcam.explain(captioner, image, caption=text, measure="logit", method="gradcam")
    maps = mapped.signed["gradcam"]
    torch.testing.assert_close(maps[:5], own.maps[:5], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(maps[5:10], logits.maps[:5], rtol=1e-4, atol=1e-7)
    for place in (11, 16):
        torch.testing.assert_close(maps[place], own.maps[6], rtol=1e-4, atol=1e-7)
    assert [one.label for one in mapped.targets][4:6] == ["heart (4), log-probability", "a (0), logit"]


def test_scores_of_a_batch_are_those_of_single_runs(captioner: Captioning) -> None:
    task = WordTargets(captioner)
    request = Request(ids=CAPTION_VOCABULARY.encode("two red circles"))
    photos = [task.prepare(Image.fromarray(make(number, "test").image()), request) for number in range(3)]
    together = task.score_batch(replace(photos[0], inputs=torch.cat([one.inputs for one in photos])), request)
    for row, one in zip(together, photos, strict=True):
        torch.testing.assert_close(row, task.run(one, request).scores, rtol=1e-4, atol=1e-4)


def test_every_word_of_the_grammar_has_others() -> None:
    assert set(KIND_OF) == set(CAPTION_VOCABULARY.words)
    assert all(word not in find_others(word) and find_others(word) for word in KIND_OF)
    with pytest.raises(InputError, match="'dog' has no kind"):
        find_others("dog")
    task = WordTargets(bundled.captioner())
    prepared = task.prepare(Image.fromarray(make(0, "test").image()), Request())
    with pytest.raises(InputError, match="no token ids"):
        task.run(prepared, Request())


# --- removing objects ---


def test_removing_an_object_leaves_the_others_alone() -> None:
    scene = make(1, "test")
    less = remove_object(scene, 0)
    assert less.objects == scene.objects[1:] and less.background_seed == scene.background_seed
    found = draw_without_each(scene, 48)
    assert len(found) == len(scene.objects) + 1 and np.array_equal(found[1], less.image(48))
    far = ~_grown(scene.masks(48)[0], 12)
    assert np.array_equal(found[0][far], found[1][far])
    with pytest.raises(InputError, match="object 9"):
        remove_object(scene, 9)


def test_effects_are_the_falls_of_the_scores(captioner: Captioning) -> None:
    """The batched effects against one explanation for each picture."""
    scene, scores = make(0, "test"), GroundingScores()
    ground(scene, 0, captioner, captioner, ["gradcam"], np.random.default_rng(0), scores)
    spoken = judge_caption(scene, captioner)
    assert spoken is not None
    runs = [
        vlcam.explain(captioner, picture, caption=" ".join(spoken.words), method="gradcam")
        for picture in draw_without_each(scene, 96)
    ]
    heat = torch.stack([runs[0][place].heatmap() for place in range(len(spoken.words))])
    mass = measure_masses(heat, scene.masks())
    for place in range(len(spoken.words)):
        fell = torch.tensor([runs[0][place].target.score - run[place].target.score for run in runs[1:]])
        expected = measure_top_agreement(mass[place], fell) if has_order(fell) else math.nan
        got = scores.words[name_pair("gradcam", TARGETS[0])][0, place][TOP]
        assert got == pytest.approx(expected, nan_ok=True)


def test_agreement_matches_plain_loops() -> None:
    torch.manual_seed(3)
    heat, shown = torch.randn(2, 4, 5), np.random.default_rng(0).random((3, 4, 5)) < 0.4
    heat[0, 0, 0] = float("nan")
    found = measure_masses(heat, shown)
    for t in range(2):
        for k in range(3):
            cells_ = [float(heat[t, i, j]) for i in range(4) for j in range(5) if shown[k, i, j]]
            assert float(found[t, k]) == pytest.approx(sum(one for one in cells_ if one > 0))
    mass, effect = torch.tensor([0.2, 0.9, 0.4, 0.0]), torch.tensor([0.1, 3.0, -1.0, 0.0])
    order, other = [1, 3, 2, 0], [2, 3, 0, 1]
    assert measure_rank_agreement(mass, effect) == pytest.approx(
        1 - 6 * sum((a - b) ** 2 for a, b in zip(order, other, strict=True)) / (4 * 15)
    )
    assert (
        measure_top_agreement(mass, effect),
        measure_top_agreement(mass, -effect),
        measure_top_agreement(0 * mass, effect),
    ) == (1.0, 0.0, 0.0)
    assert math.isnan(measure_top_agreement(mass[:1], effect[:1])) and math.isnan(
        measure_rank_agreement(0 * mass, effect)
    )
    assert has_order(effect) and not has_order(effect / 100) and not has_order(effect[1:2])
    assert measure_effects(torch.tensor([[1.0], [3.0]])).tolist() == [[-2.0]]


# --- experiment 16 ---


def test_grounding_scores_the_captioners_own_words(captioner: Captioning) -> None:
    scores, seen = GroundingScores(), []
    for number in range(2):
        scene = make(number, "test")
        ground(scene, number, captioner, captioner, ["gradcam", "eigen-cam"], np.random.default_rng(0), scores)
        own = vlcam.explain(captioner, scene.image(), method="gradcam")
        spoken = own.text.split()
        for place, (true, objects) in enumerate(
            zip(check_words(scene, spoken), find_word_objects(scene, spoken), strict=True)
        ):
            kind = scores.kinds[number, place]
            if not true:
                assert kind in (WRONG, FUNCTION)
            elif objects and kind != FUNCTION:
                assert kind == KIND_OF[spoken[place]]
                mask = torch.from_numpy(scene.masks()[list(objects)].any(0))
                hit = float(pointing_hit(own[place].heatmap(), mask))
                seen.append(hit)
                got = scores.words["gradcam: log-probability"][number, place]
                assert got[POINTING] == hit
                assert scores.words["area"][number, place][MASS] == pytest.approx(float(mask.double().mean()), rel=1e-3)
    found = scores.get_values("gradcam: log-probability", POINTING, words.ABOUT)
    assert [one for one in found.values() if not math.isnan(one)] == seen and len(seen) > 8
    assert "eigen-cam: any" in scores.words and "eigen-cam: logit" not in scores.words
    ceiling = scores.get_values("ceiling: mask of the word's objects", MASS, words.ABOUT)
    assert min(ceiling.values()) > 0.4


def test_a_wrong_word_has_a_kind_of_its_own(captioner: Captioning) -> None:
    """Force a caption in which one colour is wrong: its objects are those of the rest of its phrase."""
    scene = make(0, "test")
    obj = scene.objects[0]
    wrong = next(one for one in find_others(obj.colour) if all(one != other.colour for other in scene.objects))
    text = f"a {obj.size} {wrong} {obj.shape}".replace("a orange", "an orange")
    ids = CAPTION_VOCABULARY.encode(text)
    forced = replace(captioner, generate=lambda _model, _encoded: ids)
    spoken = judge_caption(scene, forced)
    assert spoken is not None and spoken.kinds[2] == WRONG and WRONG not in (spoken.kinds[1], spoken.kinds[3])
    mask = spoken.masks[2]
    assert mask is not None and bool(mask[torch.from_numpy(scene.masks()[find_word_objects(scene, text)[3][0]])].all())
    assert judge_caption(scene, replace(captioner, generate=lambda _model, _encoded: ids[::-1])) is None


def _table(values: dict[str, Sequence[float]]) -> GroundingScores:
    """Scenes of one word each; every deciding measure has the same value."""
    scores = GroundingScores()
    for name, row in values.items():
        for scene, one in enumerate(row):
            scores.kinds[scene, 0], scores.objects[scene] = "colour words", 2
            scores.words.setdefault(name, {})[scene, 0] = {POINTING: one, MASS: one, TOP: one}
            scores.captions.setdefault(name, {})[scene] = {F1: one}
    return scores


def test_the_winner_is_measured_on_scenes_that_did_not_choose_it() -> None:
    lucky = [1.0, 0.4, 0.9, 0.5] * 10  # great on even scenes, on odd ones like the default
    scores = _table({"default": [0.5, 0.45] * 20, "lucky": lucky})
    verdict = choose(scores, ["lucky"], "default", ("colour words",))
    assert verdict is not None and verdict.name == "lucky" and not verdict.better
    assert verdict.overall.mean == pytest.approx(0.0, abs=1e-9) and verdict.overall.n == 20
    scores = _table({"default": [0.5, 0.45] * 20, "better": [0.6, 0.65] * 20, "worse": [0.1] * 40})
    verdict = choose(scores, ["worse", "better"], "default", ("colour words",))
    assert verdict is not None and verdict.name == "better" and verdict.better
    assert verdict.overall.mean == pytest.approx(0.2)
    assert compare(scores, "better", "default", ("colour words",)).overall.mean == pytest.approx(0.15)
    assert choose(scores, ["worse"], "default", ("colour words",)).name == "default"  # type: ignore[union-attr]
    few = _table({"default": [0.5] * 19, "better": [0.6] * 19})
    assert choose(few, ["better"], "default", ("colour words",)) is None


@pytest.mark.extended
def test_experiment_16_runs(captioner: Captioning, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(words, "SCENES", (2, 2))
    monkeypatch.setattr(word_choice, "ENOUGH", 1)
    monkeypatch.setattr(words, "COSTLY_SCENES", (1, 1))
    monkeypatch.setattr(words, "CHEAP", ("gradcam", "layercam"))
    monkeypatch.setattr(words, "COSTLY", ("occlusion",))
    calls: list[tuple[int, int]] = []
    setting = Setting(quick=True, out=tmp_path, progress=lambda done, all_: calls.append((done, all_)))
    result = words.run(setting)
    assert calls == [(1, 2), (2, 2)]
    assert from_json(to_json(result)) == result
    assert result.figures == ("16-words.png",)
    with Image.open(tmp_path / "16-words.png") as picture:
        assert picture.width > 400
    names = {one.name for one in result.rows}
    assert {name_pair(one, target) for one in ("gradcam", "layercam", "occlusion") for target in TARGETS} <= names
    assert {f"{kind} by {words.DEFAULT}" for kind in ("colour words", "shape words", "size words")} <= names
    assert value(result, "ceiling: mask of the word's objects", POINTING) == 1.0
    assert value(result, words.DEFAULT, POINTING) > 2 * value(result, "random", POINTING)
    assert any("best on the even scenes" in note for note in result.notes)
    assert any("occlusion were measured on the first scenes only" in note for note in result.notes)
    assert len(make_cells(result)[0]) == 2 + len(COLUMNS)
    with pytest.raises(InputError, match="leave the data out"):
        words.run(Setting(data=tmp_path, model="tiny"))


# --- experiment 12 ---


def test_visual_words_are_found_by_name_synonym_plural_and_kind() -> None:
    labels = ["person", "dog", "hot dog", "traffic light", "couch", "tv", "car"]
    found = find_visual_words(
        ["two", "women", "and", "a", "puppy", "on", "sofas", "near", "a", "traffic", "light", "with", "hot", "dogs"],
        labels,
    )
    assert found == {1: 0, 4: 1, 6: 4, 10: 3, 13: 2}
    assert find_visual_words(["A", "Television", ",", "cars"], labels) == {1: 5, 3: 6}


def test_masks_of_words_are_those_of_their_objects() -> None:
    sample = convert_scene(make(0, "test"))
    caption = sample.captions[0]
    assert caption.about is not None
    found = find_word_masks(sample, caption, caption.words, open_scenes().labels)
    for place, objects in enumerate(caption.about):
        if objects:
            expected = unite_masks([sample.objects[one].mask for one in objects])
            assert expected is not None and np.array_equal(found[place].numpy(), expected)
        else:
            assert place not in found
    assert find_word_masks(sample, caption, caption.words[:-1], open_scenes().labels) == {}
    by_name = find_word_masks(
        sample,
        PhotoCaption(f"a {sample.objects[0].label}"),
        f"a {sample.objects[0].label}".split(),
        open_scenes().labels,
    )
    assert list(by_name) == [2]
    regions = make_phrases(sample, open_scenes().labels)
    assert {text.split(maxsplit=1)[1] for text, _ in regions} == {obj.label for obj in sample.objects}
    assert all(text.split()[0] == ("an" if "orange" in text else "a") for text, _ in regions)


@pytest.fixture(scope="module")
def speaker() -> Captioning:
    """A captioner of photos that knows the words of the tiny COCO folder."""
    torch.manual_seed(0)
    known = ("a", "and", "cat", "dog", "sheep")
    model = nn.ModuleDict(
        {"cnn": nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), "speak": nn.Linear(8 * 16, len(known))}
    ).eval()

    class Tokens:
        def encode(self, text: str) -> list[int]:
            if not all(word in known for word in text.split()):
                raise InputError(f"unknown word in {text!r}")
            return [known.index(word) for word in text.split()]

        def decode(self, ids: Sequence[int]) -> str:
            return " ".join(known[one] for one in ids)

    def encode(net: Any, images: Any) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(net["cnn"](images), 4).flatten(1)

    def logits(net: Any, encoded: Tensor, ids: Sequence[int]) -> Tensor:
        turned = torch.stack([encoded.roll(place, 1) for place in range(len(ids))], 1)
        return net["speak"](turned)[0]  # type: ignore[no-any-return]

    return Captioning(
        model,
        tokens=Tokens(),
        preprocess=Preprocess(size=(32, 24), mode="resize"),
        encode=encode,
        generate=lambda _model, _encoded: [0, 3],
        logits=logits,
        layer="cnn",
        name="tiny",
    )


@pytest.mark.extended
def test_experiment_12_on_coco(speaker: Captioning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_layouts.coco(tmp_path)
    monkeypatch.setattr(captions, "METHODS", ("gradcam", "guided-backprop"))
    setting = Setting(data=tmp_path, model="tiny", opened={"captioning tiny": speaker})
    result = captions.run(setting)
    hits = []
    for sample in setting.open_world(("masks", "captions")).iterate_samples():
        text = sample.captions[0].text
        found = vlcam.explain(speaker, sample.image, caption=text, method="gradcam")
        for place, word in enumerate(text.split()):
            if word in ("cat", "dog", "sheep"):
                mask = sample.get_mask(setting.open_world().labels.index(word))
                hits.append(100.0 * pointing_hit(found[place].heatmap(), torch.from_numpy(mask)))
    assert value(result, "gradcam", "pointing") == pytest.approx(sum(hits) / len(hits))
    own = next(one for one in result.rows if (one.name, one.column) == ("gradcam", "pointing"))
    assert own.paper == 30.0 and own.n == 4 and "COCO" in result.world
    ratios = [one for one in result.controls if (one.name, one.column) == ("area", "inside/outside")]
    assert ratios[0].value == 1.0 and ratios[0].n == 3  # the sheep fills its photo: no outside


@pytest.mark.extended
def test_experiment_12_on_the_bundled_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "SAMPLES", (2, 2))
    monkeypatch.setattr(captions, "METHODS", ("gradcam",))
    result = captions.run(Setting(quick=True))
    assert value(result, "ceiling", "pointing") == 100.0
    assert value(result, "gradcam", "inside/outside") > 2 * value(result, "untrained gradcam", "inside/outside")
    assert any("DenseCap" in note for note in result.notes)


# --- experiment 13 ---


def test_human_attention_is_compared_by_the_protocol() -> None:
    """Twin: means of 2 x 2 pixels are the cells, and ranks are counted one by one."""
    rng = np.random.default_rng(0)
    heat, person = rng.random((28, 28)), rng.random((28, 28))

    def ranks(cells_: list[float]) -> list[float]:
        return [sum(other < one for other in cells_) + 0.5 * (cells_.count(one) - 1) for one in cells_]

    def pooled(values: np.ndarray) -> list[float]:
        return [float(values[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean()) for i in range(14) for j in range(14)]

    expected = np.corrcoef(ranks(pooled(heat)), ranks(pooled(person)))[0, 1]
    assert answers.correlate_with_people(torch.from_numpy(heat), [person]) == pytest.approx(expected)
    assert answers.correlate_with_people(torch.from_numpy(heat), [person, heat]) == pytest.approx((expected + 1) / 2)
    assert answers.correlate_among_people([heat, heat, heat]) == pytest.approx(1.0)
    assert math.isnan(answers.correlate_with_people(torch.zeros(28, 28), [person]))


@pytest.mark.extended
def test_experiment_13_on_the_bundled_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SAMPLES", (1, 1))
    monkeypatch.setattr(answers, "QUESTIONS", 3)
    monkeypatch.setattr(answers, "METHODS", ("gradcam",))
    result = answers.run(Setting(quick=True))
    task, found, hits = bundled.vqa(), [], []
    for sample in open_scenes().iterate_samples(1):
        for asked in sample.questions[: answers.QUESTIONS]:
            mapped = make_every_map(
                task, sample.image, Request(question=asked.question, top_k=1), ["gradcam", "occlusion"]
            )
            found.append(float(occlusion_correlation(mapped.get_maps("gradcam"), mapped.signed["occlusion"])))
            if mapped.text == asked.answer and asked.decides:
                mask = unite_masks([sample.objects[one].mask for one in asked.decides])
                assert mask is not None
                hits.append(float(pointing_hit(mapped.get_heat("gradcam")[0], torch.from_numpy(mask))))
    assert value(result, "gradcam", "occlusion") == pytest.approx(np.nanmean(found))
    assert value(result, "gradcam", "pointing") == pytest.approx(sum(hits) / len(hits))
    assert next(one.paper for one in result.rows if one.column == "occlusion") == 0.60
    assert any("no human attention" in note for note in result.notes)


def test_experiment_13_with_human_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_layouts.vqa(tmp_path, version="", hat=True)
    monkeypatch.setattr(answers, "METHODS", ("gradcam", "c-mwp"))
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)
    ).eval()
    task = VQA(
        net,
        answers=("cat", "dog", "yes"),
        preprocess=Preprocess(size=(32, 24), mode="resize"),
        read=lambda question: torch.tensor([[len(question)]]),
        logits=lambda model, images, _question: model(images),
        layer="1",
        name="tiny",
    )
    result = answers.run(Setting(data=tmp_path, model="tiny", opened={"vqa tiny": task}))
    assert "VQA-HAT" in result.world and result.columns == ("occlusion", "human attention")
    own = next(one for one in result.rows if (one.name, one.column) == ("gradcam", "human attention"))
    assert own.paper == 0.136 and own.n + own.undefined == 1
    assert value(result, "another person", "human attention") == pytest.approx(1.0)
    assert any(note.startswith("c-mwp is left out: ") for note in result.notes)  # SiLU has negative values


# --- experiment 11 ---


@pytest.mark.extended
def test_experiment_11_counts_as_the_benchmark_of_names_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(texts, "SCENES", (2, 2))
    for module, name in ((texts, "_QUESTIONS"), (naming_bench, "QUESTIONS")):
        monkeypatch.setattr(module, name, 1)
    for name in ("ablate_concepts", "_measure_erasure"):  # what isn't compared here
        monkeypatch.setattr(naming_bench, name, lambda *_: iter(()))
    result = texts.run(Setting(quick=True))
    measured = naming_bench.evaluate(n=2)["texts"]
    for measure in texts.MEASURES:
        for title, kind, ranking in (
            ("contribution", "all", "contribution"),
            ("alpha", "all", "alpha"),
            ("contribution, word", "word", "contribution"),
            ("prior names", "all", "prior names"),
        ):
            expected = measured[kind][ranking][measure]["value"]
            got = value(result, title, measure)
            assert math.isnan(got) if expected is None else got == pytest.approx(100 * expected)
    assert "The paper shows examples and gives no numbers." in result.notes
    with pytest.raises(InputError, match="leave both out"):
        texts.run(Setting(data=tmp_path, model="tiny"))


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """A mask and all within ``by`` rows and columns of it: an object's shadow."""
    out = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        out[max(0, row - by) : row + by + 1, max(0, column - by) : column + by + 1] = True
    return out
