"""XGBLoRA: which layers learn, and that the others rest."""

import pytest
import torch
from torch import nn

from continual.adapters import attach
from continual.adapters.base import Site
from continual.adapters.cola import COLA, COLAConfig
from continual.adapters.depth import in_block
from continual.adapters.lottery import Lottery
from continual.adapters.xgblora import XGBLoRA, XGBLoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def stack_of(layers, seed=0, **settings):
    """A model of so many layers with two adapted weights each."""
    torch.manual_seed(0)
    model = nn.Module()
    model.layers = nn.ModuleList(
        nn.ModuleDict({"up": nn.Linear(4, 6), "down": nn.Linear(6, 4)}) for _ in range(layers)
    )
    config = XGBLoRAConfig(**settings)
    adaptation = attach(model, "xgblora", config, targets=["up", "down"], seed=seed)
    adaptation.begin_task(0)
    return adaptation


def learning(adaptation):
    """The weights that learn now, as each of them says by itself."""
    return {name for name, adapter in adaptation.adapters.items() if adapter.learns}


def forward(adaptation, x):
    """All layers in a row."""
    for block in adaptation.model.layers:
        x = x + block["down"](torch.relu(block["up"](x)))
    return x


@pytest.mark.parametrize(
    ("layers", "share", "count"),
    [(6, 0.34, 2), (6, 0.5, 3), (6, 0.01, 1), (6, 1.0, 6), (1, 0.34, 1)],
)
def test_so_many_layers_learn_in_every_round_and_whole_ones(layers, share, count):
    """Every weight of a layer or none, and the count is exact in every round."""
    adaptation = stack_of(layers, every=1, share=share)
    for _ in range(8):
        drawn = {in_block(name)[0] for name in learning(adaptation)}
        assert len(drawn) == count
        assert len(learning(adaptation)) == 2 * count
        adaptation.after_step(0.1)


def test_the_lot_is_a_function_of_seed_task_and_round():
    """Repeatable, and another for other seeds and tasks."""
    draws = []
    for seed in (0, 0, 1):
        adaptation, rounds = stack_of(6, seed=seed, every=1, share=0.34), []
        for task in range(2):
            if task:
                adaptation.begin_task(task)
            for _ in range(6):
                rounds.append(learning(adaptation))
                adaptation.after_step(0.1)
        draws.append(rounds)

    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[0][:6] != draws[0][6:]


def test_the_lot_is_fair():
    """Every layer is drawn as often as the others in the long run, whatever its place."""
    lottery = Lottery()
    for k in range(6):
        assert (
            lottery.join(Site(name=f"h.{k}.up", weight=site().weight, share=1.0, seed=k))
            == f"h.{k}"
        )
    drawn = [layer for turn in range(600) for layer in lottery.drawn(0.34, 0, turn)]

    assert len(drawn) == 2 * 600
    for k in range(6):
        assert abs(drawn.count(f"h.{k}") - 200) < 60  # a standard deviation is 12


def test_what_was_not_drawn_keeps_every_bit_through_momentum_and_decay():
    """And what was drawn moves, in every step of every round."""
    adaptation = stack_of(4, every=3, share=0.5)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(adaptation.trainable().values(), lr=0.1, weight_decay=0.1)
    for _ in range(12):
        names, before = learning(adaptation), adaptation.state()
        optimiser.zero_grad()
        forward(adaptation, x).square().mean().backward()
        adaptation.after_backward()
        optimiser.step()
        for name, tensor in adaptation.trainable().items():
            weight = name.removeprefix("adapters.").partition(".rounds.")[0]
            assert torch.equal(tensor, before[name]) == (weight not in names), name
        for parameter in adaptation.after_step(0.1):
            optimiser.state.pop(parameter, None)

    grown = {name: one.rounds.past.rank for name, one in adaptation.adapters.items()}
    assert sum(grown.values()) == 4 * 4  # 4 rounds, 2 layers of 2 weights, rank 1


def test_with_all_layers_it_is_cola_of_rank_one_bit_for_bit():
    """Through two tasks; the difference is the lot alone."""
    first = XGBLoRA(site(), XGBLoRAConfig(every=3, share=1.0))
    second = COLA(site(), COLAConfig(rank=1, alpha=2.0, every=3))
    for task in range(2):
        for adapter in (first, second):
            adapter.begin_task(task)
            train_adapter(adapter, 5, steps=7, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0.0}, "XGBLoRAConfig.share must be a finite number above 0"),
        ({"share": 1.5}, "XGBLoRAConfig.share must be at most 1, which is every layer; got 1.5"),
        ({"every": 0}, "XGBLoRAConfig.every must be an integer of at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """At construction."""
    with pytest.raises(InputError, match=message):
        XGBLoRAConfig(**settings)
