"""Settings chosen by trying them, as a learner in a sequence may.

The first ``tasks`` tasks are all that has been seen when the choice is made. A trial learns them in
their order from their training splits and is judged by their validation splits alone:

    value = mean over those tasks, after the last of them, of validation nats per token (or score)

Test splits, probes and later tasks are not read. A trial that after some task is worse than the
median of the finished ones was there is stopped (with five of them or more); one that diverges is a
result like others, and so are settings that cannot be together. Optuna's TPE proposes the next
settings from (seed, trials so far) alone, so that a search that was interrupted goes on as if it
had not been. With several jobs as many trials are proposed at once, and know less of each other.
"""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from continual.errors import InputError
from continual.records import RunRecord, write_atomic
from continual.runs.progress import Reporter
from continual.scenario import Scenario, held_out
from continual.studies.cell import Cell, Outcome
from continual.studies.judging import Judge, Objective, PrunedError, checked, values_of
from continual.studies.portion import Portion
from continual.studies.proposals import Question, load_optuna, propose
from continual.studies.space import check_space, with_values
from continual.studies.study import run_cells
from continual.studies.trials import Trial, best_of, open_book, read_trials, write_trials
from continual.studies.where import Where
from continual.training.non_finite import NonFiniteLossError

TOLD = 5  # trials in a message
CHOSEN = "chosen.yaml"
JUDGED = {"policy": "lower", "every": 1, "sample": None, "steps": None}  # every task seen so far


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes:
        trials: all, in their order.
        best: the one whose settings are chosen.
        file: where those are, for ``--settings``.
    """

    trials: tuple[Trial, ...]
    best: Trial
    file: Path

    def options(self) -> str:
        """Return the chosen settings as options of ``continual run``."""
        return " ".join(
            f"--set {shlex.quote(f'{name}={json.dumps(value)}')}"
            for name, value in self.best.settings.items()
        )


def search(
    scenario: Scenario,
    question: Question,
    *,
    trials: int,
    out: Path,
    jobs: int = 1,
    reporter: Reporter,
) -> Found:
    """Try settings until there are so many trials, and choose those of the best.

    Args:
        scenario: the whole sequence; only its first tasks are read.
        question: what is searched.
        trials: how many in all; more than before goes on searching.
        out: the folder of the trials; an interrupted search goes on.
        jobs: trials at once on this machine.
        reporter: is told how they get on.

    Raises:
        InputError: something given cannot be used, optuna is not installed, or no trial finished.
        Exception: what a trial raised that says nothing about its settings; the same call goes on.
    """
    checked(question.objective)
    if trials < 1:
        raise InputError(f"--trials is how many settings are tried, at least 1; got {trials}.")
    where = Where(jobs=jobs)
    load_optuna()
    check_space(
        question.space,
        scenario,
        question.method,
        backbone=question.backbone,
        settings=question.settings,
    )
    seen = held_out(scenario, question.tasks)
    open_book(out, question.written(seen))
    book = read_trials(out)
    with reporter:
        while any(t.state == "asked" for t in book) or len(book) < trials:
            if all(trial.state != "asked" for trial in book):
                book += propose(question, book, min(jobs, trials - len(book)))
                write_trials(out, book)
            book = _tried(seen, question, book, out, where, Portion(reporter, book, trials))
            write_trials(out, book)
    return _found(question, book, out)


def _tried(
    seen: Scenario,
    question: Question,
    book: Sequence[Trial],
    out: Path,
    where: Where,
    reporter: Reporter,
) -> list[Trial]:
    """Return the trials with those that were asked for made; the same settings only once."""
    first: dict[str, Trial] = {}
    for trial in book:
        first.setdefault(json.dumps(trial.settings, sort_keys=True), trial)
    due = [trial for trial in first.values() if trial.state == "asked"]
    cells = [_cell(seen, question, trial, out) for trial in due]
    found = run_cells(cells, where, reporter)
    for outcome in found:
        if isinstance(outcome, Exception) and not isinstance(outcome, RESULTS):
            raise outcome
    for trial, cell, outcome in zip(due, cells, found, strict=True):
        ended = _ended(trial, cell, outcome, question.objective)
        first[json.dumps(trial.settings, sort_keys=True)] = ended
    return [
        replace(first[json.dumps(t.settings, sort_keys=True)], number=t.number, limits=t.limits)
        for t in book
    ]


RESULTS = (InputError, NonFiniteLossError, PrunedError)  # of a trial: they say what settings are


def _cell(seen: Scenario, question: Question, trial: Trial, out: Path) -> Cell:
    settings = with_values(question.settings, trial.settings)
    settings["evaluation"] = {**settings.get("evaluation", {}), **JUDGED}
    return Cell(
        scenario=seen,
        method=question.method,
        seed=question.seed,
        out=out / trial.name,
        backbone=question.backbone,
        settings=settings,
        judge=Judge(objective=question.objective, limits=trial.limits),
    )


def _ended(trial: Trial, cell: Cell, outcome: Outcome, objective: Objective) -> Trial:
    """Return a trial with what came of it."""
    if isinstance(outcome, InputError):
        return replace(trial, state="refused", why=str(outcome))
    if isinstance(outcome, NonFiniteLossError):
        return replace(trial, state="diverged", why=str(outcome))
    record = outcome if isinstance(outcome, RunRecord) else RunRecord.open(cell.out)
    values = tuple(values_of(record, objective))
    if not all(map(math.isfinite, values)):
        return replace(trial, state="diverged", why=f"validation {objective} is not finite")
    state = "complete" if isinstance(outcome, RunRecord) else "pruned"
    why = "" if state == "complete" else str(outcome)
    return replace(trial, state=state, values=values, why=why)


def _found(question: Question, book: Sequence[Trial], out: Path) -> Found:
    best = best_of(book, question.objective)
    if best is None:
        told = [f"  {trial.name}: {trial.state}: {trial.why}" for trial in book[:TOLD]]
        raise InputError(
            "no trial has finished, so nothing can be chosen:\n"
            + "\n".join(told)
            + "\nSearch elsewhere in a new directory, or go on with more --trials."
        )
    told = f"{question.objective} {best.values[-1]:.4f} over {question.tasks} task(s)"
    head = f"# chosen for {question.method}: {best.name} of {len(book)}, mean validation {told}\n"
    text = head + yaml.safe_dump(with_values({}, best.settings), sort_keys=False)
    write_atomic(out / CHOSEN, text.encode())
    return Found(trials=tuple(book), best=best, file=out / CHOSEN)


def trial_rows(found: Found) -> list[dict[str, Any]]:
    """Return the trials as rows of a table."""
    return [
        {
            "trial": trial.name + " *" * (trial.name == found.best.name),
            **trial.settings,
            "state": trial.state,
            "value": f"{trial.values[-1]:.4f}" if trial.values else "",
        }
        for trial in found.trials
    ]
