"""Put one of PEFT's tuners on a backbone."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from continual.adapters.layer import AdaptedLinear
from continual.adapters.targets import find_layers
from continual.backbone import Backbone
from continual.errors import InputError
from continual.interop.folders import whole_folder
from continual.interop.peft import TASK_TYPES, base_name, save_heads, short_names, write_card
from continual.interop.tuners.adaptation import TunerAdaptation
from continual.interop.tuners.eva import check_family
from continual.interop.tuners.names import ELSEWHERE, PROMPTS, starts_from_data
from continual.interop.tuners.prompts import check_speaker, room_left
from continual.interop.tuners.settings import TunerConfig, tuner_method


def attach_tuner(
    backbone: Backbone,
    name: str,
    config: TunerConfig,
    *,
    targets: str | Sequence[str] = "default",
    seed: int = 0,
) -> TunerAdaptation:
    """Freeze a backbone and put PEFT's tuner on it, in place; nothing changes yet.

    Args:
        backbone: the loaded model; of its positions a prompt takes some.
        name: ``peft:NAME``.
        config: of ``tuner_config``.
        targets: as for ``attach``; a tuner of other modules than linear layers takes their names,
            and PEFT's own choice by default; one with a prompt takes none.
        seed: of everything that PEFT draws.

    Returns:
        The adaptation, before its first task.

    Raises:
        InputError: PEFT or this library cannot run this tuner on this backbone. The backbone is
            then unchanged.
    """
    model = backbone.model
    if any(isinstance(m, AdaptedLinear) or _is_peft(m) for m in model.modules()):
        raise InputError("this model already carries adapters; call detach() on them first.")
    if starts_from_data(config.fields):
        check_family(backbone.family, name)
    speaker, left = None, None
    if config.tuner in PROMPTS:
        speaker = check_speaker(backbone, name)
        left = room_left(speaker, config.fields["num_virtual_tokens"])
    adaptation = TunerAdaptation(
        model=model,
        method=tuner_method(name),
        config=config,
        heads=backbone.heads,
        target_modules=_target_modules(backbone, name, config.tuner, targets),
        task_type=TASK_TYPES[backbone.family],
        seed=seed,
    )
    if speaker is not None and left is not None:
        adaptation.shorten(speaker, left)
    return adaptation


def _target_modules(
    backbone: Backbone, name: str, tuner: str, targets: str | Sequence[str]
) -> list[str] | None:
    """Return what PEFT is told to adapt; None where it chooses itself, or nothing is adapted."""
    if tuner in PROMPTS and targets != "default":
        raise InputError(f"{name} adapts no layers, so it takes no targets; got {targets!r}.")
    if tuner in PROMPTS or (tuner in ELSEWHERE and targets == "default"):
        return None
    if tuner in ELSEWHERE:
        return [targets] if isinstance(targets, str) else list(targets)
    heads = frozenset(map(id, backbone.heads.modules()))
    layers = find_layers(backbone.model, targets, model_type=backbone.model_type, excluded=heads)
    return short_names(layers, [n for n, _ in backbone.model.named_modules() if n])


def _is_peft(module: nn.Module) -> bool:
    return type(module).__module__.startswith("peft.")


def save_tuner(adaptation: TunerAdaptation, backbone: Backbone, folder: Path) -> None:
    """Write PEFT's own adapter directory, or merged weights where the backbone has changed.

    Args:
        adaptation: of ``attach_tuner``.
        backbone: what it is attached to.
        folder: the directory to write; replaced whole if it is there.
    """
    with whole_folder(folder) as draft:
        if adaptation.installed.is_merged:
            merged = adaptation.installed.merged()
            with adaptation.unwrapped():
                own = adaptation.model.state_dict()
                named = {n: t.to(own[n].dtype).contiguous() for n, t in merged.items()}
                backbone.save_pretrained(draft, own | named)
        else:
            adaptation.tuner.save(draft, base_name(backbone))
        save_heads(adaptation, draft)
        if adaptation.installed.is_merged:
            write_card(adaptation, draft, library="transformers", base_model=None)
        else:
            write_card(adaptation, draft, library="peft", base_model=base_name(backbone))
