"""Data, training, resuming, weights on disk, and the numbers that are measured on them."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import vlcam.scenes.models.plan as planning
import vlcam.scenes.models.train as training
from vlcam.contracts import InputError
from vlcam.metrics import oracle_map, peak, pointing_hit
from vlcam.scenes.captions import find_word_objects
from vlcam.scenes.models.data import CAPTION_VOCABULARY, QUESTION_VOCABULARY, Arrays, count_cores, draw
from vlcam.scenes.models.family import SceneModels
from vlcam.scenes.models.heads import load_state, save_state
from vlcam.scenes.models.nets import GRID, SceneCaptioner, SceneClassifier, SceneVQA
from vlcam.scenes.models.quality import evaluate_models, score_captions
from vlcam.scenes.models.train import TrainingPlan, train
from vlcam.scenes.models.vocabulary import Vocabulary
from vlcam.scenes.models.zoo import MODEL_NAMES, beam_search, create_model, greedy_search, load, to_input, write_weights
from vlcam.scenes.questions import ANSWERS, QUESTION_KINDS, answer
from vlcam.scenes.record import COLOURS, PAIRS, SHAPES
from vlcam.scenes.sample import make

SCENES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def arrays(folder: Path) -> Arrays:
    return draw(folder / "val", "val", SCENES, workers=1)


def test_arrays_hold_the_scenes(arrays: Arrays) -> None:
    for seed in range(SCENES):
        scene = make(seed, "val")
        assert np.array_equal(arrays.images[seed], scene.image())
        assert {pair for pair, there in zip(PAIRS, arrays.pairs[seed], strict=True) if there} == {
            t.pair for t in scene.objects
        }
        for row in arrays.captions[seed]:
            assert row[0] == Vocabulary.START
            assert all(scene.true_words(CAPTION_VOCABULARY.decode(row.tolist())))
        for row, said, kind in zip(arrays.questions[seed], arrays.answers[seed], arrays.kinds[seed], strict=True):
            if said >= 0:
                found = answer(scene, " ".join(QUESTION_VOCABULARY.decode(row.tolist())))
                assert (found.answer, found.kind) == (ANSWERS[said], QUESTION_KINDS[kind])


def test_cells_say_what_is_there(arrays: Arrays) -> None:
    side = 96 // GRID
    for seed in range(SCENES):
        scene = make(seed, "val")
        masks = scene.masks()
        shapes, colours = arrays.cells[seed][:2]
        for index, obj in enumerate(scene.objects):
            covered = masks[index].reshape(GRID, side, GRID, side).all(axis=(1, 3))
            assert (shapes[covered] == SHAPES.index(obj.shape)).all()
            assert (colours[covered] == COLOURS.index(obj.colour)).all()
        empty = ~masks.any(axis=0).reshape(GRID, side, GRID, side).any(axis=(1, 3))
        assert (shapes[empty] == len(SHAPES)).all()


def test_drawn_scenes_are_used_again(folder: Path, arrays: Arrays) -> None:
    before = (folder / "val" / "images.npy").stat().st_mtime_ns
    assert len(draw(folder / "val", "val", SCENES)) == SCENES
    assert (folder / "val" / "images.npy").stat().st_mtime_ns == before


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> TrainingPlan:
    monkeypatch.setattr(training, "VAL_SCENES", 8)
    monkeypatch.setattr(training, "AVERAGE_FROM", 0)  # so that the first steps show in the weights
    monkeypatch.setattr(planning, "OBJECTS_FROM", 1)  # so that the losses on objects count in a few steps
    monkeypatch.setattr(planning, "PHOTO_OBJECTS_FROM", 2)
    return TrainingPlan(scenes=16, steps=4, schedule=4, batch=4, head_steps=4, caption_steps=2, head_batch=8, seed=3)


def _steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "train.jsonl").read_text().splitlines()]


@pytest.mark.extended
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, small: TrainingPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "whole", small, device="cpu", check_every=2)
    real, done = training.make_batch, [0]

    def stops(*given: Any) -> Any:
        done[0] += 1
        if done[0] == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(training, "make_batch", stops)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", small, device="cpu", check_every=2)
    monkeypatch.setattr(training, "make_batch", real)
    written = write_weights

    def stops_at_the_end(*given: Any) -> None:
        if (tmp_path / "parts" / "heads.pt").exists() and len(_steps(tmp_path / "parts")) == 4:
            raise KeyboardInterrupt
        written(*given)

    monkeypatch.setattr(training, "write_weights", stops_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", small, device="cpu", check_every=2, resume=True)
    assert _steps(tmp_path / "parts") == [2, 4, 6, 8]
    monkeypatch.setattr(training, "write_weights", written)
    train(tmp_path / "parts", small, device="cpu", check_every=2, resume=True)
    for which in MODEL_NAMES:
        whole = load_file(tmp_path / "whole" / f"{which}.safetensors")
        parts = load_file(tmp_path / "parts" / f"{which}.safetensors")
        assert whole.keys() == parts.keys()
        for key in whole:
            torch.testing.assert_close(parts[key], whole[key], atol=0, rtol=0)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10]
    assert {"map", "words_true", "vqa"} <= lines[0].keys()
    assert sorted(line["seconds"] for line in lines) == [line["seconds"] for line in lines]

    with pytest.raises(InputError, match="--resume"):
        train(tmp_path / "whole", small, device="cpu")
    (tmp_path / "whole" / "state.pt").unlink()  # what is left is still that run's
    with pytest.raises(InputError, match="--resume"):
        train(tmp_path / "whole", replace(small, seed=4), device="cpu")
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        train(tmp_path / "whole", replace(small, seed=4), device="cpu", resume=True)


def test_a_checkpoint_with_the_former_names_of_layers_is_read(tmp_path: Path) -> None:
    family = SceneModels()
    former = {name.replace("objects.", "things."): value for name, value in family.state_dict(prefix="module.").items()}
    assert sum("things." in name for name in former) == 6
    save_state({"family": former, "step": 7}, tmp_path / "state.pt")
    state = load_state(tmp_path / "state.pt", torch.device("cpu"))
    assert state["step"] == 7
    assert state["family"].keys() == family.state_dict(prefix="module.").keys()


def test_scenes_are_drawn_on_the_cores_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(sys, "platform", "linux")
    assert count_cores() == 3
    monkeypatch.setattr(sys, "platform", "darwin")  # it keeps no such mask
    assert count_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cores() == 1


def test_the_plan_warms_up_and_cools_down() -> None:
    plan = TrainingPlan(schedule=1000, head_steps=1000, caption_steps=1000)
    assert plan.get_rate(0) < plan.get_rate(299) == plan.peak == plan.get_rate(500)
    assert plan.get_rate(999) == pytest.approx(plan.peak * 0.002)
    assert (
        plan.get_head_rate(0)
        < plan.get_head_rate(199)
        == plan.head_peak
        == plan.get_head_rate(400)
        > plan.get_head_rate(999)
        > 0
    )
    assert plan.get_caption_rate(0) < plan.get_caption_rate(99) == plan.caption_peak == plan.get_caption_rate(200)
    assert plan.caption_peak > plan.get_caption_rate(999) > 0
    assert (plan.get_cell_weight(0), plan.get_cell_weight(250), plan.get_cell_weight(500)) == (1.0, 0.5, 0.0)


@pytest.fixture(scope="module")
def untrained() -> tuple[SceneClassifier, SceneCaptioner, SceneVQA]:
    torch.manual_seed(0)
    one, two, three = (create_model(which) for which in MODEL_NAMES)
    assert isinstance(one, SceneClassifier) and isinstance(two, SceneCaptioner) and isinstance(three, SceneVQA)
    return one, two, three


def test_weights_go_to_disk_and_back(tmp_path: Path, untrained: tuple[Any, Any, Any]) -> None:
    write_weights(tmp_path, dict(zip(MODEL_NAMES, untrained, strict=True)))
    for which, model in zip(MODEL_NAMES, untrained, strict=True):
        again = load(which, tmp_path)
        assert not again.training
        for key, value in again.state_dict().items():
            torch.testing.assert_close(value, model.state_dict()[key], atol=1e-3, rtol=1e-3)


def test_other_weights_than_the_recorded_are_refused(tmp_path: Path, untrained: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InputError, match=r"expected vqa\.safetensors"):
        load("vqa", tmp_path)
    write_weights(tmp_path, {"vqa": untrained[2]})
    data = bytearray((tmp_path / "vqa.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "vqa.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="sha256 differs"):
        load("vqa", tmp_path)


def test_greedy_takes_the_most_probable_word_and_beams_do_no_worse() -> None:
    captioner = load("captioner")
    assert isinstance(captioner, SceneCaptioner)

    def logs(photo: Any, ids: tuple[int, ...]) -> Any:
        return captioner.decode(photo, torch.tensor([[Vocabulary.START, *ids[:-1]]]))[0].log_softmax(-1).detach()

    def score(photo: Any, words: tuple[str, ...]) -> float:
        ids = (*CAPTION_VOCABULARY.encode(words), Vocabulary.END)
        return float(logs(photo, ids)[range(len(ids)), ids].mean())

    gained = []
    for seed in range(8):
        photo = captioner.encode(to_input(torch.from_numpy(make(seed).image())[None].clone())).detach()
        words = greedy_search(captioner, photo)[0]
        ids = (*CAPTION_VOCABULARY.encode(words), Vocabulary.END)
        assert tuple(logs(photo, ids).argmax(-1).tolist()) == ids
        assert beam_search(captioner, photo, 1) == words
        gained.append(score(photo, beam_search(captioner, photo, 4)) - score(photo, words))
    assert np.mean(gained) >= 0
    assert max(gained) > 0, "four beams never found a better caption than one"


def test_unknown_words_name_their_neighbours() -> None:
    with pytest.raises(InputError, match="'rad'; nearest words it knows: red"):
        CAPTION_VOCABULARY.encode("a rad star")


def test_captions_are_checked_against_the_scene() -> None:
    true = [make(seed).captions(1)[0].words for seed in range(10)]
    assert score_captions(true, "test")["words_true"] == 1.0
    assert score_captions(true, "test")["captions_true"] == 1.0
    assert score_captions(true, "test")["bleu4"] > 0.3
    wrong = [("striped", "a", "star")] * 10
    assert score_captions(wrong, "test")["words_true"] == 0.0
    assert score_captions(wrong, "test")["captions_true"] == 0.0


def test_quality_of_untrained_models_is_poor(arrays: Arrays, untrained: tuple[Any, Any, Any]) -> None:
    numbers = evaluate_models(*untrained, arrays, "val")
    assert numbers["map"] < 0.5
    assert numbers["vqa"] < 0.4
    assert numbers["captions_true"] < 0.2
    assert set(numbers) == {
        "map",
        "words_true",
        "captions_true",
        "bleu4",
        "vqa",
        *(f"vqa_{kind}" for kind in QUESTION_KINDS),
    }


def test_pointing() -> None:
    heat = torch.zeros(8, 8)
    heat[2, 5] = 1
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2, 5] = True
    assert pointing_hit(heat, mask)
    assert not pointing_hit(heat, ~mask)
    for nothing in (torch.zeros(8, 8), -heat, torch.full((8, 8), torch.nan), heat * torch.inf):
        assert peak(nothing) is None
        assert not pointing_hit(nothing, torch.ones(8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask is empty"):
        pointing_hit(heat, torch.zeros(8, 8, dtype=torch.bool))
    unseen = heat.clone()
    unseen[0] = torch.nan
    assert peak(unseen) == (2, 5)


def test_the_oracle_map_is_the_covered_share() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:4, :2] = True
    assert oracle_map(mask, (2, 2)).tolist() == [[0.5, 0.0], [0.0, 0.0]]


def test_words_are_scored_on_what_they_are_about() -> None:
    scene = make(3)
    caption = scene.captions(1)[0]
    assert find_word_objects(scene, caption.words) == caption.about
