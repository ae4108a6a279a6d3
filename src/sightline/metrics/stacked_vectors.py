"""Queries and gallery as one list of vectors, of which only pieces are copied.

Q queries, N vectors of both together, D numbers each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightline.errors import DataError
from sightline.metrics.classification import Counts
from sightline.metrics.ranking import Scores
from sightline.metrics.vectors import Vectors, check_vectors

if TYPE_CHECKING:
    from torch import Tensor

_PIECE = 2048
"""Rows whose lengths are found together."""


class StackedVectors:
    """The queries, then the gallery; their squared distances are computed on one device.

    Without a gallery the queries are each other's. ``first`` is the row where the gallery begins.
    Raises DataError for vectors that do not fit, are not finite, or whose distances overflow.
    """

    def __init__(self, queries: Vectors, gallery: Vectors | None, device: str) -> None:
        check_vectors(queries, queries if gallery is None else gallery)
        self.first = 0 if gallery is None else len(queries)
        self.queries, self.device = queries, device
        self.gallery = queries[:0] if gallery is None else gallery
        self.squares = self._squares()

    def __len__(self) -> int:
        return len(self.queries) + len(self.gallery)

    def piece(self, start: int, stop: int) -> Scores:
        """Return rows from start up to stop as float32, (stop - start, D)."""
        at = len(self.queries)
        first, second = self.queries[start:stop], self.gallery[max(start - at, 0) : stop - at]
        if start >= at:
            rows = second
        elif stop <= at:
            rows = first
        else:
            rows = np.concatenate([first, second])
        # PyTorch takes what can be written to only; nothing writes to it.
        return np.require(rows, dtype=np.float32, requirements=["C", "W"])

    def take(self, rows: Counts) -> Scores:
        """Return some rows as float32, (P, D)."""
        found = np.empty((len(rows), self.gallery.shape[1]), dtype=np.float32)
        is_query = rows < len(self.queries)
        found[is_query] = self.queries[rows[is_query]]
        found[~is_query] = self.gallery[rows[~is_query] - len(self.queries)]
        return found

    def distances(self, rows: tuple[int, int], others: tuple[int, int]) -> Tensor:
        """Return the squared distances of two ranges of rows, never below 0, on the device."""
        import torch

        some, piece = (torch.from_numpy(self.piece(*one)).to(self.device) for one in (rows, others))
        squares = [
            torch.from_numpy(self.squares[slice(*one)]).to(self.device) for one in (rows, others)
        ]
        table = torch.addmm(squares[1], some, piece.T, alpha=-2)
        return table.add_(squares[0][:, None]).clamp_(min=0)

    def _squares(self) -> Scores:
        squares = np.empty(len(self), dtype=np.float32)
        for at in range(0, len(self), _PIECE):
            piece = self.piece(at, min(at + _PIECE, len(self))).astype(np.float64)
            squares[at : at + len(piece)] = np.einsum("nd,nd->n", piece, piece)
        # No squared distance is larger than four times this.
        if not float(squares.max(initial=0)) * 4 < float(np.finfo(np.float32).max):
            raise DataError(
                "The vectors are too long: their squared distances overflow float32.",
                expected="vectors of unit length",
                got=f"a squared length of {squares.max():.3g}",
                remedy="divide each vector by its length first",
            )
        return squares
