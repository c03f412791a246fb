"""Is one method better than another? Paired over seeds, and over the examples they answered.

Seeds pair two methods because they share data order and initialisation. The difference of a score
has a bootstrap interval over seeds and the exact Wilcoxon signed-rank test; several methods against
one baseline are several questions, so their p-values are adjusted by Holm's step-down procedure.
With n seeds the two-sided test cannot give less than 2^{1-n}: below six it can never reach 0.05,
and then nothing is called better or worse.

Source: Wilcoxon (1945); Holm (1979); Demšar (2006), "Statistical Comparisons of Classifiers".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from continual.errors import InputError
from continual.metrics.statistics import RESAMPLES, Estimate, estimate

LEVEL = 0.05
ROUNDED = 12  # digits of a difference: equal ones are ties, and none is what rounding left
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The difference of a score between a method and its baseline, seed by seed.

    Attributes:
        difference: mean over seeds of method minus baseline, with its bootstrap interval.
        p: of the two-sided exact Wilcoxon signed-rank test; 1 where all differences are zero.
        effect: d_z, the mean difference over its standard deviation; None where that is zero or
            there is one seed.
    """

    difference: Estimate
    p: float
    effect: float | None

    @property
    def least_p(self) -> float:
        """The smallest p that so many seeds can give."""
        return min(1.0, 2.0 ** (1 - self.difference.n))


def paired(method: Sequence[float], baseline: Sequence[float], *, seed: int = 0) -> Paired:
    """Compare two methods over the same seeds.

    Args:
        method: one score per seed.
        baseline: of the same seeds, in the same order.
        seed: of the bootstrap.

    Raises:
        InputError: other lengths, no value, or one that is not finite.

    >>> found = paired([0.8, 0.7, 0.9], [0.7, 0.65, 0.7])
    >>> round(found.difference.mean, 4), found.p
    (0.1167, 0.25)
    """
    if len(method) != len(baseline):
        raise InputError(
            f"paired needs the same seeds of both; got {len(method)} and {len(baseline)}."
        )
    differences = np.round(np.subtract(method, baseline), ROUNDED)
    found = estimate(differences.tolist(), seed=seed)
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return Paired(
        difference=found,
        p=_wilcoxon(differences),
        effect=found.mean / spread if spread > 0.0 else None,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for how many there are, in their order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    adjusted, highest = [0.0] * len(p), 0.0
    for place, k in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[k]))
        adjusted[k] = highest
    return adjusted


def words(
    found: Paired, adjusted: float, *, higher_is_better: bool = True, unit: str = "seed"
) -> str:
    """Return the answer in words: better, worse or not distinguishable, and why.

    >>> words(paired([0.8, 0.7, 0.9], [0.7, 0.65, 0.7]), 0.25)
    'not distinguishable with 3 seeds (fewer than 6 cannot reach p < 0.05)'
    """
    n = found.difference.n
    many = f"{n} {unit}" if n == 1 else f"{n} {unit}s"
    if found.least_p >= LEVEL:
        return f"not distinguishable with {many} (fewer than 6 cannot reach p < {LEVEL})"
    if adjusted >= LEVEL:
        return f"not distinguishable with {many}"
    better = (found.difference.mean > 0) == higher_is_better
    return f"{'better' if better else 'worse'} with {many}"


def detectable_effect(n: int) -> float:
    """Return the smallest d_z that a two-sided paired t-test of n pairs finds in 8 of 10 studies.

    d_z is the mean difference over the standard deviation of the differences. The t-test asks more
    of the data (normality) and less of the difference than the Wilcoxon test that is reported, so
    this is a lower bound. Source: Cohen (1988), "Statistical Power Analysis", §2.4.

    >>> round(detectable_effect(3), 2), round(detectable_effect(10), 2)
    (3.26, 1.0)

    Raises:
        InputError: fewer than two pairs.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    if n < 2:
        raise InputError(f"a paired test needs at least two pairs; got {n}.")
    edge = float(t.ppf(1 - LEVEL / 2, n - 1))

    def surplus(effect: float) -> float:
        shift = effect * np.sqrt(n)
        found = nct.sf(edge, n - 1, shift)  # the other tail is nothing at this power
        return float(found) - POWER

    found: Any = brentq(surplus, 0.0, 20.0)
    return float(found)


def example_interval(
    method: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the interval of a difference in average accuracy over other test examples.

    A paired percentile bootstrap: examples are drawn anew within each task, the same ones for both
    methods; tasks weigh the same. It says nothing about seeds.

    Args:
        method: by task, how right each of its n test examples was, (n,) in [0, 1].
        baseline: of the same tasks and examples, in the same order.
        confidence: the coverage aimed at.
        seed: of the drawing.

    Raises:
        InputError: other tasks or other numbers of examples, or none.

    >>> right = np.array([1, 1, 1, 0]), np.array([0, 1, 0, 0])
    >>> low, high = example_interval({"a": right[0]}, {"a": right[1]})
    >>> 0.0 <= low < 0.5 < high <= 1.0
    True
    """
    sizes = [{name: len(rows) for name, rows in side.items()} for side in (method, baseline)]
    if sizes[0] != sizes[1] or not sizes[0] or not all(sizes[0].values()):
        raise InputError(f"example_interval needs the same examples of both; got {sizes}.")
    rng = np.random.default_rng(seed)
    total = np.zeros(RESAMPLES)
    for name in method:
        differences = np.subtract(method[name], baseline[name])
        counts = rng.multinomial(
            len(differences), np.full(len(differences), 1 / len(differences)), size=RESAMPLES
        )
        total += counts @ differences / len(differences)
    ends = np.quantile(total / len(method), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(ends[0]), float(ends[1])


def _wilcoxon(differences: np.ndarray) -> float:
    from scipy.stats import wilcoxon

    if not differences.any():
        return 1.0
    found: Any = wilcoxon(differences, method="auto")
    return float(found.pvalue)
