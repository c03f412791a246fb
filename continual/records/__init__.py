"""The run directory: how it is written, and how it is read back without torch."""

from continual.records.config import flatten
from continual.records.files import (
    DamagedFileError,
    read_json,
    sha256_of,
    write_atomic,
    write_json_atomic,
)
from continual.records.rows import ExampleRow, ScoreRow, TokenRow
from continual.records.run_directory import (
    RunRecord,
    append_event,
    cut_events,
    events_size,
    mark_complete,
    truncate_events,
    write_examples,
    write_scores,
    write_tokens,
)

__all__ = [
    "DamagedFileError",
    "ExampleRow",
    "RunRecord",
    "ScoreRow",
    "TokenRow",
    "append_event",
    "cut_events",
    "events_size",
    "flatten",
    "mark_complete",
    "read_json",
    "sha256_of",
    "truncate_events",
    "write_atomic",
    "write_examples",
    "write_json_atomic",
    "write_scores",
    "write_tokens",
]
