"""PEFT's EVA: LoRA whose A starts at the principal directions of what its layer reads in a task.

    A = V_r,   B = 0,   X − mean(X) ≈ U diag(σ) V

What the loop shows of a task is remembered as calls of the network. PEFT's own function makes them
again and again, without the adapter, until no direction turns any more (``tau``). Rows of X are the
positions that are read: padding is none of them. All layers keep r directions (ρ = 1), because an
adapter that is built anew for a saved state must have the saved shapes.

Reference: Paischer et al. (2024), arXiv:2410.07170.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

from torch import Tensor, nn

from continual.adapters.eva import EVAConfig
from continual.errors import InputError
from continual.interop.tuners.tuner import Tuner, silence

EXAMPLES = EVAConfig().examples  # as many as our own looks at
PASSES = 100  # over them, after which directions that still turn are given up
MADE_BY_EVA = ("target_modules", "rank_pattern", "alpha_pattern")


@dataclass(frozen=True)
class Call:
    """One call of the network, or of the part of it that a backbone asks."""

    module: nn.Module
    given: tuple[Any, ...]
    named: Mapping[str, Any]

    def to(self, device: object) -> "Call":
        """Stay: PEFT moves batches, and this one is where the network is."""
        return self

    def mask(self) -> Tensor | None:
        """Return which positions are read, (examples, length); None: all are."""
        found = self.named.get("attention_mask")
        return None if found is None else found.bool()


def check_family(family: str, name: str) -> None:
    """Refuse a network that reads two texts of which only one comes with a mask.

    Raises:
        InputError: says what to use.
    """
    if family == "encoder-decoder":
        raise InputError(
            f"{name} must know which positions are padding, and the decoder of an encoder-decoder "
            "is not told; use the method eva."
        )


@contextmanager
def remembered(network: nn.Module) -> Iterator[list[Call]]:
    """Inside, calls of the network from outside are listed."""
    calls: list[Call] = []
    inside: list[nn.Module] = []

    def enter(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if not inside:
            calls.append(Call(module, given, named))
        inside.append(module)

    def leave(module: nn.Module, given: object, said: object) -> None:
        inside.pop()

    handles = []
    for module in network.modules():
        handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def start(tuner: Tuner, calls: Sequence[Call]) -> None:
    """Let PEFT find where A starts; gradient flags must be set again afterwards.

    Raises:
        InputError: PEFT finds no such start in these examples; nothing was changed.
    """
    from peft.tuners.lora.eva import initialize_lora_eva_weights

    model, config = tuner.model, tuner.config
    modes = [(module, module.training) for module in model.modules()]
    hooks = [(module, dict(module._forward_hooks)) for module in model.modules()]
    kept = {name: vars(config)[name] for name in MADE_BY_EVA}
    try:
        with silence(), redirect_stdout(StringIO()):
            found = _directions(model, calls)
            _check_ranks(model, found)
            initialize_lora_eva_weights(model, eva_state_dict=found)
    except InputError:
        raise
    except Exception as error:  # PEFT refuses in every possible way
        raise InputError(
            f"PEFT's EVA finds no start in the examples of this task: {error}. Lower method.r, or "
            "choose other targets."
        ) from error
    finally:
        vars(config).update(kept)  # they say nothing new, and a restored adapter has these
        for module, training in modes:
            module.training = training
        for module, before in hooks:
            module._forward_hooks.clear()
            module._forward_hooks.update(before)


def _directions(model: Any, calls: Sequence[Call]) -> dict[str, Tensor]:
    from peft.tuners.lora.eva import get_eva_state_dict

    return get_eva_state_dict(
        model,
        list(calls),
        forward_fn=_forward(PASSES * len(calls)),
        prepare_model_inputs_fn=lambda call, config: call.mask(),
        prepare_layer_inputs_fn=_rows,
        gather_distributed_inputs=False,  # every process looks at the same examples
        show_progress_bar=False,
    )


def _forward(most: int) -> Callable[[Any, Call], None]:
    """Return what makes a call again; PEFT alone would do so for ever."""
    made = 0

    def again(model: Any, call: Call) -> None:
        nonlocal made
        made += 1
        if made > most:
            raise InputError(
                f"PEFT's EVA has found no directions that stay in {PASSES} passes over the "
                "examples of this task. A batch of fewer than method.r positions shows it none: "
                "lower method.r, or raise train.batch_size. Else lower tau of method.eva_config."
            )
        call.module(*call.given, **call.named)

    return again


def _rows(given: tuple[Tensor, ...], mask: Tensor | None, name: str) -> Tensor:
    """Return what a layer has read, a row per position that is not padding."""
    x = given[0]
    if mask is None or x.dim() < 3:
        return x.reshape(-1, x.shape[-1])
    if x.shape[:2] != mask.shape:
        raise InputError(
            f"PEFT's EVA cannot tell which of the {tuple(x.shape[:-1])} inputs of {name} are "
            f"padding: the mask is {tuple(mask.shape)}. Choose other targets."
        )
    return x[mask]


def _check_ranks(model: Any, found: Mapping[str, Tensor]) -> None:
    """Refuse a start that is not one for every layer, of its own shape."""
    from peft.tuners.lora.layer import LoraLayer

    built = {
        name: [part.weight.shape for part in module.lora_A.values()]
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    wrong = sorted(n for n in built if n not in found or [found[n].shape] != built[n])
    if wrong:
        raise InputError(
            f"PEFT's EVA has no start of rank r for {wrong[0]} and {len(wrong) - 1} more; choose "
            "linear layers as targets, without patterns of ranks."
        )
