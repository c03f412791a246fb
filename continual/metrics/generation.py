"""Graded scores of generated text, each in [0, 1]: how much of the wanted text was written.

    rouge_l          F1 of the longest common subsequence (LCS) of words   Lin (2004), W04-1013
    edit_similarity  the same of characters: 1 - insertions and deletions / letters of both
    sari             mean of keeping, adding (F1) and deleting (precision) of 1- to 4-grams
                     Xu et al. (2016), Q16-1029

With L the length of the LCS, precision L / m and recall L / n have the F1 2 L / (m + n).
"""

import re
from collections import Counter
from collections.abc import Hashable, Sequence

WORD = re.compile(r"[^\W_]+")
TOKEN = re.compile(r"\w+|[^\w\s]")
ORDERS = (1, 2, 3, 4)


def common(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Return the length of the longest common subsequence.

    One bit per item of ``first``, all rows of the table updated at once (Hyyrö 2004): a whole
    number of as many bits is added and subtracted for every item of ``second``.

    >>> common("kitten", "sitting")
    4
    """
    places: dict[Hashable, int] = {}
    for position, item in enumerate(first):
        places[item] = places.get(item, 0) | 1 << position
    whole = (1 << len(first)) - 1
    row = whole
    for item in second:
        matched = row & places.get(item, 0)
        row = (row + matched | row - matched) & whole
    return len(first) - row.bit_count()


def rouge_l(prediction: str, target: str) -> float:
    """Return ROUGE-L: the F1 of the longest common subsequence of words, in lower case.

    A word is a run of letters and digits of any script; for plain English text the value is that
    of the rouge-score package without stemming. A text without words scores 0.

    >>> rouge_l("the cat sat on the mat", "The cat is on the mat.")
    0.8333333333333334
    """
    said, wanted = WORD.findall(prediction.lower()), WORD.findall(target.lower())
    if not said or not wanted:
        return 0.0
    return 2 * common(said, wanted) / (len(said) + len(wanted))


def edit_similarity(prediction: str, target: str) -> float:
    """Return how little must be inserted and deleted, white space around the texts aside.

    2 L / (m + n) over characters, which is the ``fuzz.ratio`` of RapidFuzz (and of FuzzyWuzzy,
    which rounds it to whole percent) over 100. Case counts. Two empty texts are equal.

    >>> edit_similarity("return x + 1", "return x + 2")
    0.9166666666666666
    """
    said, wanted = prediction.strip(), target.strip()
    letters = len(said) + len(wanted)
    return 2 * common(said, wanted) / letters if letters else 1.0


def sari(source: str, prediction: str, references: Sequence[str]) -> float:
    """Return SARI, the score of simplifications: what was rightly kept, deleted and added.

    0 / 0 counts as 1 and the recall of keeping is over all n-grams together, as in tensor2tensor
    and in the hub's metric of that name, which is 100 times this. Tokens are words and single
    marks, in lower case.

    Args:
        source: the text that was to be simplified.
        prediction: what was written.
        references: one good simplification or several.

    >>> round(sari("the old cat sat", "the cat sat", ["the cat sat"]), 4)
    1.0
    """
    text, said = _tokens(source), _tokens(prediction)
    wanted = [_tokens(reference) for reference in references]
    parts = [part for n in ORDERS for part in _operations(n, text, said, wanted)]
    return sum(parts) / len(parts)


def _operations(
    n: int, text: list[str], said: list[str], wanted: list[list[str]]
) -> tuple[float, float, float]:
    """Return the scores of keeping, deleting and adding n-grams."""
    count = len(wanted)
    references = Counter(gram for reference in wanted for gram in _grams(reference, n))
    # As often as there are references, so that their counts compare with the sum over them.
    before = Counter({gram: times * count for gram, times in Counter(_grams(text, n)).items()})
    after = Counter({gram: times * count for gram, times in Counter(_grams(said, n)).items()})
    kept, keepable = before & after, before & references
    rightly = kept & references
    deleted = before - after
    right = deleted - references
    added, addable = set(after) - set(before), set(references) - set(before)
    hits = len(added & addable)
    return (
        _f1(_mean_share(rightly, kept), _ratio(rightly.total(), keepable.total())),
        _mean_share(right, deleted),
        _f1(_ratio(hits, len(added)), _ratio(hits, len(addable))),
    )


def _tokens(text: str) -> list[str]:
    return TOKEN.findall(text.lower())


def _grams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def _mean_share(part: Counter[tuple[str, ...]], whole: Counter[tuple[str, ...]]) -> float:
    return _ratio(sum(part[gram] / times for gram, times in whole.items()), len(whole))


def _ratio(part: float | int, whole: int) -> float:
    return part / whole if whole else 1.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
