"""What a run costs as tasks pile up, as texts get longer, and as the model grows.

    python analysis/growth/study.py --out analysis/growth

One run of 64 tasks for each of some methods: the time between optimiser steps, the seconds of every
experience as the run itself records them, the memory that the process holds after it, and the disk
that its directory takes. Then two tasks each at several lengths of text and widths of model. Every
run has a process of its own, which first makes a small run that is thrown away. One thread;
growth.json, growth.png and table.md are written.

Seconds outside evaluation hold everything but it: the steps, beginning the task, and what is saved.
Seconds of evaluation hold the saving of adapters and the comparison of the new task's change of the
weights with every earlier one's.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import matplotlib
import numpy as np
import torch

from continual._torchvision import ensure_torchvision

ensure_torchvision()  # before transformers looks for it
import transformers  # noqa: E402
from rich.progress import track  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from continual import run  # noqa: E402
from continual.records import RunRecord  # noqa: E402
from continual.runs.progress import Reporter  # noqa: E402
from continual.scenario import RowsSource, Scenario, Task  # noqa: E402

METHODS = ("lora", "per-task", "inclora", "nlora", "slora", "curlora")
POLICIES = ({"policy": "lower"}, {"policy": "lower", "every": 8})
TASKS, STEPS, TEXTS, TESTS, BATCH = 64, 20, 40, 16, 8
LENGTHS, WIDTHS = (16, 32, 64, 128, 256), (64, 128, 256, 512)
WORDS = 1000
MARKS = (1, 2, 4, 8, 16, 32, 64)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


class Watch(Reporter):
    """Notes the pace of every experience, and what the process holds when it has ended."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []
        self.ms_per_step: list[float] = []
        self._stamps: list[float] = []

    def note(self, text: str) -> None:
        """Nothing is shown."""

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Look at memory and at the steps where a run says that an experience is over."""
        if done:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.megabytes.append(round(pages * 4096 / 2**20, 1))
            self.ms_per_step.append(round(1000 * float(np.median(np.diff(self._stamps))), 2))
        self._stamps = []

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """There is no study."""

    def step(self, what: str, done: int, total: int) -> None:
        """Look at the clock where a step of training is made."""
        if ": learning" in what:
            self._stamps.append(perf_counter())

    def close(self) -> None:
        """Nothing was opened."""


def backbone(root: Path, width: int) -> str:
    """Save a random Llama of two layers with one token per word; return its folder."""
    folder = root / f"llama-{width}"
    if not folder.exists():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=WORDS + 3,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        words = ["<pad>", "<s>", "</s>", *(f"w{k}" for k in range(WORDS))]
        inner = Tokenizer(models.WordLevel({w: k for k, w in enumerate(words)}, unk_token="<pad>"))
        inner.pre_tokenizer = pre_tokenizers.Whitespace()
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
        ).save_pretrained(folder)
    return str(folder)


def sequence(tasks: int, length: int) -> Scenario:
    """Return tasks of running text, whose words are drawn at random."""

    def rows(seed: int, count: int) -> RowsSource:
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, WORDS, (count, length))
        return RowsSource(rows=[{"text": " ".join(f"w{k}" for k in row)} for row in drawn])

    return Scenario(
        name="growth",
        setting="task-incremental",
        tasks=tuple(
            Task(
                name=f"task-{k:02d}",
                kind="language-modeling",
                train=rows(2 * k, TEXTS),
                validation=rows(10_000 + k, 4),
                test=rows(2 * k + 1, TESTS),
            )
            for k in range(tasks)
        ),
    )


def settings(length: int, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return what all runs have in common."""
    train = {"batch_size": BATCH, "micro_batch_size": BATCH, "epochs": STEPS, "max_steps": STEPS}
    return {
        "train": train,
        "evaluation": evaluation,
        "backbone": {"max_length": length + 1},
    }


def by_experience(record: RunRecord, watch: Watch) -> dict[str, Any]:
    """Return what every experience has cost."""
    spent = [e for e in record.events() if "training_seconds" in e and e["experience"] >= 0]
    return {
        "ms_per_step": watch.ms_per_step,
        "training_seconds": [round(e["training_seconds"], 3) for e in spent],
        "evaluation_seconds": [round(e["evaluation_seconds"], 3) for e in spent],
        "stored_numbers": [e["stored_numbers"] for e in spent],
        "memory_megabytes": watch.megabytes,
        "disk_megabytes": disk(record.path),
    }


def disk(folder: Path) -> float:
    """Return the megabytes of a folder's files."""
    return round(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6, 2)


def one(method: str, evaluation: dict[str, Any], tasks: int, length: int, width: int) -> Any:
    """Make one run, after a small one that is thrown away, and return what it has cost."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, count in (("first", 2), ("run", tasks)):
            watch = Watch()
            record = run(
                sequence(count, length),
                method,
                out=root / name,
                backbone=backbone(root, width),
                settings=settings(length, evaluation),
                reporter=watch,
            )
        return by_experience(record, watch)


def measured() -> dict[str, Any]:
    """Make all runs, each in a process of its own."""
    found: dict[str, Any] = {"tasks": {}, "tokens": {}, "width": {}}
    plans = [(m, p) for m in METHODS for p in (POLICIES if m == "lora" else POLICIES[:1])]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for method, evaluation in track(plans, "runs of 64 tasks"):
            name = f"{method}, every {evaluation['every']}th" if "every" in evaluation else method
            done = pool.submit(one, method, evaluation, TASKS, 32, WIDTHS[0])
            found["tasks"][name] = done.result()
        for axis, values in (("tokens", LENGTHS), ("width", WIDTHS)):
            for value in track(values, f"runs by {axis}"):
                length, width = (value, WIDTHS[0]) if axis == "tokens" else (32, value)
                own = pool.submit(one, "lora", POLICIES[0], 2, length, width).result()
                found[axis][str(value)] = {"ms_per_step": own["ms_per_step"][1]}
    return found


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw cost against the number of tasks, and against length and width."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(15, 8), layout="constrained")
    wanted = {
        "ms_per_step": "training, ms per step",
        "training_seconds": "an experience but its evaluation, s",
        "evaluation_seconds": "evaluation after an experience, s",
        "memory_megabytes": "resident memory, MB",
    }
    for axes, (key, title) in zip(panels.flat, wanted.items(), strict=False):
        for k, (name, values) in enumerate(found["tasks"].items()):
            style = "--" if "every" in name else "-"
            colour = COLOURS[k % len(COLOURS)]
            axes.plot(range(1, TASKS + 1), values[key], style, label=name, color=colour, lw=1.3)
        axes.set(xlabel="tasks so far", title=title, ylim=(0, None))
    panels.flat[0].legend(fontsize=8, frameon=False)
    for axes, axis, title in zip(
        panels.flat[4:], ("tokens", "width"), ("tokens per text", "width of the model"), strict=True
    ):
        values = [one["ms_per_step"] for one in found[axis].values()]
        axes.plot([int(key) for key in found[axis]], values, "o-", color=COLOURS[0])
        axes.set(xlabel=title, title="training, ms per step (lora)", ylim=(0, None))
    for axes in panels.flat:
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


def table(found: dict[str, Any]) -> str:
    """Return ms per step at some numbers of tasks as Markdown; medians over the last quarter."""
    lines = [
        "| method | "
        + " | ".join(f"{n} tasks" for n in MARKS)
        + " | memory at 1 → 64, MB | stored numbers at 1 → 64 | disk, MB |",
        "|" + "---|" * (len(MARKS) + 4),
    ]
    for name, values in found["tasks"].items():
        steps = [_around(values["ms_per_step"], n) for n in MARKS]
        memory = values["memory_megabytes"]
        cells = [f"{value:.1f}" for value in steps]
        stored = values["stored_numbers"]
        cells += [f"{memory[0]:.0f} → {memory[-1]:.0f}", f"{stored[0]:,} → {stored[-1]:,}"]
        cells += [f"{values['disk_megabytes']:.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _around(values: Sequence[float], n: int) -> float:
    """Return the median of the quarter of the run up to ``n`` tasks."""
    return float(np.median(values[min(n - 1, 3 * n // 4) : n]))


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description="What grows with what.")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    given = parser.parse_args()
    found = measured()
    (given.out / "growth.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / "table.md").write_text(table(found))
    draw(found, given.out / "growth.png")


if __name__ == "__main__":
    main()
