"""Rules of the design that a machine can check: import directions, banned calls, tidy files."""

import ast
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(
    [*(ROOT / "tasks").rglob("*.py"), *(p for p in (ROOT / "vlcam").rglob("*.py") if "vlcam/tasks" not in p.as_posix())]
)
TEXT = {".py", ".md", ".toml", ".html", ".js", ".css", ".json", ".yml", ".yaml", ".cfg", ".txt", ""}
LONGEST = 400
OWN_TRAINING = tuple(
    ROOT / path
    for path in (
        "vlcam/scenes/models/train.py",
        "vlcam/scenes/models/heads.py",
        "vlcam/experiments/data/biased_world.py",
        "examples/cat_dog_loop.py",
    )
)
"""Trains models of its own, so there is nobody's ``.grad`` to keep."""


def short(path: Path) -> str:
    """How a file is called in a failure."""
    return path.relative_to(ROOT).as_posix()


# --- import directions ----------------------------------------------------------------------------------------------------------


def lint_imports(checkout: Path) -> tuple[int, str]:
    """The exit status and the report of import-linter."""
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    ran = subprocess.run(
        [command, "--no-cache"], cwd=checkout, capture_output=True, text=True, check=False, timeout=120
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_imports_keep_their_contracts() -> None:
    status, report = lint_imports(ROOT)
    assert status == 0, report


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("vlcam/engine/recording.py", "from vlcam.explanation.explain import explain", "imports run downwards"),
        ("vlcam/explanation/explain.py", "import vlcam.tasks.vqa", "imports run downwards"),
        ("vlcam/render/__init__.py", "import vlcam.neurons", "imports run downwards"),
        ("tasks/classification.py", "import vlcam.cli", "imports run downwards"),
        ("vlcam/stray.py", "", "- vlcam.stray"),
        (
            "vlcam/engine/recording.py",
            "import PIL.Image",
            "the engine knows no task, no image library and no model zoo",
        ),
        ("tasks/vqa.py", "import vlcam.tasks.captioning", "the three task files do not import each other"),
    ],
)
def test_a_planted_import_breaks_a_contract(file: str, line: str, contract: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for top in ("vlcam", "tasks"):
        shutil.copytree(
            ROOT / top, tmp_path / top, symlinks=True, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__")
        )
    with (tmp_path / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    status, report = lint_imports(tmp_path)
    assert status != 0
    assert re.search(rf"^{re.escape(contract)}( BROKEN.*)?$", report, re.MULTILINE), report


# --- banned calls ---------------------------------------------------------------------------------------------------------------

UNSAFE_ARGUMENTS = {"weights_only": False, "allow_pickle": True, "trust_remote_code": True}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def banned(source: str) -> Iterator[str]:
    """What the rules forbid, line by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                yield f"line {node.lineno}: .backward() writes into the user's .grad; use torch.autograd.grad"
            if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                yield f"line {node.lineno}: {node.func.id}()"
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in UNSAFE_ARGUMENTS and value is UNSAFE_ARGUMENTS[keyword.arg]:
                    yield f"line {node.lineno}: {keyword.arg}={value} runs code from a file"
        elif isinstance(node, ast.ImportFrom) and node.module == "__future__":
            yield f"line {node.lineno}: annotations must be objects, jaxtyping executes them"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"line {node.lineno}: {name} runs code from a file" for name in names if name in UNSAFE_MODULES)


# The one module with an unpickler, whose find_class knows nothing but what tensors are made of (tests/tasks/test_checkpoints.py).
INERT = ROOT / "tasks" / "checkpoints.py"
INERT_NEEDS = ("pickle runs code from a file", "weights_only=False runs code from a file")


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "examples").rglob("*.py"))], ids=short)
def test_a_module_does_nothing_that_is_banned(path: Path) -> None:
    found = [
        what
        for what in banned(path.read_text(encoding="utf-8"))
        if not (path in OWN_TRAINING and ".backward()" in what)
    ]
    if path == INERT:
        assert sorted(what.partition(": ")[2] for what in found) == sorted(INERT_NEEDS)
    else:
        assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "loss.backward()",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "from __future__ import annotations",
        "import pickle",
        "from pickle import load",
        "eval(text)",
    ],
)
def test_the_check_for_banned_calls_can_fail(line: str) -> None:
    assert len(list(banned(line))) == 1


def test_the_check_for_banned_calls_lets_the_rest_pass() -> None:
    assert list(banned("model.eval()\ntorch.load(path, weights_only=True)\n'never .backward()'")) == []


# --- tidy files -----------------------------------------------------------------------------------------------------------------


def test_no_module_is_too_long() -> None:
    long = {short(path): n for path in MODULES if (n := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert long == {}, f"more than {LONGEST} lines: make two modules with one idea each"


def test_few_modules_lie_beside_the_packages() -> None:
    found = sorted(path.name for path in (ROOT / "vlcam").glob("*.py"))
    assert found == ["__init__.py", "__main__.py", "_version.py", "contracts.py", "errors.py"], (
        "a module that several packages need belongs into a package of its own"
    )


def files_of_the_project() -> list[Path]:
    """Text files that belong to the project, wherever it was unpacked (there need be no git)."""
    folders = [ROOT / name for name in ("vlcam", "tasks", "tests", "examples", ".ci", ".github", "docs")]
    found = [*ROOT.glob("*"), *ROOT.glob(".git[ai]*"), *(path for folder in folders for path in folder.rglob("*"))]
    return sorted(path for path in found if path.is_file() and path.suffix in TEXT and "__pycache__" not in path.parts)


OF_A_MACHINE = re.compile(
    r"(?<![\w.:/-])/(?:" + "|".join(("work", "farm", "tmp", "root", "Users", "opt")) + r")\b(?!\s*>)"
)


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(short(path))
    assert len(found) > 200
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_one_module_opens_pictures() -> None:
    """Whatever else opened them might start programs, or decode what is too large."""
    marks = re.compile(r"\bImage\.open\(|\bImages\.open\(")
    assert [short(path) for path in MODULES if marks.search(path.read_text(encoding="utf-8"))] == [
        "vlcam/image/open_picture.py"
    ]


def test_nothing_seeds_or_sets_back_the_generators_of_the_process() -> None:
    """Other threads draw from them; the engine sets them back only where there are none."""
    marks = re.compile(
        r"torch\.manual_seed\(|fork_rng\(|set_rng_state\(|np\.random\.seed\(|backends\.\w+\.(enabled|flags|set_)"
    )
    found = [short(path) for path in MODULES if marks.search(path.read_text(encoding="utf-8"))]
    assert found == ["vlcam/engine/restore.py"]


def test_one_module_draws_bootstraps() -> None:
    """Draws with how often each is drawn, and the ends of a 95 % interval, are marks of a bootstrap."""
    marks = re.compile(r"\bmultinomial\(|\b0\.025\b|\b0\.975\b")
    assert [short(path) for path in MODULES if marks.search(path.read_text(encoding="utf-8"))] == [
        "vlcam/metrics/statistics.py"
    ]


def test_no_file_names_a_folder_of_some_machine() -> None:
    found = [
        f"{short(path)}:{number}: {line.strip()[:80]}"
        for path in files_of_the_project()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if OF_A_MACHINE.search(line)
    ]
    assert found == []


def test_the_check_for_folders_can_fail() -> None:
    assert OF_A_MACHINE.search("open('/" + "tmp/report.html')")
    assert not OF_A_MACHINE.search("open('out/" + "tmp/report.html')")
    assert ROOT / "tests" / "test_architecture.py" in files_of_the_project()


def test_every_example_is_run_by_a_test() -> None:
    source = ast.parse((ROOT / "tests" / "test_examples.py").read_text(encoding="utf-8"))
    assert "EXAMPLES = sorted(FOLDER.glob('**/*.py'))" in ast.unparse(source)


def test_every_module_says_what_it_is() -> None:
    without = [short(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert without == []
