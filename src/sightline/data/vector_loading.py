"""Batches of vectors; every epoch and every batch can be had again by its number.

B vectors in a batch, D numbers each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sightline.data.batch_plans import BatchPlan, Rows, SequentialPlan, ShuffledPlan
from sightline.data.loading import Shard
from sightline.data.vector_samples import VectorRows


@dataclass(frozen=True, slots=True)
class VectorBatch:
    """Vectors (B, D) float32, and their ids."""

    vectors: Tensor
    ids: list[str]


class VectorLoader:
    """Batches of some rows: in training a new permutation in each epoch, else in their order.

    The order depends on the seed, the epoch and the ids. In training a last batch that is not full
    is left out where there is another one: a loss that compares the rows of a batch would mean
    something else there. Of several processes each takes its share of every batch.
    """

    def __init__(
        self,
        samples: VectorRows,
        *,
        batch_size: int,
        training: bool,
        seed: int = 0,
        shard: Shard | None = None,
    ) -> None:
        self._samples, self._training, self._size = samples, training, batch_size
        self._shard = shard or Shard()
        count = self._shard.count
        self._plan: BatchPlan = SequentialPlan(len(samples), batch_size=batch_size, processes=count)
        if training:
            ids = samples.manifest.id
            self._plan = ShuffledPlan(ids, batch_size=batch_size, seed=seed, processes=count)

    def __len__(self) -> int:
        return len(self._full(1))

    def __iter__(self) -> Iterator[VectorBatch]:
        return self.batches(1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[VectorBatch]:
        """The batches of an epoch (from 1), beginning with number `start` (from 0)."""
        ids = self._samples.manifest.id
        for rows in self._full(epoch)[start:]:
            mine = self._plan.share(rows, self._shard.rank, self._shard.count)
            vectors = torch.from_numpy(self._samples.read(mine))
            yield VectorBatch(vectors, [str(ids[row]) for row in mine])

    def _full(self, epoch: int) -> list[Rows]:
        batches = self._plan.batches(epoch)
        if self._training and len(batches) > 1 and len(batches[-1]) < self._size:
            return batches[:-1]
        return batches
