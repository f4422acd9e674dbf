"""Photos of every kind come out upright and RGB, or are refused in one line that says what to do."""

import hashlib
import io
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from vlcam.contracts import InputError
from vlcam.image.decode import get_opened
from vlcam.image.photo import Bands, as_rgb, as_rgba, get_bands, open_photo, read_pixels


def pixels(width: int = 40, height: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def refused(source: Any, text: str, **options: Any) -> str:
    with pytest.raises(InputError, match=text) as caught:
        open_photo(source, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def test_every_way_to_give_a_photo_gives_the_same(tmp_path: Path) -> None:
    values = pixels()
    file = tmp_path / "a photo.png"
    Image.fromarray(values).save(file)
    chw = torch.from_numpy(values).permute(2, 0, 1)
    ways = [file, str(file), Image.fromarray(values), values, values / 255, (values / 255).astype(np.float32)]
    ways += [np.asfortranarray(values), chw, chw / 255, (chw.double() / 255).requires_grad_()]
    for way in ways:
        image, photo = open_photo(way)
        assert image.mode == "RGB" and np.array_equal(np.asarray(image), values)
        assert np.array_equal(photo.pixels, values) and (photo.width, photo.height) == (40, 20)
        assert photo.sha256 == hashlib.sha256(b"RGB 40 x 20\n" + values.tobytes()).hexdigest()
    assert open_photo(file)[1].name == "a photo.png"
    assert open_photo(file, name="mine")[1].name == "mine"
    assert open_photo(values)[1].name == "photo"
    with Image.open(file) as image:
        assert open_photo(image)[1].name == "a photo.png"
        assert image.getpixel((0, 0)) == tuple(values[0, 0])  # the caller's image is still open and as it was


def test_the_checksum_knows_the_size() -> None:
    values = pixels(40, 20)
    assert open_photo(values)[1].sha256 != open_photo(values.reshape(40, 20, 3))[1].sha256


def test_large_photos_are_kept_small() -> None:
    values = np.zeros((1000, 3000, 3), np.uint8)
    values[:, 1500:] = 200
    image, photo = open_photo(values)
    assert image.size == (3000, 1000) == (photo.width, photo.height)
    assert photo.pixels.shape == (341, 1024, 3)
    assert photo.pixels[0, 0, 0] == 0 and photo.pixels[0, -1, 0] == 200
    assert open_photo(np.zeros((1, 5000), np.uint8))[1].pixels.shape == (1, 1024, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    upright = Image.new("RGB", (40, 20))
    upright.paste((255, 255, 255), (0, 0, 10, 10))  # white in the upper left
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "photo"
    (upright if stored is None else upright.transpose(stored)).save(file, kind, exif=exif)
    image, photo = open_photo(file)
    assert image.size == (40, 20) == (photo.width, photo.height)
    values = np.asarray(image).astype(int)
    assert values[2:8, 2:8].min() > 200 and values[12:, 12:].max() < 60


def test_transparency_lies_on_white() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:, :2, 3] = 255
    expected = np.full((4, 4, 3), 255, np.uint8)
    expected[:, :2] = 0
    assert np.array_equal(np.asarray(open_photo(clear)[0]), expected)
    assert np.array_equal(np.asarray(open_photo(torch.from_numpy(clear).permute(2, 0, 1))[0]), expected)
    rgba = Image.fromarray(clear)
    for image in (rgba, rgba.convert("LA")):
        assert np.array_equal(np.asarray(open_photo(image)[0]), expected)
    half = np.array([[[0, 0, 0, 128]]], np.uint8)
    assert np.asarray(open_photo(half)[0]).tolist() == [[[127, 127, 127]]]


def test_palettes_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (2, 0, 4, 4))
    for name, transparency in (("one.png", 1), ("bytes.png", b"\xff\x00"), ("one.gif", 1)):
        image.save(tmp_path / name, transparency=transparency)
        values = np.asarray(open_photo(tmp_path / name)[0])
        assert values[0, 0].tolist() == [255, 0, 0] and values[0, 3].tolist() == [255, 255, 255]
    image.save(tmp_path / "solid.png")
    assert np.asarray(open_photo(tmp_path / "solid.png")[0])[0, 3].tolist() == [0, 0, 255]


def test_a_colour_key_in_rgb_is_transparency(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "key.png", transparency=(1, 2, 3))
    assert np.asarray(open_photo(tmp_path / "key.png")[0])[0, 0].tolist() == [255, 255, 255]


def test_grey_cmyk_and_other_colour_spaces(tmp_path: Path) -> None:
    for mode, value in (("L", 200), ("1", 1), ("CMYK", (0, 55, 55, 0)), ("YCbCr", (200, 128, 128))):
        Image.new(mode, (8, 8), value).save(tmp_path / "image.tiff")
        image, _ = open_photo(tmp_path / "image.tiff")
        assert image.mode == "RGB" and image.getpixel((0, 0)) == {
            "L": (200, 200, 200), "1": (255, 255, 255), "CMYK": (255, 200, 200), "YCbCr": (200, 200, 200),
        }[mode]  # fmt: skip
    Image.new("CMYK", (8, 8), (0, 55, 55, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    found = np.asarray(open_photo(tmp_path / "cmyk.jpg")[0])[0, 0].astype(int)
    assert np.abs(found - [255, 200, 200]).max() < 8
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(np.asarray(open_photo(grey)[0])[:, :, 1], grey)
    assert np.array_equal(np.asarray(open_photo(grey[:, :, None])[0])[:, :, 2], grey)


@pytest.mark.parametrize("kind", ["png", "tiff", "pgm"])
def test_sixteen_bits_become_eight(kind: str, tmp_path: Path) -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / f"deep.{kind}")
    assert np.asarray(open_photo(tmp_path / f"deep.{kind}")[0])[0, :, 0].tolist() == [0, 1, 128, 255]


def test_deep_images_without_an_eight_bit_meaning_are_refused() -> None:
    refused(Image.fromarray(np.array([[70000]], np.int32)), "values from 70000 to 70000 .* expected 0 to 65535")
    refused(Image.fromarray(np.array([[3.5]], np.float32)), "mode F .* expected 0 to 1")
    refused(Image.fromarray(np.array([[np.nan]], np.float32)), "mode F")
    assert as_rgb(Image.fromarray(np.array([[0.5]], np.float32))).getpixel((0, 0)) == (128, 128, 128)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert open_photo(tmp_path / "two.gif")[0].getpixel((4, 4)) == (255, 0, 0)


def test_files_that_are_no_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("This is a letter, not a photo.\n" * 9)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "drawing.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    refused(
        "missing.jpg", rf"there is no file 'missing.jpg' \(looked from {re.escape(str(tmp_path))}\); check the path"
    )
    refused(tmp_path / "empty.jpg", "is empty; expected a photo")
    refused(tmp_path / "text.jpg", "is not a photo that can be read; expected one of .*JPEG")
    refused(tmp_path / "drawing.jpg", "is not a photo that can be read")  # Pillow would start Ghostscript
    refused(tmp_path / "folder.jpg", "is a folder; expected a photo")
    refused("x" * 5000, "can't be read")
    refused("nul\x00.jpg", "can't be read")
    refused("/dev/null", "not a regular file")
    refused("", "is a folder")
    for url in ("https://example.org/a.jpg", "file:///etc/passwd", "data:image/png;base64,AAAA"):
        refused(url, "URL .* save the photo and give its path")


def test_objects_that_are_no_photo() -> None:
    for source in (None, 3, b"bytes", [[1, 2], [3, 4]], io.BytesIO()):
        refused(source, f"a {type(source).__name__} was given; expected a path, a PIL image")
    refused(np.zeros((3, 8, 9), np.uint8), r"shape \(3, 8, 9\) was given; .* use array.transpose\(1, 2, 0\)")
    refused(
        np.zeros((8, 9, 2), np.uint8),
        r"shape \(8, 9, 2\).* with 1, 3 or 4 channels; wrap other bands in vlcam.image.photo.Bands",
    )
    refused(
        torch.zeros(5, 8, 9),
        r"shape \(5, 8, 9\).* with 1, 3 or 4 channels; wrap other bands in vlcam.image.photo.Bands",
    )
    refused(np.zeros((8,), np.uint8), r"shape \(8,\)")
    refused(np.zeros((0, 9, 3), np.uint8), "has 9 x 0 pixels")
    refused(np.zeros((8, 9, 3), np.int64), "dtype int64 was given; expected uint8, uint16, or floats from 0 to 1")
    refused(np.zeros((8, 9, 3), bool), "dtype bool")
    refused(np.full((8, 9, 3), 255.0), "floats from 255 to 255 was given; expected 0 to 1: divide by 255")
    refused(np.full((8, 9, 3), np.nan), "floats from nan to nan")
    refused(torch.randn(3, 8, 9), "undo the normalisation")
    refused(torch.zeros(2, 3, 8, 9), r"a batch of shape \(2, 3, 8, 9\).* one by one")
    refused(torch.zeros(8, 9, 3), r"a tensor of shape \(8, 9, 3\) was given; expected \(channels, height, width\)")
    refused(torch.zeros(3, 8, 9, dtype=torch.int64), "dtype torch.int64")


SAVED: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "progressive JPEG": {"quality": 90, "progressive": True},
    "PNG": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "packed TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "PPM": {},
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("lenient", [False, True], ids=["", "LOAD_TRUNCATED_IMAGES"])
def test_cut_off_files_are_refused_and_never_half_grey(
    kind: str, lenient: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    out = io.BytesIO()
    Image.fromarray(pixels(64, 48)).save(out, kind.split()[-1], **SAVED[kind])
    whole, file = out.getvalue(), tmp_path / "photo"
    file.write_bytes(whole)
    expected = np.asarray(open_photo(file)[0])
    for part in (*np.linspace(0.01, 0.999, 25), 1 - 1 / len(whole), 1 - 2 / len(whole)):
        file.write_bytes(whole[: max(1, int(len(whole) * part))])
        try:
            found = np.asarray(open_photo(file)[0])
        except InputError:
            continue
        assert part > 0.95 and np.array_equal(found, expected), part  # only the end marker was missing
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


@pytest.mark.parametrize("kind", SAVED)
def test_broken_files_raise_nothing_but_input_errors(kind: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(pixels(32, 24)).save(out, kind.split()[-1], **SAVED[kind])
    random = np.random.default_rng(1)
    refusals = 0
    for _ in range(60):
        data = bytearray(out.getvalue())
        for place in random.integers(0, min(len(data), 400), 3):
            data[place] = random.integers(0, 256)
        (tmp_path / "photo").write_bytes(data)
        try:
            assert open_photo(tmp_path / "photo")[0].mode == "RGB"
        except InputError:
            refusals += 1
    assert refusals > 0


def test_a_pil_image_of_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(pixels(64, 48)).save(out, "JPEG")
    with Image.open(io.BytesIO(out.getvalue()[:900])) as image:
        refused(image, "the PIL image 'photo' is broken or cut off")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(self: ImageFile.ImageFile) -> None:
        raise AssertionError("the file was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    file = tmp_path / "bomb.png"
    for side, text in (
        (8000, "8000 x 8000 = 64,000,000 pixels"),
        (11000, "121,000,000"),
        (20000, "more pixels"),
    ):
        file.write_bytes(bomb(side, side))
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            refused(file, text)
        assert not heard


def test_the_limit_holds_for_every_source() -> None:
    values = pixels(20, 10)
    for source in (values, Image.fromarray(values), torch.from_numpy(values).permute(2, 0, 1)):
        refused(
            source,
            "20 x 10 = 200 pixels; expected at most 199: make it smaller, or .in Python. raise max_pixels",
            max_pixels=199,
        )
        assert open_photo(source, max_pixels=200)[0].size == (20, 10)


def test_unreadable_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    values = pixels()
    Image.fromarray(values).save(tmp_path / "odd.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x01\x12")
    assert np.array_equal(np.asarray(open_photo(tmp_path / "odd.png")[0]), values)


def test_grey_and_deep_arrays_and_tensors() -> None:
    grey = pixels()[:, :, 0]
    deep = grey.astype(np.uint16) * 257
    ways = [
        grey,
        grey / 255,
        grey[:, :, None],
        deep,
        deep[:, :, None],
        torch.from_numpy(grey),
        torch.from_numpy(grey / 255),
    ]
    ways += [torch.from_numpy(grey)[None], torch.from_numpy(deep), Image.fromarray(grey), Image.fromarray(deep)]
    for way in ways:
        picture, photo = open_photo(way)
        assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), np.stack([grey] * 3, 2))
        assert np.array_equal(photo.pixels, np.asarray(picture)) and get_bands(picture) is None
    assert np.array_equal(np.asarray(open_photo(pixels().astype(np.uint16) * 257)[0]), pixels())
    assert np.asarray(open_photo(np.array([[128, 129, 65535, 64]], np.uint16))[0])[0, :, 0].tolist() == [0, 1, 255, 0]


def test_transparency_travels_with_the_picture(tmp_path: Path) -> None:
    clear = np.dstack([pixels(), pixels(seed=1)[:, :, 0]])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    chw = torch.from_numpy(clear).permute(2, 0, 1)
    for way in (clear, clear / 255, chw, chw / 255, Image.fromarray(clear), tmp_path / "clear.png"):
        picture, photo = open_photo(way)
        assert picture.mode == "RGB" and np.array_equal(np.asarray(as_rgb(picture)), photo.pixels)
        assert np.array_equal(np.asarray(as_rgba(picture)), clear)
        for other in (picture.copy(), picture.resize((9, 9)), picture.convert("RGB").crop((0, 0, 40, 20))):
            assert get_bands(other) is None and np.asarray(as_rgba(other))[:, :, 3].min() == 255
    assert np.asarray(as_rgba(Image.new("LA", (2, 2), (9, 7)))).tolist() == [[[9, 9, 9, 7]] * 2] * 2
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(clear).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(as_rgba(open_photo(tmp_path / "turned.png")[0])), np.rot90(clear, -1))


def test_bands_are_kept_as_they_are_and_shown_as_rgb() -> None:
    values = np.random.default_rng(0).normal(size=(20, 40, 5)).astype(np.float32)
    picture, photo = open_photo(Bands(values))
    assert picture.mode == "RGB" and (photo.width, photo.height) == (40, 20)
    found = get_bands(picture)
    assert found is not None and np.array_equal(found, values)
    seen = values[:, :, :3].astype(float)
    expected = np.round((seen - seen.min()) / (seen.max() - seen.min()) * 255)
    assert np.array_equal(photo.pixels, expected)
    chw = torch.from_numpy(values).permute(2, 0, 1)
    for way in (chw, chw.double(), chw.requires_grad_()):
        again, record = open_photo(Bands(way))
        assert np.array_equal(get_bands(again), values) and record.sha256 == photo.sha256  # type: ignore[arg-type]
    shown = np.asarray(open_photo(Bands(values, shown=(4, 0, 1), limits=(-1.0, 1.0)))[0])
    assert np.array_equal(shown, np.round((values[:, :, [4, 0, 1]].astype(float).clip(-1, 1) + 1) / 2 * 255))
    grey = np.asarray(open_photo(Bands(values, shown=3, limits=(-1.0, 1.0)))[0])
    assert np.array_equal(grey[:, :, 0], grey[:, :, 2]) and np.array_equal(
        grey[:, :, 0], np.round((values[:, :, 3].astype(float).clip(-1, 1) + 1) / 2 * 255)
    )
    assert np.asarray(open_photo(Bands(values[:, :, :2]))[0]).shape == (20, 40, 3)
    assert not np.asarray(open_photo(Bands(np.full((2, 2, 1), 7)))[0]).any()  # one value only: nothing to see


def test_bands_scale_whole_numbers_and_tell_photos_apart_by_what_is_not_shown() -> None:
    for dtype, most in ((np.uint8, 255), (np.uint16, 65535)):
        values = np.array([[[0, most]]], dtype)
        for way in (values, torch.from_numpy(values).permute(2, 0, 1)):
            assert Bands(way).numbers().tolist() == [[[0.0, 1.0]]]
    assert Bands(np.array([[[-3, 70000]]], np.int32)).numbers().tolist() == [[[-3.0, 70000.0]]]
    assert Bands(torch.ones(2, 1, 1, dtype=torch.bfloat16)).numbers().tolist() == [[[1.0, 1.0]]]
    one = np.random.default_rng(0).random((4, 4, 4))
    other = one.copy()
    other[0, 0, 3] += 1
    assert np.array_equal(open_photo(Bands(one))[1].pixels, open_photo(Bands(other))[1].pixels)
    assert open_photo(Bands(one))[1].sha256 != open_photo(Bands(other))[1].sha256


def test_bands_that_can_not_be() -> None:
    values = np.zeros((8, 9, 4))
    refused(
        Bands(values[0]),
        r"shape \(9, 4\) and dtype float64 were given; expected an array \(height, width, bands\) of numbers",
    )
    refused(Bands(torch.zeros(8, 9)), r"shape \(8, 9\) .* expected a tensor \(bands, height, width\) of numbers")
    refused(Bands(values.astype(bool)), "dtype bool were given")
    refused(Bands(np.full((2, 2, 4), np.nan)), "not finite")
    refused(Bands(np.zeros((0, 9, 4))), "has 9 x 0 pixels")
    refused(Bands(values), "9 x 8 = 72 pixels", max_pixels=71)
    refused(Bands(values, shown=4), "shown=4 was given; expected one or three bands of the 4, counted from 0")
    refused(Bands(values, limits=(1.0, 1.0)), r"limits=\(1.0, 1.0\) was given; expected a lower and a higher number")
    with pytest.raises(
        InputError, match=r"a photo of 4 bands was given to a model that takes RGB; .*Preprocess\(..., channels=4\)"
    ):
        as_rgb(open_photo(Bands(values))[0])


# --- the scale of values ------------------------------------------------------------------------------------------------


def deep(bits: int) -> np.ndarray:
    """A ramp of that many bits."""
    return np.linspace(0, 2**bits - 1, 800).round().astype(np.uint16).reshape(20, 40)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_in_a_file_of_16_are_said_and_can_be_scaled(bits: int, tmp_path: Path) -> None:
    values, white = deep(bits), 2**bits - 1
    file = tmp_path / "scan.png"
    Image.fromarray(values).save(file)
    seen = np.round(values / white * 255).astype(np.uint8)
    for source in (file, values, torch.from_numpy(values), Image.open(file), np.repeat(values[:, :, None], 3, 2)):
        dark, _ = open_photo(source)
        (note,) = get_opened(dark).notes
        assert re.search(
            rf"reach {white} of 65535 only, .* nearly black. If it holds {bits} bits, .*white={white} ", note
        )
        image, _ = open_photo(source, white=white)
        assert get_opened(image).notes == () and np.array_equal(np.asarray(image)[:, :, 1], seen)


def test_photos_that_use_their_scale_have_no_remark() -> None:
    for values in (
        deep(16),
        deep(16) // 3,
        deep(8).astype(np.uint8),
        deep(8).astype(np.uint8) // 9,
        deep(8) / 255,
        deep(12) * 0,
    ):
        assert get_opened(open_photo(values)[0]).notes == ()


def test_faint_floats_are_said_and_what_is_above_white_is_counted() -> None:
    (note,) = get_opened(open_photo(deep(12) / 65535.0)[0]).notes
    assert "floats reach 0.0625 of 1 only" in note and "white=0.0625" in note
    image, _ = open_photo(deep(12), white=2047)
    assert get_opened(image).notes == ("50.0% of its values are above white, 2047, and are shown as white.",)
    assert np.asarray(image).max() == 255 and np.asarray(image).min() == 0
    plain, _ = open_photo(deep(8) * 1.0, white=255)  # floats on another scale than 0 to 1 are refused without it
    assert np.array_equal(np.asarray(plain)[:, :, 0], deep(8))


def test_colours_of_16_bits_are_halved_by_pillow_and_that_is_said(tmp_path: Path) -> None:
    values = np.arange(0, 4096, 4).reshape(16, 64).repeat(3, 1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 64, 16, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    file = tmp_path / "colours.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    (note,) = get_opened(open_photo(file)[0]).notes
    assert "16 bits for each colour, of which the upper 8 are read, and they reach 15 of 255 only" in note
    refused(file, "white=4095 was given for a file of 16 bits for each colour, .* give the array of uint16", white=4095)


@pytest.mark.parametrize(
    ("source", "white", "text"),
    [
        (deep(12), 0, "white=0 was given; expected the value that is white, a positive number such as 4095"),
        (deep(12), float("nan"), "white=nan was given"),
        (deep(12), float("inf"), "white=inf was given"),
        (np.full((4, 4, 4), 9, np.uint8), 9, "white=9 was given for an array with transparency"),
        (Image.new("RGBA", (4, 4)), 9, "white=9 was given for a photo with transparency"),
        (Bands(np.zeros((4, 4, 5))), 9, "white=9 was given for a photo of bands; give limits=.0, 9. of vlcam.Bands"),
        (np.array([[-0.5, 3.0]]), 3.0, "floats from -0.5 to 3 was given"),
    ],
)
def test_a_white_that_makes_no_sense_is_refused(source: Any, white: Any, text: str) -> None:
    refused(source, text, white=white)


def test_a_picture_that_was_opened_keeps_what_goes_with_it(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    for source in (values, Bands(np.random.default_rng(0).random((20, 30, 5))), deep(12), pixels()):
        image, photo = open_photo(source, name="mine")
        again, same = open_photo(image)
        assert (same.name, same.sha256) == ("mine", photo.sha256) and get_opened(again).notes == get_opened(image).notes
        assert (get_bands(again) is None) == (get_bands(image) is None)
    image, photo = open_photo(values)
    image.paste((1, 2, 3), (0, 0, 5, 5))
    changed, other = open_photo(image)
    assert get_bands(changed) is None and other.sha256 != photo.sha256  # its bands are those of another picture now


def test_a_large_photo_is_explained_once_it_was_opened_so() -> None:
    values = pixels(400, 300)
    refused(values, "raise max_pixels of vlcam.image.open_photo", max_pixels=1000)
    image, _ = open_photo(values, max_pixels=120_000)
    assert open_photo(image, max_pixels=1000)[1].width == 400


def test_any_photo_is_something_to_draw_on() -> None:
    values = pixels()
    for source in (values, values / 255, torch.from_numpy(values).permute(2, 0, 1), Image.fromarray(values)):
        assert np.array_equal(read_pixels(source), values)
    opaque = np.dstack([values, np.full_like(values[:, :, :1], 255)])
    assert np.array_equal(read_pixels(opaque), values)
    assert np.array_equal(read_pixels(values[:, :, 0]), np.repeat(values[:, :, :1], 3, 2))
    assert np.array_equal(read_pixels(values.astype(np.uint16) * 257), values)
    with pytest.raises(InputError, match="a picture with transparency was given to be drawn on"):
        read_pixels(np.dstack([values, values[:, :, 0]]))
    with pytest.raises(InputError, match=r"the path 'a.png' was given; expected a PIL image"):
        read_pixels("a.png")
