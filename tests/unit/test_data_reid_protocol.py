"""Who asks for whom, against a slow reference, and what `check` says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.data.findings import Finding
from sightline.data.identity_checks import as_one_gallery, identity_findings
from sightline.data.manifest import Manifest
from sightline.data.reid_protocol import (
    HAS_MATCH,
    NOT_IN_GALLERY,
    SAME_CAMERA_ONLY,
    reid_protocol,
    require_answerable,
)
from sightline.data.reid_rows import Remark
from sightline.data.reid_splits import assign_identity_splits
from sightline.errors import DataError


def table(*rows: str) -> Manifest:
    """Samples from texts such as `query a 1`: split, identity and camera; - for none."""
    columns = [["" if cell == "-" else cell for cell in row.split()] for row in rows]
    split, label, camera = zip(*columns, strict=True)
    names = [f"{number}.png" for number in range(len(rows))]
    return Manifest.build(
        Path("photos"), id=names, path=names, label=label, camera=camera, split=list(split)
    )


def slow_reasons(samples: Manifest, split: str, *, filters: bool) -> list[int]:
    """Pair by pair, as the protocol is told."""
    texts = [samples.split_text(row) for row in range(len(samples))]
    has_query = split == "test" and ("query" in texts or "gallery" in texts)
    asks, shown = ("query", "gallery") if has_query else (split, split)
    result = []
    for query in range(len(samples)):
        if texts[query] != asks:
            continue
        same = [
            row
            for row in range(len(samples))
            if texts[row] == shown
            and row != query
            and samples.label.text(row) == samples.label.text(query) != ""
        ]
        seen = [
            row for row in same
            if not filters or samples.camera.text(row) != samples.camera.text(query)
        ]  # fmt: skip
        result.append(HAS_MATCH if seen else SAME_CAMERA_ONLY if same else NOT_IN_GALLERY)
    return result


cells = st.tuples(
    st.sampled_from(["train", "val", "test", "query", "gallery"]),
    st.sampled_from(["a", "b", "c", "d", "-"]),
    st.sampled_from(["1", "2", "3"]),
)


@settings(deadline=None)
@given(st.lists(cells, min_size=1, max_size=25), st.sampled_from(["test", "val"]), st.booleans())
def test_reasons_are_those_of_the_slow_reference(
    rows: list[tuple[str, str, str]], split: str, keeps: bool
) -> None:
    samples = table(*(" ".join(row) for row in rows))
    splits = {row[0] for row in rows}
    if split == "test" and len(splits & {"query", "gallery"}) == 1:
        with pytest.raises(DataError, match="There is a"):
            reid_protocol(samples, split, same_camera="auto")
        return
    found = reid_protocol(samples, split, same_camera="keep" if keeps else "auto")
    assert found.reasons.tolist() == slow_reasons(samples, split, filters=not keeps)
    assert found.matched == found.reasons.tolist().count(HAS_MATCH)
    if len(found.queries):
        assert found.filters_camera is not keeps
    assert found.own_gallery == (found.queries.tolist() == found.gallery.tolist())


MARKET = ("train x 1", "query a 1", "query b 1", "query c 2", "gallery a 2", "gallery a 1",
          "gallery b 1", "gallery z 1")  # fmt: skip


def test_query_and_gallery_are_the_test() -> None:
    found = reid_protocol(table(*MARKET), "test", same_camera="auto")
    assert found.queries.tolist() == [1, 2, 3]
    assert found.gallery.tolist() == [4, 5, 6, 7]
    assert (found.own_gallery, found.filters_camera) == (False, True)
    assert found.reasons.tolist() == [HAS_MATCH, SAME_CAMERA_ONLY, NOT_IN_GALLERY]
    assert found.said == (
        "3 pictures of query (3 identities) ask for 4 pictures of gallery; pictures of the same "
        "identity by the same camera are dropped (2 cameras); 1 of 3 have a match by another camera"
    )
    kept = reid_protocol(table(*MARKET), "test", same_camera="keep")
    assert kept.reasons.tolist() == [HAS_MATCH, HAS_MATCH, NOT_IN_GALLERY]
    assert "nothing is dropped, whatever camera took it (eval.same_camera=keep)" in kept.said


def test_without_query_each_picture_asks_for_the_others() -> None:
    rows = ("test a -", "test a -", "test b -", "train c -")
    found = reid_protocol(table(*rows), "test", same_camera="auto")
    assert (found.own_gallery, found.filters_camera, found.matched) == (True, False, 2)
    assert found.said.startswith(
        "each of the 3 pictures of test asks for the others of test; no cameras are known, so only "
        "the picture itself is dropped (data.camera_pattern=REGEX"
    )


def test_with_some_cameras_unknown_auto_keeps_and_filter_refuses() -> None:
    rows = table("val a 1", "val a -", "val b 2", "test c -")
    found = reid_protocol(rows, "val", same_camera="auto")
    assert not found.filters_camera
    assert "the camera of 1 pictures is unknown" in found.said
    with pytest.raises(DataError, match="1 of 3 have none") as caught:
        reid_protocol(rows, "val", same_camera="filter")
    assert caught.value.got == "1.png"
    assert "eval.same_camera=keep" in str(caught.value.remedy)


def test_an_empty_split_has_no_queries() -> None:
    found = reid_protocol(table("train a 1", "train b 1"), "val", same_camera="filter")
    assert (len(found.queries), found.matched, found.filters_camera) == (0, 0, False)


@pytest.mark.parametrize(
    ("rows", "remedy"),
    [
        (("val a 1", "val a 1", "val b 1"), "seen by one camera: let their"),
        (("val a 1", "val a 1", "val b 2"), "seen by one camera each: let their"),
        (("val a 1", "val b 2"), "every identity has a single picture"),
        (("train a 1", "train b 2"), "give some identities to the split"),
    ],
)
def test_where_nothing_can_be_found_the_protocol_that_would_work_is_named(
    rows: tuple[str, ...], remedy: str
) -> None:
    samples = table(*rows)
    with pytest.raises(DataError, match="Nothing can be found") as caught:
        require_answerable(samples, reid_protocol(samples, "val", same_camera="auto"))
    assert remedy in str(caught.value.remedy)


def test_a_query_of_other_identities_than_the_gallery() -> None:
    samples = table("query a 1", "gallery A 2")
    with pytest.raises(DataError, match="Nothing can be found") as caught:
        require_answerable(samples, reid_protocol(samples, "test", same_camera="auto"))
    assert "query and gallery are written differently" in str(caught.value.remedy)
    samples = table("query a 1", "query b 1", "gallery a 2")
    require_answerable(samples, reid_protocol(samples, "test", same_camera="auto"))


# --- splits --------------------------------------------------------------------------------------


def divide(samples: Manifest, seed: int = 0, **shares: float) -> tuple[Manifest, list[str]]:
    shares = {"test_fraction": 0.2, "val_fraction": 0.2} | shares
    return assign_identity_splits(samples, seed=seed, **shares)


def members(manifest: Manifest, *splits: str) -> set[str]:
    return {manifest.label.text(int(row)) for row in manifest.rows(*splits)}


def test_val_is_carved_whole_from_train_where_it_can_be_found() -> None:
    rows = [f"train {name} {camera}" for name in "abcdefgh" for camera in (1, 2)]
    rows += [f"train {name} 1" for name in "uvw" for _ in range(3)] + ["train y 1"]
    rows += ["query q 1", "gallery q 2"]
    for seed in range(8):
        divided, notes = divide(table(*rows), seed=seed, val_fraction=0.3)
        assert not members(divided, "val") & members(divided, "fit")
        assert members(divided, "val") <= set("abcdefgh")
        assert len(members(divided, "val")) >= 2
        assert members(divided, "query") == {"q"}
        assert not len(divided.rows("test"))
        assert notes == [
            "3 identities are seen by one camera only and stay in training, because under the "
            "camera rule they could not be found: u, v, w.",
            "1 identities have a single picture and can only be trained on: y.",
        ]


def test_without_any_split_a_test_is_carved_too() -> None:
    rows = [f"- {name} -" for name in "abcdefghij" for _ in range(3)]
    divided, notes = divide(table(*rows))
    parts = [members(divided, split) for split in ("fit", "val", "test")]
    assert [len(part) for part in parts] == [6, 2, 2]
    assert set.union(*parts) == set("abcdefghij")
    assert notes == []


def test_where_too_few_have_a_second_camera_all_may_leave() -> None:
    rows = [f"train {name} {name}" for name in "abcdef" for _ in range(2)] + ["train a 2"]
    divided, notes = divide(table(*rows), val_fraction=0.3)
    assert len(members(divided, "val")) == 2
    assert notes[1].startswith("5 identities are seen by one camera only, and too few by two")


def test_too_few_identities_are_an_error() -> None:
    with pytest.raises(DataError, match="too few identities to carve a val") as caught:
        divide(table("train a 1", "train a 2", "train b 1", "train b 2"))
    assert "folders or a column of splits" in str(caught.value.remedy)
    assert "carve none with data.val_fraction=0" in str(caught.value.remedy)
    assert "test_fraction" not in str(caught.value.remedy)
    with pytest.raises(DataError, match="too few identities to carve a test") as caught:
        divide(table("- a 1", "- a 2", "- b 1", "- b 2"))
    assert "carve only one split with data.test_fraction=0" in str(caught.value.remedy)
    with pytest.raises(DataError, match="too few identities to carve a test") as caught:
        divide(table("- a 1", "- a 2", "- b 1", "- b 2"), val_fraction=0)
    assert "carve none with data.test_fraction=0" in str(caught.value.remedy)
    with pytest.raises(DataError, match="No sample of 2 is left to train on"):
        divide(table("query a 1", "gallery a 2"))


def test_identities_on_both_sides_are_named() -> None:
    rows = [f"train {name} {camera}" for name in "abcde" for camera in (1, 2)]
    _, notes = divide(table(*rows, "query a 1", "gallery a 2"), val_fraction=0)
    assert notes == ["1 identities of query are in training too, as the data divides them: a."]


# --- findings ------------------------------------------------------------------------------------


def findings(*rows: str, **options: Any) -> dict[str, Finding]:
    samples = table(*rows)
    same_camera = options.get("same_camera", "auto")
    found = identity_findings(samples, options.get("remarks", []), samples, same_camera=same_camera)
    result = {}
    for one in found:
        assert one.kind not in result
        result[one.kind] = one
    return result


def test_check_explains_the_protocol() -> None:
    found = findings(*MARKET)
    assert found["protocol"].what.startswith("protocol of test: 3 pictures of query (3 identities)")
    assert (found["protocol"].severity, found["protocol"].count) == ("info", 3)
    assert found["no_second_camera"].examples == ("b",)
    assert found["query_without_gallery"].examples == ("c",)
    assert "1 queries cannot be asked" in found["query_without_gallery"].what
    assert found["identity_with_one_picture"].examples == ("x",)
    assert (
        found["identity_counts"].what == "identities, 1 to 3 pictures each, seen by 1 to 2 cameras"
    )
    assert "no_camera" not in found


def test_a_remark_becomes_a_finding() -> None:
    remark = Remark("junk", 7, "7 pictures of identity -1 are left out.")
    found = findings(*MARKET, remarks=[remark])["junk"]
    assert (found.severity, found.count) == ("info", 7)
    assert found.what == "pictures of identity -1 are left out"


def test_one_picture_per_identity_is_an_error() -> None:
    found = findings("test a 1", "test b 2")
    assert found["nothing_to_find"].severity == "error"
    assert "single picture" in found["nothing_to_find"].remedy
    assert "single_picture_in_test" not in found
    assert "single_picture_in_test" in findings("test a 1", "test b 2", "test b 1")


def test_one_camera_in_all_is_an_error_until_it_may_count() -> None:
    rows = ("train z 1", "test a 1", "test a 1", "test b 1")
    assert "eval.same_camera=keep" in findings(*rows)["nothing_to_find"].remedy
    assert "nothing_to_find" not in findings(*rows, same_camera="keep")


def test_a_query_without_gallery_is_an_error() -> None:
    found = findings("train a 1", "query b 1")["protocol"]
    assert (found.severity, found.what) == (
        "error", "protocol of test: There is a query and no gallery.",
    )  # fmt: skip
    assert "or call the query test" in found.remedy
    unknown = findings("train a 1", "val b -", "val b 1", same_camera="filter")
    assert unknown["protocol"].severity == "error"
    assert unknown["unknown_camera"].count == 1


def test_identities_on_both_sides_and_pictures_without_one() -> None:
    found = findings("train a 1", "train - 1", "test a 1", "test a 2", "gallery - 1", "query a 2",
                     "gallery a 1")  # fmt: skip
    assert found["identity_learnt_and_judged"].examples == ("a",)
    assert found["no_identity"].severity == "error"
    assert found["no_identity"].examples == ("1.png", "4.png")


def test_a_remark_may_warn() -> None:
    remark = Remark("unread_test", 2, "2 pictures of test are read by nobody.", "warning")
    assert findings(*MARKET, remarks=[remark])["unread_test"].severity == "warning"


def test_one_camera_under_two_numbers_is_a_warning() -> None:
    rows = ("train a 01", "train a 1", "train b 1", "train b 2", "train b c1", "train c 002")
    found = findings(*rows)["camera_number_twice"]
    assert (found.severity, found.count) == ("warning", 2)
    assert found.examples == ("002, 2", "01, 1")
    assert "camera_number_twice" not in findings("train a 01", "train a 10", "train b c1")


def named(*ids: str) -> str:
    labels = [name.split("/")[0] for name in ids]
    samples = Manifest.build(Path("p"), id=ids, path=ids, label=labels)
    found = identity_findings(samples, [], samples, same_camera="auto")
    return next(one.remedy for one in found if one.kind == "no_camera")


def test_check_proposes_a_pattern_for_cameras() -> None:
    assert r"'[_/]c(\d+)' names 2 of them" in named("a/1_c1.png", "a/2_c2.png", "a/3_c2.png")
    assert "number after cam" in named("a/Cam_1_x.png", "a/cam_2_y.png", "a/cam_2_z.png")
    assert "file names begin with" in named("a/1_left.png", "a/1_right.png", "a/2_left.png")
    # Each picture has a number of its own, or each identity: neither is a camera.
    assert "REGEX" in named("a/1_x.png", "a/2_x.png", "b/3_x.png")
    assert "REGEX" in named("a/1_x.png", "a/1_y.png", "b/2_x.png")


def test_copies_in_query_and_gallery_are_no_leak_under_the_camera_rule() -> None:
    splits = [
        as_one_gallery(table(*MARKET), same_camera="auto").split_text(row) for row in range(8)
    ]
    assert splits == ["train"] + ["gallery"] * 7
    for rows, rule in ((MARKET, "keep"), (("query a 1",), "auto"), (("test a 1",), "auto")):
        samples = table(*rows)
        same = as_one_gallery(samples, same_camera=rule)
        assert np.array_equal(same.split, samples.split)
