"""A finished or unfinished run, read back without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from continual.errors import unknown
from continual.records.checksums import require_whole
from continual.records.config import name_of, read_config
from continual.records.events import read_events
from continual.records.files import DamagedFileError, read_json
from continual.records.paths import (
    COMPLETE,
    ENVIRONMENT,
    EVENTS,
    EXAMPLES,
    RUN,
    SCORES,
    TOKENS,
)
from continual.records.rows import (
    BEFORE,
    MAJORITY,
    PROBE_BYTES,
    PROBE_NATS,
    PROBE_WORDS,
    UNTESTED,
    ExampleRow,
    ScoreRow,
    TokenRow,
    read_rows,
)

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A frozen view of a run directory.

    Attributes:
        path: the directory.
        config: run.yaml.
        environment: environment.json; empty where it is not written yet.
        scenario: its name.
        method: its name.
        backbone: its name.
        seed: of the run.
        setting: task-, domain- or class-incremental; empty where run.yaml does not say.
        tasks: their names, in the order they are learned.
        score_ids: the score of each task, in the same order.
        probe_names: the texts that measure drift.
        complete: whether the run reached its end.
        score_rows: the raw truth; R is derived from it.
    """

    path: Path
    config: Mapping[str, Any] = field(repr=False)
    environment: Mapping[str, Any] = field(repr=False)
    scenario: str
    method: str
    backbone: str
    seed: int
    setting: str
    tasks: tuple[str, ...]
    score_ids: tuple[str, ...]
    probe_names: tuple[str, ...]
    complete: bool
    score_rows: tuple[ScoreRow, ...] = field(repr=False)

    @classmethod
    def open(cls, directory: Path | str) -> "RunRecord":
        """Read a run directory; an unfinished one opens too, with NaN for what is not there yet.

        Raises:
            InputError: this is not a run directory; the message says what is missing.
            DamagedFileError: one of its files cannot be read back, or is not what was written.
        """
        path = Path(directory)
        if (path / RUN).is_file():
            for name in (RUN, ENVIRONMENT, SCORES):
                require_whole(path, name)
        config = read_config(path)
        complete = (path / COMPLETE).exists()
        if complete and not (path / SCORES).is_file():
            raise DamagedFileError(
                f"{path / SCORES} is missing from a run marked complete. Restore it from a copy, "
                f"or delete {path / COMPLETE} and continue the run."
            )
        environment = path / ENVIRONMENT
        tasks = config["tasks"]
        return cls(
            path=path,
            config=config,
            environment=read_json(environment) if environment.is_file() else {},
            scenario=name_of(config["scenario"]),
            method=name_of(config["method"]),
            backbone=name_of(config["backbone"]),
            seed=config["seed"],
            setting=str(config.get("setting") or ""),
            tasks=tuple(str(task["name"]) for task in tasks),
            score_ids=tuple(str(task["score"]) for task in tasks),
            probe_names=tuple(name_of(probe) for probe in config.get("probes") or ()),
            complete=complete,
            score_rows=read_rows(path / SCORES, ScoreRow) if (path / SCORES).is_file() else (),
        )

    @property
    def tested(self) -> tuple[str, ...]:
        """The tasks that have a test: all, but where somebody else's training learned others."""
        pairs = zip(self.tasks, self.score_ids, strict=True)
        return tuple(task for task, score in pairs if score != UNTESTED)

    def matrix(self) -> Float[np.ndarray, "E T"]:
        """Return R: the score on task j after experience i, NaN where not evaluated.

        Each task counts with its own score id; of several rows within an experience the last step
        counts. There is a row for every task to be learned, reached or not.
        """
        return np.array([self._row(i) for i in range(len(self.tasks))])

    def baseline(self) -> Float[np.ndarray, " T"]:
        """Return b: the score on each task before any training, NaN where not evaluated."""
        return np.array(self._row(BEFORE))

    def majority(self) -> Float[np.ndarray, " T"]:
        """Return the score of always giving each task's commonest label, NaN where not known."""
        return np.array([self._value(BEFORE, task, MAJORITY) for task in self.tasks])

    def probes(self) -> dict[str, list[float]]:
        """Return mean nats per token of each probe: before training, then after each experience."""
        return self._probe_values(PROBE_NATS)

    def bits_per_byte(self) -> dict[str, list[float]]:
        """Return bits per byte of each probe: before training, then after each experience."""
        return self._probe_values(PROBE_BYTES)

    def nats_per_word(self) -> dict[str, list[float]]:
        """Return nats per word of each probe: before training, then after each experience."""
        return self._probe_values(PROBE_WORDS)

    def collisions(self, measure: str) -> Float[np.ndarray, "E T"]:
        """Return how task j's change and that of experience i get in each other's way; else NaN.

        Args:
            measure: collision_rate, soft_collision, overlap, awom or frobenius_cosine.
        """
        moments = range(len(self.tasks))
        return np.array([[self._value(i, task, measure) for task in self.tasks] for i in moments])

    def curve(self, task: str) -> tuple[ScoreRow, ...]:
        """Return every score of one task in time order, those within an experience included.

        Raises:
            InputError: the run has no such task.
        """
        if task not in self.tasks:
            raise unknown("task", task, self.tasks)
        score = self.score_ids[self.tasks.index(task)]
        rows = [row for row in self.score_rows if row.task == task and row.metric == score]
        return tuple(sorted(rows, key=lambda row: (row.experience, row.step)))

    def examples(self) -> tuple[ExampleRow, ...]:
        """Return what was said about each test example; nothing where it was not recorded.

        Raises:
            DamagedFileError: examples.parquet cannot be read back.
        """
        require_whole(self.path, EXAMPLES)
        path = self.path / EXAMPLES
        return read_rows(path, ExampleRow) if path.is_file() else ()

    def tokens(self) -> tuple[TokenRow, ...]:
        """Return the tokens of the probes, before training and at the end; nothing without probes.

        Raises:
            DamagedFileError: tokens.parquet cannot be read back.
        """
        require_whole(self.path, TOKENS)
        path = self.path / TOKENS
        return read_rows(path, TokenRow) if path.is_file() else ()

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of events.jsonl; a torn last line is left out.

        Raises:
            DamagedFileError: another line is not a JSON object.
        """
        require_whole(self.path, EVENTS)
        return read_events(self.path / EVENTS)

    def frame(self) -> "pandas.DataFrame":
        """Return the score rows as a table, one column per field of `ScoreRow`."""
        import pandas

        columns = list(ScoreRow.__dataclass_fields__)
        return pandas.DataFrame([asdict(row) for row in self.score_rows], columns=columns)

    def within(self, experience: int, task: str) -> Float[np.ndarray, " k"]:
        """Return a task's scores around one experience: before it, within it, after it.

        Raises:
            InputError: the run has no such task.
        """
        rows = self.curve(task)
        before = [row.value for row in rows if row.experience < experience][-1:]
        return np.array(before + [row.value for row in rows if row.experience == experience])

    def gaps(self) -> Float[np.ndarray, "E T"]:
        """Return the stability gap of task j while experience i was learned, where it was watched.

        See ``continual.metrics.transfer.stability_gap``; NaN where there are no scores within.
        """
        from continual.metrics.transfer import stability_gap

        found = np.full((len(self.tasks), len(self.tasks)), np.nan)
        for i in range(len(self.tasks)):
            for j, task in enumerate(self.tasks[:i]):
                curve = self.within(i, task)
                if len(curve) > 2 and np.isfinite(curve).all():
                    found[i, j] = stability_gap(curve)
        return found

    def _row(self, experience: int) -> list[float]:
        pairs = zip(self.tasks, self.score_ids, strict=True)
        return [self._value(experience, task, score) for task, score in pairs]

    def _probe_values(self, metric: str) -> dict[str, list[float]]:
        moments = range(BEFORE, len(self.tasks))
        return {
            name: [self._value(experience, name, metric) for experience in moments]
            for name in self.probe_names
        }

    def _value(self, experience: int, task: str, metric: str) -> float:
        """Return the last value at this moment, NaN where there is none."""
        return self._latest.get((experience, task, metric), float("nan"))

    @cached_property
    def _latest(self) -> dict[tuple[int, str, str], float]:
        in_time = sorted(self.score_rows, key=lambda row: row.step)
        return {(row.experience, row.task, row.metric): row.value for row in in_time}
