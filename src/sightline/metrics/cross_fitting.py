"""Whether a calibration helps on images it was not fitted on: K parts, each judged by the rest.

N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.calibration import expected_calibration_error, log_softmax, losses
from sightline.metrics.calibrators import FITS, IDENTITY, Calibrator
from sightline.metrics.classification import Counts, Floats, checked_codes

PARTS = 5
FEWEST = 10
"""With fewer independent images (or groups of them) nothing can be judged, so nothing changes."""


@dataclass(frozen=True)
class Fitted:
    """A calibrator, the logits (N, C) by calibrators that had not seen their row, and a verdict."""

    calibrator: Calibrator
    held_out: Floats
    adopted: bool
    why: str


def calibrate(
    logits: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    method: str = "temperature",
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Fitted:
    """Return the calibrator fitted on all rows if it holds up on rows it has not seen.

    It is adopted when, cross-fitted, it lowers the NLL by more than the standard error of that
    gain and does not raise the ECE. Otherwise the identity stands and ``held_out`` are the logits
    as they came: a temperature fitted to the noise of a few images makes new ones worse.
    """
    if method not in FITS:
        raise DataError(f"There is no calibration called {method!r}.", expected=" or ".join(FITS))
    scores = np.asarray(logits, dtype=np.float64)
    calibrator = FITS[method](scores, targets)
    units = _units(groups, len(scores))
    count = int(units.max()) + 1
    if count < FEWEST:
        why = f"{count} independent images are too few to judge it, at least {FEWEST} are needed"
        return Fitted(IDENTITY, scores, False, why)
    part = divide(np.asarray(targets), groups=units, seed=seed)
    held_out = cross_fitted(scores, targets, part, FITS[method])
    refused = _refusal(scores, held_out, np.asarray(targets), units)
    if refused:
        return Fitted(IDENTITY, scores, False, refused)
    return Fitted(calibrator, held_out, True, "it lowers the NLL of rows it was not fitted on")


def cross_fitted(
    logits: Floats,
    targets: npt.ArrayLike,
    part: Counts,
    fit: Callable[[npt.ArrayLike, npt.ArrayLike], Calibrator],
) -> Floats:
    """Return the logits (N, C), each row changed by the calibrator of the other parts (N,)."""
    truth = np.asarray(targets)
    changed = np.empty_like(logits)
    for one in range(int(part.max()) + 1):
        held = part == one
        changed[held] = fit(logits[~held], truth[~held]).apply(logits[held])
    return changed


def divide(
    targets: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    parts: int = PARTS,
    seed: int = 0,
) -> Counts:
    """Return a part from 0 for each row (N,): groups whole, sizes and classes about even.

    Groups are taken in an order that depends on the seed, the largest first, and each goes where
    its classes are rarest. At most as many parts as groups.
    """
    truth = checked_codes(targets, int(np.max(targets, initial=0)) + 1, name="targets")
    units = _units(groups, len(truth))
    count, generator = int(units.max()) + 1, np.random.default_rng(seed)
    parts = min(parts, count)
    order = generator.permutation(count)
    chosen = np.empty(count, np.int64)
    if count == len(truth):
        # Dealt out like cards, class by class.
        classes = np.empty(count, np.int64)
        classes[units] = truth
        order = order[np.argsort(classes[order], kind="stable")]
        chosen[order] = np.arange(count) % parts
        return chosen[units]
    members = np.split(truth[np.argsort(units, kind="stable")], np.cumsum(np.bincount(units))[:-1])
    held, sizes = np.zeros((parts, int(truth.max()) + 1)), np.zeros(parts)
    for unit in sorted(order.tolist(), key=lambda one: -len(members[one])):
        crowding = held[:, members[unit]].sum(axis=1)
        best = np.lexsort((sizes, crowding))[0]
        chosen[unit] = best
        np.add.at(held[best], members[unit], 1)
        sizes[best] += len(members[unit])
    return chosen[units]


def _refusal(before: Floats, after: Floats, targets: Counts, units: Counts) -> str:
    """Why the change is not worth making; empty when it is."""
    gain = np.bincount(units, losses(before, targets) - losses(after, targets))
    mean, error = gain.mean(), gain.std(ddof=1) / np.sqrt(len(gain))
    if mean <= error:
        return "on rows it was not fitted on, it does not lower the NLL beyond chance"
    gaps = [
        expected_calibration_error(np.exp(log_softmax(one)), targets) for one in (before, after)
    ]
    if gaps[1] > gaps[0]:
        return f"on rows it was not fitted on, the ECE rises from {gaps[0]:.3f} to {gaps[1]:.3f}"
    return ""


def _units(groups: npt.ArrayLike | None, rows: int) -> Counts:
    """Codes from 0 of what is independent: groups, or the rows themselves."""
    if groups is None:
        return np.arange(rows)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    if len(codes) != rows:
        raise DataError(
            "Logits and groups do not belong together.",
            expected=f"{rows} groups, one for each row",
            got=len(codes),
        )
    return codes.astype(np.int64, copy=False)
