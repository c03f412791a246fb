"""What is known of a scenario's data once it is read: fingerprints, versions, warnings."""

from collections.abc import Callable
from typing import Any

from continual.scenario.sequence import Scenario


def data_facts(
    scenario: Scenario, tick: Callable[[str, int, int], None] = lambda name, done, total: None
) -> dict[str, Any]:
    """Read every task and probe, and return what ``environment.json`` says of them.

    Args:
        scenario: whose data is read.
        tick: is told which task is being read.

    Returns:
        ``data`` and ``probes`` (fingerprints by name), ``asked`` (every task's prompt and the
        answers that a language model says), ``data_versions`` and ``data_warnings``.

    Raises:
        InputError: a source cannot be read.
    """
    data, versions, warnings = {}, {}, []
    for k, task in enumerate(scenario.tasks):
        tick(task.name, k, len(scenario))
        loaded = task.load()
        data[task.name] = loaded.fingerprint
        versions |= loaded.versions
        warnings += loaded.warnings
    probes = {probe.name: probe.load() for probe in scenario.probes}
    for read in probes.values():
        versions |= read.versions
    return {
        "data": data,
        "asked": {
            task.name: {"prompt": task.prompt, "answers": list(task.verbalizers)}
            for task in scenario.tasks
        },
        "data_versions": versions,
        "data_warnings": warnings,
        "probes": {name: read.fingerprint for name, read in probes.items()},
    }
