"""Writes the data of a scenario into the layout that `with_data` reads.

What is written are the examples that are used: after `classes`, `limit` and the validation split.
Reading them gives equal examples, so a run may begin with the one and continue with the other.
(Reading refuses a class that a small `limit` has left without any training example.)
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from continual.errors import InputError
from continual.scenario.local import folder_names
from continual.scenario.reading import quiet
from continual.scenario.sequence import Scenario
from continual.scenario.task import Task

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("train", "validation", "test")
ABOUT = "about.json"


def write_data(
    scenario: Scenario, folder: str | Path, tick: Callable[[int, str], None] = lambda i, name: None
) -> Path:
    """Read every task and probe once and write them; the folder appears when all is written.

    Texts become `.jsonl.gz`, images `.parquet`; `about.json` names the sources, versions and
    fingerprints. The texts keep the terms of where they come from.

    Args:
        scenario: what to write.
        folder: a path at which nothing is yet.
        tick: is told the position and name of every task and probe before it is read.

    Raises:
        InputError: something is at the path, or a source cannot be read.
    """
    out = Path(folder).expanduser().resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; give a new folder for the data.")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        with quiet():
            about = {
                "scenario": scenario.name,
                "tasks": _write_tasks(scenario, scratch, tick),
                "probes": _write_probes(scenario, scratch, tick),
            }
        (scratch / ABOUT).write_text(f"{json.dumps(about, indent=1)}\n")
        scratch.chmod(0o755)  # a temporary folder is for its owner alone
        scratch.replace(out)
    except BaseException:
        shutil.rmtree(scratch)
        raise
    return out


def _write_tasks(
    scenario: Scenario, root: Path, tick: Callable[[int, str], None]
) -> dict[str, dict[str, Any]]:
    """Write every folder, the tasks that share one after each other."""
    from datasets import concatenate_datasets

    folders = folder_names(scenario)
    tables: dict[str, dict[str, list[Dataset]]] = {}
    about: dict[str, dict[str, Any]] = {}
    for i, task in enumerate(scenario.tasks):
        tick(i, task.name)
        data = task.load()
        splits = {"train": data.train, "validation": data.validation, "test": data.test}
        about[task.name] = {part: len(split) for part, split in splits.items()}
        about[task.name] |= {"fingerprint": data.fingerprint, "versions": dict(data.versions)}
        about[task.name]["sources"] = _sources(task)
        family = tables.setdefault(folders[task.name], {part: [] for part in PARTS})
        for part, split in splits.items():
            family[part] += [split.table()] if len(split) else []
    for name, family in tables.items():
        (root / name).mkdir()
        for part, parts in family.items():
            if parts:
                _write(concatenate_datasets(parts), root / name / part)
    return about


def _write_probes(
    scenario: Scenario, root: Path, tick: Callable[[int, str], None]
) -> dict[str, dict[str, Any]]:
    from datasets import Dataset

    about = {}
    for i, probe in enumerate(scenario.probes, start=len(scenario.tasks)):
        tick(i, probe.name)
        data = probe.load()
        (root / probe.name).mkdir()
        _write(Dataset.from_dict({"text": list(data.documents)}), root / probe.name / "test")
        about[probe.name] = {"documents": len(data.documents), "fingerprint": data.fingerprint}
        about[probe.name] |= {"versions": dict(data.versions)}
        about[probe.name]["sources"] = [probe.source.describe()]
    return about


def _write(table: Dataset, stem: Path) -> None:
    if "image" in table.column_names:
        from datasets.table import embed_table_storage

        packed = table.with_format("arrow").map(embed_table_storage, batched=True)  # files too
        packed.to_parquet(f"{stem}.parquet")
        return
    with gzip.GzipFile(f"{stem}.jsonl.gz", "wb", mtime=0) as file:  # the same bytes every time
        for row in table:
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n".encode())


def _sources(task: Task) -> list[str]:
    sources = [task.train, task.test, *([task.validation] if task.validation else [])]
    return [source.describe() for source in sources]
