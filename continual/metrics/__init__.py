"""Pure functions of R, of nats and of values over seeds, each with an id to print beside it.

>>> import numpy as np
>>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
>>> round(scores(R)["forgetting.chaudhry2018"], 3)
0.125
"""

from continual.metrics.needs import NotEvaluatedError
from continual.metrics.paired import (
    Paired,
    detectable_effect,
    example_interval,
    holm,
    paired,
    words,
)
from continual.metrics.perplexity import (
    bits_per_byte,
    drift,
    final_drift,
    nats_per_token,
    perplexity_ratio,
)
from continual.metrics.registry import METRICS, Metric, metric, scores
from continual.metrics.statistics import Estimate, estimate

__all__ = [
    "METRICS",
    "Estimate",
    "Metric",
    "NotEvaluatedError",
    "Paired",
    "bits_per_byte",
    "detectable_effect",
    "drift",
    "estimate",
    "example_interval",
    "final_drift",
    "holm",
    "metric",
    "nats_per_token",
    "paired",
    "perplexity_ratio",
    "scores",
    "words",
]
