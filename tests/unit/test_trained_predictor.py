"""How views and members become one answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sightline.data.manifest import Manifest
from sightline.metrics.calibrators import Temperature
from sightline.runs import RunFolder
from sightline.tasks import TASKS
from sightline.tasks.classify_config import ClassifyConfig
from sightline.trained.members import Member
from sightline.trained.predictor import Predictor

VIEWS = np.log([[[0.90, 0.07, 0.03]], [[0.15, 0.49, 0.36]], [[0.15, 0.49, 0.36]]])
"""Three views of one sample: the first is sure of class 0, the others lean to class 1."""


class KnownViews(Predictor):
    """Answers for one sample with the views above."""

    def _views(self, member: Member, samples: Manifest, open_images: Any) -> list[dict[str, Any]]:
        targets = np.zeros(1, np.int64)
        return [{"ids": ["a"], "logits": view, "targets": targets} for view in VIEWS]


def answer(temperature: float | None) -> np.ndarray[Any, Any]:
    run = RunFolder(Path("nowhere"), {})
    calibrator = None if temperature is None else Temperature(temperature)
    members = (Member(run, "best_model.pth", 1.0, calibrator),)
    predictor = KnownViews(run, ClassifyConfig(), TASKS["classify"], members)
    samples = Manifest.build(Path(), id=["a"], path=["a.png"])
    used, _ = predictor.answer(samples, lambda rows, config: None)  # type: ignore[arg-type, return-value]
    shares = np.exp(used["logits"][0])
    return np.asarray(shares / shares.sum())


def test_views_are_averaged_as_probabilities() -> None:
    np.testing.assert_allclose(answer(None), np.exp(VIEWS[:, 0]).mean(axis=0))


def test_a_temperature_leaves_the_answer_of_the_views_as_it_is() -> None:
    """Were each view sharpened before the mean, two views that lean would outvote a sure one."""
    views = np.exp(VIEWS[:, 0])
    sharpened = views**20 / (views**20).sum(axis=1, keepdims=True)
    assert sharpened.mean(axis=0).argmax() != answer(None).argmax(), "the case is a telling one"
    for temperature in (0.05, 0.5, 5.0):
        assert answer(temperature).argmax() == answer(None).argmax()
        mean = np.log(answer(None)) / temperature
        np.testing.assert_allclose(answer(temperature), np.exp(mean) / np.exp(mean).sum())
