"""Scenarios: tasks, their data and their order, as frozen values; the door of datasets."""

from continual.scenario.files import catalogue, load_scenario, validate_scenario
from continual.scenario.held_out import held_out
from continual.scenario.local import with_data
from continual.scenario.local_source import LocalSource
from continual.scenario.orders import split_by_class
from continual.scenario.probe import Probe, ProbeData
from continual.scenario.problems import Problem
from continual.scenario.sequence import Scenario
from continual.scenario.sources import (
    CallableSource,
    FileSource,
    HubSource,
    Rows,
    RowsSource,
    Source,
)
from continual.scenario.split import Split
from continual.scenario.task import Task, TaskData
from continual.scenario.values import (
    WRITTEN,
    Candidates,
    Example,
    Experience,
    Kind,
    Limit,
    Setting,
)

__all__ = [
    "WRITTEN",
    "CallableSource",
    "Candidates",
    "Example",
    "Experience",
    "FileSource",
    "HubSource",
    "Kind",
    "Limit",
    "LocalSource",
    "Probe",
    "ProbeData",
    "Problem",
    "Rows",
    "RowsSource",
    "Scenario",
    "Setting",
    "Source",
    "Split",
    "Task",
    "TaskData",
    "catalogue",
    "held_out",
    "load_scenario",
    "scenario_schema",
    "split_by_class",
    "validate_scenario",
    "with_data",
]


def scenario_schema() -> dict[str, object]:
    """Return the JSON schema of a scenario file, for editors and other tools."""
    from continual.scenario import schema  # pydantic is imported only where a file is read

    return schema.scenario_schema()
