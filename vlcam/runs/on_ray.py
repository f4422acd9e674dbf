"""The shards of a run on the processes and machines of Ray: each actor opens the task once, and writes shards as a run without Ray does.

The shards in the folder are the checkpoint: what is there is not done again. So all machines have to see the folder (and the photos)
under the same paths.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

from vlcam.contracts import InputError, Task, VlcamError
from vlcam.errors import import_extra
from vlcam.files import describe_error
from vlcam.runs.explain_shard import explain_shard, refuse_hopeless
from vlcam.runs.job import Job
from vlcam.runs.shards import check_manifest, has_shards, is_done, write_shard

LOCAL: Final = "local"
"""In place of an address: a Ray of its own on this machine."""

_STORE: Final = 256 * 2**20
_MOST_LOST: Final = 3


@final
class ShardWorker:
    """An actor: it has the task and the job, and explains the shards that it is given."""

    def __init__(self, task: Task, job: Job, folder: str) -> None:
        self._task, self._job, self._folder = task, job, Path(folder)

    def work(self, number: int) -> tuple[int, int, str]:
        """Explain and write one shard: how many photos it has, how many failed, and what went wrong as a whole, if anything did."""
        if is_done(self._folder, number):  # an actor that was lost afterwards had written it
            return len(self._job.get_shard(number)), 0, ""
        try:
            rows, photos = explain_shard(self._task, self._job, number)
            if not has_shards(self._folder):
                refuse_hopeless(rows, photos)
            check_manifest(self._folder, self._job.about)
            write_shard(self._folder, number, rows, photos)
        except VlcamError as error:
            return 0, 0, str(error)
        return len(photos), sum(one["error"] is not None for one in photos), ""


def explain_shards_on_ray(
    task: Task,
    job: Job,
    folder: Path,
    numbers: Sequence[int],
    advance: Callable[[int, int], Any],
    *,
    address: bool | str = True,
    actors: int | None = None,
) -> None:
    """Explain some shards on Ray.

    Args:
        task: the task, which is sent to every actor.
        job: the job.
        folder: where the shards go, as every machine sees it.
        numbers: the shards to do.
        advance: called after each shard with how many photos were explained, and how many of them failed.
        address: True for a Ray on this machine, which ends with the run; ``auto`` for the cluster that this machine is in; or an address.
        actors: how many; by default one for each GPU if the model is on one, else for each CPU.

    Raises:
        InputError: Ray isn't installed, can't start, has no room for an actor, or a shard can't be written.
    """
    if actors is not None and (isinstance(actors, bool) or not isinstance(actors, int) or actors < 1):
        raise InputError(f"ray_actors={actors!r} was given; expected a whole number from 1")
    with open_ray(address, actors) as ray:
        on_gpu = any(one.is_cuda for one in task.model.parameters())
        resource = "GPU" if on_gpu else "CPU"
        room = int(ray.cluster_resources().get(resource, 0))
        if room < 1:
            raise InputError(f"Ray has no {resource} for the model; give a Ray with at least one")
        count = min(actors or room, len(numbers))
        worker = ray.remote(ShardWorker).options(num_cpus=1, num_gpus=int(on_gpu))
        try:
            shared = [ray.put(one) for one in (task, job)]
        except TypeError as error:  # what can't be sent to another process
            raise InputError(
                f"the task can't be sent to Ray's actors: {describe_error(error)}; give functions and models of modules that the actors "
                "can import"
            ) from error
        _work_off(ray, lambda: worker.remote(*shared, str(folder.resolve())), count, list(numbers), advance)


def _work_off(
    ray: Any, make: Callable[[], Any], count: int, left: list[int], advance: Callable[[int, int], Any]
) -> None:
    """Give every idle actor the next shard until none are left; a few that are lost are replaced. Raises InputError."""
    left.reverse()
    idle = [make() for _ in range(count)]
    busy: dict[Any, tuple[Any, int]] = {}
    lost = 0
    while left or busy:
        while left and idle:
            actor, number = idle.pop(), left.pop()
            busy[actor.work.remote(number)] = actor, number
        (done, *_), _ = ray.wait(list(busy), num_returns=1)
        actor, number = busy.pop(done)
        try:
            photos, failed, fault = ray.get(done)
        except ray.exceptions.RayError as error:
            lost += 1
            if not isinstance(error, ray.exceptions.RayActorError) or lost > _MOST_LOST:
                raise InputError(
                    f"an actor of Ray failed: {describe_error(error)}; run the same again to go on"
                ) from error
            left.append(number)
            idle.append(make())
            continue
        if fault:
            raise InputError(fault)
        advance(photos, failed)
        idle.append(actor)


@contextmanager
def open_ray(address: bool | str, actors: int | None) -> Iterator[Any]:
    """Ray, connected; one that was started here is stopped at the end. Raises InputError if it isn't installed or can't start."""
    ray = import_extra("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    local = address in (True, LOCAL)
    options: dict[str, Any] = {"address": address}
    if local:
        cpus = max(os.cpu_count() or 1, actors or 1)
        options = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _STORE}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # it raises nearly anything
        ray.shutdown()
        where = "on this machine" if local else f"at {address!r}"
        raise InputError(
            f"Ray could not start: {describe_error(error)} ({where}); try again, or run without Ray"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
