"""Which words of a caption are about what can be seen in it, and where: for scenes as their generator says, for photos by category.

Selvaraju et al. (arXiv 1610.02391, IJCV version) mapped 830 visual words by hand to COCO's 80 categories; their table was not published.
Here a word is about a category if it is its name, a synonym or a plural of it, or a narrower word ("puppy", "woman", "motorbike") by the
table of :mod:`vlcam.neurons.thesaurus.synonyms`; names of up to three words ("traffic light", "hot dog") are looked for first and belong to
their last word. A word that fits several categories, or none, isn't scored, nor is one whose category is not outlined in the photo.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from vlcam.experiments.data.samples import LabelledPhoto, PhotoCaption, unite_masks
from vlcam.neurons.thesaurus.synonyms import Thesaurus

Mask = Bool[Tensor, "height width"]
_LONGEST: Final = 3


def find_visual_words(words: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    """The number of the category that a word is about, by the word's place; words that are about none are left out.

    >>> find_visual_words("a puppy and two hot dogs".split(), ["dog", "hot dog", "cat"])
    {1: 0, 5: 1}
    """
    found: dict[int, int] = {}
    place = 0
    while place < len(words):
        for many in range(min(_LONGEST, len(words) - place), 0, -1):
            here = words[place : place + many]
            whole = all(any(one.isalnum() for one in word) for word in here)  # no name continues after a comma
            category = _find_category(" ".join(here).lower(), tuple(labels)) if whole else None
            if category is not None:
                found[place + many - 1] = category
                place += many
                break
        else:
            place += 1
    return found


@lru_cache(maxsize=4096)
def _find_category(name: str, labels: tuple[str, ...]) -> int | None:
    known = _load_thesaurus()
    same = [number for number, label in enumerate(labels) if known.same(name, label)]
    if not same:
        broader = known.kinds_of(name)
        near = [level for level in broader if any(known.canonical(label) == level for label in labels)][:1]
        same = [number for number, label in enumerate(labels) if known.canonical(label) in near]
    return same[0] if len(same) == 1 else None


@lru_cache(maxsize=1)
def _load_thesaurus() -> Thesaurus:
    return Thesaurus()


def find_word_masks(
    sample: LabelledPhoto, caption: PhotoCaption, words: Sequence[str], labels: Sequence[str]
) -> Mapping[int, Mask]:
    """Where each word's objects are, by the word's place among ``words``, as a task cuts them; words about nothing visible are left out.

    A caption that says what its words are about is believed, if it has the same number of words; for any other, the words' categories
    count.
    """
    if caption.about is not None:
        if len(caption.about) != len(words):
            return {}
        parts = {place: [sample.objects[one].mask for one in objects] for place, objects in enumerate(caption.about)}
        masks = {place: unite_masks(these) for place, these in parts.items()}
    else:
        masks = {place: sample.get_mask(category) for place, category in find_visual_words(words, labels).items()}
    return {place: torch.from_numpy(mask) for place, mask in masks.items() if mask is not None and mask.any()}


def make_phrases(sample: LabelledPhoto, labels: Sequence[str]) -> list[tuple[str, Mask]]:
    """For every class in the picture, its own caption ("a dog") and the pixels of its boxes; none for a class that fills the picture."""
    found = []
    for index in sample.present:
        inside = np.zeros(sample.size[::-1], np.bool_)
        for obj in sample.find_objects(index):
            left, top, right, bottom = (round(edge) for edge in obj.box)
            inside[top:bottom, left:right] = True
        if inside.any() and not inside.all():
            article = "an" if labels[index][:1].lower() in "aeiou" else "a"
            found.append((f"{article} {labels[index]}", torch.from_numpy(inside)))
    return found
