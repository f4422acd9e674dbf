"""What the README shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import documents

LONGEST = 130
TASKS = ("Captions", "Classes", "Questions", "A captioner of your own", "Any number", "Named neurons")


@pytest.fixture
def readme(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README, in a folder that has the files it talks about."""
    documents.make_world(tmp_path)
    documents.stay_offline(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return root / "README.md"


def test_it_is_short(root: Path) -> None:
    assert len((root / "README.md").read_text("utf-8").splitlines()) <= LONGEST


def test_there_is_a_block_of_code_for_each_task(root: Path) -> None:
    sections = re.findall(
        r"^## (.*?)\n\n```python\nimport (?:torch|vlcam)", (root / "README.md").read_text("utf-8"), re.M
    )
    assert len(sections) == len(documents.find_code(root / "README.md")) == len(TASKS)
    assert all(section.startswith(task) for section, task in zip(sections, TASKS, strict=True))


def run_block(readme: Path, number: int) -> dict[str, Any]:
    """One block by itself, as somebody would who copies it."""
    space: dict[str, Any] = {"__name__": "document"}
    exec(compile(documents.prepare(documents.find_code(readme)[number].text, Path()), "README.md", "exec"), space)
    return space


def test_captions(readme: Path) -> None:
    space = run_block(readme, 0)
    assert Path("caption.safetensors").exists()
    assert space["caption"]["star"].heatmap().shape == (384, 384)
    assert "star" in space["caption"]["star"].neurons.sentence


def test_classes(readme: Path) -> None:
    space = run_block(readme, 1)
    assert space["explanation"]["boxer"].map.shape == (7, 7)
    assert space["explanation"].method == "hirescam"


def test_questions(readme: Path) -> None:
    space = run_block(readme, 2)
    assert space["answer"].targets[0].label == "orange"


def test_a_captioner_of_your_own(readme: Path) -> None:
    space = run_block(readme, 3)
    assert space["task"].kind == "captioning"


def test_any_number(readme: Path) -> None:
    assert run_block(readme, 4)["scores"].keys() == {"top"}


def test_named_neurons(readme: Path) -> None:
    space = run_block(readme, 5)
    assert space["names"].layer == "features" and len(space["names"]) == 192


@pytest.mark.extended
def test_the_commands(readme: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = 0
    for line, code in documents.run_commands(readme, tmp_path):
        assert code == 0, (line, capsys.readouterr().err)
        ran += 1
    assert ran >= 3
    assert (tmp_path / "out" / "report.html").is_file()


def test_links_lead_somewhere(root: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", (root / "README.md").read_text("utf-8"))
    local = [(path, anchor) for path, anchor in links if not path.startswith("https://")]
    assert len(local) > 10
    for path, anchor in local:
        assert (root / path).exists(), path
        headings = re.findall(r"^#+ (.*)$", (root / path).read_text("utf-8"), re.M) if anchor else []
        assert not anchor or anchor in [re.sub(r"\W+", "-", one.lower()).strip("-") for one in headings], (path, anchor)
