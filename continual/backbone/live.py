"""A backbone around a model that somebody else trains: it is asked, and nothing of it is changed.

Parameters keep their ``requires_grad``, modules their mode, the configuration its ``use_cache``.
"""

from typing import Any

from torch import nn

from continual.backbone.base import Backbone
from continual.backbone.load import text_backbone
from continual.errors import InputError

CAUSAL = ("ForCausalLM", "LMHeadModel")
ANSWERING = ("ForConditionalGeneration",)


def live_backbone(
    model: nn.Module, tokenizer: Any, *, name: str = "", max_length: int | None = None
) -> Backbone:
    """Return a model in memory as a backbone, to be scored while somebody else trains it.

    Args:
        model: a language model of transformers (causal, or an encoder-decoder), where its inputs
            go to the device of its first parameter. Layers of it may be adapted already.
        tokenizer: the fast tokenizer that belongs to it.
        name: what messages call it; left out: what transformers loaded it as, else its class.
        max_length: longest input in tokens; None is the model's own bound, at most 1024.

    Raises:
        InputError: another kind of model or tokenizer, or a length beyond the model's positions.
    """
    family = _family(model)
    _check_tokenizer(tokenizer)
    config: Any = model.config
    name = name or str(config.name_or_path) or type(model).__name__
    parameter = next(model.parameters())
    facts = {
        "name": name,
        "model": model,
        "model_type": config.model_type,
        "device": parameter.device,
    }
    return text_backbone(family, facts, config, tokenizer, max_length)


def _family(model: nn.Module) -> str:
    """Return causal-lm or encoder-decoder, by the classes that the model is made from."""
    names = [kind.__name__ for kind in type(model).__mro__]
    if any(name.endswith(CAUSAL) for name in names):
        return "causal-lm"
    if any(name.endswith(ANSWERING) for name in names) and model.config.is_encoder_decoder:  # type: ignore[union-attr]
        return "encoder-decoder"
    raise InputError(
        f"a {type(model).__name__} cannot be asked for the words of an answer; give a language "
        "model of transformers with its output layer (a class that ends in ForCausalLM, "
        "LMHeadModel or, for an encoder-decoder, ForConditionalGeneration)."
    )


def _check_tokenizer(tokenizer: Any) -> None:
    from transformers import PreTrainedTokenizerBase

    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InputError(
            f"a language model is asked through its tokenizer; got {type(tokenizer).__name__}. "
            "Give the tokenizer that belongs to the model."
        )
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} is not a fast tokenizer, which knows which characters a "
            "token covers; load it with AutoTokenizer, which takes the fast one where there is one."
        )
