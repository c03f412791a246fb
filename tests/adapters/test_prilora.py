"""PRILoRA: ranks by depth, and the least of A cleared now and then."""

import pytest
import torch

from continual.adapters import attach, configure, count_trained
from continual.adapters.moments import forget
from continual.adapters.prilora import PRILoRA, PRILoRAConfig
from continual.errors import InputError
from tests.adapters.models import MODELS, adapter_of, site


def test_ranks_grow_from_the_first_block_to_the_last():
    """4 to 12 over evenly spaced blocks, 8 in the middle."""
    config = PRILoRAConfig()

    assert [config.rank_at(d) for d in (0.0, 0.25, 0.5, 0.75, 1.0)] == [4, 6, 8, 10, 12]
    assert PRILoRAConfig(rank=1, growth=0.9).rank_at(0.0) == 1


def test_a_network_has_them_and_the_count_is_the_sum():
    """Two blocks: half the rank in the first, one and a half in the second."""
    config = configure("prilora", {"rank": 4})
    adaptation = attach(MODELS["llama"](), "prilora", config, model_type="llama")
    ranks = {name: a.pair.A.shape[0] for name, a in adaptation.adapters.items()}

    assert {ranks[n] for n in ranks if ".0." in n} == {2}
    assert {ranks[n] for n in ranks if ".1." in n} == {6}
    counted = count_trained(MODELS["llama"](), "prilora", config, model_type="llama").trained
    assert adaptation.trained_numbers() == counted


def step(adapter: PRILoRA, *inputs: torch.Tensor) -> None:
    """One optimiser step that sees these micro-batches and moves nothing."""
    adapter.before_step()
    for x in inputs:
        adapter(x, torch.zeros(*x.shape[:-1], 7))
    adapter.after_step(0.1)


def test_the_least_entries_are_cleared_by_size_and_input():
    """Against the formula, with inputs whose sizes differ."""
    adapter = PRILoRA(site(), PRILoRAConfig(rank=3, every=2, share=0.4, decay=0.9))
    x = torch.randn(6, 5) * torch.tensor([0.01, 1.0, 5.0, 0.1, 2.0])
    before = adapter.pair.A.detach().clone()
    average = torch.zeros(5)
    for _ in range(2):
        step(adapter, x)
        average = 0.9 * average + 0.1 * x.square().sum(0).sqrt()
    importance = before.abs() * average
    kept = importance > importance.flatten().kthvalue(6).values  # 0.4 of 15

    assert torch.equal(adapter.pair.A != 0.0, kept)
    assert torch.equal(adapter.pair.A[kept], before[kept])


def test_momentum_alone_brings_no_cleared_entry_back():
    """Under AdamW, in a step without a gradient, they stay zero and the others still move."""
    adapter = PRILoRA(site(), PRILoRAConfig(rank=3, every=4, share=0.4))
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.03, weight_decay=0.0)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    for weight in (1.0, 1.0, 1.0, 1.0, 0.0):
        before = adapter.pair.A.detach().clone()
        optimiser.zero_grad()
        adapter.before_step()
        (weight * (adapter(x, torch.zeros(8, 7)) - 1.0).square().mean()).backward()
        optimiser.step()
        adapter.after_step(0.03)
        forget(optimiser, adapter.cleared())

    cleared = before == 0.0
    assert int(cleared.sum()) == 6  # 0.4 of 15
    assert torch.equal(adapter.pair.A == 0.0, cleared)
    assert (before != adapter.pair.A)[~cleared].all()


def test_micro_batches_make_no_difference_and_evaluation_is_not_seen():
    """The sums of a step are those of its batch; other passes are none of its business."""
    whole, parts = (adapter_of("prilora", site()) for _ in range(2))
    x = torch.randn(6, 5)
    step(whole, x)
    parts(100.0 * x, torch.zeros(6, 7))
    step(parts, x[:2], x[2:])
    with torch.no_grad():
        parts(100.0 * x, torch.zeros(6, 7))

    torch.testing.assert_close(whole.sizes, parts.sizes)


@pytest.mark.parametrize("name", ["growth", "share", "decay"])
def test_shares_of_one_are_refused(name):
    """A whole is no share."""
    with pytest.raises(InputError, match=f"PRILoRAConfig.{name} must be below 1"):
        PRILoRAConfig(**{name: 1.0})
