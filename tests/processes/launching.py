"""Starting a module in several processes, as a launcher does, with or without one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from tests.sequences import TOPICS, rows

ROOT = Path(__file__).parents[2]
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--nproc-per-node"],
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--num_processes"],
}


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which this package is found and every process has one thread."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def launch(
    launcher: str, module: str, *arguments: str, cwd: Path, count: int = 2
) -> subprocess.CompletedProcess[str]:
    """Run a module under a launcher to its end."""
    port = ["--master-port" if launcher == "torchrun" else "--main_process_port", str(free_port())]
    command = [sys.executable, "-m", *LAUNCHERS[launcher], str(count), *port, "-m", module]
    return subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )


def start(module: str, *arguments: str, cwd: Path, count: int = 2) -> list[subprocess.Popen[str]]:
    """Start the processes of one command by hand: nobody ends the others when one is lost."""
    port = str(free_port())
    return [
        subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=cwd,
            env=environment(
                RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=port
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def write_scenario(folder: Path) -> None:
    """Write ``s.yaml``, two tasks of 12 steps each, and its data."""
    tasks = []
    for topic in ("weather", "food"):
        for split, count, offset in (("train", 32, 0), ("test", 16, 1000)):
            lines = [json.dumps(row) for row in rows(topic, count, offset)]
            (folder / f"{topic}-{split}.jsonl").write_text("\n".join(lines))
        tasks.append(
            {
                "name": topic,
                "kind": "text-classification",
                "train": {"file": f"{topic}-train.jsonl"},
                "test": {"file": f"{topic}-test.jsonl"},
                "labels": sorted(TOPICS[topic]),
            }
        )
    train = {"batch_size": 8, "epochs": 3, "checkpoint_steps": 2}
    described = {
        "name": "killed",
        "setting": "task-incremental",
        "defaults": {"backbone": "tiny-lm", "train": train},
        "tasks": tasks,
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(described))


def events_in(folder: Path) -> int:
    """Count what a run has reported so far."""
    path = folder / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
