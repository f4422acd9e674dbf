"""Events of mkdocs: pages of the API, pictures and the changelog are added to the docs, and tables are put in their places."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from tables import MAKERS, find_packages, list_public, summarise

ROOT = Path(__file__).resolve().parents[2]
_PLACE = re.compile(r"^<!-- generate: (.+?) -->$", re.MULTILINE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what has its place elsewhere in the repository."""
    for package in find_packages():
        files.append(File.generated(config, f"reference/api/{package}.md", content=make_api_page(package)))
    for picture in (ROOT / "examples" / "pictures").glob("*.png"):
        files.append(File.generated(config, f"assets/{picture.name}", abs_src_path=str(picture)))
    files.append(File.generated(config, "changelog.md", abs_src_path=str(ROOT / "CHANGELOG.md")))
    return files


def on_page_markdown(markdown: str, **others: Any) -> str:
    """Put the generated parts of a page in their places; a part that nobody makes is an error."""

    def make(found: re.Match[str]) -> str:
        if found[1] not in MAKERS:
            raise PluginError(f"nothing makes {found[1]!r}; expected one of {', '.join(MAKERS)}")
        return MAKERS[found[1]]()

    return _PLACE.sub(make, markdown)


def make_api_page(package: str) -> str:
    """A page about a package: what it is for, and each public name."""
    entries = "\n".join(f"::: {package}.{name}\n" for name in list_public(package))
    return f"# {package}\n\n{summarise(package)}\n\n{entries}"
