"""Which layers of a backbone are adapted.

    "default"            the query, key and value projections of the attention, by architecture
    "all-linear"         every linear layer but the output heads
    ["q_proj", "fc1"]    layers whose name ends in one of these, at a dot
    "re:.*layers.[01].*" layers whose whole name matches the regular expression

The default is one table for every method, so that comparisons are fair: the CURLoRA paper adapts
q, k and v; LoRA, N-LoRA and S-LoRA adapt q and v. Names are those of transformers 5.
"""

import re
from collections.abc import Mapping, Sequence

from torch import nn

from continual.adapters.layer import is_linear
from continual.errors import InputError, unknown

_QKV_PROJ = ("q_proj", "k_proj", "v_proj")
_BERT = ("query", "key", "value")
_FUSED = ("query_key_value",)
_BY_SUFFIXES: dict[tuple[str, ...], str] = {
    _QKV_PROJ: (
        "bart beit blenderbot clip clip_vision_model cohere deit dinov2 gemma gemma2 gemma3_text "
        "gpt_neo gptj granite llama m2m_100 marian mbart mistral mixtral olmo olmo2 opt pegasus "
        "phi qwen2 qwen2_moe qwen3 siglip siglip_vision_model smollm3 stablelm starcoder2 vit"
    ),
    ("qkv_proj",): "phi3",
    ("c_attn",): "gpt2 gpt_bigcode",
    _FUSED: "bloom falcon gpt_neox",
    ("Wqkv",): "modernbert mpt",
    ("q", "k", "v"): "longt5 mpnet mt5 t5 umt5",
    _BERT: "albert bert camembert electra roberta xlm-roberta",
    ("query_proj", "key_proj", "value_proj"): "deberta-v2",
    ("in_proj",): "deberta",
    ("q_lin", "k_lin", "v_lin"): "distilbert",
}
DEFAULT_TARGETS: dict[str, tuple[str, ...]] = {
    model_type: suffixes for suffixes, types in _BY_SUFFIXES.items() for model_type in types.split()
}
OUTPUT_HEADS = frozenset(
    ("lm_head", "embed_out", "score", "classifier", "pre_classifier", "qa_outputs", "cls")
)


def find_layers(
    model: nn.Module,
    targets: str | Sequence[str],
    *,
    model_type: str = "",
    excluded: frozenset[int] = frozenset(),
) -> dict[str, nn.Module]:
    """Return the linear layers to adapt, by name, in the model's own order.

    Args:
        model: the backbone; its layers must not be adapted yet.
        targets: see the module's docstring.
        model_type: the architecture's name, needed for "default".
        excluded: ids of modules that never count, such as our own heads.

    Raises:
        InputError: unknown architecture, malformed expression, or a pattern without any layer.
    """
    linear = {
        name: module
        for name, module in model.named_modules()
        if is_linear(module) and id(module) not in excluded
    }
    if not linear:
        raise InputError(f"attach found no linear layer in this {type(model).__name__}.")
    if targets == "all-linear":
        inner = {n: m for n, m in linear.items() if not OUTPUT_HEADS.intersection(n.split("."))}
        if not inner:
            raise InputError("attach found no linear layer besides the output head.")
        return inner
    patterns = _patterns(targets, model_type, linear)
    chosen: set[str] = set()
    for pattern in patterns:
        matched = {name for name in linear if _matches(pattern, name)}
        if not matched:
            raise _no_match(patterns, pattern, linear)
        chosen |= matched
    return {name: module for name, module in linear.items() if name in chosen}


def _patterns(
    targets: str | Sequence[str], model_type: str, linear: Mapping[str, nn.Module]
) -> tuple[str, ...]:
    if targets == "default":
        if model_type in DEFAULT_TARGETS:
            return DEFAULT_TARGETS[model_type]
        given = f"model_type {model_type!r}" if model_type else "a model without a model_type"
        close = f"{unknown('model_type', model_type, DEFAULT_TARGETS)} " if model_type else ""
        raise InputError(
            f"there are no default targets for {given}. {close}Give targets as a list of layer "
            f"names or as 'all-linear'; this backbone has {_last_names(linear)}."
        )
    patterns = (targets,) if isinstance(targets, str) else tuple(targets)
    if not patterns:
        raise InputError(f"targets is empty; this backbone has {_last_names(linear)}.")
    return patterns


def _matches(pattern: str, name: str) -> bool:
    if not pattern.startswith("re:"):
        return name == pattern or name.endswith(f".{pattern}")
    try:
        return re.fullmatch(pattern[3:], name) is not None
    except re.error as error:
        raise InputError(f"targets {pattern!r} is not a regular expression: {error}.") from None


def _no_match(
    patterns: tuple[str, ...], pattern: str, linear: Mapping[str, nn.Module]
) -> InputError:
    how = "matching" if pattern.startswith("re:") else "ending in"
    what = repr(pattern) if len(patterns) > 1 or how == "matching" else repr(patterns)
    return InputError(
        f"attach found no linear layer {how} {what}; this backbone has {_last_names(linear)}."
    )


def _last_names(linear: Mapping[str, nn.Module]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in linear})
