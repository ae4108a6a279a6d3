"""Decoding: every format and orientation gives the upright RGB pixels that were put in."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sightline.data import decode as decode_module
from sightline.data.decode import decode, planes, resize

Array = npt.NDArray[Any]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height: int, width: int) -> Array:
    """Ramps that survive JPEG nearly unchanged, different in every direction and channel."""
    rows, columns = np.mgrid[0:height, 0:width]
    parts = [rows / height * 200 + 20, columns / width * 200 + 20, np.full_like(rows, 90)]
    return np.stack(parts, axis=2).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    pixels = noise(7, 11)
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encoded(Image.fromarray(pixels), kind, **options))
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, pixels)


def test_grey_and_bilevel_become_three_equal_channels() -> None:
    grey = noise(5, 9)[..., 0]
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(grey), "PNG")), np.repeat(grey[..., None], 3, 2)
    )
    black_and_white = np.where(grey > 127, 255, 0).astype(np.uint8)
    bilevel = Image.fromarray(black_and_white).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(decode(encoded(bilevel, "PNG"))[..., 1], black_and_white)


def test_transparency_is_dropped_and_hidden_colours_stay() -> None:
    pixels = noise(6, 8, 4)
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(pixels, "RGBA"), "PNG")), pixels[..., :3]
    )
    grey = noise(6, 8, 2)
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(grey, "LA"), "PNG"))[..., 2], grey[..., 0]
    )


@pytest.mark.parametrize("transparency", [None, 1, bytes([0, 128, 255])])
def test_palettes_become_their_colours(transparency: Any) -> None:
    colours = np.array([[250, 10, 20], [30, 240, 40], [50, 60, 230]], np.uint8)
    codes = np.random.default_rng(1).integers(0, 3, (9, 5), dtype=np.uint8)
    image = Image.fromarray(codes, "P")
    image.putpalette(colours.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    np.testing.assert_array_equal(decode(encoded(image, "PNG", **options)), colours[codes])


def test_cmyk_jpeg_has_the_colours_of_its_inks() -> None:
    pixels = smooth(64, 96)
    image = Image.fromarray(pixels).convert("CMYK")
    decoded = decode(encoded(image, "JPEG", quality=98, subsampling=0))
    assert np.abs(decoded.astype(int) - pixels).mean() < 3
    assert np.abs(decode(encoded(image, "TIFF")).astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("most", [65535, 200])
def test_16_bit_greys_keep_their_upper_byte(kind: str, most: int) -> None:
    random = np.random.default_rng(2)
    deep = random.integers(0, most + 1, (12, 10), dtype=np.uint16)
    expected = np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(deep), kind)), expected)


def test_32_bit_greys_are_8_or_16_bits() -> None:
    wide = np.array([[0, 40_000, 65_535, 100_000, -5]], np.int32)
    narrow = np.array([[0, 1, 255]], np.int32)
    assert decode(encoded(Image.fromarray(wide), "TIFF"))[0, :, 0].tolist() == [
        0, 156, 255, 255, 0,
    ]  # fmt: skip
    assert decode(encoded(Image.fromarray(narrow), "TIFF"))[0, :, 0].tolist() == [0, 1, 255]


def test_floating_point_pixels_are_refused() -> None:
    data = encoded(Image.fromarray(np.array([[0.1, 0.9]], np.float32)), "TIFF")
    with pytest.raises(ValueError, match="floating point"):
        decode(data)


# What has to be done to a picture stored with each EXIF orientation (EXIF 2.3, section 4.6.4).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    stored = smooth(40, 64)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(Image.fromarray(stored), kind, exif=exif, **options)
    expected = UPRIGHT[orientation](stored)
    decoded = decode(data)
    assert decoded.shape == expected.shape
    assert np.abs(decoded.astype(int) - expected).max() <= (6 if kind == "JPEG" else 0)
    assert decode(data, 20).shape == ((20, 32, 3) if orientation < 5 else (32, 20, 3))


@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    side=st.integers(1, 120),
    kind=st.sampled_from(["PNG", "JPEG"]),
)
@settings(max_examples=60, deadline=None)
def test_shorter_side_is_met_and_the_shape_kept(
    height: int, width: int, side: int, kind: str
) -> None:
    decoded = decode(encoded(Image.new("RGB", (width, height)), kind), side)
    if min(height, width) <= side:
        assert decoded.shape == (height, width, 3)
    else:
        assert min(decoded.shape[:2]) == side
        longer, ratio = max(decoded.shape[:2]), max(height, width) / min(height, width)
        # A fraction of a JPEG's size is rounded up to whole pixels before the last resize.
        assert abs(longer - side * ratio) <= 0.5 + longer / side


def test_scaled_jpeg_is_close_to_an_antialiased_resize() -> None:
    pixels = smooth(600, 900)
    small = decode(encoded(Image.fromarray(pixels), "JPEG", quality=95), 100)
    expected = Image.fromarray(pixels).resize((150, 100), Image.Resampling.BILINEAR)
    assert small.shape == (100, 150, 3)
    assert np.abs(small.astype(int) - np.asarray(expected)).max() <= 6


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers()
)
@settings(max_examples=60, deadline=None)
def test_resize_matches_pillow(h: int, w: int, height: int, width: int, seed: int) -> None:
    """Pillow's bilinear resize is antialiased both ways, as ours; only rounding may differ."""
    pixels = noise(h, w, seed=abs(seed))
    ours = resize(planes(pixels), height=height, width=width)[0].permute(1, 2, 0).numpy()
    theirs = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 2
    assert difference.mean() < 0.6


def test_planes_share_writable_memory_and_copy_the_rest() -> None:
    pixels = noise(4, 6)
    shared = planes(pixels)
    assert shared.shape == (1, 3, 4, 6)
    pixels[1, 2, 0] ^= 255
    assert int(shared[0, 0, 1, 2]) == pixels[1, 2, 0]
    pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(planes(pixels)[0].permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_cut_files_are_refused(kind: str) -> None:
    data = encoded(Image.fromarray(noise(60, 60)), kind)
    for kept in (0.98, 0.5, 0.1):
        with pytest.raises(ValueError, match=r"."):
            decode(data[: int(len(data) * kept)])


def test_reasons_are_said() -> None:
    with pytest.raises(ValueError, match="empty file"):
        decode(b"")
    with pytest.raises(ValueError, match="not an image"):
        decode(b"<html>404</html>")
    with pytest.raises(ValueError, match="truncated"):
        decode(encoded(Image.fromarray(noise(60, 60)), "JPEG")[:-500])


FILES = [
    encoded(Image.fromarray(noise(20, 20)), kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF")
]


@given(
    st.sampled_from(FILES), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=9)
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_pixels_or_a_value_error(
    data: bytes, changes: list[tuple[float, int]]
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * 0.999 * min(len(data), 400))] = value
    try:
        pixels = decode(bytes(damaged), 16)
    except ValueError:
        return
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8


def test_memory_format_reaches_the_result() -> None:
    """Reordering each result would halve the speed of the loader."""
    import torch

    image = resize(planes(noise(50, 40)), height=20, width=20)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_orientation_agrees_with_pillow_on_a_fresh_copy() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(noise(10, 14)), "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode(data), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [None, 40, 15])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_fast_jpeg_decoder_gives_the_pixels_of_pillow(
    orientation: int, side: int | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    pixels = np.random.default_rng(orientation).integers(0, 256, (61, 83, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=85, exif=exif)
    fast = decode_module.decode(file.getvalue(), side)
    monkeypatch.setattr(decode_module, "_fast_decoder", lambda: None)
    assert np.array_equal(fast, decode_module.decode(file.getvalue(), side))
