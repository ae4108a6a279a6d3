"""Exact nearest neighbours in bounded memory, on a CPU or a GPU.

Q queries, N vectors of the gallery, D numbers each, k neighbours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from sightline.errors import DataError
from sightline.search.neighbours import (
    Metric,
    Neighbours,
    check_finite,
    check_metric,
    check_shapes,
    unpack,
)
from sightline.search.plan import CHUNK, plan_search
from sightline.search.pruned import PrunedSearch
from sightline.search.scan import scan
from sightline.search.scores import LengthError, Scorer
from sightline.search.vectors import Array, Vectors, as_table

Precision = Literal["auto", "fp32", "bf16"]

_WORTHWHILE = 4
"""Chunks for each neighbour below which every distance is computed."""


@torch.no_grad()
def nearest(
    queries: Array,
    gallery: Array,
    k: int,
    *,
    metric: Metric = "cosine",
    memory_mib: int = 512,
    precision: Precision = "auto",
) -> Neighbours:
    """The k nearest vectors of the gallery (N, D) to each query (Q, D), the nearest first.

    Distances are computed in float64 and rounded to float32; equal ones are in ascending order of
    the row. So the answer depends on the vectors alone: not on what else is asked, `memory_mib` or
    `precision`. That is what most of the products are computed in: bf16 is taken by `auto` on CPUs
    with matrix units for it.

    Arrays, memory maps and tensors are taken; of the gallery only blocks are copied. Tensors are
    searched on the device that the gallery, else the queries, lie on, in at most `memory_mib` of
    MiB beside the queries and the answer. Raises DataError for shapes that do not fit, values that
    are not finite, and k > N.

    >>> import numpy as np
    >>> nearest(np.float32([[1, 0]]), np.float32([[0, 2], [3, 3], [4, 0]]), 2).rows.tolist()
    [[2, 1]]
    """
    check_metric(metric)
    asked, table = as_table(queries, "queries"), as_table(gallery, "vectors of the gallery")
    check_shapes(tuple(asked.shape), tuple(table.shape), k)
    memory = _memory(memory_mib)
    vectors = Vectors(table, _device(asked, table))
    half = _takes_half(precision, vectors.device)
    with torch.autocast(vectors.device.type, enabled=False):
        found = _search(asked.float(), vectors, k, Scorer(metric, half), memory)
    return unpack(found)


def _search(queries: Tensor, gallery: Vectors, k: int, scorer: Scorer, memory: int) -> Tensor:
    """The k nearest (Q, k), packed; those that pruning gives up in a way that does not."""
    check_finite(queries, "queries")
    if k * CHUNK * _WORTHWHILE > len(gallery):
        return scan(queries, gallery, k, metric=scorer.metric, memory=memory)
    plan = plan_search(len(queries), len(gallery), gallery.size, k=k, memory=memory)
    found = []
    for part in queries.split(plan.queries):
        try:
            search = PrunedSearch(part, gallery, k, scorer)
            nearest_ones, given_up = search.run(plan)
        except LengthError:
            found.append(scan(part, gallery, k, metric=scorer.metric, memory=memory))
            continue
        del search
        rest = given_up.nonzero().squeeze(1).to(part.device)
        if len(rest):
            left = part[rest]
            if scorer.half:
                again = _search(left, gallery, k, Scorer(scorer.metric), memory)
            else:
                again = scan(left, gallery, k, metric=scorer.metric, memory=memory)
            nearest_ones[rest.to(nearest_ones.device)] = again
        found.append(nearest_ones)
    return torch.cat(found)


def _memory(memory_mib: int) -> int:
    if memory_mib < 1:
        raise DataError("A search needs memory.", expected="1 MiB or more", got=memory_mib)
    return memory_mib * 2**20


def _device(queries: Tensor, gallery: Tensor) -> torch.device:
    return gallery.device if gallery.device.type != "cpu" else queries.device


def _takes_half(precision: str, device: torch.device) -> bool:
    if precision not in ("auto", "fp32", "bf16"):
        raise DataError("There is no such precision.", expected="auto, fp32, bf16", got=precision)
    return precision == "bf16" or (precision == "auto" and device.type == "cpu" and _has_tiles())


def _has_tiles() -> bool:
    """Whether this CPU multiplies bfloat16 matrices by units of their own (Intel AMX)."""
    information = Path("/proc/cpuinfo")
    return information.exists() and "amx_bf16" in information.read_text(encoding="utf-8")
