"""Nearest vectors in a bank, exactly and in bounded memory.

Q M D K are queries, vectors of the bank, their size, and neighbours asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 2048


@torch.no_grad()
def nearest(queries: Tensor, bank: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distance (Q,) float32 of each query to its nearest vector, and its number (Q,).

    `queries` (Q, D) and `bank` (M, D); among equally near vectors the lowest number. Distances are
    those of float32 matrix products, with the winner's measured again from the difference, so an
    exact copy is at distance 0. Memory beside the answer is that of 2048 x 2048 numbers.
    """
    with torch.autocast(bank.device.type, enabled=False):
        queries, bank = queries.float(), bank.float()
        halves = bank.square().sum(dim=1).mul_(0.5)
        found = [_nearest_chunk(rows, bank, halves) for rows in queries.split(_CHUNK)]
        numbers = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
        return (queries - bank[numbers]).square().sum(dim=1).sqrt(), numbers


def _nearest_chunk(queries: Tensor, bank: Tensor, halves: Tensor) -> Tensor:
    """Number of the nearest vector of each query q: the one with the least ½‖b‖² - q·b."""
    least = queries.new_full((len(queries),), torch.inf)
    numbers = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for start in range(0, len(bank), _CHUNK):
        part = slice(start, start + _CHUNK)
        values, indices = torch.addmm(halves[part], queries, bank[part].T, alpha=-1).min(dim=1)
        better = values < least
        least = torch.where(better, values, least)
        numbers = torch.where(better, indices + start, numbers)
    return numbers


@torch.no_grad()
def nearest_few(queries: Tensor, bank: Tensor, count: int) -> Tensor:
    """Numbers (Q, K) of the `count` nearest vectors of each query, nearest first; K <= M."""
    with torch.autocast(bank.device.type, enabled=False):
        queries, bank = queries.float(), bank.float()
        halves = bank.square().sum(dim=1).mul_(0.5)
        count = min(count, len(bank))
        found = [
            torch.addmm(halves, rows, bank.T, alpha=-1).topk(count, dim=1, largest=False).indices
            for rows in queries.split(_CHUNK // 8)
        ]
        return torch.cat(found) if found else torch.empty(0, count, dtype=torch.int64)
