"""What was learned, kept and passed on: every score as a pure function of R.

    R[i, j]   score on task j after experience i, in [0, 1]; T×T, from 0; NaN = not evaluated
    b[j]      score on task j before any training

A definition reads only the entries its formula names, so a class-incremental R with NaN above the
diagonal is welcome wherever the formula stays on or below it. An entry that is needed and NaN is an
InputError that names the experience and the task. Nothing is silently averaged over what is left.

"Forgetting" and "backward transfer" are several numbers in the literature; each has its own id here
and the worked number of every docstring is computed on the same matrix:

>>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
>>> ids = [forgetting_first_last, forgetting_chaudhry2018, forgetting_clamped]
>>> [round(f(R), 3) for f in ids]
[0.075, 0.125, 0.15]
"""

import numpy as np
from jaxtyping import Float

from continual.metrics.needs import (
    NotEvaluatedError,
    last_of_several,
    need,
    need_below,
    need_diagonal_and_last,
    need_vector,
    square,
)

Matrix = Float[np.ndarray, "E T"]
Vector = Float[np.ndarray, " T"]


def forgetting_chaudhry2018(R: Matrix) -> float:
    """``forgetting.chaudhry2018``: the best score before the last experience, minus the last score.

        F = 1/(T-1) · Σ_{j<T-1} ( max_{j≤i<T-1} R[i,j] − R[T-1,j] )

    Unit: score, in [-1, 1]. Lower is better; negative means that later tasks helped.
    Source: Chaudhry et al. 2018, "Riemannian Walk", arXiv:1801.10112.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(forgetting_chaudhry2018(R), 3)
    0.125

    Raises:
        InputError: R is not square, has one task, or misses an entry of an earlier task since it
            was learned.
    """
    last = last_of_several(R, "forgetting.chaudhry2018")
    need_below(R, "forgetting.chaudhry2018", last)
    return float(np.mean([R[j:last, j].max() - R[last, j] for j in range(last)]))


def forgetting_first_last(R: Matrix) -> float:
    """``forgetting.first_last``: the score when just learned, minus the last score.

        F = 1/(T-1) · Σ_{j<T-1} ( R[j,j] − R[T-1,j] )  =  −bwt.gem2017

    Unit: score, in [-1, 1]. Lower is better.
    Source: the forgetting of Avalanche 0.6, Lomonaco et al. 2021, arXiv:2104.00405.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(forgetting_first_last(R), 3)
    0.075

    Raises:
        InputError: R is not square, has one task, or misses an entry of the diagonal or last row.
    """
    last = last_of_several(R, "forgetting.first_last")
    need_diagonal_and_last(R, "forgetting.first_last", last)
    return float(np.mean(np.diag(R)[:last] - R[last, :last]))


def forgetting_clamped(R: Matrix) -> float:
    """``forgetting.clamped``: the best score ever, the last one included, minus the last score.

        F = 1/(T-1) · Σ_{j<T-1} ( max_{j≤i≤T-1} R[i,j] − R[T-1,j] )

    Unit: score, in [0, 1]; it cannot be negative, so gains on earlier tasks do not show.
    Lower is better.
    Source: the forgetting that Mammoth (Buzzega et al. 2020, arXiv:2004.07211) and PILOT
    (Sun et al. 2023, arXiv:2309.07117) compute.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(forgetting_clamped(R), 3)
    0.15

    Raises:
        InputError: R is not square, has one task, or misses an entry of an earlier task since it
            was learned.
    """
    last = last_of_several(R, "forgetting.clamped")
    need_below(R, "forgetting.clamped", last)
    return float(np.mean([R[j:, j].max() - R[last, j] for j in range(last)]))


def bwt_gem2017(R: Matrix) -> float:
    """``bwt.gem2017``: backward transfer, the last score minus the score when just learned.

        BWT = 1/(T-1) · Σ_{j<T-1} ( R[T-1,j] − R[j,j] )

    Unit: score, in [-1, 1]. Higher is better; negative is forgetting.
    Source: Lopez-Paz and Ranzato 2017, "Gradient Episodic Memory", arXiv:1706.08840, sec. 2.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(bwt_gem2017(R), 3)
    -0.075

    Raises:
        InputError: R is not square, has one task, or misses an entry of the diagonal or last row.
    """
    last = last_of_several(R, "bwt.gem2017")
    need_diagonal_and_last(R, "bwt.gem2017", last)
    return float(np.mean(R[last, :last] - np.diag(R)[:last]))


def bwt_all_pairs(R: Matrix) -> float:
    """``bwt.all_pairs``: backward transfer over every later row, not the last alone.

        BWT = 2/(T(T-1)) · Σ_{i>j} ( R[i,j] − R[j,j] )

    Unit: score, in [-1, 1]. Higher is better.
    Source: Díaz-Rodríguez et al. 2018, "Don't forget, there is more than forgetting",
    arXiv:1810.13166; the backward transfer of Continuum (arXiv:2102.06253).

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(bwt_all_pairs(R), 4)
    -0.0167

    Raises:
        InputError: R is not square, has one task, or misses an entry of an earlier task since it
            was learned.
    """
    last = last_of_several(R, "bwt.all_pairs")
    need_below(R, "bwt.all_pairs", last)
    return float(np.mean([R[i, j] - R[j, j] for j in range(last) for i in range(j + 1, last + 1)]))


def fwt_gem2017(R: Matrix, b: Vector) -> float:
    """``fwt.gem2017``: forward transfer, the score just before learning a task minus b.

        FWT = 1/(T-1) · Σ_{j>0} ( R[j-1,j] − b[j] )

    Unit: score, in [-1, 1]. Higher is better. Undefined for class-incremental runs, where a task
    whose classes are unseen cannot be scored.
    Source: Lopez-Paz and Ranzato 2017, arXiv:1706.08840, sec. 2, with b of the untrained backbone.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(fwt_gem2017(R, np.array([0.10, 0.05, 0.10])), 3)
    0.035

    Raises:
        InputError: R is not square, has one task, b has another length, or an entry is missing.
    """
    last = last_of_several(R, "fwt.gem2017")
    need_vector(b, "b", "before any training", last + 1, "fwt.gem2017")
    need(R, [(j - 1, j) for j in range(1, last + 1)], "fwt.gem2017")
    return float(np.mean([R[j - 1, j] - b[j] for j in range(1, last + 1)]))


def average_accuracy(R: Matrix) -> float:
    """``average_accuracy``: what is left at the end, the mean of the last row.

        ACC = 1/T · Σ_j R[T-1,j]

    Unit: score, in [0, 1]. Higher is better.
    Source: Lopez-Paz and Ranzato 2017, arXiv:1706.08840, sec. 2.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(average_accuracy(R), 3)
    0.75

    Raises:
        InputError: R is not square or misses an entry of the last row.
    """
    tasks = square(R, "average_accuracy")
    need(R, [(tasks - 1, j) for j in range(tasks)], "average_accuracy")
    return float(np.mean(R[-1]))


def average_incremental_accuracy(R: Matrix) -> float:
    """``average_incremental_accuracy``: average accuracy on the tasks seen so far, over all rows.

        AIA = 1/T · Σ_i ( 1/(i+1) · Σ_{j≤i} R[i,j] )

    Unit: score, in [0, 1]. Higher is better.
    Source: Rebuffi et al. 2017, "iCaRL", arXiv:1611.07725, sec. 4.1; tasks count equally here.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(average_incremental_accuracy(R), 3)
    0.8

    Raises:
        InputError: R is not square or misses an entry on or below the diagonal.
    """
    tasks = square(R, "average_incremental_accuracy")
    need_below(R, "average_incremental_accuracy", tasks)
    return float(np.mean([R[i, : i + 1].mean() for i in range(tasks)]))


def learning_accuracy(R: Matrix) -> float:
    """``learning_accuracy``: how well each task was learned at all, the mean of the diagonal.

        LA = 1/T · Σ_j R[j,j]

    Unit: score, in [0, 1]. Higher is better. Read it beside every forgetting: a method that learns
    nothing forgets nothing.
    Source: Riemer et al. 2019, "Learning to Learn without Forgetting", arXiv:1810.11910.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(learning_accuracy(R), 3)
    0.8

    Raises:
        InputError: R is not square or misses an entry of the diagonal.
    """
    tasks = square(R, "learning_accuracy")
    need(R, [(j, j) for j in range(tasks)], "learning_accuracy")
    return float(np.mean(np.diag(R)))


def min_accuracy(R: Matrix) -> float:
    """``min_accuracy``: the lowest score of each earlier task since it was learned, on average.

        min-ACC = 1/(T-1) · Σ_{j<T-1} min_{i>j} R[i,j]

    Unit: score, in [0, 1]. Higher is better. The source takes the minimum over every training
    iteration; R has one row per experience, so this is an upper bound of that number.
    Source: De Lange et al. 2023, "Continual evaluation for lifelong learning", arXiv:2205.13452.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(min_accuracy(R), 3)
    0.725

    Raises:
        InputError: R is not square, has one task, or misses an entry below the diagonal.
    """
    last = last_of_several(R, "min_accuracy")
    need(R, [(i, j) for j in range(last) for i in range(j + 1, last + 1)], "min_accuracy")
    return float(np.mean([R[j + 1 :, j].min() for j in range(last)]))


def intransigence(R: Matrix, joint: Vector) -> float:
    """``intransigence``: what joint training reaches on a task, minus what was learned of it.

        I = 1/T · Σ_j ( joint[j] − R[j,j] )

    ``joint[j]`` is the score on task j of the same model trained on tasks together: in the paper on
    0..j, in the control ``joint`` of this library on all of them at once.
    Unit: score, in [-1, 1]. Lower is better; negative means that the sequence helped.
    Source: Chaudhry et al. 2018, arXiv:1801.10112, averaged over tasks.

    >>> R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
    >>> round(intransigence(R, np.array([0.80, 0.85, 0.90])), 3)
    0.05

    Raises:
        InputError: R is not square, joint has another length, or an entry is missing.
    """
    tasks = square(R, "intransigence")
    need_vector(joint, "joint", "of joint training", tasks, "intransigence")
    need(R, [(j, j) for j in range(tasks)], "intransigence")
    return float(np.mean(joint - np.diag(R)))


def stability_gap(curve: Vector) -> float:
    """``stability_gap``: how far an earlier task's score dipped while another was being learned.

        gap = min(first, last) − min over the curve

    ``curve`` is that task's score over one later experience: before it, within it, after it.
    What never came back is forgetting; the gap is the part that was lost and came back.
    Unit: score, in [0, 1]. Lower is better.
    Source: the phenomenon of De Lange et al. 2023, arXiv:2205.13452; this number for it is ours.

    >>> round(stability_gap(np.array([0.80, 0.45, 0.60, 0.70])), 3)
    0.25

    Raises:
        InputError: there are fewer than three scores or one is missing.
    """
    if len(curve) < 3:
        raise NotEvaluatedError(
            f"stability_gap needs the score before, within and after an experience; got "
            f"{len(curve)} values. Evaluate earlier tasks within an experience."
        )
    need_vector(curve, "curve", "of the curve", len(curve), "stability_gap")
    return float(min(curve[0], curve[-1]) - curve.min())
