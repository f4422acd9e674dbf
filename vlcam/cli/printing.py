"""Results for a person to read: what a model said and why, what its units are called, how good it is."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from vlcam.benchmark import texts
from vlcam.cli.console import Part, clean, heading, line, paragraph, table
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.record import TargetView
from vlcam.explanation.wording import NEARLY_CERTAIN, nats, notice, peak, percent, place, weight
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.names.record import FLAGS

SENTENCES = 2
"""How many sentences about neurons a summary holds; the report has them all."""


def show(explanation: Explanation, *, headed: bool = True, sentences: int = SENTENCES) -> None:
    """What the model said, how sure it was, where the evidence for each part lies, and a sentence or two about neurons."""
    if headed:
        heading(explanation.photo.name)
    if explanation.task == "captioning":
        whole = next((view for view in explanation if view.target.kind == "caption"), None)
        line([("  caption  ", "dim"), (explanation.text, "bold"), _probability(whole, "  "), _gain(whole, "  ")])
    elif explanation.question is not None:
        line([("  question ", "dim"), (explanation.question, ""), ("  →  ", "dim"), (explanation.text, "bold")])
    else:
        line([("  class    ", "dim"), (explanation.text, "bold")])
    shown = [view for view in explanation if view.target.kind != "caption"]
    _show_question(shown)
    width = max((len(clean(view.label)) for view in shown), default=0)
    wide = max((len(nats(view.target.gain)) for view in shown), default=0)
    for view in shown:
        where = notice(view) or place(view)
        label = clean(view.label).ljust(width)
        line(
            [
                ("    ", ""),
                (label, ""),
                (f"  {percent(view.target.probability):>7}", _shade(view)),
                (f"  {nats(view.target.gain):>{wide}}" if wide else "", ""),
                ("  ", ""),
                (where, "cyan"),
                (f"  {NEARLY_CERTAIN}" if view.nearly_certain else "", "yellow"),
            ]
        )
        if view.proof is not None:
            paragraph(view.proof.verdict, indent=6)
    if certain := [clean(view.label) for view in shown if view.nearly_certain]:
        paragraph(
            f"Nearly certain: {', '.join(dict.fromkeys(certain))}. Log-probabilities so near to 0 hardly change, so the maps "
            "are faint; explain the logits instead: --measure logit.",
            indent=4,
        )
    for note in explanation.notes:
        paragraph(note, indent=4)
    for sentence in _told(shown, sentences):
        paragraph(sentence, indent=4)
    line()


def show_names(names: NeuronNames, units: Sequence[NeuronName]) -> None:
    """A line for each unit: its number, name, IoU and how high an IoU can be."""
    line(
        [
            (f"{names.model}, layer {names.layer}: ", "bold"),
            (f"{_named(names)}; {len(names.concepts)} different names", ""),
        ]
    )
    width = max((len(clean(unit.name or unit.state)) for unit in units), default=0)
    score = "IoU" if names.probe.get("scorer", "iou") == "iou" else "score"
    line([(f"  unit  {'name'.ljust(width)}  kind        {score:>5}", "dim")])
    for unit in units:
        known = unit.name is not None
        name = (clean(unit.name) if unit.name is not None else f"({unit.state})").ljust(width)
        line(
            [
                (f"  {unit.unit:4d}  ", ""),
                (name, "bold" if known else "dim"),
                (f"  {clean(unit.category or '') if known else '':<12}", ""),
                (f"{unit.score:5.2f}" if known else "", ""),
            ]
        )


def show_unit(names: NeuronNames, unit: NeuronName) -> None:
    """All that is known about one unit, in words."""
    line(
        [
            (f"{names.model}, layer {names.layer}, unit {unit.unit}: ", "bold"),
            (unit.name or f"({unit.state})", "bold cyan"),
        ]
    )
    if unit.state == "dead":
        paragraph("It never fires on the probe pictures, so it stands for nothing.", indent=2)
        return
    score = SCORES.get(str(names.probe.get("scorer", "iou")), "score")
    if unit.name is None:
        paragraph(
            f"It fires, but no name passed the tests; the best one reached {_a(score)} {score} of {unit.score:.2f}.",
            indent=2,
        )
    else:
        chance = "" if unit.p is None else f" (permutation test: p = {unit.p:.2g})"
        most = f"; at most {unit.ceiling:.2f} is possible for areas of these sizes" if score == "IoU" else ""
        paragraph(
            f"Where it fires above {unit.threshold:.3g}, the picture shows {unit.name} "
            f"({unit.category or 'no category'}) with {_a(score)} {score} of {unit.score:.2f}{most}{chance}.",
            indent=2,
        )
        _show_trust(unit)
    if unit.alternatives:
        paragraph(
            "Next best: " + ", ".join(f"{name} ({found:.2f})" for name, _, found in unit.alternatives) + ".", indent=2
        )
    facts = {key: value for key, value in names.probe.items() if isinstance(value, str | int | float)}
    paragraph("Probe: " + ", ".join(f"{key} {value}" for key, value in facts.items()), indent=2)
    notes = names.probe.get("notes", ())
    for note in notes if isinstance(notes, list | tuple) else ():
        paragraph(f"Note: {note}", indent=2)


SCORES = {
    "iou": "IoU",
    "auprc": "average precision",
    "correlation": "correlation",
    "soft-wpmi": "soft-WPMI",
    "www": "similarity",
}
"""What the scorers' numbers are called."""


def _a(word: str) -> str:
    return "an" if word[:1] in "aeiouAEIOU" else "a"


def _show_trust(unit: NeuronName) -> None:
    """How far the name can be trusted, and what a text may claim when the unit fires."""
    if unit.stability is not None:
        paragraph(f"The name wins on {percent(unit.stability)} of bootstrap samples of the pictures.", indent=2)
    if unit.also:
        paragraph(f"It also stands for {', '.join(unit.also)}.", indent=2)
    if unit.formula is not None:
        paragraph(f"Better than one name: {unit.formula[0]} ({unit.formula[1]:.2f}).", indent=2)
    if unit.claims is not None:
        said = ", ".join(f"{name} above {level:.3g}" for name, _, level in unit.claims)
        paragraph(f"A text may say that this is there: {said or 'nothing, as no level is sure enough'}.", indent=2)
    for flag in unit.flags:
        paragraph(f"Warning: {flag} ({FLAGS.get(flag, flag)}).", indent=2)


def show_measured(measured: Mapping[str, Any]) -> None:
    """Tables of quality, of the pointing game and, if it was measured, of the visual gain; a row per kind of target."""
    splits: Mapping[str, Any] = measured["splits"]
    quality = {split: found["quality"] for split, found in splits.items()}
    rows = list(dict.fromkeys(name for numbers in quality.values() for name in numbers))
    scenes = [f"{split} ({found['scenes']} scenes)" for split, found in splits.items()]
    table(["quality", *scenes], [[row, *(_share(quality[split].get(row)) for split in splits)] for row in rows])
    for split, found in splits.items():
        kinds: Mapping[str, Mapping[str, Any]] = found["grounding"]
        columns = list(
            dict.fromkeys(name for numbers in kinds.values() for name in numbers if name not in ("n", "interval"))
        )
        body = [
            [
                kind,
                str(numbers["n"]),
                *(_share(numbers.get(one)) for one in columns),
                _interval(numbers.get("interval")),
            ]
            for kind, numbers in kinds.items()
        ]
        title = f"pointing game, {measured['method']}, {split} ({found['grounded_scenes']} scenes)"
        table([title, "n", *columns, "95 % of map"], body)
    if "gain" in measured:
        _show_gains(measured["gain"])


def _show_gains(gains: Mapping[str, Any]) -> None:
    """How well visual gain, and the plain log-probability, tell words apart: AUROC with its 95 % interval."""
    titles = {
        "seen": "words that show, against function words",
        "true": "true words, against false ones in their place",
    }
    for part, title in titles.items():
        columns = [name for name in next(iter(gains[part].values()), {}) if name not in ("positives", "negatives")]
        body = [
            [
                kind,
                f"{row['positives']}:{row['negatives']}",
                *(f"{_share(row[name]['auroc'])} ({_interval(row[name]['interval'])})" for name in columns),
            ]
            for kind, row in gains[part].items()
        ]
        names = [f"gain, {name}" if name != "log-probability" else name for name in columns]
        table([f"AUROC, {title} ({gains['scenes']} scenes)", "n", *names], body)


def _share(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and isfinite(value) else "-"


def _interval(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.3f}-{value[1]:.3f}"


def _named(names: "NeuronNames") -> str:
    named = sum(unit.state == "named" for unit in names.units)
    return f"{named} of {len(names.units)} units named"


def _probability(view: TargetView | None, before: str) -> Part:
    found = "" if view is None else percent(view.target.probability)
    return (f"{before}{found}" if found else "", "" if view is None else _shade(view))


def _gain(view: TargetView | None, before: str) -> Part:
    found = "" if view is None else nats(view.target.gain)
    return (f"{before}{found} from the image" if found else "", "")


def _show_question(views: Sequence[TargetView]) -> None:
    """The words of the question with their weights for the first answer; the weightiest stands out."""
    weighed = next((view for view in views if view.reading), None)
    if weighed is None:
        return
    most = max(abs(value) for _, value in weighed.reading)
    line([(f"    words of the question, for {clean(weighed.label)}:", "dim")])
    parts: list[Part] = [("     ", "")]
    for word, value in weighed.reading:
        parts.append((f" {clean(word)} {weight(value)}", "bold" if abs(value) == most > 0 else ""))
    line(parts)


def _shade(view: TargetView) -> str:
    probability = view.target.probability
    if probability is None:
        return ""
    return "green" if probability >= 0.5 else "yellow" if probability >= 0.1 else "red"


def _told(views: Sequence[TargetView], most: int) -> list[str]:
    """What the named neurons behind the first targets are, in short; of a caption's words, the ones with most evidence."""
    told = [view for view in views if view.neurons is not None and view.flag == "ok"]
    if told and told[0].target.kind == "word":
        told.sort(key=peak, reverse=True)
    sentences = dict.fromkeys(view.neurons.sentence for view in told if view.neurons is not None)
    return [short(sentence) for sentence in list(sentences)[:most]]


def short(text: str) -> str:
    """The first two sentences of a neuron text, without the numbers of the units: what is said, and what it mainly rests on.

    >>> short('Predicted star (0.91). Mainly because the network sees signs of stars (units 3, 7; 31 %). In spite of red (unit 1; −6 %).')
    'Predicted star (0.91). Mainly because the network sees signs of stars (31 %).'
    """
    sentences = re.split(r"(?<=\.) (?=[A-Z])", text)
    return re.sub(r"\(units? [\d, ]+; ", "(", " ".join(sentences[:2]))


def show_texts(measured: Mapping[str, Any]) -> None:
    """The tables of :func:`vlcam.benchmark.texts.evaluate`."""
    for kind in texts.KINDS:
        title = f"texts, {kind} ({measured['n']} {measured['split']} scenes)"
        table([title, *texts.RANKINGS], texts.rows(measured, kind))
    ablation, erased = measured["ablation"], measured["erased"]
    heads = list(ablation["all"])
    table(["ablation", *heads], [[kind, *(texts.cell(ablation[kind][one]) for one in heads)] for kind in texts.KINDS])
    rows = [[kind, *(texts.cell(erased[kind][one]) for one in texts.ERASED)] for kind in texts.KINDS]
    table(["a thing erased", *texts.ERASED], rows)
