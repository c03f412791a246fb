"""Which experience a ``train()`` call is, and which tasks the run directory knows.

    learns=None              train() number k learns the k-th task of the scenario
    learns=["mine"]          "mine" is a task of the scenario: the model could do the others before
    learns=["my-data"]       no task of the scenario: something learned that has no test there

What the model could do before counts as learned in experiences that are over when training begins:
their rows of R are the scores of the model as it was given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from continual.errors import InputError, nearest
from continual.records.rows import UNTESTED
from continual.scenario import Scenario
from continual.scenario.problems import name_problems, refuse


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The experiences of a run.

    Attributes:
        scenario: whose tests and probes are asked, in the order in which its tasks are learned.
        tasks: name, kind and score of what every experience learns, as run.yaml has them.
        first: the experience of the first ``train()`` call.
    """

    scenario: Scenario
    tasks: tuple[dict[str, str], ...]
    first: int

    @property
    def names(self) -> tuple[str, ...]:
        """What every experience learns."""
        return tuple(task["name"] for task in self.tasks)

    @property
    def learns(self) -> tuple[str, ...]:
        """What the ``train()`` calls learn, in order."""
        return self.names[self.first :]


def make_plan(scenario: Scenario, learns: Sequence[str] | None) -> Plan:
    """Return the experiences of a run.

    Raises:
        InputError: ``learns`` is empty, names a task twice, or mixes tasks of the scenario with
            others.
    """
    own = [task.name for task in scenario.tasks]
    wanted = [learns] if isinstance(learns, str) else own if learns is None else list(learns)
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(
            f"learns names what the train() calls learn, each once; got {wanted}. Leave it out "
            f"where they learn {own} in this order."
        )
    known = [name for name in wanted if name in own]
    probes = [probe.name for probe in scenario.probes]
    if (known and len(known) < len(wanted)) or set(wanted) & set(probes):
        raise InputError(
            f"learns names either tasks of the scenario or only others; got {wanted}, and "
            f"{scenario.name!r} has the tasks {own} and the probes {probes}."
        )
    for name in wanted:
        if name not in own:
            refuse("learns", name_problems("learns", name))
            if nearest(name, own):
                raise InputError(
                    f"{scenario.name!r} has no task {name!r}{nearest(name, own)} What it has no "
                    "test of needs a name that is not so close to one of its tasks."
                )
    before = [name for name in own if name not in known]
    ordered = scenario.permuted([*before, *known])
    tasks = [{"name": t.name, "kind": t.kind, "score": t.score} for t in ordered.tasks]
    tasks += [{"name": n, "kind": UNTESTED, "score": UNTESTED} for n in wanted if n not in own]
    return Plan(scenario=ordered, tasks=tuple(tasks), first=len(before))
