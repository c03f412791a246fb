"""Which layers of a model learn in a round: a draw that all of its adapters know."""

from torch import nn

from continual.adapters.base import Site, seed_of
from continual.adapters.depth import in_block


class Lottery(nn.Module):
    """The layers that take part, shared by the adapters of one model. It holds no tensor.

    Every layer draws a number that is a pure function of (its seed, task, round), and the smallest
    win: the same layers for whoever asks, in any order, after any interruption.
    """

    def __init__(self) -> None:
        """Begin without layers."""
        super().__init__()
        self._seeds: dict[str, int] = {}
        self._last: tuple[tuple[float, int, int], frozenset[str]] | None = None

    def join(self, site: Site) -> str:
        """Enter the layer of this weight; return its name."""
        layer = in_block(site.name)[0] or site.name
        self._seeds.setdefault(layer, site.seed)
        self._last = None
        return layer

    def drawn(self, share: float, task: int, turn: int) -> frozenset[str]:
        """Return the layers drawn for a round: this share of all, rounded, at least one."""
        asked = (share, task, turn)
        if self._last is None or self._last[0] != asked:
            lots = {n: seed_of(seed, "lot", task, turn) for n, seed in self._seeds.items()}
            count = max(1, round(share * len(lots)))
            self._last = asked, frozenset(sorted(lots, key=lots.__getitem__)[:count])
        return self._last[1]
