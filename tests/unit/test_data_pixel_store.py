"""The store of decoded images: found by content, safe to share, whole after any death."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sightline.data import pixel_store
from sightline.data.decoding import decode_all
from sightline.data.images import Images, find_decoded
from sightline.data.manifest import Manifest
from sightline.data.pixel_store import FILE, IMAGE, Index, PixelStore, digest
from sightline.errors import DataError

Array = npt.NDArray[Any]
SIDE = 24


def pictures(folder: Path, count: int, *, start: int = 0, size: int = 30) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number:03d}.png" for number in range(start, start + count)]
    for number, name in enumerate(names, start):
        shape = (size, size + number % 5, 3)
        values = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(values).save(folder / name)
    return names


def table(folder: Path, names: list[str] | None = None) -> Manifest:
    names = names or sorted(path.name for path in folder.iterdir())
    return Manifest.build(folder, id=names, path=names)


def build(manifest: Manifest, cache: Path, **options: Any) -> Images:
    values: dict[str, Any] = {"workers": 0, **options}
    images, bad = decode_all(manifest, shorter_side=SIDE, cache_dir=cache, **values)
    assert bad == []
    assert not len(images.undecoded())
    return images


def assert_right(images: Images) -> None:
    """Every row has the pixels that decoding its file gives."""
    plain = Images(images.manifest, images.shorter_side)
    for row in range(len(plain)):
        np.testing.assert_array_equal(images[row], plain[row])


def decoded_by(manifest: Manifest, cache: Path) -> tuple[int, Images]:
    """How many bytes of pixels a build adds, and its images."""
    file = PixelStore(cache, SIDE).folder / "pixels.u8"
    before = file.stat().st_size
    images = build(manifest, cache)
    return file.stat().st_size - before, images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures(tmp_path / "data", 40)
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def times_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of files that are as young as those of a test."""
    monkeypatch.setattr(pixel_store, "SETTLED_SECONDS", 0.0)


BUILD = """
import sys
from pathlib import Path
from sightline.data.decoding import decode_all
from sightline.data.manifest import Manifest
from sightline.data import pixel_store
pixel_store.SETTLED_SECONDS = 0.0
folder, cache, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
names = sorted(path.name for path in folder.iterdir())
manifest = Manifest.build(folder, id=names, path=names)
print("ready", flush=True)
sys.stdin.readline()
images, bad = decode_all(
    manifest, shorter_side=24, cache_dir=cache, workers=workers,
    progress=lambda done, total: print(done, flush=True),
)
print("built", len(images.undecoded()), len(bad), flush=True)
"""


def builder(folder: Path, cache: Path, workers: int = 0) -> subprocess.Popen[str]:
    """A process that builds the store once it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder), str(cache), str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("workers", [0, 1, 3, None])
def test_stored_pixels_are_the_decoded_ones(folder: Path, cache: Path, workers: int | None) -> None:
    pictures(folder, 60, start=100)
    images = build(table(folder), cache, workers=workers)
    assert_right(images)
    assert not images[0].flags.writeable


@pytest.mark.usefixtures("times_are_trusted")
def test_unchanged_files_are_not_read_again(folder: Path, cache: Path) -> None:
    build(table(folder), cache)
    found = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    assert not len(found.undecoded())
    assert_right(found)
    added, _ = decoded_by(table(folder), cache)
    assert added == 0
    assert (PixelStore(cache, SIDE).folder / "files.idx").stat().st_size == 40 * FILE.itemsize


@pytest.mark.usefixtures("times_are_trusted")
def test_an_edit_in_place_with_size_and_mtime_kept_is_noticed(folder: Path, cache: Path) -> None:
    file = folder / "a.bmp"
    Image.new("RGB", (30, 30), (200, 0, 0)).save(file)
    old = build(table(folder), cache)
    row = old.manifest.id.tolist().index("a.bmp")
    before = file.stat()
    time.sleep(0.05)
    Image.new("RGB", (30, 30), (0, 200, 0)).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    new = build(table(folder), cache)
    assert new[row][0, 0].tolist() == [0, 200, 0]
    assert old[row][0, 0].tolist() == [200, 0, 0], "what is in use stays as it is"
    assert_right(new)


def test_times_within_one_tick_are_not_trusted(folder: Path, cache: Path) -> None:
    """A file changed right after it was read may have the same size and times as before."""
    build(table(folder), cache)
    young = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    assert len(young.undecoded()) == 40
    added, images = decoded_by(table(folder), cache)
    assert added == 0, "read again, but not decoded again"
    assert_right(images)


@pytest.mark.usefixtures("times_are_trusted")
def test_moved_copied_and_touched_files_are_not_decoded_again(folder: Path, cache: Path) -> None:
    build(table(folder), cache)
    moved = folder.rename(folder.parent / "moved")
    shutil.copy(moved / "003.png", moved / "copy.png")
    os.utime(moved / "004.png")
    added, images = decoded_by(table(moved), cache)
    assert added == 0
    assert_right(images)
    index = PixelStore(cache, SIDE).folder / "images.idx"
    assert index.stat().st_size == 40 * IMAGE.itemsize


def test_equal_files_are_stored_once(folder: Path, cache: Path) -> None:
    for number in range(50):
        shutil.copy(folder / "000.png", folder / f"copy{number}.png")
    images = build(table(folder), cache, workers=2)
    assert len(np.unique(images.slots[:, 0])) == 40
    assert_right(images)


def test_sizes_have_stores_of_their_own(folder: Path, cache: Path) -> None:
    small, _ = decode_all(table(folder), shorter_side=10, cache_dir=cache, workers=0)
    large = build(table(folder), cache)
    assert small[0].shape[0] == 10
    assert large[0].shape[0] == SIDE


@pytest.mark.usefixtures("times_are_trusted")
def test_another_version_of_the_decoder_does_not_use_old_pixels(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(table(folder), cache)
    monkeypatch.setattr(pixel_store.decode, "VERSION", 10**6)
    newer = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    assert len(newer.undecoded()) == 40


@pytest.mark.usefixtures("times_are_trusted")
@pytest.mark.parametrize("name", ["images.idx", "files.idx"])
@pytest.mark.parametrize("kept", [-1, -5, -17, -23, -31])
def test_a_torn_record_costs_no_more_than_its_image(
    folder: Path, cache: Path, name: str, kept: int
) -> None:
    build(table(folder), cache)
    index = PixelStore(cache, SIDE).folder / name
    data = index.read_bytes()
    index.write_bytes(data[:kept])
    found = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    lost = -(kept // (IMAGE if name == "images.idx" else FILE).itemsize)
    assert len(found.undecoded()) == lost
    assert_right(found)
    pictures(folder, 30, start=200)
    assert_right(build(table(folder), cache))
    again = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    assert not len(again.undecoded()), "records after a torn one must be readable"


@pytest.mark.usefixtures("times_are_trusted")
def test_cut_and_zeroed_files_of_the_store_are_repaired(folder: Path, cache: Path) -> None:
    store = PixelStore(cache, SIDE)
    build(table(folder), cache)
    os.truncate(store.folder / "pixels.u8", (store.folder / "pixels.u8").stat().st_size // 2)
    found = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    assert 0 < len(found.undecoded()) < 40
    assert_right(build(table(folder), cache))
    with (store.folder / "images.idx").open("ab") as handle:
        handle.write(bytes(3 * IMAGE.itemsize))
    with (store.folder / "files.idx").open("ab") as handle:
        handle.write(bytes(2 * FILE.itemsize + 5))
    (folder / "gone.png").write_bytes(b"")
    names = [*table(folder).id.tolist(), "missing.png"]
    found = find_decoded(table(folder, names), shorter_side=SIDE, cache_dir=cache)
    assert {str(found.manifest.id[row]) for row in found.undecoded()} == {"gone.png", "missing.png"}
    (folder / "gone.png").unlink()
    assert_right(build(table(folder), cache))


def test_two_processes_build_the_same_store_at_once(folder: Path, cache: Path) -> None:
    pictures(folder, 260, start=100)
    both = [builder(folder, cache, workers=2), builder(folder, cache)]
    for process in both:
        go(process)
    for process in both:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert output.splitlines()[-1] == "built 0 0"
    images = build(table(folder), cache)
    assert_right(images)
    sizes = images.slots[:, 1] * images.slots[:, 2] * 3
    assert (images.store.folder / "pixels.u8").stat().st_size == sizes.sum(), "decoded twice"  # type: ignore[union-attr]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.usefixtures("times_are_trusted")
def test_a_builder_killed_at_any_moment_leaves_a_usable_store(folder: Path, cache: Path) -> None:
    names = pictures(folder, 300, start=100, size=80)
    moments = random.Random(5)
    killed_midway = 0
    for attempt in range(5):
        process = builder(folder, cache, workers=attempt % 3)
        go(process)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.communicate()
        found = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
        killed_midway += 0 < len(found.undecoded()) < len(found)
        assert_right(found)
        for name in names[attempt * 30 : attempt * 30 + 30]:
            # So that there is something to do for the next one.
            with (folder / name).open("ab") as handle:
                handle.write(bytes([attempt]))
    assert killed_midway >= 2
    assert_right(build(table(folder), cache))


def test_a_lock_is_waited_for_and_the_wait_is_said(folder: Path, cache: Path) -> None:
    store, said = PixelStore(cache, SIDE), []
    done = threading.Event()

    def second() -> None:
        build(table(folder), cache, say=said.append)
        done.set()

    with store.building():
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.3)
    thread.join(60)
    assert done.is_set()
    assert len(said) == 1
    assert "another process" in said[0]
    assert str(store.folder) in said[0]


@pytest.mark.usefixtures("times_are_trusted")
def test_what_another_process_added_meanwhile_is_not_read_again(
    folder: Path, cache: Path, tmp_path: Path
) -> None:
    store = PixelStore(cache, SIDE)
    build(table(folder), tmp_path / "other")
    waiting, looked = threading.Event(), []
    thread = threading.Thread(
        target=lambda: build(
            table(folder),
            cache,
            say=lambda _: waiting.set(),
            progress=lambda done, total: looked.append(done),
        )
    )
    with store.building():
        thread.start()
        assert waiting.wait(60)
        for name in ("pixels.u8", "images.idx", "files.idx"):
            data = (PixelStore(tmp_path / "other", SIDE).folder / name).read_bytes()
            (store.folder / name).write_bytes(data)
    thread.join(60)
    assert looked == []
    assert_right(build(table(folder), cache))


def test_a_reader_sees_what_is_appended_after_it_mapped_the_file(folder: Path, cache: Path) -> None:
    early = build(table(folder), cache)
    first = early[0]
    copy = first.copy()
    pictures(folder, 100, start=500)
    late = build(table(folder), cache)
    assert early.store is not None
    for row in range(len(late)):
        np.testing.assert_array_equal(early.store.read(late.slots[row]), late[row])
    np.testing.assert_array_equal(first, copy)


def test_a_pickled_store_reads_the_same_pixels(folder: Path, cache: Path) -> None:
    images = build(table(folder), cache)
    images[0]
    data = pickle.dumps(images)
    assert len(data) < 20_000, "the pixels must not travel"
    assert_right(pickle.loads(data))


def test_a_deleted_or_replaced_store_is_an_error_and_never_wrong_pixels(
    folder: Path, cache: Path
) -> None:
    images = build(table(folder), cache)
    fresh = pickle.loads(pickle.dumps(images))
    mapped = images[3].copy()
    shutil.rmtree(cache)
    np.testing.assert_array_equal(images[3], mapped)
    with pytest.raises(DataError, match="deleted or replaced"):
        fresh[3]
    build(table(folder, sorted((p.name for p in folder.iterdir()), reverse=True)), cache)
    with pytest.raises(DataError, match="run the command again"):
        fresh[3]
    assert_right(build(table(folder), cache))


def test_a_store_deleted_during_a_build_is_not_mixed_with_its_successor(
    folder: Path, cache: Path
) -> None:
    store = PixelStore(cache, SIDE)
    pixels = np.zeros((4, 4, 3), np.uint8)
    with store.building() as old:
        shutil.rmtree(cache)
        build(table(folder), cache)
        old.add_images([digest(b"x")], [pixels])
    size = sum(height * width * 3 for _, height, width in build(table(folder), cache).slots)
    assert (store.folder / "pixels.u8").stat().st_size == size
    assert_right(build(table(folder), cache))


FULL = """
import resource, signal, sys
from pathlib import Path
from sightline.data.decoding import decode_all
from sightline.data.manifest import Manifest
from sightline.data import pixel_store
from sightline.errors import DataError
pixel_store.SETTLED_SECONDS = 0.0
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
names = sorted(path.name for path in folder.iterdir())
manifest = Manifest.build(folder, id=names, path=names)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    decode_all(manifest, shorter_side=24, cache_dir=cache, workers=int(sys.argv[4]))
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.usefixtures("times_are_trusted")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_is_an_error_with_a_remedy_and_the_store_stays_usable(
    folder: Path, cache: Path, workers: int
) -> None:
    pictures(folder, 60, start=100)
    limit = 24 * 25 * 3 * 50 + 7
    command = [sys.executable, "-c", FULL, str(folder), str(cache), str(limit), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "could not be kept" in done.stdout
    assert "data.cache=off" in done.stdout
    assert "data.cache_dir=FOLDER" in done.stdout
    pixels = PixelStore(cache, SIDE).folder / "pixels.u8"
    found = find_decoded(table(folder), shorter_side=SIDE, cache_dir=cache)
    assert 0 < len(found.undecoded()) < 100
    known = np.flatnonzero(found.slots[:, 0] >= 0)
    taken = (found.slots[known, 1] * found.slots[known, 2] * 3).sum()
    assert pixels.stat().st_size == taken, "the full disk is given back what was half written"
    assert_right(found)
    assert_right(build(table(folder), cache))


def test_index_finds_the_last_of_equal_keys_like_a_dictionary() -> None:
    random = np.random.default_rng(0)
    raw = random.integers(0, 3, (400, 4), dtype=np.uint8)
    keys = np.frombuffer(raw.tobytes(), "S4")
    expected = {row.tobytes(): number for number, row in enumerate(raw)}
    asked = random.integers(0, 4, (300, 4), dtype=np.uint8)
    rows = Index(keys).rows(np.frombuffer(asked.tobytes(), "S4"))
    assert rows.tolist() == [expected.get(row.tobytes(), -1) for row in asked]
    assert Index(keys[:0]).rows(keys).tolist() == [-1] * 400
    assert Index(keys).rows(keys[:0]).tolist() == []


@pytest.mark.slow
def test_a_million_files_are_found_in_seconds(tmp_path: Path) -> None:
    """Warm start of a large data set: at most some seconds and about the indices' own memory."""
    count = 1_000_000
    store = PixelStore(tmp_path, SIDE)
    store.folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    images, files = np.zeros(count, IMAGE), np.zeros(count, FILE)
    images["digest"] = np.frombuffer(random.bytes(16 * count), "S16")
    images["height"] = images["width"] = 1
    files["file"] = np.frombuffer(random.bytes(32 * count), "S32")
    files["digest"] = images["digest"]
    images.tofile(store.folder / "images.idx")
    files.tofile(store.folder / "files.idx")
    (store.folder / "pixels.u8").write_bytes(b"123")
    (tmp_path / "one").write_bytes(b"")
    started = time.perf_counter()
    slots = store.find([str(tmp_path / "one")] * count)
    assert (slots == -1).all()
    assert time.perf_counter() - started < 30
