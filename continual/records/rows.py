"""The rows of a run directory's two tables, and how they are stored.

Score rows are the raw truth of a run. Experience -1 is before any training. Of several rows of one
metric within an experience the one with the most steps is after it, the others are within it.

| metric | task | value | n |
|---|---|---|---|
| the task's score id, such as ``accuracy`` | a task | score in [0, 1] | examples |
| ``nats_per_token`` | a task | mean nats per target token | tokens |
| ``majority`` (experience -1) | a task | score of always saying the commonest label | examples |
| ``standard_error`` | a task | of its score, where a sample of examples was scored | examples |
| ``collision_rate``, ... | an earlier task | of its change and the experience's | adapted numbers |
| ``change_norm`` | a layer | ‖ΔW‖ / ‖W‖ | numbers of the weight |
| ``intruder_dimensions`` | a layer | how many, of ten | numbers of the weight |
| ``probe_nats`` | a probe | mean nats per token | tokens |
| ``probe_bytes`` | a probe | bits per byte | bytes |
| ``probe_words`` | a probe | nats per word, split at white space | words |
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from continual.errors import InputError
from continual.records.checksums import write_known
from continual.records.files import DamagedFileError

BEFORE = -1  # the experience of what is measured before any training
PROBE_NATS = "probe_nats"
PROBE_BYTES = "probe_bytes"
PROBE_WORDS = "probe_words"
MAJORITY = "majority"
STANDARD_ERROR = "standard_error"
UNTESTED = "untested"  # the score of what a run learned and has no test of


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One number: how a task or probe scored at one moment.

    Attributes:
        experience: after which experience, or within it; -1 is before any training.
        step: optimiser steps done, so that later is larger within an experience.
        task: the name of a task or probe.
        metric: the score id.
        value: the number.
        n: over how many examples, tokens or bytes it was taken.
    """

    experience: int
    step: int
    task: str
    metric: str
    value: float
    n: int

    def __post_init__(self) -> None:
        _check_moment("ScoreRow", self.experience)
        if self.step < 0 or self.n < 0:
            raise InputError(f"ScoreRow counts from 0: got step {self.step} and n {self.n}.")


@dataclass(frozen=True, kw_only=True)
class ExampleRow:
    """What was said about one test example.

    Attributes:
        experience: after which experience; -1 is before any training.
        task: the name of the task.
        id: of the example.
        prediction: what the model answered.
        correct: its score in [0, 1], whose mean over examples (weighed by tokens, for language
            modeling) is the task's: 1.0 right or 0.0 wrong, the share of its tokens that were
            right, or the graded score of what was written.
        nats: the negative log-likelihood of the true answer, in nats.
    """

    experience: int
    task: str
    id: str
    prediction: str
    correct: float
    nats: float

    def __post_init__(self) -> None:
        _check_moment("ExampleRow", self.experience)


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """One token of a probe.

    Attributes:
        probe: its name.
        document: which of its documents, from 0.
        piece: the text of the token.
        before: its nats before any training.
        after: its nats after the last experience so far.
    """

    probe: str
    document: int
    piece: str
    before: float
    after: float


Row = TypeVar("Row", ScoreRow, ExampleRow, TokenRow)


def write_rows(path: Path, kind: type[Row], rows: Sequence[Row]) -> None:
    """Replace a parquet file of a run directory by these rows, atomically.

    Raises:
        OSError: the folder is missing, not writable or full.
    """
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=_schema(kind))
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    write_known(path.parent, path.name, sink.getvalue().to_pybytes())


def read_rows(path: Path, kind: type[Row]) -> tuple[Row, ...]:
    """Read the rows of a parquet file back, in the order they were written.

    Raises:
        InputError: there is no such file.
        DamagedFileError: it is cut short, not parquet, or lacks a column.
    """
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise InputError(
            f"{path} does not exist. Continue the run to write it: continual run on its directory."
        )
    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(path.read_bytes())).read()
        # by position, since a cast refuses another column order and foreign columns are welcome
        table = table.select([field.name for field in fields(kind)]).cast(_schema(kind))
        return tuple(kind(**row) for row in table.to_pylist())
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as error:
        raise DamagedFileError(
            f"{path} is damaged ({error}). Restore it from a copy, or continue the run from its "
            "newest checkpoint to write it anew."
        ) from error


def _schema(kind: type) -> Any:
    """Return the parquet schema of a row type: int64, float64 and text, none of them null."""
    import pyarrow

    stored = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    return pyarrow.schema(
        [pyarrow.field(field.name, stored[field.type], nullable=False) for field in fields(kind)]
    )


def _check_moment(what: str, experience: int) -> None:
    if experience < BEFORE:
        raise InputError(
            f"{what}.experience counts from 0, and -1 is before any training; got {experience}."
        )
