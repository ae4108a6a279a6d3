"""AUROC by its name in the guide, single classes, and the two figures, drawn without a display."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.errors import DataError
from sightline.metrics import (
    compute_auroc,
    compute_auroc_per_class,
    plot_confusion_matrix,
    plot_roc_curve,
)

pytestmark = pytest.mark.phase_02


def test_auroc() -> None:
    # Of the six pairs (defect, normal) four are in order and one is a tie: 4.5 / 6.
    assert compute_auroc([0.1, 0.3, 0.5, 0.3, 0.9], [0, 0, 0, 1, 1]) == 4.5 / 6
    assert compute_auroc_per_class(
        [0.1, 0.3, 0.5, 0.3, 0.9], [0, 0, 0, 1, 2], ["good", "crack", "hole"]
    ) == {"crack": 1.5 / 3, "hole": 1.0}


def test_perfect() -> None:
    scores, labels = [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]
    assert compute_auroc(scores, labels) == 1
    assert compute_auroc([-one for one in scores], labels) == 0


def test_random() -> None:
    scores = np.random.default_rng(0).random(4000)
    labels = np.arange(4000) % 2
    assert compute_auroc(scores, labels) == pytest.approx(0.5, abs=0.0366)
    assert compute_auroc(np.ones(4000), labels) == 0.5


@pytest.mark.parametrize(
    ("label", "counts"), [(0, "3 normal and 0 anomalous"), (1, "0 normal and 3 anomalous")]
)
def test_single_class(label: int, counts: str) -> None:
    with pytest.warns(UserWarning, match=counts):
        value = compute_auroc([0.1, 0.2, 0.3], [label] * 3)
    assert math.isnan(value)
    with pytest.raises(DataError, match=counts):
        compute_auroc([0.1, 0.2, 0.3], [label] * 3, strict=True)


def test_plot_roc_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    file = Path("figures/roc.png")
    figure = plot_roc_curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], save_path=file)
    (axes,) = figure.axes
    points = {tuple(np.round(one, 6)) for line in axes.lines for one in line.get_xydata()}
    assert {(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)} <= points
    with Image.open(file) as drawn:
        assert drawn.format == "PNG"
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 2


def test_plot_confusion_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    file = Path("matrix.png")
    figure = plot_confusion_matrix([0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1], save_path=file)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts][:4] == ["1", "1", "1", "3"]
    with Image.open(file) as drawn:
        assert len(np.unique(np.asarray(drawn.convert("L")))) > 2
