"""The processes of one run: sums, messages and agreement between them.

What is exchanged are numbers and JSON, never pickled objects. With one process nothing is
exchanged, copied or waited for.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from continual.errors import InputError, LostProcessError

T = TypeVar("T")
SHOWN = 200  # characters of a value that differs


@dataclass(frozen=True, kw_only=True)
class Processes:
    """The place of this process among those that share a run.

    Attributes:
        rank: 0 ≤ rank < count.
        count: how many there are.
        local: the place among those on this machine; None: no launcher has said it.
    """

    rank: int = 0
    count: int = 1
    local: int | None = 0

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """Return every ``count``-th of some items, those that are this process's to do."""
        return items if self.count == 1 else items[self.rank :: self.count]

    def gather(self, value: T) -> list[T]:
        """Return what every process has given, in their order; it must be made of JSON types.

        Raises:
            LostProcessError: one of them is gone.
        """
        if self.count == 1:
            return [value]
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        _asked(lambda: dist.all_gather(sizes, torch.tensor([len(own)])))
        longest = max(int(size) for size in sizes)
        padded = torch.cat([own, own.new_zeros(longest - len(own))])
        found = [torch.empty_like(padded) for _ in sizes]
        _asked(lambda: dist.all_gather(found, padded))
        texts = [bytes(one[: int(size)].numpy()) for one, size in zip(found, sizes, strict=True)]
        return [json.loads(text) for text in texts]

    def add_up(self, *tensors: Tensor) -> None:
        """Put the sum over all processes into every tensor; the same bits everywhere.

        Tensors of one dtype travel together.

        Raises:
            LostProcessError: a process is gone.
        """
        if self.count == 1:
            return
        for dtype in dict.fromkeys(one.dtype for one in tensors):
            some = [one for one in tensors if one.dtype == dtype]
            flat = torch.cat([one.detach().reshape(-1) for one in some])
            _asked(lambda flat=flat: dist.all_reduce(flat))
            for one, part in zip(some, flat.split([x.numel() for x in some]), strict=True):
                one.detach().copy_(part.view_as(one))

    def wait(self) -> None:
        """Go on when every process has come here.

        Raises:
            LostProcessError: one of them is gone.
        """
        if self.count > 1:
            self.gather(None)

    def any(self, here: bool) -> bool:
        """Say whether something is so in any process."""
        return here if self.count == 1 else any(self.gather(here))

    def check_same(self, what: str, value: Any, advice: str) -> None:
        """Raise ``InputError`` where processes differ in a value; waits for all of them.

        Args:
            what: the name of the value, plural.
            value: of JSON types.
            advice: what to do.
        """
        if self.count == 1:
            return
        everyone = self.gather(value)
        others = [rank for rank, one in enumerate(everyone) if one != everyone[0]]
        if others:
            first, other = _differing(everyone[0], everyone[others[0]])
            raise InputError(
                f"{what} of process 0 and of process {others[0]} differ: {first} and {other}. "
                f"{advice}"
            )


ALONE = Processes()


def _asked(exchange: Callable[[], Any]) -> None:
    """Exchange something; say in our words that nobody answers."""
    try:
        exchange()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise LostProcessError(str(error)) from error


def _differing(one: Any, other: Any) -> tuple[str, str]:
    """Return two values as JSON, of long ones the part around the first difference."""
    texts = json.dumps(one), json.dumps(other)
    pairs = enumerate(zip(*texts, strict=False))
    place = next((k for k, (a, b) in pairs if a != b), min(map(len, texts)))
    return _around(texts[0], place), _around(texts[1], place)


def _around(text: str, place: int) -> str:
    if len(text) <= SHOWN:
        return text
    begin = max(0, place - SHOWN // 2)
    end = begin + SHOWN
    return "... " * (begin > 0) + text[begin:end] + " ..." * (end < len(text))
