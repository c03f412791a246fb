"""Decompose the layers of a backbone or a checkpoint, tell how it gets on, keep the factors."""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from continual.errors import InputError
from continual.linalg import Cache, Surveyed, layers_of, survey
from continual.runs.progress import Reporter, SilentReporter


def decompose(
    target: str,
    *,
    kind: str,
    rank: int,
    layers: str = "",
    policy: str = "sketch_lupp",
    method: str = "auto",
    seed: int = 0,
    workers: int | None = None,
    cache: Cache | None = None,
    out: Path | None = None,
    reporter: Reporter | None = None,
) -> list[Surveyed]:
    """Decompose every matrix of a checkpoint whose name matches; read one at a time.

    Args:
        target: a backbone by name, hub id or folder, or a safetensors file.
        kind: "cur" or "svd".
        rank: to keep in every layer.
        layers: a regular expression, searched for in the names; everything by default.
        policy: of cur's choice, see ``continual.linalg.select``.
        method: of svd, see ``continual.linalg.svd``.
        seed: from which every layer's own is made.
        workers: layers at once; as many as there are cores by default.
        cache: where results are kept; None keeps none.
        out: a safetensors file for the factors, named ``LAYER|FACTOR``; None writes none.
        reporter: is told of every layer; silent by default.

    Returns:
        What was found, layer by layer, by name.

    Raises:
        InputError: an unusable target, pattern, rank, kind or file name; nothing was written.
    """
    from continual.backbone.weights import weights_of

    if out is not None and (out.suffix != ".safetensors" or out.exists()):
        raise InputError(f"--out takes a new file that ends in .safetensors; got {out}.")
    chosen = layers_of(weights_of(target), layers)
    lock, counted = threading.Lock(), []
    with reporter or SilentReporter() as told:

        def done(found: Surveyed) -> None:
            with lock:
                counted.append(found.layer)
                told.step(f"{kind} of {target}", len(counted), len(chosen))

        found = survey(
            chosen,
            kind=kind,
            rank=rank,
            policy=policy,
            method=method,
            seed=seed,
            workers=workers,
            cache=cache,
            done=done,
        )
    if out is not None:
        _save(found, out)
    return found


def _save(found: list[Surveyed], out: Path) -> None:
    """Write all factors, whole or not at all."""
    tensors = {f"{one.layer}|{name}": f for one in found for name, f in one.factors.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, draft)
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
