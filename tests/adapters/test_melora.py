"""MELoRA against its blocks."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters.lora import LoRA, LoRAConfig
from continual.adapters.melora import MELoRA, MELoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


@pytest.mark.parametrize(
    ("shape", "parts", "rows", "columns"),
    [
        ((8, 6), 2, (4, 4), (3, 3)),
        ((7, 5), 2, (4, 3), (3, 2)),
        ((7, 5), 4, (2, 2, 2, 1), (2, 1, 1, 1)),
        ((4, 4), 1, (4,), (4,)),
    ],
)
def test_every_block_is_a_lora_of_its_own(shape, parts, rows, columns):
    """S B_i A_i on the diagonal, zeros elsewhere; uneven slices leave no row or column out."""
    adapter = MELoRA(site(*shape), MELoRAConfig(rank=2, parts=parts, alpha=3.0))
    nn.init.normal_(adapter.pair.B)
    B, A = adapter.pair.B.split(rows), adapter.pair.A.split(columns, dim=1)

    expected = 1.5 * torch.block_diag(*(b @ a for b, a in zip(B, A, strict=True)))

    assert_close(adapter.delta_weight(), expected)


def test_one_part_is_lora_bit_for_bit():
    """Through training."""
    mini = train_adapter(MELoRA(site(), MELoRAConfig(rank=2, parts=1)), 5)
    plain = train_adapter(LoRA(site(), LoRAConfig(rank=2)), 5)

    assert torch.equal(mini.delta_weight(), plain.delta_weight())


def test_rank_grows_with_the_parts_and_the_numbers_do_not():
    """K r from r (m + n) numbers."""
    for parts in (1, 2, 4):
        config = MELoRAConfig(rank=2, parts=parts)
        adapter = train_adapter(MELoRA(site(16, 12), config), 12)
        B, A = adapter.factors()

        assert torch.linalg.matrix_rank(adapter.delta_weight()) == B.shape[1] == 2 * parts
        assert A.shape[0] == 2 * parts
        assert sum(p.numel() for p in adapter.parameters()) == 2 * (16 + 12)


def test_each_mini_lora_draws_by_its_own_inputs():
    """A_i is bounded by 1/√c_i for c_i inputs, not by 1/√n."""
    pair = MELoRA(site(40, 400), MELoRAConfig(rank=16, parts=4)).pair

    assert not pair.B.any()
    assert 0.99 / 10 < pair.A.detach().abs().max().item() <= 1 / 10


def test_nothing_leaks_between_blocks():
    """An input of one slice moves the outputs of its own only."""
    adapter = train_adapter(MELoRA(site(8, 6), MELoRAConfig(rank=2, parts=2)), 6)
    x = torch.tensor([[1.0, -2.0, 3.0, 0.0, 0.0, 0.0]])

    moved = adapter(x, torch.zeros(1, 8))

    assert moved[0, :4].abs().min() > 0.0
    assert not moved[0, 4:].any()


def test_impossible_settings_are_refused():
    """In sentences that name the layer and what is possible."""
    with pytest.raises(InputError, match="parts must be an integer of at least 1"):
        MELoRAConfig(parts=0)
    with pytest.raises(InputError, match=r"6 parts does not fit layer 'layer'.* at most 5"):
        MELoRA(site(), MELoRAConfig(rank=2, parts=6))
