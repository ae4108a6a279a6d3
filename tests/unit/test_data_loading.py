"""Batches: functions of the seed, the epoch and the ids, whoever makes them and however often."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sightline.data.decoding import available_cores, decode_all
from sightline.data.images import Images
from sightline.data.loading import Batch, ImageLoader, Shard, default_workers
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS
from sightline.data.views import central_view, render
from sightline.errors import DataError

SIZE, SIDE = 12, 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for number in range(23):
        shape = (20 + number, 30, 3) if number else (1, 1, 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number:02d}.png")
    return root


def table(folder: Path, rows: Iterable[int] | None = None) -> Manifest:
    names = [f"{number:02d}.png" for number in (range(23) if rows is None else rows)]
    labels = ["" if name == "05.png" else "abc"[int(name[:2]) % 3] for name in names]
    return Manifest.build(folder, id=names, path=names, label=labels)


@pytest.fixture(scope="module")
def images(folder: Path) -> Images:
    return Images(table(folder), SIDE)


def loader(images: Images, preset: str | None = "strong", **options: Any) -> ImageLoader:
    values: dict[str, Any] = {"size": SIZE, "batch_size": 5, "seed": 3, **options}
    return ImageLoader(images, augment=PRESETS[preset] if preset else None, **values)


def assert_same(one: Iterable[Batch], other: Iterable[Batch]) -> None:
    for first, second in zip(one, other, strict=True):
        assert first.ids == second.ids
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.labels, second.labels)
        assert (first.colour is None) == (second.colour is None)
        if first.colour is not None and second.colour is not None:
            assert torch.equal(first.colour, second.colour)


def by_id(batches: Iterable[Batch]) -> dict[str, tuple[bytes, int, bytes]]:
    """Image, label and colours of every sample, which must occur once."""
    found: dict[str, tuple[bytes, int, bytes]] = {}
    for batch in batches:
        for place, name in enumerate(batch.ids):
            assert name not in found
            colour = b"" if batch.colour is None else batch.colour[place].numpy().tobytes()
            image = batch.images[place].contiguous().numpy().tobytes()
            found[name] = (image, int(batch.labels[place]), colour)
    return found


def test_batches_hold_what_they_say(images: Images) -> None:
    batches = list(loader(images).batches(1))
    assert [len(batch.ids) for batch in batches] == [5, 5, 5, 5, 3]
    for batch in batches:
        count = len(batch.ids)
        assert batch.images.shape == (count, 3, SIZE, SIZE)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels.dtype == torch.int64
        assert batch.labels.shape == (count,)
        assert batch.colour is not None
        assert batch.colour.shape == (count, 3, 4)
        assert batch.colour.dtype == torch.float32
    labels = {name: label for name, (_, label, _) in by_id(batches).items()}
    assert labels == {
        f"{number:02d}.png": -1 if number == 5 else number % 3 for number in range(23)
    }


def test_evaluation_is_in_order_and_central(images: Images) -> None:
    batches = list(loader(images, None))
    assert [name for batch in batches for name in batch.ids] == images.manifest.id.tolist()
    row = 0
    for batch in batches:
        assert batch.colour is None
        for image in batch.images:
            expected = np.empty((SIZE, SIZE, 3), np.uint8)
            render(images[row], central_view(*images[row].shape[:2]), SIZE, expected)
            np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
            row += 1
    assert_same(batches, loader(images, None).batches(7))


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_without_changes_only_the_order_is_random(images: Images, fit: str) -> None:
    plain, shuffled = (
        list(loader(images, preset, fit=fit).batches(1)) for preset in (None, "none")
    )
    assert by_id(plain) == by_id(shuffled)
    assert plain[0].ids != shuffled[0].ids
    assert shuffled[0].colour is None


def test_padding_shows_whole_pictures(images: Images) -> None:
    whole = by_id(loader(images, None, fit="pad"))
    for row, name in enumerate(images.manifest.id.tolist()):
        expected = np.empty((SIZE, SIZE, 3), np.uint8)
        shape = images[row].shape[:2]
        render(images[row], central_view(*shape, "pad"), SIZE, expected)
        assert whole[name][0] == np.ascontiguousarray(expected.transpose(2, 0, 1)).tobytes()
    assert whole != by_id(loader(images, None))
    assert by_id(loader(images, "hard", fit="pad")) != by_id(loader(images, "hard"))


def test_a_schedule_knows_the_epoch_and_their_number(images: Images) -> None:
    few, many = loader(images, "hard", epochs=4), loader(images, "hard", epochs=40)
    # The same numbers are drawn; more of them count as late in few epochs.
    assert by_id(few.batches(4)) != by_id(many.batches(4))
    assert_same(few.batches(4), loader(images, "hard", epochs=1).batches(4))
    assert_same(loader(images, "hard", epochs=4).batches(4, start=2), list(few.batches(4))[2:])
    assert_same(loader(images, "strong", epochs=4).batches(4), loader(images, "strong").batches(4))


def test_epochs_and_seeds_differ_and_can_be_had_again(images: Images) -> None:
    one = loader(images)
    first, second = list(one.batches(1)), list(one.batches(2))
    assert_same(first, one.batches(1))
    assert_same(second, loader(images).batches(2))
    assert first[0].ids != second[0].ids
    views, others = by_id(first), by_id(second)
    assert views.keys() == others.keys()
    # The picture of one pixel looks alike in every view.
    assert sum(views[name][0] != others[name][0] for name in views) >= 21
    assert sum(views[name][2] != others[name][2] for name in views) == 23
    reseeded = by_id(loader(images, seed=4).batches(1))
    assert sum(views[name][0] != reseeded[name][0] for name in views) >= 21


@pytest.mark.parametrize("preset", ["strong", "hard", None])
def test_workers_change_nothing(images: Images, preset: str | None) -> None:
    expected = {epoch: list(loader(images, preset).batches(epoch)) for epoch in (1, 2)}
    for workers in (1, 2):
        with_workers = loader(images, preset, workers=workers)
        for epoch in (1, 2):
            assert_same(with_workers.batches(epoch), expected[epoch])


@pytest.mark.parametrize("preset", ["strong", None])
def test_the_store_changes_nothing(images: Images, tmp_path: Path, preset: str | None) -> None:
    stored, _ = decode_all(images.manifest, shorter_side=SIDE, cache_dir=tmp_path, workers=0)
    assert_same(loader(stored, preset).batches(2), loader(images, preset).batches(2))
    assert_same(loader(stored, preset, workers=2).batches(2), loader(images, preset).batches(2))


def test_the_order_of_rows_changes_nothing(folder: Path, images: Images) -> None:
    rows = np.random.default_rng(1).permutation(23).tolist()
    moved = Images(table(folder, rows), SIDE)
    assert_same(loader(moved).batches(1), loader(images).batches(1))
    assert by_id(loader(moved, None)) == by_id(loader(images, None))


def test_other_samples_do_not_change_a_view(folder: Path, images: Images) -> None:
    everything = by_id(loader(images).batches(4))
    some = by_id(loader(Images(table(folder, [7, 3, 19]), SIDE)).batches(4))
    assert some.items() <= everything.items()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("start", range(7))
def test_a_pass_can_be_resumed_at_any_batch(images: Images, start: int, workers: int) -> None:
    if workers and start not in (2, 5):
        return
    whole = list(loader(images).batches(3))
    assert_same(loader(images, workers=workers).batches(3, start=start), whole[start:])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_given_up_does_not_leak_into_the_next(images: Images, workers: int) -> None:
    expected = list(loader(images).batches(2))
    one = loader(images, workers=workers)
    abandoned = one.batches(1)
    next(abandoned)
    assert_same(one.batches(2), expected)
    with pytest.raises(RuntimeError, match="another pass"):
        next(abandoned)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("preset", ["strong", None])
def test_processes_share_every_batch(images: Images, count: int, preset: str | None) -> None:
    whole = list(loader(images, preset, shard=Shard(0, 1)).batches(1))
    parts = [
        list(loader(images, preset, shard=Shard(rank, count)).batches(1)) for rank in range(count)
    ]
    assert len({len(part) for part in parts}) == 1, "each process must make as many steps"
    if preset:
        assert min(len(batch.ids) for part in parts for batch in part[-1:]) >= 1
    merged = [by_id(batches) for batches in zip(*parts, strict=True)]
    if len(merged) == len(whole):
        assert merged == [by_id([batch]) for batch in whole]
    union: dict[str, Any] = {}
    for one in merged:
        union |= one
    assert union == by_id(whole)
    sizes = [[len(batch.ids) for batch in part] for part in parts]
    assert (np.ptp(np.array(sizes), axis=0) <= 1).all(), "shares differ by one at most"


@pytest.mark.parametrize(
    ("rows", "count", "sizes"),
    [
        (20, 1, [5, 5, 5, 5]),
        (21, 1, [5, 5, 5, 6]),
        (22, 1, [5, 5, 5, 5, 2]),
        (23, 2, [5, 5, 5, 8]),
        (19, 2, [5, 5, 5, 4]),
        (1, 1, [1]),
        (4, 1, [4]),
        (6, 1, [6]),
        (0, 1, []),
    ],
)
def test_a_tail_too_small_for_statistics_joins_the_last_batch(
    folder: Path, rows: int, count: int, sizes: list[int]
) -> None:
    part = Images(table(folder, range(rows)), SIDE)
    loaders = [loader(part, shard=Shard(rank, count)) for rank in range(count)]
    seen = [
        sum(len(b.ids) for b in same)
        for same in zip(*(one.batches(1) for one in loaders), strict=True)
    ]
    assert seen == sizes
    assert len(loaders[0]) == len(sizes)
    plain = [len(batch.ids) for batch in loader(part, None)]
    assert plain == [5] * (rows // 5) + ([rows % 5] if rows % 5 else [])


@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_states_are_left_alone(images: Images, workers: int) -> None:
    legacy = np.random.mtrand._rand
    torch.manual_seed(5)
    before = (torch.get_rng_state(), random.getstate(), legacy.get_state(legacy=False))
    one = loader(images, workers=workers)
    for epoch in (1, 2):
        assert len(list(one.batches(epoch))) == len(one) == 5
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_equal(legacy.get_state(legacy=False), before[2])


def test_global_random_states_do_not_matter(images: Images) -> None:
    torch.manual_seed(1)
    random.seed(1)
    first = list(loader(images).batches(1))
    torch.manual_seed(2)
    random.seed(2)
    assert_same(loader(images).batches(1), first)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_named_whoever_decodes_it(folder: Path, workers: int) -> None:
    names = ["00.png", "gone.png"]
    broken = Images(Manifest.build(folder, id=names, path=names), SIDE)
    with pytest.raises(DataError, match=r"gone\.png") as raised:
        list(loader(broken, None, workers=workers))
    assert str(raised.value).startswith("An image cannot be decoded.\n")
    assert "Traceback" not in str(raised.value)
    assert raised.value.remedy is not None


SPAWNED = """
import json, multiprocessing, sys
from pathlib import Path
from sightline.data.decoding import decode_all
from sightline.data.loading import ImageLoader
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[3])
    names = sorted(path.name for path in Path(sys.argv[1]).iterdir())
    manifest = Manifest.build(Path(sys.argv[1]), id=names, path=names)
    images, _ = decode_all(manifest, shorter_side=14, cache_dir=Path(sys.argv[2]), workers=0)
    loader = ImageLoader(
        images, size=12, batch_size=5, augment=PRESETS["strong"], seed=3, workers=1
    )
    print(json.dumps([[b.ids, b.images.sum().item(), b.colour.sum().item()] for b in loader]))
"""


def test_workers_that_do_not_inherit_memory_make_the_same_batches(
    folder: Path, images: Images, tmp_path: Path
) -> None:
    """The way workers start on macOS and Windows."""
    (tmp_path / "run.py").write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, "run.py", str(folder), str(tmp_path / "cache"), "spawn"],
        capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = [
        [batch.ids, batch.images.sum().item(), batch.colour.sum().item()]
        for batch in loader(images).batches(1)
        if batch.colour is not None
    ]
    assert json.loads(done.stdout) == expected


def test_default_workers_follow_the_machine() -> None:
    cores = available_cores()
    assert cores >= 1
    assert default_workers(cached=True, on_gpu=False) == 0
    assert default_workers(cached=False, on_gpu=False) == max(1, cores // 2)
    assert 1 <= default_workers(cached=True, on_gpu=True) <= 4
    assert 1 <= default_workers(cached=False, on_gpu=True) <= 16


@pytest.mark.gpu
def test_pinned_batches_are_the_same(images: Images) -> None:
    pinned = list(loader(images, pin_memory=True).batches(1))
    assert all(batch.images.is_pinned() for batch in pinned)
    assert_same(pinned, loader(images).batches(1))
