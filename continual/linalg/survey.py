"""Decompose every layer of a checkpoint: in parallel, with one BLAS thread each.

A layer's seed is a pure function of (seed, name), so neither the order of visits nor the number of
workers changes what is computed. No more layers are in memory than there are workers.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from continual.errors import InputError, unknown
from continual.linalg.cache import Cache
from continual.linalg.checkpoints import Held, Layer
from continual.linalg.cur import CUR, cur
from continual.linalg.draws import stream
from continual.linalg.operand import prepare
from continual.linalg.ranges import check_natural
from continual.linalg.select import POLICIES
from continual.linalg.subspaces import effective_rank
from continual.linalg.svd import METHODS, SVD, converged, svd

KINDS: tuple[str, ...] = ("cur", "svd")
_ONE_SURVEY = threading.Lock()  # the BLAS limit belongs to the process, so surveys take turns


@dataclass(frozen=True, kw_only=True, eq=False)
class Surveyed:
    """One decomposed layer.

    Attributes:
        layer: its name.
        shape: (m, n).
        rank: that was kept.
        method: that kept it.
        seconds: that the decomposition itself took, when it was computed.
        norm_fro: ‖A‖_F.
        stable_rank: ‖A‖²_F / ‖A‖₂².
        effective_rank: of the singular values kept, where they are known (svd); else None.
        error_fro: ‖A − Â‖_F.
        optimal_error_fro: the least at this rank.
        factors: what multiplies to Â, by name; for CUR also the indices.
    """

    layer: str
    shape: tuple[int, int]
    rank: int
    method: str
    seconds: float
    norm_fro: float
    stable_rank: float
    effective_rank: float | None
    error_fro: float
    optimal_error_fro: float
    factors: dict[str, np.ndarray]

    def facts(self) -> dict[str, Any]:
        """Return everything but the factors, as JSON takes it."""
        return {name: value for name, value in vars(self).items() if name != "factors"}


@dataclass(frozen=True, kw_only=True)
class Least:
    """What no approximation of a rank can beat.

    Attributes:
        error_fro: the least ‖A − Â‖_F.
        largest: ‖A‖₂.
    """

    error_fro: float
    largest: float


def least(matrix: object, rank: int, *, seed: int = 0) -> Least:
    """Return the least error at a rank, from exact or Lanczos singular values.

    Raises:
        InputError: rank out of range, unusable matrix.
    """
    operand = prepare(matrix)
    found = svd(operand, rank, method=converged(operand, rank), seed=seed, diagnose=False)
    return Least(error_fro=found.error_fro, largest=float(found.s[0]))


def survey(
    layers: Sequence[Layer | Held],
    *,
    kind: str,
    rank: int,
    policy: str = "sketch_lupp",
    method: str = "auto",
    seed: int = 0,
    workers: int | None = None,
    cache: Cache | None = None,
    done: Callable[[Surveyed], None] = lambda _: None,
) -> list[Surveyed]:
    """Decompose layers, and return what was found in their order.

    Args:
        layers: of a checkpoint, see ``layers_of``, or in memory, see ``held``.
        kind: "cur" or "svd".
        rank: to keep; every layer must have room for it.
        policy: of cur's choice, see ``select``.
        method: of svd, see there.
        seed: from which every layer's own is made.
        workers: layers at once; as many as there are cores by default.
        cache: where results are kept; None keeps none.
        done: called with each result as soon as it is there, from the worker's thread.

    Raises:
        InputError: no layers, unknown kind, policy or method, a rank that a layer has no room for;
            nothing was decomposed then. A layer that holds NaN.
    """
    check_choices(kind, policy, method)
    check_natural("seed", seed)
    if not layers:
        raise InputError("there is no layer to decompose; give at least one.")
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise InputError(f"the rank must be an integer; got {rank!r}.")
    small = [layer for layer in layers if rank > min(layer.shape)]
    if small or rank < 1:
        where = f"; {small[0].name!r} is {small[0].shape}" if small else ""
        raise InputError(
            f"the rank must be at least 1 and fit every layer{where}; got {rank}. "
            "Lower it, or choose layers with --layers."
        )
    if workers is not None and workers < 1:
        raise InputError(f"the number of workers must be at least 1; got {workers}.")

    def visit(layer: Layer | Held) -> Surveyed:
        own = seed_of_layer(seed, layer.name)
        found = _visited(layer, kind, rank, policy, method, own, cache)
        done(found)
        return found

    count = min(workers or _cores(), len(layers))
    with (
        _ONE_SURVEY,
        threadpool_limits(1),
        ThreadPoolExecutor(count, initializer=threadpool_limits, initargs=(1,)) as pool,
    ):
        return list(pool.map(visit, layers))


def check_choices(kind: str, policy: str, method: str) -> None:
    """Raise ``InputError`` unless there are such a kind, policy and method."""
    for what, given, known in (
        ("kind of decomposition", kind, KINDS),
        ("selection policy", policy, POLICIES),
        ("SVD method", method, METHODS),
    ):
        if given not in known:
            raise unknown(what, given, known)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seed_of_layer(seed: int, name: str) -> int:
    """Return a layer's seed in [0, 2³¹).

    >>> seed_of_layer(0, "a") == seed_of_layer(0, "a") != seed_of_layer(1, "a")
    True
    """
    return stream(seed, name) >> 33


def _visited(
    layer: Layer | Held,
    kind: str,
    rank: int,
    policy: str,
    method: str,
    seed: int,
    cache: Cache | None,
) -> Surveyed:
    operand = layer.operand()
    arguments: dict[str, Any] = {"rank": rank, "seed": seed, "diagnose": False}
    arguments |= {"policy": policy} if kind == "cur" else {"method": method}
    function = cur if kind == "cur" else svd
    if cache is not None:
        found = cache.call(function, operand, **arguments)
        optimum = cache.call(least, operand, rank=rank, seed=seed)
    else:
        found, optimum = function(operand, **arguments), least(operand, rank=rank, seed=seed)
    if isinstance(found, CUR):
        factors = {"C": found.C, "U": found.U, "R": found.R}
        factors |= {"columns": found.columns, "rows": found.rows}
    else:
        factors = {"U": found.U, "s": found.s, "Vt": found.Vt}
    return Surveyed(
        layer=layer.name,
        shape=operand.shape,
        rank=rank,
        method=found.method,
        seconds=found.seconds,
        norm_fro=float(np.sqrt(operand.energy)),
        stable_rank=operand.energy / optimum.largest**2 if operand.energy else 0.0,
        effective_rank=effective_rank(found.s) if isinstance(found, SVD) else None,
        error_fro=found.error_fro,
        optimal_error_fro=optimum.error_fro,
        factors=factors,
    )
