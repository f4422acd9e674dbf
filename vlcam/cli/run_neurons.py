"""What ``vlcam neurons`` does: list, name, report and evaluate. Imported when a command runs, never before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

from vlcam._version import __version__
from vlcam.cli import console, printing
from vlcam.cli.check_explain import name_options
from vlcam.cli.document import SCHEMA
from vlcam.cli.neuron_options import EvaluateTextsOptions, ListOptions, NeuronOptions
from vlcam.contracts import InputError, Request, Task
from vlcam.files import (
    check_folder,
    dump_json,
    encode_record,
    make_folder,
    read_json,
    stage_files,
    write_json,
    write_text,
)
from vlcam.neurons.asking import make_request
from vlcam.neurons.name_layer import NamingResult, choose_scorer, name_and_keep
from vlcam.neurons.names.json_files import find_names_file
from vlcam.neurons.names.names import NeuronNames, read_names
from vlcam.neurons.probes.open_probe import open_probe
from vlcam.neurons.probes.probe import Probe, WordProbe
from vlcam.neurons.probes.scenes import MASK_SIZE, SceneProbe
from vlcam.neurons.report.cards import collect
from vlcam.neurons.report.effects import effects
from vlcam.neurons.report.report import write_report
from vlcam.neurons.scoring.settings import Progress, Settings
from vlcam.neurons.thesaurus.synonyms import Thesaurus
from vlcam.scenes.models.zoo import MODEL_NAMES
from vlcam.tasks import bundled
from vlcam.tasks.load import load

_STEPS = {
    "looking": "running the model",
    "labels": "reading the labels",
    "chance": "testing against chance",
    "formulas": "trying formulas",
    "cards": "drawing the cards",
}


def run_list(wanted: ListOptions) -> None:
    """List the names of a bundled model's channels, or those in a file; or explain one unit."""
    unit, concept = wanted.unit, wanted.concept
    found = _get_names(wanted.model) if wanted.names is None else read_names(find_names_file(wanted.names))
    chosen = found.units
    if unit is not None:
        if not 0 <= unit < len(found.units):
            raise InputError(f"unit {unit} was given; {found.model} has units 0 to {len(found.units) - 1}")
        chosen = (found.units[unit],)
    if concept is not None:
        chosen = tuple(one for one in chosen if one.name == concept)
        if not chosen:
            who = "no unit is" if unit is None else f"unit {unit} is not"
            raise InputError(f"{who} named {concept!r}; names in use: {', '.join(found.concepts) or 'none'}")
    if wanted.as_json:
        about = {"model": found.model, "layer": found.layer, "weights_sha256": found.weights_sha256}
        head: dict[str, Any] = {
            "schema": SCHEMA,
            "vlcam": __version__,
            **about,
            "probe": dict(found.probe),
            "coverage": found.coverage,
        }
        for key, records in (("together", found.together), ("units", chosen)):
            head[key] = [encode_record(one, nonfinite="null") for one in records]
        console.print_data(dump_json(head))
    elif unit is not None:
        printing.show_unit(found, chosen[0])
    else:
        printing.show_names(found, chosen)


def run_name(wanted: NeuronOptions) -> None:
    """Name the units and write ``names.json`` and ``names.csv``."""
    out = wanted.out
    check_folder(out)
    task, probe = _open_task_and_probe(wanted)
    named = _name_units(task, probe, wanted)
    with stage_files(out) as folder:
        write_text(folder / "names.json", named.names.to_json() + "\n")
        write_text(folder / "names.csv", named.names.to_csv())
    _tell(named.names)
    console.say(f"Wrote {out / 'names.json'} and {out / 'names.csv'}")


def run_report(wanted: NeuronOptions) -> None:
    """Name the units (or take the names that were given) and write the report with its files."""
    out = wanted.out
    check_folder(out)
    known = None if wanted.names is None else read_names(find_names_file(wanted.names))
    task, probe = _open_task_and_probe(wanted)
    named = _name_units(task, probe, wanted, known)
    with _show_steps() as progress:
        cards = collect(
            named.names,
            named.activations,
            probe,
            exemplars=wanted.exemplars,
            seed=wanted.seed,
            joined=named.joined,
            progress=lambda done, total: progress("cards", done, total),
        )
    helped = None
    if wanted.photos:
        request = _make_request(task, wanted)
        helped = effects(task, probe, photos=wanted.photos, layer=named.names.layer, request=request)
    make_folder(out)
    paths = write_report(out, named.names, cards, effects=helped)
    _tell(named.names)
    console.say(f"Wrote {', '.join(map(str, paths))}")


def run_evaluate(wanted: EvaluateTextsOptions) -> None:
    """Measure on the bundled world whether names and texts are true; print the tables, and add them to a model card."""
    from vlcam.benchmark import planted
    from vlcam.benchmark import texts as naming_bench

    card_folder = wanted.card
    if card_folder is not None:
        check_folder(card_folder)
        what = "a file of a model card, as vlcam scenes evaluate --card writes it"
        before, plan = (read_json(card_folder / name, what) for name in ("card.json", "plan.json"))
    with console.show_bar("measuring the texts") as advance:
        measured = naming_bench.evaluate(
            n=wanted.n, seed=wanted.seed, folder=wanted.weights, method=wanted.method, progress=advance
        )
    measured["planted"] = planted.evaluate(seed=wanted.seed)
    if wanted.as_json:
        console.print_data(dump_json(measured))
    else:
        printing.show_texts(measured)
        console.print_table(["planted units", "units", "right", "instead"], planted.make_rows(measured["planted"]))
    if card_folder is not None:
        from vlcam.benchmark.card import TEXTS_FILE, make_card

        write_json(card_folder / TEXTS_FILE, measured)
        write_text(card_folder / "MODEL_CARD.md", make_card(before, plan, measured))
        console.say(f"Wrote {card_folder / TEXTS_FILE} and {card_folder / 'MODEL_CARD.md'}")


def _get_names(model: str) -> NeuronNames:
    which = next((one for one in MODEL_NAMES if model in (one, f"scenes/{one}")), None)
    if which is None:
        raise InputError(
            f"model {model!r} was given; expected one of {', '.join(MODEL_NAMES)}, or --names with a file of names; "
            "to name the units of another model: vlcam neurons name"
        )
    found = bundled.read_packaged_names(which)
    if found is None:
        raise InputError(f"the package holds no neuron names for the {which}; make them with: vlcam scenes name")
    return found


def _open_task_and_probe(wanted: NeuronOptions) -> tuple[Task, Probe | WordProbe]:
    """The probe, which is quick to check, and then the model."""
    probe = open_probe(
        wanted.probe,
        words=wanted.words,
        encoder=wanted.encoder,
        names=wanted.concepts,
        labels=wanted.labels,
        split=wanted.split,
        n=wanted.n,
        scenes=SceneProbe,
    )
    _make_settings(wanted, probe)
    name = f"scenes/{wanted.model}" if wanted.model in MODEL_NAMES else wanted.model
    if not name.startswith(("torchvision/", "scenes/")):
        console.hush_transformers()
    if wanted.task not in (None, "classification", "captioning", "vqa"):
        raise InputError(f"--task {wanted.task!r} was given; expected classification, captioning or vqa")
    kind = cast(Literal["classification", "captioning", "vqa"] | None, wanted.task)
    with name_options():
        task = load(name, arch=wanted.arch, revision=wanted.revision, device=wanted.device, task=kind)
    return task, probe


def _make_settings(wanted: NeuronOptions, probe: Probe | WordProbe) -> Settings:
    return Settings(
        choose_scorer(probe, wanted.scorer),
        wanted.quantile,
        wanted.min_score,
        wanted.permutations,
        bootstrap=wanted.bootstrap,
        length=wanted.length,
        seed=wanted.seed,
    )


def _make_request(task: Task, wanted: NeuronOptions) -> Request:
    """What the model is asked while it looks: a question answerer must be asked something."""
    if task.kind != "vqa" and wanted.question is not None:
        raise InputError(
            f"--question {wanted.question!r} was given, but {task.name} answers no questions; leave it out"
        )
    return make_request(task, question=wanted.question, prompt=wanted.prompt)


def _name_units(
    task: Task, probe: Probe | WordProbe, wanted: NeuronOptions, known: NeuronNames | None = None
) -> NamingResult:
    """The names with the activations they come from."""
    request = _make_request(task, wanted)
    grid = MASK_SIZE if isinstance(probe, SceneProbe) and wanted.mask_size is None else wanted.mask_size
    with _show_steps() as progress:
        return name_and_keep(
            task,
            wanted.layer if known is None or wanted.layer is not None else known.layer,
            probe,
            settings=_make_settings(wanted, probe),
            request=request,
            mask_size=grid,
            thesaurus=Thesaurus.with_wordnet() if wanted.wordnet else None,
            hypernyms=wanted.hypernyms,
            batch_size=wanted.batch,
            cache=wanted.cache,
            known=known,
            progress=progress,
        )


def _tell(names: NeuronNames) -> None:
    """Print how many units have names, the most frequent names, and what limits them."""
    named = [unit for unit in names.units if unit.state == "named"]
    flagged = sum(bool(unit.flags) for unit in named)
    console.say(
        f"{names.model}, layer {names.layer}: {len(named)} of {len(names)} units named with {len(names.concepts)} different names"
        + (f", {flagged} of them with a warning" if flagged else "")
    )
    for note in names.probe.get("notes", ()):
        console.say(f"Note: {note}")


@contextmanager
def _show_steps() -> Iterator[Progress]:
    """A progress bar that says which step is running."""
    with console.show_steps() as advance:

        def tell(what: str, done: int, total: int) -> None:
            advance(_STEPS.get(what, what), done, total)

        yield tell
