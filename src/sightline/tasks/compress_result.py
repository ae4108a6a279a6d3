"""The evaluation of compression: recall with intervals, what PCA of that size does, and sizes.

Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.metrics.intervals import Estimate
from sightline.tasks.compress_pool import Pool

Recalls = dict[int, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Baseline:
    """Another way to as many numbers, judged by the same queries in the same pool."""

    name: str
    width: int
    """Numbers of a vector, each of four bytes."""
    recalls: Recalls
    estimates: dict[str, Estimate]
    gains: dict[str, Estimate]
    """How much more the encoder keeps, by the differences of each query."""


@dataclass(frozen=True)
class CompressResult:
    """Rows in the order of the samples, and every score of them."""

    ids: list[str]
    recalls: Recalls
    """(Q,) for each k."""
    headline: dict[str, Estimate]
    lower_bounds: dict[str, float]
    """What the mean recall exceeds, at the confidence that is configured."""
    more: dict[str, Any]
    """How well distances are kept, near and far."""
    baselines: list[Baseline]
    pool: Pool
    sizes: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Every score as plain data."""
        return {
            "n": len(self.ids),
            "headline": {name: one.as_dict() for name, one in self.headline.items()},
            "lower_bounds": self.lower_bounds,
            "more": self.more,
            "baselines": [
                {
                    "name": one.name,
                    "numbers": one.width,
                    "bytes": 4 * one.width,
                    "scores": {name: value.as_dict() for name, value in one.estimates.items()},
                    "gains": {name: value.as_dict() for name, value in one.gains.items()},
                }
                for one in self.baselines
            ],
            "pool": self.pool.as_dict(),
            "sizes": self.sizes,
        }

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Column names and one row per query: its recalls, and those of the baselines."""
        every = [("", self.recalls), *((f"{one.name}_", one.recalls) for one in self.baselines)]
        columns = [f"{prefix}recall_at_{k}" for prefix, found in every for k in found]
        values = [found[k] for _, found in every for k in found]
        table = [
            [one, *(round(float(column[place]), 6) for column in values)]
            for place, one in enumerate(self.ids)
        ]
        return ["id", *columns], table

    def summary(self) -> list[str]:
        """One line per score, what PCA keeps, and the pool, without which recall means little."""
        sizes = self.sizes
        lines = [
            f"{name} {one}, at least {self.lower_bounds[name]:.3f} ({one.confidence:.0%})"
            for name, one in self.headline.items()
        ]
        for other in self.baselines:
            for name, one in other.estimates.items():
                lines.append(f"{other.name} with as many numbers: {name} {one}")
                lines.append(f"  {_gain_in_words(other.gains[name])}")
        smaller = sizes["bytes"] / sizes["latent_bytes"]
        return [
            *lines,
            self.pool.in_words(),
            f"size: {sizes['latent_bytes']:,} bytes a vector for {sizes['bytes']:,} of float32, "
            f"{smaller:.1f} times smaller",
        ]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Nothing that the table cannot hold."""
        return {}


def _gain_in_words(gain: Estimate) -> str:
    """Whether the encoder is better, in plain words."""
    interval = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    if gain.low > 0:
        return f"the encoder keeps more: {interval}"
    if gain.high < 0:
        return f"the encoder keeps LESS: {interval}"
    return f"no difference that could not be chance: {interval}"
