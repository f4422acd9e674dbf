"""What ``vlcam study`` does. Imported when a command runs, never before."""

from itertools import islice
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from vlcam.cli import console
from vlcam.cli.check_explain import name_options
from vlcam.cli.study_options import ScoreOptions, StudyOptions
from vlcam.contracts import InputError, Request, Task
from vlcam.engine.weights import weaken_model
from vlcam.files import check_folder, dump_json, stage_files, write_json, write_text
from vlcam.image.photo import open_photo
from vlcam.scenes.record import PIXELS
from vlcam.study.page import make_study_page
from vlcam.study.pictures import iterate_photos, iterate_scenes
from vlcam.study.plan import KINDS, RATINGS, Part, make_discrimination_study, make_key, make_trust_study
from vlcam.study.score import Scores, make_document, read_answers, read_key, score_answers
from vlcam.tasks import bundled
from vlcam.tasks.bundled import PAIR_LABELS
from vlcam.tasks.load import load
from vlcam.tasks.recipe import STATE_ENDINGS

KEY: Final = "key.json"
_TRIAL_SCENES: Final = 96
_TITLES: Final = {
    "discrimination": "Class discrimination: share of right answers (chance 50 %)",
    "trust": "Trust: mean from -2 to 2 towards the stronger model (no difference: 0)",
}


def run_make(wanted: StudyOptions) -> tuple[Part, ...]:
    """Make the studies and write a page for each and the key: all of it or nothing. A key that is there is never overwritten."""
    out, kinds = wanted.out, choose_kinds(wanted)
    check_folder(out)
    if (out / KEY).exists():
        raise InputError(
            f"{str(out / KEY)!r} is the key of another study, whose answers can't be scored without it; give another folder"
        )
    task = _open(wanted, wanted.model)
    options: dict[str, Any] = {
        "methods": tuple(wanted.methods) if wanted.methods else None,
        "n": wanted.n,
        "seed": wanted.seed,
        "rotate": not wanted.whole,
    }
    parts = []
    if "discrimination" in kinds:
        with console.show_bar("class discrimination") as advance:
            parts.append(make_discrimination_study(task, _open_pictures(wanted), **options, progress=advance))
    if "trust" in kinds:
        weaker, facts = _make_weaker(wanted, task)
        with console.show_bar("trust") as advance:
            parts.append(
                make_trust_study(task, weaker, _open_pictures(wanted), **options, facts=facts, progress=advance)
            )
    pages = {f"{part.kind}.html": make_study_page(part, note=wanted.note) for part in parts}
    with stage_files(out) as folder:
        for name, text in pages.items():
            write_text(folder / name, text)
        write_json(folder / KEY, make_key(parts))
    for part in parts:
        _say(part, wanted, out)
    console.say(
        f"Wrote {out / KEY}: keep it to yourself. Score the answers with: vlcam study score {out / KEY} ANSWERS.csv ..."
    )
    return tuple(parts)


def run_score(wanted: ScoreOptions) -> None:
    """Score the answers, print the table and write the JSON."""
    out = wanted.out
    if out is not None:
        check_folder(out.parent)
        if out.is_dir():
            raise InputError(f"--out {str(out)!r} is a folder; give the name of a JSON file")
    known = read_key(wanted.key)
    ratings = [one for file in wanted.answers for one in read_answers(file, known)]
    found = score_answers(known, ratings, draws=wanted.draws, seed=wanted.seed, partial=wanted.partial)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_json(out, make_document(found))
        console.say(f"Wrote {out}")
    if wanted.as_json:
        console.print_data(dump_json(make_document(found)))
        return
    for one in found:
        _show(one)


def choose_kinds(wanted: StudyOptions) -> tuple[str, ...]:
    """Which studies; InputError for options that don't fit together."""
    if wanted.part not in (*KINDS, "both"):
        raise InputError(f"--part {wanted.part!r} was given; expected discrimination, trust or both")
    if wanted.model is None and wanted.data is not None:
        raise InputError(
            "--data was given without --model; name a model, as the bundled classifier knows generated pictures only"
        )
    if wanted.model is not None and wanted.data is None and wanted.model != "scenes/classifier":
        raise InputError(f"--model {wanted.model} was given without --data; give photos with categories that it knows")
    if wanted.model is None and (wanted.arch is not None or wanted.revision is not None):
        raise InputError("--arch and --revision require --model")
    kinds: tuple[str, ...] = KINDS if wanted.part == "both" else (wanted.part,)
    if "trust" in kinds and wanted.against is None and wanted.model not in (None, "scenes/classifier"):
        raise InputError("trust compares two models: give the weaker one with --against, or --part discrimination")
    return kinds


def _open(wanted: StudyOptions, name: str | None) -> Task:
    if name is None:
        return load("scenes/classifier", device=wanted.device)
    arch = wanted.arch if name.endswith(STATE_ENDINGS) else None
    with name_options():
        return load(name, arch=arch, revision=wanted.revision if arch is None else None, device=wanted.device)


def _open_pictures(wanted: StudyOptions) -> Any:
    return (
        iterate_scenes() if wanted.data is None else iterate_photos(wanted.data, split=wanted.split, seed=wanted.seed)
    )


def _make_weaker(wanted: StudyOptions, task: Task) -> tuple[Task, dict[str, Any]]:
    """The weaker model and how it came about: the one asked for, or the bundled classifier with noise on its weights.

    Its accuracy is measured on validation scenes, which are never shown to raters.
    """
    if wanted.against is not None:
        return _open(wanted, wanted.against), {}
    seen = list(islice(iterate_scenes("val", side=PIXELS), _TRIAL_SCENES))
    inputs = torch.cat([task.prepare(open_photo(one.image)[0], Request()).inputs for one in seen])

    def accuracy(model: nn.Module) -> float:
        with torch.inference_mode():
            tops = model.eval()(inputs).argmax(1).tolist()
        return sum(PAIR_LABELS[top] in one.categories for top, one in zip(tops, seen, strict=True)) / len(seen)

    with console.show_bar("weakening the bundled classifier"):
        model, facts = weaken_model(task.model, accuracy, seed=wanted.seed)
    return bundled.classifier(model), {"weakened": facts}


def _say(part: Part, wanted: StudyOptions, out: Path) -> None:
    """Say what was written, and how many raters it takes for as many ratings as in the paper."""
    raters = RATINGS * part.booklets
    found = part.facts["pictures"]
    fewer = f" ({wanted.n} pictures were asked for, and {found} could be used)" if found < wanted.n else ""
    ids = f"r1 to r{raters}" if part.booklets > 1 else f"{raters} different ones"
    console.say(
        f"Wrote {out / part.kind}.html: {len(part.items)} items{fewer}, dealt into {part.booklets} booklet"
        f"{'s' if part.booklets > 1 else ''}; {raters} raters (give them the ids {ids}) make {RATINGS} ratings of each, as in the paper"
    )
    if part.kind == "trust" and part.facts["stronger"]["right"] <= part.facts["weaker"]["right"]:
        console.say(
            f"Note: {part.facts['weaker']['model']}, given as the weaker model, was right on {part.facts['weaker']['right']:.0%} of the "
            f"pictures looked at and the other on {part.facts['stronger']['right']:.0%}; should they be swapped?"
        )


def _show(found: Scores) -> None:
    console.print_heading(_TITLES[found.kind])
    share = found.kind == "discrimination"

    def number(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f} %" if share else f"{value:+.2f}"

    def interval(low: float | None, high: float | None) -> str:
        return "-" if low is None or high is None else f"{number(low)} to {number(high)}"

    console.print_table(
        ["method", "ours", "95 % interval", "paper", "pictures", "ratings"],
        [
            [
                one.method,
                number(one.value),
                interval(one.low, one.high),
                number(one.paper),
                str(one.pictures),
                str(one.ratings),
            ]
            for one in found.methods
        ],
    )
    if found.differences:
        console.print_table(
            ["difference", "ours", "95 % interval"],
            [[f"{one.one} - {one.other}", number(one.value), interval(one.low, one.high)] for one in found.differences],
        )
    alpha = (
        "not defined (no item has two raters, or all answers are the same)"
        if found.agreement is None
        else f"{found.agreement:.3f}"
    )
    console.print_line(
        [(f"Krippendorff's alpha of {len(found.answered)} rater{'s' if len(found.answered) != 1 else ''}: {alpha}", "")]
    )
    short = [f"{rater} {have} of {of}" for rater, (have, of) in found.answered.items() if have < of]
    if short:
        console.print_line([(f"Incomplete: {', '.join(short)}", "")])
    console.print_line(
        [("Paper: VGG-16 and AlexNet on VOC 2007 (Selvaraju et al., arXiv 1610.02391, sections 5.1 and 5.2).", "")]
    )
    console.print_line()
