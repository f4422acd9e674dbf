"""Docstrings are written for people and for ``help()``: here their roles and doctests become links and code of this site."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(?P<short>~?)(?P<name>[\w.]+)`")
_LITERAL_BLOCK = re.compile(r"::(?=\n\n {4})")
_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def make_markdown(text: str, inside: str) -> str:
    """A docstring as Markdown: ``:func:`vlcam.explain``` becomes a link, or code where the site has no such entry; doctests are fenced.

    Args:
        text: the docstring.
        inside: the path of the module that it stands in; a name that isn't a full one is looked up there.
    """

    def link(found: re.Match[str]) -> str:
        name = found["name"]
        target = name if name.partition(".")[0] == "vlcam" else f"{inside}.{name}"
        shown = name.rpartition(".")[2] if found["short"] else name
        return f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'

    fenced = _DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
    return _LITERAL_BLOCK.sub(":", _ROLE.sub(link, fenced))


class Roles(griffe.Extension):
    """Rewrites every docstring as it is loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = make_markdown(obj.docstring.value, obj.module.path)
