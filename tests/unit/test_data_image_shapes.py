"""Pictures that are no squares, from the view to the batch; and crops that are moved."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from sightline.config.image_size import Size, size_of
from sightline.data.augment_settings import AugmentConfig
from sightline.data.dataset import open_images
from sightline.data.effects import EFFECTS, FILL
from sightline.data.images import Images
from sightline.data.loading import ImageLoader
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS, Augmentation, augmentation
from sightline.data.settings import DataConfig
from sightline.data.tta import needs_square, tta_views
from sightline.data.views import Box, View, central_view, colour_matrix, random_view, render
from sightline.errors import ConfigError
from sightline.random_numbers import generator

Array = npt.NDArray[Any]
PLAIN = PRESETS["none"]
sides = st.integers(1, 90)
sizes = st.tuples(st.integers(1, 48), st.integers(1, 48))
fits = st.sampled_from(["crop", "pad", "stretch"])


def noise(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def rendered(image: Array, view: View, size: tuple[int, int]) -> Array:
    out = np.zeros((*size, 3), np.uint8)
    render(image, view, size, out)
    return out


def filled(height: int, width: int) -> Array:
    return np.tile(FILL, (height, width, 1))


def moved(image: Array, box: Box) -> Array:
    """What lies in a box of the picture, pixel by pixel."""
    out = filled(box.height, box.width)
    for row in range(box.height):
        for column in range(box.width):
            y, x = box.top + row, box.left + column
            if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
                out[row, column] = image[y, x]
    return out


@given(sides, sides, sizes)
@settings(max_examples=200, deadline=None)
def test_the_central_part_is_the_largest_of_the_shape(
    height: int, width: int, size: tuple[int, int]
) -> None:
    best = min(height / size[0], width / size[1])
    box = central_view(height, width, "crop", size).box
    assert box.height == max(1, round(best * size[0]))
    assert box.width == max(1, round(best * size[1]))
    assert box.height == height or box.width == width
    assert 0 <= height - box.height - 2 * box.top <= 1
    assert 0 <= width - box.width - 2 * box.left <= 1
    most = max(height / size[0], width / size[1])
    around = central_view(height, width, "pad", size).box
    assert around[2:] == (round(most * size[0]) or 1, round(most * size[1]) or 1)
    assert around.height >= height
    assert around.width >= width
    assert central_view(height, width, "stretch", size).box == Box(0, 0, height, width)


def test_hand_worked_shapes() -> None:
    assert central_view(100, 100, "crop", (256, 128)).box == Box(0, 25, 100, 50)
    assert central_view(90, 30, "crop", (256, 128)).box == Box(15, 0, 60, 30)
    assert central_view(100, 100, "pad", (256, 128)).box == Box(-50, 0, 200, 100)
    assert central_view(128, 64, "crop", (256, 128)).box == Box(0, 0, 128, 64)
    assert size_of((256, 128)) == Size(256, 128)
    assert (Size(256, 128).shorter, Size(256, 128).longer) == (128, 256)
    assert size_of(7) == (7, 7)


@given(sides, sides, sizes, fits, st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_a_rendered_crop_is_that_of_pillow(
    height: int, width: int, size: tuple[int, int], fit: Any, seed: int
) -> None:
    """Where the box lies in the picture; what reaches over its edges is tested by itself."""
    image = noise(height, width, seed)
    ranges = Augmentation((0.2, 1.0), (0.5, 2.0), flip=0.5, rotate=0, color=0, erase=0)
    random = generator(seed, 1, "a")
    view = random_view(random, height, width, size=size, ranges=ranges, fit=fit)
    top, left, tall, wide = view.box
    out = rendered(image, view, size)
    assert out.shape == (*size, 3)
    if top < 0 or left < 0 or top + tall > height or left + wide > width:
        assert fit == "pad"
        return
    crop = Image.fromarray(image[top : top + tall, left : left + wide])
    expected = np.asarray(crop.resize(size[::-1], Image.Resampling.BILINEAR))
    if view.mirrored:
        expected = expected[:, ::-1]
    difference = np.abs(out.astype(int) - expected)
    assert difference.max() <= 2, "the two libraries differ in rounding only"


@pytest.mark.parametrize("size", [(24, 12), (12, 24), (20, 12)])
def test_crops_have_the_outputs_aspect_within_the_ratio(size: tuple[int, int]) -> None:
    ranges = replace(PLAIN, scale=(0.1, 0.4), ratio=(0.8, 1.25))
    shape = size[1] / size[0]
    for fit in ("crop", "pad"):
        aspects = []
        for number in range(300):
            random = generator(0, 1, str(number))
            view = random_view(random, 400, 300, size=size, ranges=ranges, fit=fit)
            aspects.append(view.box.width / view.box.height / shape)
        assert 0.78 < min(aspects) < 0.83, fit
        assert 1.2 < max(aspects) < 1.28, fit


def test_padding_fills_what_the_picture_leaves() -> None:
    image = noise(12, 12)
    expected = filled(24, 12)
    expected[6:18] = image
    out = rendered(image, central_view(12, 12, "pad", (24, 12)), (24, 12))
    np.testing.assert_array_equal(out, expected)


def test_training_without_changes_sees_what_evaluation_sees() -> None:
    for shape in ((40, 60), (60, 40), (1, 1), (3, 200)):
        for fit in ("crop", "pad", "stretch"):
            view = random_view(generator(0, 1, "a"), *shape, size=(32, 16), ranges=PLAIN, fit=fit)
            assert view == central_view(*shape, fit, (32, 16))


def test_rotation_matches_a_plain_loop() -> None:
    (height, width), degrees = (21, 12), 23.0
    image = noise(height, width, 3)
    turned = rendered(image, View(Box(0, 0, height, width), degrees=degrees), (height, width))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def reflected(place: float, length: int) -> float:
        span = (place + 0.5) % (2 * length)
        return min(max(min(span, 2 * length - span) - 0.5, 0), length - 1)

    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, row - (height - 1) / 2
            at_x = reflected(cos * x - sin * y + (width - 1) / 2, width)
            at_y = reflected(sin * x + cos * y + (height - 1) / 2, height)
            x0, y0 = math.floor(at_x), math.floor(at_y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            a, b = at_x - x0, at_y - y0
            above = image[y0, x0] * (1 - a) + image[y0, x1] * a
            below = image[y1, x0] * (1 - a) + image[y1, x1] * a
            assert np.abs(above * (1 - b) + below * b - turned[row, column]).max() <= 0.51


def test_shears_and_translations_move_pixels_alike_in_both_directions() -> None:
    image = noise(24, 12)
    right = EFFECTS["translate_x"](image, -0.25)
    np.testing.assert_array_equal(right[:, 3:], image[:, :-3])
    assert (right[:, :3] == FILL).all()
    down = EFFECTS["translate_y"](image, -0.25)
    np.testing.assert_array_equal(down[6:], image[:-6])
    assert (down[:6] == FILL).all()
    # A shear leaves the centre in its place: a row at y goes to the side by its distance from it.
    marked = np.zeros((24, 12, 3), np.uint8)
    marked[:, 6] = 255
    sheared = EFFECTS["shear_x"](marked, 0.25)
    for row in range(24):
        wanted = 6.5 - 0.25 * (row + 0.5 - 12)
        found = sheared[row, :, 0].astype(float)
        found[(sheared[row] == FILL).all(axis=1)] = 0
        assert (found @ (np.arange(12) + 0.5)) / found.sum() == pytest.approx(wanted, abs=0.02)


def test_a_shadow_lies_about_a_straight_line() -> None:
    white = np.full((64, 32, 3), 200, np.uint8)
    dark = EFFECTS["shadow"](white, math.pi / 4, 0.0, 0.4)[:, :, 0] < 190
    ys, xs = np.mgrid[:64, :32] + 0.5
    beyond = (ys - 32) + (xs - 16)
    assert not dark[beyond < -2].any()
    assert dark[(beyond > 2) & (beyond < 12)].all(), "the line has 45 degrees in pixels"


@pytest.mark.parametrize("name", sorted(set(EFFECTS) - {"turn", "transpose"}))
def test_effects_keep_the_shape(name: str) -> None:
    values: dict[str, tuple[float, ...]] = {
        "rotate": (20,), "solarize": (128,), "posterize": (4,), "gamma": (0.8,), "clahe": (2, 8),
        "shadow": (1, 0.1, 0.3), "downscale": (0.7,), "blur": (0.6,), "noise": (6, 1),
        "jpeg": (80,), "mirror": (), "upend": (), "autocontrast": (), "equalize": (),
    }  # fmt: skip
    out = EFFECTS[name](noise(24, 12), *values.get(name, (0.2,)))
    assert out.shape == (24, 12, 3)
    assert out.dtype == np.uint8


def test_colours_of_a_tall_picture() -> None:
    """The mean grey is that of the whole: here the same in both halves of neither."""
    image = np.zeros((16, 8, 3), np.uint8)
    image[8:] = 100
    view = View(Box(0, 0, 16, 8), contrast=0.5)
    matrix = colour_matrix(view, image)
    np.testing.assert_allclose(matrix @ [0, 0, 0, 1], 25 / 255, atol=1e-6)


def shifts(ranges: Augmentation, size: tuple[int, int], shape: tuple[int, int]) -> list[Box]:
    return [
        random_view(
            generator(1, 1, str(number)), *shape, size=size, ranges=ranges, fit="stretch"
        ).box
        for number in range(600)
    ]


@pytest.mark.parametrize(("size", "shape"), [((64, 32), (64, 32)), ((64, 32), (128, 64))])
def test_a_shift_moves_the_whole_picture_by_up_to_its_share(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    boxes = shifts(replace(PLAIN, shift=0.25), size, shape)
    most = 0.25 * 32 * shape[0] / size[0]
    assert {box[2:] for box in boxes} == {shape}
    tops, lefts = ([box[axis] for box in boxes] for axis in (0, 1))
    for places in (tops, lefts):
        assert (min(places), max(places)) == (-most, most)
        assert len(set(places)) == 2 * most + 1
        assert abs(np.mean(places)) < 0.1 * most
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.1, "each direction has its own number"


@pytest.mark.parametrize("box", [Box(3, 0, 24, 12), Box(-5, 2, 24, 12), Box(0, -4, 24, 12)])
def test_what_a_shift_leaves_is_filled(box: Box) -> None:
    image = noise(24, 12)
    np.testing.assert_array_equal(rendered(image, View(box), (24, 12)), moved(image, box))


def test_the_preset_is_padding_and_cropping() -> None:
    """Luo et al. 2019: pictures of 256 x 128, padded by 10, cut at random to their size."""
    image = noise(256, 128)
    seen = set()
    for number in range(40):
        random = generator(0, 1, str(number))
        ranges = replace(PRESETS["reid"], erase=0.0)
        view = random_view(random, 256, 128, size=(256, 128), ranges=ranges, fit="stretch")
        top, left = view.box[:2]
        assert max(abs(top), abs(left)) <= 10
        padded = filled(276, 148)
        padded[10:266, 10:138] = image
        expected = padded[10 + top : 266 + top, 10 + left : 138 + left]
        expected = expected[:, ::-1] if view.mirrored else expected
        np.testing.assert_array_equal(rendered(image, view, (256, 128)), expected)
        seen.add((top, left, view.mirrored))
    assert len(seen) > 30


def test_a_shift_is_drawn_after_all_others() -> None:
    for name in ("basic", "strong", "hard"):
        plain = PRESETS[name].at(5, 10)
        for number in range(20):
            one, other = (
                random_view(generator(0, 1, str(number)), 90, 70, size=32, ranges=ranges)
                for ranges in (plain, replace(plain, shift=0.1))
            )
            assert other._replace(box=one.box) == one
            assert other.box[2:] == one.box[2:]


@given(sides, sides, sizes, fits, st.floats(0, 0.5), st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_a_shifted_crop_still_shows_the_picture(
    height: int, width: int, size: tuple[int, int], fit: Any, shift: float, seed: int
) -> None:
    ranges = Augmentation((0.1, 1), (0.5, 2), flip=0, rotate=0, color=0, erase=0, shift=shift)
    random = generator(seed, 1, "a")
    view = random_view(random, height, width, size=size, ranges=ranges, fit=fit)
    out = rendered(np.full((height, width, 3), 255, np.uint8), view, size)
    pixels = {tuple(pixel) for pixel in out.reshape(-1, 3).tolist()}
    assert (255, 255, 255) in pixels
    assert pixels <= {(255, 255, 255), tuple(FILL.tolist())}


def test_a_shift_keeps_half_of_what_was_seen_of_a_thin_picture() -> None:
    """Even where the picture lies at the edge of a crop that is almost all margin."""
    plain = replace(PLAIN, scale=(0.05, 0.5), ratio=(0.5, 2.0))
    for number in range(400):
        one, other = (
            random_view(generator(0, 1, str(number)), 3, 200, size=64, ranges=ranges, fit="pad").box
            for ranges in (plain, replace(plain, shift=0.5))
        )
        before, after = (min(box.top + box.height, 3) - max(box.top, 0) for box in (one, other))
        assert after >= max(1, before // 2)


def test_a_shifted_view_depends_on_seed_epoch_and_sample_alone() -> None:
    def draw(seed: int, epoch: int, sample: str) -> View:
        random = generator(seed, epoch, sample)
        return random_view(random, 90, 80, size=(64, 32), ranges=PRESETS["reid"], fit="stretch")

    first = draw(1, 2, "a")
    np.random.default_rng().random(5)
    assert draw(1, 2, "a") == first
    assert len({draw(1, 2, "a"), draw(2, 2, "a"), draw(1, 3, "a"), draw(1, 2, "b")}) == 4


@pytest.mark.parametrize(
    ("sample", "box", "mirrored", "erased"),
    [
        ("a", Box(-8, -2, 256, 128), False, Box(155, 44, 80, 68)),
        ("b", Box(-9, 9, 256, 128), True, None),
    ],
)
def test_the_preset_draws_what_it_always_drew(
    sample: str, box: Box, mirrored: bool, erased: Box | None
) -> None:
    random = generator(0, 1, sample)
    view = random_view(random, 256, 128, size=(256, 128), ranges=PRESETS["reid"], fit="stretch")
    assert view == View(box, mirrored=mirrored, erased=erased)


def test_what_is_erased_has_the_shares_that_are_set() -> None:
    for least, most in ((0.02, 0.4), (0.1, 0.2)):
        ranges = replace(PLAIN, erase=1.0, erase_area=(least, most))
        areas = []
        for number in range(500):
            random = generator(0, 1, str(number))
            box = random_view(random, 99, 99, size=(256, 128), ranges=ranges).erased
            if box is not None:
                areas.append(box.height * box.width / (256 * 128))
        assert len(areas) > 490
        assert least - 0.005 < min(areas) < least + 0.02
        assert most - 0.02 < max(areas) < most + 0.005


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shift": 0.6}, "0.5"),
        ({"shift": -0.1}, "0"),
        ({"erase": 0.5, "erase_area": (0.4, 0.1)}, "least <= greatest"),
        ({"erase": 0.5, "erase_area": (0.0, 0.1)}, "0 < least"),
        ({"erase": 0.5, "erase_area": (0.5, 1.0)}, "greatest < 1"),
        ({"erase_area": (0.1, 0.2)}, "used only with erase"),
    ],
)
def test_ranges_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AugmentConfig(**values)


def test_keys_replace_the_values_of_a_preset() -> None:
    config = AugmentConfig(preset="reid", shift=0.1, erase_area=(0.05, 0.1))
    assert augmentation(config) == replace(PRESETS["reid"], shift=0.1, erase_area=(0.05, 0.1))
    assert augmentation(AugmentConfig(preset="basic", shift=0.2)).shift == 0.2


@pytest.fixture
def folder(tmp_path: Path) -> Manifest:
    names = [f"{number}.png" for number in range(7)]
    for number, name in enumerate(names):
        Image.fromarray(noise(20 + 30 * number, 50, number)).save(tmp_path / name)
    return Manifest.build(tmp_path, id=names, path=names)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("preset", [None, "reid", "strong"])
def test_batches_have_the_shape_and_are_the_same_by_any_worker(
    folder: Manifest, fit: Any, preset: str | None
) -> None:
    images = Images(folder, 36)
    options: dict[str, Any] = {"size": (32, 16), "batch_size": 3, "fit": fit, "seed": 2}
    augment = PRESETS[preset] if preset else None
    one, other = (
        list(ImageLoader(images, augment=augment, workers=workers, **options)) for workers in (0, 2)
    )
    assert tuple(one[0].images.shape) == (3, 3, 32, 16)
    assert {tuple(batch.images.shape[1:]) for batch in one} == {(3, 32, 16)}
    for first, second in zip(one, other, strict=True):
        assert first.ids == second.ids
        assert (first.images == second.images).all()
    if preset is None:
        for row, pixels in enumerate(np.concatenate([batch.images.numpy() for batch in one])):
            view = central_view(*images[row].shape[:2], fit, (32, 16))
            expected = rendered(images[row], view, (32, 16))
            np.testing.assert_array_equal(pixels.transpose(1, 2, 0), expected)


def test_quarter_turns_need_a_square(folder: Manifest) -> None:
    images = Images(folder, 36)
    with pytest.raises(ValueError, match="quarter turns need a square, and images are 32 x 16"):
        ImageLoader(images, size=(32, 16), batch_size=2, augment=PRESETS["hard"])
    assert len(ImageLoader(images, size=(16, 16), batch_size=2, augment=PRESETS["hard"])) == 3


def test_kept_pictures_have_as_many_pixels_as_the_model_sees(folder: Manifest) -> None:
    """Whatever their shape: a wide one is cut to a tall part of its height."""
    for name in ("wide", "tall"):
        shape = (300, 900, 3) if name == "wide" else (900, 300, 3)
        Image.fromarray(np.full(shape, 9, np.uint8)).save(folder.root / f"{name}.png")
    names = ["wide.png", "tall.png"]
    manifest = Manifest.build(folder.root, id=names, path=names)
    images, _ = open_images(
        manifest, DataConfig(cache="off"), size=(112, 56), cache_dir=folder.root, say=print
    )
    for row in range(2):
        for fit in ("crop", "stretch"):
            box = central_view(*images[row].shape[:2], fit, (112, 56)).box
            assert box.height >= 112
            assert box.width >= 56
    assert min(images[0].shape[:2]) == 128, "8/7 of the longer side"


def test_test_views_that_turn_need_a_square() -> None:
    assert [needs_square(name) for name in ("none", "flip")] == [False, False]
    assert [needs_square(name) for name in ("essential", "comprehensive")] == [True, True]
    for name in ("essential", "comprehensive"):
        with pytest.raises(ConfigError, match="which needs a square") as caught:
            tta_views(name, (256, 128))
        assert caught.value.got == "train.img_size=[256,128]"
        assert caught.value.expected == "none or flip"
        assert tta_views(name, (64, 64)) == tta_views(name, 64) == tta_views(name)


def test_mirrored_test_views_of_a_tall_picture(folder: Manifest) -> None:
    images = Images(folder, 36)
    options: dict[str, Any] = {"size": (32, 16), "batch_size": 4}
    plain, flipped = (
        list(ImageLoader(images, view=view, **options)) for view in tta_views("flip", (32, 16))
    )
    for one, other in zip(plain, flipped, strict=True):
        assert one.images.shape[2:] == (32, 16)
        assert (one.images.flip(3) == other.images).all()
        assert (one.images != other.images).any()


def test_test_views_know_the_shorter_side() -> None:
    """Of a tall picture the blur is that of a square of its width."""
    (blur,) = (view for view in tta_views("comprehensive") if view.name == "blur")
    square = noise(300, 300)
    tall = np.concatenate([square, square])
    np.testing.assert_array_equal(blur(tall, "a")[:200], blur(square, "a")[:200])
