"""Pictures are opened in one way: known formats only, nothing started, nothing left switched."""

import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from vlcam.contracts import InputError
from vlcam.experiments.data.layouts import open_annotated
from vlcam.image import open_picture as opening
from vlcam.image.label_maps import read_label_map, read_label_picture
from vlcam.image.open_picture import FORMATS, check_pixels, open_picture
from vlcam.image.photo import open_photo

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("use", [open_photo, read_label_map, read_label_picture, open_annotated])
def test_no_picture_starts_another_program(use: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", start)
    file = tmp_path / "label.png"
    file.write_bytes(EPS)
    with Image.open(file) as image, pytest.raises(AssertionError, match="was started"):
        image.load()  # so Pillow would
    with pytest.raises(InputError, match=r"that can be read; expected one of AVIF"):
        use(file)  # type: ignore[operator]
    assert "EPS" not in FORMATS


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((0, 5), "0 x 5 pixels; expected at least one"),
        ((100, 101), "10,100 pixels; expected at most 10,000"),
        ((5001, 1), "sides of at most 100,000, the longer at most 5,000 times the shorter: cut it into pieces"),
    ],
)
def test_sizes_out_of_bounds(size: tuple[int, int], text: str) -> None:
    with pytest.raises(InputError, match=text):
        check_pixels("it", size, 10_000)
    check_pixels("it", (5000, 1), 10_000)
    with pytest.raises(InputError, match="sides of at most"):
        check_pixels("it", (100_001, 400), 10**9)


def test_switches_are_put_back_whatever_order_threads_leave_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    inside, leave = threading.Barrier(2), threading.Event()
    before = list(warnings.filters)

    def first() -> None:
        with opening._keep_quiet():
            inside.wait(30)
            leave.wait(30)

    thread = threading.Thread(target=first)
    thread.start()
    with opening._keep_quiet():
        inside.wait(30)
    leave.set()
    thread.join()
    with open_picture(tmp_path / "a.png") as image:
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
        image.load()
    assert ImageFile.LOAD_TRUNCATED_IMAGES and list(warnings.filters) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_another_thread_decodes_hears_warnings() -> None:
    inside, leave = threading.Event(), threading.Event()

    def keep() -> None:
        with opening._keep_quiet():
            inside.set()
            leave.wait(30)

    before = list(warnings.filters)
    thread = threading.Thread(target=keep)
    thread.start()
    inside.wait(30)
    child = os.fork()
    if child == 0:
        os._exit(0 if list(warnings.filters) == before and not opening._quiet else 1)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert list(warnings.filters) == before
