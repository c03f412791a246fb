"""Random orthonormal columns: frozen bases that methods project on or keep out of."""

import torch
from jaxtyping import Float
from torch import Tensor


def orthonormal(rows: int, columns: int, seed: int) -> Float[Tensor, "rows columns"]:
    """Return the Q of a Gaussian matrix that a CPU generator draws, with R's diagonal positive.

    Uniform over all such bases. The draw is a pure function of the arguments; the factorisation is
    one up to the rounding of this machine's LAPACK.
    """
    drawn = torch.randn(rows, columns, generator=torch.Generator("cpu").manual_seed(seed))
    Q, R = torch.linalg.qr(drawn)
    return Q * torch.where(R.diagonal() < 0.0, -1.0, 1.0)
