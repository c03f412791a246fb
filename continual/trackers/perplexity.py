"""Perplexity drift: nats per token on fixed texts that are never trained on."""

import math
import re
from collections.abc import Callable, Sequence

from continual.backbone.base import Backbone, DocumentNats
from continual.backbone.memory import BatchSize
from continual.records.rows import PROBE_BYTES, PROBE_NATS, PROBE_WORDS, ScoreRow, TokenRow
from continual.scenario import Scenario
from continual.trackers.shared import read_together
from continual.trackers.watched import Watched


class PerplexityDrift:
    """Measures every probe of a scenario, each token scored once, from sums and never from means.

    Windows do not overlap unless ``stride`` is smaller than ``window``. A backbone that is no
    language model has no perplexity: then there are no rows. Results are remembered by adapter
    state, so that the drift of an unchanged model is exactly zero.

    Raises:
        InputError: the windows do not fit the backbone.
    """

    def __init__(
        self,
        scenario: Scenario,
        backbone: Backbone,
        adaptation: Watched,
        *,
        window: int,
        stride: int,
        batch_size: BatchSize,
        tick: Callable[[str, int, int], None],
    ) -> None:
        self.probes = scenario.probes if backbone.measures_perplexity else ()
        self.backbone = backbone
        self.adaptation = adaptation
        self.window = window
        self.stride = stride
        self.batch_size = batch_size
        self.tick = tick
        self._known: dict[tuple[str, str], list[DocumentNats]] = {}
        self._before: dict[str, list[float]] = {}
        if self.probes:  # no text, but the windows are checked before anything is trained
            backbone.corpus([], window=window, stride=stride, batch_size=batch_size.size)

    def observe(self, after: int, step: int) -> list[ScoreRow]:
        """Measure after experience ``after`` (-1: before any training).

        Returns:
            Per probe a row ``probe_nats`` (nats per token; n = tokens), a row ``probe_bytes``
            (bits per byte; n = bytes) and a row ``probe_words`` (nats per word; n = words).
        """
        rows = []
        state = self.adaptation.state_hash()
        for k, probe in enumerate(self.probes):
            self.tick(probe.name, k, len(self.probes))
            key = (state, probe.name)
            if key not in self._known:
                self._known = {k: v for k, v in self._known.items() if k[1] != probe.name}
                self._known[key] = self._read(probe.load().documents)
            found = self._known[key]
            nats = math.fsum(one.nats for one in found)
            tokens, size = sum(one.tokens for one in found), sum(one.bytes for one in found)
            words = sum(len(re.split(r"\s+", text)) for text in probe.load().documents)
            for metric, value, n in (
                (PROBE_NATS, nats / tokens, tokens),
                (PROBE_BYTES, nats / math.log(2) / size, size),
                (PROBE_WORDS, nats / words, words),
            ):
                rows.append(
                    ScoreRow(
                        experience=after,
                        step=step,
                        task=probe.name,
                        metric=metric,
                        value=value,
                        n=n,
                    )
                )
        return rows

    def _read(self, documents: Sequence[str]) -> list[DocumentNats]:
        return read_together(
            self.backbone, documents, self.batch_size, window=self.window, stride=self.stride
        )

    def tokens(self) -> list[TokenRow]:
        """Return every token of every probe as it was before training and when last observed."""
        rows = []
        for probe in self.probes:
            (found,) = (v for k, v in self._known.items() if k[1] == probe.name)
            now = [nats for one in found for nats in one.each]
            before = self._before.setdefault(probe.name, now)
            pieces = [
                (number, piece)
                for number, document in enumerate(probe.load().documents)
                for piece in self.backbone.pieces(document)
            ]
            rows += [
                TokenRow(probe=probe.name, document=number, piece=piece, before=b, after=a)
                for (number, piece), b, a in zip(pieces, before, now, strict=True)
            ]
        return rows

    def remember(self, rows: Sequence[TokenRow]) -> None:
        """Take what was before training from an earlier session's rows."""
        for row in rows:
            self._before.setdefault(row.probe, []).append(row.before)
