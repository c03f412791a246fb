"""The names of the files in a run directory."""

from pathlib import Path

RUN = "run.yaml"
ENVIRONMENT = "environment.json"
SCORES = "scores.parquet"
EXAMPLES = "examples.parquet"
TOKENS = "tokens.parquet"
EVENTS = "events.jsonl"
COMPLETE = "COMPLETE"
CHECKSUMS = "checksums.json"
LOCK = "lock"
OWNER = "lock.json"  # who holds the lock


def after_folders(folder: Path) -> list[Path]:
    """Return what a folder keeps as ``after-NN``, in the order of the experiences."""
    found = folder.glob("after-*") if folder.is_dir() else ()
    return sorted(found, key=lambda path: int(path.name.removeprefix("after-")))
