"""LoKO: a Kalman filter in the place of gradient descent, for heads over few classes.

    p̂ = softmax(logits),  e = y − p̂,  H = ∂p̂/∂θ (C, N)          one example is one measurement
    S = H P Hᵀ + R,  K = P Hᵀ S⁻¹
    θ ← θ + η K e,   P ← P − diag(K H P),   R ← β R + (1 − β)(e eᵀ + H P Hᵀ)

θ are all N numbers that learn, y the one-hot truth, P (N) the diagonal of their covariance, R
(C, C) the noise of the observation; η = ``train.lr`` is 1 for the filter itself. The gain falls as
P does: a number that many examples have fixed moves less. The examples of an optimiser step are
measured one after another in the linear model at the θ before it, e ← e − H (θ_now − θ_before), so
how they are cut into micro-batches does not matter. P stays non-negative, because
P_i h_iᵀ S⁻¹ h_i ≤ 1. An example costs C backward passes.

Reference: Abdi et al. (2024), arXiv:2410.11551 (diagonal P, R by a moving average).
Deviations: R takes in the error before the update, where a filter of this kind may use the one
after it. P₀, R₀ = I and β are ours; every task begins with them, as with every optimiser here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from continual.backbone.base import Backbone
from continual.training.lesson import Portion

BETA = 0.95
INITIAL_VARIANCE = 0.001
FLOOR = 1e-6  # of R: probabilities sum to one, so nothing is ever observed along (1, ..., 1)
MOST_CLASSES = 32


class LoKO(torch.optim.Optimizer):
    """The filter; ``measure`` every example of a step, then ``step``.

    A parameter's state is ``variance``, P in its shape; the first one's has R beside, one for every
    number of classes that it has measured: ``noise2``, ``noise3``, ...
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        """Begin with P₀ everywhere."""
        super().__init__(parameters, {"lr": lr})
        self._moves: dict[nn.Parameter, Tensor] = {}

    @property
    def _learning(self) -> list[nn.Parameter]:
        return self.param_groups[0]["params"]

    def measure(self, logits: Float[Tensor, " C"], truth: Int[Tensor, ""]) -> None:
        """Take in one example; the parameters move at the next ``step``."""
        said = torch.softmax(logits.float(), dim=0)
        rows = _jacobian(said, self._learning)
        with torch.no_grad():
            error = nn.functional.one_hot(truth, len(said)).to(said) - said
            for parameter, H in rows.items():
                if parameter in self._moves:
                    error = error - self.param_groups[0]["lr"] * (H @ self._moves[parameter])
            self._update(rows, error)

    def _update(self, rows: dict[nn.Parameter, Tensor], error: Float[Tensor, " C"]) -> None:
        variances = {one: self._variance(one).flatten() for one in rows}
        spread = sum(
            (H * variances[one] @ H.T for one, H in rows.items()), start=error.new_zeros(())
        )
        noise = self._noise(len(error), error)
        floor = FLOOR * torch.eye(len(error), dtype=torch.float64, device=error.device)
        weights = torch.linalg.inv((spread + noise).double() + floor).to(error.dtype)
        for one, H in rows.items():
            P = variances[one]
            move = P * (H.T @ (weights @ error))
            self._moves[one] = self._moves.get(one, 0) + move
            P.mul_(1.0 - P * (H * (weights @ H)).sum(dim=0)).clamp_(min=0.0)  # rounding only
        noise.mul_(BETA).add_((1.0 - BETA) * (torch.outer(error, error) + spread))

    def _variance(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "variance" not in state:
            state["variance"] = torch.full_like(parameter, INITIAL_VARIANCE).contiguous()
        return state["variance"]

    def _noise(self, classes: int, like: Tensor) -> Float[Tensor, "C C"]:
        state = self.state[self._learning[0]]
        if f"noise{classes}" not in state:
            state[f"noise{classes}"] = torch.eye(classes, dtype=like.dtype, device=like.device)
        return state[f"noise{classes}"]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Move the parameters by what the examples since the last step say."""
        for parameter, move in self._moves.items():
            parameter.add_(self.param_groups[0]["lr"] * move.view_as(parameter))
        self._moves = {}


def _jacobian(
    said: Float[Tensor, " C"], parameters: list[nn.Parameter]
) -> dict[nn.Parameter, Float[Tensor, "C n"]]:
    """Return ∂said/∂parameter, one row per class, of those that take part."""
    rows: dict[nn.Parameter, list[Tensor]] = {}
    for k in range(len(said)):
        last = k == len(said) - 1
        found = torch.autograd.grad(said[k], parameters, retain_graph=not last, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                rows.setdefault(parameter, []).append(gradient.flatten())
    return {parameter: torch.stack(gradients) for parameter, gradients in rows.items()}


def measure_all(
    backbone: Backbone, accelerator: Accelerator, kalman: LoKO, portions: Sequence[Portion]
) -> Tensor:
    """Let a filter take in every example of a step by itself; return their mean loss in nats."""
    nats, count = torch.zeros((), dtype=torch.float64, device=backbone.device), 0
    for portion in portions:
        lesson = portion.lesson
        for k in range(len(portion.chosen)):
            batch = lesson.encoded.batch(portion.chosen[k : k + 1])
            with accelerator.autocast():
                said = backbone.answers(batch, lesson.candidates, lesson.current_only)
            nats, count = nats + said.nats().detach(), count + 1
            kalman.measure(said.logits[0], said.truth[0])
    return nats / count
