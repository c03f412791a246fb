"""What a fork is: its configuration and scenario, and whether it can carry on what was learned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from continual.errors import InputError
from continual.interop.tuners.names import is_tuner
from continual.records import RunRecord
from continual.records.paths import RUN
from continual.runs.attaching import any_method
from continual.runs.companions import needs_task
from continual.runs.config import RunConfig
from continual.runs.settings import defaults_problems, resolve
from continual.runs.stages import options_of
from continual.scenario import Scenario, load_scenario, with_data

STATE = "state"
OF_METHOD = ("lr", "optimiser", "joint")  # train settings that are not taken to another method


def origin_config(record: RunRecord) -> RunConfig:
    """Return the configuration of a recorded run.

    Raises:
        InputError: it is no run of this version.
    """
    try:
        return RunConfig(**record.config)
    except (ValidationError, TypeError) as error:
        raise InputError(
            f"{record.path / RUN} is not the configuration of a run that can be forked: {error}"
        ) from error


def scenario_of(
    record: RunRecord, scenario: Scenario | str | Path | None, data: str | Path | None
) -> Scenario:
    """Return the scenario of a run, with its tasks in the run's order.

    Raises:
        InputError: it is not found, or has other tasks.
    """
    if scenario is None:
        try:
            scenario = load_scenario(record.scenario)
        except InputError as error:
            raise InputError(
                f"{record.path} is a run of scenario {record.scenario!r}, which is not in the "
                f"catalogue; give its file with --scenario. ({error})"
            ) from error
    found = scenario if isinstance(scenario, Scenario) else load_scenario(str(scenario))
    names = {task.name for task in found.tasks}
    if found.name != record.scenario or names != set(record.tasks):
        raise InputError(
            f"{record.path} is a run of {record.scenario!r} with tasks {list(record.tasks)}; the "
            f"scenario given is {found.name!r} with {sorted(names)}. Give the one of the run."
        )
    found = found.permuted(record.tasks)
    folder = data or record.config.get("data") or None
    return found if folder is None else with_data(found, folder)


def forked_config(
    scenario: Scenario, origin: RunConfig, method: str, settings: dict[str, Any]
) -> tuple[RunConfig, Any]:
    """Return the configuration of a fork, and the method's own.

    Raises:
        InputError: settings that are not allowed, with what is.
    """
    if settings.get("backbone"):
        raise InputError(
            f"a fork keeps the backbone as {origin.backbone!r} was loaded; leave out backbone.*."
        )
    there, chosen = origin.written(), any_method(method)
    if chosen.name == origin.method and "method" not in settings:
        problems = defaults_problems(settings, "--set")
        if problems:
            raise InputError("\n".join(problems))
        changed = {key: {**there[key], **value} for key, value in _sections(settings).items()}
        tracking = {"tracking": settings.get("tracking", origin.tracking)}
        kept = {key: value for key, value in there.items() if key != "fork"}
        try:
            config = RunConfig(**{**kept, **changed, **tracking, "data": scenario.data})
        except ValidationError as error:
            raise InputError(f"these settings do not fit together: {error}") from error
        return config, options_of(config)
    own = chosen.defaults.get("train", {})
    train = {k: v for k, v in there["train"].items() if k not in (*OF_METHOD, *own)}
    carried: dict[str, Any] = {"train": train, "evaluation": there["evaluation"]}
    if chosen.name == origin.method:
        same = {"lr": origin.train.lr, "optimiser": origin.train.optimiser}
        carried["train"] |= same
        carried |= {key: there[key] for key in ("rehearsal", "ewc", "lwf")}
        if not is_tuner(method):
            carried["method"] = {**there["method_options"], "targets": origin.targets}
    for section, values in _sections(settings).items():
        carried[section] = {**carried.get(section, {}), **values}
    config, options = resolve(
        scenario,
        method,
        backbone=origin.backbone,
        seed=origin.seed,
        settings={
            **carried,
            "backbone": there["backbone_options"],
            "tracking": settings.get("tracking", origin.tracking),
        },
    )
    return config, options


def _sections(settings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {key: value for key, value in settings.items() if isinstance(value, Mapping)}


def check_carried(origin: RunConfig, config: RunConfig) -> None:
    """Raise ``InputError`` where a fork cannot go on with what the other run has learned."""
    if origin.train.joint or config.train.joint:
        raise InputError(
            "train.joint learns all tasks at once after the last has come, so there is no state in "
            "between that a fork could begin from."
        )
    assert config.fork is not None
    carried = config.fork.carries == STATE
    known = carried and origin.ewc.lam and origin.ewc.fisher == config.ewc.fisher
    if config.ewc.lam and not known:
        raise InputError(
            "ewc holds what mattered to earlier tasks, and the run that is forked does not know it "
            "of these numbers; leave ewc out, or fork with the method and penalties of that run."
        )
    if carried:
        return
    for one, why in (
        (
            origin,
            "so there are no merged weights that another method could go on from; fork it "
            "with its own method and options",
        ),
        (
            config,
            "and has none for the tasks that another method has learned; choose a method "
            "whose tasks share their numbers",
        ),
    ):
        if needs_task(any_method(one.method), options_of(one)):
            raise InputError(f"{one.method!r} gives every task numbers of its own, {why}.")
