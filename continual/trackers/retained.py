"""Retained accuracy: the score of every task after every experience, example by example."""

import math
from collections import Counter
from collections.abc import Callable

from continual.adapters.adaptation import Adaptation
from continual.backbone.base import Backbone, Scored
from continual.records.rows import ExampleRow, ScoreRow
from continual.scenario import Scenario


class RetainedAccuracy:
    """Scores the test split of every task whose classes exist; keeps predictions, never logits.

    In class-incremental scenarios a task whose classes have not arrived is not evaluated (NaN in
    R). A result is remembered by (adapter state, task, competing classes): a model that did not
    change, such as the frozen control, is evaluated once.
    """

    def __init__(
        self,
        scenario: Scenario,
        backbone: Backbone,
        adaptation: Adaptation,
        *,
        batch_size: int,
        tick: Callable[[str, int, int], None],
    ) -> None:
        self.scenario = scenario
        self.backbone = backbone
        self.adaptation = adaptation
        self.batch_size = batch_size
        self.tick = tick
        # Encoded at once: what cannot be read is found before anything is trained or written.
        self._encoded = [backbone.encode(task, task.load().test) for task in scenario.tasks]
        self._known: dict[tuple[object, ...], list[Scored]] = {}

    def observe(self, after: int, step: int) -> tuple[list[ScoreRow], list[ExampleRow]]:
        """Evaluate after experience ``after`` (-1: before any training).

        Args:
            after: index of the experience.
            step: optimiser steps made since the run began.

        Returns:
            One score row per task and metric, and one example row per test example.
        """
        scores: list[ScoreRow] = []
        examples: list[ExampleRow] = []
        state = self.adaptation.state_hash()
        tasks = self.scenario.tasks
        for j, task in enumerate(tasks):
            self.tick(task.name, j, len(tasks))
            scored = self._score(after, j, state)
            if scored is None:
                continue
            correct, n = _mean_score(task.score, scored)
            tokens = sum(one.tokens for one in scored)
            nats = sum(one.nats for one in scored) / tokens
            scores.append(_row(after, step, task.name, task.score, correct, n))
            scores.append(_row(after, step, task.name, "nats_per_token", nats, tokens))
            examples.extend(_example(after, task.name, one) for one in scored)
        self.tick("", len(tasks), len(tasks))
        return scores, examples

    def _score(self, after: int, j: int, state: str) -> list[Scored] | None:
        task = self.scenario.tasks[j]
        candidates = self.scenario.candidates(after, j)
        if candidates is None:
            return None
        key = (state, j, candidates)
        if key not in self._known:
            with self.adaptation.serving(j):
                self._known[key] = self.backbone.score(
                    task, self._encoded[j], candidates, self.batch_size
                )
        return self._known[key]


def _mean_score(score: str, scored: list[Scored]) -> tuple[float, int]:
    """Return the mean and what it is over: tokens for a score of tokens, else examples."""
    if score == "token_accuracy":
        tokens = sum(one.tokens for one in scored)
        return math.fsum(one.correct * one.tokens for one in scored) / tokens, tokens
    return math.fsum(one.correct for one in scored) / len(scored), len(scored)


def majority_rows(scenario: Scenario) -> list[ScoreRow]:
    """Return, per classification task, the accuracy of always saying its commonest test class."""
    rows = []
    for task in scenario.tasks:
        if task.labels:
            counts = Counter(task.load().test.column("label"))
            share = counts.most_common(1)[0][1] / counts.total()
            rows.append(_row(-1, 0, task.name, "majority", share, counts.total()))
    return rows


def _row(after: int, step: int, task: str, metric: str, value: float, n: int) -> ScoreRow:
    return ScoreRow(experience=after, step=step, task=task, metric=metric, value=value, n=n)


def _example(after: int, task: str, scored: Scored) -> ExampleRow:
    return ExampleRow(
        experience=after,
        task=task,
        id=scored.id,
        prediction=scored.prediction,
        correct=scored.correct,
        nats=scored.nats,
    )
