"""A matrix as the decompositions see it: anything that can be multiplied, in one working dtype.

numpy arrays, torch tensors on any device, nested lists, scipy sparse matrices and LinearOperators
of shape (m, n). float64 and float32 are worked in as they are; float16, bfloat16 and integers are
widened first (half precision to float32, integers to float64); long doubles are rounded to
float64. Norms are always summed in float64. Dense input is made C-contiguous, so no answer depends
on the memory layout it came in. Numbers so large or small that their squares or products would
overflow or vanish are refused; scale the matrix.
"""

import sys
from collections.abc import Callable, Hashable, Iterator
from typing import Any, final

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from continual.errors import InputError

ROWS = 64  # of a block whose squares are widened to float64 at once, so that it stays in the cache
RANGES = {np.dtype(np.float32): (1e-30, 1e30), np.dtype(np.float64): (1e-150, 1e150)}  # of max |A|


@final
class Operand:
    """An (m, n) matrix with its products, and what was already computed about it.

    Attributes:
        shape: (m, n).
        dtype: float32 or float64, of every product and factor.
        values: a C-contiguous array, a CSR array or a LinearOperator.
    """

    def __init__(self, matrix: object, name: str = "matrix") -> None:
        """Read and check a matrix; a dense float32 or float64 C-contiguous array is not copied.

        Raises:
            InputError: not two-dimensional, empty, not real numbers, or holding NaN or infinity.
        """
        self.name = name
        self.known: dict[Hashable, Any] = {}
        self.values = _read(matrix, name)
        self.dtype = _working_dtype(self.values.dtype, name)
        self.shape: tuple[int, int] = _checked_shape(self.values.shape, name)
        if not isinstance(self.values, LinearOperator):
            self.values = self.values.astype(self.dtype, copy=False)
            stored = self.values.data if sparse.issparse(self.values) else self.values
            self._refuse_unusable(np.asarray(stored))

    @property
    def smaller(self) -> int:
        """min(m, n), the largest rank there can be."""
        return min(self.shape)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Return what ``compute`` returns, computed once per key: shared by the decompositions."""
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]

    def times(self, X: np.ndarray) -> np.ndarray:
        """Return A X (m, k)."""
        return self._product(self.values @ X.astype(self.dtype, copy=False))

    def transposed_times(self, Y: np.ndarray) -> np.ndarray:
        """Return Aᵗ Y (n, k)."""
        Y = Y.astype(self.dtype, copy=False)
        if isinstance(self.values, LinearOperator):
            try:
                return self._product(self.values.rmatmat(Y))
            except (NotImplementedError, TypeError) as error:
                raise InputError(
                    f"{self.name} is a LinearOperator without a usable rmatvec ({error}); "
                    "a decomposition needs products with its transpose too."
                ) from error
        return self._product(self.values.T @ Y)

    def columns(self, indices: np.ndarray) -> np.ndarray:
        """Return A[:, indices], dense (m, k)."""
        if isinstance(self.values, LinearOperator):
            return self.times(self._unit(self.shape[1], indices))
        if sparse.issparse(self.values):
            return self.once("csc", self.values.tocsc)[:, indices].toarray()
        return self.values[:, indices]

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return A[indices, :], dense (k, n)."""
        if isinstance(self.values, LinearOperator):
            return self.transposed_times(self._unit(self.shape[0], indices)).T
        if sparse.issparse(self.values):
            return self.values[indices, :].toarray()
        return self.values[indices, :]

    def dense(self) -> np.ndarray:
        """Return A as an array; a LinearOperator is multiplied with the identity."""
        return self.once("dense", self._dense)

    def energies(self, axis: int) -> np.ndarray:
        """Return the squared norm of every row (axis 0) or column (axis 1), in float64."""
        return self.once(("energies", axis), lambda: self._energies(axis))

    @property
    def energy(self) -> float:
        """‖A‖²_F, in float64."""
        return self.once("energy", self._energy)

    def _dense(self) -> np.ndarray:
        if isinstance(self.values, LinearOperator):
            return self.times(np.eye(self.shape[1], dtype=self.dtype))
        return self.values.toarray() if sparse.issparse(self.values) else self.values

    def _energies(self, axis: int) -> np.ndarray:
        if sparse.issparse(self.values):
            squared = self.values.astype(np.float64).power(2)
            return np.asarray(squared.sum(axis=1 - axis)).ravel()
        total = np.zeros(self.shape[axis])
        for place, rows in self.blocks():
            wide = rows.astype(np.float64, copy=False)
            if axis == 0:
                total[place] = np.einsum("ij,ij->i", wide, wide)
            else:
                total += np.einsum("ij,ij->j", wide, wide)
        return total

    def _energy(self) -> float:
        if sparse.issparse(self.values):
            return float(self._energies(1).sum())
        wide = (rows.astype(np.float64, copy=False).ravel() for _, rows in self.blocks())
        with np.errstate(over="ignore", invalid="ignore"):  # such numbers are refused by name
            return float(sum(np.dot(flat, flat) for flat in wide))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield A by blocks of rows, each with its place; dense ones are views.

        An operator is multiplied with unit vectors of its smaller side, min(m, n) products in all;
        where that is the input side, the whole is formed once.
        """
        tall = isinstance(self.values, LinearOperator) and self.shape[1] < self.shape[0]
        for start in range(0, self.shape[0], ROWS):
            place = slice(start, min(start + ROWS, self.shape[0]))
            if tall or isinstance(self.values, np.ndarray):
                yield place, self.dense()[place]
            else:
                yield place, self.rows(np.arange(place.start, place.stop))

    def _unit(self, size: int, indices: np.ndarray) -> np.ndarray:
        unit = np.zeros((size, len(indices)), dtype=self.dtype)
        unit[indices, np.arange(len(indices))] = 1.0
        return unit

    def _product(self, result: Any) -> np.ndarray:
        result = np.asarray(result, dtype=self.dtype)
        if isinstance(self.values, LinearOperator):
            self._largest(result)
        return result

    def _largest(self, values: np.ndarray) -> float:
        """Return the largest magnitude, if all numbers are finite."""
        largest = float(max(values.max(initial=0.0), -values.min(initial=0.0)))
        if not np.isfinite(largest):
            bad = int(values.size - np.isfinite(values).sum())
            raise InputError(
                f"{self.name} must be finite; {bad} of its {values.size} numbers are not."
            )
        return largest

    def _refuse_unusable(self, values: np.ndarray) -> None:
        """Look at the norm, which is needed anyway, and only where that is odd at the numbers."""
        low, high = RANGES[self.dtype]
        if low * np.sqrt(values.size) < np.sqrt(self.energy) < high:
            return
        largest = self._largest(values)
        if largest > high or 0.0 < largest < low:
            raise InputError(
                f"the largest number of {self.name} is {largest:g}; in {self.dtype} it must be "
                f"between {low:g} and {high:g}, or squares overflow or vanish. Scale the matrix."
            )


def prepare(matrix: object, name: str = "matrix") -> Operand:
    """Return ``matrix`` made ready: pass it to several functions, and they share their sketches.

    Raises:
        InputError: see :class:`Operand`.
    """
    return matrix if isinstance(matrix, Operand) else Operand(matrix, name)


def _read(matrix: Any, name: str) -> Any:
    """Return a C-contiguous array, a CSR array or a LinearOperator.

    torch is looked up among the loaded modules: someone who holds a tensor has imported it.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(matrix, torch.Tensor):
        tensor: Any = matrix.detach().to(device="cpu")
        half = tensor.dtype in (torch.float16, torch.bfloat16)
        try:
            return np.ascontiguousarray((tensor.float() if half else tensor).numpy())
        except TypeError as error:
            raise InputError(
                f"{name} must be a dense tensor of real numbers; got {tensor.layout} of "
                f"{tensor.dtype}: {error}"
            ) from None
    if isinstance(matrix, LinearOperator):
        return matrix
    if sparse.issparse(matrix):
        return sparse.csr_array(matrix)
    try:
        return np.ascontiguousarray(matrix)
    except ValueError as error:
        raise InputError(f"{name} must be a matrix of real numbers: {error}") from None


def _working_dtype(dtype: Any, name: str) -> np.dtype:
    kind = np.dtype(dtype)
    if kind in (np.dtype(np.float32), np.dtype(np.float16)):
        return np.dtype(np.float32)
    if kind.kind in "fiub":
        return np.dtype(np.float64)
    raise InputError(f"{name} must be a matrix of real numbers; got dtype {kind}.")


def _checked_shape(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    if len(shape) != 2:
        raise InputError(f"{name} must have two dimensions; got shape {tuple(shape)}.")
    if 0 in shape:
        raise InputError(f"{name} must not be empty; got shape {tuple(shape)}.")
    return int(shape[0]), int(shape[1])


def owned(array: np.ndarray) -> np.ndarray:
    """Return a read-only array that keeps no larger one alive: what a result is made of."""
    array = array.copy() if array.base is not None or not array.flags.owndata else array.view()
    array.flags.writeable = False
    return array
