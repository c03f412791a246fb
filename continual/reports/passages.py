"""Where a probe's loss rose most, as text: passages, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from continual.records import RunRecord, TokenRow

LENGTH = 48  # tokens of a passage
SHOWN = 3  # passages of a probe
STRONG = 6.0  # nats by which a token rose that gets the strongest colour


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A piece of a probe.

    Attributes:
        probe: its name.
        document: from which of its documents, from 0.
        before: mean nats per token before training.
        after: the same at the end.
        tokens: each token's text, and by how many nats it rose.
    """

    probe: str
    document: int
    before: float
    after: float
    tokens: tuple[tuple[str, float], ...]

    @property
    def worst(self) -> tuple[str, float]:
        """The token that rose most; one that can be seen, where there is one."""
        seen = [token for token in self.tokens if token[0].strip()]
        return max(seen or self.tokens, key=lambda token: token[1])


def worst_passages(record: RunRecord, shown: int = SHOWN) -> tuple[Passage, ...]:
    """Return the passages of every probe whose loss rose most, the worst first.

    A document is cut into passages of 48 tokens; a last one under 24 is left out, unless it is the
    whole document.

    Raises:
        DamagedFileError: tokens.parquet cannot be read back.
    """
    found: list[Passage] = []
    for probe, rows in groupby(record.tokens(), key=lambda row: row.probe):
        passages = []
        for document, inner in groupby(rows, key=lambda row: row.document):
            tokens = list(inner)
            parts = [tokens[k : k + LENGTH] for k in range(0, len(tokens), LENGTH)]
            long = [part for part in parts if 2 * len(part) >= LENGTH] or parts[:1]
            passages += [_passage(probe, document, part) for part in long]
        passages.sort(key=lambda p: (p.before - p.after, p.document))
        found += [p for p in passages[:shown] if p.after > p.before]
    return tuple(found)


def heat(rise: float) -> float:
    """Return how strongly a token is coloured, from 0 (no worse) to 1."""
    return round(min(max(rise / STRONG, 0.0), 1.0), 2)


def _passage(probe: str, document: int, rows: Sequence[TokenRow]) -> Passage:
    return Passage(
        probe=probe,
        document=document,
        before=sum(row.before for row in rows) / len(rows),
        after=sum(row.after for row in rows) / len(rows),
        tokens=tuple((row.piece, row.after - row.before) for row in rows),
    )
