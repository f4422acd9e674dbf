"""Pictures in MLflow: images by key and step, the curve of what the model gives each target, and the report as an artifact."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, final

from vlcam.contracts import InputError
from vlcam.errors import import_extra
from vlcam.explanation.page import make_page
from vlcam.explanation.record import AbstractExplanation
from vlcam.integrations.heatmaps import PREFIX, HeatmapPicture

_LONGEST: Final = 60
"""Of one part of a key, in characters: MLflow makes a file name of the whole key."""


@final
class MlflowWriter:
    """Images ``heatmaps/photo/label`` by step, and metrics ``heatmaps/photo/label/probability`` (or ``score``).

    Pictures go to ``run``, or to the active run of this process if there is one, and either stays open. Otherwise a run is made at the
    first picture and ended by :meth:`close`. MLflow's keys have letters, digits, ``_ - . /`` and blanks only: what else is in a label
    becomes ``-``, and a few digits of a hash are added so that no two labels share a key.

    Args:
        run: a run of your own, or its id, which stays open.
        tracking_uri: where the runs are kept, such as ``sqlite:///mlflow.db`` or the address of a server; by default MLflow's own setting.
        experiment: the name of the experiment in which a run is made, itself made if it isn't there; by default MLflow's own setting.
        name: what to call a run that is made.

    Raises:
        InputError: mlflow isn't installed, or ``run`` is neither a run nor an id.
    """

    def __init__(
        self,
        run: Any = None,
        *,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        name: str | None = None,
    ) -> None:
        self._mlflow = import_extra("mlflow", "mlflow")
        info = getattr(run, "info", None)
        if run is not None and not isinstance(run, str) and not isinstance(getattr(info, "run_id", None), str):
            raise InputError(f"a {type(run).__name__} was given as run; expected a run of MLflow or its id")
        self._run: str | None = run if run is None or isinstance(run, str) else run.info.run_id
        self._uri, self._experiment, self._name = tracking_uri, experiment, name
        self._mine = False

    def write(self, pictures: Sequence[HeatmapPicture]) -> None:
        """Log an image and a number for each picture."""
        client, run = self._open()
        for picture in pictures:
            what, value = picture.value
            key = f"{PREFIX}/{_make_key(picture.photo)}/{_make_key(picture.place)}"
            client.log_image(run, picture.pixels, key=key, step=picture.step, synchronous=True)
            client.log_metric(run, f"{key}/{what}", value, step=picture.step, synchronous=True)

    def log_report(
        self, explanations: AbstractExplanation | Iterable[AbstractExplanation], name: str = "report"
    ) -> None:
        """Log the interactive page of one or more explanations as the artifact ``heatmaps/NAME.html``.

        Raises InputError if there are none.
        """
        found = [explanations] if isinstance(explanations, AbstractExplanation) else list(explanations)
        page = make_page(found)
        client, run = self._open()
        client.log_text(run, page, f"{PREFIX}/{_make_key(name)}.html")

    def close(self) -> None:
        """End the run, if this writer made it."""
        if self._mine and self._run is not None:
            self._make_client().set_terminated(self._run)
            self._run, self._mine = None, False

    def _open(self) -> tuple[Any, str]:
        """The client, and the id of the run: the one given, the active one, or a new one."""
        client = self._make_client()
        if self._run is not None:
            return client, self._run
        active = self._mlflow.active_run() if self._uri is None else None  # that of another store can't be meant
        self._mine = active is None
        self._run = str((self._make_run(client) if active is None else active).info.run_id)
        return client, self._run

    def _make_client(self) -> Any:
        return self._mlflow.MlflowClient(self._uri)

    def _make_run(self, client: Any) -> Any:
        """A new run that is open but not active, so that whoever trains may still start one."""
        if self._experiment is None and self._uri is None:
            with self._mlflow.start_run(run_name=self._name) as run:  # in the experiment that MLflow's settings name
                pass
            client.update_run(run.info.run_id, status="RUNNING")
            return run
        known = None if self._experiment is None else client.get_experiment_by_name(self._experiment)
        if known is not None or self._experiment is None:
            return client.create_run("0" if known is None else known.experiment_id, run_name=self._name)
        return client.create_run(client.create_experiment(self._experiment), run_name=self._name)


def _make_key(part: str) -> str:
    """A part of a key as MLflow takes it, different for different texts."""
    safe = re.sub(r"[^A-Za-z0-9_. -]", "-", part).strip(" .")[:_LONGEST].strip(" .")
    return safe if safe == part else f"{safe or 'x'}-{hashlib.sha256(part.encode()).hexdigest()[:8]}"
