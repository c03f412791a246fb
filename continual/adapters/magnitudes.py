"""The magnitudes of S-LoRA: one number per direction, all of which go on learning."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Magnitudes(nn.Module):
    """α_1 … α_t; the last belongs to the pair that learns. One layer's own, or shared by all."""

    def __init__(self, initial: float, device: torch.device) -> None:
        """Begin with the magnitude of the first pair."""
        super().__init__()
        self.initial = initial
        self.grown: int | None = None
        self.values = nn.Parameter(torch.tensor([initial], device=device))

    @torch.no_grad()
    def grow(self, task: int, norm: float, *, restart: bool) -> None:
        """Turn α_t into that of a unit direction and add one for a new pair.

        Layers that share magnitudes all ask for it; it happens once per task.
        """
        if task == self.grown:
            return
        self.grown = task
        learned = self.values.detach().clone()
        learned[-1] *= norm
        if restart:
            learned.fill_(self.initial)
        self.values = nn.Parameter(torch.cat([learned, learned.new_tensor([self.initial])]))

    @torch.no_grad()
    def fold(self, coefficients: Float[Tensor, " t"]) -> None:
        """Add the current pair, expressed in the old directions, to theirs, and begin it anew."""
        values = self.values.detach().clone()
        values[:-1] += values[-1] * coefficients.to(values)
        values[-1] = self.initial
        self.values = nn.Parameter(values)

    def fit(self, saved: Float[Tensor, " t"]) -> None:
        """Take the size of saved magnitudes, so that they can be copied in."""
        self.grown = None
        if saved.shape != self.values.shape:
            self.values = nn.Parameter(self.values.new_zeros(saved.shape))
