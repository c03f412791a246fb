"""Evaluation under the memory there is: batches are halved where they do not fit."""

from collections.abc import Callable
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from continual.errors import InputError

T = TypeVar("T")


class BatchSize:
    """How many examples go through the model at once; halved for good when memory runs out.

    A smaller batch gives the same scores: how examples are grouped does not change them.
    """

    def __init__(self, size: int, note: Callable[[str], None]) -> None:
        self.size = size
        self._note = note

    def run(self, work: Callable[[int], T]) -> T:
        """Return ``work(size)`` for the largest size that fits.

        Raises:
            InputError: not even one example does.
        """
        while True:
            try:
                return work(self.size)
            except (RuntimeError, MemoryError) as error:
                if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
                    raise
                reason = str(error).split("\n", 1)[0]
            # Outside the except clause, so that no traceback keeps the tensors that did not fit.
            if self.size == 1:
                raise InputError(
                    f"not even one example fits in memory during evaluation: {reason}. Lower "
                    "backbone.max_length or evaluation.probe_window, or use a larger machine."
                )
            self.size //= 2
            clear_device_cache(garbage_collection=True)
            self._note(
                f"warning: out of memory in evaluation ({reason}); "
                f"going on with batches of {self.size}."
            )
