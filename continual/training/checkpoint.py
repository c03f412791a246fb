"""Checkpoints: safetensors and JSON, whole or not there.

A checkpoint is a folder ``checkpoints/NNNNNN`` with ``state.safetensors`` (all tensors) and
``state.json`` (the position, everything that is not a tensor, and the checksum of the tensors). It
is written under a temporary name, synced, and renamed; the two newest are kept. Reading takes the
newest one whose checksum holds.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from continual.records.files import flush_folder, sha256_of, write_atomic

KEPT = 2


class DamagedRunError(RuntimeError):
    """No checkpoint of the run can be read; the message says what was found and what to do."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands.

    ``phase`` is "training" (``step`` optimiser steps of ``experience`` are done), "trained" (all of
    them) or "evaluated" (its row of R is on disk). Before any training: experience -1, evaluated.
    """

    experience: int
    step: int
    phase: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A position, the tensors that belong to it and, in ``facts``, what is not a tensor."""

    position: Position
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint below ``folder`` and drop all but the newest two; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    existing = _numbered(folder)
    number = int(existing[-1].name) + 1 if existing else 0
    final, draft = folder / f"{number:06d}", folder / f".writing-{number:06d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, draft / "state.safetensors")
    _sync_file(draft / "state.safetensors")
    described = {
        "position": vars(checkpoint.position),
        "facts": dict(checkpoint.facts),
        "sha256": sha256_of(draft / "state.safetensors"),
    }
    write_atomic(draft / "state.json", json.dumps(described, indent=1).encode())
    draft.rename(final)
    flush_folder(folder)
    for old in _numbered(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def load_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest undamaged checkpoint (None if there never was one) and what was damaged.

    Raises:
        DamagedRunError: there are checkpoints and none can be read.
    """
    complaints: list[str] = []
    candidates = _numbered(folder) if folder.is_dir() else []
    for path in reversed(candidates):
        try:
            return _read(path), complaints
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            complaints.append(f"checkpoint {path} is damaged ({error}); using the one before it.")
    if complaints:
        raise DamagedRunError(
            f"none of the {len(candidates)} checkpoints in {folder} can be read: "
            f"{' '.join(complaints)} Restore one from a backup, or begin again in a new directory."
        )
    return None, complaints


def _read(path: Path) -> Checkpoint:
    described = json.loads((path / "state.json").read_text())
    found = sha256_of(path / "state.safetensors")
    if found != described["sha256"]:
        raise ValueError(f"checksum {found[:12]}, expected {described['sha256'][:12]}")
    return Checkpoint(
        position=Position(**described["position"]),
        tensors=load_file(path / "state.safetensors"),
        facts=described["facts"],
    )


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.isdecimal())


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
