"""The package as people get it: what is in the wheel, what it needs, what `import vlcam` loads."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

import vlcam

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = frozenset(
    {"torch", "torchvision", "transformers", "numpy", "PIL", "matplotlib", "sklearn", "scipy", "cv2", "nltk"}
)
README_COMMANDS = [
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/vlcam demo",
    "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest",
]
PIP = (sys.executable, "-m", "pip")
PACKAGE_OF = {"PIL": "pillow"}
"""Distributions that are not called like the module they bring."""


def run(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would who has never heard of this checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def done(command: Sequence[str | Path], cwd: Path) -> str:
    """The output of a command that must succeed."""
    ran = run(command, cwd)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def sources() -> list[Path]:
    """The modules of the package, each once: tasks/ is also to be seen through the link."""
    found = [path for top in ("vlcam", "tasks") for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in found if ROOT / "vlcam" / "tasks" not in path.parents)


# --- what pyproject.toml says ---------------------------------------------------------------------------------------------------


def test_the_packages_are_the_folders() -> None:
    folders = {
        "vlcam.tasks" if path.parent.name == "tasks" else ".".join(path.parent.relative_to(ROOT).parts)
        for path in sources()
    }
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(folders)
    without = [path.parent for path in sources() if not (path.parent / "__init__.py").exists()]
    assert not without, "these folders need an __init__.py"


def test_tasks_is_one_flat_folder_behind_a_link() -> None:
    link = ROOT / "vlcam" / "tasks"
    assert (
        link.resolve() == ROOT / "tasks" or link.read_text(encoding="utf-8").strip() == "../tasks"
    )  # where git makes no links
    assert [path for path in (ROOT / "tasks").rglob("*.py") if path.parent != ROOT / "tasks"] == []


def data_files() -> set[str]:
    """Files of the package that are not modules, relative to the root."""
    return {
        path.relative_to(ROOT).as_posix()
        for top in ("vlcam", "tasks")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "vlcam/tasks" not in path.as_posix()
    }


def test_the_package_data_are_the_data_files() -> None:
    declared: set[str] = set()
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = ROOT / PROJECT["tool"]["setuptools"]["package-dir"].get(package, package.replace(".", "/"))
        for pattern in patterns:
            matches = {path.relative_to(ROOT).as_posix() for path in folder.glob(pattern)}
            assert matches, f"package-data of {package}: {pattern!r} matches nothing"
            declared |= matches
    assert declared == data_files()


def imported(path: Path) -> set[str]:
    """The top-level modules that a source file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def imported_at_once(path: Path) -> set[str]:
    """The top-level modules that are imported with a source file: not inside functions, nor for type checkers only."""
    body = [
        one for one in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(one, (ast.Import, ast.ImportFrom))
    ]
    names = {alias.name.partition(".")[0] for one in body if isinstance(one, ast.Import) for alias in one.names}
    return names | {
        one.module.partition(".")[0] for one in body if isinstance(one, ast.ImportFrom) and one.module and not one.level
    }


def test_every_import_is_a_declared_dependency() -> None:
    extras = {
        re.split(r"[^\w.-]", line, maxsplit=1)[0]
        for name, lines in PROJECT["project"]["optional-dependencies"].items()
        if name not in ("test", "dev", "docs", "bench", "extras")
        for line in lines
    }
    assert not any(extras & imported_at_once(path) for path in sources()), "an extra's package is imported at once"
    declared = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in PROJECT["project"]["dependencies"]}
    used = {path.name: {PACKAGE_OF.get(name, name) for name in imported(path)} for path in sources()}
    known = declared | extras | sys.stdlib_module_names | {"vlcam"}
    assert {file: names - known for file, names in used.items() if names - known} == {}
    assert declared - set().union(*used.values()) <= {"transformers", "torchvision"}, (
        "a dependency that nothing imports"
    )


def test_the_readme_gives_exactly_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("python3 -m venv")] == README_COMMANDS
    assert "grep '^python3 -m venv" in (ROOT / ".ci" / "run").read_text(encoding="utf-8"), (
        ".ci/run takes them from there"
    )


# --- the public names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", vlcam.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(vlcam, name) is not None
    assert name in dir(vlcam)


# --- what is loaded when --------------------------------------------------------------------------------------------------------

HELP = """
import sys
sys.argv = {argv!r}
from vlcam.cli import main
try:
    code = main()
except SystemExit as end:
    code = end.code
assert not code, code
"""


def loaded(code: str, cwd: Path) -> set[str]:
    """The heavy modules in sys.modules after the code has run in a new interpreter."""
    report = "\nimport sys, json; print(); print(json.dumps(sorted(sys.modules)), end='')"
    modules = json.loads(done([sys.executable, "-c", code + report], cwd).splitlines()[-1])
    return set(HEAVY.intersection(modules))


@pytest.mark.parametrize("code", ["import vlcam", "import vlcam.scenes, vlcam.tasks", "import vlcam; dir(vlcam)"])
def test_importing_loads_nothing_heavy(code: str) -> None:
    assert loaded(code, ROOT) == set()


@pytest.mark.parametrize(
    "arguments",
    ["--help", "--version", "demo --help", "caption --help", "scenes train --help"],
    ids=lambda text: text.replace(" ", "_"),
)
def test_the_help_loads_nothing_heavy(arguments: str) -> None:
    assert loaded(HELP.format(argv=["vlcam", *arguments.split()]), ROOT) == set()


def test_the_check_for_heavy_modules_can_fail() -> None:
    assert {"torch", "numpy"} <= loaded("import vlcam; vlcam.Explanation", ROOT)


def test_tasks_is_no_package_of_its_own() -> None:
    ran = run([sys.executable, "-c", "import tasks"], ROOT)
    assert ran.returncode != 0
    assert "ImportError: import vlcam.tasks, not tasks" in ran.stderr


# --- the wheel ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """An sdist, the wheel made from it, and the wheel made from the checkout."""

    sdist: Path
    from_sdist: Path
    wheel: Path


def _wheel(source: Path, folder: Path) -> Path:
    folder.mkdir()
    options = ("-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder)
    done([*PIP, "wheel", *options, source], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built from a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("build")
    copy = folder / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("vlcam", "tasks", "tests"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    done([sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"], copy)
    (sdist,) = folder.glob("*.tar.gz")
    return Built(sdist, _wheel(sdist, folder / "from-sdist"), _wheel(copy, folder / "wheel"))


def _names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.mark.extended
def test_the_wheel_has_the_package_and_nothing_else(built: Built) -> None:
    inside = {name for name in _names(built.wheel) if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in sources()}
    wanted = {f"vlcam/{name}" if name.startswith("tasks/") else name for name in modules | data_files()}
    assert inside == wanted
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in _names(built.wheel))


@pytest.mark.extended
def test_the_sdist_makes_the_same_wheel(built: Built) -> None:
    assert _names(built.from_sdist) == _names(built.wheel)


@pytest.mark.extended
def test_the_wheel_is_of_a_size_to_download(built: Built) -> None:
    assert built.wheel.stat().st_size < 32 * 2**20


@pytest.fixture(scope="module")
def empty(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that has the wheel and nothing else of ours.

    The dependencies are lent by this environment (torch alone is gigabytes) through a path file: its folders come last, and its own
    path files, by which an editable vlcam would come in, are not read.
    """
    folder = tmp_path_factory.mktemp("empty") / "environment"
    done([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    python = folder / "bin" / "python"
    done([*PIP, "--python", python, "install", "-q", "--no-deps", "--no-index", built.wheel], folder.parent)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "lent.pth").write_text("\n".join(sorted(lent)), encoding="utf-8")
    return folder


IMPORT_ALL = """
import importlib, importlib.util, json, pkgutil, sys
import vlcam
names = ["vlcam", *(module.name for module in pkgutil.walk_packages(vlcam.__path__, "vlcam."))]
files = {name: importlib.import_module(name).__file__ for name in names}
assert importlib.util.find_spec("tasks") is None, "tasks is a package of its own"
print(json.dumps(files))
"""


@pytest.mark.extended
def test_every_module_of_the_wheel_imports_elsewhere(empty: Path, tmp_path: Path) -> None:
    files = json.loads(done([empty / "bin" / "python", "-I", "-c", IMPORT_ALL], tmp_path).splitlines()[-1])
    assert {name for name, file in files.items() if not Path(file).is_relative_to(empty)} == set()
    parts = (path.relative_to(ROOT).with_suffix("").parts for path in sources())
    wanted = {
        ".".join(("vlcam", *names) if names[0] == "tasks" else names).removesuffix(".__init__") for names in parts
    }
    assert set(files) == wanted


@pytest.mark.extended
def test_the_console_script_runs_elsewhere(empty: Path, tmp_path: Path) -> None:
    command = empty / "bin" / "vlcam"
    assert done([command, "--version"], tmp_path).strip() == f"vlcam {vlcam.__version__}"
    assert "demo" in done([command, "--help"], tmp_path)
    wrong = run([command, "no-such-command"], tmp_path)
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False), wrong.stderr
