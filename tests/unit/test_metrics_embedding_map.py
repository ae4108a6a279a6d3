from __future__ import annotations

import numpy as np

from sightline.metrics.embedding_map import MOST_POINTS, embedding_map


def clusters(each: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    vectors = np.eye(classes, 8)[labels] + random.normal(scale=0.05, size=(len(labels), 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_near_embeddings_are_near_on_the_map_and_it_is_the_same_twice() -> None:
    vectors, labels = clusters(20)
    ids = [f"picture {n}" for n in range(len(vectors))]
    first, second = (embedding_map(vectors, ids, seed=3) for _ in range(2))
    assert np.array_equal(first["map"], second["map"])
    assert first["map_ids"].tolist() == ids
    places = first["map"]
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (labels[apart.argmin(axis=1)] == labels).mean() > 0.95


def test_of_many_a_random_choice_is_shown() -> None:
    vectors, _ = clusters(350)
    ids = [str(n) for n in range(len(vectors))]
    found = embedding_map(vectors, ids, seed=0)
    assert found["map"].shape == (MOST_POINTS, 2)
    chosen = found["map_ids"].tolist()
    assert len(set(chosen)) == MOST_POINTS
    assert chosen != ids[:MOST_POINTS]


def test_too_few_have_no_map_and_equal_ones_are_one_point() -> None:
    vectors, _ = clusters(1)
    assert embedding_map(vectors, ["a", "b", "c"]) == {}
    equal = np.tile(np.float32([1, 0]), (8, 1))
    assert not embedding_map(equal, list("abcdefgh"))["map"].any()
