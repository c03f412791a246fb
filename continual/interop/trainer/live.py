"""Looking at a model in the middle of somebody else's training, and leaving it as it was."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from continual.adapters import Adaptation
from continual.errors import InputError


class LiveState:
    """The state of a model that somebody else trains, named by the moment; see ``Watched``."""

    def __init__(self, adaptation: Adaptation | None) -> None:
        self.moment = ""
        self._adaptation = adaptation

    def state_hash(self) -> str:
        """Return the moment: a model in training is another one after every step."""
        return self.moment

    def serving(self, task: int) -> AbstractContextManager[None]:
        """Inside, the model answers as for this task, where a method of ours is attached."""
        return nullcontext() if self._adaptation is None else self._adaptation.serving(task)


def asked_model(model: nn.Module) -> nn.Module:
    """Return what answers: PEFT's adapters lie inside the layers of the model that they wrap.

    Raises:
        InputError: a PEFT model whose adapter is a prompt in front of the text, or chooses among
            adapters, so that the model inside answers without it.
    """
    if not type(model).__module__.startswith("peft."):
        return model
    from peft import PeftModel

    assert isinstance(model, PeftModel), "peft's only modules around a whole model are PeftModels"
    kind = model.active_peft_config
    if kind.is_prompt_learning or str(kind.peft_type).endswith("XLORA"):
        raise InputError(
            f"PEFT's adapter {str(kind.peft_type).rpartition('.')[2]} is not inside the layers, so "
            "the model cannot be asked for the words of an answer through it; use an adapter of "
            "weights, such as LoRA."
        )
    return model.get_base_model()


@contextmanager
def undisturbed(device: torch.device, autocast: torch.dtype | None) -> Iterator[None]:
    """Inside, the model may be asked; afterwards every random state is as it was.

    Args:
        device: where the model computes.
        autocast: the dtype that training computes in, so that the same model is asked.
    """
    drawn, counted = random.getstate(), np.random.get_state()
    elsewhere = [] if device.type == "cpu" else [device.index or 0]
    kind = "cuda" if device.type == "cpu" else device.type
    with (
        torch.random.fork_rng(devices=elsewhere, device_type=kind),
        torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
    ):
        try:
            yield
        finally:
            random.setstate(drawn)
            np.random.set_state(counted)
