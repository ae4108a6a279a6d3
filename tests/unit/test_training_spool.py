"""Large outputs go through a file and come back as they were; rows keep their order."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightline.training.evaluator import collect_outputs, join_by_id
from sightline.training.runtime import resolve_precision
from sightline.training.spool import Rows, Spool

CPU = torch.device("cpu")


def test_large_arrays_come_back_as_they_were_and_small_ones_are_left_alone() -> None:
    random = np.random.default_rng(0)
    written = []
    for count, kind in ((3, np.float32), (1, np.uint8), (2, np.float64)):
        maps = random.normal(size=(count, 3, 5)).astype(kind)
        written.append({"ids": ["x"] * count, "scores": np.arange(count), "maps": maps})
    with Spool() as spool:
        kept = [spool.keep(one) for one in written]
        assert all(not isinstance(one["maps"], np.ndarray) for one in kept)
        read = spool.read(kept)
    for one, other in zip(read, written, strict=True):
        assert one["maps"].dtype == other["maps"].dtype
        assert np.array_equal(one["maps"], other["maps"])
        assert one["scores"] is other["scores"]


def test_nothing_large_needs_no_file_and_an_empty_array_no_place() -> None:
    with Spool() as spool:
        (one,) = spool.read([spool.keep({"scores": np.arange(2), "maps": np.empty((0, 4, 4))})])
    assert one["maps"].shape == (0, 4, 4)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_rows_are_those_of_the_parts_in_the_order_given(sizes, random) -> None:
    parts, start = [], 0
    for size in sizes:
        parts.append(np.arange(start, start + size)[:, None, None] * np.ones((1, 2, 2)))
        start += size
    order = random.sample(range(start), start)
    rows = Rows(parts, np.array(order))
    assert [int(row[0, 0]) for row in rows] == order
    assert int(rows[-1][0, 0]) == order[-1]
    again = Rows([rows[:1], rows[1:]], np.arange(start))
    assert [int(row[1, 1]) for row in again] == order


def test_maps_of_a_split_are_joined_by_id_without_being_read() -> None:
    batches = [{"ids": ["b", "a"], "value": 1.0}, {"ids": ["c"], "value": 2.0}]

    def forward(batch):
        count = len(batch["ids"])
        maps = torch.full((count, 4, 4), batch["value"]) + torch.arange(count)[:, None, None]
        return {"ids": batch["ids"], "scores": maps.amax((1, 2)), "maps": maps}

    outputs = collect_outputs(
        torch.nn.Identity(), batches, forward, device=CPU, precision=resolve_precision("fp32", CPU)
    )
    assert isinstance(outputs[0]["maps"].base, np.ndarray), "a view of the file"
    joined = join_by_id(outputs, ["a", "b", "c"])
    assert joined["scores"].tolist() == [2.0, 1.0, 2.0]
    assert [float(one.max()) for one in joined["maps"]] == [2.0, 1.0, 2.0]
    # What was joined can be joined again, as an evaluation does with what a predictor says.
    twice = join_by_id([joined], ["c", "a", "b"])
    assert [float(one.max()) for one in twice["maps"]] == [2.0, 2.0, 1.0]
