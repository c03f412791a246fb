"""Directories that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from continual.errors import InputError

CARD = "README.md"
MARK = "tags: [continual, "  # in the card of every directory written here


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder to write into; at the end it is flushed and takes the name ``out``.

    What was written here before is replaced; anything else in the way is not touched. After an
    error ``out`` is as it was.

    Raises:
        InputError: ``out`` is a file, or a directory that holds something else.
    """
    out = Path(out)
    if out.exists() and not _replaceable(out):
        raise InputError(
            f"{out} exists and was not written by an export; give a path that does not exist."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    draft, old = (out.with_name(f".{out.name}.{kind}") for kind in ("writing", "old"))
    for left_over in (draft, old):
        shutil.rmtree(left_over, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        for path in [*draft.rglob("*"), draft]:
            _flush(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if out.exists():
        out.rename(old)
    draft.rename(out)
    _flush(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _replaceable(out: Path) -> bool:
    if not out.is_dir():
        return False
    card = out / CARD
    return not any(out.iterdir()) or (card.is_file() and MARK in card.read_text("utf-8"))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
