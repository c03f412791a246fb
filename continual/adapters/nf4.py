"""NF4: numbers in 4 bits, as sixteen quantiles of the normal distribution times a block's maximum.

    w ≈ max|w| of its block of 64 · CODES[c],   c the nearest of the 16

Two codes lie in one byte, the earlier in the high half, blocks in row-major order, scales in
float32: 4.5 bits per number, and the layout of bitsandbytes, so that its kernel unpacks on CUDA
where the package is installed. Elsewhere torch does; both give the same numbers.

Reference: Dettmers et al. (2023), QLoRA, arXiv:2305.14314, section 3 and appendix E. Scales are
not quantised a second time.
"""

import importlib
from functools import cache
from types import ModuleType

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 64
CODES = torch.tensor(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ]
)
_BETWEEN = (CODES[1:] + CODES[:-1]) / 2
_PAIRS = torch.stack([CODES.repeat_interleave(16), CODES.repeat(16)], dim=1)  # by byte


def quantised(
    matrix: Float[Tensor, "m n"],
) -> tuple[UInt8[Tensor, " bytes"], Float[Tensor, " blocks"]]:
    """Return the codes, two per byte, and the scale of every block; the last is filled with 0."""
    flat = matrix.detach().float().reshape(-1)
    blocks = pad(flat, (0, -len(flat) % BLOCK)).reshape(-1, BLOCK)
    scales = blocks.abs().amax(dim=1)
    unit = blocks / torch.where(scales > 0.0, scales, 1.0)[:, None]
    codes = torch.bucketize(unit, _BETWEEN.to(unit.device)).to(torch.uint8).reshape(-1, 2)
    return codes[:, 0] * 16 + codes[:, 1], scales


def dequantised(
    codes: UInt8[Tensor, " bytes"], scales: Float[Tensor, " blocks"], shape: torch.Size
) -> Float[Tensor, "m n"]:
    """Return the matrix that the codes stand for, in float32."""
    kernels = _bitsandbytes() if codes.is_cuda else None
    if kernels is not None:
        return unpacked_by(kernels, codes, scales, shape)
    blocks = _PAIRS.to(codes.device)[codes.int()].reshape(-1, BLOCK) * scales[:, None]
    return blocks.reshape(-1)[: shape.numel()].reshape(shape)


def unpacked_by(
    kernels: ModuleType,
    codes: UInt8[Tensor, " bytes"],
    scales: Float[Tensor, " blocks"],
    shape: torch.Size,
) -> Float[Tensor, "m n"]:
    """Return the same from ``bitsandbytes.functional``."""
    kind = {"blocksize": BLOCK, "quant_type": "nf4", "dtype": torch.float32}
    state = kernels.QuantState(absmax=scales, shape=shape, **kind)
    return kernels.dequantize_4bit(codes[: (shape.numel() + 1) // 2, None], state)


@cache
def _bitsandbytes() -> ModuleType | None:
    try:
        return importlib.import_module("bitsandbytes.functional")
    except ImportError:
        return None
