"""Work under the memory there is: batches are halved where they do not fit."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from continual.errors import InputError, LostProcessError
from continual.processes import ALONE, Processes

T = TypeVar("T")
SAYS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",  # what cuDNN says where its workspace does not fit
)


class BatchSize:
    """How many examples go through the model at once; halved for good when memory runs out.

    Attributes:
        size: how many.
        processes: those that share the work; all halve theirs where one of them has to.
    """

    def __init__(
        self,
        size: int,
        note: Callable[[str], None],
        *,
        doing: str = "evaluation",
        lower: str = "backbone.max_length or evaluation.probe_window",
        setting: str = "evaluation.batch_size",
        processes: Processes = ALONE,
    ) -> None:
        """Begin with a size.

        Args:
            size: the largest that is tried.
            note: is told of every halving.
            doing: what needs the memory, in words.
            lower: the settings that need less of it.
            setting: the one that the size comes from.
            processes: those that try together.
        """
        self.size, self.processes = size, processes
        self._note = note
        self._doing, self._lower, self._setting = doing, lower, setting

    def run(self, work: Callable[[int], T], *, once: bool = False) -> T:
        """Return ``work(size)`` for the largest size that fits.

        Args:
            work: leaves nothing behind where it fails.
            once: whether it cannot be done again, or with fewer examples.

        Raises:
            InputError: not even one example fits.
        """
        while True:
            found, reason = [], ""
            try:
                found.append(work(self.size))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = _first_line(error)
            reason = next(filter(None, self.processes.gather(reason)), "")
            if not reason:
                return found[0]
            found.clear()
            # Outside the except clause, so that no traceback keeps the tensors that did not fit.
            if self.size == 1 or once:
                raise InputError(
                    f"not even one example fits in memory during {self._doing}: {reason}. Lower "
                    f"{self._lower}, or use a larger machine."
                )
            self.size //= 2
            _clear()
            self._note(
                f"warning: out of memory in {self._doing} ({reason}); "
                f"going on with batches of {self.size}."
            )

    def run_in_step(self, work: Callable[[int], T]) -> T:
        """Return ``work(size)`` where other processes wait for this one's part in the middle of it.

        So nobody can try again with another size.

        Raises:
            InputError: memory has run out.
        """
        try:
            return work(self.size)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise InputError(
                f"memory ran out during {self._doing} with batches of {self.size} "
                f"({_first_line(error)}), and a pass through a sharded backbone cannot be made "
                f"again with fewer. Start anew in a new directory with a lower {self._setting}, "
                "or use more processes or larger devices."
            ) from error

    def follow(self, size: int) -> None:
        """Go down to the size that another process has come to."""
        if size < self.size:
            self.size = size
            self._note(
                f"warning: out of memory in {self._doing} in another process; going on with "
                f"batches of {size}."
            )


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error is that of an allocator, of which torch raises several kinds.

    What another process has run out of is no reason to try again here.
    """
    if isinstance(error, LostProcessError):
        return False
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAYS)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0] or "no memory"


def _clear() -> None:
    """Give back what the failed attempt has left with the allocators."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
