"""Answers to a prompt that was read once: follow a given one, rank several, or write one greedily.

A prompt is read in one forward pass; its cache is then shared. Ranking K candidates repeats the
cache K times and reads all candidates at once, so it costs one prompt and K short answers, not K
prompts. All log-probabilities are taken in float32 and summed in float64.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

ROWS = 128  # answers read at a time while ranking


@dataclass(frozen=True)
class Reading:
    """A batch of B prompts after one forward pass.

    Attributes:
        logits: (B, V) of the first token of the answer.
        cache: keys and values of the prompts.
        extend: given ids (B k, T), the cache repeated k times, k, and how many tokens of the
            answer the cache already holds, returns the logits (B k, T, V) after each of them.
    """

    logits: Tensor
    cache: Any
    extend: Callable[[Tensor, Any, int, int], Tensor]


def token_nats(logits: Float[Tensor, "b t v"], ids: Int[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Return -log p of every token in nats; float32, and at most one row of it at a time."""
    rows = []
    for row, wanted in zip(logits, ids, strict=True):
        row = row.float()
        chosen = row.gather(-1, wanted[:, None]).squeeze(-1)
        rows.append(row.logsumexp(-1) - chosen)
    return torch.stack(rows)


def follow(
    reading: Reading, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"]
) -> Float[Tensor, " b"]:
    """Return -log p in nats (float64) of one given answer per prompt; the cache stays usable."""
    nats = token_nats(reading.logits[:, None], ids[:, :1])
    if ids.shape[1] > 1:
        logits = reading.extend(ids[:, :-1], deepcopy(reading.cache), 1, 0)
        nats = torch.cat([nats, token_nats(logits, ids[:, 1:])], dim=1)
    return (nats.double() * mask).sum(-1)


def rank(reading: Reading, answers: Sequence[Sequence[int]]) -> Float[Tensor, "b k"]:
    """Return log p in nats (float64) of every answer after every prompt.

    The cache is used up.
    """
    prompts, device = len(reading.logits), reading.logits.device
    normaliser = reading.logits.float().logsumexp(-1, keepdim=True)
    size = max(1, ROWS // prompts)
    parts = []
    for k in range(0, len(answers), size):
        part = answers[k : k + size]
        cache = reading.cache if k + size >= len(answers) else deepcopy(reading.cache)
        ids, mask = _table(part, device)
        nats = (normaliser - reading.logits[:, ids[:, 0]].float()).view(-1, 1)
        ids, mask = ids.repeat(prompts, 1), mask.repeat(prompts, 1)
        if ids.shape[1] > 1:
            cache.batch_repeat_interleave(len(part))
            logits = reading.extend(ids[:, :-1], cache, len(part), 0)
            nats = torch.cat([nats, token_nats(logits, ids[:, 1:])], dim=1)
        parts.append((-nats.double() * mask).sum(-1).view(prompts, len(part)))
    return torch.cat(parts, dim=1)


def greedy(reading: Reading, steps: int, end: int | None) -> list[list[int]]:
    """Write the most likely token up to ``steps`` times; stop a row at the end token.

    The cache is used up.

    Returns:
        The tokens of every answer, without the end token.
    """
    logits, written = reading.logits, []
    finished = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    for step in range(steps):
        token = logits.argmax(-1)
        written.append(token)
        if end is not None:
            finished |= token == end
        if step + 1 == steps or bool(finished.all()):
            break
        logits = reading.extend(token[:, None], reading.cache, 1, step)[:, -1]
    rows = torch.stack(written, dim=1).tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


def _table(answers: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and mask of answers, (K, longest), padded on the right."""
    longest = max(len(answer) for answer in answers)
    ids = [[*answer, *[0] * (longest - len(answer))] for answer in answers]
    mask = [[1] * len(answer) + [0] * (longest - len(answer)) for answer in answers]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
