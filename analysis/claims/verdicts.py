"""What the runs say of every claim: holds, does not hold, or not distinguishable.

    python analysis/claims/verdicts.py PAPER --runs RUNS --out analysis/claims

Differences are paired over seeds, with a bootstrap interval and the exact Wilcoxon signed-rank
test; p-values are adjusted by Holm within what a paper claims. A claim holds where all of its rows
do, and does not where one is significantly the other way round. Learning accuracy is shown beside,
because a method that learns nothing forgets nothing, and below a paper's claims stand all methods
and controls. Writes what it finds of one paper into results.json, which keeps the others, and
verdicts.md of them all.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from continual.metrics import Paired, estimate, holm, paired, scores, words
from continual.metrics.paired import LEVEL
from continual.records import RunRecord

Measure = Callable[[RunRecord], float]
Measured = tuple[str, Measure, bool]  # what, how, and whether more of it is better
Records = dict[str, dict[int, RunRecord]]  # by method, then by seed
Row = dict[str, Any]
SAME_RATE = " at its rate"  # a control: another method at the rate of the claimant
RIVALS = ("inclora", "olora", "inclora" + SAME_RATE, "olora" + SAME_RATE)
SAID = {"better": "holds", "worse": "does not hold"}
UNDECIDED = "not distinguishable"


def score(name: str) -> Measure:
    """Return a score of R as a measure of a run."""
    return lambda record: scores(record.matrix(), record.baseline())[name]


def drift(record: RunRecord) -> float:
    """Return what the probe has lost, in nats per token."""
    (nats,) = record.probes().values()
    return float(nats[-1] - nats[0])


def lost_of_first(record: RunRecord) -> float:
    """Return how much accuracy on the first task the later ones have cost."""
    R = record.matrix()
    return float(R[0, 0] - R[-1, 0])


def first_at_the_end(record: RunRecord) -> float:
    """Return what is left of the first task."""
    return float(record.matrix()[-1, 0])


def first_learned(record: RunRecord) -> float:
    """Return what was learned of the first task."""
    return float(record.matrix()[0, 0])


def collision(name: str) -> Measure:
    """Return the mean of a collision measure over all pairs of tasks."""
    return lambda record: float(
        np.mean([row.value for row in record.score_rows if row.metric == name])
    )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A method beside another by some measure, on some runs.

    Attributes:
        higher: whether more of it is better.
        claimed: whether the paper says that the method is better; else it is shown, not tested.
    """

    runs: str
    what: str
    measure: Measure
    method: str
    other: str
    higher: bool = False
    claimed: bool = True


def beside(
    runs: str,
    method: str,
    others: Sequence[str],
    *claimed: Measured,
    shown: Sequence[Measured] = (),
) -> list[Comparison]:
    """Return a comparison per measure and other method; learning accuracy is always shown, too."""
    rows = [(row, True) for row in claimed] + [(row, False) for row in (*shown, LEARNING)]
    return [
        Comparison(
            runs=runs,
            what=what,
            measure=measure,
            method=method,
            other=other,
            higher=higher,
            claimed=tested,
        )
        for (what, measure, higher), tested in rows
        for other in others
    ]


LEARNING = ("learning accuracy", score("learning_accuracy"), True)
FORGETTING = ("forgetting (chaudhry2018)", score("forgetting.chaudhry2018"), False)
AVERAGE = ("average accuracy at the end", score("average_accuracy"), True)
LEARNED = ("first task when it was learned", first_learned, True)
KEEPS = (
    ("perplexity drift, nats per token", drift, False),
    ("accuracy lost on the first task", lost_of_first, False),
)
FIRST = ("first task at the end", first_at_the_end, True)
COLLIDES = (
    ("collision rate at 1 %", collision("collision_rate"), False),
    ("soft collision", collision("soft_collision"), False),
)
CLAIMS: dict[str, dict[str, list[Comparison]]] = {  # by paper: what it says, and what shows it
    "CURLoRA": {
        "CURLoRA keeps the probe's perplexity and the first task better than LoRA": [
            *beside("glue", "curlora", ("lora",), *KEEPS),
            *beside("pydocs", "curlora", ("lora",), *KEEPS),
        ],
        "... and better than LoRA at a third and a tenth of the rate (control)": [
            *beside("glue", "curlora", ("lora/3", "lora/10"), *KEEPS),
            *beside("pydocs", "curlora", ("lora/3", "lora/10"), *KEEPS),
        ],
        "... and ends with a better first task than heads alone, which forget nothing (control)": [
            *beside("glue", "curlora", ("head-only",), FIRST, shown=(LEARNED,)),
        ],
    },
    "N-LoRA": {
        f"N-LoRA {does} than O-LoRA and IncLoRA": beside("standard", "nlora", RIVALS, *measures)
        for does, measures in (("collides less", COLLIDES), ("forgets less", (FORGETTING,)))
    },
    "S-LoRA": {
        f"S-LoRA beats IncLoRA and O-LoRA on {runs}": beside(
            runs, "slora", RIVALS, AVERAGE, shown=(FORGETTING,)
        )
        for runs in ("digits", "mnist", "omniglot")
    },
}


def read(folder: Path) -> Records:
    """Return finished runs by method and seed, over all orders.

    Other rates than the chosen one are told: joint training has the one that LoRA was given. Where
    the claimant has that one, too, a rival at its rate is the rival.

    Raises:
        SystemExit: an order is not finished, or two runs are the same seed of a method.
    """
    found: Records = {}
    for order in sorted(folder.glob("order-*")):
        records = [RunRecord.open(path.parent) for path in sorted(order.glob("runs/*/COMPLETE"))]
        own = {r.config["train"]["lr"] for r in records if r.method == "joint"}
        if len(own) != 1:
            raise SystemExit(f"{order} has no joint training at one rate; let study.py finish.")
        labels = {_label(record, *own) for record in records}
        for record in records:
            label = _label(record, *own)
            also = f"{label}{SAME_RATE}"
            for name in (label, also) if also in RIVALS and also not in labels else (label,):
                if record.seed in found.setdefault(name, {}):
                    raise SystemExit(f"{order} has two runs of {name}, seed {record.seed}.")
                found[name][record.seed] = record
    return found


def _label(record: RunRecord, own: float) -> str:
    rate = record.config["train"]["lr"]
    if record.method not in ("lora", "inclora", "olora") or rate == own:
        return record.method
    return f"lora/{round(own / rate)}" if record.method == "lora" else record.method + SAME_RATE


def everything(known: Records) -> list[Row]:
    """Return a row of means and intervals per method and control.

    Where the task is known, also of no training at all and of a task's commonest class.
    """
    rows = []
    for method, records in known.items():
        if method.endswith(SAME_RATE) and records == known[method.removesuffix(SAME_RATE)]:
            continue
        own = list(records.values())
        row: Row = {"method": method, "n": len(own)}
        row["rate"] = sorted({r.config["train"]["lr"] for r in own if method != "frozen"})
        for what, measure, _ in (LEARNING, AVERAGE, FORGETTING):
            values = [v for record in own if (v := measure(record)) is not None]
            row[what] = _estimated(values)
        drifts = [drift(record) for record in own if record.probe_names]
        row["perplexity drift, nats per token"] = _estimated(drifts)
        rows.append(row)
    frozen = known["frozen"].values()
    floors = (("before training", RunRecord.baseline), ("majority class", RunRecord.majority))
    alone = all(record.setting == "task-incremental" for record in frozen)
    for name, floor in floors if alone else ():
        value = float(np.mean([floor(record) for record in frozen]))
        rows.append({"method": name, AVERAGE[0]: [value, None]})
    return rows


def nearest(folder: Path) -> list[Row]:
    """Return the row of the class means of an untouched network, where nearest.py made one."""
    path = folder / "nearest.json"
    if not path.exists():
        return []
    mean = float(np.mean(json.loads(path.read_text())))
    return [{"method": "nearest class mean", AVERAGE[0]: [mean, None]}]


def _estimated(values: Sequence[float]) -> list[Any] | None:
    if not values:
        return None
    found = estimate(values)
    return [found.mean, found.interval]


def compared(part: Comparison, known: Records) -> tuple[Row, Paired]:
    """Return a row and the paired difference behind it."""
    seeds = sorted(known.get(part.method, {}))
    if not seeds or seeds != sorted(known.get(part.other, {})):
        there = {method: sorted(own) for method, own in known.items()}
        raise SystemExit(
            f"{part.runs}: {part.method} and {part.other} need finished runs of the same "
            f"seeds; there are {there}. Let study.py finish first."
        )
    mine = [part.measure(known[part.method][seed]) for seed in seeds]
    other = [part.measure(known[part.other][seed]) for seed in seeds]
    found = paired(mine, other)
    row: Row = {"runs": part.runs, "measure": part.what, "n": len(seeds)}
    row |= {"method": part.method, "value": float(np.mean(mine))}
    row |= {"other": part.other, "other_value": float(np.mean(other))}
    row |= {"difference": found.difference.mean, "interval": found.difference.interval}
    return row, found


def verdicts(runs: Path, claims: Mapping[str, Sequence[Comparison]]) -> dict[str, Any]:
    """Return what every claim of a paper comes to, and its rows; Holm over all that are tested."""
    known = {part.runs: read(runs / part.runs) for own in claims.values() for part in own}
    parts = [(claim, part) for claim, own in claims.items() for part in own]
    parts = [(claim, part) for claim, part in parts if _another(part, known[part.runs])]
    rows = [compared(part, known[part.runs]) for _, part in parts]
    tested = [k for k, (_, part) in enumerate(parts) if part.claimed]
    least = max(rows[k][1].least_p for k in tested) * len(tested)
    if least >= LEVEL:
        raise SystemExit(f"so few seeds cannot decide {len(tested)} rows: p is at least {least}.")
    for k, p in zip(tested, holm([rows[k][1].p for k in tested]), strict=True):
        said = words(rows[k][1], p, higher_is_better=parts[k][1].higher).split()[0]
        rows[k][0].update(p=rows[k][1].p, p_holm=p, verdict=SAID.get(said, UNDECIDED))
    said: dict[str, Any] = {}
    for (claim, _), (row, _) in zip(parts, rows, strict=True):
        said.setdefault(claim, {"rows": []})["rows"].append(row)
    for own in said.values():
        own["verdict"] = whole([row["verdict"] for row in own["rows"] if "verdict" in row])
    found = {name: everything(own) + nearest(runs / name) for name, own in known.items()}
    return {"claims": said, "everything": found}


def _another(part: Comparison, known: Records) -> bool:
    """Return whether a rival at the claimant's rate is another one in any order."""
    rival = part.other.removesuffix(SAME_RATE)
    return rival == part.other or known.get(rival) != known.get(part.other)


def whole(parts: Sequence[str]) -> str:
    """Return what rows come to: all must hold, and one that does not is enough against it.

    >>> whole(["holds", "holds"]), whole(["holds", "not distinguishable"])
    ('holds', 'not distinguishable')
    >>> whole(["holds", "does not hold", "not distinguishable"])
    'does not hold'
    """
    if SAID["worse"] in parts:
        return SAID["worse"]
    return SAID["better"] if set(parts) == {SAID["better"]} else UNDECIDED


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a claim's table."""
    lines = [
        "| runs | measure | method | other | difference [95 %] | n | p (Holm) | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval"] or (float("nan"), float("nan"))
        tested = (
            f"{row['p_holm']:.3f} | {row['verdict']}" if "verdict" in row else "– | not claimed"
        )
        lines.append(
            f"| {row['runs']} | {row['measure']} | `{row['method']}` {row['value']:.3f} "
            f"| `{row['other']}` {row['other_value']:.3f} "
            f"| {row['difference']:+.3f} [{low:+.3f}, {high:+.3f}] | {row['n']} | {tested} |"
        )
    return lines


def overview(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a table of all methods of some runs."""
    columns = [c for c in rows[0] if c not in ("method", "n", "rate") and rows[0][c] is not None]
    lines = [f"| method | n | rate | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 3)]
    for row in rows:
        rates = ", ".join(f"{rate:g}" for rate in row.get("rate", ()))
        cells = [_words(row.get(column)) for column in columns]
        lines.append(f"| {row['method']} | {row.get('n', '')} | {rates} | {' | '.join(cells)} |")
    return lines


def _words(found: Sequence[Any] | None) -> str:
    if found is None:
        return "–"
    mean, interval = found
    return f"{mean:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def page(results: Mapping[str, Any]) -> str:
    """Return verdicts.md."""
    lines = []
    for paper, known in results.items():
        lines += [f"## {paper}", ""]
        for claim, found in known["claims"].items():
            lines += [f"**{claim}: {found['verdict']}.**", "", *table(found["rows"]), ""]
        for runs, rows in known["everything"].items():
            lines += [f"All methods on {runs}:", "", *overview(rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description="What the runs say of every claim.")
    parser.add_argument("paper", choices=CLAIMS, help="whose claims are decided")
    parser.add_argument("--runs", type=Path, required=True, help="folder of study.py")
    parser.add_argument("--out", type=Path, required=True, help="where to write")
    given = parser.parse_args()
    path = given.out / "results.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[given.paper] = verdicts(given.runs, CLAIMS[given.paper])
    results = {paper: known[paper] for paper in CLAIMS if paper in known}
    path.write_text(json.dumps(results, indent=1) + "\n")
    (given.out / "verdicts.md").write_text(page(results))


if __name__ == "__main__":
    main()
