"""The folder of a run as others read it: pandas, Polars, DuckDB and Hugging Face's datasets, without anything of vlcam's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runs.tiny_run import run_slowly
from vlcam.runs import PHOTOS, ROWS, Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    home, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    for number in range(7):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(home / f"{number}.png")
    (home / "broken.png").write_bytes(b"no picture")
    return run_slowly(home, tmp_path_factory.mktemp("out") / "run")


def test_pandas_reads_the_folder(run: Run) -> None:
    import pandas

    frame = pandas.read_parquet(run.folder)
    assert list(frame.columns) == ROWS.names and len(frame) == 15
    assert frame["map"][0].dtype == np.float16 and len(frame["map"][0]) == 64
    assert frame.dropna(subset="target").groupby("photo")["probability"].max().between(0, 1).all()
    assert frame["error"].notna().sum() == 1


def test_polars_reads_the_folder(run: Run) -> None:
    import polars

    for frame in (
        polars.read_parquet(run.folder / "*.parquet"),
        polars.scan_parquet(run.folder / "*.parquet").collect(),
    ):
        assert frame.shape == (15, len(ROWS.names))
        largest = frame.filter(polars.col("flag") == "ok").select(polars.col("map").list.max().cast(polars.Float32))
        assert len(largest) > 0 and float(largest["map"].max()) == 1.0  # type: ignore[arg-type]


def test_duckdb_reads_the_folder(run: Run) -> None:
    import duckdb

    def ask(query: str) -> list[Any]:
        found: Any = duckdb.sql(query)
        return list(found.fetchall())

    ((count, top),) = ask(f"select count(*), max(list_max(map)) from '{run.folder}/*.parquet' where flag = 'ok'")
    assert count == len(run.where(flag="ok")) > 0 and top == 1.0
    labels = ask(f"select label, count(*) from '{run.folder}/*.parquet' where target_index = 0 group by label")
    assert sum(number for _, number in labels) == 7


def test_datasets_reads_the_folder(run: Run, tmp_path: Path) -> None:
    import datasets

    files = [str(one) for one in sorted(run.folder.glob("*.parquet"))]
    dataset = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path))
    assert len(dataset) == 15 and dataset.column_names == ROWS.names
    assert len(dataset[0]["map"]) == 64 and dataset[0]["id"] == "0:0"
    loaded = datasets.load_dataset(
        "parquet", data_files=f"{run.folder}/*.parquet", split="train", cache_dir=str(tmp_path)
    )
    assert loaded["id"][:] == dataset["id"][:]
    whole = datasets.load_dataset(str(run.folder), split="train", cache_dir=str(tmp_path))  # the folder as it is
    assert whole["id"][:] == dataset["id"][:]
    photos = datasets.load_dataset(str(run.folder), "photos", split="train", cache_dir=str(tmp_path))
    assert len(photos) == 8 and photos.column_names == PHOTOS.names
