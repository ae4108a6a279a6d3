"""Views: what is drawn stays in its ranges, what is rendered agrees with slow plain versions."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data.settings import AugmentConfig
from sightline.data.views import (
    FILL,
    PRESETS,
    Augmentation,
    Box,
    View,
    augmentation,
    central_view,
    colour_matrix,
    generator,
    random_view,
    render,
)

Array = npt.NDArray[Any]
PLAIN = PRESETS["none"]


def noise(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rendered(image: Array, view: View, size: int) -> Array:
    out = np.zeros((size, size, 3), np.uint8)
    render(image, view, size, out)
    return out


def inside(box: Box, height: int, width: int) -> bool:
    return (
        box.top >= 0
        and box.left >= 0
        and box.height >= 1
        and box.width >= 1
        and box.top + box.height <= height
        and box.left + box.width <= width
    )


ranges = st.builds(
    Augmentation,
    scale=st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)).map(lambda two: (min(two), max(two))),
    ratio=st.tuples(st.floats(0.4, 1), st.floats(1, 2.5)),
    flip=st.floats(0, 1),
    rotate=st.floats(0, 180),
    color=st.floats(0, 1),
    erase=st.floats(0, 1),
)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), ranges, st.integers(0, 999))
@settings(max_examples=300, deadline=None)
def test_random_views_stay_in_their_ranges(
    height: int, width: int, size: int, given: Augmentation, epoch: int
) -> None:
    view = random_view(generator(0, epoch, "a"), height, width, size=size, ranges=given)
    box = view.box
    assert inside(box, height, width)
    if box != central_view(height, width).box:
        # Sides are rounded to whole pixels, which moves area and aspect by up to half a side each.
        low, high = ((box.width + s) * (box.height + s) for s in (-0.5, 0.5))
        total = height * width
        assert high >= given.scale[0] * total
        assert low <= given.scale[1] * total
        assert (box.width + 0.5) / max(box.height - 0.5, 1e-9) >= given.ratio[0]
        assert (box.width - 0.5) / (box.height + 0.5) <= given.ratio[1]
    assert abs(view.degrees) <= given.rotate
    for factor in (view.brightness, view.contrast, view.saturation):
        assert abs(factor - 1) <= given.color
    if view.erased is not None:
        assert inside(view.erased, size, size)
        area = (view.erased.height - 0.5) * (view.erased.width - 0.5)
        assert area <= 0.33 * size * size


def test_draws_cover_their_ranges() -> None:
    given = Augmentation((0.3, 0.9), (0.8, 1.25), flip=0.25, rotate=30, color=0.5, erase=0.4)
    views = [
        random_view(generator(1, 1, str(number)), 200, 200, size=64, ranges=given)
        for number in range(1500)
    ]
    areas = [view.box.height * view.box.width / 200**2 for view in views]
    assert min(areas) < 0.32
    assert max(areas) > 0.85
    assert abs(np.mean([view.mirrored for view in views]) - 0.25) < 0.05
    assert abs(np.mean([view.erased is not None for view in views]) - 0.4) < 0.05
    for values, reach in (
        ([view.degrees for view in views], 30),
        ([view.brightness - 1 for view in views], 0.5),
        ([view.contrast - 1 for view in views], 0.5),
        ([view.saturation - 1 for view in views], 0.5),
    ):
        assert min(values) < -0.98 * reach
        assert max(values) > 0.98 * reach
        assert abs(np.mean(values)) < 0.06 * reach
    drawn = np.array([(v.degrees, v.brightness, v.contrast, v.saturation) for v in views])
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.1, "draws depend on one another"


def test_a_view_depends_on_seed_epoch_and_sample_alone() -> None:
    def draw(seed: int, epoch: int, sample: str) -> View:
        random = generator(seed, epoch, sample)
        return random_view(random, 90, 80, size=32, ranges=PRESETS["strong"])

    first = draw(1, 2, "x/ü.png")
    np.random.default_rng().random(5)
    assert draw(1, 2, "x/ü.png") == first
    assert len({draw(1, 2, "x/ü.png"), draw(2, 2, "x/ü.png"), draw(1, 3, "x/ü.png")}) == 3
    assert draw(1, 2, "x/v.png") != first
    # The same on every machine: a change of these numbers breaks the resuming of every run.
    assert generator(0, 1, "a").integers(0, 10**6, 3).tolist() == PINNED


PINNED = [446399, 813929, 221238]


@pytest.mark.parametrize("shape", [(10, 10), (7, 30), (31, 8), (1, 1), (3, 200)])
def test_evaluation_sees_the_central_square(shape: tuple[int, int]) -> None:
    height, width = shape
    side = min(shape)
    view = central_view(height, width)
    assert view == View(Box((height - side) // 2, (width - side) // 2, side, side))
    image = noise(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(
        rendered(image, view, side), image[top : top + side, left : left + side]
    )


def test_preset_none_is_the_view_of_evaluation() -> None:
    for shape in ((40, 60), (60, 40), (1, 1), (3, 200)):
        view = random_view(generator(0, 1, "a"), *shape, size=32, ranges=PLAIN)
        assert view == central_view(*shape)


@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 70), st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_render_matches_crop_and_resize_of_pillow(
    height: int, width: int, size: int, seed: int
) -> None:
    image = noise(height, width, seed)
    image.flags.writeable = False
    given = Augmentation((0.2, 1.0), (0.5, 2.0), flip=0.5, rotate=0, color=0, erase=0)
    view = random_view(generator(seed, 1, "a"), height, width, size=size, ranges=given)
    top, left, tall, wide = view.box
    crop = Image.fromarray(image[top : top + tall, left : left + wide])
    expected = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR))
    if view.mirrored:
        expected = expected[:, ::-1]
    difference = np.abs(rendered(image, view, size).astype(int) - expected)
    assert difference.max() <= 2, "the two libraries differ in rounding only"
    assert difference.mean() < 0.6


def test_mirror_is_exact_and_leaves_the_image_alone() -> None:
    image = noise(33, 57)
    before = image.copy()
    for size in (16, 31, 33, 90):
        view = View(Box(0, 3, 33, 33))
        plain, mirrored = (rendered(image, view._replace(mirrored=m), size) for m in (False, True))
        np.testing.assert_array_equal(mirrored, plain[:, ::-1])
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, -1), (270, 3)])
def test_quarter_turns_are_exact_and_counter_clockwise(degrees: float, turns: int) -> None:
    image = noise(24, 24)
    view = View(Box(0, 0, 24, 24), degrees=degrees)
    np.testing.assert_array_equal(rendered(image, view, 24), np.rot90(image, turns))


def test_rotation_matches_a_plain_loop() -> None:
    size, degrees = 15, 23.0
    image = noise(size, size, 3)
    turned = rendered(image, View(Box(0, 0, size, size), degrees=degrees), size)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def reflected(place: float) -> float:
        """Into -0.5 .. size - 0.5 by mirroring at both edges, then to the nearest centre."""
        span = (place + 0.5) % (2 * size)
        return min(max(min(span, 2 * size - span) - 0.5, 0), size - 1)

    for row in range(size):
        for column in range(size):
            x, y = column - (size - 1) / 2, row - (size - 1) / 2
            at_x = reflected(cos * x - sin * y + (size - 1) / 2)
            at_y = reflected(sin * x + cos * y + (size - 1) / 2)
            x0, y0 = math.floor(at_x), math.floor(at_y)
            x1, y1 = min(x0 + 1, size - 1), min(y0 + 1, size - 1)
            a, b = at_x - x0, at_y - y0
            above = image[y0, x0] * (1 - a) + image[y0, x1] * a
            below = image[y1, x0] * (1 - a) + image[y1, x1] * a
            assert np.abs(above * (1 - b) + below * b - turned[row, column]).max() <= 0.51


def test_mirror_comes_after_rotation() -> None:
    image = noise(20, 20)
    view = View(Box(0, 0, 20, 20), degrees=11.0)
    np.testing.assert_array_equal(
        rendered(image, view._replace(mirrored=True), 20), rendered(image, view, 20)[:, ::-1]
    )


def test_erasing_fills_its_rectangle_and_nothing_else() -> None:
    image = noise(20, 20)
    view = View(Box(0, 0, 20, 20), mirrored=True)
    plain = rendered(image, view, 20)
    erased = rendered(image, view._replace(erased=Box(3, 5, 7, 9)), 20)
    mask = np.zeros((20, 20), bool)
    mask[3:10, 5:14] = True
    assert (erased[mask] == FILL).all()
    np.testing.assert_array_equal(erased[~mask], plain[~mask])


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0, 2), st.integers(1, 23), st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_colour_matrix_matches_a_plain_loop(
    brightness: float, contrast: float, saturation: float, size: int, seed: int
) -> None:
    pixels = noise(size, size, seed)
    view = View(Box(0, 0, 1, 1), brightness=brightness, contrast=contrast, saturation=saturation)
    matrix = colour_matrix(view, pixels)
    assert matrix.shape == (3, 4)
    assert matrix.dtype == np.float32

    def luma(r: float, g: float, b: float) -> float:
        return 0.299 * r + 0.587 * g + 0.114 * b

    sampled = [
        luma(*(pixels[row, column] / 255 * brightness))
        for row in range(0, size, 4)
        for column in range(0, size, 4)
    ]
    mean = sum(sampled) / len(sampled)
    for row, column in {(0, 0), (size - 1, size // 2), (size // 3, size - 1)}:
        colour = [float(value) / 255 for value in pixels[row, column]]
        bright = [value * brightness for value in colour]
        contrasted = [mean + contrast * (value - mean) for value in bright]
        grey = luma(*contrasted)
        expected = [grey + saturation * (value - grey) for value in contrasted]
        np.testing.assert_allclose(matrix[:, :3] @ colour + matrix[:, 3], expected, atol=2e-5)


def test_unchanged_colours_have_the_identity() -> None:
    expected = np.eye(3, 4)
    np.testing.assert_allclose(
        colour_matrix(View(Box(0, 0, 1, 1)), noise(8, 8)), expected, atol=1e-7
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 200), (200, 3), (20, 30)])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_tiny_images_can_be_rendered(shape: tuple[int, int], preset: str) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    for epoch in range(20):
        view = random_view(
            generator(0, epoch, "a"), *shape, size=64, ranges=replace(PRESETS[preset], erase=0.0)
        )
        assert (rendered(image, view, 64) == 77).all(), "a plain picture must stay plain"


def configured(**values: Any) -> Augmentation:
    return augmentation(AugmentConfig.model_validate_json(json.dumps(values)))


def test_settings_replace_values_of_the_preset() -> None:
    assert configured() == PRESETS["basic"]
    assert configured(preset="strong") == PRESETS["strong"]
    assert configured(preset="none") == PLAIN
    changed = configured(preset="strong", scale=[0.5, 0.75], flip=0, rotate=0, color=0, erase=0)
    assert changed == Augmentation((0.5, 0.75), (0.75, 4 / 3), 0, 0, 0, 0)
