"""What ``vlcam scenes`` does: export, train, name and evaluate the bundled world. Imported when a command runs, never before."""

from pathlib import Path
from typing import Any

from vlcam.cli import console, printing
from vlcam.cli.scene_options import EvaluateModelsOptions, ExportOptions, NameScenesOptions, TrainOptions
from vlcam.contracts import InputError
from vlcam.files import check_folder, dump_json, make_folder, read_json, show_path, write_json, write_text
from vlcam.scenes.models.zoo import MODEL_NAMES, get_weights_folder


def run_export(wanted: ExportOptions) -> None:
    """Write a data set."""
    from vlcam.scenes.export import export

    with console.show_bar("drawing") as advance:
        export(wanted.folder, wanted.split, wanted.n, size=wanted.size, progress=advance)
    console.say(f"Wrote {wanted.n} scenes of the {wanted.split} split to {wanted.folder}")


def run_train(wanted: TrainOptions) -> None:
    """Train, with a progress bar."""
    from vlcam.scenes.models.train import TrainingPlan, train
    from vlcam.tasks.load import check_device

    folder = wanted.folder
    check_folder(folder)
    check_device(wanted.device)
    with console.show_training() as report:
        plan = TrainingPlan(
            scenes=wanted.scenes,
            steps=wanted.steps,
            head_steps=wanted.head_steps,
            caption_steps=wanted.caption_steps,
            seed=wanted.seed,
        )
        train(folder, plan, resume=wanted.resume, device=wanted.device, report=report)
    console.say(f"Wrote the weights to {folder}; metrics are in {folder / 'train.jsonl'}")


def run_name(wanted: NameScenesOptions) -> None:
    """Dissect the bundled models and write the names."""
    from vlcam.benchmark.name_units import name_features

    place = wanted.out or wanted.weights or get_weights_folder()
    check_folder(place)
    found = []
    for which in MODEL_NAMES:
        with console.show_bar(f"naming the {which}'s units") as advance:
            names = name_features(which, folder=wanted.weights, n=wanted.n, seed=wanted.seed, progress=advance)
            found.append(names)
    make_folder(place)
    for which, names in zip(MODEL_NAMES, found, strict=True):
        path = place / f"{which}-neurons.json"
        write_text(path, names.to_json() + "\n")
        console.say(f"{which}: {names.coverage:.0%} of {len(names.units)} units named; wrote {path}")


def run_evaluate(wanted: EvaluateModelsOptions) -> None:
    """Measure quality, grounding and visual gain; write the model card and its numbers if a folder is given for them."""
    from vlcam.benchmark.card import TEXTS_FILE, make_card
    from vlcam.benchmark.gains import measure_gains
    from vlcam.benchmark.measure import measure
    from vlcam.methods import get_one_run_method as find_method
    from vlcam.scenes.models.zoo import load
    from vlcam.tasks import bundled

    find_method(wanted.method)
    folder, card_folder, plan = wanted.weights, wanted.card, None
    if card_folder is not None:
        check_folder(card_folder)
        plan = _read_plan(get_weights_folder() if folder is None else folder)
    with console.show_bar("measuring") as advance:
        measured = measure(folder, n=wanted.n, grounded=wanted.grounding, method=wanted.method, progress=advance)
    if wanted.gain:
        with console.show_bar("measuring the gain") as advance:
            captioner = bundled.captioner(load("captioner", folder))
            measured = {**measured, "gain": measure_gains(captioner, n=wanted.gain, progress=advance)}
    if wanted.as_json:
        console.print_data(dump_json(measured))
    else:
        printing.show_measured(measured)
    if card_folder is not None and plan is not None:
        make_folder(card_folder)
        write_json(card_folder / "card.json", measured)
        texts = card_folder / TEXTS_FILE
        known = read_json(texts, "what vlcam neurons evaluate wrote") if texts.is_file() else None
        write_text(card_folder / "MODEL_CARD.md", make_card(measured, plan, known))
        console.say(f"Wrote {card_folder / 'MODEL_CARD.md'} and {card_folder / 'card.json'}")


def _read_plan(folder: Path) -> dict[str, Any]:
    what = "the settings of a training run, as vlcam scenes train writes them, for the card to say how the models were trained"
    found = read_json(folder / "plan.json", what)
    if not isinstance(found, dict):
        raise InputError(f"{show_path(folder / 'plan.json')} holds no settings; expected {what}")
    return found
