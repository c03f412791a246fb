"""Where the runs of a study are made, and what each of them is given there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from continual.errors import InputError, unknown

EXECUTORS = ("local", "ray")
PLACES = ("executor", "address", "jobs", "cpus", "memory", "gpus")  # in files and as options
UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a Ray cluster sets aside for one run.

    Attributes:
        cpus: cores, and threads of the run.
        memory: bytes; None: as much as the largest run so far has taken.
        gpus: a whole number, or a fraction of one that several runs use at once.

    Raises:
        InputError: numbers that no machine can give.
    """

    cpus: int = 1
    memory: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.cpus < 1:
            raise InputError(f"--cpus is whole cores of every run, at least 1; got {self.cpus}.")
        if self.memory is not None and self.memory < 2**20:
            raise InputError(
                f"--memory is what a run takes, as in 4GiB; got {self.memory} bytes, too few."
            )
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise InputError(
                f"--gpus takes a fraction of one GPU, as 0.5, or whole GPUs; got {self.gpus:g}."
            )


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the runs of a study are made.

    Attributes:
        executor: local, or ray.
        address: HOST:PORT of a Ray cluster, or auto; None: what RAY_ADDRESS says, or a cluster of
            this machine's own, which ends with the study.
        share: what every run is given of a node of that cluster.
        jobs: runs at once on this machine; Ray decides for itself.

    Raises:
        InputError: an unknown executor, or what does not belong together.
    """

    executor: str = "local"
    address: str | None = None
    share: Share = field(default_factory=Share)
    jobs: int = 1

    def __post_init__(self) -> None:
        """Check that it belongs together."""
        if self.executor not in EXECUTORS:
            raise unknown("executor", self.executor, EXECUTORS)
        if self.jobs < 1 or (self.jobs > 1 and self.executor == "ray"):
            raise InputError(
                f"--jobs is how many runs go on at once here, at least 1; got {self.jobs}. Ray "
                "decides for itself, so leave it out there."
            )
        if self.executor == "local" and (self.address is not None or self.share != Share()):
            given = "--address" if self.address is not None else "--cpus, --memory and --gpus"
            raise InputError(
                f"{given}: for --executor ray only; runs here share the machine by --jobs."
            )

    @classmethod
    def of(cls, *sayings: Mapping[str, Any]) -> "Where":
        """Return the place that is said in ``PLACES``, the later ones winning; None says nothing.

        >>> Where.of({"jobs": 2}, {"jobs": None}).jobs
        2
        """
        said: dict[str, Any] = {}
        for one in sayings:
            said |= {key: value for key, value in one.items() if value is not None}
        share = {key: said.pop(key) for key in ("cpus", "memory", "gpus") if key in said}
        if "memory" in share:
            share["memory"] = bytes_of(str(share["memory"]))
        return cls(**said, share=Share(**share))


def bytes_of(text: str) -> int:
    """Return a size in bytes.

    >>> bytes_of("1.5 GiB"), bytes_of("4gb")
    (1610612736, 4000000000)

    Raises:
        InputError: no number with a unit that is known.
    """
    found = SIZE.fullmatch(text.strip().lower())
    if found is None or found[2] not in UNITS:
        raise InputError(f"--memory takes a size, as in 4GiB or 500MB; got {text!r}.")
    return int(float(found[1]) * UNITS[found[2]])
