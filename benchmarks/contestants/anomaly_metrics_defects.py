"""Heat maps with known defects, the same in every environment: needs NumPy alone."""

from __future__ import annotations

import numpy as np

IMAGES, SIDE = 40, 256


def defect_maps(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Maps (40, 256, 256) float32 over five decades and masks with three round defects each.

    A map is a smooth field, as models give it, to the power of e; defects are brighter.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    masks = np.zeros((IMAGES, SIDE, SIDE), dtype=bool)
    for mask in masks:
        for _ in range(3):
            row, column, radius = *random.integers(20, SIDE - 20, 2), random.integers(4, 20)
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    waves = np.zeros((IMAGES, SIDE, SIDE))
    for _ in range(12):
        tilt = random.normal(0, 0.25, (2, IMAGES, 1, 1))
        waves += np.sin(tilt[0] * rows + tilt[1] * columns + random.uniform(0, 7, (IMAGES, 1, 1)))
    waves += random.normal(0, 0.5, waves.shape)
    return np.exp(waves * 0.8 + 2.5 * masks).astype(np.float32), masks


def pixel_list(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N,) float32 like products of three layers, and labels (N,), 2 % anomalous."""
    random = np.random.default_rng(seed)
    labels = random.random(number, dtype=np.float32) < 0.02
    scores = random.standard_normal(number, dtype=np.float32)
    scores += labels
    scores *= 3
    return np.exp(scores, out=scores), labels
