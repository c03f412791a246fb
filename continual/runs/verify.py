"""Is a run directory what was written there? Every file, and R from its examples."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records.checksums import Checksums, read_checksums
from continual.records.config import read_config
from continual.records.files import DamagedFileError
from continual.records.paths import CHECKSUMS, COMPLETE, RUN
from continual.runs.damage import KNOWN
from continual.runs.recounting import Finding, recounted, wrong
from continual.training.checkpoint import (
    DAMAGE,
    OWN,
    Position,
    ended,
    every_checkpoint,
    read_checkpoint,
)

WRONG = ("damaged", "missing", "unexpected", "different")
OTHERS = ("lock", "lock.json", "tensorboard", "wandb", "mlruns")  # not of the record


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What `verify` found.

    Attributes:
        path: the run directory.
        findings: one per file.
        recomputed: how many scores were recomputed from the rows they are the means of.
        R: the retained accuracy matrix from examples.parquet: (experience, task) to mean score.
    """

    path: Path
    findings: tuple[Finding, ...]
    recomputed: int
    R: dict[tuple[int, str], float]

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not any(one.state in WRONG for one in self.findings)

    def counts(self) -> dict[str, int]:
        """Return how many files are in each state."""
        return dict(Counter(one.state for one in self.findings))

    def facts(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        R = [{"experience": e, "task": task, "score": v} for (e, task), v in self.R.items()]
        return {
            "path": str(self.path),
            "whole": self.whole,
            "counts": self.counts(),
            "findings": [asdict(one) for one in self.findings],
            "recomputed": self.recomputed,
            "R": R,
        }


def verify(directory: str | Path) -> Verdict:
    """Check every file of a run, finished or not, and recompute its scores from its examples.

    Nothing is written. A run that is killed in the middle of a boundary is whole.

    Args:
        directory: a run directory.

    Returns:
        What was found of every file, what is lost, and the way on.

    Raises:
        InputError: this is no run directory.
    """
    folder = Path(directory)
    if not folder.is_dir() or not any((folder / name).exists() for name in (RUN, CHECKSUMS)):
        raise InputError(
            f"{folder} is not a run directory: it has no {RUN}. Give one that `continual run` made."
        )
    known, findings = _known(folder)
    findings += _checkpoints(folder, known)
    expected = {one.file for one in findings}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in expected and Path(name).parts[0] not in ("checkpoints", *OTHERS):
            findings.append(_unlisted(name, known))
    R, recomputed = {}, 0
    bad = {one.file for one in findings if one.state in ("damaged", "missing")}
    if RUN not in bad:
        R, recomputed, more = recounted(folder, known, bad)
        findings += more
    kept = {one.file for one in findings if one.state in WRONG}  # the worst that is said of each
    findings = [one for one in findings if one.state in WRONG or one.file not in kept]
    order = sorted(findings, key=lambda one: (one.state not in WRONG, one.file))
    return Verdict(path=folder, findings=tuple(order), recomputed=recomputed, R=R)


def _known(folder: Path) -> tuple[Checksums | None, list[Finding]]:
    """Return the checksums, and what they say of the files that they list."""
    try:
        known = read_checksums(folder)
    except DamagedFileError:
        return None, [wrong(folder, CHECKSUMS, "damaged")]
    if known is None:
        if not _had_checksums(folder):
            way = "It is of an older version, or was deleted; a copy of it would be needed."
            return None, [Finding(file=CHECKSUMS, state="unchecked", way=way)]
        return None, [wrong(folder, CHECKSUMS, "missing")]
    findings = [Finding(file=CHECKSUMS, state="whole")]
    for name in known.names():
        fault = known.fault(folder, name)
        if fault is not None:
            findings.append(wrong(folder, name, fault.what))
        elif (folder / name).is_file():
            findings.append(Finding(file=name, state="whole"))
    return known, findings


def _had_checksums(folder: Path) -> bool:
    """Say whether the version that wrote the checkpoints writes checksums too."""
    files = [path / "state.json" for path in every_checkpoint(folder / "checkpoints")]
    return any(f'"{OWN}"'.encode() in path.read_bytes() for path in files if path.is_file())


def _checkpoints(folder: Path, known: Checksums | None) -> list[Finding]:
    """Read every checkpoint, and see whether one is there that the last boundary left."""
    found, newest = [], None
    for path in every_checkpoint(folder / "checkpoints"):
        name = path.relative_to(folder).as_posix()
        try:
            newest = read_checkpoint(path).position
            found.append(Finding(file=name, state="whole"))
        except DAMAGE as error:
            lost, way = f"one state ({error})", "Nothing to do: the one before it is used."
            found.append(Finding(file=name, state="damaged", lost=lost, way=way))
    drafts = [path.name for path in (folder / "checkpoints").glob(".writing-*")]
    found += [Finding(file=f"checkpoints/{name}", state="left over") for name in drafts]
    if known is not None and not _is_foreign(folder):
        found += [_gone(name) for name in _missing(folder, known, newest)]
    return found


def _missing(folder: Path, known: Checksums, newest: Position | None) -> list[str]:
    """Return the checkpoints that were kept and are not there, as far as can be known."""
    own = every_checkpoint(folder / "checkpoints")
    ends = {ended(path) for path in own} | {int(p.name[6:]) for p in own if p.name[:6] == "after-"}
    last = known.after if COMPLETE not in known.settled else None  # may not be written yet
    names = [f"checkpoints/after-{k:02d}" for k in known.states if k not in ends and k != last]
    numbers = [int(path.name) for path in own if path.name.isdecimal()]
    after = -1 if known.after is None else known.after
    if not numbers and (after >= 0 or COMPLETE in known.settled):
        return [*names, "checkpoints"]
    if numbers and numbers[-1] > 0 and numbers[-1] - 1 not in numbers:
        names.append(f"checkpoints/{numbers[-1] - 1:06d}")
    if numbers and newest is not None and newest.experience < after:
        names.append(f"checkpoints/{numbers[-1] + 1:06d}")
    return names


def _gone(name: str) -> Finding:
    lost = "a state that the run or a fork could go on from"
    way = "Nothing to do for the run's results; restore it from a copy to go on from there."
    return Finding(file=name, state="missing", lost=lost, way=way)


def _is_foreign(folder: Path) -> bool:
    """Say whether somebody else's training wrote this record: it keeps its states elsewhere."""
    try:
        return "learns" in read_config(folder)
    except (InputError, DamagedFileError):
        return False


def _unlisted(name: str, known: Checksums | None) -> Finding:
    """Return what to say of a file that has no checksum."""
    first = Path(name).parts[0]
    parts = Path(name).parts
    if name.endswith(".tmp") or any(part.startswith(".") for part in parts):
        return Finding(file=name, state="left over")
    if first == "adapters" or name in KNOWN:
        way = "The next boundary lists it." if known else "There is nothing to check it against."
        return Finding(file=name, state="unchecked", way=way)
    way = "No run has written it; move it elsewhere."
    return Finding(file=name, state="unexpected", way=way)
