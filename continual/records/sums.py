"""What a file must be, by its size and SHA-256."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from continual.records.paths import EVENTS

CHUNK = 1 << 20  # bytes


class Sum(NamedTuple):
    """What a file must be: its first so many bytes have this SHA-256, and others have no more."""

    bytes: int
    sha256: str


def sum_of(path: Path, size: int | None = None) -> Sum:
    """Return the checksum of a file, or of its first ``size`` bytes."""
    digest, left = hashlib.sha256(), path.stat().st_size if size is None else size
    count = left
    with path.open("rb") as file:
        while left and (data := file.read(min(left, CHUNK))):
            digest.update(data)
            left -= len(data)
    return Sum(count - left, digest.hexdigest())


def holds(path: Path, known: Sum) -> bool:
    """Say whether a file is what is known of it."""
    size = path.stat().st_size
    fits = size >= known.bytes if path.name == EVENTS else size == known.bytes
    return fits and sum_of(path, known.bytes) == known


def inside(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix()
