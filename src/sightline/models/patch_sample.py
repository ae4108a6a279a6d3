"""The patches of many images, or a uniform sample of them in bounded memory.

N D are patches and the size of their vectors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightline.random_numbers import generator


class PatchSample:
    """Keeps patches as they come, and beyond a limit a uniform sample of all of them.

    Each patch gets a random number that is a function of the seed and its image's place in the
    order; those with the smallest numbers stay. So the sample does not depend on the batch size,
    and the memory is `limit` vectors and a few numbers for each.
    """

    def __init__(self, limit: int, *, seed: int) -> None:
        if limit < 1:
            raise ValueError(f"expected room for one patch or more, got {limit}")
        self.limit = limit
        self.seed = seed
        self.seen = 0
        """Patches that came by."""
        self._images = 0
        self._blocks: list[Tensor] = []
        self._keys: NDArray[np.float64] = np.empty(0)
        self._places: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def add(self, patches: Tensor) -> None:
        """Take the patches (B, n, D) of some images."""
        keys, per_image = [], patches.shape[1]
        for _ in patches:
            name = f"patches of image {self._images}"
            keys.append(generator(self.seed, 0, name).random(per_image))
            self._images += 1
        if not keys:
            return
        places = np.arange(self.seen, self.seen + len(keys) * per_image)
        self.seen += len(places)
        rows, random = patches.flatten(0, 1), np.concatenate(keys)
        room = max(0, self.limit - len(self))
        if room:
            self._blocks.append(rows[:room].clone())
            self._keys = np.concatenate([self._keys, random[:room]])
            self._places = np.concatenate([self._places, places[:room]])
        if len(random) > room:
            self._exchange(rows[room:], random[room:], places[room:])

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def size(self) -> int:
        """Numbers in a vector, D."""
        return self._blocks[0].shape[1]

    @property
    def device(self) -> torch.device:
        """Where the vectors are."""
        return self._blocks[0].device

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """`change` of the kept patches (N, P), block by block, in the order the patches came."""
        blocks = [change(block) for block in self._blocks]
        result = blocks[0].new_empty(len(self), blocks[0].shape[1])
        rows = torch.from_numpy(np.argsort(np.argsort(self._places))).to(result.device)
        for block, where in zip(blocks, rows.split([len(one) for one in blocks]), strict=True):
            result[where] = block
        return result

    def take(self, indices: Tensor) -> Tensor:
        """Some of the patches (K, D), by their numbers in the order the patches came."""
        rows = np.argsort(self._places)[indices.cpu().numpy()]
        starts = np.cumsum([0, *(len(block) for block in self._blocks)])
        blocks = np.searchsorted(starts, rows, side="right") - 1
        result = self._blocks[0].new_empty(len(rows), self._blocks[0].shape[1])
        for number in np.unique(blocks):
            inside = np.flatnonzero(blocks == number)
            source = torch.from_numpy(rows[inside] - starts[number]).to(result.device)
            result[torch.from_numpy(inside).to(result.device)] = self._blocks[number][source]
        return result

    def _exchange(
        self, patches: Tensor, keys: NDArray[np.float64], places: NDArray[np.int64]
    ) -> None:
        """Put each new patch with a smaller number in the place of one with a larger."""
        both = np.concatenate([self._keys, keys])
        stays = np.zeros(len(both), dtype=bool)
        stays[np.argpartition(both, self.limit - 1)[: self.limit]] = True
        leaving = np.flatnonzero(~stays[: self.limit])
        coming = np.flatnonzero(stays[self.limit :])
        self._keys[leaving] = keys[coming]
        self._places[leaving] = places[coming]
        starts = np.cumsum([0, *(len(block) for block in self._blocks)])
        blocks = np.searchsorted(starts, leaving, side="right") - 1
        for number in np.unique(blocks):
            inside = blocks == number
            rows = torch.from_numpy(leaving[inside] - starts[number]).to(patches.device)
            new = torch.from_numpy(coming[inside]).to(patches.device)
            self._blocks[number][rows] = patches[new]
