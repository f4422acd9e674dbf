"""What is typed, the models behind the page, and what it shows: without Gradio."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlcam
from tests.support.tiny import Cnn, lively
from vlcam.app.explainer import Explainer, ShownPhoto, StoppedError, draw_scene, open_upload
from vlcam.app.frame import make_frame, make_message
from vlcam.app.wishes import Wishes
from vlcam.tasks.classification import Classification


def make_task(**options: Any) -> Classification:
    torch.manual_seed(1)
    labels = ["ant", "bee", "cat", "dog", "eel"]
    return Classification(lively(Cnn(5)), labels, vlcam.Preprocess(24), name="tiny", **options)


@pytest.fixture
def shown() -> ShownPhoto:
    return ShownPhoto(Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)), "noise.png")


@pytest.mark.parametrize(
    ("text", "labels", "contrasts"),
    [
        ("", (), ()),
        (" cat ;\n red  star; cat", ("cat", "red star"), ()),
        ("a rather than b; c", ("c",), (("a", "b"),)),
        ("red star Rather  Than blue circle", (), (("red star", "blue circle"),)),
    ],
)
def test_what_is_typed_is_read_as_labels_and_contrasts(
    text: str, labels: tuple[str, ...], contrasts: tuple[tuple[str, str], ...]
) -> None:
    options = Wishes(targets=text).read_options("classification")
    assert (options["targets"], options["contrast"], options["layer"]) == (labels, contrasts, None)


@pytest.mark.parametrize(
    ("wishes", "kind", "match"),
    [
        (Wishes(targets="cat rather than"), "classification", "a contrast with two sides"),
        (Wishes(targets="a rather than b rather than c"), "vqa", "a contrast with two sides"),
        (Wishes(targets=";".join(map(str, range(21)))), "vqa", "21 classes, answers or contrasts were given"),
        (Wishes(targets="star"), "captioning", "'star' can't be asked for; write a contrast"),
        (Wishes(), "vqa", "no question was given; type one"),
        (Wishes(text="x" * 2001), "captioning", "2,001 characters was given"),
    ],
)
def test_what_can_not_be_asked_is_said(wishes: Wishes, kind: Any, match: str) -> None:
    with pytest.raises(vlcam.InputError, match=match):
        wishes.read_options(kind)


def test_a_photo_is_explained_as_by_explain_and_tested(shown: ShownPhoto) -> None:
    explainer = Explainer({"mine": make_task})
    assert explainer.open("mine").layer == "block" and "stem" in explainer.open("mine").layers
    wishes = Wishes(targets="cat; dog rather than eel", method="gradcam", layer="stem")
    found = explainer.explain("mine", shown, wishes)
    contrast = [("dog", "eel")]
    expected = vlcam.explain(
        make_task(), shown.picture, targets=["cat"], contrast=contrast, method="gradcam", layer="stem"
    )
    torch.testing.assert_close(found.maps, expected.maps)
    assert found.photo.name == "noise.png" and found.layer == "stem"
    seen: list[tuple[int, int]] = []
    tested = explainer.verify("mine", shown, found, lambda done, total: seen.append((done, total)))
    assert tested.significance is not None and seen[-1][0] <= seen[-1][1]


def test_a_models_own_method_and_layer_are_the_defaults() -> None:
    task = make_task(defaults={"method": "hirescam", "layer": "stem"})
    model = Explainer({"mine": lambda: task}).open("mine")
    assert (model.method, model.layer) == ("hirescam", "stem")


def test_other_models_and_layers_are_refused(shown: ShownPhoto) -> None:
    explainer = Explainer({"mine": make_task})
    with pytest.raises(vlcam.InputError, match="no model 'their'"):
        explainer.explain("their", shown, Wishes())
    with pytest.raises(vlcam.InputError, match="layer 'fc' was given; expected one of"):
        explainer.explain("mine", shown, Wishes(layer="fc"))
    with pytest.raises(vlcam.InputError, match="no method 'magic'"):
        explainer.explain("mine", shown, Wishes(method="magic"))


def test_what_runs_is_stopped_and_the_model_is_as_it_was(shown: ShownPhoto) -> None:
    task = make_task()
    explainer = Explainer({"mine": lambda: task})
    found = explainer.explain("mine", shown, Wishes(method="gradcam"))
    before = {name: value.clone() for name, value in task.model.state_dict().items()}

    def stop(done: int, total: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        explainer.verify("mine", shown, found, stop)
    explainer.close()
    with pytest.raises(StoppedError):
        explainer.verify("mine", shown, found)
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_two_requests_never_run_at_once(shown: ShownPhoto) -> None:
    inside, most = 0, 0
    task = make_task()
    plain = task.model.forward

    def watched(pixels: torch.Tensor) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return plain(pixels)

    task.model.forward = watched
    explainer = Explainer({"mine": lambda: task})
    explainer.open("mine")
    ask = lambda: explainer.explain("mine", shown, Wishes(method="gradcam"))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_uploads_are_opened_within_limits(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert open_upload(tmp_path / "a.png").picture.size == (20, 10)
    (tmp_path / "b.png").write_bytes(b"no picture")
    for name in ("b.png", "missing.png"):
        with pytest.raises(vlcam.InputError, match=name):
            open_upload(tmp_path / name)
    Image.new("1", (10000, 6000)).save(tmp_path / "large.png")
    with pytest.raises(vlcam.InputError, match=r"10,?000"):
        open_upload(tmp_path / "large.png")


def test_a_generated_picture_has_no_remark_and_a_photo_has() -> None:
    explainer = Explainer({"scenes": lambda: vlcam.load("scenes/classifier")})
    scene = draw_scene(12)
    photo = ShownPhoto(Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)), "noise.png")
    notes = [explainer.explain("scenes", one, Wishes(method="gradcam")).notes for one in (scene, photo)]
    assert not any("still life" in note for note in notes[0]) and any("still life" in note for note in notes[1])


def test_messages_and_frames_hold_no_markup_of_others(shown: ShownPhoto) -> None:
    assert make_message("") == ""
    text = make_message('<img src=x onerror="alert(1)">', "error")
    assert "<img" not in text and 'role="alert"' in text
    named = ShownPhoto(shown.picture, '"><script>alert(1)</script>.png')
    found = Explainer({"mine": make_task}).explain("mine", named, Wishes(method="gradcam"))
    frame = make_frame(found)
    assert frame.count("<") == 2 and 'sandbox="allow-scripts"' in frame  # the frame and its end
