"""Perplexity drift: nats per token on fixed texts that are never trained on."""

import math
from collections.abc import Callable

from continual.adapters.adaptation import Adaptation
from continual.backbone.base import Backbone
from continual.records.rows import PROBE_BYTES, PROBE_NATS, ScoreRow
from continual.scenario import Scenario


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
        adaptation: Adaptation,
        *,
        window: int,
        stride: int,
        batch_size: int,
        tick: Callable[[str, int, int], None],
    ) -> None:
        self.probes = scenario.probes if backbone.measures_perplexity else ()
        self.backbone = backbone
        self.adaptation = adaptation
        self.window = window
        self.stride = stride
        self.batch_size = batch_size
        self.tick = tick
        self._known: dict[tuple[str, str], tuple[float, int, int]] = {}
        if self.probes:  # no text, but the windows are checked before anything is trained
            backbone.corpus([], window=window, stride=stride, batch_size=batch_size)

    def observe(self, after: int, step: int) -> list[ScoreRow]:
        """Measure after experience ``after`` (-1: before any training).

        Returns:
            Per probe a row ``probe_nats`` (nats per token; n = tokens) and a row ``probe_bytes``
            (bits per byte; n = bytes).
        """
        rows = []
        state = self.adaptation.state_hash()
        for k, probe in enumerate(self.probes):
            self.tick(probe.name, k, len(self.probes))
            key = (state, probe.name)
            if key not in self._known:
                found = self.backbone.corpus(
                    probe.load().documents,
                    window=self.window,
                    stride=self.stride,
                    batch_size=self.batch_size,
                )
                self._known[key] = (
                    math.fsum(one.nats for one in found),
                    sum(one.tokens for one in found),
                    sum(one.bytes for one in found),
                )
            nats, tokens, size = self._known[key]
            bits = nats / math.log(2) / size
            for metric, value, n in (
                (PROBE_NATS, nats / tokens, tokens),
                (PROBE_BYTES, bits, size),
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
