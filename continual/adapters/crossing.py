"""The columns and rows of a frozen weight between which CURLoRA's core learns."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Site, seed_of
from continual.errors import InputError
from continual.linalg import published, select

NORMALIZE = ("none", "unit", "qr")


def chosen(site: Site, columns: int, rows: int, policy: str, compat: str) -> tuple[Tensor, Tensor]:
    """Return column and row indices, int64.

    Args:
        site: W and the seed.
        columns: k.
        rows: l.
        policy: of ``continual.linalg.select``, for both sides with seeds of their own.
        compat: "published" draws both as CURLoRA's code does; "none" by the policy.

    Raises:
        InputError: all of the chosen columns or rows are zero, so that nothing could be changed.
    """
    if compat == "published":
        found = published(site.weight, columns, rows, seed=site.seed)
    else:
        found = tuple(
            select(site.weight, count, axis=axis, policy=policy, seed=seed_of(site.seed, side))
            for count, axis, side in ((columns, 1, "columns"), (rows, 0, "rows"))
        )
    for indices, lines, side in zip(
        found, (site.weight.T, site.weight), ("columns", "rows"), strict=True
    ):
        if not lines[torch.from_numpy(np.asarray(indices)).to(lines.device)].any():
            raise InputError(
                f"all {side} that curlora chose in layer {site.name!r} are zero, so no change "
                "could come from them; give policy='qdeim' or another that looks for large ones, "
                "or leave that layer out."
            )
    return torch.from_numpy(found[0]), torch.from_numpy(found[1])


def normalized(columns: Float[Tensor, "m k"], how: str) -> Float[Tensor, "m k"]:
    """Return columns as they are, of unit norm, or an orthonormal basis of their span (qr).

    Zero columns stay zero; with qr, so does what depends on the columns before it.
    """
    if how == "unit":
        norms = torch.linalg.vector_norm(columns, dim=0)
        return columns / torch.where(norms > 0, norms, 1.0)
    if how == "none":
        return columns
    Q, triangle = torch.linalg.qr(columns.double())
    diagonal = triangle.diagonal().abs()
    fresh = diagonal > 1e-6 * torch.linalg.vector_norm(columns.double(), dim=0)
    return torch.where(fresh, Q, 0.0).float()
