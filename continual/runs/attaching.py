"""What a method is named, and putting it on a backbone: one of ours, or one of PEFT's tuners."""

from collections.abc import Mapping
from typing import Any

from continual.adapters import Adaptation, Method, attach, configure, method_named
from continual.backbone import Backbone
from continual.errors import InputError
from continual.interop.tuners.names import is_tuner
from continual.runs.config import RunConfig

TEXT_FAMILIES = ("causal-lm", "encoder-decoder")


def any_method(name: str) -> Method:
    """Return the method of that name, alias, or tuner of PEFT.

    Raises:
        InputError: there is none; names the known ones.
    """
    if not is_tuner(name):
        return method_named(name)
    from continual.interop.tuners.settings import tuner_method

    return tuner_method(name)


def any_config(method: str, options: Mapping[str, Any]) -> Any:
    """Return a method's config with some settings changed.

    Raises:
        InputError: every setting that is unknown or out of range.
    """
    if not is_tuner(method):
        return configure(method, options)
    from continual.interop.tuners.settings import tuner_config

    return tuner_config(method, options)


def attach_method(backbone: Backbone, config: RunConfig, options: Any) -> Adaptation:
    """Put a run's method on its backbone; nothing changes yet.

    Raises:
        InputError: the two do not fit.
    """
    if config.method == "head-only" and backbone.family in TEXT_FAMILIES:
        raise InputError(
            f"method 'head-only' trains heads, and {config.backbone!r} ({backbone.family}) has "
            "none: it answers with its own vocabulary. Use 'frozen' as the control there, or give "
            "a causal language model heads with backbone.heads=true."
        )
    if is_tuner(config.method):
        from continual.interop.tuners.attach import attach_tuner

        return attach_tuner(
            backbone, config.method, options, targets=config.targets, seed=config.seed
        )
    return attach(
        backbone.model,
        config.method,
        options,
        targets=config.targets,
        model_type=backbone.model_type,
        seed=config.seed,
        heads=backbone.heads,
    )
