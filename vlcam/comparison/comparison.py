"""A comparison with the methods that people call on it: a page, a recipe."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import final

from vlcam.comparison.page import make_comparison_page
from vlcam.comparison.record import AbstractComparison
from vlcam.contracts import InputError
from vlcam.files import write_text
from vlcam.tasks.recipe import Recipe
from vlcam.tasks.write_recipe import save_choice


@final
@dataclass(frozen=True, repr=False)
class Comparison(AbstractComparison):
    """What :func:`vlcam.compare` gives: candidates, the most faithful first, and what follows from them."""

    def __repr__(self) -> str:
        return (
            f"Comparison({self.model[:60]}, {self.targets} targets on {len(self.photos)} photos: {self.verdict[:160]})"
        )

    def html(self, path: str | Path | None = None) -> str:
        """The comparison as one self-contained HTML page, written to ``path`` if one is given."""
        text = make_comparison_page(self)
        if path is not None:
            write_text(Path(path), text)
        return text

    def _repr_html_(self) -> str:
        frame = html.escape(make_comparison_page(self), quote=True)
        return (
            f'<iframe sandbox="" srcdoc="{frame}" title="vlcam comparison" width="100%" height="640" '
            'style="border:0;border-radius:12px"></iframe>'
        )

    def save(self, recipe: str | Path, model: str | Recipe | None = None) -> None:
        """Write the choice, a method and a layer, into a recipe, which :func:`vlcam.load` and the commands' ``--recipe`` take.

        A recipe that is there keeps everything else that it says. For a new one give ``model``: what :func:`vlcam.load` opens it by, or a
        whole recipe.

        Raises InputError if there is nothing to choose (:attr:`AbstractComparison.choice`), the file is no recipe, or a new one lacks a
        model.
        """
        choice = self.choice
        if not choice.layer:
            raise InputError(f"{choice.name} has no layer by name, so a recipe can't name it")
        save_choice(recipe, choice.method, choice.layer, model=model, remark=f"{self.verdict}.")
