"""Principal components of vectors that come in blocks, so that a mapped table stays on disk.

N vectors of D numbers, d components.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PrincipalComponents:
    """The directions of largest variance, the largest first."""

    mean: Floats
    """(D,)"""
    directions: Floats
    """(D, D), orthonormal rows."""
    variances: Floats
    """(D,) of the vectors along each direction, in descending order."""

    def project(self, vectors: npt.NDArray[np.floating], dimension: int) -> npt.NDArray[np.float32]:
        """The first d coordinates (N, d), float32, of vectors (N, D)."""
        centred = np.asarray(vectors, np.float32) - self.mean.astype(np.float32)
        found: npt.NDArray[np.float32] = centred @ self.directions[:dimension].T.astype(np.float32)
        return found


def principal_components(blocks: Iterable[npt.NDArray[np.floating]]) -> PrincipalComponents:
    """The principal components of vectors (N, D) that come in blocks (n, D), each looked at once.

    Pearson, "On lines and planes of closest fit", 1901, by the eigenvectors of the covariance,
    summed in float64 around the mean of the first block. Of each direction the sign is such that
    its largest number is positive, so that equal data gives equal components. Raises DataError
    without any vector.

    >>> found = principal_components([np.float32([[0, 0], [2, 2]]), np.float32([[4, 4]])])
    >>> found.mean.tolist(), found.directions[0].round(3).tolist()
    ([2.0, 2.0], [0.707, 0.707])
    """
    count, shift, total, products = 0, None, None, None
    for block in blocks:
        values = np.asarray(block, np.float64)
        if shift is None:
            shift = values.mean(axis=0)
            total, products = np.zeros_like(shift), np.zeros((len(shift), len(shift)))
        values = values - shift
        count += len(values)
        total += values.sum(axis=0)
        products += values.T @ values
    if shift is None or total is None or products is None:
        raise DataError("There are no vectors to find principal components of.")
    offset = total / count
    covariance = products / count - np.outer(offset, offset)
    variances, vectors = np.linalg.eigh(covariance)
    directions = vectors.T[::-1]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return PrincipalComponents(
        shift + offset,
        np.ascontiguousarray(directions * np.where(signs == 0, 1.0, signs)[:, None]),
        np.clip(variances[::-1], 0.0, None),
    )
