"""The run directory: what training hands to everything that comes after it.

    run.yaml           the resolved configuration
    environment.json   versions, hardware, data fingerprints, cost
    scores.parquet     one row per (experience, step, task, metric): the raw truth, R is derived
    examples.parquet   one row per (experience, task, example)
    tokens.parquet     one row per token of a probe: nats before training and now
    events.jsonl       what happened, line by line
    COMPLETE           there once the last experience is evaluated
    checksums.json     the SHA-256 of all of them

`RunRecord.open` reads one; the functions here write one. Every write is atomic but the append of an
event, whose torn last line is dropped on reading.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from continual.records import events
from continual.records.checksums import forget, settle, write_known
from continual.records.files import flush_file
from continual.records.paths import COMPLETE, EVENTS, EXAMPLES, SCORES, TOKENS
from continual.records.rows import ExampleRow, ScoreRow, TokenRow, write_rows
from continual.records.run_record import RunRecord

__all__ = [
    "RunRecord",
    "append_event",
    "cut_events",
    "events_size",
    "mark_complete",
    "truncate_events",
    "write_examples",
    "write_scores",
    "write_tokens",
]


def write_scores(directory: Path, rows: Sequence[ScoreRow]) -> None:
    """Replace scores.parquet by these rows: all of the run so far.

    Raises:
        OSError: the directory is missing, not writable or full; the old file is untouched.
    """
    write_rows(Path(directory) / SCORES, ScoreRow, rows)


def write_examples(directory: Path, rows: Sequence[ExampleRow]) -> None:
    """Replace examples.parquet by these rows: all of the run so far.

    Raises:
        OSError: the directory is missing, not writable or full; the old file is untouched.
    """
    write_rows(Path(directory) / EXAMPLES, ExampleRow, rows)


def write_tokens(directory: Path, rows: Sequence[TokenRow]) -> None:
    """Replace tokens.parquet by these rows: every token of every probe.

    Raises:
        OSError: the directory is missing, not writable or full; the old file is untouched.
    """
    write_rows(Path(directory) / TOKENS, TokenRow, rows)


def append_event(directory: Path, event: Mapping[str, Any]) -> None:
    """Append one line to events.jsonl; give it "experience" and "step" so that it can be resumed.

    Raises:
        TypeError: the event is not made of JSON types.
        OSError: the directory is missing, not writable or full.
    """
    events.append_event(Path(directory) / EVENTS, event)


def truncate_events(directory: Path, experience: int, step: int) -> int:
    """Drop the events after a position, before a run continues from it; return how many.

    Raises:
        DamagedFileError: a line other than a torn last one is not a JSON object.
        OSError: the file cannot be written.
    """
    forget(Path(directory), EVENTS)
    return events.truncate_events(Path(directory) / EVENTS, experience, step)


def cut_events(directory: Path, size: int | None) -> None:
    """Drop the events since events.jsonl had that many bytes; None: it is not known.

    Raises:
        OSError: the file cannot be written.
    """
    if size is not None:
        events.cut_events(Path(directory) / EVENTS, size)


def events_size(directory: Path) -> int:
    """Return how many bytes of events.jsonl are on the disk, flushed; 0 where it is not there."""
    path = Path(directory) / EVENTS
    if not path.is_file():
        return 0
    flush_file(path)
    return path.stat().st_size


def mark_complete(directory: Path) -> None:
    """Say that the run reached its end.

    Raises:
        OSError: the directory is missing, not writable or full.
    """
    write_known(Path(directory), COMPLETE, b"")
    settle(Path(directory))
