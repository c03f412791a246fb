"""Runs that kill themselves with SIGKILL at the n-th thing they do, and what they leave behind.

Counted are optimiser steps, tasks and probes that are evaluated, syncs, renames, and writes of
files, which are torn in their middle. An uninterrupted run counts the same things and lists them,
so a point is a number, drawn from a seed, and can be made again by it. Processes are forked from a
server that has imported everything, so that a kill costs a second.

``analysis/kill-matrix/matrix.py`` prints points and configurations as a table.
"""

import importlib
import io
import json
import multiprocessing
import os
import pathlib
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from continual._torchvision import ensure_torchvision
from continual.records import RunRecord, sha256_of
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter
from continual.scenario import Probe, RowsSource
from continual.trackers import cost
from tests.sequences import QUICK, small_scenario

ensure_torchvision()
for module in (  # what a run imports lazily is imported once, not in every process
    "continual.interop.tuners.attach",
    "datasets",
    "peft.tuners.lora",
    "pyarrow.parquet",
    "transformers.models.llama.modeling_llama",
    "transformers.tokenization_utils_tokenizers",
):
    importlib.import_module(module)
CONFIGURATIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "shared U": ("curlora", {}),
    "directions and magnitudes": ("slora", {}),
    "growing stack": ("inclora", {}),
    "replay buffer": ("lora", {"rehearsal": {"size": 10}}),
    "EWC": ("lora", {"ewc": {"lam": 5.0, "samples": 4}}),
    "early stop": ("nlora", {"train": {"early_stop": 1, "epochs": 2}}),
    "accumulation, dropout, schedule": (
        "droplora",
        {"train": {"micro_batch_size": 3, "schedule": "linear", "warmup": 0.5}},
    ),
    "PEFT, merged": ("peft:lora", {"method": {"mode": "merge", "lora_dropout": 0.1}}),
    "PEFT's EVA": ("peft:eva", {"method": {"mode": "merge"}}),
}
BOUNDARY = ("adapters/", "scores", "examples", "tokens", ".scores", ".examples", ".tokens")
PLACES: Mapping[str, Callable[["Counted"], bool]] = {
    "at the very beginning": lambda one: one.first,
    "in a step": lambda one: one.what == "step",
    "in evaluation": lambda one: one.what == "evaluation",
    "in the middle of a checkpoint's file": lambda one: one.torn and "checkpoints/" in one.path,
    "sync or rename of a checkpoint": lambda one: not one.torn and "checkpoints/" in one.path,
    "at a boundary": lambda one: one.path.startswith(BOUNDARY),
    "anywhere": lambda one: True,
}

LATER = ("in evaluation", "at a boundary")


@dataclass(frozen=True)
class Counted:
    """One counted thing: what was done, to which file, and whether a kill there tears it."""

    what: str
    path: str = ""
    torn: bool = False

    @property
    def first(self) -> bool:
        """Whether it belongs to what is written before anything is known."""
        return any(name in self.path for name in ("environment.json", "run.yaml"))


@dataclass
class Axe(SilentReporter):
    """Counts what a run does, and kills the process at the n-th thing."""

    folder: Path
    nth: int | None
    done: list[Counted] = field(default_factory=list)

    def count(self, what: str, path: str = "", tear: Callable[[], None] | None = None) -> None:
        """Count one thing; at the n-th tear its file and die."""
        self.done.append(Counted(what, path, tear is not None))
        if len(self.done) == self.nth:
            if tear is not None:
                tear()
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self, what: str, done: int, total: int) -> None:
        """Count an evaluated task or probe."""
        if ": evaluating" in what or ": reading" in what:
            self.count("evaluation")

    def inside(self, path: object) -> str:
        """Return the path within the run directory; empty for other files."""
        try:
            return str(Path(os.fspath(path)).resolve().relative_to(self.folder))
        except (TypeError, ValueError):
            return ""


class Torn(io.RawIOBase):
    """A file whose every write is counted, and half made where the process dies."""

    def __init__(self, file: Any, axe: Axe, path: str) -> None:
        self._file, self._axe, self._path = file, axe, path

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._axe.count("write", self._path, half)
        return self._file.write(data)

    def __getattribute__(self, name: str) -> Any:
        own = ("write", "_file", "_axe", "_path", "__enter__", "__exit__")
        return object.__getattribute__(self, name) if name in own else getattr(self._file, name)


def _arm(axe: Axe) -> None:
    """Count everything that this process does from now on."""
    opened, fdopened, fsync = Path.open, os.fdopen, os.fsync
    serialise, step = safetensors.torch.serialize_file, torch.optim.AdamW.step

    def path_open(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file, inside = opened(self, mode, *rest, **more), axe.inside(self)
        return Torn(file, axe, inside) if inside and set(mode) & set("wa+") else file

    def fd_open(handle: int, mode: str = "r", *rest: Any, **more: Any) -> Any:
        inside = axe.inside(os.readlink(f"/proc/self/fd/{handle}"))
        file = fdopened(handle, mode, *rest, **more)
        return Torn(file, axe, inside) if inside and "w" in mode else file

    def sync(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        if inside := axe.inside(os.readlink(f"/proc/self/fd/{number}")):
            axe.count("sync", inside)
        fsync(handle)

    def named(what: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(source: Any, target: Any, **more: Any) -> Any:
            if inside := axe.inside(target):
                axe.count(what, inside)
            return original(source, target, **more)

        return counted

    def serialised(tensors: Any, name: Any, *rest: Any, **more: Any) -> Any:
        found = serialise(tensors, name, *rest, **more)
        half = os.path.getsize(name) // 2
        axe.count("write", axe.inside(name), lambda: os.truncate(name, half))
        return found

    def stepped(self: Any, *rest: Any, **more: Any) -> Any:
        axe.count("step")
        return step(self, *rest, **more)

    pathlib.Path.open, os.fdopen, os.fsync = path_open, fd_open, sync
    os.replace, os.rename = named("rename", os.replace), named("rename", os.rename)
    safetensors.torch.serialize_file, torch.optim.AdamW.step = serialised, stepped


def victim(name: str, folder: Path, nth: int | None) -> None:
    """Make a run; it dies at the n-th thing, or else lists beside itself all it has done."""
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    method, beside = CONFIGURATIONS[name]
    settings = {**QUICK, **beside, "train": {**QUICK["train"], **beside.get("train", {})}}
    probe = Probe(name="text", source=RowsSource(rows=[{"text": "a word in time " * 20}]))
    axe = Axe(folder.resolve(), nth)
    _arm(axe)
    cost._energy = lambda: None  # it waits, where codecarbon is installed
    scenario = small_scenario(2, probes=(probe,))
    run(scenario, method, out=folder, settings=settings, reporter=axe)
    listed = [[one.what, one.path, one.torn] for one in axe.done]
    folder.with_suffix(".json").write_text(json.dumps(listed))


def content(folder: Path) -> dict[str, str]:
    """Return the checksum of everything that must not depend on a kill."""
    keep = ("run.yaml", "scores.parquet", "examples.parquet", "tokens.parquet", "COMPLETE")
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (path.name in keep or "adapters" in path.relative_to(folder).parts)
    }


def points(done: Sequence[Counted], seed: str) -> dict[str, int]:
    """Return one number per kind of place, drawn from a seed.

    Evaluations and boundaries are those after some training; before it there are some, too.
    """
    draw = random.Random(seed)
    begun = next(n for n, one in enumerate(done, 1) if one.what == "step")
    return {
        place: draw.choice(
            [n for n, one in enumerate(done, 1) if holds(one) and (place not in LATER or n > begun)]
        )
        for place, holds in PLACES.items()
    }


@dataclass(frozen=True)
class Point:
    """One kill: where, the number of what it fell on, and whether all bytes were the same."""

    place: str
    nth: int
    of: int
    what: Counted
    killed: bool
    same: bool


def kill_at(name: str, folder: Path) -> list[Point]:
    """Run a configuration whole, then kill it at every point and continue it once."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.killing"])

    def exit_code(*arguments: Any) -> int | None:
        process = server.Process(target=victim, args=arguments)
        process.start()
        process.join()
        return process.exitcode

    assert exit_code(name, folder / "whole", None) == 0, f"{name} does not run at all"
    whole, R = content(folder / "whole"), RunRecord.open(folder / "whole").matrix()
    done = [Counted(*one) for one in json.loads((folder / "whole.json").read_text())]
    found = []
    for place, nth in points(done, name).items():
        torn = folder / f"at-{nth}-{place.replace(' ', '-')}"
        killed = exit_code(name, torn, nth) == -signal.SIGKILL
        same = exit_code(name, torn, None) == 0 and content(torn) == whole
        same = same and bool((RunRecord.open(torn).matrix() == R).all())
        found.append(Point(place, nth, len(done), done[nth - 1], killed, same))
    return found


def matrix(found: Mapping[str, Sequence[Point]]) -> str:
    """Return points × configurations as a Markdown table."""
    lines = [f"| configuration | {' | '.join(PLACES)} |", "|---" * (len(PLACES) + 1) + "|"]
    for name, row in found.items():
        cells = [_cell(point) for point in row]
        lines.append(f"| {name} (`{CONFIGURATIONS[name][0]}`) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(point: Point) -> str:
    where = f"{point.what.what} {_shown(point.what.path)}".strip()
    verdict = "same bytes" if point.killed and point.same else "DIFFERENT"
    return f"{verdict}: {point.nth} of {point.of}, {where}"


def _shown(path: str) -> str:
    name = Path(path).name
    return f"`{'.'.join(name.split('.')[:3])}`" if name else ""
