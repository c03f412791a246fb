"""What a search tries next. The door of optuna."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from continual.errors import InputError
from continual.scenario import Scenario
from continual.studies.judging import Objective, medians
from continual.studies.space import Axis
from continual.studies.trials import Trial

ENOUGH = 5  # finished trials before one is stopped because of them


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is searched, and by what it is judged.

    Attributes:
        method: whose settings.
        space: the settings and what is tried.
        tasks: how many tasks have been seen.
        objective: nats or score.
        seed: of the proposals and of every run.
        backbone: as for ``run``.
        settings: as for ``run``: of every trial.
    """

    method: str
    space: tuple[Axis, ...]
    tasks: int = 1
    objective: Objective = "nats"
    seed: int = 0
    backbone: str | None = None
    settings: Mapping[str, Any]

    def written(self, scenario: Scenario) -> dict[str, Any]:
        """Return it as it is kept: all that a trial's result depends on."""
        return {
            "scenario": scenario.name,
            "tasks": [task.name for task in scenario.tasks],
            "judged_by": f"mean validation {self.objective} over these tasks after the last",
            "method": self.method,
            "space": [axis.written() for axis in self.space],
            "seed": self.seed,
            "backbone": self.backbone,
            "settings": json.loads(json.dumps(self.settings)),
        }


def propose(question: Question, ended: Sequence[Trial], count: int) -> list[Trial]:
    """Return the next trials: a function of the seed and of those that have ended."""
    optuna = load_optuna()
    states, minimise = optuna.trial.TrialState, question.objective == "nats"
    word = hashlib.sha256(f"{question.seed} {len(ended)}".encode()).digest()
    study = optuna.create_study(
        direction="minimize" if minimise else "maximize",
        sampler=optuna.samplers.TPESampler(seed=int.from_bytes(word[:4], "big")),
    )
    kinds = {axis.name: _distribution(optuna, axis) for axis in question.space}
    choices = {axis.name for axis in question.space if axis.choices}
    for trial in ended:
        said = {n: json.dumps(v) if n in choices else v for n, v in trial.settings.items()}
        state, value = states.COMPLETE, math.inf if minimise else -math.inf  # where it diverged
        if trial.state == "complete":
            value = trial.values[-1]
        elif trial.state == "pruned":
            state, value = states.PRUNED, None
        elif trial.state == "refused":
            state, value = states.FAIL, None
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params=said,
                distributions=kinds,
                intermediate_values=dict(enumerate(trial.values)),
            )
        )
    limits = medians([t.values for t in ended if t.state == "complete"], ENOUGH)
    found = []
    for k in range(count):
        said = study.ask(kinds).params
        settings = {n: json.loads(v) if n in choices else v for n, v in said.items()}
        found.append(Trial(number=len(ended) + k, settings=settings, limits=limits))
    return found


def _distribution(optuna: Any, axis: Axis) -> Any:
    kinds = optuna.distributions
    if axis.ends is None:
        return kinds.CategoricalDistribution([json.dumps(value) for value in axis.choices])
    kind = kinds.IntDistribution if isinstance(axis.ends[0], int) else kinds.FloatDistribution
    return kind(*axis.ends, log=axis.log)


def load_optuna() -> Any:
    """Return optuna, which says nothing but warnings.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "a search needs the package optuna; install it with "
            "`pip install 'continual-adapters[search]'`."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
