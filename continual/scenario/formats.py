"""File formats: which loader reads a file, told by its name."""

from __future__ import annotations

from pathlib import Path

from continual.errors import nearest

# File formats by suffix, with or without a compression suffix behind it.
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def file_format(file: str) -> str | None:
    """Return the loader for a file name, or None where its suffix is unknown.

    >>> file_format("train.jsonl.gz"), file_format("notes.docx")
    ('json', None)
    """
    path = Path(file)
    suffix = Path(path.stem).suffix if path.suffix.lower() in COMPRESSED else path.suffix
    return FORMATS.get(suffix.lower())


def bad_suffix(file: str) -> str:
    """Return the message for a file that no loader reads."""
    suffix = Path(file).suffix
    return (
        f"cannot tell the format of {file!r}; allowed: {', '.join(FORMATS)} "
        f"(also with {', '.join(COMPRESSED)}) or a folder of images{nearest(suffix, FORMATS)}"
    )


def missing_file(path: Path) -> str:
    """Return the message for a file that is not there, with the nearest name that is."""
    folder = path.parent
    if not folder.is_dir():
        return f"file {path} does not exist, nor does its folder."
    near = nearest(path.name, [entry.name for entry in folder.iterdir()])
    return f"file {path} does not exist{near or '.'}"
