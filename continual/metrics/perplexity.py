"""How far a language model moved on a text it was never trained on.

    drift_i = n_i − n_before       n_i: mean nats per token on one fixed probe after experience i
    perplexity ratio = exp(drift)
    bits per byte = nats / (ln 2 · bytes)

Drift is a difference of logarithms, never of perplexities: that one is dominated by whatever text
was hardest to begin with. Means are sums over tokens divided by their number, never averages of
batch averages, which weigh a token by the length of its neighbours. Nats per token depend on the
tokenizer; bits per byte do not, so they compare across backbones.
"""

import math
from collections.abc import Sequence

from continual.errors import InputError
from continual.metrics.needs import NotEvaluatedError


def nats_per_token(nats: Sequence[float], tokens: Sequence[int]) -> float:
    """Return the token-weighted mean of summed nats.

    Args:
        nats: the summed negative log-likelihood of each document, in nats.
        tokens: how many tokens each of those sums covers.

    >>> nats_per_token([10.0, 2.0], [10, 2])
    1.0

    Raises:
        InputError: the lengths differ, or there is no token.
    """
    if len(nats) != len(tokens):
        raise InputError(f"nats_per_token got {len(nats)} sums but {len(tokens)} token counts.")
    if sum(tokens) <= 0:
        raise InputError("nats_per_token needs at least one token; the text is empty.")
    return math.fsum(nats) / sum(tokens)


def drift(nats: Sequence[float]) -> list[float]:
    """Return how many nats per token a probe has lost at each point, counted from the first.

    An untouched model drifts by exactly 0.0.

    Args:
        nats: mean nats per token before any training, then after each experience; NaN where the
            probe was not measured.

    Returns:
        As many values, in nats per token; the first is 0.0. Higher is worse.

    >>> [round(d, 2) for d in drift([3.0, 3.1, 3.4])]
    [0.0, 0.1, 0.4]

    Raises:
        InputError: there is no measurement before training to count from.
    """
    if not nats or math.isnan(nats[0]):
        raise NotEvaluatedError(
            "drift needs the probe's nats per token before any training (experience -1); it was "
            "not measured. Run with the probe from the start."
        )
    return [value - nats[0] for value in nats]


def final_drift(nats: Sequence[float]) -> float:
    """``drift.nats_per_token``: mean nats per token after the last experience minus before.

    Unit: nats per token. Lower is better; 0.0 means that the probe reads as before.

    >>> round(final_drift([3.0, 3.1, 3.4]), 2)
    0.4

    Raises:
        InputError: the probe was not measured before training or after the last experience.
    """
    last = drift(nats)[-1]
    if len(nats) < 2 or math.isnan(last):
        raise NotEvaluatedError(
            "drift needs the probe's nats per token after the last experience, which was not "
            "measured. Finish the run."
        )
    return last


def perplexity_ratio(nats: Sequence[float]) -> float:
    """``drift.perplexity_ratio``: the probe's perplexity at the end over that before training.

        ratio = exp(drift)

    Unit: none. Lower is better; 1.0 means unchanged. Infinite where the exponent overflows.

    >>> round(perplexity_ratio([3.0, 3.1, 3.4]), 3)
    1.492

    Raises:
        InputError: the probe was not measured before training or after the last experience.
    """
    try:
        return math.exp(final_drift(nats))
    except OverflowError:
        return math.inf


def bits_per_byte(nats: float, size: int) -> float:
    """Return the bits that a model needs for each byte of a text.

    Args:
        nats: the summed negative log-likelihood of the whole text, in nats.
        size: the UTF-8 length of that text, in bytes.

    >>> round(bits_per_byte(math.log(2) * 12, 8), 2)
    1.5

    Raises:
        InputError: the text has no byte.
    """
    if size <= 0:
        raise InputError(f"bits_per_byte needs at least one byte; got {size}.")
    return nats / math.log(2) / size


def final_word_perplexity(nats: Sequence[float]) -> float:
    """``word_perplexity``: exp of a probe's nats per word after the last experience.

    Words are split at white space, as in lm-evaluation-harness, so that tokenizers compare.
    Unit: none. Lower is better. Infinite where the exponent overflows.

    >>> round(final_word_perplexity([4.0, 4.1]), 2)
    60.34

    Raises:
        InputError: the probe was not measured after the last experience.
    """
    if not nats or math.isnan(nats[-1]):
        raise NotEvaluatedError(
            "word_perplexity was not measured after the last experience; finish the run."
        )
    try:
        return math.exp(nats[-1])
    except OverflowError:
        return math.inf


def final_bits_per_byte(bits: Sequence[float]) -> float:
    """``bits_per_byte``: the bits per byte of a probe after the last experience.

    Unit: bits per byte. Lower is better.
    Source: Gao et al. 2020, "The Pile", arXiv:2101.00027, sec. 3.1.

    >>> final_bits_per_byte([1.1, 1.2])
    1.2

    Raises:
        InputError: the probe was not measured after the last experience.
    """
    if not bits or math.isnan(bits[-1]):
        raise NotEvaluatedError(
            "bits_per_byte was not measured after the last experience; finish the run."
        )
    return bits[-1]
