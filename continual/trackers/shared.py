"""Evaluation that several processes share: each makes some of the batches that one would make.

The batches are the same ones, so what is gathered is, number for number, what one process finds.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from math import fsum, isnan
from typing import TypeVar

import numpy as np

from continual.backbone.base import Backbone, DocumentNats, Encoded, Scored
from continual.backbone.memory import BatchSize
from continual.backbone.passes import WHOLE, Share, by_length
from continual.processes import Processes
from continual.scenario import WRITTEN, Candidates, Task

T = TypeVar("T")


def score_together(
    backbone: Backbone,
    task: Task,
    encoded: Encoded,
    candidates: Candidates | None,
    batch_size: BatchSize,
) -> list[Scored]:
    """Return the score of every item; see ``Backbone.score``."""
    processes = batch_size.processes
    if processes.count == 1:
        return batch_size.run(lambda size: backbone.score(task, encoded, candidates, size))
    share = _share(backbone, processes)
    if backbone.sharded and task.score in WRITTEN:  # texts of any length: passes are not in step
        share = WHOLE

    def own(size: int) -> list[tuple[int, Scored]]:
        chosen = np.sort(np.concatenate([[], *by_length(encoded.lengths, size, share)]))
        found = backbone.score(task, encoded, candidates, size, share)
        return list(zip(chosen.astype(int).tolist(), found, strict=True))

    scored = _run(backbone, batch_size, own)
    everyone = processes.gather([[item, *astuple(one)] for item, one in scored])
    rows = {row[0]: row[1:] for rows in everyone for row in rows}
    names = ("id", "prediction", "correct", "nats", "tokens")
    return [Scored(**dict(zip(names, rows[item], strict=True))) for item in range(len(encoded.ids))]


def read_together(
    backbone: Backbone,
    documents: Sequence[str],
    batch_size: BatchSize,
    *,
    window: int,
    stride: int,
) -> list[DocumentNats]:
    """Return the nats of every token of some documents; see ``Backbone.corpus``."""
    processes = batch_size.processes
    share = WHOLE if processes.count == 1 else _share(backbone, processes)
    found = _run(
        backbone,
        batch_size,
        lambda size: backbone.corpus(
            documents, window=window, stride=stride, batch_size=size, share=share
        ),
    )
    if processes.count == 1:
        return found
    everyone = processes.gather([one.each for one in found])
    return [_joined(one, [own[k] for own in everyone]) for k, one in enumerate(found)]


def _run(backbone: Backbone, batch_size: BatchSize, work: Callable[[int], T]) -> T:
    """Do some work; of a sharded backbone nobody can try again while others wait for its part."""
    return batch_size.run_in_step(work) if backbone.sharded else batch_size.run(work)


def _share(backbone: Backbone, processes: Processes) -> Share:
    return Share(processes.rank, processes.count, backbone.sharded)


def _joined(document: DocumentNats, parts: Sequence[Sequence[float]]) -> DocumentNats:
    """Take every token from the first process that has scored it."""
    each = tuple(next((x for x in own if not isnan(x)), own[0]) for own in zip(*parts, strict=True))
    return DocumentNats(nats=fsum(each), tokens=document.tokens, bytes=document.bytes, each=each)
