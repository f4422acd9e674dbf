"""One parser of targets: the same list means the same for one photo, several photos and a batch; what is no target is refused."""

from inspect import unwrap
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

import vlcam
from vlcam.contracts import InputError, TargetError
from vlcam.engine.modules import find_module
from vlcam.explanation.batches import explain_batches
from vlcam.explanation.options import check_options
from vlcam.explanation.record import _find_position
from vlcam.explanation.targets import read_contrasts, read_labels, read_labels_of_each
from vlcam.tasks import Classification

LABELS = ("cat", "dog", "cow", "pig")


def make_task() -> Classification:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)).eval()
    return Classification(net, LABELS, vlcam.Preprocess(16))


def make_photos(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, 20, 20, 3), np.uint8))


ONE_OR_SEVERAL: dict[str, tuple[Any, tuple[str | int, ...]]] = {
    "none": (None, ()),
    "label": ("dog", ("dog",)),
    "number": (2, (2,)),
    "numpy number": (np.int64(2), (2,)),
    "numpy text": (np.str_("dog"), ("dog",)),
    "torch number": (torch.tensor(2), (2,)),
    "list": (["dog", 0], ("dog", 0)),
    "tuple": (("dog", np.int32(0)), ("dog", 0)),
    "numpy row": (np.array([3, 1]), (3, 1)),
    "numpy labels": (np.array(["dog", "cat"]), ("dog", "cat")),
    "objects": (np.array(["dog", 1], dtype=object), ("dog", 1)),
    "torch row": (torch.tensor([3, 1]), (3, 1)),
    "torch numbers": ([torch.tensor(3), torch.tensor(1)], (3, 1)),
    "range": (range(2), (0, 1)),
    "generator": ((one for one in ("dog", 1)), ("dog", 1)),
}


@pytest.mark.parametrize("name", ONE_OR_SEVERAL)
def test_targets_of_one_photo(name: str) -> None:
    given, expected = ONE_OR_SEVERAL[name]
    assert read_labels(given) == expected


REFUSED: dict[str, tuple[Any, str]] = {
    "truth": (True, "True was given"),
    "mask": (np.array([False, True]), "a mask of truth values.*numpy.flatnonzero"),
    "mask as a list": ([False, True, True], "False was given"),
    "torch mask": (torch.tensor([False, True]), "a mask of truth values"),
    "numpy truth": (np.bool_(True), "a mask of truth values"),
    "one-hot": (np.array([0.0, 1.0]), r"float64 \(2,\) were given"),
    "fraction": (1.5, "1.5 was given"),
    "dictionary": ({"cat": 1}, "a dictionary"),
    "set": ({"cat"}, "no order"),
    "bytes": (b"\x01", "bytes"),
    "within a list": ([["cat"]], "for several photos"),
    "nothing inside": ([None], "None was given"),
    "three axes": (np.zeros((1, 1, 1), int), r"int64 \(1, 1, 1\)"),
    "function": (len, "expected class indices"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_target_is_refused(name: str) -> None:
    given, message = REFUSED[name]
    with pytest.raises(TargetError, match=message):
        vlcam.explain(make_task(), make_photos(1)[0], targets=given)
    if name not in ("within a list", "function"):  # which mean something there
        with pytest.raises(TargetError, match=message):
            vlcam.attribute(make_task().model, torch.rand(1, 3, 16, 16), targets=given)


@pytest.mark.parametrize(
    "given",
    [[3, 1], np.array([3, 1]), torch.tensor([3, 1]), [np.int64(3), torch.tensor(1)], [[3], [1]], np.array([[3], [1]])],
)
def test_a_list_for_several_photos_has_one_entry_for_each(given: Any) -> None:
    task, photos = make_task(), make_photos(2)
    batch = torch.cat([task.preprocess(Image.fromarray(one))[0] for one in photos])
    tensor = vlcam.attribute(task.model, batch, targets=given)
    listed = vlcam.explain(task, photos, targets=given)
    outcomes = list(explain_batches(task, photos, targets=given))
    assert [list(row) for row in tensor.targets] == [[3], [1]]
    assert [[one.label for one in found] for found in listed] == [["pig"], ["dog"]]
    for found, outcome, maps in zip(listed, outcomes, tensor.maps, strict=True):
        assert outcome.explanation is not None
        assert torch.equal(found.maps, outcome.explanation.maps)
        assert torch.allclose(found.maps.relu(), maps, atol=1e-6)


@pytest.mark.parametrize("given", ["dog", 1, np.int64(1), ("dog", 3)])
def test_a_single_target_or_a_tuple_is_meant_for_every_photo(given: Any) -> None:
    expected = ["dog", "pig"] if isinstance(given, tuple) else ["dog"]
    for found in vlcam.explain(make_task(), make_photos(3), targets=given):
        assert [one.label for one in found] == expected


def test_several_targets_for_each_photo_may_differ_in_number() -> None:
    found = vlcam.explain(make_task(), make_photos(2), targets=[["cat", "dog"], ["cow"]])
    assert [[one.label for one in views] for views in found] == [["cat", "dog"], ["cow"]]


def test_a_list_of_the_wrong_length_is_refused_by_all_three() -> None:
    task = make_task()
    with pytest.raises(TargetError, match=r"2 targets were given for 3 photos; .* tuple of targets for all of them"):
        vlcam.explain(task, make_photos(3), targets=["cat", "dog"])
    with pytest.raises(TargetError, match="2 targets were given for 3 photos"):
        explain_batches(task, make_photos(3), targets=["cat", "dog"])
    with pytest.raises(TargetError, match="2 targets were given for a batch of 3"):
        vlcam.attribute(task.model, torch.rand(3, 3, 16, 16), targets=[0, 1])


def test_images_beyond_the_targets_of_a_stream_end_in_an_error() -> None:
    outcomes = list(explain_batches(make_task(), (one for one in make_photos(3)), targets=["cat", "dog"]))
    assert [one.error is None for one in outcomes] == [True, True, False]
    assert isinstance(outcomes[2].error, TargetError)


def test_targets_of_each_photo() -> None:
    assert read_labels_of_each(("cat", "dog"), 2) is None
    assert read_labels_of_each([], 2) is None
    assert read_labels_of_each(["cat", ["dog", 1]], None) == (("cat",), ("dog", 1))


CONTRASTS: dict[str, tuple[Any, tuple[tuple[str | int, str | int], ...]]] = {
    "none": (None, ()),
    "a pair": (("cat", "dog"), (("cat", "dog"),)),
    "a pair of numbers": ((0, np.int64(1)), ((0, 1),)),
    "pairs": ([("cat", "dog"), ["cow", 3]], (("cat", "dog"), ("cow", 3))),
    "an array": (np.array([[0, 1], [2, 3]]), ((0, 1), (2, 3))),
}


@pytest.mark.parametrize("name", CONTRASTS)
def test_contrasts(name: str) -> None:
    given, expected = CONTRASTS[name]
    assert read_contrasts(given) == expected


@pytest.mark.parametrize(
    "given", ["cat", 3, ("cat",), [("cat", "dog", "cow")], {"cat": "dog"}, [("cat", None)], [True, False]]
)
def test_what_is_no_contrast_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match="expected pairs"):
        read_contrasts(given)


def test_a_contrast_by_number_is_that_by_label() -> None:
    task, photo = make_task(), make_photos(1)[0]
    one, other = (vlcam.explain(task, photo, contrast=pair)[-1] for pair in ((0, 2), ("cat", "cow")))
    assert one.label == other.label == "cat rather than cow"
    assert torch.equal(torch.as_tensor(one.map), torch.as_tensor(other.map))


def test_a_captioner_takes_no_contrast_by_number() -> None:
    with pytest.raises(TargetError, match="this model writes texts"):
        vlcam.explain(vlcam.load("scenes/captioner"), make_photos(1)[0], contrast=(0, 1))


WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"top_k": None}, "top_k=None"),
    ({"top_k": "all"}, "top_k='all'"),
    ({"top_k": True}, "top_k=True"),
    ({"top_k": 1.5}, "top_k=1.5"),
    ({"method": 3}, "method=3"),
    ({"layer": ["0", "1"]}, "layer=list of 2"),
    ({"layer": 2}, "layer=2"),
    ({"caption": 3}, "caption=3"),
    ({"prompt": ["a"]}, r"prompt=\['a'\]"),
]


@pytest.mark.parametrize(("option", "message"), WRONG_OPTIONS)
def test_an_option_of_the_wrong_type_is_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(vlcam.VlcamError, match=message):
        check_options(**option)


@pytest.mark.parametrize("layer", [["0", "1"], 2, ("0",), {"0"}])
def test_a_layer_is_one_name_or_module(layer: Any) -> None:
    with pytest.raises(vlcam.LayerError, match="expected one dotted name"):
        unwrap(find_module)(make_task().model, layer)


class Labelled(Dataset[Any]):
    """Photos with labels whose numbers aren't those of the model."""

    classes = ("pig", "cat")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> tuple[np.ndarray, Any]:
        if number > 2:
            raise IndexError(number)
        return make_photos(3)[number], torch.tensor(number)


def test_labels_of_a_data_set_are_kept_and_explained_by_name() -> None:
    outcomes = list(explain_batches(make_task(), Labelled(), explain_labels=True))
    assert [(one.label, one.label_name) for one in outcomes] == [(0, "pig"), (1, "cat"), (2, None)]
    assert [[view.label for view in one.explanation or ()] for one in outcomes] == [["pig"], ["cat"], ["cow"]]


def test_labels_are_kept_where_the_model_speaks_for_itself() -> None:
    pairs = [(photo, label) for photo, label in zip(make_photos(3), ["cow", 1, None], strict=True)]
    outcomes = list(explain_batches(make_task(), pairs, top_k=1))
    assert [(one.label, one.label_name) for one in outcomes] == [("cow", "cow"), (1, None), (None, None)]
    records = [{"image": photo, "label": label} for photo, label in pairs]
    again = list(explain_batches(make_task(), records, explain_labels=True))
    assert [[view.label for view in one.explanation or ()] for one in again] == [["cow"], ["dog"], []]
    assert isinstance(again[2].error, TargetError)


def test_labels_and_targets_exclude_each_other() -> None:
    with pytest.raises(InputError, match="targets= and explain_labels="):
        explain_batches(make_task(), make_photos(1), targets="cat", explain_labels=True)


@pytest.mark.parametrize("key", [True, np.bool_(True), np.array([True, False]), 1.0, None, ("cat", 0, 1), (0, 1), [0]])
def test_a_target_of_a_result_is_asked_for_by_position_or_label(key: Any) -> None:
    found = vlcam.explain(make_task(), make_photos(1)[0], targets=["cat", "dog"])
    with pytest.raises(TargetError, match="expected a position, a label"):
        unwrap(_find_position)(found, key)
    assert found[np.int64(1)].label == found[torch.tensor(1)].label == found[("dog", 0)].label == "dog"
