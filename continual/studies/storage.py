"""Whether every node of a cluster sees the folder of a study, and runs our code.

The driver writes a line that nobody else can know into the study's journal; whoever reads it there
sees the same storage. Nodes are asked before anything runs, and every run asks again, because nodes
may join later.
"""

import os
import secrets
import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records.events import append_event
from continual.studies.cluster import nodes
from continual.studies.roster import JOURNAL

SURVEY = 120.0  # seconds for every node to answer
PACKAGE = "continual-adapters"


def share_folders(ray: Any, folders: Sequence[Path]) -> str:
    """Return a word that every node finds in the journals of these folders.

    Raises:
        InputError: some do not; names them. Nothing was written.
    """
    word = secrets.token_hex(16)
    facts = {"event": "cluster", "word": word, "host": socket.gethostname(), "pid": os.getpid()}
    journals = [folder.absolute() / JOURNAL for folder in folders]
    made = [p for j in journals for p in (j, *j.parents) if not p.exists()]
    for journal in journals:
        journal.parent.mkdir(parents=True, exist_ok=True)
        append_event(journal, facts)
    problems = _survey(ray, [str(journal) for journal in journals], word)
    if not problems:
        return word
    for path in dict.fromkeys(made):
        path.unlink() if path.name == JOURNAL else path.rmdir()
    raise InputError(
        "not every node of the cluster can make the runs of this study:\n  "
        + "\n  ".join(problems)
        + "\nGive --out a folder on storage that all of them mount under the same path, and "
        f"install {PACKAGE} {own_version()} on each."
    )


def _survey(ray: Any, journals: Sequence[str], word: str) -> list[str]:
    """Return what is wrong with each node, by its name."""
    from ray.exceptions import GetTimeoutError, RayError

    beside = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    remote = ray.remote(hindrance)
    asked = {
        f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})": remote.options(
            num_cpus=0, scheduling_strategy=beside(node["NodeID"], soft=False)
        ).remote(journals, word, own_version())
        for node in nodes(ray)
    }
    problems = []
    for name, answer in asked.items():
        try:
            problem = ray.get(answer, timeout=SURVEY)
        except GetTimeoutError:
            problem = f"does not answer within {SURVEY:g} s"
        except RayError as error:
            problem = f"cannot run our code: {last_line(error)}"
        if problem:
            problems.append(f"{name}: {problem}")
    return problems


def last_line(error: Exception) -> str:
    """Return the end of what Ray says, behind the traceback of another machine."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def hindrance(journals: Sequence[str], word: str, ours: str) -> str:
    """On a node: return what stands in the way of runs there, or ""."""
    if own_version() != ours:
        return f"has {PACKAGE} {own_version()}, not {ours}"
    for journal in map(Path, journals):
        if not journal.is_file() or word not in journal.read_text(encoding="utf-8"):
            return f"does not see what is in {journal.parent} here"
        if not os.access(journal.parent, os.W_OK):
            return f"may not write in {journal.parent}"
    return ""


def own_version() -> str:
    """Return the version that is installed here; "unknown" where we run from our source alone."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"
