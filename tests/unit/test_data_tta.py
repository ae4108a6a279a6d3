"""Test views: their names, how many there are, and that each is a fixed function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.data import tta
from sightline.data.images import Images
from sightline.data.loading import ImageLoader
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS
from sightline.data.tta import tta_views
from sightline.errors import ConfigError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def named(name: str, sample: str = "a") -> np.ndarray:
    (view,) = (one for one in tta_views("comprehensive") if one.name == name)
    return view(PIXELS, sample)


def test_sets_have_their_views_and_the_original_first() -> None:
    names = {name: [view.name for view in tta_views(name)] for name in tta._SETS}
    assert {name: len(views) for name, views in names.items()} == {
        "none": 1,
        "flip": 2,
        "essential": 5,
        "comprehensive": 15,
    }
    assert all(len(set(views)) == len(views) for views in names.values())
    for name, views in names.items():
        assert views[0] == "original"
        np.testing.assert_array_equal(tta_views(name)[0](PIXELS, "a"), PIXELS)
    assert names["comprehensive"][:5] == names["essential"]


def test_an_unknown_set_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="none or flip or essential or comprehensive"):
        tta_views("all")


def test_turns_and_mirrors_are_exact() -> None:
    for turns in (1, 2, 3):
        np.testing.assert_array_equal(named(f"{90 * turns} degrees"), np.rot90(PIXELS, turns))
    np.testing.assert_array_equal(named("horizontal flip"), PIXELS[:, ::-1])
    np.testing.assert_array_equal(named("vertical flip"), PIXELS[::-1])
    np.testing.assert_array_equal(named("transpose"), np.swapaxes(PIXELS, 0, 1))


def test_opposite_rotations_are_mirror_images() -> None:
    (left, right) = (
        one for one in tta_views("comprehensive") if one.name in ("+15 degrees", "-15 degrees")
    )
    mirrored = right(np.ascontiguousarray(PIXELS[:, ::-1]), "a")[:, ::-1]
    assert np.abs(left(PIXELS, "a").astype(int) - mirrored).max() <= 1
    assert (left(PIXELS, "a") != right(PIXELS, "a")).any()


def test_views_differ_and_are_fixed() -> None:
    views = tta_views("comprehensive")
    first = [view(PIXELS, "a") for view in views]
    np.random.default_rng().random(3)
    for view, result in zip(views, first, strict=True):
        assert result.shape == PIXELS.shape
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(view(PIXELS, "a"), result)
        same = np.array_equal(view(PIXELS, "b"), result)
        assert same == (view.name != "noise"), "only noise knows the sample"
    assert len({result.tobytes() for result in first}) == 15


@pytest.fixture
def images(tmp_path: Path) -> Images:
    names = [f"{number}.png" for number in range(5)]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return Images(Manifest.build(tmp_path, id=names, path=names), 28)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_loader_shows_the_view_of_what_evaluation_sees(images: Images, fit: str) -> None:
    plain = list(ImageLoader(images, size=24, batch_size=2, fit=fit))
    for view in tta_views("comprehensive"):
        for batch, other in zip(
            plain, ImageLoader(images, size=24, batch_size=2, fit=fit, view=view), strict=True
        ):
            assert other.ids == batch.ids
            assert other.colour is None
            for name, before, after in zip(batch.ids, batch.images, other.images, strict=True):
                expected = view(before.permute(1, 2, 0).contiguous().numpy(), name)
                np.testing.assert_array_equal(after.permute(1, 2, 0).numpy(), expected)


def test_workers_make_the_same_views(images: Images) -> None:
    view = tta_views("comprehensive")[13]
    assert view.name == "noise"
    alone = ImageLoader(images, size=24, batch_size=2, view=view)
    helped = ImageLoader(images, size=24, batch_size=2, view=view, workers=2)
    for one, other in zip(alone, helped, strict=True):
        assert one.ids == other.ids
        assert (one.images == other.images).all()


def test_a_view_goes_without_augmentation(images: Images) -> None:
    view = tta_views("flip")[1]
    with pytest.raises(ValueError, match="without augmentation"):
        ImageLoader(images, size=24, batch_size=2, augment=PRESETS["basic"], view=view)
