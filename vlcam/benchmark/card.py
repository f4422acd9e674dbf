"""The bundled models' card as text, from measured numbers. ``vlcam scenes evaluate --card FOLDER`` writes it."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlcam.benchmark.planted import make_rows as planted_rows
from vlcam.benchmark.texts import KINDS, RANKINGS, format_cell, make_rows
from vlcam.scenes.questions import QUESTION_KINDS
from vlcam.scenes.record import UNSEEN_PAIRS

TEXTS_FILE = "texts.json"
"""What ``vlcam neurons evaluate`` measured, beside the card's other numbers."""

_HEAD = """# The bundled scene models

Three small models that come with vlcam, so that every command works without a download: `classifier`, `captioner` and `vqa`.
They know only generated pictures of coloured shapes.

## Build
A VGG-like CNN (five convolutions with batch norm and ReLU; the last, `features`, has 192 channels on 12 x 12 cells of a 96-pixel
picture) is followed by 3 x 3 average pooling and a fully connected layer of 512. The classifier adds a linear layer (36
colour-shape pairs, sigmoid). The captioner has an LSTM of 384 that reads the photo vector at each step, without attention; the next word is
read from its state and the product of state and photo vector. The VQA model has an LSTM of 256 over the question, a product with the photo
vector, and two fully connected layers (23 answers, softmax). The three share one trunk and are shipped as three files, in 16-bit floats.

## Training
`vlcam scenes train DIR --scenes {scenes} --steps {steps} --head-steps {head_steps} --caption-steps {caption_steps} --seed {seed}`, about
100 minutes on two idle cores: {scenes:,} generated training scenes; {steps:,} steps of {batch} pictures for everything together, then
{head_steps:,} steps of {head_batch} pictures with the trunk fixed, and {caption_steps:,} for the captioner's head alone, in both of which
words and answers are label-smoothed by {smoothing}. Helper losses, whose layers are discarded afterwards, train the trunk to tell which
shape, colour, size and texture each cell of the last conv layer shows (from the exact masks; fading out) and which kinds of objects are in
the picture, and train each channel to fire rarely. So the trunk was told where objects are: good localisation here says that the
explanation is faithful to such a trunk, and is not evidence that a network finds positions without being told. The trunk is a moving
average, with batch-norm statistics measured again.

The shipped files are not those of one such run, which gave 0.979 of the words, 0.855 of whole captions and 0.986 of the answers right
on 1,000 validation scenes; they come from an earlier form of the command. In its first stage the captioner and the VQA model did not
have the layers around the product yet, and the fading of the per-cell helper followed schedules of 7,500 to 9,000 steps; the second
stage took 4,000 steps without label smoothing, from new heads; the third took 1,000 steps without and 600 with it.

## Data
Training, validation and test scenes come from different random streams and can't overlap. The pairs {unseen} occur in the `unseen` split
only.
"""

_LIMITS = """
## Limits
- Probabilities of words stop at about 0.9 because of label smoothing: read 0.9 as certain. The smoothing is there for the maps: without it
  the captioner was certain of most shapes (p > 0.999), flat around the picture, and its maps pointed elsewhere.
- Generated pictures only: on photographs, what the models say means nothing.
- Closed vocabularies: 33 caption words, 44 question words, 23 answers; questions outside the grammar get arbitrary answers.
- On pairs never seen in training the quality drops as the table shows: the classifier has no way to learn those pairs.
- Grad-CAM averages gradients over the picture. Evidence that matters because of its position ("which is further left") partly cancels out.
"""

_CLAIMS = """What the texts claim, against what is in the picture: for the classes that the classifier sees, the words of the captioner's
own captions, and answers. `precision`: of the names that a text gives as support, those that are true of the scene; `hallucination`: those
that are neither there nor asked about; `distractors`: those that are there but have nothing to do with the target; `absence
precision`: of what is said not to be seen, what isn't there. Beside the text (`contribution`): the same if presence were claimed of
every channel above Network Dissection's threshold, the paper's ranking by alpha, and names shuffled over the channels, drawn at
random, or usual for the target. 95 % bootstrap intervals over scenes."""
_CAUSES = """Cause and effect: how far a score falls when the channels named after its concept are set to 0, by itself and compared
with the same number of other channels (at random, or of equal activity), with the standardised effect size d; and what becomes of a text
when an object is left out of the scene and the scene is drawn again."""
_PLANTED = """Units made by hand, named as the models' are: detectors must get their name, and all others except `either` must get none."""
_BY_KIND = ("precision", "recall", "hallucination", "absence precision", "sign accuracy", "coverage")

_QUALITY_ROWS = {
    "map": "classification, mean average precision",
    "words_true": "caption words true of the picture",
    "captions_true": "whole captions true",
    "bleu4": "captions, BLEU-4",
    "vqa": "answers right",
    **{f"vqa_{kind}": f"answers right: {kind}" for kind in QUESTION_KINDS},
}
_COLUMN_TITLES = {
    "map": "map",
    "contrast": "contrast map",
    "area": "area",
    "centre": "centre",
    "random": "random map",
    "untrained": "untrained model",
    "ceiling": "ceiling",
}


def make_quality_table(measured: Mapping[str, Any]) -> str:
    """A Markdown table of quality, a column per split."""
    splits = measured["splits"]
    lines = [
        "| | " + " | ".join(f"{split} ({splits[split]['scenes']:,} scenes)" for split in splits) + " |",
        "|---|" + "---|" * len(splits),
    ]
    for key, title in _QUALITY_ROWS.items():
        lines.append(f"| {title} | " + " | ".join(f"{splits[split]['quality'][key]:.3f}" for split in splits) + " |")
    return "\n".join(lines)


def make_grounding_table(measured: Mapping[str, Any], split: str) -> str:
    """A Markdown table of the pointing game on one split."""
    lines = [
        "| target | n | " + " | ".join(_COLUMN_TITLES.values()) + " |",
        "|---|---|" + "---|" * len(_COLUMN_TITLES),
    ]
    for kind, row in measured["splits"][split]["grounding"].items():
        low, high = row["interval"]
        cells = [f"{row[column]:.2f}" if column in row else "" for column in _COLUMN_TITLES]
        cells[0] = f"**{cells[0]}** ({low:.2f}-{high:.2f})"
        lines.append(f"| {kind} | {row['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def make_texts_table(texts: Mapping[str, Any], kind: str = "all") -> str:
    """A Markdown table of what the texts about channels claim, with the baselines."""
    return _make_table(["all targets" if kind == "all" else kind, *RANKINGS], make_rows(texts, kind))


def make_kinds_table(texts: Mapping[str, Any]) -> str:
    """A Markdown table of precision and hallucination of presence by kind of target."""
    body = []
    for kind in KINDS:
        found = dict(
            zip([row[0] for row in make_rows(texts, kind)], [row[1] for row in make_rows(texts, kind)], strict=True)
        )
        body.append([kind, *(found.get(one, "") for one in _BY_KIND)])
    return _make_table(["target", *_BY_KIND], body)


def make_causes_table(texts: Mapping[str, Any]) -> str:
    """A Markdown table of what happens without the named channels, and without the objects."""
    parts = []
    for title, group in (("without the channels named after it", "ablation"), ("an object erased", "erased")):
        found = texts[group]
        heads = list(found["all"])
        body = [[kind, *(format_cell(found[kind][head]) for head in heads)] for kind in KINDS]
        parts.append(_make_table([title, *heads], body))
    return "\n\n".join(parts)


def make_planted_table(texts: Mapping[str, Any]) -> str:
    """A Markdown table of units that were made by hand."""
    return _make_table(["planted units", "units", "right", "instead"], planted_rows(texts["planted"]))


def _make_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def _make_texts_section(texts: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            f"## Are the texts about channels true? ({texts['n']} {texts['split']} scenes)",
            _CLAIMS,
            make_texts_table(texts),
            make_kinds_table(texts),
            _CAUSES,
            make_causes_table(texts),
            _PLANTED,
            make_planted_table(texts),
        ]
    )


def make_card(measured: Mapping[str, Any], plan: Mapping[str, Any], texts: Mapping[str, Any] | None = None) -> str:
    """The whole card, in Markdown.

    ``plan`` is the ``plan.json`` of the training run, ``texts`` what :func:`vlcam.benchmark.texts.evaluate` measured.
    """
    unseen = ", ".join(" ".join(pair) for pair in UNSEEN_PAIRS)
    parts = [
        _HEAD.format(unseen=unseen, **plan),
        "## Quality\n\n" + make_quality_table(measured) + "\n",
        "## Does the heatmap point at the right object?\n\n"
        "Grad-CAM at `features`; the pointing game with no tolerance: the share of targets whose map is highest inside the visible\n"
        "mask of the object that the word, or the answer, is about; with 95 % bootstrap intervals over scenes. Only true words and right\n"
        "answers are scored; a map that shows nothing is a miss. `area` is what a random pixel gets, `ceiling` the best that a 12 x 12\n"
        "map can do. `contrast map` explains the word or answer rather than a random other one of its kind.\n",
    ]
    for split in measured["splits"]:
        parts.append(
            f"### {split} ({measured['splits'][split]['grounded_scenes']:,} scenes)\n\n{make_grounding_table(measured, split)}\n"
        )
    if texts is not None:
        parts.append(_make_texts_section(texts))
    return "\n".join(parts).rstrip() + "\n" + _LIMITS
