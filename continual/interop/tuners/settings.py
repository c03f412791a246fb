"""What a user may set of a tuner: the fields of PEFT's configuration, and ``mode``."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_type_hints

from continual.adapters import Method
from continual.adapters.checks import check_choice
from continual.errors import InputError, nearest
from continual.interop.tuners.names import DATA_PRESETS, MODES, PRESETS, Known, configs, tuner_named

_OURS = "this library fills it in"
_OBJECT = "it takes a Python object, which a setting cannot be"
_MORE = "it trains more than adapters; task heads are this library's own"
HELD = {  # fields of PEFT that no run may set, and why
    **dict.fromkeys(("auto_mapping", "base_model_name_or_path", "inference_mode"), _OURS),
    **dict.fromkeys(("peft_type", "peft_version", "revision", "task_type"), _OURS),
    **dict.fromkeys(("arrow_config", "corda_config", "eva_config", "kasa_config"), _OBJECT),
    **dict.fromkeys(("loftq_config", "lora_ga_config", "monteclora_config"), _OBJECT),
    **dict.fromkeys(("runtime_config", "use_bdlora", "velora_config"), _OBJECT),
    **dict.fromkeys(("modules_to_save", "trainable_token_indices"), _MORE),
    "alora_invocation_tokens": "it needs PEFT's own forward pass, which knows the whole prompt",
    "layer_replication": "it changes the backbone",
    "megatron_config": "Megatron's layers are not used here",
    "megatron_core": "Megatron's layers are not used here",
    "runtime_offload_base_weight": "it moves the backbone's own weights",
    "target_modules": "give method.targets, as for every method",
    "use_asa": "its importances live outside of any state that can be saved",
}
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
    if key in PRESETS.get(known.name, ("", {}))[1]:
        return f"method.{key} is what makes peft:{known.name}; use peft:{known.tuner.lower()}."
    if key == "init_lora_weights" and str(value) in DATA_PRESETS:
        return f"method.{key}: {value!r} cannot run here: {DATA_PRESETS[str(value)]}."
    plain = own[key] if own[key] in _PLAIN else None
    fits = isinstance(value, (int, float) if plain is float else plain) if plain else True
    if not fits or (plain in (int, float) and isinstance(value, bool)):
        return f"method.{key}: got {value!r}; PEFT wants {plain.__name__ if plain else 'another'}."
    return ""
