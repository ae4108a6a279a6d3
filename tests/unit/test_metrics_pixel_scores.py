"""Pixel AUROC, average precision and AUPRO against a plain oracle that sorts every pixel."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sightline.errors import DataError
from sightline.metrics.auroc import average_precision, compute_auroc
from sightline.metrics.pixel_counts import region_shares
from sightline.metrics.pixel_scores import (
    PixelScores,
    compute_aupro,
    compute_pixel_auroc,
    pixel_scores,
)
from sightline.metrics.score_bins import CELLS, ScoreBins, cells_of, ordered_keys, score_of_key


def flooded(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Regions of touching pixels, corners too, by flooding from each pixel not seen yet."""
    left = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    regions = []
    while left:
        queue, region = [left.pop()], []
        while queue:
            row, column = queue.pop()
            region.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            queue += near
        regions.append(region)
    return regions


def exact_aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float) -> float:
    """The curve with a point for each distinct score, and its area piece by piece."""
    normal = np.sort(np.concatenate([m[~k] for m, k in zip(maps, masks, strict=True)]))
    regions = [
        np.sort(np.array([m[one] for one in region]))
        for m, k in zip(maps, masks, strict=True)
        for region in flooded(k)
    ]
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    rates = [1 - np.searchsorted(normal, thresholds) / len(normal)]
    found = np.mean([1 - np.searchsorted(r, thresholds) / len(r) for r in regions], axis=0)
    points = [(0.0, 0.0), *zip(rates[0].tolist(), found.tolist(), strict=True)]
    area = 0.0
    for (left, low), (right, high) in pairwise(points):
        if right > limit:
            cut = low + (high - low) * (limit - left) / (right - left)
            return (area + (limit - left) * (low + cut) / 2) / limit
        area += (right - left) * (low + high) / 2
    return area / limit


def scene(n: int = 12, side: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth standard normal field (N, H, W), higher in round defects, and the masks."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    field = sum(
        np.sin(tilt[0] * rows + tilt[1] * columns + random.uniform(0, 7, (n, 1, 1)))
        for tilt in random.normal(0, 0.3, (12, 2, n, 1, 1))
    ) / np.sqrt(6) + random.normal(0, 0.3, (n, side, side))
    masks = np.zeros((n, side, side), dtype=bool)
    for mask in masks[: 3 * n // 4]:
        for _ in range(2):
            row, column, radius = *random.integers(8, side - 8, 2), random.integers(2, 9)
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    field[masks] += 1.3
    return field, masks


SHAPES = {
    "three layers multiplied": lambda z: np.exp(1.7 * z) ** 3,
    "over thirty decades": lambda z: np.exp(9 * z),
    "2 to 4": lambda z: 3 + np.tanh(z),
    "almost constant": lambda z: 0.5 + 1e-4 * np.tanh(z),
    "one outlier": lambda z: np.where(z == z.max(), 1e30, z),
    "negative": lambda z: -np.exp(-z),
    "around zero": lambda z: z,
    "clipped at zero": lambda z: np.maximum(z, 0),
    "ten levels": lambda z: np.round(z),
    "eight bits": lambda z: np.clip(np.round(z * 40 + 100), 0, 255) / 255,
    "constant": lambda z: np.full_like(z, 0.1),
    "infinite at the top": lambda z: np.where(z > 2, np.inf, z),
}


@pytest.mark.parametrize("name", SHAPES)
def test_values_are_those_of_the_exact_curves(name: str) -> None:
    field, masks = scene()
    maps = SHAPES[name](field).astype(np.float32)
    found = score(maps, masks, resamples=2)
    assert found.auroc.value == pytest.approx(compute_auroc(maps, masks), abs=1e-5)
    expected = average_precision(maps, masks)
    assert found.average_precision.value == pytest.approx(expected, abs=5e-5)
    for limit in (0.05, 0.3, 1.0):
        aupro = compute_aupro(maps, masks, limit=limit)
        assert aupro == pytest.approx(exact_aupro(maps, masks, limit), abs=2e-5)
    assert compute_pixel_auroc(maps, masks) == found.auroc.value


def score(maps: Any, masks: Any, **options: Any) -> PixelScores:
    """Pixel scores of maps whose defects are all dents."""
    types = ["dent" if mask.any() else "good" for mask in masks]
    options = {"defect_types": types, "resamples": 50} | options
    return pixel_scores(list(zip(maps, masks, strict=True)), **options)


def test_perfect_and_reversed_maps() -> None:
    field, masks = scene(4)
    noise = np.tanh(field) * 0.4
    assert compute_aupro(masks + noise, masks) == pytest.approx(1.0, abs=1e-12)
    assert compute_pixel_auroc(masks + noise, masks) == 1.0
    assert compute_aupro(noise - masks, masks) == pytest.approx(0.0, abs=1e-12)
    assert compute_pixel_auroc(noise - masks, masks) == 0.0
    found = score(masks + noise, masks)
    for one in (found.auroc, found.average_precision, found.aupro):
        assert one.value == pytest.approx(1.0, abs=1e-12)
        assert one.low == pytest.approx(1.0, abs=1e-12)


def test_aupro_by_hand() -> None:
    """Two regions of 1 and 3 pixels; 4 normal pixels, of which one is above the second region."""
    masks = np.array([[[1, 0, 1, 1], [0, 0, 0, 1]]], dtype=bool)
    maps = np.array([[[9, 1, 5, 4], [7, 2, 3, 2]]], dtype=np.float32)
    # Falling: 9 region A; 7 normal; 5 B; 4 B; 3 normal; 2 normal and B together; 1 normal.
    # FPR 0 -> 1/4: overlap (1 + 0) / 2; then B's two thirds: (1 + 2/3) / 2; at 1/2 the same.
    upto_quarter = 0.25 * 0.5
    assert compute_aupro(maps, masks, limit=0.25) == pytest.approx(upto_quarter / 0.25)
    upto_half = upto_quarter + 0.25 * 5 / 6
    assert compute_aupro(maps, masks, limit=0.5) == pytest.approx(upto_half / 0.5)
    upto_end = upto_half + 0.25 * (5 / 6 + 1) / 2 + 0.25
    assert compute_aupro(maps, masks, limit=1.0) == pytest.approx(upto_end)
    # Half way up the tied step of 2: the straight line between its ends.
    tied = (upto_half + 0.125 * (5 / 6 + 11 / 12) / 2) / 0.625
    assert compute_aupro(maps, masks, limit=0.625) == pytest.approx(tied)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=150, deadline=None)
def test_regions_touch_at_edges_and_corners(mask: np.ndarray) -> None:
    shares, number = region_shares(mask)
    regions = flooded(mask)
    assert number == len(regions)
    expected = np.zeros(mask.shape)
    for region in regions:
        for place in region:
            expected[place] = 1 / len(region)
    np.testing.assert_allclose(shares, expected[mask])


@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=50),
    st.sampled_from([1 << 16, 1 << 17]),
)
@settings(max_examples=150, deadline=None)
def test_bins_keep_the_order_of_any_float32(values: list[float], most: int) -> None:
    scores = np.array(values, dtype=np.float32)
    keys = ordered_keys(scores)
    np.testing.assert_array_equal(keys[:, None] < keys[None, :], scores[:, None] < scores[None, :])
    assert [score_of_key(int(key)) for key in keys] == scores.tolist()
    mass = np.bincount(cells_of(keys), minlength=CELLS)
    bins = ScoreBins.fit(mass, most=most)
    places = bins.numbers(keys)
    assert bins.size <= most
    assert (places >= 0).all()
    assert (places < bins.size).all()
    assert (np.diff(places[np.argsort(scores, kind="stable")]) >= 0).all()
    for place, value in zip(places.tolist(), scores.tolist(), strict=True):
        top = bins.highest(place)
        assert top >= value
        assert place == bins.size - 1 or top < np.inf or value == np.inf
    groups = bins.merged(7)
    assert (np.diff(groups) >= 0).all()
    assert groups.max() <= 6


def test_a_bin_holds_little_of_smooth_scores() -> None:
    scores = np.exp(5 * np.random.default_rng(0).normal(size=400_000)).astype(np.float32)
    keys = ordered_keys(scores)
    bins = ScoreBins.fit(np.bincount(cells_of(keys), minlength=CELLS))
    counts = np.bincount(bins.numbers(keys), minlength=bins.size)
    assert counts.max() < 1e-4 * len(scores)
    grouped = np.bincount(bins.merged(100)[bins.numbers(keys)], minlength=100)
    assert grouped.min() > 0.5 * len(scores) / 100
    assert grouped.max() < 2 * len(scores) / 100


def test_images_may_differ_in_size_and_order() -> None:
    field, masks = scene(6)
    sizes = [(96, 96), (50, 80), (96, 30), (7, 9), (96, 96), (20, 20)]
    maps = [m[:h, :w] for m, (h, w) in zip(field.astype(np.float32), sizes, strict=True)]
    parts = [m[:h, :w] for m, (h, w) in zip(masks, sizes, strict=True)]
    found = score(maps, parts)
    assert found.aupro.value == pytest.approx(exact_aupro(maps, parts, 0.3), abs=2e-5)
    turned = score(maps[::-1], parts[::-1])
    assert turned.aupro.value == pytest.approx(found.aupro.value, abs=1e-12)
    assert turned.auroc.value == pytest.approx(found.auroc.value, abs=1e-12)
    assert found.n_regions == sum(len(flooded(part)) for part in parts)
    assert found.n_images == 6


def test_large_images_are_worked_on_in_parts() -> None:
    """Regions of other sizes in each part: their shares must stay with their pixels."""
    maps = np.random.default_rng(0).random((2, 300, 500)).astype(np.float32)
    masks = np.zeros(maps.shape, dtype=bool)
    for number, row in enumerate(range(0, 300, 30)):
        masks[0, row : row + 2 + 2 * number, 20 : 22 + number] = True
        maps[0, row : row + 2 + 2 * number, 20 : 22 + number] += 0.09 * number
    assert compute_aupro(maps, masks) == pytest.approx(exact_aupro(maps, masks, 0.3), abs=2e-5)
    found = score(maps, masks, resamples=2)
    assert found.auroc.value == pytest.approx(compute_auroc(maps, masks), abs=1e-5)


class Lazy:
    """Images that are made when they are read, and count how often they were."""

    def __init__(self, maps: np.ndarray, masks: np.ndarray) -> None:
        self.maps, self.masks = maps, masks
        self.read = [0] * len(maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.read[index] += 1
        return self.maps[index].copy(), self.masks[index].copy()

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("images are read by index")


def test_lazy_images_are_read_twice_and_never_kept() -> None:
    field, masks = scene(40, 256)
    images = Lazy(field.astype(np.float32), masks)
    types = ["dent" if mask.any() else "good" for mask in masks]
    pixel_scores(images, defect_types=types, resamples=2)  # type: ignore[arg-type]
    assert images.read == [2] * 40
    tracemalloc.start()
    pixel_scores(images, defect_types=types, resamples=200)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_forty_maps_take_a_moment() -> None:
    field, masks = scene(40, 256)
    maps = np.exp(3 * field).astype(np.float32)
    compute_aupro(maps[:2], masks[:2])
    started = time.process_time()
    compute_aupro(maps, masks)
    assert time.process_time() - started < 0.8, "a loop over thresholds takes minutes"


def test_each_defect_type_is_scored_with_all_normal_images() -> None:
    field, masks = scene(16)
    maps = np.exp(field).astype(np.float32)
    types = np.array(["hole"] * 4 + ["dent"] * 8 + ["good"] * 4)
    found = score(maps, masks, defect_types=types.tolist())
    assert list(found.per_defect) == ["dent", "hole"]
    for name, row in found.per_defect.items():
        chosen = (types == name) | (types == "good")
        auroc = compute_auroc(maps[chosen], masks[chosen])
        aupro = exact_aupro(maps[chosen], masks[chosen], 0.3)
        assert row["pixel_auroc"] == pytest.approx(auroc, abs=1e-4)
        assert row["pixel_aupro"] == pytest.approx(aupro, abs=5e-4)
        assert row["n_images"] == (types == name).sum()
        assert row["n_regions"] == sum(len(flooded(mask)) for mask in masks[types == name])


def test_a_type_without_a_mask_is_nan() -> None:
    field, masks = scene(8)
    types = ["dent"] * 6 + ["stain", "good"]
    row = score(field, masks, defect_types=types).per_defect["stain"]
    assert np.isnan([row["pixel_auroc"], row["pixel_aupro"]]).all()
    assert (row["n_images"], row["n_regions"]) == (1, 0)


def test_intervals_are_those_of_a_plain_bootstrap_over_images() -> None:
    field, masks = scene(16, 48, seed=3)
    maps = np.exp(2 * field).astype(np.float32)
    found = score(maps, masks, resamples=400, confidence=0.9)
    random = np.random.default_rng(1)
    plain = []
    for _ in range(80):
        drawn = np.concatenate([random.integers(0, 12, 12), random.integers(12, 16, 4)])
        few, marks = maps[drawn], masks[drawn]
        plain.append((compute_auroc(few, marks), compute_aupro(few, marks)))
    for one, column in zip((found.auroc, found.aupro), np.array(plain).T, strict=True):
        low, high = np.quantile(column, [0.05, 0.95])
        width = high - low
        assert one.low == pytest.approx(low, abs=0.4 * width)
        assert one.high == pytest.approx(high, abs=0.4 * width)
        assert one.low <= one.value <= one.high
        assert (one.n, one.unit, one.confidence) == (16, "image", 0.9)
    assert found == score(maps, masks, resamples=400, confidence=0.9)
    assert found.aupro != score(maps, masks, resamples=400, confidence=0.9, seed=1).aupro


def test_curves_are_short_and_have_the_same_area() -> None:
    field, masks = scene()
    found = score(np.exp(3 * field).astype(np.float32), masks)
    roc, pro = found.roc_curve, found.pro_curve
    for across, up in ((roc["fpr"], roc["tpr"]), (pro["fpr"], pro["pro"])):
        assert 100 < len(across) == len(up) <= 200
        assert (np.diff(across) >= 0).all()
        assert (np.diff(up) >= 0).all()
        assert (across[0], up[0]) == (0, 0)
    assert (roc["fpr"][-1], roc["tpr"][-1]) == (1, 1)
    assert pro["fpr"][-1] == pytest.approx(0.3)
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(found.auroc.value, abs=1e-3)
    area = np.trapezoid(pro["pro"], pro["fpr"]) / 0.3
    assert area == pytest.approx(found.aupro.value, abs=1e-3)


@pytest.mark.parametrize(("fill", "counts"), [(False, "0 pixels.*50"), (True, "50 pixels.*0")])
def test_one_kind_of_pixel_is_nan_with_the_counts(fill: bool, counts: str) -> None:
    maps = np.random.default_rng(0).random((2, 5, 5)).astype(np.float32)
    masks = np.full(maps.shape, fill)
    for metric in (compute_aupro, compute_pixel_auroc):
        with pytest.warns(UserWarning, match=counts):
            assert np.isnan(metric(maps, masks))
    with pytest.warns(UserWarning, match=counts):
        found = score(maps, masks)
    for one in (found.auroc, found.average_precision, found.aupro):
        assert np.isnan([one.value, one.low, one.high]).all()
    assert found.pro_curve == {"fpr": [], "pro": []}


def test_wrong_input_says_what_and_where() -> None:
    maps, masks = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4), bool)
    broken = maps.copy()
    broken[1, 0, :3] = np.nan
    with pytest.raises(DataError, match=r"3 NaN among 16 pixels\n.*image 1"):
        compute_aupro(broken, masks)
    with pytest.raises(DataError, match=r"mask of shape \(4, 3\)\n.*image 1"):
        score([maps[0], maps[1]], [masks[0], masks[1][:, :3]])
    with pytest.raises(DataError, match="one shape"):
        compute_pixel_auroc(maps, masks[:1])
    with pytest.raises(DataError, match="2 defect types"):
        score(maps, masks, defect_types=["good"])
    with pytest.raises(DataError, match="above 0 and at most 1"):
        compute_aupro(maps, masks, limit=30)
    with pytest.raises(DataError, match="resamples >= 1"):
        score(maps, masks, resamples=0)


def test_maps_that_change_between_readings_are_refused() -> None:
    class Fresh(Lazy):
        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            scores, mask = super().__getitem__(index)
            return scores * np.float32(self.read[index] * 1000), mask

    field, masks = scene(4)
    with pytest.raises(DataError, match="changed between two readings"):
        pixel_scores(Fresh(field.astype(np.float32), masks), defect_types=["dent"] * 4)  # type: ignore[arg-type]
