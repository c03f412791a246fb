"""Virtual tokens in front of what a causal language model reads.

PEFT's own forward pass drops positions and caches of its caller. Here the model is called as ever,
and a hook puts the prompt in front: as embeddings, or as keys and values of every layer. The prompt
counts as so many real tokens at the first positions, so that padding between it and the text stays
invisible. What a caller reads from the end of the logits is what it would have read without it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from continual.backbone import Backbone
from continual.backbone.causal_lm import CausalLM
from continual.errors import InputError

SHORTEST = 8  # tokens that a text must be allowed to have, as for backbone.max_length


class Prompt:
    """Puts a PEFT model's prompt in front of every text while ``on``."""

    def __init__(self, network: nn.Module, peft_model: Any, *, cached: bool) -> None:
        """Hook into the network; nothing happens before ``on`` is set.

        Args:
            network: the causal language model.
            peft_model: PEFT's wrapper of it, which makes the prompt.
            cached: whether the prompt is keys and values instead of embeddings.
        """
        self.on, self._peft, self._cached = False, peft_model, cached
        self.tokens: int = peft_model.active_peft_config.num_virtual_tokens
        self._embed: nn.Module = peft_model.get_base_model().get_input_embeddings()
        self._handle = network.register_forward_pre_hook(self._before, with_kwargs=True)

    def remove(self) -> None:
        """Leave the network as it was."""
        self._handle.remove()

    def train(self, mode: bool) -> None:
        """Follow the network into training or evaluation."""
        self._peft.prompt_encoder.train(mode)

    def _before(
        self, network: nn.Module, given: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if not self.on:
            return None
        self.train(network.training)
        changed = dict(options)
        ids, mask = options["input_ids"], options.get("attention_mask")
        if mask is None:
            mask = torch.ones_like(ids)
        changed["attention_mask"] = torch.cat([mask.new_ones(len(ids), self.tokens), mask], dim=1)
        if options.get("position_ids") is not None:
            changed["position_ids"] = options["position_ids"] + self.tokens
        cache = options.get("past_key_values")
        if cache is None or cache.get_seq_length() == 0:
            changed |= self._cache(ids) if self._cached else self._embeddings(ids, changed)
        return given, changed

    def _cache(self, ids: Tensor) -> dict[str, Any]:
        return {"past_key_values": self._peft.get_prompt(len(ids))}

    def _embeddings(self, ids: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        text = self._embed(ids)
        prompt = self._peft.get_prompt(batch_size=len(ids)).to(text.dtype)
        made: dict[str, Any] = {"input_ids": None, "inputs_embeds": torch.cat([prompt, text], 1)}
        if options.get("position_ids") is not None:
            positions = options["position_ids"]
            first = torch.arange(self.tokens, device=positions.device)
            made["position_ids"] = torch.cat([first.expand(len(ids), -1), positions], dim=1)
        return made


def check_speaker(backbone: Backbone, name: str) -> CausalLM:
    """Return the backbone as the causal language model that a prompt needs.

    Raises:
        InputError: it is another; says what to use.
    """
    if not isinstance(backbone, CausalLM):
        raise InputError(
            f"{name} puts virtual tokens in front of what a causal language model reads; backbone "
            f"{backbone.name!r} is of the family {backbone.family!r}. Choose a causal language "
            "model without heads, or another tuner."
        )
    return backbone


def room_left(backbone: CausalLM, tokens: int) -> int | None:
    """Return how many of the model's positions a prompt leaves; None: it has no such limit.

    Raises:
        InputError: too few.
    """
    if backbone.limit is None:
        return None
    left = backbone.limit - tokens
    if left < SHORTEST:
        raise InputError(
            f"{tokens} virtual tokens leave {left} of the {backbone.limit} positions of backbone "
            f"{backbone.name!r}; lower method.num_virtual_tokens."
        )
    return left
