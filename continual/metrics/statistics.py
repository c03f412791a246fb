"""A mean over seeds and how far to trust it."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from continual.errors import InputError

ROUNDED = (
    12  # significant digits: resamples with the mean of the sample are ties, as BCa counts them
)
RESAMPLES = 9999  # of the bootstrap: the ends of a 95 % interval move by about 1 % of its width


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over n seeds with its interval.

    Attributes:
        mean: the mean of the n values.
        low: lower end of the interval, None where none can be given.
        high: upper end of the interval, None where none can be given.
        n: how many values were averaged.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    n: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None where no interval can be given."""
        return None if self.low is None or self.high is None else (self.low, self.high)


def estimate(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Return the mean of one score over seeds with a bootstrap interval.

    The interval is the bias-corrected and accelerated bootstrap (BCa; Efron 1987) of the mean over
    9999 resamples, and the percentile bootstrap where BCa is undefined for these values. There is
    no interval below three values, where a bootstrap has nothing to resample, nor where all values
    are equal, which would print certainty that the seeds did not earn. With three to five seeds a
    bootstrap interval is narrower than its name says: read it as a lower bound of the doubt.

    Args:
        values: one number per seed.
        confidence: the coverage aimed at.
        seed: of the resampling, so that a report is the same twice.

    >>> estimate([0.70, 0.74]).interval is None
    True
    >>> found = estimate([0.70, 0.74, 0.72, 0.71])
    >>> round(found.mean, 4), found.low < found.mean < found.high
    (0.7175, True)

    Raises:
        InputError: there is no value, one is not finite, or confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(
            f"confidence must lie between 0 and 1, for example 0.95; got {confidence}."
        )
    sample = np.asarray(list(values), dtype=float)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise InputError(f"estimate needs finite numbers, one per seed; got {list(values)}.")
    mean = math.fsum(sample) / sample.size
    if sample.size < 3 or np.ptp(sample) == 0:
        return Estimate(mean=mean, n=sample.size)
    low, high = _bootstrap(sample, confidence, seed, "BCa")
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = _bootstrap(sample, confidence, seed, "percentile")
    return Estimate(mean=mean, low=low, high=high, n=sample.size)


def _bootstrap(
    sample: np.ndarray, confidence: float, seed: int, method: str
) -> tuple[float, float]:
    from scipy.stats import DegenerateDataWarning, bootstrap

    digits = ROUNDED - math.ceil(math.log10(np.abs(sample).max()))

    def mean(values: np.ndarray, axis: int) -> Any:
        return np.round(np.mean(values, axis=axis), digits)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # answered by the caller
        interval = bootstrap(
            (sample,),
            mean,
            n_resamples=RESAMPLES,
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)
