"""Scores by pairs of cameras and histograms of distances against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sightline.errors import DataError
from sightline.metrics.camera_pairs import camera_pair_scores, distance_histograms
from sightline.metrics.ranking import RankingSettings
from sightline.metrics.reid import reid_scores
from sightline.metrics.same_camera import CameraRule, camera_rule


def problem(seed: int, *, q: int = 40, n: int = 90) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(q + n, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    return {
        "queries": vectors[:q],
        "gallery": vectors[q:],
        "labels": (random.integers(0, 7, q), random.integers(0, 6, n)),
        "cameras": (random.integers(-1, 4, q), random.integers(-1, 4, n)),
    }


def protocol_of(one: dict[str, Any], **more: Any) -> CameraRule:
    queries, gallery = one["cameras"]
    return camera_rule(*one["labels"], query_cameras=queries, gallery_cameras=gallery, **more)


@pytest.mark.parametrize("rule", ["filter", "keep"])
def test_pairs_are_scored_as_if_they_were_alone(rule: Any) -> None:
    one = problem(0)
    found = camera_pair_scores(one["queries"], one["gallery"], protocol_of(one, same_camera=rule))
    both = np.concatenate(one["cameras"]).tolist()
    assert sorted(found.cameras.tolist()) == [0, 1, 2, 3]
    counts = [both.count(camera) for camera in found.cameras.tolist()]
    assert counts == sorted(counts, reverse=True)
    for a, asked in enumerate(found.cameras):
        for b, held in enumerate(found.cameras):
            of, among = one["cameras"][0] == asked, one["cameras"][1] == held
            if rule == "filter" and asked == held:
                assert found.queries[a, b] == 0
                assert np.isnan([found.rank_1[a, b], found.average_precision[a, b]]).all()
                continue
            alone = camera_rule(one["labels"][0][of], one["labels"][1][among])
            scores = reid_scores(one["queries"][of], one["gallery"][among], alone)
            assert found.queries[a, b] == scores.matched.sum()
            assert found.rank_1[a, b] == pytest.approx(scores.mean("rank_1"))
            assert found.average_precision[a, b] == pytest.approx(scores.mean("average_precision"))


def test_only_the_cameras_of_most_pictures_are_scored() -> None:
    one = problem(1)
    whole = camera_pair_scores(one["queries"], one["gallery"], protocol_of(one))
    some = camera_pair_scores(one["queries"], one["gallery"], protocol_of(one), most=2)
    np.testing.assert_array_equal(some.cameras, whole.cameras[:2])
    np.testing.assert_array_equal(some.rank_1, whole.rank_1[:2, :2])
    np.testing.assert_array_equal(some.queries, whole.queries[:2, :2])


def test_a_camera_of_queries_or_gallery_alone_has_no_pairs_of_its_own() -> None:
    one = problem(2)
    one["cameras"] = np.where(np.arange(40) < 20, 0, 1), np.where(np.arange(90) < 50, 1, 2)
    found = camera_pair_scores(one["queries"], one["gallery"], protocol_of(one))
    at = {camera: place for place, camera in enumerate(found.cameras.tolist())}
    assert found.queries[:, at[0]].tolist() == [0, 0, 0]
    assert found.queries[at[2]].tolist() == [0, 0, 0]
    assert found.queries[at[0], at[1]] > 0


@pytest.mark.parametrize("memory", [0, 256])
def test_histograms_are_those_of_plain_loops(memory: int) -> None:
    one = problem(3)
    found = distance_histograms(
        one["queries"], one["gallery"], protocol_of(one), bins=20,
        settings=RankingSettings(memory_mib=memory),
    )  # fmt: skip
    np.testing.assert_allclose(found.edges, np.linspace(0, 2, 21))
    distances = np.linalg.norm(
        one["queries"][:, None].astype(np.float64) - one["gallery"][None], axis=2
    )
    same = one["labels"][0][:, None] == one["labels"][1]
    cameras = one["cameras"]
    by_one = same & (cameras[0][:, None] == cameras[1]) & (cameras[0][:, None] >= 0)
    for kind, counts in (
        (same & ~by_one, found.other_camera),
        (by_one, found.same_camera),
        (~same, found.other_identity),
    ):
        wanted = np.histogram(distances[kind], bins=20, range=(0, 2))[0]
        np.testing.assert_array_equal(counts, wanted)
        assert counts.sum() == kind.sum() > 0


def test_a_picture_and_itself_are_no_pair() -> None:
    one = problem(4, q=1)
    vectors, labels = one["gallery"], one["labels"][1]
    protocol = camera_rule(labels, labels, query_rows=np.arange(90))
    found = distance_histograms(vectors, vectors, protocol, bins=1000)
    pairs = (labels[:, None] == labels).sum() - 90
    assert found.other_camera.sum() == pairs
    assert found.same_camera.sum() == 0
    assert found.other_identity.sum() == 90 * 89 - pairs
    assert (found.other_camera + found.other_identity)[0] == 0


def test_opposite_and_equal_vectors_have_a_bin() -> None:
    ends = np.array([[1, 0], [-1, 0]], np.float32)
    found = distance_histograms(ends[:1], ends, camera_rule([0], [1, 2]), bins=4)
    assert found.other_identity.tolist() == [1, 0, 0, 1]


def test_wrong_input_is_refused() -> None:
    one = problem(5)
    plain = camera_rule(*one["labels"])
    with pytest.raises(DataError, match="no pairs of cameras"):
        camera_pair_scores(one["queries"], one["gallery"], plain)
    with pytest.raises(DataError, match="no unit vectors"):
        distance_histograms(one["queries"], 2 * one["gallery"], plain)
