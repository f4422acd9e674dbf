"""What a gallery reads from the folder of a run: the maps as they are drawn, and errors that say what is wrong."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.support.examples_of_explanations import CAPTION, blob, classification, cropped, explanation, photo
from tests.support.run_folders import start_run, write_explanations
from vlcam.contracts import Target
from vlcam.errors import InputError
from vlcam.gallery.run_tables import list_parts, read_photos
from vlcam.runs import open_run


def test_maps_are_those_that_the_explanation_draws(tmp_path: Path) -> None:
    one = replace(classification(), steps=("box3", "cube"))
    signed = classification(relu=False)
    write_explanations(tmp_path, [one, replace(signed, photo=replace(signed.photo, name="signed.jpg"))])
    found = list(read_photos(list_parts(tmp_path)[0]))
    for entry, source in zip(found, (one, signed), strict=True):
        assert [row.target for row in entry.rows] == [target.label for target in source.targets]
        assert {row.signed for row in entry.rows} == {not source.relu}
        for row, view in zip(entry.rows, source, strict=True):
            drawn = view.map.numpy()
            assert row.map is not None
            assert row.peak == pytest.approx(np.abs(drawn).max(), rel=2e-3)
            np.testing.assert_allclose(row.map * row.peak, drawn, atol=4e-3 * row.peak)


def test_a_place_of_the_photo_goes_where_the_geometry_says(tmp_path: Path) -> None:
    geometry = cropped()
    write_explanations(tmp_path, [classification(geometry=geometry)])
    (entry,) = read_photos(list_parts(tmp_path)[0])
    across, left, down, top = entry.rows[0].place
    x, y = 200.0, 100.0
    assert (x / 640 * across + left) * 224 == pytest.approx(x * geometry.scale[0] + geometry.offset[0])
    assert (y / 448 * down + top) * 224 == pytest.approx(y * geometry.scale[1] + geometry.offset[1])


def test_the_facts_of_a_photo_come_along(told: Path) -> None:
    caption, answer, named, failed = read_photos(list_parts(told)[0])
    assert caption.label == CAPTION
    assert answer.question is not None and caption.question is None
    assert named.rows[0].target == named.label == "barn"
    assert failed.rows == () and failed.error == "ValueError: the file is cut short" and failed.thumbnail is None
    assert named.thumbnail is not None and named.thumbnail.startswith(b"\xff\xd8")
    assert named.document is not None and named.facts["method"] == "gradcam"


def test_flags_neurons_and_unknown_numbers(classified: Path) -> None:
    table = open_run(classified).to_table(["neurons", "target"])
    rows = [row for part in list_parts(classified) for one in read_photos(part) for row in one.rows]
    assert {row.flag for row in rows} == {"ok", "zero", "negative"}
    assert all((row.map is None) == (row.flag != "ok") for row in rows)
    assert all(math.isnan(row.faintness) == (row.flag != "ok") for row in rows)
    said = [tuple(one["neurons"]) for one in table.to_pylist() if one["target"]]
    assert [row.neurons for row in rows] == said
    corrected = open_run(classified).to_table(["p_corrected"])["p_corrected"].to_pylist()
    assert [row.p for row in rows] == [one for one in corrected if one is not None]


def test_a_fine_map_is_made_coarser_and_keeps_its_peak(tmp_path: Path) -> None:
    fine = blob(0.3, 0.6, grid=200, strength=4.0)
    write_explanations(
        tmp_path, [explanation("classification", [Target("a", "class", 1.0)], [fine], text="a", picture=photo())]
    )
    (entry,) = read_photos(list_parts(tmp_path)[0])
    (row,) = entry.rows
    assert row.map is not None and row.map.shape == (64, 64)
    assert row.map.max() == pytest.approx(1) and row.peak == pytest.approx(4.0, rel=1e-2)
    y, x = np.unravel_index(row.map.argmax(), row.map.shape)
    assert (x + 0.5) / 64 == pytest.approx(0.3, abs=0.02) and (y + 0.5) / 64 == pytest.approx(0.6, abs=0.02)


def test_a_run_without_shards_has_no_parts(empty: Path) -> None:
    assert list_parts(empty) == []


@pytest.mark.parametrize("where", ["nothing", "here"])
def test_no_run_is_one_clear_error(where: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(
        InputError, match=r"there is no folder|has no _manifest\.json; expected a folder that vlcam run wrote"
    ):
        list_parts(tmp_path / where)


def test_broken_parts_say_which_file(own_copy: Path) -> None:
    part = list_parts(own_copy)[1]
    table = pq.read_table(part)
    pq.write_table(table.drop_columns(["p", "map"]), part)
    with pytest.raises(
        InputError, match=r"part-000001\.parquet' lacks the columns p, map; expected the folder of a run"
    ):
        list(read_photos(part))
    part.write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"part-000001\.parquet' can't be read"):
        list(read_photos(part))
    part.write_bytes(list_parts(own_copy)[0].read_bytes())
    (own_copy / "_photos" / part.name).unlink()
    with pytest.raises(InputError, match="_photos"):
        list(read_photos(part))


def test_maps_of_another_size_than_said_are_refused(own_copy: Path) -> None:
    part = list_parts(own_copy)[0]
    table = pq.read_table(part)
    at = table.schema.get_field_index("rows")
    pq.write_table(table.set_column(at, table.schema.field(at), pc.add(table["rows"], pa.scalar(1, pa.int32()))), part)
    with pytest.raises(InputError, match="a map of 13 x 12 cells has"):
        list(read_photos(part))


def test_photos_without_a_record_are_still_there(own_copy: Path) -> None:
    part = list_parts(own_copy)[0]
    photos = own_copy / "_photos" / part.name
    pq.write_table(pq.read_table(photos).slice(0, 3), photos)
    found = list(read_photos(part))
    assert (
        len(found) == 25
        and found[10].thumbnail is None
        and found[10].rows
        and found[10].name.endswith("photo-000010.jpg")
    )


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    start_run(tmp_path / "run", 1)
    manifest = tmp_path / "run" / "_manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 99'))
    with pytest.raises(InputError, match="later version"):
        list_parts(tmp_path / "run")
