"""What a matrix may come as, and what is refused."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from continual.errors import InputError
from continual.linalg import prepare

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(7, 5)) * (RNG.random(size=(7, 5)) < 0.6)


@pytest.mark.parametrize(
    "same",
    [
        MATRIX.tolist(),
        np.asfortranarray(MATRIX),
        torch.tensor(MATRIX, requires_grad=True),
        sparse.csr_array(MATRIX),
        sparse.coo_matrix(MATRIX),
        sparse.csc_array(MATRIX),
        aslinearoperator(MATRIX),
    ],
    ids=["list", "fortran", "tensor", "csr", "coo", "csc", "operator"],
)
def test_every_form_answers_alike(same):
    """Products, slices, energies, transposes."""
    operand = prepare(same)
    X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(7, 2))
    some = np.array([3, 0])

    np.testing.assert_allclose(operand.times(X), MATRIX @ X)
    np.testing.assert_allclose(operand.transposed_times(Y), MATRIX.T @ Y)
    np.testing.assert_allclose(operand.columns(some), MATRIX[:, some])
    np.testing.assert_allclose(operand.rows(some), MATRIX[some])
    np.testing.assert_allclose(operand.dense(), MATRIX)
    np.testing.assert_allclose(operand.energies(0), np.square(MATRIX).sum(axis=1))
    np.testing.assert_allclose(operand.energies(1), np.square(MATRIX).sum(axis=0))
    np.testing.assert_allclose(np.concatenate([rows for _, rows in operand.blocks()]), MATRIX)
    assert operand.energy == pytest.approx(np.square(MATRIX).sum())
    assert prepare(operand) is operand


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (MATRIX, np.float64),
        (MATRIX.astype(np.float32), np.float32),
        (MATRIX.astype(np.float16), np.float32),
        (torch.tensor(MATRIX).bfloat16(), np.float32),
        (torch.tensor(MATRIX).half(), np.float32),
        (MATRIX.astype(int), np.float64),
        (MATRIX > 0, np.float64),
    ],
)
def test_half_precision_and_integers_are_widened(values, dtype):
    """And nothing else is."""
    assert prepare(values).dtype == dtype
    assert prepare(values).times(np.ones((5, 1))).dtype == dtype


def test_norms_are_summed_in_float64_whatever_the_dtype():
    """Squares of 1e-30 are zero and of 1e30 infinite in float32."""
    for size in (2e-30, 5e29):
        operand = prepare(np.full((300, 4), size, dtype=np.float32))

        assert operand.energy == pytest.approx(1200 * float(np.float32(size)) ** 2)


def test_a_dense_array_is_not_copied():
    """A large weight stays where it is."""
    array = np.ones((4, 3))

    assert prepare(array).values is array


@pytest.mark.parametrize(
    ("dtype", "size"), [(np.float32, 1e31), (np.float32, 1e-31), (float, 1e160), (float, 1e-170)]
)
def test_scales_whose_squares_overflow_or_vanish_are_refused(dtype, size):
    """Instead of an infinite or a zero norm."""
    with pytest.raises(InputError, match="Scale the matrix"):
        prepare(np.full((2, 2), size, dtype=dtype))


def test_an_operator_without_a_transpose_is_told():
    """Only once its transpose is needed."""
    one_way = LinearOperator((3, 2), matvec=lambda x: np.ones(3), dtype=np.dtype(float))

    assert prepare(one_way).times(np.ones((2, 1))).shape == (3, 1)
    with pytest.raises(InputError, match="usable rmatvec"):
        prepare(one_way).transposed_times(np.ones((3, 1)))


def test_a_tall_operator_needs_few_products():
    """As many as its smaller side for norms and residuals, whatever the longer one."""
    counted = []

    def matmat(X):
        counted.append(X.shape[1])
        return np.ones((3000, 7)) @ X

    operator = LinearOperator(
        (3000, 7),
        matvec=lambda x: matmat(x.reshape(-1, 1)).ravel(),
        matmat=matmat,
        rmatvec=lambda y: np.ones((7, 3000)) @ y,
        dtype=np.dtype(float),
    )

    assert prepare(operator).energy == pytest.approx(21000)
    assert sum(counted) == 7


class Leaky(LinearOperator):
    """Finite on the outside, NaN in its products."""

    def __init__(self) -> None:
        super().__init__(np.dtype(float), (3, 2))

    def _matmat(self, X):
        return np.full((3, X.shape[1]), np.nan)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 2), np.nan), "must be finite; 4 of its 4"),
        (torch.tensor([[1.0, float("inf")]]), "must be finite; 1 of its 2"),
        (torch.eye(2).to_sparse(), "must be a dense tensor"),
        (torch.eye(2).to(torch.float8_e4m3fn), "must be a dense tensor of real numbers"),
        (sparse.csr_array([[0.0, np.inf]]), "must be finite; 1 of its 1"),
        (np.zeros((0, 3)), "must not be empty"),
        (np.zeros(3), r"two dimensions; got shape \(3,\)"),
        (np.zeros((2, 2, 2)), "two dimensions"),
        ([[1.0], [1.0, 2.0]], "real numbers"),
        (np.eye(2) * 1j, "got dtype complex128"),
        ("W", "real numbers"),
    ],
)
def test_unusable_matrices_are_refused(values, message):
    """With what was given."""
    with pytest.raises(InputError, match=message):
        prepare(values)


def test_an_operator_is_checked_where_it_is_multiplied():
    """Its content cannot be seen before."""
    with pytest.raises(InputError, match="must be finite"):
        prepare(Leaky()).times(np.ones((2, 1)))
