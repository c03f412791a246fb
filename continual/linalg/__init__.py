"""Matrix decompositions and subspaces: what every method and metric that looks at ΔW stands on.

Every function takes a numpy array or a torch tensor of any real dtype on any device, computes in
float64 and returns numpy arrays. The answer depends on the matrix's numbers and on the seed, never
on its memory layout, nor on what was computed before. NaN, infinity, empty matrices and impossible
ranks are refused with ``InputError``.
"""

from continual.linalg.decompose import CUR, SVD, cur, product_svd, svd
from continual.linalg.select import POLICIES, select
from continual.linalg.subspaces import effective_rank, gram_norm, principal_angles

__all__ = [
    "CUR",
    "POLICIES",
    "SVD",
    "cur",
    "effective_rank",
    "gram_norm",
    "principal_angles",
    "product_svd",
    "select",
    "svd",
]
