"""What is public: the names that the `__init__` of a package exports. Each is there, is explained, and has one path."""

import ast
import inspect
import json
import pkgutil
import sys
import warnings
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import vlcam
from tests.test_package import done

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted({"vlcam", *(one.name for one in pkgutil.walk_packages(vlcam.__path__, "vlcam.") if one.ispkg)})
LAZY = ("vlcam", "vlcam.image", "vlcam.scenes", "vlcam.tasks")
"""Packages whose names are loaded when they are first used."""
NAMES = [(package, name) for package in PACKAGES for name in import_module(package).__all__]
FROM_CONTRACTS = {name for package, name in NAMES if getattr(import_module("vlcam.contracts"), name, None) is not None}


def folder_of(package: str) -> Path:
    return (
        ROOT / package.removeprefix("vlcam.").replace(".", "/")
        if package == "vlcam.tasks"
        else ROOT / package.replace(".", "/")
    )


def test_every_package_says_what_is_public() -> None:
    assert len(PACKAGES) >= 20 and "vlcam.experiments.shared" in PACKAGES
    for package in PACKAGES:
        names = import_module(package).__all__
        assert len(set(names)) == len(names), package


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_a_public_name_is_there_and_explained(package: str, name: str) -> None:
    found = getattr(import_module(package), name)
    if isinstance(found, ModuleType) or name == "__version__":
        return
    if inspect.isclass(found) or inspect.isfunction(found):
        text = inspect.getdoc(found) or ""
        assert len(text) > 20 and not text.startswith(f"{name}("), f"{package}.{name} has no docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_public_name_is_no_other_module(package: str) -> None:
    """`import vlcam.explain` would put a module in the place of a function of that name."""
    module, folder = import_module(package), folder_of(package)
    clashes = [
        name
        for name in module.__all__
        if ((folder / f"{name}.py").exists() or (folder / name).is_dir())
        and not isinstance(getattr(module, name), ModuleType)
    ]
    assert clashes == []


def test_a_public_object_has_one_path() -> None:
    """One package exports it; `vlcam` itself may hand it on under the same name."""
    homes: dict[int, set[str]] = defaultdict(set)
    for package, name in NAMES:
        found = getattr(import_module(package), name)
        if (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__.startswith("vlcam"):
            homes[id(found)].add(f"{package}.{name}")
    several = [sorted(paths) for paths in homes.values() if len({one for one in paths if one.count(".") > 1}) > 1]
    assert several == []
    for paths in homes.values():
        assert len({one.rpartition(".")[2] for one in paths}) == 1, paths


def test_the_same_name_never_means_two_things() -> None:
    meant: dict[str, set[int]] = defaultdict(set)
    for package, name in NAMES:
        found = getattr(import_module(package), name)
        if inspect.isclass(found) and found.__module__.startswith("vlcam"):
            meant[name].add(id(found))
    assert [name for name, things in meant.items() if len(things) > 1] == []


def test_no_two_classes_of_the_package_share_a_name() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for path in [*(ROOT / "tasks").glob("*.py"), *(ROOT / "vlcam").rglob("*.py")]:
        if ROOT / "vlcam" / "tasks" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(path.relative_to(ROOT).as_posix())
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_the_same_names(package: str) -> None:
    source = (folder_of(package) / "__init__.py").read_text(encoding="utf-8")
    typed = {
        alias.asname for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed - {None} == set(import_module(package).__all__) - {"__version__"}


@pytest.mark.parametrize("package", [*LAZY, "vlcam.methods", "vlcam.metrics", "vlcam.study"])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    module = import_module(package)
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'explian'"):
        getattr(module, "explian")  # noqa: B009


ONLY = """
import json, vlcam
before = dir(vlcam)
import vlcam.explanation.explain, vlcam.experiments.running, vlcam.study, vlcam.integrations, vlcam.tasks.vqa
vlcam.explain, vlcam.tasks, vlcam.metrics
print(json.dumps([before, dir(vlcam), sorted(vlcam.__all__)]))
"""


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    before, after, public = json.loads(done([sys.executable, "-c", ONLY], ROOT).splitlines()[-1])
    assert before == after == public
    assert set(dir(import_module("vlcam.tasks"))) >= set(import_module("vlcam.tasks").__all__)


# --- old names ------------------------------------------------------------------------------------------------------------------

RENAMED = [
    ("vlcam", "METHODS", "vlcam.list_methods"),
    ("vlcam", "PROCEDURES", "vlcam.list_methods"),
    ("vlcam", "Procedure", "vlcam.PerturbationMethod"),
    ("vlcam", "habits", "vlcam.explanation.GradCAM"),
    ("vlcam.methods", "METHODS", "vlcam.list_methods"),
    ("vlcam.methods", "PROCEDURES", "vlcam.list_methods"),
    ("vlcam.metrics", "Similarity", "MapSimilarity"),
    ("vlcam.study", "discrimination", "make_discrimination_study"),
    ("vlcam.study", "trust", "make_trust_study"),
    ("vlcam.study", "key", "make_key"),
    ("vlcam.study", "photos", "iterate_photos"),
    ("vlcam.study", "scenes", "iterate_scenes"),
    ("vlcam.study", "default_methods", "list_default_methods"),
]


@pytest.mark.parametrize(("package", "name", "instead"), RENAMED)
def test_an_old_name_warns_and_still_works(package: str, name: str, instead: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{name} is deprecated; use .*{instead}"):
        found = getattr(import_module(package), name)
    assert name not in import_module(package).__all__
    if inspect.isclass(found) or (inspect.isfunction(found) and package == "vlcam.study"):
        home: Any = vlcam if package == "vlcam" else import_module(package)
        assert found is getattr(home, instead.rpartition(".")[2])


WARNS_ONCE = """
import warnings
from importlib import import_module
for package, name in {pairs}:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        eval(f"import_module(package).{{name}}")
    print(package, name, [one.filename for one in caught])
"""


def test_an_old_name_warns_once_and_points_at_its_caller() -> None:
    """In a process of its own: the tests' type checks put a frame between the caller and the module."""
    pairs = [(package, name) for package, name, _ in RENAMED]
    lines = done([sys.executable, "-c", WARNS_ONCE.format(pairs=pairs)], ROOT).splitlines()
    assert lines == [f"{package} {name} ['<string>']" for package, name in pairs]


def test_old_tables_hold_the_same_methods() -> None:
    with pytest.warns(DeprecationWarning, match="use vlcam.list_methods"):
        one_run, perturbation = vlcam.METHODS, vlcam.PROCEDURES  # type: ignore[attr-defined]
    assert list(one_run) == vlcam.list_methods("one-run") and list(perturbation) == vlcam.list_methods("perturbation")
    assert one_run["gradcam"] is vlcam.get_method("gradcam")
    with pytest.warns(DeprecationWarning, match="vlcam.habits is deprecated"):
        assert vlcam.habits.GradCAM is import_module("vlcam.explanation").GradCAM  # type: ignore[attr-defined]


def test_old_properties_warn_and_still_work() -> None:
    from tests.support.examples_of_explanations import classification

    view, scene = classification()[0], vlcam.scenes.make(7)
    with pytest.warns(DeprecationWarning, match="use TargetView.significance"):
        assert view.proof is view.significance
    with pytest.warns(DeprecationWarning, match="use Scene.objects"):
        assert scene.things is scene.objects


def test_new_names_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for package, name in NAMES:
            getattr(import_module(package), name)
