"""Graded scores of generated text: worked numbers, and a slow and obvious subsequence."""

import random
from functools import cache

import pytest

from continual.metrics.generation import common, edit_similarity, rouge_l, sari


def slow_common(first, second) -> int:
    """The textbook recursion over both ends."""

    @cache
    def length(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if first[i - 1] == second[j - 1]:
            return length(i - 1, j - 1) + 1
        return max(length(i - 1, j), length(i, j - 1))

    return length(len(first), len(second))


def test_the_common_subsequence_is_the_longest():
    """Bit by bit as by the recursion, on random letters and words of all lengths from 0."""
    rng = random.Random(0)
    for _ in range(300):
        first = rng.choices("abcd", k=rng.randint(0, 20))
        second = rng.choices("abcde", k=rng.randint(0, 20))

        assert common(first, second) == slow_common(tuple(first), tuple(second))


@pytest.mark.parametrize(
    ("said", "wanted", "value"),
    [
        ("police kill the gunman", "police killed the gunman", 0.75),  # Lin (2004), S2
        ("the gunman kill police", "police killed the gunman", 0.5),  # Lin (2004), S3
        ("A man, a plan; a canal: Panama!", "a canal, a plan, a man", 0.6153846153846154),
        ("the cat's mat", "The_cat s, MAT.", 1.0),
        ("", "a", 0.0),
        ("?", "?", 0.0),
    ],
)
def test_rouge_l_is_that_of_rouge_score(said, wanted, value):
    """The values of rouge-score 0.1.2 without stemming; the first two are Lin's own examples."""
    assert rouge_l(said, wanted) == pytest.approx(value)


def test_rouge_l_reads_other_scripts():
    """Words of letters beyond ASCII count, where rouge-score drops them."""
    assert rouge_l("Die Züge fahren", "die Züge stehen") == pytest.approx(2 / 3)
    assert rouge_l("здравствуй мир", "мир") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("said", "wanted", "value"),
    [
        ("police kill the gunman", "police killed the gunman", 0.9565217391304348),
        ("the gunman kill police", "police killed the gunman", 0.43478260869565216),
        ("A man, a plan; a canal: Panama!", "a canal, a plan, a man", 0.6037735849056604),
        ("return X", " return x\n", 0.875),
        ("", "", 1.0),
        ("", "a", 0.0),
    ],
)
def test_edit_similarity_is_the_ratio_of_rapidfuzz(said, wanted, value):
    """The values of rapidfuzz 3.14.6's fuzz.ratio over 100."""
    assert edit_similarity(said, wanted) == pytest.approx(value)


SOURCE = "About 95 species are currently accepted ."
REFERENCES = [
    "About 95 species are currently known .",
    "About 95 species are now accepted .",
    "95 species are now accepted .",
]


def test_sari_of_the_published_example():
    """26.953601953601954, which the hub's metric card gives for the authors' first sentence."""
    found = sari(SOURCE, "About 95 you now get in .", REFERENCES)

    assert 100 * found == pytest.approx(26.953601953601954, abs=1e-12)


def test_sari_by_hand():
    """One reference and two words: a, b become a, c; the answer keeps a and drops b.

    1-grams: keep a (P 1, R 1), delete b (1), add nothing of c (P 1, R 0); 2-grams: keep nothing
    and could not (1), delete a b (1), add nothing though a c was wanted (0); 3, 4: nothing, 1.
    """
    ones, twos = (1 + 1 + 0), (1 + 1 + 0)

    assert sari("a b", "a", ["a c"]) == pytest.approx((ones + twos + 3 + 3) / 12)


def test_sari_rewards_neither_copying_nor_silence():
    """Copying the source keeps well and changes nothing; a reference itself scores 1."""
    (one,) = REFERENCES[:1]

    assert sari(SOURCE, one, [one]) == 1.0
    assert sari(SOURCE, SOURCE, [one]) < 1.0
    assert sari(SOURCE, "", [one]) < sari(SOURCE, SOURCE, [one])
