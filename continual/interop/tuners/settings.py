"""What a user may set of a tuner: the fields of PEFT's configuration, and ``mode``."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from continual.adapters import Method
from continual.adapters.checks import check_choice
from continual.errors import InputError, nearest
from continual.interop.tuners.names import (
    DATA_PRESETS,
    MODES,
    PRESETS,
    Known,
    configs,
    starts_from_data,
    tuner_named,
)

_OURS = "this library fills it in"
_MORE = "it trains more than adapters; task heads are this library's own"
HELD = {  # fields of PEFT that no run may set, and why
    **dict.fromkeys(("auto_mapping", "base_model_name_or_path", "inference_mode"), _OURS),
    **dict.fromkeys(("peft_type", "peft_version", "revision", "task_type"), _OURS),
    **dict.fromkeys(("modules_to_save", "trainable_token_indices"), _MORE),
    **{f"{name}_config": why for name, why in DATA_PRESETS.items()},
    "arrow_config": "it mixes adapters that were trained before, and begins with none",
    "alora_invocation_tokens": "it needs PEFT's own forward pass, which knows the whole prompt",
    "layer_replication": "it changes the backbone",
    "megatron_config": "Megatron's layers are not used here",
    "megatron_core": "Megatron's layers are not used here",
    "monteclora_config": "it draws its noise ahead into a buffer that is in no state",
    "runtime_config": "it says where weights wait; the backbone's device is backbone.device",
    "runtime_offload_base_weight": "it moves the backbone's own weights",
    "target_modules": "give method.targets, as for every method",
    "use_asa": "its importances live outside of any state that can be saved",
}
EVA_MAY = {"rho", "tau", "whiten"}
ONCE = "batch_average_once"  # of VeLoRA
_PLAIN = (int, float, bool, str)


@dataclass(frozen=True, kw_only=True)
class TunerConfig:
    """A tuner and how it goes through the tasks.

    Attributes:
        tuner: PEFT's type.
        mode: "through" (one adapter learns all tasks), "merge" (when a task ends it is added into
            the backbone's weights, in float32, and a new one begins) or "per_task" (every task has
            an adapter of its own and must be told at inference).
        fields: of PEFT's configuration, where they differ from its defaults.
    """

    tuner: str
    mode: str = "through"
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an unknown mode."""
        check_choice("method.mode", self.mode, MODES)


def tuner_method(name: str) -> Method:
    """Return what there is to know of ``peft:NAME`` as a method.

    Raises:
        InputError: PEFT has no such tuner, or it cannot run here.
    """
    known = tuner_named(name)
    return Method(
        name=name,
        title=f"PEFT {known.tuner}",
        paper="",
        summary="PEFT's own implementation, trained and measured like every other method.",
        config=TunerConfig,
        adapter=None,
        trains="adapters",
        learns="what PEFT lets learn",
        learning_rate=known.learning_rate,
        control=False,
        lora_export=False,
        trained_numbers="as PEFT has it",
    )


def tuner_config(name: str, settings: Mapping[str, Any]) -> TunerConfig:
    """Return the configuration of ``peft:NAME`` with some fields changed.

    Raises:
        InputError: every setting that PEFT does not know, or that no run may set.
    """
    known = tuner_named(name)
    given = dict(settings)
    mode = given.pop("mode", known.mode)
    own = settable(known)
    problems = [said for key, value in given.items() if (said := _problem(known, own, key, value))]
    if problems:
        raise InputError("\n".join(problems))
    if starts_from_data(known.fields):
        given["eva_config"] = {**given.get("eva_config", {}), **known.fields["eva_config"]}
    config = TunerConfig(tuner=known.tuner, mode=mode, fields={**known.fields, **given})
    peft_config(config)  # what PEFT itself refuses, it refuses now
    return config


def settable(known: Known) -> dict[str, Any]:
    """Return the fields that a run may set, with the type that PEFT declares."""
    kind = configs()[known.tuner]
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind) if one.init and one.name not in HELD}


def defaults(known: Known) -> dict[str, Any]:
    """Return the same fields with the values that they have where none is given."""
    own = settable(known)
    found = {one.name: _default(one) for one in fields(configs()[known.tuner]) if one.name in own}
    return {**found, **known.fields}


def _default(one: Any) -> Any:
    value = one.default_factory() if one.default_factory is not MISSING else one.default
    return getattr(value, "value", value)  # of PEFT's enumerations their words


def peft_config(config: TunerConfig, **more: Any) -> Any:
    """Return PEFT's configuration object; ``more`` are fields that this library fills in.

    Raises:
        InputError: PEFT refuses it; the message is its own.
    """
    try:
        return configs()[config.tuner](**config.fields, **more)
    except (TypeError, ValueError, ImportError, AssertionError) as error:
        raise InputError(f"PEFT refuses these settings of {config.tuner}: {error}") from error


def _eva_problem(key: str, value: Any) -> str:
    """Return why PEFT's EVA cannot be told this: its ranks stay as they are built."""
    if key == "rank_pattern":
        return "method.rank_pattern: peft:eva gives every layer r directions; leave it out."
    if isinstance(value, Mapping) and value.keys() <= EVA_MAY and value.get("rho", 1.0) == 1.0:
        return ""
    return (
        f"method.eva_config: got {value!r}; give a mapping of {sorted(EVA_MAY - {'rho'})}. Ranks "
        "are not redistributed (rho is 1), and the loop's batches have no mask of labels."
    )


def _nested_problem(key: str, hint: Any, value: Any) -> str:
    """Return what is wrong with a mapping of which PEFT makes a configuration of its own."""
    kinds = [kind for kind in get_args(hint) if is_dataclass(kind)]
    if not kinds or value is None:
        return ""
    allowed = sorted(one.name for one in fields(kinds[0]) if one.init)
    if not isinstance(value, Mapping) or not value.keys() <= set(allowed):
        return f"method.{key}: got {value!r}; PEFT wants a mapping of {allowed}."
    if value.get("init_type") == ONCE:
        return f"method.{key}: {ONCE!r} cannot run here: that it has happened is in no state."
    return ""


def _problem(known: Known, own: Mapping[str, Any], key: str, value: Any) -> str:
    """Return what is wrong with one setting; empty: nothing."""
    if key in HELD and key in {one.name for one in fields(configs()[known.tuner])}:
        return f"method.{key}: PEFT's field of that name cannot be set here: {HELD[key]}."
    if key not in own:
        allowed = sorted([*own, "mode", "targets"])
        return (
            f"method.{key}: unknown field of PEFT's {known.tuner}; known: {allowed}"
            f"{nearest(key, allowed) or '.'}"
        )
    if starts_from_data(known.fields) and key in ("eva_config", "rank_pattern"):
        return _eva_problem(key, value)
    if key in PRESETS.get(known.name, ("", {}))[1]:
        return f"method.{key} is what makes peft:{known.name}; use peft:{known.tuner.lower()}."
    if key == "eva_config" or (key == "init_lora_weights" and value == "eva"):
        return f"method.{key}: EVA is a method of its own; use peft:eva."
    if key == "init_lora_weights" and str(value) in DATA_PRESETS:
        return f"method.{key}: {value!r} cannot run here: {DATA_PRESETS[str(value)]}."
    if nested := _nested_problem(key, own[key], value):
        return nested
    plain = own[key] if own[key] in _PLAIN else None
    fits = isinstance(value, (int, float) if plain is float else plain) if plain else True
    if not fits or (plain in (int, float) and isinstance(value, bool)):
        return f"method.{key}: got {value!r}; PEFT wants {plain.__name__ if plain else 'another'}."
    return ""
