"""The optimiser over exactly the numbers that a method trains, and its state as plain tensors.

It is torch's AdamW, or the Kalman filter of LoKO. A rule for pairs runs before AdamW's step: it
updates the factors itself and uses their gradients up (LoRA-RITE, LoRA-Pro), or hands it other
ones (Riemannian). What belongs to no pair is AdamW's alone. State lies with the parameters, so
checkpoints know no rule.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from continual.adapters.adaptation import Adaptation
from continual.training import lora_pro, riemannian, rite
from continual.training.config import TrainConfig
from continual.training.loko import LoKO
from continual.training.pairs import LearningPair, pairs_of

Rule = Callable[[torch.optim.Optimizer, Sequence[LearningPair]], None]
RULES: dict[str, Rule] = {
    "lora-rite": rite.step_pairs,
    "lora-pro": lora_pro.step_pairs,
    "riemannian": riemannian.precondition,
}


def make_optimiser(
    trainable: Mapping[str, nn.Parameter],
    lr: float,
    weight_decay: float,
    kind: str = "adamw",
    pairs: Sequence[LearningPair] = (),
) -> torch.optim.Optimizer:
    """Return a fresh optimiser; parameters are ordered by name, so its state has a fixed order.

    Args:
        trainable: what learns, by name.
        lr: learning rate.
        weight_decay: decoupled, of every number.
        kind: of ``train.optimiser``.
        pairs: of ``pairs_of``; adamw and loko ask for none.
    """
    parameters = [trainable[name] for name in sorted(trainable)]
    if kind == "loko":
        return LoKO(parameters, lr)
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    if kind != "adamw":
        rule = RULES[kind]
        optimiser.register_step_pre_hook(lambda own, args, kwargs: rule(own, pairs))
    return optimiser


def clip_gradients(adaptation: Adaptation, config: TrainConfig) -> None:
    """Scale the whole gradient down to the norm ``train.clip``, as its optimiser measures it."""
    if config.clip is None:
        return
    learning = list(adaptation.trainable().values())
    if config.optimiser != "lora-rite":
        torch.nn.utils.clip_grad_norm_(learning, config.clip)
        return
    pairs = pairs_of(adaptation)
    paired = {id(factor) for pair in pairs for factor in (pair.A, pair.B)}
    norm = rite.gradient_norm(pairs, [one for one in learning if id(one) not in paired])
    torch.nn.utils.clip_grads_with_norm_(learning, config.clip, norm)


def optimiser_state(
    optimiser: torch.optim.Optimizer, trainable: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return the moments and step counts, keyed ``NAME|FIELD``; nothing before the first step."""
    return {
        f"{name}|{field}": value.detach().clone().cpu()
        for name in sorted(trainable)
        for field, value in optimiser.state.get(trainable[name], {}).items()
    }


def load_optimiser_state(
    optimiser: torch.optim.Optimizer,
    trainable: Mapping[str, nn.Parameter],
    state: Mapping[str, torch.Tensor],
) -> None:
    """Put back what :func:`optimiser_state` returned; moments go to their parameter's device.

    Always as copies: a file's tensors may lie at odd addresses, for which matrix products round
    otherwise than for those that torch has allocated.
    """
    for key, value in state.items():
        name, field = key.rsplit("|", 1)
        parameter = trainable[name]
        placed = value.clone() if field == "step" else value.to(parameter.device, copy=True)
        optimiser.state[parameter][field] = placed
