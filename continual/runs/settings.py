"""From what a user sets to a run's configuration, checked before anything is loaded or written.

The order of precedence is: what the user sets, what the scenario file recommends under
``defaults``, what makes the method what it is, what the library defaults to. The result is written
to ``run.yaml``.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from continual.errors import InputError, unknown
from continual.records.sections import section_problems
from continual.runs.config import BackboneSettings, RunConfig, Tracking
from continual.scenario import Scenario
from continual.trackers.settings import EvaluationSettings
from continual.training.config import EWCConfig, LwFConfig, RehearsalConfig, TrainConfig

SECTIONS = ("train", "method", "backbone", "evaluation", "rehearsal", "ewc", "lwf", "tracking")
SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["train.lr=1e-3", "method.rank=4"]`` into nested settings.

    >>> parse_assignments(["train.lr=1e-3", "method.rank=4"])
    {'train': {'lr': 0.001}, 'method': {'rank': 4}}

    Raises:
        InputError: an assignment without ``=``, an unknown section, or a value that is no YAML.
    """
    settings: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        section, _, name = key.strip().partition(".")
        if not equals:
            raise InputError(f"--set takes NAME=VALUE, as in train.lr=1e-3; got {text!r}.")
        if section not in SECTIONS:
            raise unknown("section of --set", section, SECTIONS)
        parsed = parse_value(value, text)
        if section == "tracking":
            settings[section] = parsed
        elif name:
            settings.setdefault(section, {})[name] = parsed
        else:
            raise InputError(f"--set {section} needs a name, as in {section}.NAME=VALUE.")
    return settings


def given_settings(file: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a YAML file with those of ``--set`` on top.

    Raises:
        InputError: no such file, or one that holds no sections; an assignment as there.
    """
    settings = {} if file is None else read_settings(file)
    for section, own in parse_assignments(assignments).items():
        old = settings.get(section)
        if isinstance(own, Mapping) and isinstance(old, Mapping):
            own = {**old, **own}
        settings[section] = own
    return settings


def read_settings(path: Path) -> dict[str, Any]:
    """Read a file of settings by section, as ``continual search`` writes one.

    Raises:
        InputError: it cannot be read, is no mapping, or has a section that does not exist.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path} as YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: settings are sections with names, as in train: {{lr: 0.01}}.")
    for section in values:
        if section not in SECTIONS:
            raise unknown(f"section of {path}", section, SECTIONS)
    return values


def parse_value(text: str, whole: str) -> Any:
    """Return what a text says as YAML, with 1e-3 as a number.

    Raises:
        InputError: it is no YAML.
    """
    if SCIENTIFIC.fullmatch(text.strip()):
        return float(text)  # YAML 1.1 reads 1e-3 as a word
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"the value of --set {whole!r} is not YAML: {error}") from error


def resolve(
    scenario: Scenario,
    method: str,
    *,
    backbone: str | None,
    seed: int,
    settings: Mapping[str, Any],
) -> tuple[RunConfig, Any]:
    """Merge and check everything a run needs to know.

    Returns:
        The configuration as recorded, and the method's own configuration value.

    Raises:
        InputError: lists every setting that is not allowed, with what is.
    """
    from continual.interop.tuners.names import adapts_layers
    from continual.runs.attaching import any_method
    from continual.runs.companions import companion_problems

    chosen = any_method(method)
    problems = defaults_problems(scenario.defaults) + defaults_problems(settings, "--set")
    name = backbone or scenario.defaults.get("backbone")
    if name is None:
        problems.append("no backbone: give one with --backbone; see `continual list backbones`.")
    merged = _merged(chosen.defaults, scenario.defaults, settings)
    options = dict(merged["method"])
    targets = options.pop("targets", "default")
    if not adapts_layers(chosen.name):  # which layers a scenario recommends is not for these
        targets = _mapping(settings.get("method")).get("targets", "default")
    config, more = _method_config(chosen.name, options)
    problems += more
    problems += companion_problems(merged, chosen, config)
    if not problems:  # each layer may be right and their sum wrong
        problems += defaults_problems(merged, "all settings together")
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    train = TrainConfig(**{"lr": chosen.learning_rate, **_given(merged["train"])})
    resolved = RunConfig(
        scenario=scenario.name,
        setting=scenario.setting,
        tasks=[{"name": t.name, "kind": t.kind, "score": t.score} for t in scenario.tasks],
        probes=[probe.name for probe in scenario.probes],
        data=scenario.data,
        method=chosen.name,
        targets=targets,
        method_options=dataclasses.asdict(config),
        backbone=str(name),
        backbone_options=BackboneSettings(**merged["backbone"]),
        seed=seed,
        train=train,
        evaluation=EvaluationSettings(**merged["evaluation"]),
        rehearsal=RehearsalConfig(**merged["rehearsal"]),
        ewc=EWCConfig(**merged["ewc"]),
        lwf=LwFConfig(**merged["lwf"]),
        tracking=merged["tracking"],
    )
    return resolved, config


def defaults_problems(settings: Mapping[str, Any], where: str = "defaults") -> list[str]:
    """Return what is wrong with the sections of a settings mapping, one sentence each.

    Method options are checked against the method, which a scenario's defaults do not name.
    """
    problems = []
    for section, model in (
        ("train", TrainConfig),
        ("evaluation", EvaluationSettings),
        ("backbone", BackboneSettings),
        ("rehearsal", RehearsalConfig),
        ("ewc", EWCConfig),
        ("lwf", LwFConfig),
    ):
        values = settings.get(section, {})
        if section == "backbone" and not isinstance(values, Mapping):
            continue  # a scenario's default backbone is a name
        problems += section_problems(model, values, f"{where}.{section}")
    tracking = settings.get("tracking", "none")
    boards = get_args(Tracking)
    if tracking not in boards:
        problems.append(f"{where}.tracking: got {tracking!r}; allowed: {', '.join(boards)}.")
    return problems


def _method_config(method: str, options: dict[str, Any]) -> tuple[Any, list[str]]:
    from continual.runs.attaching import any_config

    try:
        return any_config(method, options), []
    except InputError as error:
        return None, str(error).split("\n")


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings on top of each other, the later ones winning."""
    merged: dict[str, Any] = {section: {} for section in SECTIONS[:-1]} | {"tracking": "none"}
    for layer in layers:
        for section in SECTIONS[:-1]:
            merged[section] |= _mapping(layer.get(section))
        merged["tracking"] = layer.get("tracking", merged["tracking"])
    return merged


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "lr" or value is not None}
