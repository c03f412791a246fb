"""How a long document is cut into windows so that every token is scored exactly once.

A window is (begin, first, end): the tokens [first, end) are scored, the tokens [begin, first) are
context. Token -1 is the start token (BOS, or EOS where there is none), so the first token of a
document is scored too.
"""

from itertools import pairwise

from continual.errors import InputError

Window = tuple[int, int, int]


def rolling(tokens: int, window: int, stride: int) -> list[Window]:
    """Cut a document for measuring perplexity.

    The first window scores ``window`` tokens after the start token; each further one scores the
    next ``stride`` and is filled up on the left, so that a model always reads ``window`` tokens.
    With ``stride == window`` this is the rolling log-likelihood of lm-evaluation-harness; a smaller
    stride gives every token at least ``window - stride`` tokens of context.

    >>> rolling(7, 4, 4)
    [(-1, 0, 4), (2, 4, 7)]
    >>> rolling(7, 4, 2)
    [(-1, 0, 4), (1, 4, 6), (2, 6, 7)]
    """
    windows: list[Window] = [(-1, 0, min(window, tokens))] if tokens else []
    while windows and windows[-1][2] < tokens:
        first = windows[-1][2]
        end = min(first + stride, tokens)
        windows.append((end - window - 1, first, end))
    return windows


def even(tokens: int, window: int) -> list[Window]:
    """Cut a document for training: windows of nearly equal length, one token of context each.

    >>> even(7, 4)
    [(-1, 0, 4), (3, 4, 7)]
    >>> even(9, 4)
    [(-1, 0, 3), (2, 3, 6), (5, 6, 9)]
    """
    count = -(-tokens // window)
    cuts = [k * tokens // count for k in range(count + 1)] if count else []
    cuts = [tokens - cut for cut in reversed(cuts)]
    return [(a - 1, a, b) for a, b in pairwise(cuts)]


def check_window(window: int, stride: int, limit: int | None) -> None:
    """Raise an InputError unless 1 ≤ stride ≤ window ≤ the positions that the model has."""
    if not 1 <= stride <= window:
        raise InputError(
            f"windows need 1 <= stride <= window; got stride {stride} and window {window}. "
            "stride == window scores disjoint windows, a smaller one gives more context."
        )
    if limit is not None and window > limit:
        raise InputError(
            f"window {window} is longer than the {limit} positions of this backbone; lower it."
        )
