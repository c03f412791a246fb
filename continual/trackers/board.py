"""Events and scores as live curves: TensorBoard, Weights & Biases or MLflow, through accelerate.

Curves run over the optimiser steps of the whole run, with one place for the end of each experience
between them, so that a control without steps has its moments apart. A run that continues
begins another board of the same name, at the step where it goes on.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import MLflowTracker, TensorBoardTracker, WandBTracker
from accelerate.utils import is_mlflow_available, is_tensorboard_available, is_wandb_available

from continual.errors import InputError
from continual.records.rows import ScoreRow

PROJECT = "continual"
AVAILABLE = {
    "tensorboard": is_tensorboard_available,
    "wandb": is_wandb_available,
    "mlflow": is_mlflow_available,
}
NOT_CURVES = ("experience", "step")


class Board:
    """Sends every number of an event, and the scores at every boundary, to one tracker.

    TensorBoard writes to ``<run directory>/tensorboard``. Weights & Biases and MLflow go where
    their own environment variables say (``WANDB_MODE``, ``MLFLOW_TRACKING_URI``).
    """

    def __init__(
        self, kind: str, folder: Path, settings: Mapping[str, Any], *, cpu: bool = True
    ) -> None:
        """Check that the tracker is installed; it is opened with the first event.

        Args:
            kind: tensorboard, wandb or mlflow.
            folder: the run directory, whose name is the run's.
            settings: are sent along, by name.
            cpu: whether the run computes there; asking accelerate must not choose otherwise.

        Raises:
            InputError: it is not.
        """
        if not AVAILABLE[kind]():
            raise InputError(
                f"tracking {kind!r} needs the package {kind}; install it with `pip install {kind}` "
                "(all three come with `continual-adapters[tracking]`), or leave tracking out."
            )
        self._kind, self._folder, self._settings, self._cpu = kind, folder, settings, cpu
        self._tracker: Any = None
        self._experience, self._before, self._last = -1, 0, 0  # before any training is step 0

    def resume(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Take over where the events of an earlier session end."""
        for event in events:
            self._place(event)

    def log(self, event: Mapping[str, Any]) -> None:
        """Send one event."""
        step = self._place(event)
        numbers = {k: v for k, v in event.items() if isinstance(v, int | float)}
        self._send({k: v for k, v in numbers.items() if k not in NOT_CURVES}, step)

    def scores(self, rows: Sequence[ScoreRow]) -> None:
        """Send what was just measured as ``METRIC/TASK``."""
        if rows:
            step = self._place({"experience": rows[0].experience, "step": rows[0].step})
            self._send({f"{row.metric}/{row.task}": row.value for row in rows}, step)

    def close(self) -> None:
        """Write out what is buffered."""
        if self._tracker is not None:
            self._tracker.finish()

    def _place(self, event: Mapping[str, Any]) -> int:
        """Return the step in the whole run."""
        if event["experience"] > self._experience:
            self._before += self._last + 1  # so that no two moments share a place
            self._experience = event["experience"]
        self._last = event["step"]
        return self._before + self._last

    def _send(self, numbers: Mapping[str, float], step: int) -> None:
        if not numbers:
            return
        if self._tracker is None:
            PartialState(
                cpu=self._cpu
            )  # which accelerate's trackers ask whether they are the main process
            self._tracker = self._open()
            self._tracker.start()
            self._tracker.store_init_configuration(dict(self._settings))
        named = {re.sub(r"[^\w./ -]", "_", name): value for name, value in numbers.items()}
        self._tracker.log(named, step=step)

    def _open(self) -> Any:
        name = self._folder.name
        if self._kind == "wandb":
            return WandBTracker(PROJECT, name=name, dir=str(self._folder))
        if self._kind == "mlflow":
            return MLflowTracker(experiment_name=PROJECT, run_name=name)
        return TensorBoardTracker("tensorboard", logging_dir=self._folder)
