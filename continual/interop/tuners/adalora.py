"""AdaLoRA's two duties outside of a forward pass: its penalty, and its budget of ranks.

    R = λ / N Σ ‖P Pᵗ − I‖_F over the N factors P (A, and B transposed)

PEFT adds R in the forward pass of its wrapper, where the loss is the model's own; here the loop
adds it once per optimiser step. Between steps PEFT's allocator masks the triplets that matter
least, so that by step ``total_step - tfinal`` as many are left as ``target_r`` says. Steps are
counted over the life of an adapter: all tasks in mode "through", else one.

Reference: Zhang et al. (2023), arXiv:2303.10512, eq. 4 and 10-12.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from continual.interop.tuners.tuner import Tuner

_SCORES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class RankBudget:
    """The state that PEFT keeps outside of its modules, and when it is asked."""

    def __init__(self, tuner: Tuner) -> None:
        """Begin at step 0."""
        self._tuner, self._step = tuner, 0
        self._config = tuner.config

    def penalty(self) -> Tensor:
        """Return λ times the mean distance of the factors from orthogonality."""
        named = self._tuner.trainable().items()
        A = [p @ p.T for name, p in named if "lora_A" in name]
        B = [p.T @ p for name, p in named if "lora_B" in name]
        far = [torch.linalg.matrix_norm(G - torch.eye(len(G), device=G.device)) for G in A + B]
        return self._config.orth_reg_weight * torch.stack(far).mean()

    def after_step(self) -> None:
        """Let PEFT score the triplets by their gradients and mask some."""
        self._step += 1
        self._tuner.model.base_model.update_and_allocate(self._step)

    def tensors(self) -> dict[str, Tensor]:
        """Return the step, the scores and which triplets are left."""
        scores = {
            f"{kind}|{name}": tensor
            for kind in _SCORES
            for name, tensor in vars(self._allocator)[kind].items()
        }
        left = {f"left|{name}": torch.tensor(kept) for name, kept in self._pattern.items()}
        return {"step": torch.tensor(self._step), **scores, **left}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Become the one whose ``tensors`` were saved."""
        devices = {name: p.device for name, p in self._tuner.network.named_parameters()}
        for kind in _SCORES:
            scores = vars(self._allocator)[kind]
            scores.clear()
            for key, tensor in tensors.items():
                word, _, name = key.partition("|")
                if word == kind:
                    scores[name] = tensor.to(devices.get(name, tensor.device), copy=True)
        left = {k.partition("|")[2]: t.tolist() for k, t in tensors.items() if k[:5] == "left|"}
        self._config.rank_pattern = left or None
        self._step = int(tensors["step"])

    @property
    def _allocator(self) -> Any:
        return self._tuner.model.base_model.rankallocator

    @property
    def _pattern(self) -> Mapping[str, list[bool]]:
        return self._config.rank_pattern or {}
