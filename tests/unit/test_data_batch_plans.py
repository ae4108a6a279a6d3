"""Batch plans: P classes with K pictures each, each in its turn, whoever asks and in what order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data.batch_plans import BalancedPlan, BatchPlan, SequentialPlan, ShuffledPlan
from sightline.data.cycles import visits
from sightline.data.images import Images
from sightline.data.loading import ImageLoader, Shard
from sightline.data.manifest import Manifest
from sightline.data.presets import PRESETS
from sightline.errors import ConfigError
from sightline.random_numbers import generator

Objects = list[list[int]]
"""For each class the number of pictures of each of its objects."""


def table(classes: Objects, root: Path = Path("pictures")) -> Manifest:
    ids = [
        f"{'abcdefghij'[label]}/{number}_{picture}.png"
        for label, objects in enumerate(classes)
        for number, count in enumerate(objects)
        for picture in range(count)
    ]
    return Manifest.build(
        root,
        id=ids,
        path=ids,
        label=[name[0] for name in ids],
        group=[name.rpartition("_")[0] for name in ids],
    )


def plan(manifest: Manifest, classes: int, samples: int, seed: int = 0) -> BalancedPlan:
    return BalancedPlan(manifest, classes_per_batch=classes, samples_per_class=samples, seed=seed)


def named(manifest: Manifest, one: BatchPlan, epoch: int) -> list[list[str]]:
    return [[str(name) for name in manifest.id[rows]] for rows in one.batches(epoch)]


def raw(size: int, cycle: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return generator(5, cycle, "raw").permutation(size)


def slow(size: int, take: int, last: int) -> list[list[int]]:
    """One visit after another from the first on, each from a list of what is left."""
    left: list[int] = []
    cycle, found = 0, []
    for _ in range(last):
        visit: list[int] = left[:take]
        left = left[take:]
        if len(visit) < take:
            missing = take - len(visit)
            order = raw(size, cycle).tolist()
            cycle += 1
            new = [number for number in order if number not in visit][:missing]
            left = [number for number in order if number not in new]
            visit += new
        found.append(visit)
    return found


@given(st.integers(1, 12), st.data())
@settings(max_examples=200, deadline=None)
def test_any_stretch_is_that_of_the_slow_way(size: int, data: st.DataObject) -> None:
    take = data.draw(st.integers(1, size))
    first = data.draw(st.integers(0, 40))
    last = data.draw(st.integers(first, 45))
    numbers, turns = visits(
        size, take, first=first, last=last, permutation=lambda cycle: raw(size, cycle)
    )
    every = slow(size, take, last)
    assert numbers.tolist() == every[first:]
    before: Counter[int] = Counter()
    for visit, row in enumerate(every):
        assert len(set(row)) == take
        if visit >= first:
            assert turns[visit - first].tolist() == [before[number] for number in row]
        before.update(row)
    counts = [before[number] for number in range(size)]
    assert max(counts) - min(counts) <= 1, "no number is ever two ahead"


@given(
    st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=6), min_size=1, max_size=7),
    st.integers(1, 4),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_every_batch_has_what_it_should(classes: Objects, epoch: int, data: st.DataObject) -> None:
    manifest = table(classes)
    many = data.draw(st.integers(1, len(classes)))
    each = data.draw(st.integers(1, max(sum(objects) for objects in classes)))
    seed = data.draw(st.integers(0, 3))
    one = plan(manifest, many, each, seed)
    batches = named(manifest, one, epoch)
    assert len(batches) == len(one) == max(1, len(manifest) // (many * each))
    for batch in batches:
        parts = [batch[start : start + each] for start in range(0, len(batch), each)]
        assert len(parts) == many
        assert len({part[0][0] for part in parts}) == many
        for part in parts:
            assert len({name[0] for name in part}) == 1
            objects = classes["abcdefghij".index(part[0][0])]
            shown = {name.rpartition("_")[0] for name in part}
            assert len(shown) == min(each, len(objects))
            assert len(set(part)) == min(each, sum(objects))
            counts = Counter(part).values()
            assert len(part) != len(set(part)) or max(counts) == 1
            assert max(counts) == -(-each // sum(objects))
    order = np.random.default_rng(seed).permutation(len(manifest))
    moved = manifest.select(order)
    assert named(moved, plan(moved, many, each, seed), epoch) == batches


def test_classes_of_all_sizes_come_equally_often_whatever_the_epochs() -> None:
    manifest = table([[1], [3, 2], [9, 9, 9], [4], [1, 1], [12, 1], [2, 2]])
    one = plan(manifest, 3, 2)
    seen: Counter[str] = Counter()
    for epoch in range(1, 9):
        for batch in named(manifest, one, epoch):
            seen.update(name[0] for name in batch[::2])
            assert max(seen.values()) - min(seen[name] for name in "abcdefg") <= 1
    assert sum(seen.values()) == 8 * 3 * len(one)


@pytest.mark.parametrize("objects", [[30], [1] * 30, [10, 20], [3] * 10, [25, 1, 4], [2] * 15])
@pytest.mark.parametrize("each", [1, 3, 4, 7])
def test_a_large_class_is_seen_wholly(objects: list[int], each: int) -> None:
    manifest = table([objects, [1, 1]])
    one = plan(manifest, 2, each)
    seen: Counter[str] = Counter()
    for epoch in range(1, 41):
        for batch in named(manifest, one, epoch):
            seen.update(name for name in batch if name[0] == "a")
    assert len(seen) == 30
    if len(objects) == 1 or set(objects) == {1}:
        assert max(seen.values()) - min(seen.values()) <= 1, "pictures take turns exactly"


def test_objects_take_turns_whatever_their_sizes() -> None:
    manifest = table([[1, 2, 5, 9, 3], [4]])
    one = plan(manifest, 2, 2)
    objects: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    for epoch in range(1, 31):
        for batch in named(manifest, one, epoch):
            objects.update(name.partition("_")[0] for name in batch if name[0] == "a")
            pictures.update(name for name in batch if name[0] == "a")
    assert max(objects.values()) - min(objects.values()) <= 1
    for number in range(5):
        counts = [pictures[name] for name in pictures if name.startswith(f"a/{number}_")]
        assert max(counts) - min(counts) <= 1


def test_room_for_more_pictures_is_shared_as_the_objects_allow() -> None:
    # Six slots, objects of 1, 2 and 9 pictures: all of the small ones, three of the large one.
    manifest = table([[1, 2, 9], [6]])
    for batch in named(manifest, plan(manifest, 2, 6), 3):
        part = Counter(name.partition("_")[0] for name in batch if name[0] == "a")
        assert part == {"a/0": 1, "a/1": 2, "a/2": 3}


def test_combinations_change() -> None:
    manifest = table([[1] * 8, [8], [4, 4]])
    one = plan(manifest, 3, 4)
    for letter in "abc":
        found = {
            frozenset(name for name in batch if name[0] == letter)
            for epoch in range(1, 21)
            for batch in named(manifest, one, epoch)
        }
        assert len(found) > 15


def test_seeds_differ_and_rows_without_label_are_in_no_batch() -> None:
    manifest = table([[3, 3], [3, 3], [3, 3]])
    assert named(manifest, plan(manifest, 2, 2), 1) != named(manifest, plan(manifest, 2, 2, 1), 1)
    assert named(manifest, plan(manifest, 2, 2), 1) != named(manifest, plan(manifest, 2, 2), 2)
    labels = [str(name)[0].replace("b", "") for name in manifest.id]
    part = Manifest.build(Path("pictures"), id=manifest.id, path=manifest.id, label=labels)
    one = plan(part, 2, 3)
    assert len(one) == 2
    assert {name[0] for batch in named(part, one, 1) for name in batch} == {"a", "c"}


def test_a_batch_larger_than_the_data_is_one_batch() -> None:
    manifest = table([[2], [1], [6]])
    one = plan(manifest, 3, 5)
    assert len(one) == 1
    assert one.repeating == ("a", "b")
    assert Counter(named(manifest, one, 1)[0])["b/0_0.png"] == 5
    assert plan(manifest, 3, 1).repeating == ()


def test_what_cannot_be_is_refused_with_what_can() -> None:
    manifest = table([[2, 2], [3]])
    with pytest.raises(ConfigError, match=r"set sampler\.classes_per_batch=2 or lower"):
        plan(manifest, 3, 2)
    with pytest.raises(ConfigError, match=r"at most 4, the pictures of a[\s\S]*=4 or lower"):
        plan(manifest, 2, 5)
    plan(manifest, 2, 4)


@pytest.mark.parametrize(("count", "whole"), [(1, True), (2, True), (4, True), (3, False)])
def test_processes_share_a_batch(count: int, whole: bool) -> None:
    manifest = table([[4, 4]] * 6)
    one = plan(manifest, 4, 3)
    for batch in one.batches(2):
        parts = [one.share(batch, rank, count) for rank in range(count)]
        assert sorted(np.concatenate(parts)) == sorted(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for part in parts:
            sizes = Counter(manifest.label.codes[part].tolist()).values()
            assert not whole or set(sizes) == {3}


def test_many_classes_are_planned_wholly() -> None:
    ids = [f"{label:04d}_{picture}" for label in range(900) for picture in range(10)]
    many = Manifest.build(Path("p"), id=ids, path=ids, label=[name[:4] for name in ids])
    one = plan(many, 50, 4)
    rows = np.concatenate(one.batches(5))
    assert len(rows) == 45 * 200
    assert len(np.unique(many.label.codes[rows])) == 900


def old_order(ids: list[str], seed: int, epoch: int) -> list[int]:
    by_id = sorted(range(len(ids)), key=lambda row: ids[row])
    shuffled = generator(seed, epoch, "order of the epoch").permutation(len(ids))
    return [by_id[place] for place in shuffled]


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 6, 7, 10, 11, 23])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_plain_plans_cut_every_row_once(rows: int, processes: int) -> None:
    ids = [f"{row * 7 % 29:02d}" for row in range(rows)]
    shuffled = ShuffledPlan(
        Manifest.build(Path("p"), id=ids, path=ids).id, batch_size=5, seed=2, processes=processes
    )
    ordered = SequentialPlan(rows, batch_size=5, processes=processes)
    for one, least in ((shuffled, 2 * processes), (ordered, processes)):
        sizes = [5] * (rows // 5) + ([rows % 5] if rows % 5 else [])
        if len(sizes) > 1 and sizes[-1] < least:
            sizes[-2:] = [sizes[-2] + sizes[-1]]
        assert [len(batch) for batch in one.batches(3)] == sizes
        assert len(one) == len(sizes)
        order = old_order(ids, 2, 3) if one is shuffled else list(range(rows))
        assert [row for batch in one.batches(3) for row in batch.tolist()] == order


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    root = tmp_path_factory.mktemp("pictures")
    manifest = table([[3, 2], [1], [2, 2, 2], [4]], root)
    for row in range(len(manifest)):
        manifest.file(row).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(manifest.file(row))
    return Images(manifest, 16)


def loader(images: Images, preset: str | None = "strong", **options: Any) -> ImageLoader:
    return ImageLoader(
        images,
        size=12,
        batch_size=999,
        augment=PRESETS[preset] if preset else None,
        seed=3,
        plan=plan(images.manifest, 2, 3),
        **options,
    )


def test_batches_are_those_of_the_plan_and_can_be_resumed(images: Images) -> None:
    expected = named(images.manifest, plan(images.manifest, 2, 3), 4)
    whole = list(loader(images).batches(4))
    assert len(loader(images)) == len(whole) == 2
    assert [batch.ids for batch in whole] == expected
    assert [batch.ids for batch in loader(images, None).batches(4)] == expected
    for workers in (0, 1):
        rest = list(loader(images, workers=workers).batches(4, start=1))
        assert len(rest) == 1
        assert torch.equal(rest[0].images, whole[1].images)


def test_a_picture_that_comes_again_in_an_epoch_is_another_view(images: Images) -> None:
    repeated = 0
    for epoch in range(1, 5):
        views: dict[str, list[bytes]] = {}
        for batch in loader(images).batches(epoch):
            for name, image in zip(batch.ids, batch.images, strict=True):
                views.setdefault(name, []).append(image.contiguous().numpy().tobytes())
        for found in views.values():
            repeated += len(found) > 1
            assert len(set(found)) == len(found)
        plain = ImageLoader(images, size=12, batch_size=5, augment=PRESETS["strong"], seed=3)
        for batch in plain.batches(epoch):
            for name, image in zip(batch.ids, batch.images, strict=True):
                if name in views:
                    assert image.contiguous().numpy().tobytes() == views[name][0]
    assert repeated


@pytest.mark.parametrize("count", [2, 3])
def test_processes_see_the_views_of_one(images: Images, count: int) -> None:
    for number, whole in enumerate(loader(images).batches(2)):
        found = []
        for rank in range(count):
            part = list(loader(images, shard=Shard(rank, count)).batches(2))[number]
            found += [
                (name, image.sum().item())
                for name, image in zip(part.ids, part.images, strict=True)
            ]
        expected = [
            (name, image.sum().item()) for name, image in zip(whole.ids, whole.images, strict=True)
        ]
        assert sorted(found) == sorted(expected)
