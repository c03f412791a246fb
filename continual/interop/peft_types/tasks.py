"""What a training on a PEFT model has to call, because PEFT does not: tasks, penalties, steps.

    begin_task(model, 1)                      where the second task begins; then a new optimiser
    before_step(model)
    loss = loss_of(batch) + penalty(model)    once per optimiser step
    loss.backward()
    after_backward(model)
    optimiser.step()
    forget(optimiser, after_step(model, lr))  moments of what began anew

All of them act on the active adapters, on all their layers. ``model`` is a ``PeftModel``, its
tuner, or the bare model into which the layers were injected.
"""

import torch
from torch import Tensor, nn

from continual.adapters.moments import finish_step
from continual.errors import InputError
from continual.interop.peft_types.held import Held
from continual.interop.peft_types.layer import AdapterLayer


def begin_task(model: nn.Module, task: int) -> None:
    """Begin task 1, 2, ... of the active adapters; a new adapter is in task 0.

    Parameters may be replaced: make the optimiser anew afterwards.

    Raises:
        InputError: another task is next, the active adapters are in different tasks or merged, or
            none of ours is active.
    """
    held = _active(model)
    if any(layer.merged for layer in _layers(model)):
        raise InputError("adapters are merged; call unmerge_adapter() before the next task begins.")
    now = current_task(model)
    if task != now + 1:
        raise InputError(
            f"tasks begin in order: after task {now} of the active adapters comes {now + 1}; got "
            f"{task!r}. A loaded adapter goes on in the task that it was saved in."
        )
    for one in held:
        one.begin_task(task)


def current_task(model: nn.Module) -> int:
    """Return the task of the active adapters: 0 for a new one.

    Raises:
        InputError: the active adapters are in different tasks, or none of ours is active.
    """
    tasks = sorted({int(one.task) for one in _active(model)})
    if len(tasks) > 1:
        raise InputError(f"the active adapters are in different tasks: {tasks}.")
    return tasks[0]


def penalty(model: nn.Module) -> Tensor:
    """Return the penalty of the active adapters, a scalar for the loss of one optimiser step.

    Raises:
        InputError: no adapter of ours is active.
    """
    terms = [one.adapter.penalty() for one in _active(model)]
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()


def before_step(model: nn.Module) -> None:
    """Let the active adapters draw what one optimiser step has in common.

    Raises:
        InputError: no adapter of ours is active.
    """
    for one in _active(model):
        one.adapter.before_step()


def after_backward(model: nn.Module) -> None:
    """Let the active adapters change their gradients, before these are clipped.

    Raises:
        InputError: no adapter of ours is active.
    """
    for one in _active(model):
        one.adapter.after_backward()


def after_step(model: nn.Module, lr: float) -> dict[nn.Parameter, Tensor | None]:
    """Let the active adapters finish an optimiser step that was made with this learning rate.

    Returns:
        The parameters that began anew, whose moments the optimiser must forget; where only some
        entries did, with a mask of these. ``forget`` does it.

    Raises:
        InputError: no adapter of ours is active.
    """
    return finish_step([one.adapter for one in _active(model)], lr)


def _layers(model: nn.Module) -> list[AdapterLayer]:
    return [module for module in model.modules() if isinstance(module, AdapterLayer)]


def _active(model: nn.Module) -> list[Held]:
    """Return what the layers hold of the active adapters."""
    found = [held for layer in _layers(model) for held in layer.working()]
    if not found:
        raise InputError(
            f"no adapter of a method of ours is active on this {type(model).__name__}; put one "
            "there with get_peft_model and a configuration of continual.interop.peft_types."
        )
    return found
