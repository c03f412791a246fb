"""What is lost with each file of a run directory, and the way on."""

import re
from collections.abc import Sequence
from pathlib import Path

from continual.adapters.state import part
from continual.errors import InputError
from continual.records.checksums import Fault, faults
from continual.records.files import DamagedFileError
from continual.records.paths import (
    CHECKSUMS,
    COMPLETE,
    ENVIRONMENT,
    EVENTS,
    EXAMPLES,
    RUN,
    SCORES,
    TOKENS,
)
from continual.runs.config import RunConfig
from continual.runs.parts import Parts
from continual.runs.recorder import keep_adapter
from continual.runs.stages import begin_through
from continual.scenario import Scenario
from continual.training.checkpoint import boundary_state

COPY = "Restore it from a copy; or give the same command a new --out: it makes the same bytes."
KNOWN = (RUN, ENVIRONMENT, SCORES, EXAMPLES, TOKENS, EVENTS, COMPLETE)
LOST = {
    RUN: "the settings of the run",
    ENVIRONMENT: "versions, hardware and the fingerprints of data and backbone",
    SCORES: "R and every other score",
    EXAMPLES: "what was said about each test example",
    TOKENS: "the nats of every token of the probes",
    EVENTS: "losses, learning rates and costs",
    CHECKSUMS: "whether the other files are as they were written",
    COMPLETE: "only the sign that the run has ended",
}
WAY = {
    SCORES: f"{COPY} Until then `continual verify --json` has R from {EXAMPLES}.",
    COMPLETE: "Give the same command again: it finds the last checkpoint and ends at once.",
    CHECKSUMS: "Restore it from a copy; or delete it, and the run goes on with what is there.",
}
ADAPTER = re.compile(r"adapters/after-(\d+)/")
AGAIN = "Give the same command again: it is made anew from the state that is kept."


def lost_with(name: str) -> str:
    """Return what is lost with a file."""
    if found := ADAPTER.match(name):
        return f"the adapter after experience {int(found[1])}"
    return LOST.get(name, "nothing that a run reads")


def way_on(folder: Path, name: str) -> str:
    """Return what to do about a missing or damaged file."""
    found = ADAPTER.match(name)
    if found and boundary_state(folder / "checkpoints", int(found[1])) is not None:
        return AGAIN
    return WAY.get(name, COPY)


def check_whole(folder: Path) -> list[Fault]:
    """Return the faults of a run directory that running it again mends.

    Raises:
        DamagedFileError: there are others; names all of them, what is lost, and the way on.
    """
    found = faults(folder)
    mended = [one for one in found if way_on(folder, one.name) in (AGAIN, WAY[COMPLETE])]
    rest = [one for one in found if one not in mended]
    if rest:
        lines = [
            f"{folder / one.name} is {one.what}; lost: {lost_with(one.name)}. "
            f"{way_on(folder, one.name)}"
            for one in rest
        ]
        raise DamagedFileError("\n".join(lines))
    return mended


def mend(folder: Path, scenario: Scenario, config: RunConfig, parts: Parts) -> list[int]:
    """Write damaged adapters of a run anew, from the states after their experiences.

    Args:
        folder: the run directory, of which ``check_whole`` holds.
        scenario: its scenario.
        config: its configuration.
        parts: freshly loaded; they cannot be trained afterwards.

    Returns:
        The experiences whose adapters were written.
    """
    found = [ADAPTER.match(one.name) for one in faults(folder)]
    wanted = sorted({int(one[1]) for one in found if one is not None})
    for after in wanted:
        state = boundary_state(folder / "checkpoints", after)
        assert state is not None, "check_whole has refused the others"
        begin_through(scenario, parts.backbone, parts.adaptation, config.seed, after)
        parts.adaptation.load_state(part(state.tensors, "state|"))
        keep_adapter(parts.adaptation, parts.backbone, folder, after)
    return wanted


def mended_alone(folder: Path, broken: Fault, sharded: bool) -> InputError:
    """Build the error of several processes that find what one could write anew, or none can."""
    found = f"{folder / broken.name} is {broken.what}"
    if sharded:
        return InputError(f"{found}, and a run with backbone.shard cannot make it anew. {COPY}")
    return InputError(
        f"{found} and can be made anew, by one process: run the same command without a launcher."
    )


def damage_notes(mended: Sequence[int]) -> list[str]:
    """Return what a run says of adapters that it has written anew."""
    return [f"adapters/after-{k:02d} was damaged; made anew from the state kept." for k in mended]
