"""Our selections and decompositions beside scipy's and scikit-learn's, in one run.

    python analysis/decomposition/bench.py [--quick] [--models DIR] [--out results.json]

Every row is the median of several calls after one that is not counted; the methods take turns, so
that a slow minute of the machine hits all of them. Ratios are to `ours`. Errors are ‖A − Â‖_F
divided by that of the best rank-k matrix, which is known because the test matrices are made from
their singular values.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.fft
import scipy.linalg
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.linalg import interpolative as scipy_id
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from continual.backbone import EMBEDDED
from continual.linalg import cur, layers_of, optimal_error, prepare, svd
from continual.linalg.cur import choose
from continual.linalg.ranges import thin_qr

SHAPES = ((1024, 1024), (2048, 2048), (4096, 1024), (4096, 4096))
RANKS = (16, 64)
BUDGET = 3.0  # seconds after which a method has no more repeats than the fewest
MOST, FEWEST = 9, 2  # repeats, beside the first call that is not counted
PATIENCE = 2**23  # numbers above which full pivoted QR, which knows no rank, is timed at one rank


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one matrix."""

    matrix: str
    dtype: str
    rank: int
    threads: int
    task: str
    method: str
    milliseconds: float
    ratio: float  # to our method of the same task
    error: float | None  # relative to the optimum


def slowly_decaying(m: int, n: int, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix with singular values i^-1/2 and mixed singular vectors, and those values."""
    rng = np.random.default_rng(seed)
    k = min(m, n)
    values = np.arange(1.0, k + 1) ** -0.5
    core = np.zeros((m, n))
    core[np.arange(k), np.arange(k)] = values
    left, right = rng.choice([-1.0, 1.0], m), rng.choice([-1.0, 1.0], n)
    mixed = scipy.fft.dct(scipy.fft.dct(core, axis=0, norm="ortho"), axis=1, norm="ortho")
    mixed = mixed * left[:, None] * right[None, :]
    mixed = scipy.fft.dct(scipy.fft.dct(mixed, axis=0, norm="ortho"), axis=1, norm="ortho")
    return np.ascontiguousarray(mixed.astype(dtype)), values


def cur_error(A: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> float:
    """Return ‖A − C U R‖_F with the best core for a choice."""
    Q_c, Q_r = thin_qr(A[:, columns])[0], thin_qr(A[rows].T)[0]
    return float(np.linalg.norm(A - Q_c @ (Q_c.T @ A @ Q_r) @ Q_r.T))


def low_rank_error(A: np.ndarray, U: np.ndarray, s: np.ndarray, Vt: np.ndarray) -> float:
    """Return ‖A − U diag(s) Vt‖_F."""
    return float(np.linalg.norm(A - (U * s) @ Vt))


def pivoted(A: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose by full pivoted QR: columns of A, then rows of those."""
    columns = scipy.linalg.qr(A, mode="r", pivoting=True, check_finite=False)[1][:k]
    rows = scipy.linalg.qr(A[:, columns].T, mode="r", pivoting=True, check_finite=False)[1][:k]
    return columns, rows


def scipys(A: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose by scipy's interpolative decomposition: columns of A, then rows of those."""
    columns = scipy_id.interp_decomp(A, k, rand=True, rng=np.random.default_rng(0))[0][:k]
    rows = scipy_id.interp_decomp(np.ascontiguousarray(A[:, columns].T), k, rand=False)[0][:k]
    return columns, rows


def selections(A: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    """Return what chooses k columns and k rows."""
    found: dict[str, Callable[[], Any]] = {
        "ours": lambda: choose(prepare(A), k, k, "sketch_lupp", 0),
    }
    if A.size <= PATIENCE or k == max(RANKS):
        found["scipy qr, pivoting"] = lambda: pivoted(A, k)
    if A.dtype == np.float64:  # scipy's takes nothing else
        found["scipy interpolative"] = lambda: scipys(A, k)
    return found


def decompositions(A: np.ndarray, k: int) -> dict[str, Callable[[], Any]]:
    """Return what finds k singular triplets; power iterations as sklearn's defaults at q = 4."""
    from sklearn.utils.extmath import randomized_svd

    def ours(power: int) -> Callable[[], Any]:
        def call() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            found = svd(A, k, method="randomized", power=power, diagnose=False)
            return found.U, found.s, found.Vt

        return call

    return {
        "ours": ours(2),
        "ours, q = 4": ours(4),
        "sklearn randomized_svd, q = 2": lambda: randomized_svd(A, k, n_iter=2, random_state=0),
        "sklearn randomized_svd, auto": lambda: randomized_svd(A, k, random_state=0),
        "scipy svds": lambda: svds(A, k=k, v0=np.ones(min(A.shape), A.dtype)),
    }


def timed(calls: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, Any]]:
    """Return the median seconds and the last result of every call, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for turn in range(MOST + 1):
        for name, call in calls.items():
            if turn > FEWEST and sum(seconds[name]) > BUDGET:
                continue
            began = time.perf_counter()
            results[name] = call()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: (median(seconds[name]), results[name]) for name in calls}


def compare(A: np.ndarray, name: str, k: int, optimum: float, threads: int) -> Iterator[Row]:
    """Yield the rows of one matrix and rank."""
    tasks = {"choose columns and rows": selections(A, k), "singular triplets": decompositions(A, k)}
    for task, calls in tasks.items():
        with threadpool_limits(threads):
            found = timed(calls)
        for method, (seconds, result) in found.items():
            if task == "choose columns and rows":
                error = cur_error(A, *result)
            else:
                error = low_rank_error(A, *result)
            yield Row(
                matrix=name,
                dtype=str(A.dtype),
                rank=k,
                threads=threads,
                task=task,
                method=method,
                milliseconds=round(1000 * seconds, 2),
                ratio=round(seconds / found["ours"][0], 2),
                error=round(error / optimum, 4) if optimum else None,
            )
    with threadpool_limits(threads):
        whole = timed({"ours": lambda: cur(A, k, diagnose=False)})["ours"]
    yield Row(
        matrix=name,
        dtype=str(A.dtype),
        rank=k,
        threads=threads,
        task="CUR with optimal core",
        method="ours",
        milliseconds=round(1000 * whole[0], 2),
        ratio=1.0,
        error=round(whole[1].error_fro / optimum, 4) if optimum else None,
    )


def cases(quick: bool, models: Path | None) -> Iterator[tuple[str, np.ndarray, int, float]]:
    """Yield name, matrix, rank and least possible error."""
    for m, n in SHAPES[: 2 if quick else None]:
        for dtype in ("float32", "float64"):
            A, values = slowly_decaying(m, n, dtype)
            for k in RANKS:
                yield f"{m} × {n}", A, k, float(np.linalg.norm(values[k:]))
    folders = [EMBEDDED["tiny-lm"]]
    folders += sorted({p.parent for p in models.rglob("*.safetensors")}) if models else []
    for folder in folders:
        shapes = {layer.shape: layer for layer in layers_of(folder) if min(layer.shape) > RANKS[0]}
        for layer in shapes.values():  # one of every shape
            A = layer.operand().dense()
            yield f"{folder.name}: {layer.name}", A, RANKS[0], optimal_error(A, RANKS[0])


def show(rows: list[Row], console: Console) -> None:
    """Print one table per task."""
    for task in dict.fromkeys(row.task for row in rows):
        table = Table(title=task, title_justify="left")
        columns = ("matrix", "dtype", "rank", "threads", "method", "ms", "× ours", "error / least")
        for column in columns:
            table.add_column(column, justify="left" if column in ("matrix", "method") else "right")
        for row in rows:
            if row.task == task:
                error = "" if row.error is None else f"{row.error:.4f}"
                table.add_row(
                    *(row.matrix, row.dtype, str(row.rank), str(row.threads), row.method),
                    *(f"{row.milliseconds:.1f}", f"{row.ratio:.2f}", error),
                )
        console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only up to 2048 × 2048")
    parser.add_argument("--models", type=Path, help="a folder of saved models to take weights from")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    given = parser.parse_args()
    console = Console(width=150)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    every = sorted({1, os.cpu_count() or 1})
    for name, A, k, optimum in track(list(cases(given.quick, given.models)), "matrices"):
        for threads in every:
            rows += compare(A, name, k, optimum, threads)
        if given.out:  # after every matrix, so that a run that is stopped has measured something
            given.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    show(rows, console)


if __name__ == "__main__":
    main()
