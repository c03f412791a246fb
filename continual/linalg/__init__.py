"""Matrix decompositions and subspaces: what every method and metric that looks at ΔW stands on.

Choosing (``select``) and factorising (``svd``, ``cur``, ``interpolative`` …) are kept apart. Every
function takes numpy, torch, scipy-sparse or LinearOperator input, see ``operand`` for dtypes, and
returns numpy arrays. The answer depends on the matrix's numbers and on the seed, never on its
memory layout, nor on what was computed before. NaN, infinity, empty matrices and impossible ranks
are refused with ``InputError``.
"""

from continual.linalg.cache import Cache, content_hash
from continual.linalg.checkpoints import Held, Layer, held, layers_of
from continual.linalg.cur import CORES, CUR, cur
from continual.linalg.interpolative import Interpolative, PivotedQR, interpolative, pivoted_qr
from continual.linalg.operand import Operand, prepare
from continual.linalg.select import POLICIES, published, ranked, select
from continual.linalg.subspaces import (
    core_norm,
    effective_rank,
    gram_norm,
    intruders,
    principal_angles,
    span_coefficients,
    spectral_norm,
    stable_rank,
)
from continual.linalg.survey import KINDS, Least, Surveyed, least, survey
from continual.linalg.svd import METHODS, SVD, optimal_error, product_svd, svd
from continual.linalg.tensor_train import (
    TensorTrain,
    balanced_factors,
    matrix_train,
    tensor_train,
)

__all__ = [
    "CORES",
    "CUR",
    "KINDS",
    "METHODS",
    "POLICIES",
    "SVD",
    "Cache",
    "Held",
    "Interpolative",
    "Layer",
    "Least",
    "Operand",
    "PivotedQR",
    "Surveyed",
    "TensorTrain",
    "balanced_factors",
    "content_hash",
    "core_norm",
    "cur",
    "effective_rank",
    "gram_norm",
    "held",
    "interpolative",
    "intruders",
    "layers_of",
    "least",
    "matrix_train",
    "optimal_error",
    "pivoted_qr",
    "prepare",
    "principal_angles",
    "product_svd",
    "published",
    "ranked",
    "select",
    "span_coefficients",
    "spectral_norm",
    "stable_rank",
    "survey",
    "svd",
    "tensor_train",
]
