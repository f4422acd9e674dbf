"""The bundled models' card as text, from measured numbers. ``vlcam scenes evaluate --card FOLDER`` writes it."""

from collections.abc import Mapping
from typing import Any

from vlcam.scenes.questions import QUESTION_KINDS
from vlcam.scenes.record import UNSEEN_PAIRS

_HEAD = """# The bundled scene models

Three small models that come with vlcam, so that every command works without a download: `classifier`, `captioner` and `vqa`.
They know generated pictures of coloured shapes and nothing else.

## Build
A VGG-like CNN (five convolutions with batch norm and ReLU; the last, `features`, has 192 channels on 12 x 12 cells of a 96-pixel
picture) is followed by 3 x 3 average pooling and a fully connected layer of 512. The classifier adds a linear layer (36
colour-shape pairs, sigmoid). The captioner has an LSTM of 384 that reads the photo vector at each step, without attention; the next word is
read off its state and the product of state and photo vector. The VQA model has an LSTM of 256 over the question, a product with the photo
vector, and two fully connected layers (23 answers, softmax). The three share one trunk and are shipped as three files, in 16-bit floats.

## Training
`vlcam scenes train DIR --scenes {scenes} --steps {steps} --head-steps {head_steps} --caption-steps {caption_steps} --seed {seed}`, about
100 minutes on two quiet cores: {scenes:,} generated training scenes; {steps:,} steps of {batch} pictures for the whole, then
{head_steps:,} steps of {head_batch} pictures with the trunk fixed, and {caption_steps:,} of the captioner's head alone, in both of which
words and answers are label-smoothed by {smoothing}. Helper losses, whose layers are thrown away, ask the trunk which shape, colour,
size and texture each cell of the last conv layer shows (from the exact masks; fading out), which kinds of things are in the picture,
and each channel to fire seldom. So the trunk was told where things are: good localisation here says that the explanation is
faithful to such a trunk, and is no evidence that a network finds places without being told. The trunk is a moving average, with
batch-norm statistics measured anew.

The shipped files are not those of one such run, which gave 0.979 of the words, 0.855 of whole captions and 0.986 of the answers right
on 1,000 validation scenes; they come from an earlier form of the command. In its first stage the captioner and the VQA model did not
have the layers around the product yet, and the fading of the per-cell helper followed schedules of 7,500 to 9,000 steps; the second
stage took 4,000 steps without label smoothing, from heads made anew; the third took 1,000 steps without and 600 with it.

## Data
Training, validation and test scenes come from different random streams and can't overlap. The pairs {unseen} occur in the `unseen` split
only.
"""

_LIMITS = """
## Limits
- Probabilities of words stop at about 0.9, as label smoothing wants it: take 0.9 for certain. It is there for the maps: without it
  the captioner was certain of most shapes (p > 0.999), flat around the picture, and its maps pointed elsewhere.
- Generated pictures only: on photographs the models say something, and it means nothing.
- Closed vocabularies: 33 caption words, 44 question words, 23 answers; questions outside the grammar are answered at random.
- On pairs never seen in training the quality drops as the table shows: the classifier has no way to learn those pairs.
- Grad-CAM averages gradients over the picture. Evidence that matters by its place ("which is further left") partly cancels.
"""

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


def quality_table(measured: Mapping[str, Any]) -> str:
    """A Markdown table of quality, a column per split."""
    splits = measured["splits"]
    lines = [
        "| | " + " | ".join(f"{split} ({splits[split]['scenes']:,} scenes)" for split in splits) + " |",
        "|---|" + "---|" * len(splits),
    ]
    for key, title in _QUALITY_ROWS.items():
        lines.append(f"| {title} | " + " | ".join(f"{splits[split]['quality'][key]:.3f}" for split in splits) + " |")
    return "\n".join(lines)


def grounding_table(measured: Mapping[str, Any], split: str) -> str:
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


def card(measured: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """The whole card, in Markdown. ``plan`` is the ``plan.json`` of the training run."""
    unseen = ", ".join(" ".join(pair) for pair in UNSEEN_PAIRS)
    parts = [
        _HEAD.format(unseen=unseen, **plan),
        "## Quality\n\n" + quality_table(measured) + "\n",
        "## Does the heatmap point at the right thing?\n\n"
        "Grad-CAM at `features`; the pointing game with no tolerance: the share of targets whose map is highest inside the visible\n"
        "mask of the thing that the word, or the answer, is about; with 95 % bootstrap intervals. Only true words and right answers are\n"
        "scored; a map that shows nothing is a miss. `area` is what a random pixel gets, `ceiling` the best that a 12 x 12 map can do.\n"
        "`contrast map` explains the word or answer rather than a random other one of its kind.\n",
    ]
    for split in measured["splits"]:
        parts.append(
            f"### {split} ({measured['splits'][split]['grounded_scenes']:,} scenes)\n\n{grounding_table(measured, split)}\n"
        )
    return "\n".join(parts).rstrip() + "\n" + _LIMITS
