"""The benchmarks run; how fast is for a quiet machine to say."""

import json
import re
import runpy
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import vlcam


@pytest.mark.extended
def test_the_speed_benchmark_runs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = str(torch.get_num_threads())
    monkeypatch.setattr(sys, "argv", ["speed.py", "--short", "--rounds", "1", "--threads", threads])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tests" / "benchmarks" / "speed.py"), run_name="__main__")
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(" ms  vlcam " in line for line in lines[::2])
    peaks = [re.search(r"peak memory in MiB: bare (\d+)  vlcam (\d+)", line) for line in lines[1::2]]
    assert all(one is not None and int(one[1]) > 0 and int(one[2]) > 0 for one in peaks), lines[1::2]


@pytest.mark.extended
def test_the_recipe_benchmark_runs(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = str(torch.get_num_threads())
    monkeypatch.setattr(sys, "argv", ["recipe.py", "--short", "--rounds", "1", "--threads", threads])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tests" / "benchmarks" / "recipe.py"), run_name="__main__")
    assert end.value.code == 0  # 1 if the maps differ
    first, *rows, last = capsys.readouterr().out.splitlines()
    assert first.startswith("largest difference of vlcam's maps: ")
    assert [row.split()[0] for row in rows] == ["plain", "careful", "vlcam", "bare"]
    assert "times faster than the plain recipe" in last


@pytest.mark.extended
def test_the_benchmark_of_runs_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "run_throughput.py"))
    threads = str(torch.get_num_threads())
    assert bench["main"](["--short", "--rounds", "1", "--images", "16", "--memory", "--threads", threads]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and [line.split(",")[0] for line in lines[:6:2]] == [
        "captioner",
        "question answerer",
        "classifier",
    ]
    assert lines[6].startswith("run by a bare loop") and "resident memory after     40 photos" in lines[8]


def test_the_benchmark_of_real_photos_says_what_it_lacks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "real_photos.py"))
    bench["main"].__globals__["folder"] = lambda: None
    assert bench["main"](["--photos", "2"]) == 2
    assert "no folder shared/real" in capsys.readouterr().err


@pytest.mark.extended
def test_the_comparison_of_metrics_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "metric_peers.py"))
    assert bench["main"](["--short"]) == 0  # 1 if a peer's number differs where the formula is the same
    first, *rows = capsys.readouterr().out.splitlines()
    assert "maps of the bundled classifier; not installed: " in first
    assert all("largest difference" in row or row.startswith("    ") for row in rows)


@pytest.mark.extended
def test_the_comparison_of_faithfulness_runs_or_says_what_it_lacks(root: Path) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "faithfulness_peers.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peers' own
        code = bench["main"](["--photos", "1", "--threads", str(torch.get_num_threads())])
    assert code in (0, 2)  # 2: no peer is installed


@pytest.mark.extended
def test_the_comparison_of_the_drop_in_runs_or_says_what_it_lacks(
    root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "drop_in.py"))
    code = bench["main"](["--short", "--images", "2", "--json", str(tmp_path / "table.json")])
    printed = capsys.readouterr()
    if code:
        assert code == 2 and "pytorch-grad-cam can't be imported" in printed.err
    else:
        rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"]
        assert [row[0] for row in rows[:4]] == ["`GradCAM`", "`HiResCAM`", "`LayerCAM`", "`XGradCAM`"]
        assert all(row[2] == row[3] == "4" for row in rows[:4])


def test_the_experiments_on_real_photos_say_what_they_lack(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = runpy.run_path(str(root / "tests" / "benchmarks" / "real_experiments.py"))
    bench["REAL"]["folder"] = lambda: None
    assert bench["main"]([]) == 2
    assert "no folder shared/real" in capsys.readouterr().err


def test_the_world_that_knows_places_is_trained_and_asked(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = runpy.run_path(str(root / "tests" / "benchmarks" / "worlds" / "flatten_vqa.py"))
    assert world["main"]([str(tmp_path), "--steps", "3", "--scenes", "6"]) == 0
    task = world["load_task"](tmp_path)
    trained = json.loads((tmp_path / "flatten_vqa.json").read_text(encoding="utf-8"))
    assert 0 <= trained["accuracy"] <= 1 and trained["steps"] == 3
    scene = world["make_scene"](1, "test")
    assert len(scene.objects) == 2
    for question in world["list_questions"](scene, 3):  # its own preprocessing is what it was trained with
        explanation = vlcam.explain(task, scene.image(64), question=question.text, top_k=1)
        assert explanation.layer == "features" and explanation.maps.shape == (1, 16, 16)
        inputs = world["to_input"](torch.from_numpy(scene.image(64))[None])
        logits = task.model(inputs, world["read_words"](question.text))[0]
        assert explanation.targets[0].score == pytest.approx(float(logits.max().detach()), abs=1e-5)
    capsys.readouterr()
    assert (
        world["main"](
            [str(tmp_path), "--methods", "gradcam,layercam", "--layers", "features,middle", "--measured", "8"]
        )
        == 0
    )
    table = capsys.readouterr().out
    assert not table or len(table.splitlines()) == 4  # after three steps, none of the answers may be right
    for case in world["draw_cases"](task, "test", 0, 8):
        assert case.question.answer not in ("no", "0") and case.mask.shape == (64, 64) and bool(case.mask.any())


def test_a_recogniser_is_built_from_a_file_of_onnx(root: Path, tmp_path: Path) -> None:
    world = runpy.run_path(str(root / "tests" / "benchmarks" / "worlds" / "text_recogniser.py"))
    wheel, likely = write_wheel(tmp_path, world["Recogniser"])
    model, characters = world["build_recogniser"](wheel)
    drawn = world["draw_text"](3)
    assert characters[:3] == ["", "a", "b"] and len(drawn.text) == len(drawn.boxes)
    inputs = world["to_input"](drawn.picture)
    assert torch.allclose(model(inputs), likely(inputs), atol=1e-5)
    said, places = world["read_text"](model, characters, drawn.picture)
    assert len(said) == len(places)
    task = world["make_task"](model, "ab", [(0, 1), (2, 2)])
    explanation = vlcam.explain(task, drawn.picture)
    assert explanation.maps.shape[:2] == (2, 8) and explanation.targets[1].score < 0
    assert world["judge_peak"](torch.eye(5)[:, :3] * torch.tensor([0.0, 1.0, 0.0]), (1, 1, 2, 2), 0.0) == (True, True)
    assert world["judge_peak"](torch.eye(5)[:, :3] * torch.tensor([0.0, 1.0, 0.0]), (1, 3, 2, 4), 0.0) == (True, False)


def test_the_benchmark_of_the_text_recogniser_says_what_it_lacks(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = runpy.run_path(str(root / "tests" / "benchmarks" / "worlds" / "text_recogniser.py"))
    assert world["main"]([str(tmp_path / "none.whl")]) == 2
    assert "pip download ddddocr --no-deps" in capsys.readouterr().err


# --- a small file of ONNX, as ddddocr's wheel has one -----------------------------------------------------------------------------


def write_wheel(folder: Path, build: Any) -> tuple[Path, Any]:
    """A wheel with random weights for the recogniser, and the model that they were taken from."""
    count = 8210
    torch.manual_seed(0)
    model = build(count).eval()
    tensors: dict[str, torch.Tensor] = {}
    nodes = []
    for number, layer in enumerate(one for one in model.modules() if isinstance(one, torch.nn.Conv2d)):
        assert layer.bias is not None
        tensors |= {f"w{number}": layer.weight, f"b{number}": layer.bias}
        nodes.append(("Conv", ["x", f"w{number}", f"b{number}"]))
    lstm = model.lstm
    sides = ("", "_reverse")
    for name, kind in (("W", "weight_ih"), ("R", "weight_hh")):
        tensors[name] = torch.stack([sort_gates(getattr(lstm, f"{kind}_l0{side}")) for side in sides])
    biases = [
        torch.cat([sort_gates(getattr(lstm, f"{kind}_l0{side}")) for kind in ("bias_ih", "bias_hh")]) for side in sides
    ]
    tensors |= {"B": torch.stack(biases), "G": model.out.weight, "C": model.out.bias}
    nodes += [("LSTM", ["x", "W", "R", "B"]), ("Gemm", ["x", "G", "C"])]
    graph = b"".join(
        encode(1, b"".join([*(encode(1, one.encode()) for one in given), encode(4, name.encode())]))
        for name, given in nodes
    )
    for name, tensor in tensors.items():
        sizes = b"".join(encode(1, size) for size in tensor.shape)
        raw = tensor.detach().numpy().astype("<f4").tobytes()
        graph += encode(5, sizes + encode(2, 1) + encode(8, name.encode()) + encode(9, raw))
    letters = ["", "a", "b", *(chr(0x4E00 + number) for number in range(count - 3))]
    source = f"class Manager:\n    def _get_beta_charset(self):\n        return {letters!r}\n"
    path = folder / "small.whl"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("ddddocr/common.onnx", encode(7, graph))
        packed.writestr("ddddocr/models/charset_manager.py", source)
    return path, model


def sort_gates(rows: torch.Tensor) -> torch.Tensor:
    """From torch's order (input, forget, cell, output) to that of ONNX (input, output, forget, cell)."""
    first, forget, cell, output = rows.chunk(4)
    return torch.cat([first, output, forget, cell])


def encode(field: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return encode_number(field << 3) + encode_number(value)
    return encode_number(field << 3 | 2) + encode_number(len(value)) + value


def encode_number(value: int) -> bytes:
    """A protobuf varint."""
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])
