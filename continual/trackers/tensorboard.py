"""Events as TensorBoard curves (``--set tracking=tensorboard``), one group per experience."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continual.errors import InputError


class TensorboardLog:
    """Writes every number of an event under ``experience-II/NAME`` at the event's step."""

    def __init__(self, folder: Path) -> None:
        """Open the log; the folder is made with the first event.

        Raises:
            InputError: tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "tracking 'tensorboard' needs the package tensorboard; install it with "
                "`pip install 'continual-adapters[tracking]'`, or leave tracking out."
            ) from error
        self._open = SummaryWriter
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def log(self, event: Mapping[str, Any]) -> None:
        """Write one event."""
        if self._writer is None:
            self._writer = self._open(str(self._folder))
        group = f"experience-{event['experience']:02d}"
        for name, value in event.items():
            if name not in ("experience", "step") and isinstance(value, int | float):
                self._writer.add_scalar(f"{group}/{name}", value, event["step"])

    def close(self) -> None:
        """Write out what is buffered."""
        if self._writer is not None:
            self._writer.close()
