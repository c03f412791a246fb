"""Tensor trains against the tensor itself and the singular values of its unfoldings."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.errors import InputError
from continual.linalg import balanced_factors, matrix_train, tensor_train
from tests.linalg.spectra import with_spectrum

RNG = np.random.default_rng(0)


@settings(max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers(0, 2**32 - 1), st.data())
def test_the_error_is_exact_and_within_oseledets_bound(sizes, seed, data):
    """‖X − X̂‖² ≤ Σ of the unfoldings' optimal squared errors (2011, theorem 2.2)."""
    tensor = np.random.default_rng(seed).normal(size=sizes)
    rank = data.draw(st.integers(1, 6))
    unfoldings = [tensor.reshape(math.prod(sizes[:k]), -1) for k in range(1, len(sizes))]
    optima = [np.square(np.linalg.svd(u, compute_uv=False)[rank:]).sum() for u in unfoldings]

    found = tensor_train(tensor, rank)
    made = np.linalg.norm(tensor - found.dense())

    assert found.error_fro == pytest.approx(made, abs=1e-10)
    assert made**2 <= sum(optima) + 1e-10
    assert made**2 >= max(optima) - 1e-10
    assert max(found.ranks) <= rank


def test_without_a_rank_nothing_is_lost():
    """And all cores but the last are left-orthonormal."""
    tensor = RNG.normal(size=(3, 4, 2, 5))
    found = tensor_train(tensor)

    np.testing.assert_allclose(found.dense(), tensor, atol=1e-12)
    for core in found.cores[:-1]:
        flat = core.reshape(-1, core.shape[2])
        np.testing.assert_allclose(flat.T @ flat, np.eye(flat.shape[1]), atol=1e-12)


@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.5])
def test_a_tolerance_is_met(tolerance):
    """With smaller ranks for larger tolerances."""
    tensor = with_spectrum(24, 20, 0.6 ** np.arange(20.0), 1).reshape(4, 6, 5, 4)

    found = tensor_train(tensor, tolerance=tolerance)

    assert np.linalg.norm(tensor - found.dense()) <= tolerance * np.linalg.norm(tensor) + 1e-12


def test_energy_is_another_word_for_tolerance():
    """0.99 of the energy is an error of 0.1."""
    tensor = with_spectrum(24, 20, 0.6 ** np.arange(20.0), 1).reshape(4, 6, 5, 4)

    assert tensor_train(tensor, energy=0.99).ranks == tensor_train(tensor, tolerance=0.1).ranks


def test_a_matrix_is_paired_digit_by_digit():
    """DoTA's form: W[(i_1 i_2), (j_1 j_2)] = G_1[i_1 j_1] G_2[i_2 j_2]; Kronecker has rank one."""
    first, second = RNG.normal(size=(3, 2)), RNG.normal(size=(4, 5))

    found = matrix_train(np.kron(first, second), (3, 4), (2, 5), rank=1)

    assert [core.shape for core in found.cores] == [(1, 6, 1), (1, 20, 1)]
    assert found.error_fro < 1e-12
    np.testing.assert_allclose(found.matrix((3, 4), (2, 5)), np.kron(first, second), atol=1e-12)


def test_a_full_train_gives_the_matrix_back():
    """Three digits on either side, rectangular, in bfloat16 too."""
    matrix = RNG.normal(size=(24, 30))

    found = matrix_train(matrix, (2, 3, 4), (5, 3, 2))

    np.testing.assert_allclose(found.matrix((2, 3, 4), (5, 3, 2)), matrix, atol=1e-12)
    half = torch.tensor(matrix).bfloat16()
    again = matrix_train(half, (2, 3, 4), (5, 3, 2)).matrix((2, 3, 4), (5, 3, 2))
    np.testing.assert_allclose(again, half.float().numpy(), atol=1e-5)


def left_part(cores):
    """The part of a chain before the last core, as a matrix."""
    part = np.ones((1, 1))
    for core in cores:
        part = (part @ core.reshape(core.shape[0], -1)).reshape(-1, core.shape[2])
    return part


def test_a_balanced_chain_is_the_same_tensor_with_singular_values_on_both_sides():
    """The Gram matrices of both parts at every cut are diag(σ)."""
    tensor = RNG.normal(size=(3, 4, 2, 5))
    found = tensor_train(tensor)
    cores = found.balanced()

    for k, sigma in enumerate(found.singular, start=1):
        left = left_part(cores[:k])
        right = left_part([core.transpose(2, 1, 0) for core in reversed(cores[k:])])
        expected = np.linalg.svd(tensor.reshape(math.prod(tensor.shape[:k]), -1), compute_uv=False)
        np.testing.assert_allclose(sigma, expected, atol=1e-12)
        np.testing.assert_allclose(left.T @ left, np.diag(sigma), atol=1e-12)
        np.testing.assert_allclose(right.T @ right, np.diag(sigma), atol=1e-12)
    np.testing.assert_allclose(left_part(cores).reshape(tensor.shape), tensor, atol=1e-12)


@pytest.mark.parametrize("tensor", [np.zeros((3, 2, 4)), np.ones((3, 2, 4), dtype=np.float32)])
def test_a_deficient_tensor_can_be_balanced(tensor):
    """Singular values of zero divide nothing by zero, and the dtype stays."""
    cores = tensor_train(tensor).balanced()

    assert {core.dtype for core in cores} == {tensor.dtype}
    np.testing.assert_allclose(left_part(cores).reshape(tensor.shape), tensor, atol=1e-5)


@given(st.integers(1, 20000), st.integers(1, 5))
def test_balanced_factors_multiply_to_the_size(size, count):
    """Whatever its primes."""
    factors = balanced_factors(size, count)

    assert math.prod(factors) == size
    assert len(factors) == count


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tensor_train(np.ones(3)), "two dimensions or more"),
        (lambda: tensor_train(np.ones((2, 2)), 0), "between 1 and"),
        (lambda: tensor_train(np.ones((2, 2)), True), "must be an integer"),
        (lambda: tensor_train(np.ones((2, 0))), "none empty"),
        (lambda: tensor_train(np.ones((2, 2)), 1, tolerance=0.1), "not both"),
        (lambda: tensor_train(np.ones((2, 2)), tolerance=1.0), r"in \[0, 1\)"),
        (lambda: tensor_train(np.full((2, 2), np.inf)), "tensor must be finite"),
        (lambda: matrix_train(np.eye(6), (2, 3), (6,)), "in pairs"),
        (lambda: matrix_train(np.eye(6), (2, 2), (2, 3)), r"they give \(4, 6\)"),
        (lambda: balanced_factors(0, 2), "at least 1"),
    ],
)
def test_unusable_input_is_refused(call, message):
    """With what was given and what is allowed."""
    with pytest.raises(InputError, match=message):
        call()
