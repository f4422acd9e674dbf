"""Results for a person to read: what a model said and why, what its units are called, how good it is."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from vlcam.benchmark import texts
from vlcam.cli.console import StyledText, clean, print_heading, print_line, print_paragraph, print_table
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.numbers import format_nats, format_percent, format_weight
from vlcam.explanation.record import NeuronText, TargetView, TextForm
from vlcam.explanation.wording import NEARLY_CERTAIN, describe_place, describe_standing, find_peak, get_notice
from vlcam.neurons import NeuronName, NeuronNames
from vlcam.neurons.names.record import FLAGS

SENTENCES = 2
"""How many sentences about neurons a summary holds; the report has them all."""


def show(
    explanation: Explanation, *, headed: bool = True, sentences: int = SENTENCES, form: TextForm = "short"
) -> None:
    """What the model said, how sure it was, where the evidence for each part lies, and a text or two about neurons in a form."""
    if headed:
        print_heading(explanation.photo.name)
    for note in explanation.notes:
        print_paragraph(note, indent=2)
    if explanation.task == "captioning":
        whole = next((view for view in explanation if view.target.kind == "caption"), None)
        print_line(
            [
                ("  caption  ", "dim"),
                (explanation.text, "bold"),
                _format_probability(whole, "  "),
                _format_gain(whole, "  "),
            ]
        )
    elif explanation.question is not None:
        print_line([("  question ", "dim"), (explanation.question, ""), ("  →  ", "dim"), (explanation.text, "bold")])
    else:
        print_line([("  class    ", "dim"), (explanation.text, "bold")])
    shown = [view for view in explanation if view.target.kind != "caption"]
    _show_question(shown)
    width = max((len(clean(view.label)) for view in shown), default=0)
    wide = max((len(format_nats(view.target.gain)) for view in shown), default=0)
    for view in shown:
        where = get_notice(view) or describe_place(view)
        label = clean(view.label).ljust(width)
        print_line(
            [
                ("    ", ""),
                (label, ""),
                (f"  {format_percent(view.target.probability):>7}", _choose_colour(view)),
                (f"  {format_nats(view.target.gain):>{wide}}" if wide else "", ""),
                ("  ", ""),
                (where, "cyan"),
                (f"  {NEARLY_CERTAIN}" if view.nearly_certain else "", "yellow"),
            ]
        )
        if view.significance is not None:
            print_paragraph(view.significance.verdict, indent=6)
    if certain := [clean(view.label) for view in shown if view.nearly_certain]:
        print_paragraph(
            f"Nearly certain: {', '.join(dict.fromkeys(certain))}. Log-probabilities so close to 0 hardly change, so the maps "
            "are faint; explain the logits instead: --measure logit.",
            indent=4,
        )
    for view in _pick_told(shown, sentences, form):
        if view.neurons is not None:
            print_paragraph(view.neurons.get_text(form), indent=4)
            if form == "full":
                _show_units(view.neurons)
    if form == "full" and explanation.choice is not None:
        print_paragraph(f"Maps by {explanation.choice}.", indent=4)
    print_line()


def show_names(names: NeuronNames, units: Sequence[NeuronName]) -> None:
    """A line for each unit: its number, name, IoU and how high an IoU can be."""
    print_line(
        [
            (f"{names.model}, layer {names.layer}: ", "bold"),
            (f"{_describe_coverage(names)}; {len(names.concepts)} different names", ""),
        ]
    )
    width = max((len(clean(unit.name or unit.state)) for unit in units), default=0)
    score = "IoU" if names.probe.get("scorer", "iou") == "iou" else "score"
    print_line([(f"  unit  {'name'.ljust(width)}  kind        {score:>5}", "dim")])
    for unit in units:
        known = unit.name is not None
        name = (clean(unit.name) if unit.name is not None else f"({unit.state})").ljust(width)
        print_line(
            [
                (f"  {unit.unit:4d}  ", ""),
                (name, "bold" if known else "dim"),
                (f"  {clean(unit.category or '') if known else '':<12}", ""),
                (f"{unit.score:5.2f}" if known else "", ""),
            ]
        )


def show_unit(names: NeuronNames, unit: NeuronName) -> None:
    """All that is known about one unit, in words."""
    print_line(
        [
            (f"{names.model}, layer {names.layer}, unit {unit.unit}: ", "bold"),
            (unit.name or f"({unit.state})", "bold cyan"),
        ]
    )
    if unit.state == "dead":
        print_paragraph("It never fires on the probe pictures, so it stands for nothing.", indent=2)
        return
    score = SCORES.get(str(names.probe.get("scorer", "iou")), "score")
    if unit.name is None:
        print_paragraph(
            f"It fires, but no name passed the tests; the best one reached {_choose_article(score)} {score} of {unit.score:.2f}.",
            indent=2,
        )
    else:
        chance = "" if unit.p is None else f" (permutation test: p = {unit.p:.2g})"
        most = f"; at most {unit.ceiling:.2f} is possible for areas of these sizes" if score == "IoU" else ""
        print_paragraph(
            f"Where it fires above {unit.threshold:.3g}, the picture shows {unit.name} "
            f"({unit.category or 'no category'}) with {_choose_article(score)} {score} of {unit.score:.2f}{most}{chance}.",
            indent=2,
        )
        _show_trust(names, unit)
    if unit.alternatives:
        print_paragraph(
            "Next best: " + ", ".join(f"{name} ({found:.2f})" for name, _, found in unit.alternatives) + ".", indent=2
        )
    facts = {key: value for key, value in names.probe.items() if isinstance(value, str | int | float)}
    print_paragraph("Probe: " + ", ".join(f"{key} {value}" for key, value in facts.items()), indent=2)
    notes = names.probe.get("notes", ())
    for note in notes if isinstance(notes, list | tuple) else ():
        print_paragraph(f"Note: {note}", indent=2)


SCORES = {
    "iou": "IoU",
    "auprc": "average precision",
    "correlation": "correlation",
    "soft-wpmi": "soft-WPMI",
    "www": "similarity",
}
"""What the scorers' numbers are called."""


def _choose_article(word: str) -> str:
    return "an" if word[:1] in "aeiouAEIOU" else "a"


def _show_trust(names: NeuronNames, unit: NeuronName) -> None:
    """How far the name can be trusted, and what a text may claim when the unit fires."""
    if unit.stability is not None:
        print_paragraph(
            f"The name wins on {format_percent(unit.stability)} of bootstrap samples of the pictures.", indent=2
        )
    if unit.also:
        print_paragraph(f"It also stands for {', '.join(unit.also)}.", indent=2)
    if unit.formula is not None:
        print_paragraph(f"Better than one name: {unit.formula[0]} ({unit.formula[1]:.2f}).", indent=2)
    if unit.claims is not None:
        said = ", ".join(f"{name} above {level:.3g}" for name, _, level in unit.claims)
        print_paragraph(
            f"A text may claim that this is there: {said or 'nothing, as no level is reliable enough'}.", indent=2
        )
    for group in names.together:
        if unit.unit in group.units:
            others = ", ".join(str(one) for one in group.units if one != unit.unit)
            print_paragraph(
                f"Together with the other units of its name ({others}) it may claim: {', '.join(one for one, _, _ in group.claims)}.",
                indent=2,
            )
    for flag in unit.flags:
        print_paragraph(f"Warning: {flag} ({FLAGS.get(flag, flag)}).", indent=2)


def show_measured(measured: Mapping[str, Any]) -> None:
    """Tables of quality, of the pointing game and, if it was measured, of the visual gain; a row per kind of target."""
    splits: Mapping[str, Any] = measured["splits"]
    quality = {split: found["quality"] for split, found in splits.items()}
    rows = list(dict.fromkeys(name for numbers in quality.values() for name in numbers))
    scenes = [f"{split} ({found['scenes']} scenes)" for split, found in splits.items()]
    print_table(
        ["quality", *scenes], [[row, *(_format_share(quality[split].get(row)) for split in splits)] for row in rows]
    )
    for split, found in splits.items():
        kinds: Mapping[str, Mapping[str, Any]] = found["grounding"]
        columns = list(
            dict.fromkeys(name for numbers in kinds.values() for name in numbers if name not in ("n", "interval"))
        )
        body = [
            [
                kind,
                str(numbers["n"]),
                *(_format_share(numbers.get(one)) for one in columns),
                _format_interval(numbers.get("interval")),
            ]
            for kind, numbers in kinds.items()
        ]
        title = f"pointing game, {measured['method']}, {split} ({found['grounded_scenes']} scenes)"
        print_table([title, "n", *columns, "95 % of map"], body)
    if "gain" in measured:
        _show_gains(measured["gain"])


def _show_gains(gains: Mapping[str, Any]) -> None:
    """How well visual gain, and the plain log-probability, tell words apart: AUROC with its 95 % interval."""
    titles = {
        "seen": "visible words against function words",
        "true": "true words against false ones in their place",
    }
    for part, title in titles.items():
        columns = [name for name in next(iter(gains[part].values()), {}) if name not in ("positives", "negatives")]
        body = [
            [
                kind,
                f"{row['positives']}:{row['negatives']}",
                *(
                    f"{_format_share(row[name]['auroc'])} ({_format_interval(row[name]['interval'])})"
                    for name in columns
                ),
            ]
            for kind, row in gains[part].items()
        ]
        names = [f"gain, {name}" if name != "log-probability" else name for name in columns]
        print_table([f"AUROC, {title} ({gains['scenes']} scenes)", "n", *names], body)


def _format_share(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and isfinite(value) else "-"


def _format_interval(value: Sequence[float] | None) -> str:
    return "-" if value is None else f"{value[0]:.3f}-{value[1]:.3f}"


def _describe_coverage(names: "NeuronNames") -> str:
    named = sum(unit.state == "named" for unit in names.units)
    return f"{named} of {len(names.units)} units named"


def _format_probability(view: TargetView | None, before: str) -> StyledText:
    found = "" if view is None else format_percent(view.target.probability)
    return (f"{before}{found}" if found else "", "" if view is None else _choose_colour(view))


def _format_gain(view: TargetView | None, before: str) -> StyledText:
    found = "" if view is None else format_nats(view.target.gain)
    return (f"{before}{found} from the image" if found else "", "")


def _show_question(views: Sequence[TargetView]) -> None:
    """The words of the question with their weights for the first answer; the weightiest stands out."""
    weighed = next((view for view in views if view.reading), None)
    if weighed is None:
        return
    most = max(abs(value) for _, value in weighed.reading)
    print_line([(f"    words of the question, for {clean(weighed.label)}:", "dim")])
    parts: list[StyledText] = [("     ", "")]
    for word, value in weighed.reading:
        parts.append((f" {clean(word)} {format_weight(value)}", "bold" if abs(value) == most > 0 else ""))
    print_line(parts)


def _choose_colour(view: TargetView) -> str:
    probability = view.target.probability
    if probability is None:
        return ""
    return "green" if probability >= 0.5 else "yellow" if probability >= 0.1 else "red"


def _pick_told(views: Sequence[TargetView], most: int, form: TextForm) -> list[TargetView]:
    """The first targets whose texts differ; of a caption's words, the ones with most evidence."""
    told = [view for view in views if view.neurons is not None and view.flag == "ok"]
    if told and told[0].target.kind == "word":
        told.sort(key=find_peak, reverse=True)
    chosen: dict[str, TargetView] = {}
    for view in told:
        if view.neurons is not None:
            chosen.setdefault(view.neurons.get_text(form), view)
    return list(chosen.values())[:most]


def _show_units(text: NeuronText) -> None:
    """The strongest units for and against a target, and what a text may say of each here."""
    width = max((len(clean(one.name or "unnamed")) for one in (*text.top, *text.bottom)), default=0)
    for one in (*text.top, *text.bottom):
        sign, words = describe_standing(one)
        share = ("−" if one.share < 0 else "+") + format_percent(abs(one.share))
        style = "bold" if one.standing == "claimable" else "dim"
        print_line(
            [
                (f"      {sign or ' '} ", ""),
                (f"{one.unit:4d}  {clean(one.name or 'unnamed').ljust(width)}  {share:>7}  ", ""),
                (clean(words), style),
            ]
        )


def show_texts(measured: Mapping[str, Any]) -> None:
    """The tables of :func:`vlcam.benchmark.texts.evaluate`."""
    for kind in texts.KINDS:
        title = f"texts, {kind} ({measured['n']} {measured['split']} scenes)"
        print_table([title, *texts.RANKINGS], texts.make_rows(measured, kind))
    ablation, erased = measured["ablation"], measured["erased"]
    heads = list(ablation["all"])
    print_table(
        ["ablation", *heads],
        [[kind, *(texts.format_cell(ablation[kind][one]) for one in heads)] for kind in texts.KINDS],
    )
    rows = [[kind, *(texts.format_cell(erased[kind][one]) for one in texts.ERASURE_MEASURES)] for kind in texts.KINDS]
    print_table(["an object erased", *texts.ERASURE_MEASURES], rows)
