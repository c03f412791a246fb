"""How the time of our decompositions grows with m n and with k, and how near it is to the floor.

    python analysis/decomposition/scaling.py --out analysis/decomposition

The floor is the time to read the matrix from memory once, by the bandwidth that a matrix-vector
product reaches in the same run. Medians of 7 calls after one that is not counted, float32, one
thread. Writes scaling.json and scaling.png.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np
from rich.progress import track
from threadpoolctl import threadpool_limits

from continual.linalg import cur, prepare, svd
from continual.linalg.cur import choose

SIDES = (256, 512, 1024, 2048, 4096)
RANKS = (8, 16, 32, 64, 128, 256)
SIDE, RANK = 2048, 64  # what stays while the other grows
REPEATS = 7
CALLS: dict[str, Callable[[np.ndarray, int], Any]] = {
    "choose (sketch_lupp)": lambda A, k: choose(prepare(A), k, k, "sketch_lupp", 0),
    "CUR, optimal core": lambda A, k: cur(A, k, diagnose=False),
    "SVD, randomised": lambda A, k: svd(A, k, method="randomized", diagnose=False),
}


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the median seconds of several calls after the first."""
    taken = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return median(taken[1:])


def measure() -> dict[str, Any]:
    """Return seconds by method, over side and over rank, and bytes per second of memory."""
    rng = np.random.default_rng(0)
    large = rng.standard_normal((8192, 4096), dtype=np.float32)
    vector = np.ones(4096, dtype=np.float32)
    bandwidth = large.nbytes / seconds_of(lambda: large @ vector)
    matrices = {side: rng.standard_normal((side, side), dtype=np.float32) for side in SIDES}
    over_side: dict[str, list[float]] = {name: [] for name in CALLS}
    over_rank: dict[str, list[float]] = {name: [] for name in CALLS}
    for name, call in track(list(CALLS.items()), "methods"):
        for side in SIDES:
            over_side[name].append(seconds_of(lambda c=call, s=side: c(matrices[s], RANK)))
        for k in RANKS:
            over_rank[name].append(seconds_of(lambda c=call, k=k: c(matrices[SIDE], k)))
    return {
        "bytes_per_second": bandwidth,
        "sides": SIDES,
        "ranks": RANKS,
        "seconds_over_side": over_side,
        "seconds_over_rank": over_rank,
    }


def slope(x: list[float], seconds: list[float]) -> float:
    """Return the exponent of a power law fitted to the last three points."""
    return float(np.polyfit(np.log(x[-3:]), np.log(seconds[-3:]), 1)[0])


def draw(found: dict[str, Any], out: Path) -> None:
    """Draw both curves with the floor."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    sizes = [side**2 for side in found["sides"]]
    for name in CALLS:
        left.plot(sizes, found["seconds_over_side"][name], "o-", label=name)
        right.plot(found["ranks"], found["seconds_over_rank"][name], "o-", label=name)
    floor = [4 * size / found["bytes_per_second"] for size in sizes]
    left.plot(sizes, floor, "k--", label="reading A once")
    right.axhline(4 * SIDE**2 / found["bytes_per_second"], color="k", ls="--")
    left.set(xscale="log", yscale="log", xlabel="m n (square, float32)", ylabel="seconds")
    left.set_title(f"rank {RANK}")
    right.set(xscale="log", xlabel="rank k")
    right.set_title(f"{SIDE} × {SIDE}")
    left.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=130)


def main() -> None:
    """Measure, print the exponents, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    given = parser.parse_args()
    with threadpool_limits(1):
        found = measure()
    for name in CALLS:
        size = slope([side**2 for side in SIDES], found["seconds_over_side"][name])
        rank = slope(list(RANKS), found["seconds_over_rank"][name])
        last = found["seconds_over_side"][name][-1]
        floor = 4 * SIDES[-1] ** 2 / found["bytes_per_second"]
        print(f"{name}: (m n)^{size:.2f}, k^{rank:.2f}, {last / floor:.1f} × the floor at 4096²")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "scaling.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, given.out / "scaling.png")


if __name__ == "__main__":
    main()
