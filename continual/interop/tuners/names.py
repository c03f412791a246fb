"""The names ``peft:NAME``: every tuner of the installed PEFT, by its own lower-case name.

A few settings of LoRA that are known as methods have names of their own. What cannot run here is
named too, with the reason; a type that PEFT adds later runs unless it is listed as refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from continual._torchvision import ensure_torchvision
from continual.errors import InputError, unknown

PREFIX = "peft:"
THROUGH, MERGE, PER_TASK = MODES = ("through", "merge", "per_task")

PROMPTS = ("CARTRIDGE", "P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING")  # virtual tokens in front
CACHED = ("CARTRIDGE", "PREFIX_TUNING")  # those that are keys and values of every layer
ELSEWHERE = ("ADAPTION_PROMPT", "LN_TUNING", "TRAINABLE_TOKENS")  # adapt other than linear layers

_LABELS = "its loss reads the labels of the whole prompt, which the loop does not hand to models"
_TASK_IDS = "it asks for a task number beside every example, which the loop does not hand to models"
_BEFORE = "PEFT builds it on {} of a pass over data, which are in no state to build it on again"
REFUSED = {
    "CPT": _LABELS,
    "MULTITASK_PROMPT_TUNING": _TASK_IDS,
    "POLY": _TASK_IDS,
    "SHADOW": "its side network hooks into the backbone's own layers, so the bare backbone cannot "
    "be asked while it is there",
    "XLORA": "it mixes adapters that were trained before, and begins with none",
}
# What learns is part of the backbone's own weights, or a factor of them that starts at one.
_HOLDING = ("BOFT", "FROD", "IA3", "LN_TUNING", "OSF", "PSOFT", "ROAD", "TRAINABLE_TOKENS")
DATA_PRESETS = {  # initialisations of LoRA: name and the reason
    "corda": _BEFORE.format("covariances"),
    "lora_ga": _BEFORE.format("gradients"),
    "loftq": "PEFT rounds the backbone for it with bitsandbytes, which needs a GPU; see `qdota`",
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """One name behind ``peft:``.

    Attributes:
        name: without the prefix.
        tuner: PEFT's type.
        fields: of its configuration that make it this, or without which it would not start.
        mode: how it goes through tasks unless told otherwise.
        learning_rate: peak of AdamW where the run names none.
        why_not: the reason why it cannot run here; empty: it can.
    """

    name: str
    tuner: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    mode: str = THROUGH
    learning_rate: float = 0.003
    why_not: str = ""


PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "bone": ("MISS", {}),  # PEFT's own successor of it
    "dora": ("LORA", {"use_dora": True}),
    "eva": ("LORA", {"init_lora_weights": "eva", "eva_config": {"rho": 1.0}}),
    "mica": ("LORA", {"init_lora_weights": "mica"}),
    "olora": ("LORA", {"init_lora_weights": "olora"}),
    "pissa": ("LORA", {"init_lora_weights": "pissa"}),
    "rslora": ("LORA", {"use_rslora": True}),
}
_FIELDS: dict[str, dict[str, Any]] = {
    "FROD": {"progressbar": False},
    "IA3": {"feedforward_modules": []},  # PEFT's own choice may lie outside of the targets
    **{tuner: {"num_virtual_tokens": 20} for tuner in PROMPTS},
}
_RATES = {  # in small letters: chosen on the first task of `pydocs` (analysis/all-methods)
    **dict.fromkeys(("eva", "olora", "osf", "peanut", "pissa", "randlora"), 0.001),
    **dict.fromkeys(("hira", "mica"), 0.01),
    **dict.fromkeys(("ia3", "ln_tuning", "prefix_tuning", "vera"), 0.1),
    "SHIRA": 1e-3,
    **dict.fromkeys(("BEFT", "ROAD", "TINYLORA", "UNILORA"), 0.01),
    **dict.fromkeys((*PROMPTS, "ADAPTION_PROMPT"), 0.03),
}


def is_tuner(method: str) -> bool:
    """Say whether a method's name is one of ours for PEFT's tuners."""
    return method.startswith(PREFIX)


def starts_from_data(fields: Mapping[str, Any]) -> bool:
    """Say whether these fields of PEFT's LoRA make it EVA."""
    return fields.get("init_lora_weights") == "eva"


def holds_weights(tuner: str, fields: Mapping[str, Any]) -> bool:
    """Say whether the backbone's weights vanish where what learns is drawn to zero."""
    start = str(fields.get("init_lora_weights", ""))
    return (
        tuner in _HOLDING
        or bool(fields.get("use_dora"))
        or start.startswith(("olora", "pissa"))
        or fields.get("bias", "none") != "none"
    )


def adapts_layers(method: str) -> bool:
    """Say whether a method puts adapters on linear layers, as all but some of PEFT's tuners do."""
    tuner = method.removeprefix(PREFIX).upper()
    return not is_tuner(method) or tuner not in (*PROMPTS, *ELSEWHERE)


def configs() -> dict[str, type]:
    """Return PEFT's types and their configuration classes, ours (`peft_types`) left out."""
    ensure_torchvision()
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    ours = "continual."
    return {
        tuner.value: kind
        for tuner, kind in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if not kind.__module__.startswith(ours)
    }


def known_tuners() -> dict[str, Known]:
    """Return everything that may stand behind ``peft:``, what cannot run included, by name."""
    found = {tuner.lower(): _known(tuner.lower(), tuner, {}) for tuner in configs()}
    found |= {name: _known(name, *preset) for name, preset in PRESETS.items()}
    found |= {
        name: Known(name=name, tuner="LORA", why_not=why) for name, why in DATA_PRESETS.items()
    }
    return dict(sorted(found.items()))


def _known(name: str, tuner: str, fields: Mapping[str, Any]) -> Known:
    return Known(
        name=name,
        tuner=tuner,
        fields={**_FIELDS.get(tuner, {}), **fields},
        mode=MERGE if tuner == "OSF" else THROUGH,
        learning_rate=_RATES.get(name, _RATES.get(tuner, Known.learning_rate)),
        why_not=REFUSED.get(tuner, ""),
    )


def tuner_named(method: str) -> Known:
    """Return what ``peft:NAME`` means.

    Raises:
        InputError: PEFT has no such tuner, or it cannot run here; says why.
    """
    every = known_tuners()
    name = method.removeprefix(PREFIX)
    if name not in every:
        raise unknown("tuner of PEFT", name, every)
    if every[name].why_not:
        raise InputError(f"{method} cannot run here: {every[name].why_not}.")
    return every[name]
