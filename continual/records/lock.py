"""One process at a time in a run directory.

The owner of a directory holds an operating system's lock of its file ``lock`` from before anything
is written until the run ends. The system lets go of it with the process, however that ends, so what
a dead owner leaves behind is no hindrance. ``lock.json`` says who holds it and is there for the
message alone. Who only reads asks for neither.
"""

import datetime
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from continual.errors import InputError
from continual.records.files import DamagedFileError, read_json, write_json_atomic
from continual.records.paths import CHECKSUMS, ENVIRONMENT, LOCK, OWNER, RUN

BEGINNINGS = (
    ENVIRONMENT,
    CHECKSUMS,
    LOCK,
    OWNER,
)  # what may be there before run.yaml makes a run of it


class InUseError(InputError):
    """Another process owns the run directory."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Own a run directory, which is made where there is none; nobody else does meanwhile.

    What earlier owners were writing when they died is removed first. A directory that nothing was
    written into is removed again at the end.

    Raises:
        InUseError: another process owns it; says which.
        InputError: it cannot be written into.
    """
    made = _make(folder)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(_in_use(folder)) from None
    except OSError as error:
        raise InputError(_not_writable(folder, error)) from error
    try:
        _take(folder)
        yield
    finally:
        with suppress(OSError):  # a full or vanished disk must not hide why the run ended
            (folder / OWNER).unlink(missing_ok=True)
        lock.release()
        if not (folder / RUN).exists():
            _remove(folder, made)


def nothing_yet(folder: Path) -> bool:
    """Say whether a directory holds no more than a run that has not begun leaves behind."""
    return all(path.name in BEGINNINGS or _draft(path) for path in folder.iterdir())


def _take(folder: Path) -> None:
    """Say who owns the directory, and remove what earlier owners were writing."""
    now = datetime.datetime.now(datetime.UTC)
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{now:%Y-%m-%d %H:%M:%S}"}
    try:
        for path in folder.iterdir():
            if _draft(path):
                path.unlink(missing_ok=True)
        write_json_atomic(folder / OWNER, owner)
    except OSError as error:
        raise InputError(_not_writable(folder, error)) from error


def _draft(path: Path) -> bool:
    """Say whether a file is one that ``write_atomic`` had not finished."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _make(folder: Path) -> list[Path]:
    """Make a directory; return those that were not there, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(_not_writable(folder, error)) from error
    return missing


def _remove(folder: Path, made: list[Path]) -> None:
    """Remove the directories that were made for a run which never began."""
    with suppress(OSError):  # somebody else has put something there, and keeps it
        if folder in made and not [path for path in folder.iterdir() if path.name != LOCK]:
            (folder / LOCK).unlink(missing_ok=True)
        for path in made:
            path.rmdir()


def _in_use(folder: Path) -> str:
    try:
        owner = read_json(folder / OWNER)
        who = f"process {owner['pid']} on {owner['host']}, since {owner['since']} UTC"
    except (InputError, DamagedFileError, OSError, KeyError, TypeError):
        who = "another process"  # it is about to say so, or about to end
    return (
        f"{folder} is in use by {who}. Wait until that run ends or stop it (it can be continued), "
        "or give --out another directory. Reports may read it meanwhile."
    )


def _not_writable(folder: Path, error: OSError) -> str:
    return (
        f"cannot write into {folder}: {error.strerror or error}. Give --out a directory that can "
        "be written, or make room there; nothing was changed."
    )
