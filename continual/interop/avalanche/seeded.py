"""The order and the randomness of our loop inside an Avalanche strategy."""

from typing import Any

import torch
from avalanche.benchmarks.utils.data_loader import TaskBalancedDataLoader
from avalanche.core import SupervisedPlugin
from torch.utils.data import DataLoader

from continual.errors import InputError
from continual.training.order import Plan, batch_indices, seed_generators, step_seed


class SeededSteps(SupervisedPlugin, supports_distributed=False):
    """Batches and randomness of every step as in our loop: pure functions of (seed, task, step).

    Put it before an ``AdapterPlugin``. The data of an experience is read through its own
    ``collate_fn``, ``train_mb_size`` items at a time.
    """

    def __init__(self, seed: int = 0) -> None:
        """Take the seed that ``continual.run`` would be given."""
        super().__init__()
        self.seed = seed
        self._task, self._step, self._epoch = -1, 0, 0

    def before_training_exp(self, strategy: Any, *, num_workers: int = 0, **kwargs: Any) -> None:
        """Begin at the first step of the next task.

        Raises:
            InputError: another plugin mixes the batches, as replay does.
        """
        kind = type(strategy.dataloader)
        if kind not in (DataLoader, TaskBalancedDataLoader):
            raise InputError(
                f"the batches come from a {kind.__name__}, which mixes them itself; SeededSteps "
                "orders one data set. Leave one of the two out."
            )
        self._task, self._step, self._epoch = self._task + 1, 0, 0
        strategy.dataloader = self._loader(strategy, num_workers)

    def before_training_epoch(self, strategy: Any, *, num_workers: int = 0, **kwargs: Any) -> None:
        """Take the order of this epoch."""
        strategy.dataloader = self._loader(strategy, num_workers)
        self._epoch += 1

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Seed what draws inside the step."""
        seed_generators(step_seed(self.seed, self._task, self._step), torch.device(strategy.device))
        self._step += 1

    def _loader(self, strategy: Any, num_workers: int) -> DataLoader[Any]:
        data, size = strategy.adapted_dataset, strategy.train_mb_size
        per_epoch = -(-len(data) // size)
        plan = Plan(len(data), size, per_epoch, per_epoch * strategy.train_epochs)
        first = self._epoch * per_epoch
        steps = range(first, first + per_epoch)
        batches = [batch_indices(plan, self.seed, self._task, step).tolist() for step in steps]
        return DataLoader(
            data,
            batch_sampler=batches,
            collate_fn=data.collate_fn,
            num_workers=num_workers,
        )
