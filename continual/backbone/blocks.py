"""The blocks of a backbone: alike, one behind the other, and nearly all of its work.

Compiled by ``torch.compile`` they are faster in training steps. One block is compiled and serves
all, whatever the length of texts. Only what happens within ``Compiled.in_use`` is computed so:
evaluation and whatever is written down go through the plain network.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from continual.errors import InputError

RECOMPILATIONS = 64  # of a block: with and without padding, stacks that have grown


def blocks_of(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of a network: the members of its outermost lists of modules."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from blocks_of(child)


class Compiled:
    """The blocks of a network with a compiled way through each of them."""

    def __init__(self, model: nn.Module) -> None:
        """Find the blocks; compiling begins with the first pass.

        Raises:
            InputError: there are none.
        """
        self._ways = [(b, torch.compile(b.forward, dynamic=True)) for b in blocks_of(model)]
        if not self._ways:
            raise InputError(
                "train.compile compiles the blocks of the backbone, and this one has no list of "
                "blocks; leave it out."
            )

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let every block compute its compiled way.

        Raises:
            InputError: torch cannot compile here, as without a C++ compiler.
        """
        from torch._dynamo import config
        from torch._dynamo.exc import TorchDynamoException

        for block, way in self._ways:
            block.forward = way
        try:
            with config.patch(recompile_limit=RECOMPILATIONS):
                yield
        except TorchDynamoException as error:
            reason = str(error).split("\n", 1)[0]
            raise InputError(
                f"train.compile: torch cannot compile the backbone here ({reason}). Install a C++ "
                "compiler (on a GPU triton, too), or leave it out, in a new directory."
            ) from error
        finally:
            for block, _ in self._ways:
                del block.forward
