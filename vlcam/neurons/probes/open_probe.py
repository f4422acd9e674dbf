"""A probe from what a person types: the path of pictures with labels in any of the known forms, or the name of generated scenes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, final

from vlcam.contracts import InputError
from vlcam.files import list_subfolders
from vlcam.image.pascal_voc import find_voc_home
from vlcam.image.photo import list_photos
from vlcam.neurons.probes.broden import Broden, is_broden
from vlcam.neurons.probes.datasets import VOC_PARTS, CocoInstances, VocSegmentation
from vlcam.neurons.probes.encoders import EncodedWords, Encoder
from vlcam.neurons.probes.folders import ClassFolders, LabelMaps, LabelNames
from vlcam.neurons.probes.probe import Concept, Probe, Sample, WordProbe, show_probe

FORMS: Final = (
    "a folder with one folder of photos a class",
    "a folder of photos with labels= (a folder of label maps) and names= (what their numbers mean)",
    "a folder of photos with words= (a text file) and encoder= (such as openai/clip-vit-base-patch32)",
    "COCO's instances (a JSON file)",
    "a folder of Pascal VOC",
    "a folder of Broden",
    "scenes, or scenes:SPLIT:N",
)
"""What may be given as a probe."""

_SCENES: Final = 1000
_One = TypeVar("_One")


@final
class ProbeSubset:
    """Some pictures of a probe, in the order given. Satisfies :class:`vlcam.neurons.probes.probe.Probe`."""

    def __init__(self, probe: Probe, indices: Sequence[int]) -> None:
        self._probe = probe
        self._indices = tuple(range(len(probe))[index] for index in indices)
        self.name: str = probe.name
        self.concepts: Sequence[Concept] = probe.concepts
        self.facts: Mapping[str, Any] = {**probe.facts, "images": len(self._indices), "of": len(probe)}

    __repr__ = show_probe

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Sample:
        return self._probe[self._indices[index]]


def open_probe(
    text: str | Path,
    *,
    words: Sequence[str] | str | Path | None = None,
    encoder: Encoder | str | Path | None = None,
    names: LabelNames | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
    n: int | None = None,
    scenes: Callable[[str, int], Probe] | None = None,
) -> Probe | WordProbe:
    """Open a probe.

    Args:
        text: a path, or ``scenes``, ``scenes:val`` or ``scenes:val:500`` (a folder of that name is ``./scenes``).
        words: the words to compare photos with, or the path of a text file with one a line; needs ``encoder``.
        encoder: what compares them, or the name or folder of a model of transformers.
        names: what the numbers of label maps mean (see :class:`vlcam.neurons.probes.folders.LabelMaps`), or what class folders are called.
        labels: the folder of label maps that belong to the photos.
        split: of scenes, Pascal VOC and Broden.
        n: take so many pictures only, evenly spread over all of them (of scenes: the first).
        scenes: makes the probe of generated scenes from a split and a number, such as ``vlcam.neurons.probes.scenes.SceneProbe``.

    Raises:
        InputError: the path is none of the known forms, or an option is missing or of no use for it.
    """
    if n is not None and n < 1:
        raise InputError(f"n={n} was given; expected how many pictures to take, 1 or more")
    given = {"words": words, "encoder": encoder, "names": names, "labels": labels, "split": split}
    shown, path = str(text), Path(text)
    if isinstance(text, str) and (text == "scenes" or text.startswith("scenes:")):
        _refuse_others(given, "split", what="generated scenes")
        return _open_scenes(text, split, n, scenes)
    if not path.exists():
        raise InputError(f"there is no {shown!r} (looked from {Path.cwd()}). {_list_forms()}")
    if words is not None or encoder is not None:
        _refuse_others(given, "words", "encoder", what="photos and words")
        if words is None or encoder is None:
            there, gone = ("encoder", "words") if words is None else ("words", "encoder")
            raise InputError(f"{there}= was given without {gone}=; photos and words need both. {_list_forms()}")
        chosen = encoder if isinstance(encoder, Encoder) else Encoder.from_transformers(encoder)
        return EncodedWords(_pick_evenly(_find_photos(path), n), words, chosen, path=path)
    found = _open_labelled(path, given)
    return found if n is None or n >= len(found) else ProbeSubset(found, _pick_evenly(range(len(found)), n))


def _open_labelled(path: Path, given: Mapping[str, Any]) -> Probe:
    """The probe of a path whose pictures are labelled."""
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise InputError(f"{str(path)!r} is a file, but no JSON. {_list_forms()}")
        _refuse_others(given, what="COCO's instances")
        return CocoInstances(path)
    if is_broden(path):
        _refuse_others(given, "split", what="Broden")
        return Broden(path, given["split"])
    if find_voc_home(path, VOC_PARTS) is not None:
        _refuse_others(given, "split", what="Pascal VOC")
        return VocSegmentation(path, given["split"] or "val")
    if given["labels"] is not None:
        _refuse_others(given, "labels", "names", what="label maps")
        if given["names"] is None:
            raise InputError(f"labels= was given without names=, which says what their numbers mean. {_list_forms()}")
        return LabelMaps(path, given["labels"], given["names"])
    below = list_subfolders(path)
    for pair in (("images", "labels"), ("images", "masks")):
        if sorted(folder.name.lower() for folder in below) == list(pair):
            raise InputError(
                f"the folder {str(path)!r} holds the folders {' and '.join(pair)}; give {str(path / pair[0])!r} with "
                f"labels={str(path / pair[1])!r}, and names="
            )
    if any(_has_photos(folder) for folder in below):
        _refuse_others(given, "names", what="class folders")
        names = given["names"]
        if names is not None and not isinstance(names, Mapping | str | Path):
            raise InputError("names= of class folders is a list; expected a mapping from folders to names, or its file")
        return ClassFolders(path, names=names)
    have = (
        f"{len(list_photos(path))} photos, but nothing that says what they show" if _has_photos(path) else "no photos"
    )
    raise InputError(f"the folder {str(path)!r} has {have}. {_list_forms()}")


def _open_scenes(text: str, split: str | None, n: int | None, scenes: Callable[[str, int], Probe] | None) -> Probe:
    """The probe of generated scenes."""
    if scenes is None:
        raise InputError("generated scenes aren't at hand here; give scenes=vlcam.neurons.probes.scenes.SceneProbe")
    parts = text.split(":")[1:]
    if len(parts) > 2 or not all(parts) or not all(part.isdecimal() and int(part) for part in parts[1:]):
        raise InputError(f"{text!r} was given; expected scenes, scenes:SPLIT or scenes:SPLIT:N, such as scenes:val:500")
    if (parts and split not in (None, parts[0])) or (parts[1:] and n not in (None, int(parts[1]))):
        raise InputError(f"{text!r} was given with split={split} and n={n}, which say otherwise; give one of the two")
    count = n if n is not None else int(parts[1]) if parts[1:] else _SCENES
    return scenes(parts[0] if parts else split or "val", count)


def _find_photos(path: Path) -> list[Path]:
    """The photos of a folder, or where it has none those of its folders."""
    if not path.is_dir():
        raise InputError(f"{str(path)!r} is not a folder; photos and words need a folder of photos. {_list_forms()}")
    if _has_photos(path):
        return list_photos(path)
    found = [photo for folder in list_subfolders(path) if _has_photos(folder) for photo in list_photos(folder)]
    if not found:
        raise InputError(f"the folder {str(path)!r} has no photos. {_list_forms()}")
    return found


def _has_photos(folder: Path) -> bool:
    try:
        return bool(list_photos(folder))
    except InputError:
        return False


def _pick_evenly(every: Sequence[_One], n: int | None) -> list[_One]:
    """``n`` of them, evenly spread.

    >>> _pick_evenly([10, 11, 12, 13, 14, 15], 3)
    [11, 13, 15]
    """
    if n is None or n >= len(every):
        return list(every)
    return [every[(2 * place + 1) * len(every) // (2 * n)] for place in range(n)]


def _refuse_others(given: Mapping[str, Any], *used: str, what: str) -> None:
    """Options that would change nothing are refused: they were meant for something."""
    idle = [f"{name}=" for name, value in given.items() if value is not None and name not in used]
    if idle:
        raise InputError(f"{' and '.join(idle)} was given, which {what} can't use; leave it out, or check the path")


def _list_forms() -> str:
    return f"A probe is one of: {'; '.join(FORMS)}"
