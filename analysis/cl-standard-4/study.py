"""Methods and controls on the standard continual-learning benchmark, with real texts.

    python analysis/cl-standard-4/study.py minilm --data DATA --backbone DIR --runs RUNS --jobs 2
    python analysis/cl-standard-4/study.py tiny-lm --data DATA --runs RUNS --jobs 2
    python analysis/cl-standard-4/study.py t5-large --runs RUNS            (one GPU, full size)

A configuration is the YAML file of that name beside this one. Learning rates are chosen, for every
order by itself, on the first task's validation split: the lowest rate whose loss is within 0.1 nats
of the best; where that is at the edge of what was tried, the next one is tried, too. Methods that
are LoRA on a first task take LoRA's, and LoRA is also run at every rate that another method has, so
that no method looks better by its rate alone. An interrupted study goes on in RUNS where it
stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from continual import Scenario, load_scenario
from continual.runs.progress import reporter
from continual.scenario import Limit
from continual.studies import LADDER, Grid, StudyError, choose_rates, run_study

HERE = Path(__file__).parent
AS_LORA = ("joint", "per-task", "replay", "ewc", "inclora", "olora")


def scenario_of(config: dict[str, Any], order: str, data: Path | None) -> Scenario:
    """Return the benchmark in one order, as large and with the prompts that the study wants."""
    found = load_scenario("cl-standard-4", order=order, data=data)
    tasks = tuple(
        replace(
            task,
            prompt=config.get("prompt", task.prompt),
            limit=Limit(**config["limit"]) if "limit" in config else task.limit,
        )
        for task in found.tasks
    )
    return replace(found, tasks=tasks, orders={}, probes=found.probes if config["probes"] else ())


def rates_of(config: dict[str, Any], scenario: Scenario, more: dict[str, Any]) -> dict[str, float]:
    """Return the learning rate of every method that learns."""
    tried = {
        method: config["rates"].get(method, config["rates"]["other"])
        for method in config["methods"]
        if method not in (*AS_LORA, "frozen")
    }
    with_settings = {_named(config, method): some for method, some in tried.items()}
    chosen = choose_rates(scenario, with_settings, beyond=LADDER, **more)
    found = {method: chosen[_named(config, method)] for method in tried}
    return found | {m: found["lora"] for m in AS_LORA if m in config["methods"]}


def _named(config: dict[str, Any], method: str) -> str:
    """Return a method with the settings of its own behind it."""
    own = config.get("own", {}).get(method)
    return f"{method}:{own}" if own else method


def main() -> None:
    """Choose the rates and make every run."""
    parser = argparse.ArgumentParser(description="The standard benchmark.")
    parser.add_argument("config", choices=sorted(path.stem for path in HERE.glob("*.yaml")))
    parser.add_argument("--data", type=Path, help="folder of the texts; left out: the hub")
    parser.add_argument("--backbone", help="in the place of the configuration's own")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run directories")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    given = parser.parse_args()
    config = yaml.safe_load((HERE / f"{given.config}.yaml").read_text())
    backbone = given.backbone or config["backbone"]
    tell, out = reporter(quiet=False), given.runs / given.config
    more = {"backbone": backbone, "jobs": given.jobs, "reporter": tell}
    failed: list[str] = []
    for order in config["orders"]:
        scenario = scenario_of(config, order, given.data)
        known = out / "rates" / scenario.tasks[0].name
        rates = rates_of(
            config, scenario, {**more, "settings": config["rate_settings"], "out": known}
        )
        wanted = [(m, rates.get(m)) for m in config["methods"]]
        wanted += [("lora", rate) for rate in sorted(set(rates.values()) - {rates["lora"]})]
        variants = (
            m if rate is None else f"{_named(config, m)}:train.lr={rate!r}" for m, rate in wanted
        )
        grid = Grid(methods=tuple(variants), seeds=tuple(config["seeds"]))
        try:
            run_study(scenario, grid, out=out / order, settings=config["settings"], **more)
        except StudyError as error:  # LoRA may diverge at the rate of another method
            failed.append(f"{order}: {error}")
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
