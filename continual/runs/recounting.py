"""What is found of a file of a run directory, and of the numbers that its rows say."""

from dataclasses import dataclass
from pathlib import Path

from continual.errors import InputError
from continual.records.checksums import Checksums
from continual.records.config import name_of, read_config
from continual.records.files import DamagedFileError
from continual.records.paths import EXAMPLES, RUN, SCORES, TOKENS
from continual.records.recount import means, recount, recount_probes
from continual.records.rows import UNTESTED, ExampleRow, Row, ScoreRow, TokenRow, read_rows
from continual.runs.damage import lost_with, way_on


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one file.

    Attributes:
        file: its path in the run directory.
        state: whole, damaged, missing, unexpected (nobody wrote it there), different (whole, but
            its numbers are not what its rows say), unchecked (nothing is known of it) or left over
            (of a write that was interrupted, harmless).
        lost: what is lost with it, where something is.
        way: what to do about it.
    """

    file: str
    state: str
    lost: str = ""
    way: str = ""


def wrong(folder: Path, name: str, state: str) -> Finding:
    """Return what to say of a file that is damaged or missing."""
    return Finding(file=name, state=state, lost=lost_with(name), way=way_on(folder, name))


def recounted(
    folder: Path, known: Checksums | None, bad: set[str]
) -> tuple[dict[tuple[int, str], float], int, list[Finding]]:
    """Return R from the examples, how many scores were recomputed, and what differs."""
    try:
        config = read_config(folder)
        scores = _rows(folder, SCORES, ScoreRow, bad)
        examples = _rows(folder, EXAMPLES, ExampleRow, bad)
        tokens = _rows(folder, TOKENS, TokenRow, bad)
    except (DamagedFileError, InputError) as error:
        file = next((n for n in (SCORES, EXAMPLES, TOKENS) if n in str(error)), RUN)
        return {}, 0, [wrong(folder, file, "damaged")]
    metrics = {str(task["name"]): name_of(task["score"]) for task in config["tasks"]}
    metrics = {task: score for task, score in metrics.items() if score != UNTESTED}
    through = known.after if known is not None and known.after is not None else -1
    if known is None:
        through = max((row.experience for row in examples), default=-1)
    count, different, R = 0, [], means(examples)
    if scores and examples:
        count, different = recount(scores, examples, metrics, through)
    if scores and tokens:
        more, others = recount_probes(scores, tokens, through)
        count, different = count + more, different + others
    lost = "; ".join(map(str, different[:3])) + (" and more" if len(different) > 3 else "")
    found = [Finding(file=SCORES, state="different", lost=lost, way=way_on(folder, SCORES))]
    return R, count, found if different else []


def _rows(folder: Path, name: str, kind: type[Row], bad: set[str]) -> tuple[Row, ...]:
    path = folder / name
    return read_rows(path, kind) if name not in bad and path.is_file() else ()
