"""One optimiser step made by several processes: everyone's share, and the sum of all shares.

Example p of a step belongs to process p mod P. Everybody sums the nats and the gradients of its own
examples; then these sums are added up, before they are divided by the count of the whole step and
before the penalties, which every process adds once to the whole. From there on all make the same
update from the same numbers, so replicas stay equal bit for bit and nothing is ever sent around.
The model is not wrapped.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from continual.adapters.adaptation import Adaptation
from continual.processes import Processes
from continual.training.lesson import Portion
from continual.training.order import step_randomness


def passes(
    portions: Sequence[Portion], size: int, processes: Processes, in_step: bool
) -> Iterator[tuple[Portion, bool]]:
    """Yield this process's forward passes of a step, of at most ``size`` examples each.

    Args:
        portions: what the whole step learns.
        size: examples per pass.
        processes: those that share it.
        in_step: every process makes equally many passes; one that has nothing left makes them with
            an example of another's, which does not count.

    Yields:
        The examples of a pass, and whether they count.
    """
    before = 0  # examples of the step in earlier portions
    for portion in portions:
        whole, count = portion.chosen, processes.count
        own = whole[(processes.rank - before) % count :: count]
        before += len(whole)
        for k in range(0, len(own), size):
            yield Portion(lesson=portion.lesson, chosen=own[k : k + size]), True
        if in_step:
            most = -(-len(whole) // count)
            for _ in range(-(-len(own) // size), -(-most // size)):
                yield Portion(lesson=portion.lesson, chosen=whole[:1]), False


def add_up(
    processes: Processes,
    adaptation: Adaptation,
    learning: Sequence[nn.Parameter],
    sums: Tensor,
    count: int,
    size: int,
) -> tuple[Tensor, int, int]:
    """Add up the sums (float64), count and gradients of a step over all processes.

    A number has a gradient afterwards where it had one in any process.

    Returns:
        Sums and count of the whole step, and the least ``size`` of all processes.
    """
    if processes.count == 1:
        return sums, count, size
    sizes = [float(size) * (rank == processes.rank) for rank in range(processes.count)]
    present = [float(parameter.grad is not None) for parameter in learning]
    own = torch.tensor([float(count), *sizes, *present], dtype=sums.dtype)
    facts = torch.cat([sums.cpu(), own])
    processes.add_up(facts)
    known = facts[2:].tolist()
    sizes, present = known[1 : 1 + processes.count], known[1 + processes.count :]
    taking_part = [p for p, n in zip(learning, present, strict=True) if n > 0]
    for parameter in taking_part:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    beside = _beside(adaptation)
    processes.add_up(*[p.grad for p in taking_part if p.grad is not None], *beside)
    return facts[:2], round(known[0]), round(min(sizes))


@contextmanager
def uncounted(adaptation: Adaptation) -> Iterator[None]:
    """Inside, passes do not count: what they add up beside gradients is taken back at the end."""
    before = [(tensor, tensor.clone()) for tensor in _beside(adaptation)]
    yield
    for tensor, was in before:
        tensor.copy_(was)


def _beside(adaptation: Adaptation) -> list[Tensor]:
    return [tensor for adapter in adaptation.adapters.values() for tensor in adapter.sums()]


@contextmanager
def own_randomness(
    processes: Processes, seed: int, experience: int, step: int, device: torch.device
) -> Iterator[None]:
    """Inside, each of several processes draws from a stream of its own, for its own examples."""
    if processes.count == 1:
        yield
        return
    with step_randomness(seed, experience, step, device, processes.rank + 1):
        yield
