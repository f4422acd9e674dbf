"""Picking targets out of an explanation, and files that come back bit for bit or not at all."""

import json
import math
import os
import struct
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.support.examples_of_explanations import (
    PAYLOADS,
    blob,
    captioning,
    certain,
    classification,
    explanation,
    hostile,
    vqa,
    weighed,
)
from vlcam.contracts import Geometry, InputError, Target, TargetError
from vlcam.explanation import storage
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import Evidence, NeuronText, SignificanceTest, flag_map
from vlcam.explanation.storage import save
from vlcam.files import MAX_SAVED_BYTES
from vlcam.image.photo import Photo
from vlcam.image.preprocess import PreprocessSettings


def same(one: Any, other: Any) -> bool:
    """Equal bit for bit: types, dtypes, signs of zero, and NaN where there was NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return bool(alike and torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8)))
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    return bool(one == other)


def small() -> Explanation:
    """A tiny explanation with everything that is hard to keep: NaN, infinities, minus zero, None, no ASCII."""
    maps = torch.tensor([[[1.0, -2.0, 0.0]], [[math.nan, math.inf, -math.inf]], [[-0.0, 1e-45, 3.4e38]]])
    unnamed = Evidence(4, None, math.nan, -0.0, math.inf, False, None)
    text = NeuronText(
        "“ä” rests on 光 \ud800", (Evidence(0, "light", 0.1, 0.2, 1.0, True, 0.25), unnamed), (unnamed,), 0.5, "paper"
    )
    return Explanation(
        task="captioning",
        model="my/model",
        layer="features.28",
        method="gradcam",
        relu=True,
        text="ä dog, a dog",
        question=None,
        photo=Photo("größe\n.jpg", 9, 6, "ab" * 32, np.arange(18 * 3, dtype=np.uint8).reshape(3, 6, 3)),
        geometry=Geometry((9, 6), (30, 30), (10 / 3, 0.1 + 0.2), (-0.0, 5.0)),
        targets=(
            Target("dog", "word", math.nan, None, (1, 2), (2, 5)),
            Target("dog", "word", -math.inf, 0.1 + 0.2, (), (9, 12)),
            Target("dog rather than cat", "contrast"),
        ),
        maps=maps,
        alpha=torch.arange(12.0).reshape(3, 4).T.contiguous().T.reshape(3, 4) / 7,
        contributions=torch.full((3, 4), math.nan),
        activity=torch.tensor([0.0, 1.0, -1.0, 5.0]),
        neurons=(text,) * 3,
    )


# Picking targets


def test_a_target_by_position_and_by_label() -> None:
    explanation = captioning()
    assert len(explanation) == len(list(explanation)) == 13
    assert explanation["kite"].index == 2 and explanation["kite"].target is explanation.targets[2]
    assert explanation[2] == explanation["kite"]
    assert explanation[-1].index == 12 and explanation[-13].index == 0
    assert torch.equal(explanation["barn"].signed_map, explanation.maps[6])
    assert [view.label for view in explanation][:3] == ["A", "red", "kite"]


def test_a_repeated_word_is_never_taken_for_the_other() -> None:
    explanation = captioning()
    with pytest.raises(
        TargetError, match=r"'red' occurs 2 times; ask for \('red', 0\) to \('red', 1\), or by position"
    ):
        explanation["red"]
    assert explanation["red", 0].index == 1 and explanation["red", 1].index == 5
    assert explanation["kite", 0].index == 2
    for label, occurrence in (("red", 2), ("red", -1), ("kite", 1)):
        with pytest.raises(TargetError, match="count from 0"):
            explanation[label, occurrence]


def test_a_target_that_is_not_there() -> None:
    explanation = vqa()
    for key in (4, -5):
        with pytest.raises(TargetError, match=f"target {key} was asked for; there are 4: red, brown, no"):
            explanation[key]
    with pytest.raises(TargetError, match="no target 'blue' in this explanation; it has: red, brown"):
        explanation["blue"]


def test_the_rows_of_a_view_are_those_of_its_target() -> None:
    explanation = small()
    for index, view in enumerate(explanation):
        assert torch.equal(view.alpha, explanation.alpha[index])
        assert same(view.contributions, explanation.contributions[index])
        assert view.neurons is not None and view.neurons.ranking == "paper"
    assert replace(explanation, neurons=None)[0].neurons is None


def test_records_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        small().text = "other"  # type: ignore[misc]


def test_flags() -> None:
    zero, against = torch.zeros(3, 3), -blob(0.5, 0.5, grid=3)
    assert flag_map(zero, relu=True) == flag_map(-zero, relu=True) == flag_map(zero, relu=False) == "zero"
    assert flag_map(against, relu=True) == "negative"
    assert flag_map(against, relu=False) == "ok"
    assert flag_map(-against, relu=True) == "ok"
    for value in (math.nan, math.inf, -math.inf):
        broken = blob(0.5, 0.5, grid=3)
        broken[0, 0] = value
        assert flag_map(broken, relu=True) == flag_map(broken, relu=False) == "nonfinite"
    explanation = captioning()
    assert (
        explanation["the"].flag == "zero" and explanation["a"].flag == "negative" and explanation["kite"].flag == "ok"
    )
    assert explanation["barn rather than house"].flag == "nonfinite"


def test_what_is_nearly_certain() -> None:
    """From 1 - p of 0.01 down; only log-probabilities of something said, not their differences, and not logits."""
    targets = [
        Target("sure", "word", math.log(0.995), measure="log-probability"),
        Target("just", "word", math.log(0.9901), measure="log-probability"),
        Target("not", "word", math.log(0.989), measure="log-probability"),
        Target("sure", "answer", -1e-9, measure="log-probability"),
        Target("whole", "caption", 0.0, measure="log-probability"),
        Target("sure", "word", -1e-9, 1.0, measure="logit"),
        Target("this rather than that", "contrast", -1e-9, measure="log-probability"),
        Target("sure", "class", -1e-9, 1.0),
        Target("none", "word", math.nan, measure="log-probability"),
    ]
    found = explanation("captioning", targets, [blob(0.5, 0.5)] * len(targets), text="")
    assert [view.nearly_certain for view in found] == [True, True, False, True, True, False, False, False, False]


def test_the_gradient_of_a_log_probability_is_that_of_the_log_odds_times_one_less_p() -> None:
    """What the threshold of near certainty rests on."""
    logits = torch.tensor([6.0, 0.5, -1.0, 0.2], dtype=torch.float64, requires_grad=True)
    logs = logits.log_softmax(0)
    (slope,) = torch.autograd.grad(logs[0], logits, retain_graph=True)
    odds = logits[0] - logits[1:].logsumexp(0)
    (other,) = torch.autograd.grad(odds, logits)
    torch.testing.assert_close(slope, (1 - logs[0].exp()) * other)


def test_the_words_of_the_question() -> None:
    found = replace(vqa(), question_words=((0, 4), (19, 23)))
    weighed = replace(found.targets[0], reading=(-0.5, 2.0))
    found = replace(found, targets=(weighed, *found.targets[1:]))
    assert found[0].reading == (("What", -0.5), ("barn", 2.0))
    assert found[1].reading == ()


def test_maps_are_raw() -> None:
    """No view is normalised: twice the map is twice everything, and a map does not depend on its neighbours."""
    explanation = classification()
    twice = replace(explanation, maps=2 * explanation.maps)
    for one, other in zip(explanation, twice, strict=True):
        assert torch.equal(2 * one.map, other.map) and torch.equal(2 * one.signed_map, other.signed_map)
        torch.testing.assert_close(2 * one.heatmap(), other.heatmap(), equal_nan=True)
    assert torch.equal(explanation[0].map, explanation.maps[0].clamp_min(0))
    assert float(explanation[0].signed_map.min()) < 0 <= float(explanation[0].map.min())
    signed = replace(explanation, relu=False)
    assert torch.equal(signed[0].map, explanation.maps[0])


def test_the_heatmap_lies_on_the_photo() -> None:
    view = classification()["kite, flying"]  # a crop: the model did not see the sides
    drawn = view.heatmap()
    assert drawn.shape == (448, 640)
    assert bool(drawn[:, :96].isnan().all()) and bool(drawn[:, 544:].isnan().all())
    assert not bool(drawn[:, 96:544].isnan().any())
    row, column = divmod(int(drawn.nan_to_num(-1).argmax()), 640)
    assert (column + 0.5 - 96) / 448 == pytest.approx(0.85, abs=0.04) and (row + 0.5) / 448 == pytest.approx(
        0.2, abs=0.04
    )


# Saving and loading


def as_dtype(explanation: Explanation, dtype: torch.dtype) -> Explanation:
    named = {name: getattr(explanation, name).to(dtype) for name in ("maps", "alpha", "contributions", "activity")}
    return replace(explanation, **named)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_saved_comes_back_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    explanation = as_dtype(small(), dtype)
    path = explanation.save(tmp_path / "result.safetensors")
    assert path == tmp_path / "result.safetensors"
    back = Explanation.load(str(path))
    assert same(back, explanation)
    assert not same(replace(back, text=back.text + " "), explanation)
    assert not same(replace(back, maps=back.maps.abs()), explanation)  # the helper can tell
    assert sorted(one.name for one in tmp_path.iterdir()) == ["result.safetensors"]


@pytest.mark.parametrize("make", [captioning, certain, classification, vqa, weighed])
def test_every_kind_of_explanation_comes_back(make: Callable[[], Explanation], tmp_path: Path) -> None:
    explanation = make()
    assert same(Explanation.load(save(explanation, tmp_path / "one")), explanation)
    plain = replace(explanation, neurons=None)
    assert same(Explanation.load(save(plain, tmp_path / "one")), plain)


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_hostile_texts_come_back_as_they_were(payload: str, tmp_path: Path) -> None:
    explanation = hostile(payload)
    assert same(Explanation.load(save(explanation, tmp_path / "one")), explanation)


def test_tensors_of_a_graph_and_shared_tensors_are_saved(tmp_path: Path) -> None:
    explanation = small()
    wide = torch.randn(4, 3, requires_grad=True).T
    shared = replace(explanation, alpha=wide, contributions=wide)
    back = Explanation.load(save(shared, tmp_path / "one"))
    assert torch.equal(back.alpha, wide) and torch.equal(back.contributions, wide) and not back.alpha.requires_grad


def test_files_of_earlier_schemas_are_read(tmp_path: Path) -> None:
    known = PreprocessSettings((225, 225), "crop", 256, (0.5,) * 3, (0.5,) * 3, "bilinear")
    explanation = replace(small(), preprocessing=known)
    path = save(explanation, tmp_path / "one")
    assert Explanation.load(path).preprocessing == known

    def age(meta: dict[str, Any], _: Any) -> None:
        meta["schema"] = 5
        del meta["preprocessing"]

    tampered(path, age)
    assert Explanation.load(path).preprocessing is None


@pytest.mark.parametrize(("schema", "field"), [(4, "proofs"), (5, "significance"), (6, "significance")])
def test_significance_tests_of_earlier_schemas_are_read(schema: int, field: str, tmp_path: Path) -> None:
    explanation = small()
    path = save(explanation, tmp_path / "one")
    test = {
        "area": 0.1, "regions": 200, "removed": 8.7, "removed_as_much": 0, "kept": 1.5, "kept_as_much": 3, "p": 0.18,
        "occlusion": 0.4, "untrained": None, "verdict": "Removing this region lowers it.",
    }  # fmt: skip

    def age(meta: dict[str, Any], _: Any) -> None:
        meta["schema"] = schema
        del meta["significance"]
        meta[field] = [test] * len(explanation)
        if schema < 6:
            del meta["preprocessing"]

    tampered(path, age)
    found = Explanation.load(path)[0].significance
    assert found == SignificanceTest(
        0.1, 200, 8.7, 0, 0, 0, (), 0.18, None, 0.4, None, "Removing this region lowers it."
    )
    again = Explanation.load(save(Explanation.load(path), tmp_path / "again"))
    assert again[0].significance == found


def test_a_significance_test_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "one")

    def age(meta: dict[str, Any], _: Any) -> None:
        meta |= {"schema": 6, "significance": [{"area": 0.1, "kept": 1.0, "kept_as_much": 1}] * len(meta["targets"])}

    tampered(path, age)
    with pytest.raises(InputError, match="lacks occlusion, p, regions"):
        Explanation.load(path)


def test_texts_of_schema_6_are_read_without_what_they_lack(tmp_path: Path) -> None:
    explanation = small()
    assert explanation.neurons is not None
    path = save(explanation, tmp_path / "one")

    def age(meta: dict[str, Any], _: Any) -> None:
        meta["schema"] = 6
        for text in meta["neurons"]:
            for name in ("short", "paper", "accounted"):
                del text[name]
            for one in (*text["top"], *text["bottom"]):
                del one["standing"], one["says"]

    tampered(path, age)
    back = Explanation.load(path).neurons
    assert back is not None
    for old, text in zip(back, explanation.neurons, strict=True):
        assert old.sentence == text.sentence and (old.short, old.paper, old.accounted) == ("", "", None)
        assert old.get_text("short") == old.get_text("paper") == text.sentence
        assert [(one.unit, one.share) for one in old.top] == [(one.unit, one.share) for one in text.top]
        assert all(one.standing is None and one.says == () for one in (*old.top, *old.bottom))


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "one")
    with safetensors.safe_open(path, "pt") as file:
        assert set(file.keys()) == {"maps", "alpha", "contributions", "activity", "pixels"}
        meta = json.loads(file.metadata()["vlcam"], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert meta["schema"] == 7 and meta["targets"][0]["score"] == "nan" and meta["targets"][1]["score"] == "-inf"


def test_saving_where_it_can_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = small()
    with pytest.raises(InputError, match="is a folder; give a file in it, such as"):
        save(explanation, tmp_path)
    with pytest.raises(
        InputError, match=r"the folder .*missing' doesn't exist, so 'one' can't be saved in it; create it first"
    ):
        save(explanation, tmp_path / "missing" / "one")
    for name in ("nul\x00", "x" * 400):
        with pytest.raises(InputError, match="can't be written"):
            save(explanation, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = save(small(), tmp_path / "one")
    before = path.read_bytes()
    monkeypatch.setattr({"fsync": os, "replace": Path}[step], step, full)
    with pytest.raises(InputError, match="No space left on device"):
        save(vqa(), path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["one"]


def test_saving_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    explanation = small()
    cases = [
        (replace(explanation, targets=explanation.targets[:2]), "it has 2 targets, 3 maps"),
        (replace(explanation, text="short"), r"the span \(9, 12\) of target 'dog' is outside the text of 5"),
        (replace(explanation, neurons=()), "3 targets and 0 neuron texts"),
        (
            replace(explanation, photo=replace(explanation.photo, width=10)),
            "the photo is 10 x 6 and the geometry is of one of",
        ),
        (replace(explanation, geometry=replace(explanation.geometry, scale=(0.0, 1.0))), "has scale"),
        (replace(explanation, geometry=replace(explanation.geometry, offset=(math.nan, 1.0))), "has scale"),
    ]
    for broken, text in cases:
        with pytest.raises(InputError, match=f"this explanation can't be saved: .*{text}"):
            save(broken, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def refused(path: Path, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        Explanation.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_loading_what_is_not_there_or_something_else(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "there is no file")
    refused(tmp_path, "is a folder; expected a file that vlcam saved")
    for data in (b"", b"short", b"A letter, long enough to have a header length in its first bytes.", b"\xff" * 64):
        (tmp_path / "one").write_bytes(data)
        refused(tmp_path / "one", "not a safetensors file, or it is cut off")
    (tmp_path / "one").write_bytes(safetensors.torch.save({"weight": torch.zeros(3)}))
    refused(tmp_path / "one", "not one that vlcam's save wrote")
    with (tmp_path / "one").open("wb") as file:
        file.truncate(MAX_SAVED_BYTES + 1)  # sparse: takes no disk
    refused(tmp_path / "one", "has 536,870,913 bytes; expected at most 536,870,912")
    with pytest.raises(InputError, match="can't be read"):
        Explanation.load(tmp_path / "nul\x00")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "one")
    data = path.read_bytes()
    for length in {*range(0, len(data), 23), len(data) - 1, len(data) - 8}:
        path.write_bytes(data[:length])
        refused(path, "not a whole explanation")
    path.write_bytes(data + b"\0")
    refused(path, "not a whole explanation")


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    """Any flipped byte gives an InputError, or, where it means nothing (padding), the same explanation."""
    explanation = small()
    path = save(explanation, tmp_path / "one")
    data = path.read_bytes()
    random = np.random.default_rng(0)
    harmless = 0
    for place in {*range(16), *random.integers(0, len(data), 300).tolist()}:
        broken = bytearray(data)
        broken[place] ^= int(random.integers(1, 256))
        path.write_bytes(broken)
        try:
            back = Explanation.load(path)
        except InputError:
            continue
        harmless += 1
        assert same(back, explanation), place
    assert harmless < 10


Change = Callable[[dict[str, Any], dict[str, Tensor]], object]


def tampered(path: Path, change: Change) -> None:
    """Change a saved file's records or tensors, and make the checksum fit again, as a forger would."""
    text, _, tensors = storage._unpack(path.read_bytes())
    meta = json.loads(text)
    change(meta, tensors)
    text = json.dumps(meta)
    path.write_bytes(safetensors.torch.save(tensors, {"vlcam": text, "sha256": storage._compute_digest(text, tensors)}))


FORGERIES: dict[str, tuple[Change, str]] = {
    "schema 8": (
        lambda meta, _: meta.update(schema=8),
        "schema version 8, and this vlcam .* reads versions 4, 5, 6 and 7",
    ),
    "preprocessing": (
        lambda meta, _: meta.update(preprocessing={"size": [3]}),
        "preprocessing lacks interpolation, mean",
    ),
    "schema true": (lambda meta, _: meta.update(schema=True), "schema version True"),
    "no schema": (lambda meta, _: meta.pop("schema"), "schema version None"),
    "no version": (lambda meta, _: meta.pop("vlcam"), "which vlcam wrote it"),
    "no layer": (lambda meta, _: meta.pop("layer"), "explanation lacks layer"),
    "extra": (lambda meta, _: meta.update(pickle="x"), "unknown 'pickle'"),
    "text a number": (lambda meta, _: meta.update(text=3), "text is 3; expected a text"),
    "relu a number": (lambda meta, _: meta.update(relu=1), "relu is 1; expected true or false"),
    "photo a list": (lambda meta, _: meta.update(photo=[]), "photo is .*expected an object"),
    "photo width": (lambda meta, _: meta["photo"].update(width=9.0), "photo.width is 9.0; expected a whole number"),
    "photo lacks": (lambda meta, _: meta["photo"].pop("sha256"), "photo lacks sha256"),
    "photo smaller than pixels": (lambda meta, _: meta["photo"].update(width=2), "yet 6 x 3 pixels"),
    "geometry triple": (lambda meta, _: meta["geometry"].update(scale=[1, 2, 3]), "geometry.scale is"),
    "geometry huge": (lambda meta, _: meta["geometry"].update(scale=[10**400, 1]), "geometry.scale.0. is"),
    "geometry input": (lambda meta, _: meta["geometry"].update(input_size=[0, 4]), "model's input"),
    "targets a text": (lambda meta, _: meta.update(targets="dog"), "targets is 'dog'"),
    "kind": (lambda meta, _: meta["targets"][0].update(kind="smell"), "targets.0..kind is 'smell'"),
    "score": (lambda meta, _: meta["targets"][0].update(score="high"), "score is 'high'; expected a number"),
    "token": (lambda meta, _: meta["targets"][0].update(token_ids=[True]), "token_ids.0. is True"),
    "span beyond": (lambda meta, _: meta["targets"][0].update(span=[0, 99]), "outside the text"),
    "span backwards": (lambda meta, _: meta["targets"][0].update(span=[4, 2]), "outside the text"),
    "span negative": (lambda meta, _: meta["targets"][0].update(span=[-1, 2]), "outside the text"),
    "target missing": (lambda meta, _: meta["targets"].pop(), "it has 2 targets, 3 maps"),
    "neurons missing": (lambda meta, _: meta["neurons"].pop(), "3 targets and 2 neuron texts"),
    "ranking": (lambda meta, _: meta["neurons"][0].update(ranking="size"), "ranking is 'size'"),
    "unit": (lambda meta, _: meta["neurons"][0]["top"][0].update(unit=-1), "negative number"),
    "match a list": (lambda meta, _: meta["neurons"][0]["top"][0].update(match=[]), "match is .*expected a number"),
    "tensor missing": (lambda _, tensors: tensors.pop("alpha"), "holds the tensors"),
    "tensor extra": (lambda _, tensors: tensors.update(more=torch.zeros(1)), "holds the tensors"),
    "maps flat": (lambda _, tensors: tensors.update(maps=torch.zeros(3, 3)), "maps is .*expected floats with 3 axes"),
    "maps whole numbers": (
        lambda _, tensors: tensors.update(maps=torch.zeros(3, 1, 3, dtype=torch.int64)),
        "maps is torch.int64",
    ),
    "maps empty": (lambda _, tensors: tensors.update(maps=torch.zeros(3, 0, 3)), "0 x 3 cells"),
    "maps of 2": (lambda _, tensors: tensors.update(maps=torch.zeros(2, 1, 3)), "3 targets, 2 maps"),
    "channels": (lambda _, tensors: tensors.update(activity=torch.zeros(5)), "are of 4, 4, 5 channels"),
    "pixels float": (lambda _, tensors: tensors.update(pixels=torch.zeros(3, 6, 3)), "pixels is torch.float32"),
    "pixels grey": (lambda _, tensors: tensors.update(pixels=torch.zeros(3, 6, 1, dtype=torch.uint8)), "pixels is"),
}


@pytest.mark.parametrize(("change", "text"), FORGERIES.values(), ids=FORGERIES)
def test_forged_files_are_refused(change: Change, text: str, tmp_path: Path) -> None:
    path = save(small(), tmp_path / "one")
    tampered(path, lambda *_: None)
    assert same(Explanation.load(path), small())
    tampered(path, change)
    refused(path, text)


def test_metadata_that_is_no_json_object(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "one")
    _, _, tensors = storage._unpack(path.read_bytes())
    for text in ("", "{", "[]", "[" * 100_000, "3"):
        path.write_bytes(
            safetensors.torch.save(tensors, {"vlcam": text, "sha256": storage._compute_digest(text, tensors)})
        )
        refused(path, "its metadata is not ")


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = save(small(), tmp_path / "one")
    text, digest, tensors = storage._unpack(path.read_bytes())
    tensors["maps"][0, 0, 0] += 1
    path.write_bytes(safetensors.torch.save(tensors, {"vlcam": text, "sha256": digest}))
    refused(path, "checksum doesn't match")
