from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)
from sklearn.metrics import confusion_matrix as reference_confusion

from sightline.errors import DataError
from sightline.metrics import classification as scores


def draw(seed: int, *, n: int, classes: int, skill: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.integers(classes, size=n)
    guesses = generator.integers(classes, size=n)
    return targets, np.where(generator.random(n) < skill, targets, guesses)


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (7, 5), (40, 30), (500, 17)])
def test_every_score_agrees_with_scikit_learn(n: int, classes: int) -> None:
    targets, predictions = draw(n, n=n, classes=classes, skill=0.6)
    matrix = scores.confusion_matrix(targets, predictions, classes)
    labels = list(range(classes))
    result = scores.classification_scores(matrix)
    p, r, f, support = precision_recall_fscore_support(
        targets, predictions, labels=labels, zero_division=0.0
    )

    np.testing.assert_array_equal(matrix, reference_confusion(targets, predictions, labels=labels))
    assert result.accuracy == pytest.approx(accuracy_score(targets, predictions))
    present = np.unique(targets)
    assert result.macro_f1 == pytest.approx(
        f1_score(targets, predictions, labels=present, average="macro", zero_division=0.0)
    )
    np.testing.assert_allclose(result.precision, p)
    np.testing.assert_allclose(result.recall, r)
    np.testing.assert_allclose(result.f1, f)
    np.testing.assert_array_equal(result.support, support)
    assert result.n == n


def test_a_class_without_images_is_left_out_and_named() -> None:
    matrix = scores.confusion_matrix([0, 0, 1], [0, 2, 1], 4)

    assert scores.absent_classes(matrix) == [2, 3]
    # Class 0: precision 1, recall 1/2 -> 2/3; class 1: 1. Class 2 was only ever guessed.
    assert float(scores.macro_f1(matrix)) == pytest.approx((2 / 3 + 1) / 2)


def test_a_class_that_is_never_predicted_scores_zero_and_counts() -> None:
    matrix = scores.confusion_matrix([0, 1], [0, 0], 2)

    assert scores.f1(matrix).tolist() == pytest.approx([2 / 3, 0.0])
    assert scores.precision(matrix).tolist() == [0.5, 0.0]
    assert float(scores.macro_f1(matrix)) == pytest.approx(1 / 3)


def test_scores_of_a_stack_are_those_of_each_matrix() -> None:
    stack = np.random.default_rng(0).integers(0, 9, size=(3, 2, 4, 4))
    for score in (scores.accuracy, scores.macro_f1, scores.f1, scores.recall, scores.precision):
        np.testing.assert_array_equal(score(stack)[1, 1], score(stack[1, 1]))


@given(st.data())
def test_scores_ignore_the_order_of_images_and_the_numbering_of_classes(
    data: st.DataObject,
) -> None:
    classes = data.draw(st.integers(2, 6))
    code = st.integers(0, classes - 1)
    pairs = data.draw(st.lists(st.tuples(code, code), min_size=1, max_size=30))
    renamed = data.draw(st.permutations(range(classes)))
    shuffled = data.draw(st.permutations(pairs))

    first = scores.classification_scores(
        scores.confusion_matrix([t for t, _ in pairs], [p for _, p in pairs], classes)
    )
    second = scores.classification_scores(
        scores.confusion_matrix(
            [renamed[t] for t, _ in shuffled], [renamed[p] for _, p in shuffled], classes
        )
    )

    assert first.accuracy == second.accuracy
    assert first.macro_f1 == pytest.approx(second.macro_f1)
    np.testing.assert_array_equal(first.f1, second.f1[renamed])


def test_a_perfect_classifier_scores_one_and_a_guesser_chance() -> None:
    targets, guesses = draw(1, n=20_000, classes=4, skill=0.0)
    perfect = scores.classification_scores(scores.confusion_matrix(targets, targets, 4))
    chance = scores.classification_scores(scores.confusion_matrix(targets, guesses, 4))

    assert perfect.accuracy == perfect.macro_f1 == 1.0
    assert chance.accuracy == pytest.approx(0.25, abs=0.02)
    assert chance.macro_f1 == pytest.approx(0.25, abs=0.02)


def test_no_images_score_nan() -> None:
    result = scores.classification_scores(scores.confusion_matrix([], [], 3))

    assert math.isnan(result.accuracy)
    assert math.isnan(result.macro_f1)
    assert result.recall.tolist() == [0.0, 0.0, 0.0]
    assert result.n == 0


def test_per_class_rows_are_plain_data() -> None:
    result = scores.classification_scores(scores.confusion_matrix([0, 1, 1], [0, 1, 0], 2))

    assert result.per_class(["cat", "dog"]) == [
        {"name": "cat", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        {"name": "dog", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
    ]
    assert type(result.per_class(["cat", "dog"])[0]["support"]) is int
    with pytest.raises(ValueError, match="zip"):
        result.per_class(["cat"])


def test_cross_entropy_agrees_with_scikit_learn_and_survives_large_logits() -> None:
    generator = np.random.default_rng(3)
    logits, targets = generator.normal(size=(50, 6)) * 4, generator.integers(6, size=50)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    assert scores.mean_cross_entropy(logits, targets) == pytest.approx(
        log_loss(targets, chances, labels=range(6))
    )
    assert scores.mean_cross_entropy([[1e4, 0.0]], [0]) == 0.0
    assert scores.mean_cross_entropy([[1e4, 0.0]], [1]) == 1e4
    assert math.isnan(scores.mean_cross_entropy(np.zeros((0, 3)), []))


@pytest.mark.parametrize(
    ("targets", "predictions", "words"),
    [
        ([0, 1], [0], "do not belong together"),
        ([0, 3], [0, 1], "targets hold a class"),
        ([0, 1], [0, -1], "predictions hold a class"),
        ([0.5, 1.0], [0, 1], "no list of class indices"),
    ],
)
def test_wrong_input_is_an_error_that_says_where(
    targets: list[float], predictions: list[int], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        scores.confusion_matrix(targets, predictions, 3)


def test_wrong_logits_are_errors() -> None:
    with pytest.raises(DataError, match="no table"):
        scores.mean_cross_entropy([0.0, 1.0], [0])
    with pytest.raises(DataError, match="do not belong together"):
        scores.mean_cross_entropy([[0.0, 1.0]], [0, 1])
