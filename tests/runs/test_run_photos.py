"""Many photos into a folder: what is in it, that it goes on where it stopped, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import vlcam
from tests.support.tiny import Cnn, lively, snapshot
from vlcam.runs import PHOTOS, ROWS, Run, run_photos
from vlcam.runs.shards import name_shard
from vlcam.tasks.classification import Classification

LABELS = ["tiger", "cat", "dog", "crane", "bus"]


def make_task(seed: int = 1, **options: Any) -> Classification:
    torch.manual_seed(seed)
    options = {"labels": LABELS, "preprocess": vlcam.Preprocess((16, 12)), "name": "tiny", **options}
    return Classification(lively(Cnn(5)), **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven photos in two folders, one of which is broken."""
    home, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    (home / "more").mkdir()
    for number in range(10):
        pixels = rng.integers(0, 256, (30, 40 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(home / ("more" if number > 6 else "") / f"{number}.png")
    (home / "5 broken.png").write_bytes(b"no picture")
    return home


@pytest.fixture(scope="module")
def done(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vlcam.run(make_task(), folder, tmp_path_factory.mktemp("out") / "run", shard_size=4, batch_size=3, top_k=2)


def test_the_folder_has_shards_of_rows_and_photos_and_a_manifest(done: Run) -> None:
    names = sorted(one.relative_to(done.folder).as_posix() for one in done.folder.rglob("*") if one.is_file())
    shards = [name_shard(number) for number in range(3)]
    assert names == [".huggingface.yaml", "_manifest.json", *(f"_photos/{one}" for one in shards), *shards]
    for number in range(3):
        assert pq.read_schema(done.folder / name_shard(number)).equals(ROWS)
        assert pq.read_schema(done.folder / "_photos" / name_shard(number)).equals(PHOTOS)
    assert len(done) == 21 and len(done.photos) == 11 and done.is_complete


def test_a_row_is_what_explain_says(done: Run, folder: Path) -> None:
    task = make_task()
    for row in done.where(error=None):
        view = vlcam.explain(task, folder / row.photo, top_k=2)[row.target_index]
        assert (row.target, row.kind, row.flag) == (view.label, "class", view.flag)
        assert row.label == view.explanation.text
        assert row.score == pytest.approx(view.target.score, rel=1e-4)
        assert row.probability == pytest.approx(view.target.probability, rel=1e-4)
        peak = float(view.signed_map.abs().max())
        assert row.map_unit == pytest.approx(peak, rel=1e-4)
        torch.testing.assert_close(row.signed_map, view.signed_map, rtol=0, atol=6e-4 * peak)
        torch.testing.assert_close(row.map, view.map, rtol=0, atol=2e-3 * float(view.map.abs().max()) + 1e-30)
        heat = view.heatmap()
        torch.testing.assert_close(row.heatmap(), heat, rtol=0, atol=2e-3 * peak, equal_nan=True)
        assert row.geometry == view.explanation.geometry
        if row.peak is not None:
            x, y = (min(int(at), side - 1) for at, side in zip(row.peak, row.geometry.photo_size, strict=True))
            assert float(row.heatmap().nan_to_num(nan=-1).max()) == pytest.approx(float(row.heatmap()[y, x]), rel=0.1)


def test_photos_have_a_thumbnail_and_what_the_page_draws(done: Run, folder: Path) -> None:
    photo = done.photos[1]
    assert (
        photo.path == str(folder / "1.png")
        and photo.sha256 == vlcam.explain(make_task(), folder / "1.png").photo.sha256
    )
    assert photo.picture is not None and photo.picture.size == (photo.width, photo.height)
    assert photo.page is not None and photo.page["photo"]["uri"] == "" and len(photo.page["targets"]) == 2


def test_a_photo_that_fails_is_a_row_with_its_error(done: Run) -> None:
    (row,) = done.errors
    assert row.photo == "5 broken.png" and "is not a photo that can be read" in row.error and row.target is None
    (photo,) = done.photos.where(photo="5 broken.png")
    assert photo.error == row.error and photo.thumbnail is None and photo.page is None and photo.picture is None
    with pytest.raises(vlcam.InputError, match=r"5 broken.png failed, so it has no map: .*can be read"):
        row.heatmap()


def test_the_model_is_left_as_it_was(folder: Path, tmp_path: Path) -> None:
    task = make_task()
    task.model.train()
    before = snapshot(task.model)
    vlcam.run(task, folder, tmp_path / "run", limit=4)
    assert snapshot(task.model) == before and task.model.training


def test_what_is_there_is_not_done_again(done: Run, folder: Path, tmp_path: Path) -> None:
    task, out = make_task(), tmp_path / "run"
    vlcam.run(task, folder, out, shard_size=4, batch_size=3, top_k=2)
    (out / name_shard(1)).unlink()
    stamps = {number: (out / name_shard(number)).stat().st_mtime_ns for number in (0, 2)}
    again = vlcam.run(task, folder, out, shard_size=4, batch_size=3, top_k=2)
    assert {number: (out / name_shard(number)).stat().st_mtime_ns for number in (0, 2)} == stamps
    assert again.to_table().equals(done.to_table())
    model: Any = task.model
    model.forwards = 0
    vlcam.run(task, folder, out, shard_size=4, batch_size=3, top_k=2)
    assert model.forwards <= 1  # the check that nothing is wrong with the options


def test_parts_of_several_processes_make_the_same_folder(done: Run, folder: Path, tmp_path: Path) -> None:
    for part in (2, 1):
        run = vlcam.run(make_task(), folder, tmp_path / "run", shard_size=4, batch_size=3, top_k=2, part=(part, 2))
        assert run.is_complete == (part == 1)
    assert run.to_table().equals(done.to_table())


def test_limit_and_shuffle(folder: Path, tmp_path: Path) -> None:
    one = vlcam.run(make_task(), folder, tmp_path / "one", limit=5, shuffle=7, top_k=1)
    same = vlcam.run(make_task(), folder, tmp_path / "same", limit=5, shuffle=7, top_k=1)
    other = vlcam.run(make_task(), folder, tmp_path / "other", limit=5, shuffle=8, top_k=1)
    names = [[photo.photo for photo in run.photos] for run in (one, same, other)]
    assert names[0] == names[1] != names[2] and len(names[0]) == 5 and names[0] != sorted(names[0])


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"method": "gradcam"}, 'method is "auto" there and "gradcam" here'),
        ({"shard_size": 5}, "shard_size is 4 there and 5 here"),
        ({"top_k": 3}, "options.top_k is 2 there and 3 here"),
        ({"limit": 3}, "photos.count is 11 there and 3 here; photos.sha256 is"),
        ({"truth": ["dog"] * 11}, 'photos.truths is nothing there and "sha256:'),
        ({"layer": "stem"}, 'layer is nothing there and "stem" here'),
        ({"targets": ("dog",)}, r'options.targets is \[\] there and \["dog"\] here'),
    ],
)
def test_another_job_into_the_folder_is_refused(done: Run, folder: Path, change: dict[str, Any], differs: str) -> None:
    before = (done.folder / "_manifest.json").read_bytes()
    with pytest.raises(vlcam.InputError, match=f"has the results of another job: {differs}"):
        vlcam.run(make_task(), folder, done.folder, **{"shard_size": 4, "top_k": 2, **change})
    assert (done.folder / "_manifest.json").read_bytes() == before


def test_another_model_into_the_folder_is_refused(done: Run, folder: Path) -> None:
    with pytest.raises(vlcam.InputError, match="another job: weights is"):
        vlcam.run(make_task(2), folder, done.folder, shard_size=4, top_k=2)


def test_a_folder_without_results_takes_another_job(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_photos, "explain_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vlcam.run(make_task(), folder, tmp_path / "run", top_k=2)
    monkeypatch.undo()
    run = vlcam.run(make_task(), folder, tmp_path / "run", top_k=1)
    assert run.manifest["job"]["options"]["top_k"] == 1 and run.is_complete


def test_a_job_whose_folder_was_taken_by_another_writes_nothing_into_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = getattr(run_photos, "explain_shard")  # noqa: B009

    def taken(*arguments: Any) -> Any:
        monkeypatch.undo()
        vlcam.run(make_task(), folder, tmp_path / "run", top_k=1, part=(2, 2), shard_size=4)  # meanwhile
        return real(*arguments)

    monkeypatch.setattr(run_photos, "explain_shard", taken)
    with pytest.raises(vlcam.InputError, match=r"another job: options.top_k is 1 there and 2 here"):
        vlcam.run(make_task(), folder, tmp_path / "run", top_k=2, shard_size=4)
    assert len(vlcam.open_run(tmp_path / "run").photos) == 4


def test_a_reason_that_holds_for_every_photo_is_no_result(folder: Path, tmp_path: Path) -> None:
    photos = [folder / f"{number}.png" for number in range(4)]
    with pytest.raises(vlcam.InputError, match="all of the first 4 photos fail, so nothing was written: "):
        vlcam.run(make_task(), photos, tmp_path / "run", method="c-mwp", layer="fc")
    assert not (tmp_path / "run" / name_shard(0)).exists()


def test_an_interrupt_says_how_to_go_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = getattr(run_photos, "explain_shard")  # noqa: B009

    def interrupted(task: Any, job: Any, number: int, advance: Any) -> Any:
        if number == 1:
            raise KeyboardInterrupt
        return real(task, job, number, advance)

    monkeypatch.setattr(run_photos, "explain_shard", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        vlcam.run(make_task(), folder, tmp_path / "run", shard_size=4)
    assert caught.value.__notes__ == [
        f"interrupted: 4 of 11 photos are done, in '{tmp_path / 'run'}'; run the same again to go on"
    ]
    monkeypatch.undo()
    assert not vlcam.open_run(tmp_path / "run").is_complete
    assert vlcam.run(make_task(), folder, tmp_path / "run", shard_size=4).is_complete


def test_what_would_fail_for_every_photo_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(vlcam.TargetError, match="no class 'lion'"):
        vlcam.run(make_task(), folder, out, targets=("lion",))
    with pytest.raises(vlcam.LayerError, match="stme"):
        vlcam.run(make_task(), folder, out, layer="stme")
    with pytest.raises(vlcam.InputError, match=r"part=\(3, 2\) was given; expected \(i, n\)"):
        vlcam.run(make_task(), folder, out, part=(3, 2))
    with pytest.raises(vlcam.InputError, match="shard_size=0 was given; expected a whole number from 1"):
        vlcam.run(make_task(), folder, out, shard_size=0)
    with pytest.raises(
        vlcam.InputError, match="verify=7 was given; expected True, False or a number of regions from 19"
    ):
        vlcam.run(make_task(), folder, out, verify=7)
    with pytest.raises(vlcam.InputError, match=r"the folder .* has no photos in it"):
        vlcam.run(make_task(), tmp_path, out)
    assert not out.exists()


def test_verify_gives_p_values(folder: Path, tmp_path: Path) -> None:
    run = vlcam.run(make_task(), folder / "0.png", tmp_path / "run", verify=19, top_k=1)
    assert 0 < run[0].p <= 1 and run[0].p_corrected == run[0].p


def test_the_manifest_says_what_was_done(done: Run) -> None:
    manifest = json.loads((done.folder / "_manifest.json").read_text())
    job = manifest["job"]
    assert (job["task"], job["model"], job["method"], job["shard_size"]) == ("classification", "tiny", "auto", 4)
    assert job["photos"]["count"] == 11 and job["options"]["top_k"] == 2 and job["vlcam"] == vlcam.__version__
    assert done[0].revision == job["weights"][:23]


def test_filters(done: Run) -> None:
    rows = list(done)
    assert [one.id for one in done.where(target_index=1)] == [one.id for one in rows if one.target_index == 1]
    likely = done.where(min_probability=0.3, max_target_index=0)
    assert [one.id for one in likely] == [
        one.id for one in rows if (one.probability or 0) >= 0.3 and one.target_index == 0
    ]
    assert len(done.where(pc.field("score") > 0).where(pc.field("score") <= 0)) == 0
    assert len(done.where(target=LABELS, error=None)) == 20
    assert done.where(target=["dog"])[-1].target == "dog"
    with pytest.raises(vlcam.InputError, match="no column 'probabilty'; did you mean probability"):
        done.where(probabilty=3)
    with pytest.raises(vlcam.InputError, match="can't be filtered by"):
        done.where(probability="much")
    with pytest.raises(IndexError, match="row 21 was asked for; there are 21"):
        done[21]
    assert done[-1].id == rows[-1].id


def test_tables(done: Run, tmp_path: Path) -> None:
    frame = done.to_frame()
    assert len(frame) == 21 and list(frame.columns) == ROWS.names
    assert done.to_frame(["photo", "p"]).shape == (21, 2)
    lines = done.to_csv(tmp_path / "rows.csv").read_text().splitlines()
    assert len(lines) == 22 and lines[0].startswith("id,photo_index,photo,") and ",map," not in lines[0]
    assert repr(done).endswith("21 rows, 11 of 11 photos, tiny, auto)") and "0.png" in repr(done[0])


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(vlcam.InputError, match=r"has no _manifest.json; expected a folder that vlcam run wrote"):
        vlcam.open_run(tmp_path)
    with pytest.raises(vlcam.InputError, match="there is no folder"):
        vlcam.open_run(tmp_path / "nothing")
    (tmp_path / "_manifest.json").write_text('{"schema": 99, "job": {}}')
    with pytest.raises(vlcam.InputError, match="a later version of vlcam"):
        vlcam.open_run(tmp_path)
    (tmp_path / "_manifest.json").write_text("[]")
    with pytest.raises(vlcam.InputError, match="is something else; expected the manifest of a run"):
        vlcam.open_run(tmp_path)


def test_a_broken_shard(done: Run, folder: Path, tmp_path: Path) -> None:
    run = vlcam.run(make_task(), folder, tmp_path / "run", limit=2)
    (run.folder / name_shard(0)).write_bytes(b"PAR1 no more")
    with pytest.raises(vlcam.InputError, match=r"part-000000.parquet' can't be read: .*remove it and run again"):
        vlcam.open_run(run.folder)
