"""Maps from logits to logits, fitted on images no model was trained on, and when one is used.

Temperature and vector scaling are those of Guo et al., On Calibration of Modern Neural Networks
(2017), section 4.2. N images, C classes, T the temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.calibration import log_softmax
from sightline.metrics.classification import Floats, checked_codes

COLDEST, HOTTEST = 0.05, 20.0
"""Range of temperatures: beyond it probabilities are one-hot or even."""
PULL = 1.0
"""Weight, in nats, of the pull towards no change; a handful of images is worth about as much."""
SMALLEST_SCALE = 1e-3


@dataclass(frozen=True, slots=True)
class Temperature:
    """Divides every logit by one number above 0; the order of the classes stays."""

    value: float = 1.0

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return the (N, C) logits divided by the temperature.

        >>> Temperature(2.0).apply([[4.0, 0.0]]).tolist()
        [[2.0, 0.0]]
        """
        return np.asarray(logits, dtype=np.float64) / self.value

    def as_dict(self) -> dict[str, Any]:
        """Return it as calibration.json holds it."""
        return {"temperature": self.value}


@dataclass(frozen=True, slots=True)
class VectorScaling:
    """Gives each class a scale above 0 and an offset; the most probable class may change.

    They work on log-probabilities, so that logits which differ by a constant for each row, which
    mean the same, stay the same.
    """

    scale: tuple[float, ...]
    bias: tuple[float, ...]

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return the log-probabilities of the logits (N, C) times the scale plus the bias.

        >>> VectorScaling((2.0, 1.0), (0.0, 3.0)).apply([[7.0, 7.0]]).round(4).tolist()
        [[-1.3863, 2.3069]]
        """
        values: Floats = log_softmax(logits) * np.array(self.scale) + np.array(self.bias)
        return values

    def as_dict(self) -> dict[str, Any]:
        """Return it as calibration.json holds it."""
        return {"scale": list(self.scale), "bias": list(self.bias)}


Calibrator = Temperature | VectorScaling
IDENTITY = Temperature(1.0)


def calibrator_from_dict(plain: Mapping[str, Any]) -> Calibrator:
    """Return the calibrator that ``as_dict`` described; other keys are left alone.

    Raises DataError for numbers that could not have been fitted.
    """
    try:
        if "temperature" in plain:
            value = float(plain["temperature"])
            if np.isfinite(value) and value > 0:
                return Temperature(value)
        else:
            scale = tuple(float(one) for one in plain["scale"])
            bias = tuple(float(one) for one in plain["bias"])
            right = all(np.isfinite([*scale, *bias])) and all(one > 0 for one in scale)
            if right and scale and len(scale) == len(bias):
                return VectorScaling(scale, bias)
    except (KeyError, TypeError, ValueError):
        pass
    raise DataError(
        "A calibration cannot be read.",
        expected="a temperature above 0, or a scale above 0 and a bias for each class",
        got=f"{dict(plain)!r:.100}",
        remedy="make it again with `sightline calibrate`",
    )


def fit_temperature(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Temperature:
    """Return the temperature from 0.05 to 20 with the least summed NLL plus (1/T - 1)^2 / 2.

    The second term decides where the data does not: with one image, or when every answer is
    right, the NLL alone would make all answers certain. The sum is convex in 1/T, so there is one
    minimum. Raises DataError without images.
    """
    from scipy.optimize import minimize_scalar

    scores, truth = _checked(logits, targets)

    def cost(log_temperature: float) -> float:
        inverse = float(np.exp(-log_temperature))
        # Not cut off at MOST_LOSS: the slope must lead back from wherever the search looks.
        total = -log_softmax(scores * inverse)[np.arange(len(truth)), truth].sum()
        return float(total) + PULL / 2 * (inverse - 1) ** 2

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return Temperature(float(np.exp(found.x)))


def fit_vector_scaling(logits: npt.ArrayLike, targets: npt.ArrayLike) -> VectorScaling:
    """Return a scale and offset for each class with the least summed NLL plus a pull.

    The pull is half the squared distance from temperature scaling, (1/T, 0), so that 2C numbers
    do not fit the noise of a small validation split. Minimised by L-BFGS with exact gradients.
    """
    from scipy.optimize import minimize

    scores, truth = _checked(logits, targets)
    scores, classes = log_softmax(scores), scores.shape[1]
    start = np.full(2 * classes, 1 / fit_temperature(scores, truth).value)
    start[classes:] = 0
    wanted = np.zeros_like(scores)
    wanted[np.arange(len(truth)), truth] = 1

    def cost(values: Floats) -> tuple[float, Floats]:
        whole = log_softmax(scores * values[:classes] + values[classes:])
        excess = np.exp(whole) - wanted
        away = values - start
        gradient = np.concatenate([(excess * scores).sum(axis=0), excess.sum(axis=0)])
        total = -whole[np.arange(len(truth)), truth].sum() + PULL / 2 * float(away @ away)
        return float(total), gradient + PULL * away

    bounds = [(SMALLEST_SCALE, None)] * classes + [(None, None)] * classes
    options = {"maxiter": 500, "ftol": 1e-12, "gtol": 1e-7}
    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    scale, bias = found.x[:classes], found.x[classes:]
    return VectorScaling(tuple(map(float, scale)), tuple(map(float, bias)))


FITS: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike], Calibrator]] = {
    "temperature": fit_temperature,
    "vector": fit_vector_scaling,
}
"""Method -> the function that fits it."""


def _checked(logits: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    scores = np.asarray(logits, dtype=np.float64)
    if scores.ndim != 2 or not len(scores):
        raise DataError(
            "There are no logits to fit a calibration on.",
            expected="shape (N, C) with N of at least 1",
            got=f"shape {scores.shape}",
        )
    truth = checked_codes(targets, scores.shape[1], name="targets")
    if len(truth) != len(scores):
        raise DataError(
            "Logits and targets do not belong together.",
            expected=f"{len(scores)} targets, one for each row of logits",
            got=len(truth),
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise DataError(
            "Some logits are not finite.", expected="finite numbers", where=f"row {row}"
        )
    return scores, truth
