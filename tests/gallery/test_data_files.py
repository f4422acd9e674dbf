"""The data files of a gallery, decoded as the page decodes them, and compared with the run."""

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlcam.gallery import data_files
from vlcam.gallery.data_files import DataWriter
from vlcam.gallery.run_tables import FLAGS, PhotoEntry, list_parts, read_photos


def read_script(path: Path) -> Any:
    """What a data file hands over."""
    found = re.fullmatch(r'vlcamGallery\.take\("([a-z0-9-]+)",(\d+),(.*)\);\n', path.read_text("ascii"), re.DOTALL)
    assert found and path.stem == f"{found[1]}-{int(found[2]):04d}"
    return json.loads(found[3])


def unpack(text: str, kind: str) -> list[Any]:
    values: list[Any] = np.frombuffer(base64.b64decode(text), kind).tolist()
    return values


def list_photos(run: Path) -> list[PhotoEntry]:
    return [one for part in list_parts(run) for one in read_photos(part)]


@pytest.fixture
def written(
    classified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, Any], list[PhotoEntry]]:
    """The classifier's run as data files in small pieces, with where everything is."""
    monkeypatch.setattr(data_files, "PHOTOS_A_PART", 25)
    photos = list_photos(classified)
    writer = DataWriter(tmp_path)
    for one in photos:
        writer.add([one], [(row,) for row in one.rows])
    return tmp_path, writer.finish(), photos


def test_the_index_has_every_column_of_every_photo(written: tuple[Path, dict[str, Any], list[PhotoEntry]]) -> None:
    folder, about, photos = written
    parts = [read_script(one) for one in sorted(folder.glob("index-*.js"))]
    assert about["parts"] == len(parts) == math.ceil(len(photos) / 25)
    assert [name for part in parts for name in part["names"]] == [one.name for one in photos]
    rows = [row for one in photos for row in one.rows]
    assert about["photos"] == len(photos) and about["rows"] == len(rows)

    def texts(name: str, side: bool = True) -> list[str | None]:
        return [
            None if at < 0 else part["strings"][at]
            for part in parts
            for at in unpack((part["sides"][0] if side else part)[name], "<i4")
        ]

    assert texts("said") == [one.label for one in photos]
    assert texts("truth", side=False) == [one.truth for one in photos]
    assert texts("target") == [row.target for row in rows]
    counts = [count for part in parts for count in unpack(part["counts"], "<u2")]
    assert counts == [len(one.rows) for one in photos]
    right = [value for part in parts for value in unpack(part["sides"][0]["correct"], "<u1")]
    assert right == [2 if one.correct is None else int(one.correct) for one in photos]
    flags = [FLAGS[value] for part in parts for value in unpack(part["sides"][0]["flag"], "<u1")]
    assert flags == [row.flag for row in rows]
    for name, field in (("probability", "probability"), ("gain", "gain"), ("p", "p"), ("faint", "faintness")):
        values = [value for part in parts for value in unpack(part["sides"][0][name], "<f4")]
        np.testing.assert_allclose(values, [getattr(row, field) for row in rows], rtol=1e-6)
    neurons = []
    for part in parts:
        ends, numbers = (unpack(one, "<i4") for one in part["sides"][0]["neurons"])
        neurons += [
            [part["strings"][at] for at in numbers[low:high]] for low, high in zip([0, *ends], ends, strict=False)
        ]
    assert neurons == [list(row.neurons) for row in rows]
    errors = [error for part in parts for _, error in part["sides"][0]["errors"]]
    assert errors == [one.error for one in photos if one.error] and about["errors"] == len(errors) > 0


def test_tiles_and_pages_are_where_the_index_says(written: tuple[Path, dict[str, Any], list[PhotoEntry]]) -> None:
    folder, about, photos = written
    for kind, starts in (("tiles", about["tiles"]), ("page-0", about["pages"][0])):
        files = [read_script(one) for one in sorted(folder.glob(f"{kind}-*.js"))]
        assert len(files) == len(starts) > 1
        assert starts == [sum(map(len, files[:n])) for n in range(len(files))]
        entries = [entry for file in files for entry in file]
        assert len(entries) == len(photos)
        for entry, one in zip(entries, photos, strict=True):
            if kind == "page-0":
                assert entry == [one.name, one.document, one.error]
            else:
                assert entry["jpeg"] == (None if one.thumbnail is None else base64.b64encode(one.thumbnail).decode())
                assert len(entry["sides"][0]) == len(one.rows)
                for found, row in zip(entry["sides"][0], one.rows, strict=True):
                    if row.map is None:
                        assert found["map"] is None
                        continue
                    rows, columns, peak, levels = found["map"]
                    assert (rows, columns) == row.map.shape and peak == pytest.approx(row.peak, rel=1e-3)
                    parts = np.array(unpack(levels, "<i1")).reshape(rows, columns) / 127
                    np.testing.assert_allclose(parts, row.map, atol=0.5 / 127 + 1e-6)


def test_files_stay_small(written: tuple[Path, dict[str, Any], list[PhotoEntry]]) -> None:
    folder, _, photos = written
    largest = max(len(one.document or "") for one in photos) * 2
    assert all(one.stat().st_size < 400_000 + largest for one in folder.glob("page-*.js"))
    assert all(one.stat().st_size < 400_000 for one in folder.glob("tiles-*.js"))


def test_columns_without_a_number_are_left_out(told: Path, tmp_path: Path) -> None:
    writer = DataWriter(tmp_path)
    for one in list_photos(told):
        writer.add([one], [(row,) for row in one.rows])
    about = writer.finish()
    side = read_script(tmp_path / "index-0000.js")["sides"][0]
    assert about["has"] == {"probability": True, "gain": False, "p": False, "faint": True, "question": True}
    assert "p" not in side and "gain" not in side and "probability" in side
    assert about["truths"] == 0


def test_nothing_in_a_data_file_ends_its_script(attacked: Path) -> None:
    files = list((attacked / "_gallery").rglob("data/*.js"))
    assert len(files) > 3
    assert not [one.name for one in files if re.search(rb"[<>&\x80-\xff]", one.read_bytes())]
    named = [one.name for one in files if b"\\u003c/script\\u003e" in one.read_bytes()]
    assert "index-0000.js" in named and "page-0-0000.js" in named
