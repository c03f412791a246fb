"""The text of CPython's own standard library, split once and for all into two parts.

    part of a document  =  held out where blake2b(its name) / 2**64 < share, pretraining elsewhere

Topics of the language reference quote each other ("compound" contains "while"), so a paragraph that
a held-out topic contains is dropped from the pretraining topics.

The rule looks at one name at a time, so it depends neither on the order of the documents nor on
what else is installed: a document that two Python versions share is on the same side in both.
Everything is read from the running interpreter; nothing is downloaded. The text is licensed under
the PSF licence. `language_reference` is prose (the topics behind Python's `help()`),
`module_sources` is code with its comments and docstrings.
"""

import hashlib
import sysconfig
import tokenize
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Literal

__all__ = ["language_reference", "module_sources"]

Part = Literal["pretraining", "held-out"]
PARTS = ("pretraining", "held-out")
KEY = b"6"  # of the hash; chosen so that the topic "debugger", which pdb quotes, is not held out
TOPICS_HELD_OUT = 0.25  # expected share of the topics; the share of characters varies around it
MODULES_HELD_OUT = 0.05  # expected share of the modules

# Left out of `module_sources`: what others wrote, tests, and files that are tables, not text.
OTHER_DIRECTORIES = {"site-packages", "dist-packages", "_bundled", "__pycache__", "lib-dynload"}
TEST_DIRECTORIES = {"test", "tests", "idle_test"}
TABLE_DIRECTORIES = {"encodings", "pydoc_data"}
TABLES = {
    "html/entities.py",
    "locale.py",
    "msilib/schema.py",
    "msilib/sequence.py",
    "stringprep.py",
}
TABLE_PREFIXES = ("_sysconfigdata", "_sysconfig_vars")


def language_reference(part: Part) -> list[dict[str, str]]:
    """Return the topics of Python's language reference, as plain text.

    Args:
        part: `"pretraining"` (about three quarters) or `"held-out"` (about one quarter).

    Returns:
        One `{"id": "topics/<name>", "text": ...}` per topic, sorted by name.

    Raises:
        ValueError: If `part` is neither of the two.
    """
    _check(part)
    topics: dict[str, str] = import_module("pydoc_data.topics").topics
    held_out = {name for name in topics if _part_of(f"topics/{name}", TOPICS_HELD_OUT) == PARTS[1]}
    if part == "held-out":
        return [{"id": f"topics/{name}", "text": topics[name]} for name in sorted(held_out)]
    secret = {key for name in held_out for _, key in _paragraphs(topics[name])}
    return [
        {"id": f"topics/{name}", "text": "\n\n".join(kept)}
        for name in sorted(set(topics) - held_out)
        if (kept := [text for text, key in _paragraphs(topics[name]) if key not in secret])
    ]


def module_sources(part: Part) -> list[dict[str, str]]:
    """Return the source of the standard library's Python modules, without tests and tables.

    Args:
        part: `"pretraining"` (about 95 %) or `"held-out"` (about 5 %).

    Returns:
        One `{"id": "Lib/<relative path>", "text": ...}` per non-empty module, sorted by path.

    Raises:
        ValueError: If `part` is neither of the two.
    """
    _check(part)
    root = Path(sysconfig.get_path("stdlib"))
    names = sorted(path.relative_to(root).as_posix() for path in _modules(root))
    chosen = [name for name in names if _part_of(f"Lib/{name}", MODULES_HELD_OUT) == part]
    documents = [{"id": f"Lib/{name}", "text": _read(root / name)} for name in chosen]
    return [document for document in documents if document["text"].strip()]


def _modules(directory: Path) -> Iterator[Path]:
    """Yield the .py files below `directory` that are prose or code of the library itself."""
    left_out = OTHER_DIRECTORIES | TEST_DIRECTORIES | TABLE_DIRECTORIES
    for path in directory.rglob("*.py"):
        name = path.relative_to(directory)
        table = name.as_posix() in TABLES or name.name.startswith(TABLE_PREFIXES)
        if not table and not left_out.intersection(name.parts[:-1]):
            yield path


def _read(path: Path) -> str:
    """Read Python source in the encoding that it declares, every newline as one line feed."""
    with tokenize.open(path) as file:
        return file.read()


def _paragraphs(text: str) -> list[tuple[str, str]]:
    """Return the paragraphs of `text`, each with a key that ignores indentation and line breaks."""
    return [(paragraph, " ".join(paragraph.split())) for paragraph in text.split("\n\n")]


def _part_of(name: str, share: float) -> str:
    """Return the part that a document belongs to; a pure function of its name."""
    digest = hashlib.blake2b(name.encode(), digest_size=8, key=KEY).digest()
    return "held-out" if int.from_bytes(digest, "big") / 2**64 < share else "pretraining"


def _check(part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part must be one of {list(PARTS)}; got {part!r}.")
