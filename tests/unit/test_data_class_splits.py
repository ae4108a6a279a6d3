"""Splits of whole classes: validation and test have classes that training never sees."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.data.class_splits import assign_class_splits
from sightline.data.dataset import prepare_dataset
from sightline.data.lint import check
from sightline.data.manifest import Manifest
from sightline.data.retrieval_settings import RetrievalDataConfig
from sightline.errors import ConfigError, DataError


def table(sizes: dict[str, int], **columns: Any) -> Manifest:
    ids = [f"{label}/{row:03d}" for label, count in sizes.items() for row in range(count)]
    labels = [name.partition("/")[0] for name in ids]
    return Manifest.build(Path("photos"), id=ids, path=ids, label=labels, **columns)


def divided(
    manifest: Manifest, *, test: float = 0.2, val: float = 0.2, seed: int = 0
) -> tuple[dict[str, set[str]], Manifest, list[str]]:
    """The classes of each split, the manifest, the notes."""
    result, notes = assign_class_splits(manifest, test_fraction=test, val_fraction=val, seed=seed)
    classes: dict[str, set[str]] = {}
    for row in range(len(result)):
        classes.setdefault(result.split_text(row), set()).add(result.label.text(row))
    return classes, result, notes


@given(
    sizes=st.lists(st.integers(1, 12), min_size=6, max_size=25),
    seed=st.integers(0, 9),
    shares=st.sampled_from([(0.15, 0.15), (0.3, 0.2), (0.0, 0.3), (0.4, 0.0)]),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=150, deadline=None)
def test_classes_are_whole_and_shares_are_met(
    sizes: list[int], seed: int, shares: tuple[float, float], shuffle: Any
) -> None:
    named = {f"class {number:02d}": size for number, size in enumerate(sizes)}
    manifest = table(named)
    wanted = 2 * (1 + sum(share > 0 for share in shares))
    usable = sum(size >= 2 for size in sizes)
    if usable < wanted - 2 or len(sizes) < wanted:
        with pytest.raises(DataError, match="too few classes"):
            divided(manifest, test=shares[0], val=shares[1], seed=seed)
        return
    classes, result, notes = divided(manifest, test=shares[0], val=shares[1], seed=seed)
    splits = {"fit"} | {name for name, share in zip(("test", "val"), shares, strict=True) if share}
    assert set(classes) == splits
    assert sum(map(len, classes.values())) == len(sizes), "no class is in two splits"
    for split, share in zip(("test", "val"), shares, strict=True):
        if not share:
            continue
        assert len(classes[split]) >= 2
        assert all(named[name] >= 2 for name in classes[split])
        pictures, goal = sum(named[name] for name in classes[split]), share * sum(sizes)
        if len(classes[split]) > 2:
            assert pictures <= goal + max(sizes) / 2
    assert len(classes["fit"]) >= 2
    single = sum(size == 1 for size in sizes)
    assert (f"{single} classes have a single picture" in " ".join(notes)) == bool(single)
    order = list(range(len(manifest)))
    shuffle.shuffle(order)
    _, moved, _ = divided(manifest.select(order), test=shares[0], val=shares[1], seed=seed)
    assert moved.split.tolist() == result.split[order].tolist()


def test_of_many_classes_the_shares_are_near_and_seeds_differ() -> None:
    manifest = table({f"{number:03d}": 2 + number % 7 for number in range(100)})
    chosen = set()
    for seed in range(5):
        classes, result, notes = divided(manifest, test=0.15, val=0.25, seed=seed)
        counts = Counter(result.split_text(row) for row in range(len(result)))
        assert counts["test"] / len(result) == pytest.approx(0.15, abs=0.015)
        assert counts["val"] / len(result) == pytest.approx(0.25, abs=0.015)
        assert notes == []
        chosen.add(frozenset(classes["test"]))
    assert len(chosen) == 5


def test_a_class_that_is_added_moves_few_others() -> None:
    sizes = {f"{number:03d}": 4 for number in range(60)}
    before, _, _ = divided(table(sizes))
    after, _, _ = divided(table({**sizes, "zzz": 4}))
    assert len(before["test"] ^ after["test"]) <= 3


def test_six_classes_are_enough_and_five_are_not() -> None:
    classes, _, _ = divided(table(dict.fromkeys("abcdef", 2)))
    assert {split: len(names) for split, names in classes.items()} == {
        "fit": 2,
        "val": 2,
        "test": 2,
    }
    with pytest.raises(DataError, match=r"5 classes, of which 5[\s\S]*data\.split_by=object"):
        divided(table(dict.fromkeys("abcde", 2)))
    divided(table(dict.fromkeys("abcde", 2)), test=0)
    # Classes with one picture may be trained on: nothing of them is asked for.
    classes, _, notes = divided(table({**dict.fromkeys("abcd", 3), "e": 1, "f": 1}))
    assert classes["fit"] == {"e", "f"}
    assert notes == ["2 classes have a single picture and can only be trained on: e, f."]
    with pytest.raises(DataError, match="6 classes, of which 3 have 2 pictures"):
        divided(table({**dict.fromkeys("abc", 3), "e": 1, "f": 1, "g": 1}))


def test_a_large_share_leaves_classes_for_the_next_split() -> None:
    sizes = {**dict.fromkeys("abcd", 2), **{f"single {number}": 1 for number in range(20)}}
    for seed in range(5):
        classes, _, _ = divided(table(sizes), test=0.4, val=0.4, seed=seed)
        assert len(classes["test"]) == len(classes["val"]) == 2


def test_a_huge_class_does_not_burst_a_split() -> None:
    sizes = {"huge": 500, **{f"{number:02d}": 5 for number in range(40)}}
    for seed in range(8):
        classes, _, _ = divided(table(sizes), test=0.1, val=0.1, seed=seed)
        assert "huge" in classes["fit"]


def test_classes_that_share_an_object_are_in_one_split() -> None:
    sizes = dict.fromkeys("abcdefghij", 4)
    group = [""] * 40
    group[0] = group[4] = "a and b"
    group[7] = group[8] = "b and c"
    for seed in range(6):
        classes, result, notes = divided(table(sizes, group=group), seed=seed)
        assert any({"a", "b", "c"} <= names for names in classes.values())
        assert "Classes that share objects or files are in one split: a + b + c." in notes
        assert len({result.split_text(row) for row in (0, 4, 7, 8)}) == 1
    with pytest.raises(DataError, match="no object of another class"):
        divided(table(dict.fromkeys("abcdef", 4), group=["all", "", "", ""] * 6))


def test_given_splits_stay_and_validation_is_of_the_classes_of_train() -> None:
    sizes = dict.fromkeys("abcdefgh", 5)
    split = ["train"] * 30 + ["test"] * 5 + ["query"] * 2 + ["gallery"] * 3
    classes, result, notes = divided(table(sizes, split=split))
    assert classes["test"] == {"g"}
    assert classes["query"] == classes["gallery"] == {"h"}
    assert len(classes["val"]) >= 2
    assert classes["val"] | classes["fit"] == set("abcdef")
    assert not classes["val"] & classes["fit"]
    assert notes == []
    kept = ["val" if name == "query" else name for name in split]
    kept[0] = "test"
    classes, result, notes = divided(table(sizes, split=kept))
    assert classes["val"] == {"h"}
    assert result.split_text(0) == "test"
    assert notes == ["1 classes of test are in training too, as the data divides them: a."]


def test_fractions_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave nothing"):
        divided(table(dict.fromkeys("abcdef", 5)), test=0.5, val=0.5)


def test_pictures_are_divided_by_object_or_by_class(tmp_path: Path) -> None:
    for row in range(70):
        file = tmp_path / "photos" / "abcdefg"[row % 7] / f"{row:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(row).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    datasets = {}
    for split_by in ("object", "class"):
        values = {"root": str(tmp_path / "photos"), "min_image_size": 8, "split_by": split_by}
        section = RetrievalDataConfig.model_validate_json(json.dumps(values))
        dataset = datasets[split_by] = prepare_dataset(section, seed=0)
        assert dataset.class_names == tuple("abcdefg")
        fit, val, test = (
            set(dataset.part(name).label.codes.tolist()) for name in ("fit", "val", "test")
        )
        if split_by == "object":
            assert fit == val == test == set(range(7))
        else:
            assert fit | val | test == set(range(7))
            assert len(fit) + len(val) + len(test) == 7
    report = check(datasets["class"].manifest, workers=0, near_duplicates=False, open_set=True)
    assert report.exit_code == 0
    assert [f.severity for f in report.findings if f.kind == "label_unseen_in_training"] == ["info"]
