"""Keeps what was read out of installed packages, so that the next process need not read it again.

One JSON file per package version and version of the reading code, in `$XDG_CACHE_HOME/continual` or
`~/.cache/continual`. It is written whole or not at all, and losing it costs some seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def cached(name: str, code: Sequence[Path], compute: Callable[[], Any]) -> Any:
    """Return `compute()`, or what it returned in an earlier process.

    Args:
        name: of the value; a file name that says what decides it, versions included.
        code: the files of source code that decide it too.
        compute: returns something that JSON can hold.
    """
    hasher = hashlib.blake2b(digest_size=8)
    for path in code:
        hasher.update(path.read_bytes())
    file = folder() / f"{name}-{hasher.hexdigest()}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged
        value = compute()
    _write(file, json.dumps(value))
    return value


def folder() -> Path:
    """Return the folder of the cached files; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path(os.path.expanduser("~/.cache"))) / "continual"


def _write(file: Path, text: str) -> None:
    """Write a file that appears complete or not at all; a full or read-only disk leaves none."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, file)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
