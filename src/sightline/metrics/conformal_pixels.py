"""A threshold for pixels that keeps a false-alarm budget, from normal images alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.errors import DataError
from sightline.metrics.classification import Counts, Floats
from sightline.metrics.conformal import TooFewNormalsError, needed_normals, smallest_budget
from sightline.metrics.pixel_counts import check_map
from sightline.metrics.score_bins import CELLS, Keys, ScoreBins, cells_of, ordered_keys

_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class PixelThreshold:
    """Pixels above ``value`` are alarms; on a new normal image a share of at most ``budget``.

    The share is a mean: over the choice of the ``n`` normal images and over new images.
    """

    value: float
    n: int
    budget: float
    smallest_budget: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold, with the name of the method."""
        return {
            "value": self.value,
            "method": "conformal risk control",
            "budget": self.budget,
            "n": self.n,
            "smallest_budget": self.smallest_budget,
        }


def pixel_threshold(maps: Sequence[npt.NDArray[Any]], budget: float) -> PixelThreshold:
    """Return the threshold above which at most a share ``budget`` of normal pixels is expected.

    ``maps`` are heat maps (H, W) of n normal images that the model was not fitted on; sizes may
    differ, and each is read twice. The loss of an image is the share of its pixels above t: it
    falls with t, so the smallest t with n / (n + 1) * mean loss + 1 / (n + 1) <= budget keeps the
    expected loss of a new exchangeable image at most ``budget`` (Angelopoulos et al., Conformal
    Risk Control, 2024, theorem 1 with B = 1). Here t is the upper end of a bin of about 1/100,000
    of the pixels: never below that t. Raises TooFewNormalsError where n < 1 / budget - 1.

    >>> maps = [np.arange(10.0, dtype=np.float32).reshape(2, 5)] * 9
    >>> found = pixel_threshold(maps, 0.2)
    >>> [float((one > found.value).mean()) for one in maps[:2]]
    [0.1, 0.1]
    """
    n = len(maps)
    if n < needed_normals(budget):
        raise TooFewNormalsError(n, budget)
    cells = _mass(maps, cells_of, CELLS)
    bins = ScoreBins.fit(cells)
    mass = _mass(maps, bins.numbers, bins.size + 1)
    if mass[-1]:
        raise DataError(
            "The heat maps changed between two readings.",
            expected="the same map each time an image is read",
            remedy="score the images in eval mode, without random augmentation",
        )
    above = np.cumsum(mass[::-1])[::-1] - mass
    allowed = (budget * (n + 1) - 1) / n
    # A millionth of a millionth is the rounding of these sums, not of the guarantee.
    chosen = int(np.argmax(above[:-1] <= allowed + 1e-12))
    return PixelThreshold(bins.highest(chosen), n, budget, smallest_budget(n))


def _mass(maps: Sequence[npt.NDArray[Any]], place: Callable[[Keys], Counts], width: int) -> Floats:
    """The mean over images of the share of an image's pixels at each place, (width,)."""
    mass = np.zeros(width)
    for index in range(len(maps)):
        scores = np.asarray(maps[index], dtype=np.float32)
        if scores.ndim != 2 or not scores.size:
            raise DataError(
                "A heat map is no picture.",
                expected="shape (H, W), not empty",
                got=f"shape {scores.shape}",
                where=f"image {index}",
            )
        check_map(scores, index)
        flat = scores.reshape(-1)
        weight = 1.0 / (flat.size * len(maps))
        for start in range(0, flat.size, _AT_ONCE):
            keys = ordered_keys(flat[start : start + _AT_ONCE])
            np.add.at(mass, place(keys), weight)
    return mass
