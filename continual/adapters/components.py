"""Rank-1 components that compete for a rank, within a weight and among all weights of a model.

Σ_i c_i b_i a_iᵗ        a_i rows of A (r, n), b_i columns of B (m, r), c (r,)
importance  I_i ← β I_i + (1 − β) |c_i| ‖b_i‖ ‖a_i‖ / ‖Σ_j c_j b_j a_jᵗ‖_F
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from continual.adapters.base import Site, seed_of

LEAST = 1e-8  # added to ‖ΔW‖_F, so that nothing is divided by zero before the first step


class Components(nn.Module):
    """A, B, c of one weight, how important each component was, and which are left."""

    importance: Tensor
    kept: Tensor

    def __init__(self, site: Site, rank: int) -> None:
        """Draw A and B with Kaiming's bound √(6 / fan-in); c is zero."""
        super().__init__()
        (m, n), device = site.weight.shape, site.weight.device
        generator = torch.Generator("cpu").manual_seed(seed_of(site.seed, "components", 0))

        def drawn(rows: int, columns: int) -> nn.Parameter:
            numbers, bound = torch.empty(rows, columns, dtype=torch.float32), (6 / columns) ** 0.5
            return nn.Parameter(numbers.uniform_(-bound, bound, generator=generator).to(device))

        self.A, self.B = drawn(rank, n), drawn(m, rank)
        self.c = nn.Parameter(torch.zeros(rank, device=device))
        self.register_buffer("importance", torch.zeros(rank, device=device))
        self.register_buffer("kept", torch.ones(rank, device=device))
        self.gone: Tensor | None = None  # what was pruned since the optimiser was last told

    def left(self) -> Float[Tensor, "m r"]:
        """Return B diag(c), zero where a component was pruned for good."""
        return self.B * (self.c * self.kept)

    def spread(self) -> Float[Tensor, ""]:
        """Return the mean variance of the entries of an a_i or b_i."""
        return 0.5 * (self.A.var(dim=1, correction=0) + self.B.var(dim=0, correction=0)).mean()

    def cleared(self) -> dict[nn.Parameter, Tensor]:
        """Return which entries of c were pruned since this was last asked."""
        gone, self.gone = self.gone, None
        return {} if gone is None else {self.c: gone}

    @torch.no_grad()
    def remember(self, beta: float) -> None:
        """Let the present importance into the running one; no m × n matrix is formed."""
        scaled = self.left()
        alone = scaled.norm(dim=0) * self.A.norm(dim=1)
        together = ((scaled.T @ scaled) * (self.A @ self.A.T)).sum().clamp_min(0.0).sqrt()
        self.importance.mul_(beta).add_((1.0 - beta) * alone / (together + LEAST))

    @torch.no_grad()
    def prune(self, lowest: Bool[Tensor, " r"], *, for_good: bool) -> None:
        """Set some c to zero; their gradients can bring them back unless it is for good."""
        lowest = lowest.to(self.c.device)
        self.gone = lowest
        self.c.masked_fill_(lowest, 0.0)
        if for_good:
            self.kept.masked_fill_(lowest, 0.0)


class Budget(nn.Module):
    """The components of all weights of a model, ranked together once all of them are ready."""

    def __init__(self) -> None:
        """Begin without members."""
        super().__init__()
        self.members: dict[str, Components] = {}  # not submodules: each belongs to its weight
        self.ready: set[str] = set()

    def join(self, name: str, components: Components) -> None:
        """Add those of one weight."""
        self.members[name] = components

    def prune(self, name: str, progress: float, rank: int) -> None:
        """Prune all members when the last of them says that it has finished the step.

        Args:
            name: of the weight that is ready.
            progress: how many of those that must go are to be zero now, in [0, 1]; 1 is for good.
            rank: how many components per weight are to be left in the end, on average.
        """
        self.ready.add(name)
        if len(self.ready) < len(self.members):
            return
        self.ready.clear()
        sizes = [len(member.c) for member in self.members.values()]
        scores = torch.cat([member.importance.cpu() for member in self.members.values()])
        gone = int(progress * (sum(sizes) - rank * len(sizes)))
        lowest = torch.zeros(len(scores), dtype=torch.bool)
        lowest[scores.argsort(stable=True)[:gone]] = True
        for member, own in zip(self.members.values(), lowest.split(sizes), strict=True):
            member.prune(own, for_good=progress == 1.0)
