"""The optimiser's state travels as plain tensors."""

import torch
from torch import nn

from continual.training.optimiser import load_optimiser_state, make_optimiser, optimiser_state


def parameters() -> dict[str, nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(4, 3, generator=draw)) for name in ("b", "a")}


def update(optimiser, trainable, step):
    draw = torch.Generator().manual_seed(step)
    for name in sorted(trainable):
        trainable[name].grad = torch.randn(4, 3, generator=draw)
    optimiser.step()


def test_an_interrupted_optimiser_equals_an_uninterrupted_one():
    """Five steps are two steps, a save, a load elsewhere, and three steps: bit for bit."""
    whole = parameters()
    optimiser = make_optimiser(whole, 0.1, 0.01)
    for step in range(5):
        update(optimiser, whole, step)

    first = parameters()
    optimiser = make_optimiser(first, 0.1, 0.01)
    for step in range(2):
        update(optimiser, first, step)
    second = {name: nn.Parameter(value.detach().clone()) for name, value in first.items()}
    continued = make_optimiser(second, 0.1, 0.01)
    load_optimiser_state(continued, second, optimiser_state(optimiser, first))
    for step in range(2, 5):
        update(continued, second, step)

    assert all(torch.equal(whole[name], second[name]) for name in whole)


def test_before_the_first_step_there_is_nothing_to_save():
    """A fresh optimiser has no state."""
    trainable = parameters()

    assert optimiser_state(make_optimiser(trainable, 0.1, 0.0), trainable) == {}


def test_what_is_loaded_has_memory_of_its_own():
    """Where a file's tensor lay, at an odd address maybe, is no matter to the steps that follow."""
    trainable = parameters()
    lying = torch.arange(13.0)[1:].reshape(4, 3)
    optimiser = make_optimiser(trainable, 0.1, 0.0)
    load_optimiser_state(optimiser, trainable, {"a|exp_avg": lying})
    loaded = optimiser.state[trainable["a"]]["exp_avg"]

    assert torch.equal(loaded, lying)
    assert loaded.data_ptr() != lying.data_ptr()
