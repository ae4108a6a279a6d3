"""Images of a manifest: the same pixels with and without a store, and every bad file by name."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sightline.data import decoding, pixel_store
from sightline.data.decoding import (
    decode_all,
    fits_on_disk,
    listed,
    require_decodable,
    undecodable,
)
from sightline.data.images import Images, find_decoded
from sightline.data.manifest import Manifest
from sightline.errors import DataError

SIDE = 16


def save(path: Path, pixels: npt.NDArray[Any], mode: str | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Every kind of file that users have: 10 that decode, then 5 that do not."""
    root, random = tmp_path / "data", np.random.default_rng(0)
    colours = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    save(root / "a.jpg", colours)
    save(root / "B.JPG", colours[:, ::-1])
    save(root / "c.png", colours, "L")
    save(root / "d.png", random.integers(0, 256, (30, 20, 4), dtype=np.uint8))
    save(root / "e.png", colours, "P", transparency=3)
    save(root / "f.jpg", colours, "CMYK")
    save(root / "g.png", random.integers(0, 65536, (20, 30), dtype=np.uint16))
    save(root / "h.TIFF", colours)
    save(root / "i.webp", colours[:1, :1])
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "j.jpeg", colours, exif=exif)
    (root / "v.jpg").write_bytes((root / "a.jpg").read_bytes()[:-400])
    (root / "w.jpg").write_bytes(b"")
    (root / "x.jpg").write_bytes(b"<html>")
    (root / "y.jpg").mkdir()
    return root


GOOD = ["a.jpg", "B.JPG", "c.png", "d.png", "e.png", "f.jpg", "g.png", "h.TIFF", "i.webp", "j.jpeg"]
BAD = ["v.jpg", "w.jpg", "x.jpg", "y.jpg", "z.jpg"]


def table(folder: Path, names: list[str]) -> Manifest:
    return Manifest.build(folder, id=names, path=names)


@pytest.mark.parametrize("workers", [0, 3])
def test_every_kind_of_file_is_stored_as_it_is_decoded(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    manifest = table(folder, GOOD)
    stored, bad = decode_all(
        manifest, shorter_side=SIDE, cache_dir=tmp_path / "cache", workers=workers
    )
    assert bad == []
    plain = Images(manifest, SIDE)
    assert len(stored) == len(plain) == 10
    for row in range(10):
        np.testing.assert_array_equal(stored[row], plain[row])
        assert stored[row].shape[2] == 3
        assert min(stored[row].shape[:2]) <= SIDE
    assert stored[8].shape == (1, 1, 3)
    assert stored[9].shape[0] > stored[9].shape[1], "upright"


@pytest.mark.parametrize("workers", [0, 2])
def test_every_bad_file_is_listed_with_its_reason(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    names = [BAD[0], *GOOD, *BAD[1:]] * 5
    manifest = Manifest.build(folder, id=[f"{i}" for i in range(len(names))], path=names)
    images, bad = decode_all(
        manifest, shorter_side=SIDE, cache_dir=tmp_path / "cache", workers=workers
    )
    expected = [row for row, name in enumerate(names) if name in BAD]
    assert [one.row for one in bad] == expected
    assert images.undecoded().tolist() == expected
    reasons = {names[one.row]: one.reason for one in bad}
    assert "truncated" in reasons["v.jpg"]
    assert reasons["w.jpg"] == "empty file"
    assert reasons["x.jpg"] == "not an image"
    assert "directory" in reasons["y.jpg"] or "denied" in reasons["y.jpg"]
    assert reasons["z.jpg"] == "No such file or directory"
    assert undecodable(Images(manifest, SIDE), workers=workers) == bad
    with pytest.raises(DataError, match="25 of 75 images cannot be decoded") as raised:
        require_decodable(manifest, bad)
    text = str(raised.value)
    assert all(text.count(f"{name} (") == 5 for name in BAD)
    assert "data.on_bad_image=skip" in text
    assert listed(bad, manifest) == "v.jpg, w.jpg, x.jpg, y.jpg, z.jpg and 20 more"


def test_no_bad_files_are_no_error(folder: Path) -> None:
    require_decodable(table(folder, GOOD), [])


def test_a_bad_file_without_a_store_is_named(folder: Path) -> None:
    images = Images(table(folder, ["z.jpg", "w.jpg"]), SIDE)
    with pytest.raises(DataError, match=r"No such file[\s\S]*z\.jpg[\s\S]*sightline check"):
        images[0]
    with pytest.raises(DataError, match=r"empty file[\s\S]*w\.jpg"):
        images[1]


def test_progress_counts_what_is_to_be_done(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_store, "SETTLED_SECONDS", 0.0)
    options: dict[str, Any] = {"shorter_side": SIDE, "cache_dir": tmp_path / "c", "workers": 0}
    decode_all(table(folder, GOOD[:4]), **options)
    seen: list[tuple[int, int]] = []
    decode_all(table(folder, GOOD + BAD), progress=lambda *at: seen.append(at), **options)
    assert seen[-1] == (11, 11)
    seen.clear()
    decode_all(table(folder, GOOD), progress=lambda *at: seen.append(at), **options)
    assert seen == []


def test_a_complete_store_is_used_without_its_lock(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one on a read-only disk serves, and nobody waits for a build of other images."""
    monkeypatch.setattr(pixel_store, "SETTLED_SECONDS", 0.0)
    options: dict[str, Any] = {"shorter_side": SIDE, "cache_dir": tmp_path / "c", "workers": 0}
    first, _ = decode_all(table(folder, GOOD), **options)
    assert first.store is not None
    results: list[Any] = []
    with first.store.building():
        thread = threading.Thread(
            target=lambda: results.append(decode_all(table(folder, GOOD), **options))
        )
        thread.start()
        thread.join(30)
        assert results, "it waited for the lock"


def test_selected_rows_keep_their_images(folder: Path, tmp_path: Path) -> None:
    manifest = table(folder, GOOD)
    stored, _ = decode_all(manifest, shorter_side=SIDE, cache_dir=tmp_path / "c", workers=0)
    rows = np.array([7, 2, 2])
    for images in (stored, Images(manifest, SIDE)):
        some = images.select(rows)
        assert some.manifest.path.tolist() == ["h.TIFF", "c.png", "c.png"]
        for place, row in enumerate(rows):
            np.testing.assert_array_equal(some[place], stored[int(row)])


def test_nothing_is_written_by_looking(folder: Path, tmp_path: Path) -> None:
    found = find_decoded(table(folder, GOOD), shorter_side=SIDE, cache_dir=tmp_path / "cache")
    assert found.undecoded().tolist() == list(range(10))
    assert not (tmp_path / "cache").exists()
    np.testing.assert_array_equal(found[3], Images(found.manifest, SIDE)[3])


def test_an_empty_manifest_has_no_images(tmp_path: Path) -> None:
    images, bad = decode_all(
        table(tmp_path, []), shorter_side=SIDE, cache_dir=tmp_path / "c", workers=2
    )
    assert (len(images), bad) == (0, [])


def test_a_cache_that_cannot_be_written_is_an_error_with_a_remedy(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"could not be kept[\s\S]*data\.cache_dir=FOLDER"):
        decode_all(table(folder, GOOD), shorter_side=SIDE, cache_dir=tmp_path / "file", workers=0)


def test_what_fits_is_half_of_the_free_space(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    one = 100 * 100 * 3 * 1.5
    options: dict[str, Any] = {"shorter_side": 100, "cache_dir": tmp_path / "not" / "yet"}
    assert fits_on_disk(int(0.45 * free / one), **options)
    assert not fits_on_disk(int(0.55 * free / one), **options)
    (tmp_path / "file").write_text("")
    assert fits_on_disk(1, shorter_side=100, cache_dir=tmp_path / "file" / "below")
    assert fits_on_disk(1, shorter_side=100, cache_dir=Path("relative"))


def test_memory_does_not_grow_with_the_number_of_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks that wait to be stored are few, however slow the disk is."""
    names = ["a.jpg"] * 2000
    manifest = Manifest.build(folder, id=[str(i) for i in range(2000)], path=names)
    looked: list[int] = []
    look = decoding._look
    monkeypatch.setattr(decoding, "_look", lambda *one: (looked.append(one[0]), look(*one))[1])
    ahead: list[int] = []
    decode_all(
        manifest,
        shorter_side=SIDE,
        cache_dir=tmp_path / "c",
        workers=2,
        progress=lambda done, total: ahead.append(len(looked) - done),
    )
    assert len(looked) == 2000
    assert max(ahead) <= 4 * decoding.CHUNK
