"""The runs behind the claims of three papers, with the controls that each claim needs.

    python analysis/claims/prepare.py --raw RAW --out DATA
    python analysis/claims/study.py vision   --data DATA/vision --runs RUNS --jobs 2
    python analysis/claims/nearest.py        --data DATA/vision --runs RUNS
    python analysis/claims/study.py glue     --data DATA/glue --runs RUNS --jobs 2
    python analysis/claims/study.py pydocs   --runs RUNS --jobs 2
    python analysis/claims/study.py standard --data TEXTS --backbone WEIGHTS --runs RUNS --jobs 2
    python analysis/claims/verdicts.py PAPER --runs RUNS --out analysis/claims

`vision` learns scikit-learn's digits and MNIST two digits at a time, and 136 Omniglot characters in
eight tasks, class-incrementally, in three orders of the classes (S-LoRA's claim). `glue` learns
MRPC, SST-2 and Sentiment140 under heads of a small language model, and watches WikiText-2, and
`pydocs` learns the first three tasks of that sequence, which a model of this size can learn, and so
forget (CURLoRA's claim). `standard` learns order 1 of cl-standard-4 under heads (N-LoRA's claim);
TEXTS is the folder of its data, WEIGHTS that of all-MiniLM-L6-v2.

Learning rates are chosen on the validation split of an order's first task, seed 0: the lowest whose
loss is within 0.1 nats of the best, or 0.02 where there are two classes, between which guessing
costs but 0.69; where that is at the edge of what was tried, the next one is tried, too. The weights
of N-LoRA's and O-LoRA's penalties are chosen afterwards by the loss on the validation splits of the
first two tasks, once both are learned. Controls for the rate: for CURLoRA's claim LoRA also at a
third and a tenth of its own; for the others IncLoRA and O-LoRA also at the rate of the method that
is claimed to beat them, where that is another. Ten seeds: with n of them no p is below 2^(1-n), and
Holm multiplies it by the 13 comparisons of the largest family; three of the controls that no claim
compares with, where runs take a minute. An interrupted study goes on in RUNS where it stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pyarrow.parquet as pq

from continual import Scenario, Task, load_scenario, split_by_class
from continual.runs.progress import reporter
from continual.scenario import FileSource, Limit, held_out
from continual.studies import LADDER, Grid, choose_rates, run_study
from continual.studies.choose import MARGIN

SEEDS = tuple(range(10))
FEW = 3  # seeds of controls, where runs take a minute
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
OWN_RATES = {"curlora": (1e-2, 3e-2, 1e-1, 3e-1), "head-only": (1e-3, 3e-3, 1e-2, 3e-2)}
AS_LORA = ("joint", "per-task", "inclora", "olora")  # LoRA to the last bit on a first task
LOW = (1 / 3, 1 / 10)  # of LoRA's rate, for the control that learns as little
LONG = ("glue", "pydocs", "standard")
MARGINS = {"glue": 0.02}  # nats, in the place of the usual 0.1
WEIGHTS = {"nlora": (0.5, 5.0, 50.0), "olora": (0.5, 5.0, 50.0)}  # of penalties, for `standard`
ORDERS = 3  # of the classes; seeds are divided among them


Part = dict[str, tuple[Scenario, dict[str, Any], tuple[int, ...]]]


def characters(folder: Path, tasks: int, limit: Limit, order: int) -> Scenario:
    """Return a folder of labelled pictures as a class-incremental sequence in some order."""
    names = set(pq.read_table(folder / "train.parquet", columns=["label"])["label"].to_pylist())
    whole = Task(
        name=folder.name,
        kind="image-classification",
        train=FileSource(file=str(folder / "train.parquet")),
        test=FileSource(file=str(folder / "test.parquet")),
        labels=tuple(sorted(names)),
        limit=limit,
    )
    return Scenario(
        name=f"split-{folder.name}",
        tasks=split_by_class(whole, tasks, seed=order),
        setting="class-incremental",
        defaults={"backbone": "tiny-vit"},
    )


def digits(order: int) -> Scenario:
    """Return scikit-learn's digits, two of them at a time, in some order."""
    found = load_scenario("split-digits")
    whole = replace(found.tasks[0], name="digits", classes=None)
    return replace(found, tasks=split_by_class(whole, 5, seed=order), orders={})


def vision(data: Path | None) -> Part:
    """Return the three sequences of pictures in every order, their settings and seeds."""
    assert data is not None
    found: Part = {}
    for order in range(ORDERS):
        common, seeds = {"evaluation": {"policy": "lower"}}, SEEDS[order::ORDERS]
        mnist = characters(data / "mnist", 5, Limit(train=640, test=300), order)
        omniglot = characters(data / "omniglot", 8, Limit(), order)
        found |= {
            f"digits/order-{order}": (digits(order), common, seeds),
            f"mnist/order-{order}": (
                mnist,
                common | {"train": {"epochs": 4, "batch_size": 32}},
                seeds,
            ),
            f"omniglot/order-{order}": (
                omniglot,
                common | {"train": {"epochs": 15, "batch_size": 32}},
                seeds,
            ),
        }
    return found


def glue(data: Path | None) -> Part:
    """Return the CURLoRA paper's sequence under heads."""
    found = load_scenario("curlora-glue", data=data)
    limit = Limit(train=600, validation=100, test=300)
    probes = tuple(replace(probe, limit=60) for probe in found.probes)
    tasks = tuple(replace(task, limit=limit) for task in found.tasks)
    settings = {
        "train": {"epochs": 1, "batch_size": 16, "micro_batch_size": 16},
        "method": {"targets": "all-linear"},
        "backbone": {"heads": True, "max_length": 64},
        "evaluation": {"policy": "lower", "batch_size": 50},
    }
    return {"glue/order-0": (replace(found, tasks=tasks, probes=probes), settings, SEEDS)}


def pydocs(data: Path | None) -> Part:
    """Return three tasks of a sequence that comes with the library; no data is needed."""
    del data
    found = load_scenario("pydocs")
    three = replace(found, tasks=found.tasks[:3], orders={})
    return {"pydocs/order-0": (three, {"evaluation": {"policy": "lower"}}, SEEDS)}


def standard(data: Path | None) -> Part:
    """Return order 1 of the standard benchmark under heads."""
    found = load_scenario("cl-standard-4", order="order-1", data=data)
    limit = Limit(train=400, validation=90, test=120)
    tasks = tuple(replace(task, limit=limit, prompt="{text}") for task in found.tasks)
    settings = {
        "train": {"epochs": 1, "batch_size": 16, "micro_batch_size": 16},
        "backbone": {"heads": True, "max_length": 32},
        "evaluation": {"policy": "lower", "batch_size": 60},
    }
    return {
        "standard/order-0": (replace(found, tasks=tasks, orders={}, probes=()), settings, SEEDS)
    }


CONTROLS = ("frozen", "joint", "per-task")
PARTS = {  # sequences, controls that no claim compares with, methods that claims compare
    "vision": (vision, (*CONTROLS, "head-only", "lora"), ("inclora", "olora", "slora")),
    "glue": (glue, CONTROLS, ("head-only", "lora", "curlora")),
    "pydocs": (pydocs, CONTROLS, ("lora", "curlora")),
    "standard": (standard, (*CONTROLS, "head-only", "lora"), ("inclora", "olora", "nlora")),
}


def rates_of(part: str, scenario: Scenario, out: Path, more: dict[str, Any]) -> dict[str, float]:
    """Return the learning rate of every method that learns."""
    _, controls, compared = PARTS[part]
    methods = (*controls, *compared)
    tried = {m: OWN_RATES.get(m, RATES) for m in methods if m not in (*AS_LORA, "frozen")}
    margin = MARGINS.get(part, MARGIN)
    rates = choose_rates(scenario, tried, beyond=LADDER, margin=margin, out=out, **more)
    return rates | {m: rates["lora"] for m in AS_LORA if m in methods}


def weights_of(
    scenario: Scenario, rates: dict[str, float], out: Path, more: dict[str, Any]
) -> dict[str, float]:
    """Return the penalties' weights after two tasks, by the mean loss on both."""
    tried = {
        f"{method}:train.lr={rates[method]!r}:method.lam={weight!r}": (method, weight)
        for method, some in WEIGHTS.items()
        for weight in some
    }
    grid = Grid(methods=tuple(tried), seeds=SEEDS[:1])
    records = run_study(held_out(scenario, 2), grid, out=out, **more)
    nats: dict[str, dict[float, float]] = {method: {} for method in WEIGHTS}
    for (method, weight), record in zip(tried.values(), records, strict=True):
        last = [row for row in record.score_rows if row.experience == 1]
        nats[method][weight] = mean(r.value for r in last if r.metric == "nats_per_token")
    return {method: min(own, key=own.__getitem__) for method, own in nats.items()}


def variants(
    part: str, rates: dict[str, float], weights: dict[str, float] | None = None
) -> tuple[str, ...]:
    """Return every method of a part with its settings, and the controls at other rates."""
    _, controls, compared = PARTS[part]
    methods = (*controls, *compared)
    wanted = [(m, rates.get(m)) for m in methods]
    if "curlora" in methods:
        wanted += [("lora", float(f"{rates['lora'] * share:.2g}")) for share in LOW]
    elif (own := rates[compared[-1]]) != rates["inclora"]:
        wanted += [("inclora", own), ("olora", own)]
    found = []
    for method, rate in wanted:
        settings = [] if rate is None else [f"train.lr={rate!r}"]
        settings += [f"method.lam={weights[method]!r}"] if weights and method in weights else []
        found.append(":".join([method, *settings]))
    return tuple(found)


def main() -> None:
    """Choose the rates and make the runs of one part."""
    parser = argparse.ArgumentParser(description="The runs behind the claims.")
    parser.add_argument("part", choices=sorted(PARTS))
    parser.add_argument("--data", type=Path, help="folder of its data; pydocs needs none")
    parser.add_argument("--backbone", default=None, help="a model for texts, for glue and standard")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the run directories")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    given = parser.parse_args()
    sequences, controls, _ = PARTS[given.part]
    if given.data is None and given.part != "pydocs":
        parser.error(f"{given.part} needs --data, the folder of its data.")
    backbone = given.backbone or ("tiny-lm" if given.part != "vision" else "tiny-vit")
    for name, (scenario, settings, seeds) in sequences(given.data).items():
        more = {"backbone": backbone, "settings": settings, "jobs": given.jobs}
        more["reporter"] = reporter(quiet=False)
        out = given.runs / name
        rates = rates_of(given.part, scenario, out / "rates", more)
        weights = None
        if given.part == "standard":
            weights = weights_of(scenario, rates, out / "weights", more)
        names = variants(given.part, rates, weights)
        few = [v for v in names if given.part in LONG and v.split(":")[0] in controls]
        grids = [Grid(methods=tuple(v for v in names if v not in few), seeds=seeds)]
        grids += [Grid(methods=tuple(few), seeds=seeds[:FEW])] if few else []
        for grid in grids:
            run_study(scenario, grid, out=out / "runs", **more)


if __name__ == "__main__":
    main()
