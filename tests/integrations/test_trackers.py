"""Heatmaps in MLflow and Trackio: the documented calls on stand-ins, and what the real packages have kept afterwards."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vlcam
from tests.integrations.test_integrations import PREPROCESS, installed, photos, task
from tests.support.trackers import stay_local
from vlcam.integrations import Heatmaps, MlflowWriter, WandbWriter
from vlcam.tasks.classification import Classification


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, and settings that keep the real packages on this machine."""
    stay_local(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def fake_mlflow(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What is called of mlflow."""
    made: list[Any] = []

    def note(name: str) -> Any:
        return lambda *given, **options: made.append((name, *given[:1], options or given[1:]))

    def create_run(experiment: str, run_name: str | None) -> SimpleNamespace:
        made.append(("create", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id="new"))

    client = SimpleNamespace(
        log_image=lambda run, pixels, **options: made.append(("image", run, pixels.shape, options)),
        log_metric=lambda run, key, value, **options: made.append(("metric", run, key, value, options["step"])),
        log_text=lambda run, text, name: made.append(("text", run, name, text[:15])),
        create_run=create_run,
        create_experiment=lambda name: f"of {name}",
        get_experiment_by_name=lambda name: SimpleNamespace(experiment_id="7") if name == "there" else None,
        set_terminated=note("ended"),
    )
    module = SimpleNamespace(made=made, MlflowClient=lambda uri: client, active_run=lambda: None)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def test_mlflow_gets_images_by_step_and_metrics(fake_mlflow: SimpleNamespace) -> None:
    writer = MlflowWriter(tracking_uri="sqlite:///x.db", experiment="there", name="first")
    heatmaps = Heatmaps(task(), {"one": photos()[0]}, writer, targets="cat", strict=True)
    assert fake_mlflow.made == []  # nothing is opened before the first picture
    (picture,) = heatmaps.log(1, step=8)
    writer.log_report(heatmaps.explain(), "after")
    heatmaps.close()
    assert fake_mlflow.made == [
        ("create", "7", "first"),
        ("image", "new", (30, 80, 3), {"key": "heatmaps/one/cat", "step": 8, "synchronous": True}),
        ("metric", "new", "heatmaps/one/cat/probability", picture.target.probability, 8),
        ("text", "new", "heatmaps/after.html", "<!doctype html>"),
        ("ended", "new", ()),
    ]
    fake_mlflow.made.clear()
    heatmaps = Heatmaps(task(), photos(1), MlflowWriter(tracking_uri="x", experiment="new"), targets="cat", strict=True)
    heatmaps.log(1)
    assert fake_mlflow.made[0] == ("create", "of new", None)


@pytest.mark.parametrize("how", ["active", "object", "id"])
def test_a_run_of_mlflow_that_is_there_is_used_and_stays_open(fake_mlflow: SimpleNamespace, how: str) -> None:
    run = SimpleNamespace(info=SimpleNamespace(run_id="theirs"))
    if how == "active":
        fake_mlflow.active_run = lambda: run
    given = {"active": None, "object": run, "id": "theirs"}[how]
    heatmaps = Heatmaps(task(), photos(1), MlflowWriter(given), targets="cat", strict=True)
    heatmaps.log(1, step=8)
    heatmaps.close()
    assert [(one[0], one[1]) for one in fake_mlflow.made] == [("image", "theirs"), ("metric", "theirs")]


def test_keys_are_what_mlflow_takes_and_differ(fake_mlflow: SimpleNamespace) -> None:
    labels = ["a/b", "..", "a-b", "dog: big", "x" * 200]
    one = Classification(task().model, labels, PREPROCESS, layer="block")
    Heatmaps(one, {"../é": photos()[0]}, MlflowWriter("run"), targets=labels, strict=True).log(0)
    keys = [made[3]["key"] for made in fake_mlflow.made if made[0] == "image"]
    assert len(set(keys)) == len(labels)
    for key in keys:
        assert re.fullmatch(r"[a-zA-Z0-9_\-./ ]+", key) and len(key) < 180
        assert all(part.strip(".") for part in key.split("/")) and key.count("/") == 2


def test_wrong_arguments_of_trackers_are_named(fake_mlflow: SimpleNamespace) -> None:
    with pytest.raises(vlcam.InputError, match="a int was given as run; expected a run of MLflow or its id"):
        MlflowWriter(3)
    with pytest.raises(vlcam.InputError, match="no package 'aim'"):
        WandbWriter(package="aim")
    with pytest.raises(vlcam.InputError, match="no explanations were given"):
        MlflowWriter("run").log_report([])
    assert fake_mlflow.made == []


@pytest.mark.parametrize("extra", ["mlflow", "trackio"])
def test_missing_trackers_are_named_with_their_extras(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    monkeypatch.setitem(sys.modules, extra, None)
    with pytest.raises(vlcam.InputError, match=rf"pip install 'vlcam\[{extra}\]'"):
        MlflowWriter() if extra == "mlflow" else WandbWriter(package="trackio")


def test_trackio_is_used_as_wandb_with_its_own_place_for_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    current = SimpleNamespace(run=None)

    def init(**options: Any) -> Any:
        made.append(("init", options))
        current.run = SimpleNamespace(log=lambda found, step: made.append((sorted(found), step)))
        return current.run

    def finish() -> None:
        made.append("finished")
        current.run = None

    module = SimpleNamespace(
        run=sys,  # a module, as trackio's is
        init=init,
        finish=finish,
        Image=lambda pixels, caption: pixels.shape,
        context_vars=SimpleNamespace(current_run=SimpleNamespace(get=lambda: current.run)),
    )
    monkeypatch.setitem(sys.modules, "trackio", module)
    heatmaps = Heatmaps(
        task(), {"one": photos()[0]}, WandbWriter(package="trackio", project="p"), targets="cat", strict=True
    )
    heatmaps.log(1, step=8)
    heatmaps.close()
    keys = ["heatmaps/epoch", "heatmaps/one/cat", "heatmaps/one/cat/probability", "heatmaps/step"]
    assert made == [("init", {"project": "p", "embed": False}), (keys, 8), "finished"]
    made.clear()
    init()  # somebody's own run: used at its own step, and left open
    heatmaps.log(2, step=9)
    heatmaps.close()
    assert made[1:] == [(keys, None)]


# --- the real packages ----------------------------------------------------------------------------------------------------------


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_mlflow_on_sqlite_keeps_images_by_step_metrics_and_the_report(local: Path) -> None:
    mlflow = installed("mlflow")
    uri = f"sqlite:///{local}/mlflow.db"
    writer = MlflowWriter(tracking_uri=uri, experiment="pets")
    heatmaps = Heatmaps(task(), {"my photo": photos()[0]}, writer, targets=["cat", "eel"], strict=True)
    found = [heatmaps.log(epoch, step=10 * epoch) for epoch in (1, 2)]
    writer.log_report(heatmaps.explain())
    heatmaps.close()
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("pets").experiment_id])
    assert run.info.status == "FINISHED" and mlflow.active_run() is None
    curve = client.get_metric_history(run.info.run_id, "heatmaps/my photo/cat/probability")
    assert [(one.step, one.value) for one in curve] == [
        (10 * epoch, pictures[0].value[1]) for epoch, pictures in enumerate(found, 1)
    ]
    images = [one.path for one in client.list_artifacts(run.info.run_id, "images") if one.path.endswith(".png")]
    assert len(images) == 4
    (file,) = [path for path in images if "cat" in path and "+step+20+" in path]
    with Image.open(client.download_artifacts(run.info.run_id, file, str(local))) as picture:
        assert (np.asarray(picture.convert("RGB")) == found[1][0].pixels).all()
    page = Path(client.download_artifacts(run.info.run_id, "heatmaps/report.html", str(local))).read_text()
    assert page.startswith("<!doctype html>") and all(label in page for label in ("cat", "eel"))


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_mlflow_without_a_run_makes_one_where_its_settings_say_and_leaves_none_active(local: Path) -> None:
    mlflow = installed("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{local}/mlflow.db")
    try:
        experiment = mlflow.set_experiment("chosen").experiment_id
        heatmaps = Heatmaps(task(), photos(1), MlflowWriter(name="pictures"), targets="cat", strict=True)
        heatmaps.log(1)
        client = mlflow.MlflowClient()
        (run,) = client.search_runs([experiment])
        assert (run.info.status, run.info.run_name, mlflow.active_run()) == ("RUNNING", "pictures", None)
        heatmaps.close()
        assert client.get_run(run.info.run_id).info.status == "FINISHED"
        with mlflow.start_run() as own:
            Heatmaps(task(), photos(1), MlflowWriter(), targets="cat", strict=True).log(3)
        assert client.get_metric_history(own.info.run_id, "heatmaps/photo 0/cat/probability")[0].step == 3
    finally:
        mlflow.set_experiment(experiment_id="0")
        mlflow.set_tracking_uri(before)


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_trackio_keeps_images_and_numbers(local: Path) -> None:
    trackio = installed("trackio")
    writer = WandbWriter(package="trackio", project="pets", name="first")
    heatmaps = Heatmaps(task(), {"my photo": photos()[0]}, writer, targets="cat", strict=True)
    found = [heatmaps.log(epoch, step=10 * epoch)[0] for epoch in (1, 2)]
    heatmaps.close()
    assert trackio.context_vars.current_run.get() is None
    rows = trackio.SQLiteStorage.get_logs("pets", "first")
    values = {row["step"]: row for row in rows if "heatmaps/my photo/cat" in row}
    for picture in found:
        row = values[picture.step]
        assert row["heatmaps/my photo/cat/probability"] == pytest.approx(picture.target.probability)
        image = row["heatmaps/my photo/cat"]
        assert image["caption"] == picture.caption
        with Image.open(local / "media" / image["file_path"]) as kept:
            assert (np.asarray(kept.convert("RGB")) == picture.pixels).all()
