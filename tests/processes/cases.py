"""Runs of many kinds, each in a directory of its own: ``python -m tests.processes.cases OUT``."""

import sys
from pathlib import Path

from continual.runs.assemble import run
from continual.scenario import Probe, RowsSource, Scenario
from tests.sequences import small_scenario

TEXT = "The moon rose over the hill and the owls began to call. " * 6
TRAIN = {"batch_size": 7, "checkpoint_steps": 2, "log_steps": 1}
MOON = Probe(name="moon", source=RowsSource(rows=[{"text": TEXT}, {"text": TEXT[:60]}]))
QUICK = {"train": TRAIN, "evaluation": {"batch_size": 3, "probe_window": 16}}
SHARDED = {"backbone": {"shard": True}}
CASES = {
    "nlora": ("nlora", {"train": {**TRAIN, "micro_batch_size": 2}}),
    "curlora": ("curlora", {"train": {**TRAIN, "batch_size": 3, "max_steps": 5}}),
    "replay": ("replay", {"rehearsal": {"size": 5, "per_step": 3}}),
    "ewc": ("lora", {"ewc": {"lam": 50.0, "samples": 5}}),
    "lwf": ("slora", {"lwf": {"lam": 1.0}}),
    "prilora": ("prilora", {}),
    "peft": ("peft:lora", {}),
    "heads": ("lora", {"backbone": {"heads": True}}),
    "early-stop": ("lora", {"train": {**TRAIN, "epochs": 2, "early_stop": 1}}),
}
SHARDABLE = ("nlora", "curlora", "replay", "ewc", "lwf", "prilora", "heads")


def scenario_of(name: str) -> Scenario:
    """Return the tasks of a case; probed where it is a language model's."""
    if name == "heads":
        return small_scenario(2, train=12, test=5, setting="class-incremental", probes=[MOON])
    if name == "early-stop":
        return small_scenario(2, train=16, test=5, validation_fraction=0.25)
    return small_scenario(2, train=12, test=5, probes=[MOON])


def make(name: str, out: Path, more: dict) -> None:
    """Make the run of a case."""
    method, settings = CASES[name]
    settings = {**QUICK, **settings, **more}
    if name == "heads" and more:
        settings["backbone"] = {"heads": True, "shard": True}
    run(scenario_of(name), method, out=out, settings=settings)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for case in CASES:
        make(case, folder / case, {})
    for case in SHARDABLE if "sharded" in sys.argv else ():
        make(case, folder / f"sharded-{case}", SHARDED)
