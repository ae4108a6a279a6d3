"""Made defects: visible, marked exactly, the same for the same name, and on copies only."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data.manifest import Manifest
from sightline.data.synthetic_defects import (
    KINDS,
    Kind,
    SyntheticDefects,
    perlin_noise,
    synthetic_defect,
    with_synthetic_defects,
)
from sightline.random_numbers import generator


def texture(size: int = 64, seed: int = 0, *, grey: bool = False) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (8, 8, 1 if grey else 3), np.uint8).repeat(3 if grey else 1, 2)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 64, 97])
def test_the_mask_is_what_changed_and_neither_nothing_nor_everything(kind: Kind, size: int) -> None:
    pixels = texture(size)
    before = pixels.copy()
    for sample in range(20):
        changed, mask = synthetic_defect(pixels, seed=1, sample=str(sample), kind=kind)
        assert changed.dtype == np.uint8
        np.testing.assert_array_equal(mask, (changed != pixels).any(axis=-1))
        assert 0 < mask.mean() < 0.6
        assert np.abs(changed.astype(int) - pixels).max() >= 8
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_uniform_picture_gets_a_visible_defect(level: int) -> None:
    pixels = np.full((48, 48, 3), level, np.uint8)
    for sample in range(12):
        changed, mask = synthetic_defect(pixels, seed=0, sample=str(sample))
        assert mask.any()
        assert np.abs(changed.astype(int) - pixels)[mask].max(axis=-1).min() >= 1
        assert np.abs(changed.astype(int) - pixels).max() >= 8


def test_grey_pictures_stay_grey() -> None:
    pixels = texture(grey=True)
    for sample in range(30):
        changed, _ = synthetic_defect(pixels, seed=0, sample=str(sample))
        assert (changed == changed[..., :1]).all()


def test_a_defect_depends_on_seed_and_name_alone() -> None:
    pixels = texture()

    def made(seed: int, sample: str) -> bytes:
        return synthetic_defect(pixels, seed=seed, sample=sample)[0].tobytes()

    first = made(3, "a")
    np.random.default_rng().random(9)
    assert made(3, "a") == first
    assert len({made(3, "a"), made(4, "a"), made(3, "b")}) == 3


def test_every_kind_is_drawn() -> None:
    pixels = texture()
    drawn = set()
    for sample in range(40):
        whole = synthetic_defect(pixels, seed=0, sample=str(sample))[0]
        for kind in KINDS:
            alone = synthetic_defect(pixels, seed=0, sample=str(sample), kind=kind)[0]
            if (whole == alone).all():
                drawn.add(kind)
    assert drawn == set(KINDS)


def test_patches_have_the_papers_area() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    shares = []
    for sample in range(60):
        mask = synthetic_defect(pixels, seed=0, sample=str(sample), kind="patch")[1]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        shares.append(np.ptp(rows + 0) * 1.0 + 1)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / 10_000
        assert 0.018 <= area <= 0.16
    assert len(set(shares)) > 10


def test_perlin_noise_is_gradient_noise_by_hand() -> None:
    """At a pixel: the four corners' gradients times the offset, blended by the faded offset."""
    size, cells = 12, (2, 3)
    angle = 2 * math.pi * generator(0, 0, "x").random((3, 4))
    noise = perlin_noise(generator(0, 0, "x"), size, cells)

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    for row in range(size):
        for column in range(size):
            y, x = row * 2 / size, column * 3 / size
            i, j = int(y), int(x)
            v, u = y - i, x - j
            corner = [
                [
                    math.sin(angle[i + a, j + b]) * (v - a)
                    + math.cos(angle[i + a, j + b]) * (u - b)
                    for b in (0, 1)
                ]
                for a in (0, 1)
            ]
            upper = corner[0][0] + fade(u) * (corner[0][1] - corner[0][0])
            lower = corner[1][0] + fade(u) * (corner[1][1] - corner[1][0])
            expected = math.sqrt(2) * (upper + fade(v) * (lower - upper))
            assert noise[row, column] == pytest.approx(expected, abs=1e-12)


def test_every_normal_picture_of_validation_gets_a_copy_after_all_others() -> None:
    names = ["test/cut/a.png", "train/good/b.png", "train/good/c.png", "train/good/d.png"]
    original = Manifest.build(
        Path("data"),
        id=names,
        path=names,
        label=["cut", "good", "good", "good"],
        split=["test", "val", "fit", "val"],
        mask=["m.png", "", "", ""],
    )
    table, rows = with_synthetic_defects(original)
    assert rows.tolist() == [0, 1, 2, 3, 1, 3]
    assert table.id[4:].tolist() == ["<synthetic>/train/good/b.png", "<synthetic>/train/good/d.png"]
    assert table.path.tolist() == [names[row] for row in rows]
    assert [table.label.text(row) for row in range(6)] == [
        *("cut", "good", "good", "good"), "synthetic", "synthetic",
    ]  # fmt: skip
    assert [table.split_text(row) for row in range(4, 6)] == ["val", "val"]
    assert table.mask.tolist() == ["m.png", "", "", "", "", ""]


def test_the_view_changes_copies_only() -> None:
    view, pixels = SyntheticDefects(seed=5), texture()
    assert view(pixels, "train/good/b.png") is pixels
    made = view(pixels, "<synthetic>/train/good/b.png")
    expected = synthetic_defect(pixels, seed=5, sample="<synthetic>/train/good/b.png")[0]
    np.testing.assert_array_equal(made, expected)
    assert (made != pixels).any()


def test_pictures_of_a_folder_called_synthetic_are_no_copies() -> None:
    pixels = texture()
    for name in ("synthetic/part.png", "data/synthetic/part.png"):
        np.testing.assert_array_equal(SyntheticDefects(5)(pixels, name), pixels)
