"""The conda recipe says what pyproject.toml says."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vlcam._version import __version__

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"torch": "pytorch"}
"""What packages are called on conda-forge, where it isn't their name."""


@pytest.fixture(scope="module")
def recipe() -> Any:
    yaml: Any = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / ".conda" / "recipe.yaml").read_text("utf-8"))


def test_version_python_and_dependencies_are_those_of_the_project(recipe: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    about = project["project"]
    assert recipe["context"]["version"] == __version__
    assert about["requires-python"] == f">={recipe['context']['python_min']}"
    wanted = [re.sub(r"(?=[<>=!])", " ", one, count=1) for one in about["dependencies"]]
    wanted = [f"{NAMES.get(name, name)} {bound}" for name, bound in (one.split(" ", 1) for one in wanted)]
    assert recipe["requirements"]["run"] == ["python >=${{ python_min }}", *wanted]
    build = [re.sub(r"(?=[<>=!])", " ", one, count=1) for one in project["build-system"]["requires"]]
    assert recipe["requirements"]["host"][2:] == build
    (script,) = about["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]
    assert (recipe["about"]["license"], recipe["about"]["summary"]) == (about["license"], about["description"])
