"""How large the parts are that a search is cut into, so that it stays within its memory."""

from __future__ import annotations

from dataclasses import dataclass

CHUNK = 64
"""Rows of the gallery of which only the best score is kept."""


@dataclass(frozen=True)
class Plan:
    """Sizes of the parts of a pruned search, in rows of what each is about."""

    queries: int
    """Queries whose table is made at once; the gallery is read twice for each such group."""
    segment: int
    """Rows of the gallery that one table covers, a multiple of `piece`."""
    piece: int
    """Rows of the gallery in one product, a multiple of the chunk."""
    block: int
    """Queries in one product; scores of block x piece stay in the cache of a processor."""
    numbers: int
    """Numbers of a table that are looked at together."""
    pairs: int
    """Pairs of query and chunk that are gathered before they are scored again."""
    exact: int
    """Pairs that are scored again or measured in one step."""


def plan_search(queries: int, rows: int, size: int, *, k: int, memory: int) -> Plan:
    """The plan for (Q, D) queries and an (N, D) gallery in `memory` bytes.

    Half is for the table, an eighth for the queries made ready, the rest for one step at a time.
    """
    numbers = memory // 4
    piece, block = 1024, min(2048, max(1, queries))
    while piece * block + 2 * piece * size > numbers // 8 and piece > CHUNK:
        piece //= 2
    while piece * block > numbers // 8 and block > 1:
        block //= 2
    while piece < 8192 and 2 * piece * (block + 2 * size) <= min(numbers // 8, 2**21):
        piece *= 2
    shortest = min(rows, max(8 * k * CHUNK, 65_536))
    group = min(
        numbers // 8 // size,
        numbers // 2 // -(-shortest // CHUNK),
        numbers // 64 // k,
        max(1, queries),
    )
    group = max(1, group)
    pieces = CHUNK * (numbers // 2 // group) // piece
    return Plan(
        queries=group,
        segment=piece * max(1, min(pieces, -(-rows // piece))),
        piece=piece,
        block=min(block, group),
        numbers=max(1, numbers // 32),
        pairs=max(256, memory // 1024),
        exact=max(16, min(1024, memory // (1024 * size))),
    )
