"""Weights for averaging the probabilities of several models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Floats

_STEPS = 100_000


def mixture_loss(likelihoods: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Return the mean negative log-likelihood, in nats, of the weighted mean of probabilities.

    ``likelihoods`` (M, N): what each of M models gives the true class of each of N samples.

    >>> round(mixture_loss([[1.0, 0.5], [0.0, 0.5]], [0.5, 0.5]), 4)
    0.6931
    """
    mixed = np.asarray(weights, np.float64) @ _checked(likelihoods)
    return float(-np.log(mixed).mean())


def mixture_weights(likelihoods: npt.ArrayLike, tolerance: float = 1e-7) -> Floats:
    """Return the weights (M,), from 0 and summing to 1, with the least ``mixture_loss``.

    Found by expectation maximisation over the weights alone (Dempster, Laird & Rubin 1977,
    section 4.3): each weight becomes the mean share that its model has in the mixture. The loss
    is convex, so there is one minimum; the steps end when its gradient shows that at most
    ``tolerance`` nats are left to gain.
    """
    given = _checked(likelihoods)
    weights: Floats = np.full(len(given), 1 / len(given))
    for _ in range(_STEPS):
        # By concavity the likelihood can rise by no more than the largest gain less 1.
        gains = (given / (weights @ given)).mean(axis=1)
        if gains.max() - 1 <= tolerance:
            break
        weights = weights * gains
    result: Floats = weights / weights.sum()
    return result


def _checked(likelihoods: npt.ArrayLike) -> Floats:
    given = np.asarray(likelihoods, np.float64)
    if given.ndim != 2 or not given.size:
        raise DataError(
            "A mixture needs what each model says of each sample.",
            expected="shape (M, N), both at least 1",
            got=f"shape {given.shape}",
        )
    if not ((given >= 0) & (given <= 1)).all():
        raise DataError("Some likelihoods are no probabilities.", expected="numbers from 0 to 1")
    # The smallest float keeps the logarithm finite where every model says 0.
    return np.maximum(given, np.finfo(np.float64).tiny)
