"""Run a task once, and make the maps of a method from what that left at the layer."""

from dataclasses import replace

from torch import Tensor, nn

from vlcam.contracts import InputError, LayerError, Maps, Method, PerturbationMethod, Prepared, Request, Spoken, Task
from vlcam.engine.layers import VolumeGrid
from vlcam.engine.places import Trial
from vlcam.engine.recording import record
from vlcam.engine.settle_layer import settle_layer
from vlcam.engine.tower import Tower
from vlcam.explanation.evidence import LayerEvidence, collect_evidence
from vlcam.explanation.options import RANKINGS as RANKINGS
from vlcam.explanation.rerun import PhotoSubject
from vlcam.methods.head import FoundMaps


def run_and_record(
    task: Task, prepared: Prepared, request: Request, layer: str | nn.Module | None, *, keep_tower: bool = True
) -> tuple[Spoken, LayerEvidence]:
    """Run the task once: what it said, and what that left at the layer. Raises LayerError or TargetError.

    ``keep_tower``: also hold what ran before a named layer, so that methods may run again what follows it; that takes memory.
    """
    tower = Tower() if keep_tower and layer is not None else None
    with record(task.model, layer, tower=tower) as recording:
        spoken = task.run(prepared, request)
    layout, leaf = spoken.layout, None
    if layout is None or layer != task.layer:  # the task's layout is that of its own layer
        leaf, layout = settle_layer(recording, spoken.scores, make_trial(task, prepared, request), batch=1)
        if isinstance(layout, VolumeGrid):
            raise LayerError(
                f"layer {recording.layer_name!r} returned maps of a volume, {tuple(leaf.shape)}, and a photo has no depth; explain volumes "
                "with vlcam.attribute"
            )
    return spoken, collect_evidence(spoken.scores, recording, layout, leaf, tower)


def make_trial(task: Task, prepared: Prepared, request: Request) -> Trial:
    """How to run the task again on a changed photo."""
    return Trial(
        task.model,
        prepared.inputs,
        lambda inputs: task.run(replace(prepared, inputs=inputs), request),
        prepared.geometry.input_size,
    )


def make_maps(method: Method | PerturbationMethod, subject: PhotoSubject) -> Maps:
    """The signed maps of a method. Raises InputError for a perturbation method that returns something else."""
    return find_maps(method, subject).maps


def find_maps(method: Method | PerturbationMethod, subject: PhotoSubject) -> FoundMaps:
    """The signed maps of a method, and what it found beside. Raises InputError for a perturbation method that returns something else."""
    if isinstance(method, Method):
        return FoundMaps(subject.evidence.make_maps(method).maps)
    found = method.function(subject)
    found = FoundMaps(found) if isinstance(found, Tensor) else found
    if found.maps.ndim != 3 or len(found.maps) != len(subject.targets):
        raise InputError(
            f"the method {method.name!r} returned {tuple(found.maps.shape)} for {len(subject.targets)} targets; expected "
            f"({len(subject.targets)}, rows, columns)"
        )
    return found
