"""Checkpoints: safetensors and JSON, whole or not there.

A checkpoint is a folder ``checkpoints/NNNNNN`` with ``state.safetensors`` (all tensors) and
``state.json`` (the position, everything that is not a tensor, and the checksum of the tensors). It
is written under a temporary name, synced, and renamed. The two newest are kept, and of older ones
those that end an experience, as ``checkpoints/after-NN``: a fork begins from them. Reading takes
the newest one whose checksums hold.
"""

import hashlib
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
from continual.records.paths import after_folders

KEPT = 2
PHASES = ("training", "trained", "evaluated")
OWN = "self"  # the checksum of the other entries of state.json


DAMAGE = (OSError, ValueError, KeyError, TypeError, SafetensorError)  # what reading one may raise


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

    def learned(self) -> int:
        """Return how many experiences are behind it."""
        return self.experience + (self.phase == "evaluated")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A position, the tensors that belong to it and, in ``facts``, what is not a tensor."""

    position: Position
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep_boundaries: bool = False) -> Path:
    """Write one checkpoint below ``folder`` and drop all but the newest two; return its path.

    Args:
        folder: of the run's checkpoints.
        checkpoint: what to write.
        keep_boundaries: keep older ones that end an experience, under its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    existing = _numbered(folder)
    number = int(existing[-1].name) + 1 if existing else 0
    final, draft = folder / f"{number:06d}", folder / f".writing-{number:06d}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(draft, checkpoint)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)  # a full disk needs the room
        raise
    draft.rename(final)
    flush_folder(folder)
    for old in _numbered(folder)[:-KEPT]:
        _retire(old, keep_boundaries)
    return final


def _write(draft: Path, checkpoint: Checkpoint) -> None:
    draft.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, draft / "state.safetensors")
    _sync_file(draft / "state.safetensors")
    described = {
        "position": vars(checkpoint.position),
        "facts": dict(checkpoint.facts),
        "sha256": sha256_of(draft / "state.safetensors"),
    }
    described[OWN] = _own(described)
    write_atomic(draft / "state.json", json.dumps(described, indent=1).encode())


def _retire(old: Path, keep_boundaries: bool) -> None:
    """Remove a checkpoint, or name it by the experience that it ends."""
    experience = ended(old) if keep_boundaries else None
    if experience is None:
        shutil.rmtree(old)
        return
    kept = old.with_name(f"after-{experience:02d}")
    shutil.rmtree(kept, ignore_errors=True)  # the same, from before the run went back
    old.rename(kept)


def ended(path: Path) -> int | None:
    """Return the experience that a checkpoint ends; None: none, or it cannot be read."""
    try:
        at = _described(path)[0]
    except DAMAGE:
        return None
    return at.experience if at.phase == "evaluated" and at.experience >= 0 else None


def forget_later(folder: Path, position: Position) -> None:
    """Remove the kept boundaries after a position: a run that goes on from there makes them anew.

    The rows that belong to them are dropped then, so that nothing may go on from them.
    """
    for path in boundaries(folder):
        whole = position.experience + (position.phase == "evaluated")
        if int(path.name.removeprefix("after-")) >= whole:
            shutil.rmtree(path)


def boundaries(folder: Path) -> list[Path]:
    """Return the kept boundaries in order."""
    return after_folders(folder)


def every_checkpoint(folder: Path) -> list[Path]:
    """Return all checkpoints, oldest first."""
    return boundaries(folder) + (_numbered(folder) if folder.is_dir() else [])


def boundary_state(folder: Path, after: int) -> Checkpoint | None:
    """Return the state right after an experience; None where it is not kept or not whole."""
    for path in reversed(every_checkpoint(folder)):
        if ended(path) == after:
            try:
                return read_checkpoint(path)
            except DAMAGE:
                continue
    return None


def load_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest undamaged checkpoint (None if there never was one) and what was damaged.

    Raises:
        DamagedRunError: there are checkpoints and none can be read.
    """
    complaints: list[str] = []
    candidates = every_checkpoint(folder)
    for path in reversed(candidates):
        try:
            return read_checkpoint(path), complaints
        except DAMAGE as error:
            complaints.append(f"checkpoint {path} is damaged ({error}); using the one before it.")
    if complaints:
        raise DamagedRunError(
            f"none of the {len(candidates)} checkpoints in {folder} can be read: "
            f"{' '.join(complaints)} Restore one from a backup, or begin again in a new directory."
        )
    return None, complaints


def read_checkpoint(path: Path) -> Checkpoint:
    """Return one checkpoint.

    Raises:
        OSError | ValueError | KeyError | TypeError | SafetensorError: it is damaged.
    """
    position, facts, expected = _described(path)
    found = sha256_of(path / "state.safetensors")
    if found != expected:
        raise ValueError(f"checksum {found[:12]}, expected {expected[:12]}")
    tensors = load_file(path / "state.safetensors")
    return Checkpoint(position=position, tensors=tensors, facts=facts)


def _described(path: Path) -> tuple[Position, Mapping[str, Any], str]:
    """Return what state.json says: position, facts and the checksum of the tensors."""
    try:
        told = json.loads((path / "state.json").read_bytes())
    except RecursionError as error:
        raise ValueError("state.json is nested too deeply") from error
    if not isinstance(told, dict) or {*told} - {OWN} != {"position", "facts", "sha256"}:
        raise ValueError("state.json has other entries than a checkpoint")
    if OWN in told and told.pop(OWN) != _own(told):  # older ones have none
        raise ValueError("the checksum of state.json does not hold")
    at = Position(**told["position"])
    whole = type(at.experience) is int and type(at.step) is int and at.phase in PHASES
    if not whole or not isinstance(told["facts"], dict) or not isinstance(told["sha256"], str):
        raise ValueError("state.json does not say where the run stands")
    return at, told["facts"], told["sha256"]


def _own(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.isdecimal())


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
