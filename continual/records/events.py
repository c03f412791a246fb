"""events.jsonl: one line of JSON for everything that happened, in the order it happened.

Lines are only ever appended. A process killed while writing leaves a last line without its end:
it is dropped on reading and cut off before the next is written. A run that continues from a
checkpoint first cuts what came after that checkpoint, so that no line is there twice.
"""

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from continual.records.files import DamagedFileError


def append_event(path: Path, event: Mapping[str, Any]) -> None:
    """Append one event as one line; NaN and infinities become null, which JSON has.

    Raises:
        TypeError: the event is not made of JSON types.
        OSError: the folder is missing, not writable or full.
    """
    line = json.dumps(_finite(event), ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.truncate(_last_line_end(path))
        file.write(line.encode())


def read_events(path: Path) -> list[dict[str, Any]]:
    """Read every whole line; none where there is no file yet.

    Raises:
        DamagedFileError: a line other than a torn last one is not a JSON object.
    """
    return [event for _, event in _lines(path)]


def truncate_events(path: Path, experience: int, step: int) -> int:
    """Drop every line from the first that lies after a position on.

    A line lies after it when its ("experience", "step") is larger; a line without them stays with
    the lines before it. A torn last line is dropped too.

    Returns:
        How many whole lines were dropped.

    Raises:
        DamagedFileError: a line other than a torn last one is not a JSON object.
        OSError: the file cannot be written.
    """
    if not path.is_file():
        return 0
    keep, dropped = 0, 0
    for end, event in _lines(path):
        if dropped or _position(event) > (experience, step):
            dropped += 1
        else:
            keep = end
    with path.open("r+b") as file:
        file.truncate(keep)
        os.fsync(file.fileno())
    return dropped


def cut_events(path: Path, size: int) -> None:
    """Drop what was appended since the file had that many bytes.

    Raises:
        OSError: the file cannot be written.
    """
    if path.is_file() and path.stat().st_size > size:
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield where each whole line ends in the file, and what it says."""
    if not path.is_file():
        return
    end = 0
    data = path.read_bytes()
    for number, line in enumerate(io.BytesIO(data), 1):
        end += len(line)
        if not line.endswith(b"\n"):
            return  # torn by a kill; only the last line can be
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            yield end, event
        elif end < len(data) and data[end:].strip(b"\0"):
            raise DamagedFileError(
                f"{path} is damaged in line {number}. Delete that line, or restore the file from a "
                "copy; scores are not read from it."
            )


def _position(event: Mapping[str, Any]) -> tuple[float, float]:
    """Return where an event lies; one that does not say lies before everything."""
    experience, step = event.get("experience"), event.get("step")
    if not isinstance(experience, int):
        return (-math.inf, 0.0)
    return (float(experience), float(step) if isinstance(step, int) else 0.0)


def _last_line_end(path: Path) -> int:
    """Return the size up to which the file holds whole lines."""
    return path.read_bytes().rfind(b"\n") + 1


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
