"""Every score by the id that is printed beside its number."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from continual.errors import unknown
from continual.metrics import perplexity, transfer
from continual.metrics.needs import NotEvaluatedError


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A definition that can be cited.

    Attributes:
        id: printed next to every number.
        title: the words of a table header.
        formula: in the letters of `continual.metrics.transfer`.
        source: who defined it.
        unit: of the number.
        higher_is_better: the orientation.
        needs: what the function takes, in order: "R", "b", "joint", "curve", "nats", "words" or
            "bits".
        function: takes exactly what is needed and returns the number.
    """

    id: str
    title: str
    formula: str
    source: str
    unit: str
    higher_is_better: bool
    needs: tuple[str, ...]
    function: Callable[..., float]


SCORE = "score in [0, 1]"

METRICS: dict[str, Metric] = {
    entry.id: entry
    for entry in (
        Metric(
            id="average_accuracy",
            title="average accuracy",
            formula="1/T · Σ_j R[T-1,j]",
            source="Lopez-Paz and Ranzato 2017, arXiv:1706.08840",
            unit=SCORE,
            higher_is_better=True,
            needs=("R",),
            function=transfer.average_accuracy,
        ),
        Metric(
            id="average_incremental_accuracy",
            title="average incremental accuracy",
            formula="1/T · Σ_i 1/(i+1) · Σ_{j≤i} R[i,j]",
            source="Rebuffi et al. 2017, arXiv:1611.07725",
            unit=SCORE,
            higher_is_better=True,
            needs=("R",),
            function=transfer.average_incremental_accuracy,
        ),
        Metric(
            id="learning_accuracy",
            title="learning accuracy",
            formula="1/T · Σ_j R[j,j]",
            source="Riemer et al. 2019, arXiv:1810.11910",
            unit=SCORE,
            higher_is_better=True,
            needs=("R",),
            function=transfer.learning_accuracy,
        ),
        Metric(
            id="min_accuracy",
            title="minimum accuracy",
            formula="1/(T-1) · Σ_{j<T-1} min_{i>j} R[i,j]",
            source="De Lange et al. 2023, arXiv:2205.13452 (there per iteration)",
            unit=SCORE,
            higher_is_better=True,
            needs=("R",),
            function=transfer.min_accuracy,
        ),
        Metric(
            id="forgetting.chaudhry2018",
            title="forgetting",
            formula="1/(T-1) · Σ_{j<T-1} ( max_{j≤i<T-1} R[i,j] − R[T-1,j] )",
            source="Chaudhry et al. 2018, arXiv:1801.10112",
            unit="score in [-1, 1]",
            higher_is_better=False,
            needs=("R",),
            function=transfer.forgetting_chaudhry2018,
        ),
        Metric(
            id="forgetting.first_last",
            title="forgetting, first minus last",
            formula="1/(T-1) · Σ_{j<T-1} ( R[j,j] − R[T-1,j] )",
            source="Avalanche, Lomonaco et al. 2021, arXiv:2104.00405",
            unit="score in [-1, 1]",
            higher_is_better=False,
            needs=("R",),
            function=transfer.forgetting_first_last,
        ),
        Metric(
            id="forgetting.clamped",
            title="forgetting, clamped at 0",
            formula="1/(T-1) · Σ_{j<T-1} ( max_{j≤i≤T-1} R[i,j] − R[T-1,j] )",
            source="Mammoth, arXiv:2004.07211, and PILOT, arXiv:2309.07117",
            unit=SCORE,
            higher_is_better=False,
            needs=("R",),
            function=transfer.forgetting_clamped,
        ),
        Metric(
            id="bwt.gem2017",
            title="backward transfer",
            formula="1/(T-1) · Σ_{j<T-1} ( R[T-1,j] − R[j,j] )",
            source="Lopez-Paz and Ranzato 2017, arXiv:1706.08840",
            unit="score in [-1, 1]",
            higher_is_better=True,
            needs=("R",),
            function=transfer.bwt_gem2017,
        ),
        Metric(
            id="bwt.all_pairs",
            title="backward transfer, all pairs",
            formula="2/(T(T-1)) · Σ_{i>j} ( R[i,j] − R[j,j] )",
            source="Díaz-Rodríguez et al. 2018, arXiv:1810.13166; Continuum",
            unit="score in [-1, 1]",
            higher_is_better=True,
            needs=("R",),
            function=transfer.bwt_all_pairs,
        ),
        Metric(
            id="fwt.gem2017",
            title="forward transfer",
            formula="1/(T-1) · Σ_{j>0} ( R[j-1,j] − b[j] )",
            source="Lopez-Paz and Ranzato 2017, arXiv:1706.08840",
            unit="score in [-1, 1]",
            higher_is_better=True,
            needs=("R", "b"),
            function=transfer.fwt_gem2017,
        ),
        Metric(
            id="intransigence",
            title="intransigence",
            formula="1/T · Σ_j ( joint[j] − R[j,j] )",
            source="Chaudhry et al. 2018, arXiv:1801.10112; here joint is all tasks at once",
            unit="score in [-1, 1]",
            higher_is_better=False,
            needs=("R", "joint"),
            function=transfer.intransigence,
        ),
        Metric(
            id="stability_gap",
            title="stability gap",
            formula="min(first, last) − min over the curve of an earlier task within an experience",
            source="ours, for the phenomenon of De Lange et al. 2023, arXiv:2205.13452",
            unit=SCORE,
            higher_is_better=False,
            needs=("curve",),
            function=transfer.stability_gap,
        ),
        Metric(
            id="drift.nats_per_token",
            title="perplexity drift",
            formula="mean nats per token on the probe after the last experience − before training",
            source="difference of log-perplexities; token-weighted sums",
            unit="nats per token",
            higher_is_better=False,
            needs=("nats",),
            function=perplexity.final_drift,
        ),
        Metric(
            id="drift.perplexity_ratio",
            title="perplexity ratio",
            formula="exp(drift.nats_per_token)",
            source="exponential of the drift",
            unit="ratio, 1 = unchanged",
            higher_is_better=False,
            needs=("nats",),
            function=perplexity.perplexity_ratio,
        ),
        Metric(
            id="word_perplexity",
            title="word perplexity",
            formula="exp( Σ nats / words ) on the probe after the last experience",
            source="lm-evaluation-harness (Gao et al. 2021); words split at white space",
            unit="perplexity",
            higher_is_better=False,
            needs=("words",),
            function=perplexity.final_word_perplexity,
        ),
        Metric(
            id="bits_per_byte",
            title="bits per byte",
            formula="Σ nats / (ln 2 · bytes) on the probe after the last experience",
            source="Gao et al. 2020, arXiv:2101.00027",
            unit="bits per byte",
            higher_is_better=False,
            needs=("bits",),
            function=perplexity.final_bits_per_byte,
        ),
    )
}


def metric(id: str) -> Metric:
    """Look up a definition.

    Raises:
        InputError: no metric has this id; the message offers the nearest.
    """
    if id not in METRICS:
        raise unknown("metric", id, METRICS)
    return METRICS[id]


def scores(
    R: Float[np.ndarray, "E T"],
    b: Float[np.ndarray, " T"] | None = None,
    joint: Float[np.ndarray, " T"] | None = None,
) -> dict[str, float | None]:
    """Return every score that these inputs define, by id.

    A score is None where R does not hold the entries it needs: an unfinished run, a single task, a
    class-incremental run's forward transfer. Scores of other inputs are left out: forward transfer
    without b, intransigence without joint, and those of probes and curves.

    Raises:
        InputError: R is not square, or b or joint has another length.

    >>> found = scores(np.array([[0.8, np.nan], [0.6, 0.7]]), b=np.array([0.5, np.nan]))
    >>> round(found["forgetting.chaudhry2018"], 3), found["fwt.gem2017"], "intransigence" in found
    (0.2, None, False)
    """
    given = {"R": R, "b": b, "joint": joint}
    inputs = {name: value for name, value in given.items() if value is not None}
    found: dict[str, float | None] = {}
    for entry in METRICS.values():
        if not set(entry.needs) <= inputs.keys():
            continue
        try:
            found[entry.id] = entry.function(*(inputs[name] for name in entry.needs))
        except NotEvaluatedError:
            found[entry.id] = None
    return found
