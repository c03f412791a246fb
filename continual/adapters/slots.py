"""One small matrix that learns: the same through all tasks, or a new one for each of them."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Site


class Slots(nn.Module):
    """The current core, zero at first, and the finished ones if every task has its own.

    With a core per task, the one that answers is chosen by ``serve``; a task that has not begun
    answers with zeros, that is, as the backbone.
    """

    past: Tensor

    def __init__(self, shape: tuple[int, int], site: Site, *, per_task: bool) -> None:
        """Begin without a past, in float32 on the weight's device."""
        super().__init__()
        self.per_task = per_task
        self.chosen: int | None = None
        self.core = nn.Parameter(torch.zeros(shape, device=site.weight.device))
        self.register_buffer("past", torch.zeros(0, *shape, device=site.weight.device))

    def value(self) -> Float[Tensor, "k l"]:
        """Return the core that answers."""
        if not self.per_task or self.chosen in (None, len(self.past)):
            return self.core
        if self.chosen < len(self.past):
            return self.past[self.chosen]
        return torch.zeros_like(self.core)

    def every(self) -> list[Float[Tensor, "k l"]]:
        """Return the finished cores and the current one, detached."""
        return [*self.past, self.core.detach()]

    @torch.no_grad()
    def begin(self, task: int) -> None:
        """Keep what was learned; a new core begins at zero where every task has its own."""
        if self.per_task and task > 0:
            self.past = torch.cat([self.past, self.core.detach()[None]])
            self.core.zero_()

    def serve(self, task: int | None) -> None:
        """Answer as for a task from now on; None is the current one."""
        self.chosen = task

    def fit(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take the size of a saved past, so that its tensors can be copied in."""
        self.past = self.past.new_zeros((len(tensors[f"{prefix}past"]), *self.core.shape))
