"""Effects: each agrees with another library or a plain loop, and draws keep to their ranges."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from torchvision.transforms import functional as F

from sightline.data.effects import (
    CAMERA,
    EFFECTS,
    FILL,
    OPERATIONS,
    Effect,
    apply,
    draw_effects,
)
from sightline.data.presets import PRESETS, Augmentation
from sightline.random_numbers import generator

Array = npt.NDArray[Any]
NUMBERS: dict[str, tuple[float, ...]] = {
    "turn": (1,),
    "rotate": (-20,),
    "gamma": (0.8,),
    "clahe": (2, 4),
    "shadow": (1.0, 0.1, 0.3),
    "downscale": (0.7,),
    "blur": (0.8,),
    "noise": (9, 5),
    "jpeg": (75,),
    "mirror": (),
    "upend": (),
    "transpose": (),
    **{name: numbers(0.5) for name, numbers in OPERATIONS.items() if name != "identity"},
}
"""An example of every effect."""


def picture(size: int = 32, seed: int = 0) -> Array:
    """Coarse colours with some noise, so that filters have something to do."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((size, size))).astype(int)
    return np.clip(smooth + random.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def changed(pixels: Array, name: str, *values: float) -> Array:
    return apply(pixels, [Effect(name, values)])


def test_every_effect_has_an_example() -> None:
    assert set(NUMBERS) == set(EFFECTS)


@pytest.mark.parametrize("size", [1, 2, 7, 32])
@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_effects_are_functions_of_pixels_and_numbers(name: str, size: int) -> None:
    pixels = picture(size)
    before = pixels.copy()
    pixels.flags.writeable = False
    result = changed(pixels, name, *NUMBERS[name])
    np.testing.assert_array_equal(changed(pixels, name, *NUMBERS[name]), result)
    np.testing.assert_array_equal(pixels, before)
    assert result.shape == pixels.shape
    assert result.dtype == np.uint8


@pytest.mark.parametrize("first", sorted(NUMBERS))
def test_effects_can_follow_one_another(first: str) -> None:
    pixels = picture(16)
    one = changed(pixels, first, *NUMBERS[first])
    for second, values in NUMBERS.items():
        both = apply(pixels, [Effect(first, NUMBERS[first]), Effect(second, values)])
        np.testing.assert_array_equal(both, changed(np.ascontiguousarray(one), second, *values))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turns_and_mirrors_are_exact(turns: int) -> None:
    pixels = picture(9)
    np.testing.assert_array_equal(changed(pixels, "turn", turns), np.rot90(pixels, turns))
    np.testing.assert_array_equal(changed(pixels, "rotate", 90 * turns), np.rot90(pixels, turns))
    np.testing.assert_array_equal(changed(pixels, "mirror"), pixels[:, ::-1])
    np.testing.assert_array_equal(changed(pixels, "upend"), pixels[::-1])
    np.testing.assert_array_equal(changed(pixels, "transpose"), np.swapaxes(pixels, 0, 1))


@pytest.mark.parametrize("factor", [0.1, 0.55, 1.0, 1.45, 1.9])
@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("brightness", F.adjust_brightness),
        ("contrast", F.adjust_contrast),
        ("color", F.adjust_saturation),
        ("sharpness", F.adjust_sharpness),
    ],
)
def test_enhancements_match_torchvision(name: str, oracle: Any, factor: float) -> None:
    pixels = picture()
    expected = np.asarray(oracle(Image.fromarray(pixels), factor))
    np.testing.assert_array_equal(changed(pixels, name, factor), expected)


def test_tables_match_torchvision() -> None:
    pixels = picture()
    image = Image.fromarray(pixels)
    for result, expected in (
        (changed(pixels, "autocontrast"), F.autocontrast(image)),
        (changed(pixels, "equalize"), F.equalize(image)),
        (changed(pixels, "solarize", 100), F.solarize(image, 100)),
        (changed(pixels, "posterize", 5), F.posterize(image, 5)),
    ):
        np.testing.assert_array_equal(result, np.asarray(expected))
    gamma = np.asarray(F.adjust_gamma(image, 0.8)).astype(int)
    assert np.abs(changed(pixels, "gamma", 0.8) - gamma).max() <= 1, "rounded, not cut off"


@pytest.mark.parametrize("by", [-0.25, 0.125])
def test_translations_are_exact_and_filled(by: float) -> None:
    pixels = picture(16)
    steps = round(16 * by)
    for name, axis in (("translate_x", 1), ("translate_y", 0)):
        result = changed(pixels, name, by)
        expected = np.roll(pixels, -steps, axis)
        edge = [slice(None)] * 2
        edge[axis] = slice(-steps, None) if steps > 0 else slice(None, -steps)
        expected[tuple(edge)] = FILL
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("by", [-0.3, 0.2])
@pytest.mark.parametrize("axis", [0, 1])
def test_shears_match_torchvision(by: float, axis: int) -> None:
    pixels = picture(33)
    shear = [0.0, 0.0]
    shear[axis] = math.degrees(math.atan(by))
    expected = F.affine(
        Image.fromarray(pixels), angle=0, translate=[0, 0], scale=1, shear=shear,
        interpolation=F.InterpolationMode.BILINEAR, fill=FILL.tolist(),
    )  # fmt: skip
    result = changed(pixels, "shear_xy"[:-2] + "xy"[axis], by)
    same = (np.abs(result.astype(int) - np.asarray(expected)) <= 2).all(axis=2)
    assert same.mean() > 0.97, "they differ only where the edge is cut"
    assert (result == FILL).all(axis=2).any()


@pytest.mark.parametrize("radius", [0.5, 0.9, 1.8])
def test_blur_is_gaussian(radius: float) -> None:
    pixels = picture(64)
    expected = gaussian_filter(pixels.astype(float), (radius, radius, 0), mode="nearest")
    difference = np.abs(changed(pixels, "blur", radius) - expected)[4:-4, 4:-4]
    assert difference.mean() < 1
    np.testing.assert_array_equal(changed(np.full_like(pixels, 9), "blur", radius), 9)


def test_quality_and_size_lose_detail() -> None:
    pixels = picture(64).astype(int)

    def loss(name: str, value: float) -> float:
        return float(np.abs(changed(pixels.astype(np.uint8), name, value) - pixels).mean())

    assert 0 < loss("jpeg", 95) < loss("jpeg", 75) < loss("jpeg", 30) < 30
    assert 0 < loss("downscale", 0.9) < loss("downscale", 0.3) < 30
    assert loss("downscale", 1.0) == 0


def test_noise_has_its_deviation_and_its_seed() -> None:
    grey = np.full((96, 96, 3), 128, np.uint8)
    noisy = changed(grey, "noise", 8, 1).astype(float) - 128
    assert abs(noisy.std() - 8) < 0.2
    assert abs(noisy.mean()) < 0.2
    flat = noisy.reshape(-1, 3)
    assert np.abs(np.corrcoef(flat.T) - np.eye(3)).max() < 0.05
    assert (changed(grey, "noise", 8, 2) != changed(grey, "noise", 8, 1)).any()
    ends = np.concatenate([np.zeros((9, 9, 3), np.uint8), np.full((9, 9, 3), 255, np.uint8)], 1)
    assert np.abs(changed(ends, "noise", 5, 1).astype(int) - ends).max() < 40, "nothing wraps"


@given(st.floats(0, 6.3), st.floats(-0.35, 0.35), st.floats(0.15, 0.45), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_shadow_matches_a_plain_loop(
    angle: float, offset: float, darkness: float, size: int
) -> None:
    pixels = picture(size)
    result = changed(pixels, "shadow", angle, offset, darkness)
    assert (result <= pixels).all()
    assert (result >= np.floor(pixels * (1 - darkness))).all()
    for row in range(0, size, 3):
        for column in range(0, size, 2):
            x, y = (column + 0.5) / size - 0.5, (row + 0.5) / size - 0.5
            away = math.cos(angle) * x + math.sin(angle) * y - offset
            edge = min(max(away * size / 1.5 + 0.5, 0), 1)
            dark = darkness * edge * (0.3 + 0.7 * math.exp(-max(away, 0) / 0.1))
            np.testing.assert_allclose(
                result[row, column], pixels[row, column] * (1 - dark), atol=0.51
            )


def test_clahe_matches_a_plain_loop() -> None:
    size, tiles, limit = 18, 3, 2.0
    pixels = picture(size, 4)
    luma, blue, red = Image.fromarray(pixels).convert("YCbCr").split()
    values = np.asarray(luma).tolist()
    side = size // tiles

    def table(row: int, column: int) -> list[float]:
        counts = [0.0] * 256
        for y in range(row * side, (row + 1) * side):
            for x in range(column * side, (column + 1) * side):
                counts[values[y][x]] += 1
        highest = limit * side * side / 256
        spread = sum(max(count - highest, 0) for count in counts) / 256
        total, result = 0.0, []
        for count in counts:
            total += min(count, highest) + spread
            result.append(255 * total / (side * side))
        return result

    tables = [[table(row, column) for column in range(tiles)] for row in range(tiles)]
    expected = np.empty((size, size), np.uint8)
    for y in range(size):
        for x in range(size):
            at = [min(max((p - (side - 1) / 2) / side, 0), tiles - 1) for p in (y, x)]
            r, c = (int(one) for one in at)
            below, after = min(r + 1, tiles - 1), min(c + 1, tiles - 1)
            a, b = at[0] - r, at[1] - c
            upper = tables[r][c][values[y][x]] * (1 - b) + tables[r][after][values[y][x]] * b
            lower = (
                tables[below][c][values[y][x]] * (1 - b) + tables[below][after][values[y][x]] * b
            )
            expected[y, x] = round(upper * (1 - a) + lower * a)
    merged = Image.merge("YCbCr", [Image.fromarray(expected), blue, red]).convert("RGB")
    difference = np.abs(changed(pixels, "clahe", limit, tiles) - np.asarray(merged).astype(int))
    assert difference.max() <= 2, "rounding of single precision only"
    assert difference.mean() < 0.05


def test_clahe_spreads_a_narrow_range_but_not_without_limit() -> None:
    dull = (100 + picture(64) // 16).astype(np.uint8)
    spreads = [float(np.ptp(changed(dull, "clahe", limit, 1))) for limit in (1, 2, 8)]
    assert float(np.ptp(dull)) <= spreads[0] < spreads[1] < spreads[2]


def drawn(ranges: Augmentation, count: int, size: int = 224) -> list[tuple[Effect, ...]]:
    return [draw_effects(generator(0, 1, str(n)), ranges, size) for n in range(count)]


def test_draws_have_their_probabilities_and_ranges() -> None:
    ranges = replace(PRESETS["none"], shadow=0.1, downscale=0.3, blur=0.5, noise=0.7, jpeg=0.9)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in CAMERA}
    for effects in drawn(ranges, 2000):
        assert [one.name for one in effects] == [
            name for name in CAMERA if name in {one.name for one in effects}
        ]
        for effect in effects:
            found[effect.name].append(effect.values)
    limits = {
        "shadow": [(0, 2 * math.pi), (-0.35, 0.35), (0.15, 0.45)],
        "downscale": [(0.6, 0.9)],
        "blur": [(0.3, 0.9)],
        "noise": [(3, 12), (0, 2**32 - 1)],
        "jpeg": [(60, 95)],
    }
    for name, values in found.items():
        assert abs(len(values) / 2000 - getattr(ranges, name)) < 0.03
        for column, (low, high) in zip(np.array(values).T, limits[name], strict=True):
            assert low <= column.min() < low + 0.05 * (high - low)
            assert high >= column.max() > high - 0.05 * (high - low)
    assert drawn(ranges, 50, 32) == drawn(ranges, 50), "half a pixel is little enough"
    assert {v[0] for e in drawn(ranges, 9, 448) for n, v in e if n == "blur"} == {
        2 * v[0] for e in drawn(ranges, 9, 224) for n, v in e if n == "blur"
    }


def test_one_range_does_not_change_what_others_draw() -> None:
    everything = replace(PRESETS["none"], shadow=1, downscale=1, blur=1, noise=1, jpeg=1)
    for name in CAMERA:
        for whole, part in zip(
            drawn(everything, 20), drawn(replace(everything, **{name: 0}), 20), strict=True
        ):
            assert part == tuple(one for one in whole if one.name != name)


def test_randaugment_uses_every_operation_alike_at_its_strength() -> None:
    ranges = replace(PRESETS["none"], randaugment=3, randaugment_magnitude=0.4)
    effects = [one for some in drawn(ranges, 1500) for one in some]
    counts = Counter(one.name for one in effects)
    assert set(counts) == set(OPERATIONS) - {"identity"}
    share = 4500 / len(OPERATIONS)
    assert abs(4500 - len(effects) - share) < 80, "the identity"
    assert all(abs(count - share) < 80 for count in counts.values())
    for name in counts:
        values = {one.values for one in effects if one.name == name}
        assert values == {OPERATIONS[name](0.4), OPERATIONS[name](-0.4)}
    assert OPERATIONS["rotate"](1.0) == (30.0,)
    assert OPERATIONS["posterize"](-1.0) == (4.0,)
    assert OPERATIONS["solarize"](-1.0) == (0.0,)
    assert OPERATIONS["brightness"](-1.0) == pytest.approx((0.1,))


def test_weak_operations_hardly_change_a_picture() -> None:
    pixels = picture(32).astype(int)
    for name in set(OPERATIONS) - {"identity", "autocontrast", "equalize", "solarize"}:
        (weak, strong) = (
            np.abs(changed(pixels.astype(np.uint8), name, *OPERATIONS[name](by)) - pixels).mean()
            for by in (0.01, 1.0)
        )
        assert weak < 2 < strong, name
