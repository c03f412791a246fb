"""The low-rank pairs that learn in a model, for the optimisers that know what a pair is.

They are found by structure: every ``Pair`` inside an adapter both of whose factors learn, whatever
it is called and in whatever order parameters are listed. What belongs to no pair (heads,
magnitudes, cores) is left to AdamW.
"""

from dataclasses import dataclass

from torch import nn

from continual.adapters.adaptation import Adaptation
from continual.adapters.base import Adapter
from continual.adapters.pair import Pair


@dataclass(frozen=True, eq=False)
class LearningPair:
    """B (m, r) and A (r, n) of a pair that learns, and the adapter whose ΔW has s B A in it."""

    B: nn.Parameter
    A: nn.Parameter
    adapter: Adapter

    @property
    def scale(self) -> float:
        """What s is now; it may be learned too."""
        return self.adapter.pair_scale()


def pairs_of(adaptation: Adaptation) -> list[LearningPair]:
    """Return every pair that learns now, each once; ask again where ``trainable()`` changed."""
    learning = {id(p) for p in adaptation.trainable().values() if p.requires_grad}
    found: dict[int, LearningPair] = {}
    for adapter in adaptation.adapters.values():
        if not adapter.plain_pairs:  # masks, gates and slices are no part of the rules' products
            continue
        for part in adapter.modules():
            if isinstance(part, Pair) and {id(part.A), id(part.B)} <= learning:
                found.setdefault(id(part.A), LearningPair(part.B, part.A, adapter))
    return list(found.values())
