"""`evaluate` on a model whose scores are known: basic, metrics, perfect, random."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sightline import Evaluation, evaluate

pytestmark = pytest.mark.phase_02


def loader_of(scores: torch.Tensor, labels: torch.Tensor) -> DataLoader[Any]:
    """Images (N, 3, 2, 2) whose brightness is the score."""
    images = scores[:, None, None, None].expand(-1, 3, 2, 2)
    return DataLoader(TensorDataset(images, labels), batch_size=16)


class Brightness(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(1, 2, 3))


def test_basic() -> None:
    scores, labels = torch.tensor([0.1, 0.2, 0.8, 0.3]), torch.tensor([0, 0, 1, 1])
    found = evaluate(Brightness(), loader_of(scores, labels), "cpu", threshold=0.5)
    assert isinstance(found, Evaluation)
    metrics, all_scores, all_labels, predictions = found
    np.testing.assert_allclose(all_scores, scores, rtol=1e-6)
    assert all_labels.tolist() == [0, 0, 1, 1]
    assert predictions["alarms"].tolist() == [False, False, True, False]
    assert found["image_auroc"] == metrics["image_auroc"]


def test_metrics() -> None:
    scores, labels = torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1])
    found = evaluate(Brightness(), loader_of(scores, labels), "cpu", threshold=0.375)
    # Of four pairs 0.35 loses one, to 0.4; above 0.375 are a defect and a normal image.
    assert found["image_auroc"] == 0.75
    assert found["image_f1"] == 0.5
    assert found["image_f1_max"] == pytest.approx(0.8)
    assert found["threshold"] == 0.375
    without = evaluate(Brightness(), loader_of(scores, labels), "cpu")
    assert math.isnan(without["threshold"])


def test_perfect() -> None:
    scores = torch.cat([torch.linspace(0, 0.4, 40), torch.linspace(0.6, 1, 20)])
    labels = torch.cat([torch.zeros(40), torch.ones(20)])
    normal = loader_of(torch.linspace(0, 0.5, 25), torch.zeros(25))
    found = evaluate(Brightness(), loader_of(scores, labels), "cpu", calibration=normal)
    assert (found["image_auroc"], found["image_ap"], found["image_f1"]) == (1, 1, 1)
    assert 0.4 < found["threshold"] <= 0.5


def test_random() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, labels = torch.rand(4000, generator=draw), torch.arange(4000) % 2
    found = evaluate(Brightness(), loader_of(scores, labels), "cpu")
    # Four standard deviations of the AUROC of chance, sqrt((n + m + 1) / (12 n m)).
    assert found["image_auroc"] == pytest.approx(0.5, abs=4 * (4001 / (12 * 2000**2)) ** 0.5)
    assert found["image_ap"] == pytest.approx(0.5, abs=0.05)
