"""What the commands of :mod:`vlcam.cli` do. Imported when a command runs, never before."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, final

from PIL import Image

from vlcam import __version__, console
from vlcam.contracts import InputError, Request, Task, VlcamError
from vlcam.explainer import explain
from vlcam.explanation import Explanation
from vlcam.layers import find
from vlcam.methods import method as find_method
from vlcam.output import make_folder, slug, to_json, write_text
from vlcam.render import page
from vlcam.scenes.record import SPLITS, Split
from vlcam.scenes.sample import make
from vlcam.scenes.zoo import WHICH, Which
from vlcam.tasks import bundled

PICTURE = 384
"""Side of a generated picture that is shown to a person; the models see it at 96 pixels."""

DEMO = ((11, "what colour is the {}"), (4, "how many {}s are there"), (7, "which is higher the {} or the {}"))


@final
@dataclass(frozen=True)
class Wanted:
    """The options of classify, caption and vqa."""

    targets: tuple[str, ...]
    caption: str | None
    question: str | None
    contrast: tuple[str, ...]
    top: int
    layer: str | None
    method: str
    ranking: str
    beams: int = 1

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The contrasts as pairs."""
        out = []
        for one in self.contrast:
            this, colon, that = one.partition(":")
            if not (colon and this.strip() and that.strip()):
                raise InputError(f"--contrast {one!r} was given; expected THIS:THAT, such as red:blue")
            out.append((this.strip(), that.strip()))
        return tuple(out)


def open_task(kind: str, beams: int = 1) -> Task:
    """The bundled model for a kind of task."""
    if kind == "captioning":
        return bundled.captioner(beams=beams)
    return bundled.classifier() if kind == "classification" else bundled.vqa()


def _split(name: str) -> Split:
    if name not in SPLITS:
        raise InputError(f"split {name!r} was given; expected one of {', '.join(SPLITS)}")
    return cast(Split, name)


def open_image(source: str) -> tuple[Any, str]:
    """A path, or the picture of ``scene:SEED`` or ``scene:SPLIT:SEED``, with its name."""
    if not source.startswith("scene:"):
        return Path(source), Path(source).name
    *split, seed = source.removeprefix("scene:").split(":")
    if len(split) > 1 or not seed.isdigit():
        raise InputError(f"{source!r} was given; expected scene:SEED with a whole number, such as scene:7, or scene:unseen:7")
    scene = make(int(seed), _split(split[0] if split else "test"))
    return Image.fromarray(scene.image(PICTURE)), source


def _check(task: Task, wanted: Wanted) -> None:
    """Refuse what no image could mend, before any image is opened."""
    find_method(wanted.method)
    if wanted.layer is not None:
        find(task.model, wanted.layer)
    request = Request(
        labels=wanted.targets, caption=wanted.caption, question=wanted.question, top_k=wanted.top, contrasts=wanted.pairs()
    )
    task.prepare(Image.new("RGB", (8, 8)), request)


def explain_one(task: Task, source: str, wanted: Wanted) -> Explanation:
    """One image from the command line, explained."""
    image, name = open_image(source)
    return explain(
        task,
        image,
        targets=wanted.targets,
        caption=wanted.caption,
        question=wanted.question,
        contrast=wanted.pairs(),
        top_k=wanted.top,
        method=wanted.method,
        layer=wanted.layer,
        ranking=wanted.ranking,
        name=name,
    )


def run_task(kind: str, images: Sequence[str], wanted: Wanted, *, out: Path | None, as_json: bool) -> None:
    """Explain each image; those that can't be opened are reported at the end, with exit code 1."""
    task = open_task(kind, wanted.beams)
    _check(task, wanted)
    if out is not None:
        make_folder(out)
    done: list[tuple[str, Explanation]] = []
    failed: list[tuple[str, str]] = []
    for source in images:
        try:
            explanation = explain_one(task, source, wanted)
        except VlcamError as error:
            failed.append((source, str(error)))
            continue
        done.append((source, explanation))
        if not as_json:
            console.show(explanation)
    if out is not None and done:
        write_results(out, [explanation for _, explanation in done])
        if not as_json:
            console.say(f"Wrote {out / 'report.html'}")
    if as_json:
        print(json.dumps(to_json(done, failed), allow_nan=False))
    for source, why in failed:
        console.complain(why if source in why else f"{source}: {why}")
    if failed:
        sys.exit(1)


def write_results(out: Path, explanations: Sequence[Explanation]) -> None:
    """``report.html``, and for each image a picture and the saved explanation."""
    for number, explanation in enumerate(explanations):
        name = f"{number:03d}-{slug(explanation.photo.name)}"
        explanation.save(out / f"{name}.safetensors")
        part = out / f"{name}.part.png"
        explanation.figure().save(part)
        part.replace(out / f"{name}.png")
    write_text(out / "report.html", page(explanations))


def run_demo(out: Path) -> None:
    """All three tasks on a few generated pictures."""
    make_folder(out)
    classifier, captioner, vqa = bundled.classifier(), bundled.captioner(), bundled.vqa()
    explanations: list[Explanation] = []
    for seed in DEMO_SEEDS:
        scene = make(seed, "test")
        picture, name = Image.fromarray(scene.image(PICTURE)), f"scene:{seed}"
        kinds = {question.kind: question.text for question in scene.questions(12)}
        asked = [kinds[kind] for kind in ("same", "left", "colour", "count") if kind in kinds][:2]
        explanations.append(explain(captioner, picture, name=name))
        explanations += [explain(vqa, picture, question=question, name=name) for question in asked]
        explanations.append(explain(classifier, picture, name=name))
    for explanation in explanations:
        console.show(explanation)
    write_text(out / "report.html", page(explanations, title="vlcam demo"))
    console.say(f"Wrote {out / 'report.html'} - open it in a browser.")


DEMO_SEEDS = (11, 4, 7)


def _which(model: str) -> Which:
    if model not in WHICH:
        raise InputError(f"model {model!r} was given; expected one of {', '.join(WHICH)}")
    return cast(Which, model)


def run_neurons(model: str, *, unit: int | None, concept: str | None, as_json: bool) -> None:
    """List or explain names."""
    names = bundled.names(_which(model))
    if names is None:
        raise InputError(f"the package holds no neuron names for {model!r}; make them with: vlcam scenes name")
    chosen = list(names.units)
    if unit is not None:
        if not 0 <= unit < len(chosen):
            raise InputError(f"unit {unit} was given; the {model} has units 0 to {len(chosen) - 1}")
        chosen = [chosen[unit]]
    if concept is not None:
        chosen = [one for one in chosen if one.name == concept]
        if not chosen:
            have = sorted({one.name for one in names.units if one.name})
            raise InputError(f"no unit is named {concept!r}; names in use: {', '.join(have)}")
    chosen_names = replace(names, units=tuple(chosen)) if unit is None and concept is None else names
    if as_json:
        print(chosen_names.to_json() if chosen_names.units == tuple(chosen) else json.dumps([vars_of(one) for one in chosen]))
    elif unit is not None:
        console.show_unit(names, chosen[0])
    else:
        console.show_names(names, chosen)


def vars_of(record: Any) -> dict[str, Any]:
    """A frozen record as a plain dict."""
    from dataclasses import asdict

    return asdict(record)


def run_export(folder: Path, split: str, n: int, size: int) -> None:
    """Write a data set."""
    from vlcam.scenes.export import export

    with _progress("drawing") as report:
        export(folder, _split(split), n, size=size, progress=report)
    console.say(f"Wrote {n} scenes of the {split} split to {folder}")


def run_train(folder: Path, *, scenes: int, steps: int, seed: int, resume: bool, device: str | None) -> None:
    """Train, with a progress bar."""
    from vlcam.scenes.train import Plan, train

    with console.training() as report:
        train(folder, Plan(scenes=scenes, steps=steps, seed=seed), resume=resume, device=device, report=report)
    console.say(f"Wrote the weights to {folder}; metrics are in {folder / 'train.jsonl'}")


def run_name(folder: Path | None, out: Path | None, *, n: int, seed: int) -> None:
    """Dissect the bundled models and write the names."""
    from vlcam.scenes.concepts import name_features
    from vlcam.scenes.zoo import weights_folder

    place = out or folder or weights_folder()
    for which in WHICH:
        names = name_features(which, folder=folder, n=n, seed=seed)
        write_text(place / f"{which}-neurons.json", names.to_json() + "\n")
        console.say(f"{which}: {names.coverage:.0%} of {len(names.units)} units named; wrote {place / f'{which}-neurons.json'}")


def run_evaluate(folder: Path | None, *, n: int, grounded: int, method: str, as_json: bool) -> None:
    """Measure quality and grounding."""
    from vlcam.measure import measure

    find_method(method)
    with _progress("measuring") as report:
        measured = measure(folder, n=n, grounded=grounded, method=method, progress=report)
    if as_json:
        print(json.dumps(measured, allow_nan=False))
    else:
        console.show_measured(measured)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    with console.bar(what) as advance:
        yield advance


__all__ = ["__version__"]
