"""Runs of consecutive names."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sightline.data.series import series_of


@given(st.sets(st.text(alphabet="ab01_", min_size=1, max_size=4), min_size=1, max_size=40),
       st.integers(1, 12))  # fmt: skip
def test_every_run_has_about_the_size_and_the_order_of_names_does_not_matter(names, size) -> None:
    listed = sorted(names)
    runs = series_of(listed, size)
    counts = np.bincount(runs)
    assert counts.sum() == len(listed)
    assert counts.max() <= max(1.5 * size, 1)
    if len(counts) > 1:
        assert counts[:-1].min() >= max(1, round(size / 2))
    shuffled = random.Random(0).sample(listed, len(listed))
    again = dict(zip(shuffled, series_of(shuffled, size).tolist(), strict=True))
    assert [again[name] for name in listed] == runs.tolist()


def test_bursts_stay_together_though_another_number_stands_before_the_counter() -> None:
    # Three exposures of each piece, a gap between pieces: the exposure must not part them.
    names = [
        f"exp{shot}_num_{1000 * piece + 17 * shot}.jpg" for piece in range(12) for shot in range(3)
    ]
    runs = series_of(names, 7)
    for piece in range(12):
        assert len(set(runs[3 * piece : 3 * piece + 3].tolist())) == 1, piece


def test_times_of_a_day_are_read_from_the_left() -> None:
    names = [f"2024-01-{day:02d}_{hour:02d}-00" for day in (1, 2) for hour in range(10)]
    runs = series_of(names, 5)
    assert len(set(runs[:10].tolist()) & set(runs[10:].tolist())) == 0, "days are kept apart"


def test_folders_are_kept_apart() -> None:
    names = [f"{line}/{number}.png" for line in ("left", "right") for number in range(6)]
    runs = series_of(names, 4)
    assert len(set(runs[:6].tolist()) & set(runs[6:].tolist())) == 0
