"""Masks of every mode and size, and heat maps that land where the picture's pixels were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data.decode import decode
from sightline.data.heat_maps import map_to_image
from sightline.data.manifest import Manifest
from sightline.data.masks import image_size, picture_mask, read_mask
from sightline.data.views import Fit, central_view, render
from sightline.errors import DataError

EXPECTED = np.array([[False, True, True], [False, False, True]])
FITS: tuple[Fit, ...] = ("stretch", "crop", "pad")


def saved(folder: Path, image: Image.Image, name: str = "mask.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def levels(low: int, high: int, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(EXPECTED, high, low).astype(dtype))


def palette(colours: list[int], numbers: np.ndarray) -> Image.Image:
    image = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


@pytest.mark.parametrize(
    "image",
    [
        levels(0, 255),
        levels(0, 1),
        levels(0, 7),
        levels(127, 128),
        levels(40, 200),
        levels(0, 255).convert("1"),
        levels(0, 65535, np.uint16),
        levels(0, 1, np.uint16),
        levels(3000, 40000, np.uint16),
        levels(0, 255, np.int32),
        levels(0, 255).convert("RGB"),
        Image.merge("RGB", (levels(0, 255), levels(0, 0), levels(0, 0))),
        Image.merge("RGBA", (levels(255, 255),) * 3 + (levels(0, 255),)),
        Image.merge("LA", (levels(0, 255), levels(255, 255))),
        palette([0, 0, 0, 128, 0, 0], EXPECTED),
        palette([0, 0, 0, 0, 0, 64], EXPECTED),
        palette([255, 255, 255, 0, 0, 0], ~EXPECTED),
        palette([0, 0, 0, 255, 255, 255], EXPECTED),
    ],
    ids=lambda image: image.mode,
)
def test_masks_of_every_mode_say_the_same(tmp_path: Path, image: Image.Image) -> None:
    name = "mask.tif" if image.mode == "I" else "mask.png"
    mask = read_mask(saved(tmp_path, image, name), (2, 3))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, EXPECTED)


@pytest.mark.parametrize(("top", "high"), [(1, 1.0), (255, 255.0)])
def test_floating_point_masks_reach_to_one_or_to_255(tmp_path: Path, top: int, high: float) -> None:
    values = np.where(EXPECTED, high, 0.2 * top).astype(np.float32)
    file = saved(tmp_path, Image.fromarray(values), "mask.tif")
    np.testing.assert_array_equal(read_mask(file, (2, 3)), EXPECTED)


def test_greys_of_a_resized_mask_are_cut_at_127_and_not_at_zero(tmp_path: Path) -> None:
    values = np.array([[0, 100, 127, 128, 255]], np.uint8)
    assert read_mask(saved(tmp_path, Image.fromarray(values)), (1, 5)).tolist() == [
        [False, False, False, True, True]
    ]


def test_small_values_number_regions_only_where_the_file_keeps_them_exactly(tmp_path: Path) -> None:
    dark = Image.fromarray(np.full((16, 16), 7, np.uint8))
    assert not read_mask(saved(tmp_path, dark, "mask.jpg", quality=95), (16, 16)).any()
    assert read_mask(saved(tmp_path, dark), (16, 16)).all()
    three = Image.fromarray(np.array([[0, 32, 60], [0, 0, 60]], np.uint8))
    assert not read_mask(saved(tmp_path, three, "greys.png"), (2, 3)).any()
    one = read_mask(saved(tmp_path, levels(0, 32), "one.png"), (2, 3))
    np.testing.assert_array_equal(one, EXPECTED)
    assert read_mask(saved(tmp_path, levels(0, 31), "most.png"), (2, 3)).sum() == 3


def test_a_palette_of_greys_is_cut_like_greys(tmp_path: Path) -> None:
    numbers = np.array([[0, 1, 2]])
    file = saved(tmp_path, palette([0, 0, 0, 90, 90, 90, 255, 255, 255], numbers))
    assert read_mask(file, (1, 3)).tolist() == [[False, False, True]]


def test_an_empty_mask_is_allowed(tmp_path: Path) -> None:
    assert not read_mask(saved(tmp_path, levels(0, 0)), (2, 3)).any()


def test_a_mask_of_another_size_names_both_sizes_and_the_file(tmp_path: Path) -> None:
    file = saved(tmp_path, levels(0, 255))
    with pytest.raises(DataError, match=r"another size[\s\S]*2 x 3 pix[\s\S]*3 x 2[\s\S]*mask.png"):
        read_mask(file, (3, 2))


def test_a_mask_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"not an image[\s\S]*mask\.png"):
        read_mask(tmp_path / "mask.png", (2, 3))
    with pytest.raises(DataError, match="No such file"):
        read_mask(tmp_path / "gone.png", (2, 3))


def test_normal_pictures_have_an_empty_mask_and_defects_may_have_none(tmp_path: Path) -> None:
    saved(tmp_path, levels(0, 255))
    saved(tmp_path, Image.new("RGB", (3, 2)), "a.png")
    manifest = Manifest.build(
        tmp_path,
        id=["0", "1", "2"],
        path=["a.png"] * 3,
        label=["good", "cut", "cut"],
        mask=["", "mask.png", ""],
    )
    normal, marked = picture_mask(manifest, 0), picture_mask(manifest, 1)
    assert normal is not None
    assert (normal.shape, normal.any()) == ((2, 3), False)
    np.testing.assert_array_equal(marked, EXPECTED)
    assert picture_mask(manifest, 2) is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_sizes_from_the_header_are_those_of_the_decoded_picture(
    tmp_path: Path, name: str, orientation: int
) -> None:
    image = Image.new("RGB", (5, 3))
    exif = image.getexif()
    exif[0x0112] = orientation
    file = saved(tmp_path, image, name, exif=exif.tobytes() if name != "a.tif" else exif)
    height, width = image_size(file)
    assert decode(file.read_bytes()).shape == (height, width, 3)
    assert (height, width) == ((5, 3) if orientation >= 5 else (3, 5))


def test_the_size_of_a_png_without_exif_is_read_from_its_header_alone(tmp_path: Path) -> None:
    file = saved(tmp_path, Image.effect_noise((40, 30), 50))
    file.write_bytes(file.read_bytes()[:200])
    assert image_size(file) == (30, 40)
    (tmp_path / "no.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"no\.png"):
        image_size(tmp_path / "no.png")


# --- heat maps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(48, 48), (96, 48), (30, 80), (81, 33), (20, 24)])
def test_a_bright_block_comes_back_to_its_place(fit: Fit, shape: tuple[int, int]) -> None:
    height, width = shape
    for row, column in ((height // 2, width // 2), (height // 2 - 4, width // 2 + 3)):
        image = np.zeros((height, width, 3), np.uint8)
        image[row - 3 : row + 4, column - 3 : column + 4] = 255
        square = np.empty((48, 48, 3), np.uint8)
        render(image, central_view(height, width, fit), 48, square)
        # The margins' grey is above the block's surroundings, so it is taken away.
        seen = np.where(square.min(axis=2) > 150, square.min(axis=2), 0).astype(np.float32)
        found = map_to_image(seen, height, width, fit)
        assert found.shape == shape
        assert found.dtype == np.float32
        weight = found / found.sum()
        centre = ((weight.sum(1) @ np.arange(height)), (weight.sum(0) @ np.arange(width)))
        assert np.abs(np.subtract(centre, (row, column))).max() < 0.75
        assert found[row, column] > 200


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.data())
@settings(max_examples=100, deadline=None)
def test_one_hot_pixels_land_exactly_where_they_were(
    height: int, width: int, scale: int, data: st.DataObject
) -> None:
    """A square as large as the cut, or a whole multiple of it, has the picture's own pixels."""
    fit = data.draw(st.sampled_from(FITS))
    if fit == "stretch":
        height = width
    side = min(height, width) if fit == "crop" else max(height, width)
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    image = np.zeros((height, width, 3), np.uint8)
    image[row, column] = 255
    square = np.empty((side, side, 3), np.uint8)
    render(image, central_view(height, width, fit), side, square)
    one_hot = (square == 255).all(axis=2)
    enlarged = one_hot.repeat(scale, 0).repeat(scale, 1).astype(np.float32)
    # A square of one pixel has no minimum but the bright one.
    expected = np.full((height, width), one_hot.min(), np.float32)
    top, left = (height - side) // 2, (width - side) // 2
    inside = fit != "crop" or (0 <= row - top < side and 0 <= column - left < side)
    expected[row, column] = inside or one_hot.min()
    found = map_to_image(enlarged, height, width, fit)
    if scale in (1, 2):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        assert not inside or found[row, column] == found.max() > 0.5


def test_maps_are_enlarged_as_half_pixel_bilinear_by_hand() -> None:
    found = map_to_image(np.array([[0, 4], [8, 12]], np.float32), 4, 4, "stretch")
    ramp = np.array([0, 1, 3, 4])
    np.testing.assert_allclose(found, ramp[None, :] + 2 * ramp[:, None], atol=1e-6)


def test_what_a_crop_does_not_see_is_the_maps_minimum() -> None:
    heat = np.array([[3, 5], [4, 9]], np.float32)
    found = map_to_image(heat, 2, 6, "crop")
    assert found.tolist() == [[3, 3, 3, 5, 3, 3], [3, 3, 4, 9, 3, 3]]


def test_the_margins_of_a_padded_square_are_cut_off() -> None:
    heat = np.full((8, 8), 100, np.float32)
    heat[2:6] = np.arange(8)
    assert map_to_image(heat, 4, 8, "pad").tolist() == [list(range(8))] * 4
    assert map_to_image(heat, 40, 80, "pad").max() == pytest.approx(7)


def test_a_mask_is_set_upright_by_its_exif_tag_as_its_picture_is(tmp_path: Path) -> None:
    stored = Image.fromarray(np.rot90(levels(0, 255)))
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter clockwise.
    np.testing.assert_array_equal(read_mask(saved(tmp_path, stored, exif=exif), (2, 3)), EXPECTED)
