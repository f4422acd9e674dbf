"""The folder of a gallery: what is in it, that it is replaced as a whole, and what is refused."""

import re
from pathlib import Path

import pandas as pd
import pytest

from vlcam.cli import main
from vlcam.errors import InputError
from vlcam.gallery import make_gallery
from vlcam.gallery import one_run as module


def list_files(folder: Path) -> set[str]:
    return {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()}


def test_a_gallery_is_one_page_and_one_folder(classified: Path) -> None:
    home = classified / "_gallery"
    assert sorted(one.name for one in home.iterdir()) == ["files-1", "index.html"]
    found = list_files(home / "files-1")
    assert {
        "view.html",
        "assets/page.js",
        "assets/gallery.css",
        "data/about.js",
        "data/index-0000.js",
        "data/tiles-0000.js",
    } <= found
    page = (home / "index.html").read_text("utf-8")
    for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (home / address).is_file(), address


def test_pages_allow_files_beside_them_and_nothing_inline(classified: Path) -> None:
    for page in (classified / "_gallery").rglob("*.html"):
        text = page.read_text("utf-8")
        (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'" and rules["script-src"] == rules["frame-src"] == "'self' file:"
        assert rules["img-src"] == "data:" and "unsafe" not in policy and "http" not in policy
        assert not re.search(r"<script(?![^>]*(src=|application/json))|<style|\sstyle=|\son\w+=", text)


def test_nothing_names_a_network_or_this_machine(classified: Path) -> None:
    for one in (classified / "_gallery").rglob("*"):
        if one.is_file():
            text = one.read_text("utf-8")
            assert str(classified) not in text
            assert set(re.findall(r"https?://[^\s\"'`]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_readers_of_parquet_folders_dont_see_it(classified: Path) -> None:
    frame = pd.read_parquet(classified, columns=["photo", "label"])
    assert frame["photo"].nunique() == 60


def test_made_again_it_is_replaced_when_it_is_whole(own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = own_copy / "_gallery"
    before = (home / "index.html").read_text("utf-8")

    def fail(part: Path) -> None:
        raise InputError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_photos", fail)
        with pytest.raises(InputError, match="the disk is gone"):
            make_gallery(own_copy)
    assert (home / "index.html").read_text("utf-8") == before
    assert sorted(one.name for one in home.iterdir()) == ["files-1", "index.html"]
    make_gallery(own_copy, title="Second")
    assert sorted(one.name for one in home.iterdir()) == ["files-2", "index.html"]
    page = (home / "index.html").read_text("utf-8")
    assert "<title>Second</title>" in page and "files-1" not in page


def test_a_failure_leaves_no_folder(own_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_copy / "part-000001.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="part-000001"):
        make_gallery(own_copy, tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("there", ["notes.txt", "index.html", "files-1/mine.txt"])
def test_a_folder_with_something_else_is_refused(there: str, classified: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / there).parent.mkdir(parents=True)
    (tmp_path / "out" / there).write_text("<p>mine")
    with pytest.raises(InputError, match="has something other than a gallery in it"):
        make_gallery(classified, tmp_path / "out")
    assert list_files(tmp_path / "out") == {there}


def test_a_file_in_the_way_is_refused(classified: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="it is a file; give another folder"):
        make_gallery(classified, tmp_path / "out")


def test_what_a_killed_process_left_is_replaced(own_copy: Path) -> None:
    (own_copy / "_gallery" / "index.html").unlink()
    assert make_gallery(own_copy).is_file()
    assert sorted(one.name for one in (own_copy / "_gallery").iterdir()) == ["files-2", "index.html"]


def test_progress_counts_parts(classified: Path, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    make_gallery(classified, tmp_path / "out", progress=lambda done, total: said.append((done, total)))
    assert said == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_unfinished_run_says_how_far_it_is(own_copy: Path) -> None:
    for part in sorted(own_copy.rglob("part-*.parquet"))[-1:]:
        part.unlink()
        (own_copy / part.name).unlink(missing_ok=True)
    assert "50 of 60 photos so far" in make_gallery(own_copy).read_text("utf-8")


def test_the_title_is_a_text(attacked: Path) -> None:
    page = (attacked / "_gallery" / "index.html").read_text("utf-8")
    assert "<title>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;</title>" in page
    assert "<script>alert" not in page


def test_the_command_writes_it(own_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gallery", str(own_copy), "--out", str(tmp_path / "out"), "--title", "Mine"]) == 0
    assert "out/index.html; it opens in any browser" in capsys.readouterr().out
    assert "<title>Mine</title>" in (tmp_path / "out" / "index.html").read_text("utf-8")
    assert main(["gallery", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("vlcam: there is no folder")
