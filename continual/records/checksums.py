"""checksums.json: the SHA-256 of every file of a run directory, right after a kill at any moment.

A file is announced before it is written: until the next boundary both what was there and what will
be there is known, so whichever of the two a kill leaves is recognised. A boundary settles what was
announced. events.jsonl is only appended to; what is known of it is how it begins. Checkpoints carry
their own checksums and are not listed.

    {"after": 1, "states": [0, 1], "settled": {NAME: [bytes, sha256]}, "announced": {...}, "sha256"}
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from continual.records.files import DamagedFileError, flush_file, flush_folder, write_atomic
from continual.records.paths import CHECKSUMS, EVENTS
from continual.records.sums import Sum, holds, inside, sum_of


class Fault(NamedTuple):
    """What is wrong with one file: its path in the run directory, and "missing" or "damaged"."""

    name: str
    what: str


@dataclass(kw_only=True)
class Checksums:
    """What is known of a run's files.

    Attributes:
        after: the experience whose boundary was settled last; None before any.
        settled: what files were at that boundary.
        announced: what was to be written since.
        states: the experiences after which a state is kept among the checkpoints.
    """

    after: int | None = None
    states: list[int] = field(default_factory=list)
    settled: dict[str, Sum] = field(default_factory=dict)
    announced: dict[str, Sum] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the files that are known, in order."""
        return sorted({*self.settled, *self.announced})

    def fault(self, folder: Path, name: str) -> Fault | None:
        """Return what is wrong with a file; None: nothing, or nothing is known of it."""
        known = [where[name] for where in (self.settled, self.announced) if name in where]
        if not known:
            return None
        if not (folder / name).is_file():
            return Fault(name, "missing") if name in self.settled else None
        return None if any(holds(folder / name, one) for one in known) else Fault(name, "damaged")


def read_checksums(folder: Path) -> Checksums | None:
    """Return what is known of the files of a run; None where no checksums were written.

    Raises:
        DamagedFileError: checksums.json itself is damaged.
    """
    path = folder / CHECKSUMS
    if not path.is_file():
        return None
    try:
        data = path.read_bytes()
        told = json.loads(data)
        known = Checksums(
            after=told["after"],
            states=told["states"],
            settled={name: Sum(*one) for name, one in told["settled"].items()},
            announced={name: Sum(*one) for name, one in told["announced"].items()},
        )
        if data != _written(known):  # which has its own checksum in it
            raise ValueError("its own checksum does not hold")
        return known
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFileError(
            f"{path} is damaged ({error}), so the other files cannot be checked. Restore it from a "
            "copy; or delete it, and the run goes on with what is there unchecked."
        ) from error


def write_known(folder: Path, name: str, data: bytes) -> None:
    """Announce a file, then replace it atomically.

    Raises:
        OSError: the folder is missing, not writable or full; the old file is untouched.
        DamagedFileError: checksums.json is damaged.
    """
    announce(folder, {name: Sum(len(data), hashlib.sha256(data).hexdigest())})
    write_atomic(folder / name, data)


def place_known(folder: Path, draft: Path, name: str) -> None:
    """Announce the files of a folder that is whole under a draft's name, then give it its own.

    One that is there already with the same bytes stays, so a repeated boundary changes nothing.
    """
    final = folder / name
    found = {f"{name}/{inner}": sum_of(draft / inner) for inner in inside(draft)}
    announce(folder, found)
    if final.exists():
        there = {f"{name}/{inner}": sum_of(final / inner) for inner in inside(final)}
        if there == found:
            shutil.rmtree(draft)
            return
        shutil.rmtree(final)
    draft.rename(final)
    flush_folder(final.parent)


def announce(folder: Path, coming: Mapping[str, Sum]) -> None:
    """Say what files are about to be."""
    known = read_checksums(folder) or Checksums()
    for name, one in coming.items():
        before = known.announced.get(name)
        if before is not None and (folder / name).is_file() and holds(folder / name, before):
            known.settled[name] = before
        known.announced[name] = one
    _write(folder, known)


def settle(folder: Path, after: int | None = None, *, state_kept: bool = False) -> None:
    """Say that what was announced is there now, and how far events.jsonl has come.

    Args:
        folder: the run directory.
        after: the experience whose boundary this is; None leaves what is known.
        state_kept: whether the checkpoint that follows stays.
    """
    known = read_checksums(folder) or Checksums()
    known.settled |= known.announced
    known.announced = {}
    if after is not None:
        known.after = after
        known.states = [k for k in known.states if k < after] + [after] * state_kept
    if (folder / EVENTS).is_file():
        flush_file(folder / EVENTS)  # nobody may vouch for what the power can still take
        known.settled[EVENTS] = sum_of(folder / EVENTS)
    _write(folder, known)


def forget(folder: Path, name: str) -> None:
    """Stop vouching for a file that is about to lose something; a boundary vouches anew."""
    known = read_checksums(folder)
    if known is not None and name in known.names():
        known.settled.pop(name, None)
        known.announced.pop(name, None)
        _write(folder, known)


def faults(folder: Path) -> list[Fault]:
    """Return every file that is not as checksums.json says; nothing where there is none.

    Raises:
        DamagedFileError: checksums.json itself is damaged.
    """
    known = read_checksums(folder)
    if known is None:
        return []
    return [found for name in known.names() if (found := known.fault(folder, name))]


def require_whole(folder: Path, name: str) -> None:
    """Raise ``DamagedFileError`` if a file is not what was written there.

    A run that is being written may replace both the file and what is known of it meanwhile, so a
    fault counts only where nothing has been announced since.
    """
    known, found = read_checksums(folder), None
    while known is not None and (found := known.fault(folder, name)):
        again = read_checksums(folder)
        if again == known:
            raise DamagedFileError(
                f"{folder / name} is {found.what}: it is not what the run has written. "
                f"`continual verify {folder}` says what is lost and the way on."
            )
        known = again


def _write(folder: Path, known: Checksums) -> None:
    write_atomic(folder / CHECKSUMS, _written(known))


def _written(known: Checksums) -> bytes:
    told: dict[str, Any] = {
        "after": known.after,
        "states": known.states,
        "settled": {name: list(known.settled[name]) for name in sorted(known.settled)},
        "announced": {name: list(known.announced[name]) for name in sorted(known.announced)},
    }
    own = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return (json.dumps(told | {"sha256": own}, indent=1, ensure_ascii=False) + "\n").encode()
