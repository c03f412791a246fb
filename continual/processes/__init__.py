"""Several processes that learn one run together: who they are, and how they agree."""

from continual.processes.group import ALONE, Processes
from continual.processes.joining import launched, refuse_launched, together

__all__ = [
    "ALONE",
    "Processes",
    "launched",
    "refuse_launched",
    "together",
]
