"""The paper's own numbers (Selvaraju et al., arXiv 1610.02391; IJCV 2020), each with where it was read.

Only numbers that were read in the paper's text, or in another text that reports them, are here: then the source says "as reported
by". Numbers of the paper that could not be read (parts of Table 1, the appendix's ablations) are left out, so those rows have none.
A number of the paper is never a target: its model and its data are those of its source.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final


@final
@dataclass(frozen=True)
class PublishedNumber:
    """A number of the paper: its spread (plus or minus) if one is given, the model and data it is about, and where it was read."""

    value: float
    source: str
    model: str
    spread: float | None = None


_PAPER: Final = "Selvaraju et al., arXiv 1610.02391"
_KTH: Final = "as reported by the reproduction of KTH's course DD2412"
_NOTES: Final = "as reported by notes on the paper"

_LOCALISATION: Final = f"{_PAPER}, Table 1 (ILSVRC-15 val, error in %), "
_DISCRIMINATION: Final = f"{_PAPER}, human study on VOC 2007 val (% of 43 raters' answers that are right)"
_TRUST: Final = f"{_PAPER}, human study of VGG-16 against AlexNet on VOC 2007 (-2 to +2)"
_FAITHFULNESS: Final = f"{_PAPER}, rank correlation with occlusion (2510 images of VOC 2007 val)"
_CAPTIONS: Final = f"{_PAPER}, captions, mean activation inside by outside DenseCap's boxes"
_WORDS: Final = f"{_PAPER} (IJCV version), hits of visual words in COCO's segmentations (1000 images, %)"
_VQA: Final = f"{_PAPER}, VQA, rank correlation with occlusion"
_HAT: Final = f"{_PAPER}, VQA, rank correlation with human attention (VQA-HAT, 1374 pairs)"
_POINTING: Final = f"{_PAPER}, pointing game with recall on COCO (%)"
_SEC: Final = f"{_PAPER}, IoU on VOC 2012 of SEC trained on these seeds (%)"
_BIAS: Final = f"{_PAPER}, accuracy on a balanced test set (doctor or nurse, %)"


def _list_numbers(
    column: str, source: str, model: str, rows: Mapping[str, float | tuple[float, float]]
) -> dict[tuple[str, str], PublishedNumber]:
    """Numbers of one column; a pair is a number and its spread."""
    pairs = {row: value if isinstance(value, tuple) else (value, None) for row, value in rows.items()}
    return {(row, column): PublishedNumber(value, source, model, spread) for row, (value, spread) in pairs.items()}


_VGG: Final = "VGG-16"
_DEFAULT: Final = ""

NUMBERS: Final[Mapping[str, Mapping[tuple[str, str], PublishedNumber]]] = {
    "localisation": {
        **_list_numbers("loc top-1", _LOCALISATION + _KTH, _VGG, {"gradcam": 56.51}),
        **_list_numbers("loc top-5", _LOCALISATION + _KTH, _VGG, {"gradcam": 46.41}),
        **_list_numbers("cls top-1", _LOCALISATION + _KTH, _VGG, {"gradcam": 30.38}),
        **_list_numbers("cls top-5", _LOCALISATION + _KTH, _VGG, {"gradcam": 10.89}),
        **_list_numbers("loc top-1", _LOCALISATION + _NOTES, _VGG + " with CAM's head", {"cam": 57.20}),
    },
    "localisation alexnet": {
        **_list_numbers("loc top-1", _LOCALISATION + _KTH, "AlexNet", {"gradcam": 68.3}),
        **_list_numbers("loc top-5", _LOCALISATION + _KTH, "AlexNet", {"gradcam": 56.6}),
        **_list_numbers("cls top-1", _LOCALISATION + _KTH, "AlexNet", {"gradcam": 44.2, "cmwp": 44.2}),
        **_list_numbers("cls top-5", _LOCALISATION + _KTH, "AlexNet", {"gradcam": 20.8, "cmwp": 20.8}),
    },
    "localisation googlenet": {
        **_list_numbers("loc top-1", _LOCALISATION + _KTH, "GoogLeNet", {"gradcam": 60.09}),
        **_list_numbers("loc top-5", _LOCALISATION + _KTH, "GoogLeNet", {"gradcam": 49.34}),
        **_list_numbers("cls top-1", _LOCALISATION + _KTH, "GoogLeNet", {"gradcam": 31.9}),
        **_list_numbers("cls top-5", _LOCALISATION + _KTH, "GoogLeNet", {"gradcam": 11.3}),
    },
    "seeds": _list_numbers("SEC IoU", _SEC, _VGG, {"cam": 44.6, "gradcam": 49.6}),
    "pointing": _list_numbers("recall", _POINTING, "GoogLeNet finetuned on COCO", {"gradcam": 70.58, "cmwp": 60.30}),
    "discrimination": _list_numbers(
        _DEFAULT,
        _DISCRIMINATION,
        "VGG-16 and AlexNet",
        {"deconvnet": 53.33, "deconvgradcam": 60.37, "guidedbackprop": 44.44, "guidedgradcam": 61.23},
    ),
    "trust": _list_numbers(_DEFAULT, _TRUST, "VGG-16 against AlexNet", {"guidedbackprop": 1.00, "guidedgradcam": 1.27}),
    "faithfulness": _list_numbers(
        _DEFAULT,
        _FAITHFULNESS,
        _VGG,
        {"guidedbackprop": 0.168, "cam": 0.208, "cmwp": 0.220, "gradcam": 0.254, "guidedgradcam": 0.261},
    ),
    "bias": _list_numbers(_DEFAULT, _BIAS, _VGG, {"biased": 82.0, "balanced": 90.0}),
    "captions": {
        **_list_numbers(
            "inside/outside",
            _CAPTIONS,
            "neuraltalk2 (VGG-16 and LSTM)",
            {"guidedbackprop": (2.32, 0.08), "gradcam": (3.27, 0.18), "guidedgradcam": (6.38, 0.99)},
        ),
        **_list_numbers("pointing", _WORDS, "Show and Tell (Inception)", {"gradcam": 30.0}),
    },
    "vqa": {
        **_list_numbers(
            "occlusion",
            _VQA,
            "VQA model of Lu et al. 2015",
            {"gradcam": (0.60, 0.038), "guidedbackprop": (0.42, 0.038)},
        ),
        **_list_numbers("human attention", _HAT, "VQA model of Lu et al. 2015", {"gradcam": 0.136, "random": 0.0}),
    },
}
"""By experiment (Table 1's other two models: ``localisation alexnet``, ``localisation googlenet``), then by row and column."""

_ALIASES: Final = {
    "guidedbp": "guidedbackprop",
    "guidedbackpropagation": "guidedbackprop",
    "deconv": "deconvnet",
    "deconvolution": "deconvnet",
    "deconvolutiongradcam": "deconvgradcam",
    "contrastivemwp": "cmwp",
    "contrastiveexcitationbackprop": "cmwp",
    "cexcitationbackprop": "cmwp",
    "cebp": "cmwp",
}


def find_published(key: str, row: str, column: str = "") -> PublishedNumber | None:
    """What the paper reports for a row and column of an experiment; None if there is nothing that could be read.

    Rows are found whatever their case and punctuation; an experiment's only column may be left out.

    >>> find_published("faithfulness", "Grad-CAM").value
    0.254
    >>> find_published("ablations", "no ReLU") is None and find_published("faithfulness", "Grad-CAM++") is None
    True
    """
    numbers = NUMBERS.get(key.strip().lower(), {})
    wanted = re.sub(r"[^a-z0-9+]", "", row.lower())
    wanted = _ALIASES.get(wanted, wanted)
    columns = {column for _, column in numbers}
    if not column and len(columns) == 1:
        (column,) = columns
    return numbers.get((wanted, column.strip()))
