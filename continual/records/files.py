"""Files that are either the old ones or the new ones, whenever the power goes.

A write goes to a temporary name in the same folder, is flushed to the disk, takes the final name in
one step, and the folder is flushed too. A reader that finds damage says which file and the way on.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from continual.errors import InputError


class DamagedFileError(RuntimeError):
    """A file of a run directory cannot be read back; the message names it and the way on."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file by these bytes, or leave it as it was.

    Raises:
        OSError: the folder is missing, not writable or full; the old file is untouched and no
            temporary file stays behind.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp is private; a record is an ordinary file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_json_atomic(path: Path, value: Any) -> None:
    """Replace a file by this value as indented JSON with sorted keys.

    Raises:
        TypeError: the value is not made of JSON types.
        ValueError: it holds NaN or infinity, which JSON does not have.
        OSError: as `write_atomic`.
    """
    write_atomic(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Return a value as indented JSON with sorted keys.

    Raises:
        TypeError: the value is not made of JSON types.
        ValueError: it holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: there is no such file.
        DamagedFileError: it is not valid JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a JSON file of a run directory.")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        raise DamagedFileError(
            f"{path} is damaged ({error}). Restore it from a copy, or continue the run to write "
            "it anew."
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def system_errors(path: Path) -> Iterator[None]:
    """Raise what safetensors says of a write that the system refused as the OSError it is."""
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _umask() -> int:
    """Return the process's umask; the system tells it only by setting another."""
    current = os.umask(0o022)
    os.umask(current)
    return current


def flush_file(path: Path) -> None:
    """Make what was appended to a file survive power loss."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make a rename survive power loss; Windows has no handle of a folder and needs none."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
