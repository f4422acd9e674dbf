"""An experiment of your own: how much of each method's map lies on the object that it is about.

Once registered, it runs as the paper's sixteen do, with your data, models and methods, a chart and a JSON file:

    vlcam reproduce on-object --quick --import examples/own_experiment.py --out results
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from vlcam import Request, get_method
from vlcam.experiments import Experiment, Result, ResultRow, Setting, make_every_map, register, run_one
from vlcam.metrics import relevance_mass, summarise

METHODS = ("gradcam", "layercam", "guided-gradcam")


def run(setting: Setting) -> Result:
    """One class of each photo, explained by each method."""
    task = setting.load_task("classification")
    world = setting.open_world(["masks"], task)
    methods = tuple(dict.fromkeys((*METHODS, *setting.methods)))
    shares: dict[str, list[float]] = {name: [] for name in methods}
    areas = []
    n = setting.count(8, 100)
    for done, photo in enumerate(world.iterate_samples(n), 1):
        found = photo.objects[0]
        mask = torch.from_numpy(found.mask)
        mapped = make_every_map(task, photo.image, Request(labels=(found.label,)), methods)
        for name in methods:
            shares[name].append(relevance_mass(mapped.get_heat(name)[0], mask))  # NaN for a map that is zero everywhere
        areas.append(float(mask.double().mean()))
        setting.report_progress(done, n)

    def row(name: str, values: list[float]) -> ResultRow:
        one = summarise([100 * value for value in values], seed=setting.seed)
        return ResultRow(name, one.mean, one.low, one.high, one.n, one.undefined)

    return Result(
        number=0,  # the registry knows it
        key="on-object",
        title="Evidence on the object",
        question="How much of a map lies on the object that it is about?",
        protocol="The first object of each photo; the share of the map's sum that lies in its mask.",
        world=world.title,
        model=task.name,
        rows=tuple(row(get_method(name).title, values) for name, values in shares.items()),
        controls=(row("area of the object", areas),),  # what a flat map has
        unit="%",
        better="higher",
    )


EXPERIMENT = register(Experiment("on-object", "Evidence on the object", run))


def main() -> None:
    """Run it as vlcam reproduce does, on a few generated scenes."""
    with TemporaryDirectory() as folder:
        result = run_one("on-object", Setting(quick=True, out=Path(folder)))
        for one in (*result.rows, *result.controls):
            print(f"{one.name}: {one.value:.1f} % [{one.low:.1f}, {one.high:.1f}], n = {one.n}")
        print(f"experiment {EXPERIMENT.number} wrote {', '.join(sorted(file.name for file in Path(folder).iterdir()))}")


if __name__ == "__main__":
    main()
