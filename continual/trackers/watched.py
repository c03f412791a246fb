"""What trackers need of a model that changes: a name of its state, and how it serves a task."""

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Watched(Protocol):
    """A model that changes; every ``Adaptation`` is one."""

    def state_hash(self) -> str:
        """Return a name of the state: equal names give equal answers."""
        ...

    def serving(self, task: int) -> AbstractContextManager[None]:
        """Inside, the model answers as for this task."""
        ...
