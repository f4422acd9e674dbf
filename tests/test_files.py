"""Files that are written whole or not at all, read with a reason, and records that come back from JSON as they were."""

import math
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pytest

from vlcam.contracts import InputError
from vlcam.files import (
    RecordError,
    check_file,
    decode_record,
    describe_error,
    dump_json,
    encode_record,
    escape_cell,
    make_slug,
    name_unwritable,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    reading,
    replace_file,
    stage_files,
    stage_folder,
    unescape_cell,
    write_bytes,
    write_json,
    write_text,
    writing,
)

# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(28, "No space left on device", "/a"), "No space left on device"),
        (OSError("odd"), "odd"),
        (ValueError("one\n  two"), "one two"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 999), "x" * 200),
    ],
)
def test_an_error_in_one_short_line(error: Exception, expected: str) -> None:
    assert describe_error(error) == expected


def test_reading_says_what_was_expected(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(InputError, match=r"file' can't be read: No such file or directory; expected a list"):
        read_text(file, "a list")
    with pytest.raises(InputError, match=r"can't be read: Is a directory; expected a list"):
        read_bytes(tmp_path, "a list")
    with pytest.raises(InputError, match=r"can't be read: embedded null byte; expected a list"):
        read_bytes("a\0b", "a list")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"can't be read: it is not UTF-8 text; expected a list"):
        read_text(file, "a list")
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"file' is not JSON \(.*\); expected a list"):
        read_json(file, "a list")
    with pytest.raises(InputError, match=r"the text is not JSON \(NaN is not a JSON number\); expected a list"):
        parse_json("[NaN]", "the text", "a list", strict=True)
    assert math.isnan(parse_json("[NaN]", "the text", "a list")[0])


def test_a_file_has_to_be_a_regular_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with pytest.raises(InputError, match=rf"there is no file '.*file' \(looked from {Path.cwd()}\); check the path"):
        check_file(file, "a photo")
    with pytest.raises(InputError, match="is a folder; expected a photo: give the path of one file in it"):
        check_file(tmp_path, "a photo")
    with pytest.raises(InputError, match="'/dev/null' is not a regular file; expected a photo"):
        check_file("/dev/null", "a photo")
    file.write_bytes(b"abc")
    assert check_file(file, "a photo") == 3


def test_text_comes_without_a_mark_and_with_plain_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(file, "a text") == "a\nb\nc\n"
    assert read_text(file, "a text", keep_line_ends=True) == "a\r\nb\rc\n"


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_bytes(file, "a number", most=5) == b"12345"
    with pytest.raises(InputError, match="has 5 bytes; expected at most 4 for a number"):
        read_bytes(file, "a number", most=4)
    monkeypatch.setattr(reading, "MAX_TEXT_BYTES", 4)
    with pytest.raises(InputError, match="has 5 bytes; expected at most 4 for a number"):
        read_json(file, "a number")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_may_be_read_up_to_the_limit(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for most in (5, 4):
        writer = threading.Thread(target=pipe.write_bytes, args=(b"12345",), daemon=True)
        writer.start()
        if most == 5:
            assert read_bytes(pipe, "a number", most=most) == b"12345"
        else:
            with pytest.raises(InputError, match="has 5 bytes; expected at most 4"):
                read_bytes(pipe, "a number", most=most)
        writer.join()


# --- writing ----------------------------------------------------------------------------------------------------------


def test_staged_files_arrive_together_or_not_at_all(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        with stage_files(folder) as scratch:
            (scratch / "a").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half(tmp_path / "x" / "y")
    assert list(tmp_path.iterdir()) == []
    with stage_files(tmp_path / "x" / "y") as scratch:
        (scratch / "a").write_text("new")
        assert not (tmp_path / "x" / "y" / "a").exists()
    assert [one.name for one in (tmp_path / "x" / "y").iterdir()] == ["a"]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from vlcam.files import stage_files, writing
    out, moves = Path(sys.argv[1]), int(sys.argv[2])
    inner = Path.replace
    def replace(self, target):
        global moves
        if moves == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        moves -= 1
        return inner(self, target)
    Path.replace = replace
    with stage_files(out) as scratch:
        for name in "abc":
            (scratch / name).write_text("new")
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no kill -9")
@pytest.mark.parametrize("moves", range(4))
def test_a_killed_process_leaves_whole_files_and_the_next_one_finishes(tmp_path: Path, moves: int) -> None:
    for name in "ab":
        (tmp_path / name).write_text("old")
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(moves)], timeout=60, check=False
    )
    assert ran.returncode == -signal.SIGKILL
    left = {one.name: one.read_text() for one in tmp_path.iterdir() if one.is_file()}
    assert set(left.values()) <= {"old", "new"} and {"a", "b"} <= left.keys()
    with stage_files(tmp_path) as scratch:
        (scratch / "d").write_text("later")
    now = {one.name: one.read_text() for one in tmp_path.iterdir()}
    expected = {"a": "old", "b": "old"} if moves == 0 else {"a": "new", "b": "new", "c": "new"}
    assert now == {**expected, "d": "later"}


@pytest.mark.parametrize("step", range(4))
def test_a_move_that_fails_brings_the_old_files_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    (tmp_path / "a").write_text("old")
    inner, count = Path.replace, [0]

    def replace(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] == step + 1:
            raise OSError(28, "No space left on device")
        return inner(self, target)

    def fill() -> None:
        with stage_files(tmp_path) as scratch:
            for name in "abc":
                (scratch / name).write_text("new")
            monkeypatch.setattr(Path, "replace", replace)

    with pytest.raises(InputError, match=r"can't be written: No space left on device"):
        fill()
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"a": "old"}


def test_parts_of_ended_processes_are_swept_and_those_of_others_are_not(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    mine, other = writing._make_part_name(), f".vlcam-00000000-1-{'0' * 16}"
    theirs = mine.replace(f"-{os.getpid()}-", f"-{int(ended.stdout)}-")
    for name in (mine, theirs, other, f"{other}.old", ".vlcamera"):
        (tmp_path / name).write_text("part")
    os.utime(tmp_path / f"{other}.old", (0, 0))
    write_text(tmp_path / "file", "text")
    expected = {mine, other, ".vlcamera", "file"} | ({theirs} if os.name != "posix" else set())
    assert {one.name for one in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@a", "\ta", "\ra", "'=a", "''-a"])
def test_cells_that_look_like_formulas_come_back(cell: str) -> None:
    assert escape_cell(cell) == f"'{cell}" and unescape_cell(f"'{cell}") == cell
    assert escape_cell(f"a{cell}") == f"a{cell}" and unescape_cell("'twas") == "'twas"


def test_a_failing_write_keeps_the_old_text(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "new \ud800")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "old")]


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_bytes(file, b"old")

    def half() -> None:
        with replace_file(file) as part:
            part.write_bytes(b"ne")
            assert part.parent == tmp_path and part.suffix == ".txt" and file.read_bytes() == b"old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file.txt", b"old")]
    with replace_file(file) as part:
        part.write_bytes(b"new")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file.txt", b"new")]


def test_what_can_not_be_written_is_named(tmp_path: Path) -> None:
    for name in ("no/file", "x" * 400, "nul\0"):
        with pytest.raises(InputError, match=r"can't be written: .*; give another place"), name_unwritable(name):
            write_text(tmp_path / name, "text")
    with pytest.raises(RuntimeError, match="a bug"), name_unwritable(tmp_path):
        raise RuntimeError("a bug")
    assert list(tmp_path.iterdir()) == []


def test_json_and_text_as_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"é": [math.nan, 1]})
    assert (tmp_path / "a").read_bytes() == b'{\n "\\u00e9": [\n  null,\n  1\n ]\n}\n'
    write_json(tmp_path / "a", (1, 2), indent=None)
    assert (tmp_path / "a").read_bytes() == b"[1, 2]\n"
    write_text(tmp_path / "a", "a\r\n\udce9", errors="replace")
    assert (tmp_path / "a").read_bytes() == b"a\r\n?"
    assert dump_json({"a": -math.inf}) == '{"a": null}'


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_is_filled_whole_or_not_at_all(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "folder"
    if there:
        folder.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))

    def half() -> None:
        with stage_folder(folder) as scratch:
            (scratch / "below").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert sorted(tmp_path.rglob("*")) == before
    with stage_folder(folder) as scratch:
        (scratch / "below").mkdir()
        write_text(scratch / "below" / "a", "new")
        assert not (folder / "below").exists()
    assert [one.name for one in (folder / "below").iterdir()] == ["a"] and len(list(folder.iterdir())) == 1
    plain = tmp_path / "plain"
    plain.mkdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    with pytest.raises(InputError, match="is not empty"), stage_folder(folder):
        pass


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("..\\..\\windows", "windows"),
        ("scene:7", "scene-7"),
        ("a b/c.png", "a-b-c.png"),
        (".hidden", "hidden"),
        ("...", "image"),
        ("", "image"),
        ("x" * 500, "x" * 60),
    ],
)
def test_slugs_are_safe(name: str, expected: str) -> None:
    assert make_slug(name) == expected


# --- records ----------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Leaf:
    name: str
    size: float
    kind: Literal["a", "b"] = "a"
    pair: tuple[int, float] | None = None


@final
@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    facts: Mapping[str, Any]
    done: bool = False


TREE = Tree((Leaf("x", 0.1), Leaf("y", -math.inf, "b", (3, 2.0))), {"any": [1, {"thing": None}]}, True)


def test_records_come_back_as_they_were() -> None:
    assert decode_record(Tree, encode_record(TREE, nonfinite="text"), "tree") == TREE
    odd: Any = {"size": np.float32(0.5), "pair": (np.int64(3), math.nan)}
    told = encode_record(replace(TREE.leaves[0], **odd), nonfinite="null")
    assert told == {"name": "x", "size": 0.5, "kind": "a", "pair": [3, None]} and type(told["size"]) is float
    back = decode_record(Leaf, {**told, "size": 2}, "leaf", null_is_nan=True)
    assert type(back.size) is float and back.size == 2 and back.pair is not None and math.isnan(back.pair[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"done": 1}, "tree.done is 1; expected true or false"),
        ({"leaves": {}}, "tree.leaves is {}; expected a list"),
        ({"leaves": [3]}, "tree.leaves[0] is 3; expected an object"),
        ({"facts": []}, "tree.facts is []; expected an object"),
        ({"more": 1, "and": 2}, "tree has the unknown 'and', 'more'"),
        ({"name": 1}, "tree.leaves[0].name is 1; expected a text"),
        ({"size": True}, "tree.leaves[0].size is True; expected a number"),
        ({"size": "big"}, "tree.leaves[0].size is 'big'; expected a number"),
        ({"size": None}, "tree.leaves[0].size is None; expected a number"),
        ({"size": 10**400}, f"tree.leaves[0].size is {str(10**400)[:60]}; expected a number"),
        ({"kind": "c"}, "tree.leaves[0].kind is 'c'; expected one of a, b"),
        ({"pair": [1]}, "tree.leaves[0].pair is [1]; expected a list of 2"),
        ({"pair": [1.0, 2]}, "tree.leaves[0].pair[0] is 1.0; expected a whole number"),
    ],
)
def test_what_is_no_such_record_is_named(change: dict[str, Any], message: str) -> None:
    tree = encode_record(TREE, nonfinite="text")
    own = set(change) & set(tree["leaves"][0])
    (tree["leaves"][0] if own else tree).update(change)
    with pytest.raises(RecordError) as caught:
        decode_record(Tree, tree, "tree")
    assert str(caught.value) == message


def test_every_field_has_to_be_there() -> None:
    tree = encode_record(TREE, nonfinite="text")
    del tree["done"], tree["facts"]
    with pytest.raises(RecordError, match=r"^tree lacks done, facts$"):
        decode_record(Tree, tree, "tree")


def test_a_small_file_takes_little_memory_whatever_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 200_000)
    tracemalloc.start()
    try:
        assert len(read_text(tmp_path / "a.txt", "a text")) == 200_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20  # the limit is 2 GiB


@pytest.mark.parametrize("size", [0, 1, 2**16, 2**16 + 1, 300_000])
def test_a_file_is_read_to_its_end_and_no_further_than_its_limit(tmp_path: Path, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    (tmp_path / "a").write_bytes(data)
    assert read_bytes(tmp_path / "a", "a file", most=max(size, 1)) == data
    if size > 1:
        with pytest.raises(InputError, match=f"has {size:,} bytes; expected at most {size - 1:,}"):
            read_bytes(tmp_path / "a", "a file", most=size - 1)
