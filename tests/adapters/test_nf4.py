"""Four bits against the nearest of all sixteen values, and against what bitsandbytes wrote."""

import pytest
import torch

from continual.adapters.nf4 import BLOCK, CODES, dequantised, quantised, unpacked_by

WAVE = torch.sin(torch.arange(130.0) * 0.7).reshape(10, 13) * torch.linspace(0.1, 3, 10)[:, None]
WRITTEN = (  # by bitsandbytes 0.50.2 for WAVE
    "7888776667888864457aba864447bdc952247bdda41138ded941028efea30028bd"
    "c942248cdc841138ded941138ded931139ded921139efe92013aefe92003aefe"
)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (13, 15), (8, 8), (16, 24)])
def test_every_number_gets_the_nearest_code_of_its_block(shape):
    """Whatever is left over in the last block."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    codes, scales = quantised(matrix)
    found = dequantised(codes, scales, matrix.shape).reshape(-1)

    for k, value in enumerate(matrix.reshape(-1)):
        block = matrix.reshape(-1)[k // BLOCK * BLOCK :][:BLOCK]
        nearest = (block.abs().max() * CODES - value).abs().min()
        assert (found[k] - value).abs() <= nearest + 1e-7
    assert len(codes) * 2 == len(scales) * BLOCK >= matrix.numel()


def test_the_layout_is_that_of_bitsandbytes():
    """The same bytes and scales."""
    codes, scales = quantised(WAVE)

    assert bytes(codes[:65].tolist()).hex() == WRITTEN
    assert scales.tolist() == [1.3854964971542358, 2.996574878692627, 2.993741035461426]


def test_bitsandbytes_reads_the_same_numbers():
    """Bit for bit, where the package is installed."""
    kernels = pytest.importorskip("bitsandbytes.functional")
    codes, scales = quantised(WAVE)

    theirs = unpacked_by(kernels, codes, scales, WAVE.shape)

    assert torch.equal(theirs, dequantised(codes, scales, WAVE.shape))


def test_extremes_and_zeros_are_kept():
    """The largest of a block exactly; a block of zeros divides nothing by zero."""
    matrix = torch.zeros(2, BLOCK)
    matrix[1, 3], matrix[1, 4] = -5.0, 2.5

    found = dequantised(*quantised(matrix), matrix.shape)

    assert not found[0].any()
    assert found[1, 3] == -5.0
    assert found[1, 0] == 0.0


def test_it_costs_four_and_a_half_bits_per_number():
    """Codes and scales."""
    codes, scales = quantised(torch.randn(128, 96))

    assert (codes.nbytes + scales.nbytes) * 8 == 4.5 * 128 * 96
