"""threshold.json: from which score on a run calls a picture, or a pixel, anomalous."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sightline.errors import DataError, RunError
from sightline.runs.files import file_hash, write_atomically

THRESHOLD_FILE = "threshold.json"


@dataclass(frozen=True)
class Threshold:
    """An alarm is a score above `value`."""

    value: float
    method: str
    """conformal, f1 or fixed."""
    budget: float | None = None
    """Share of false alarms that is allowed; None: nothing is promised."""
    n: int | None = None
    """Pictures it was set by."""
    rank: int | None = None
    """Which of their scores it is, in ascending order from 1."""
    confidence: float | None = None
    smallest_budget: float | None = None
    """The smallest budget that so many pictures can keep."""


@dataclass(frozen=True)
class Thresholds:
    """What a run decides by; `reason` says why there is none."""

    image: Threshold | None
    pixel: Threshold | None
    reason: str | None
    checkpoint: str
    sha256: str
    """Of the checkpoint whose scores they are of."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as threshold.json holds it."""
        return asdict(self)

    def summary(self) -> str:
        """One line for people."""
        if self.image is None:
            return f"none: {self.reason}"
        one = self.image
        words = f"{one.value:.6g} ({one.method}"
        if one.budget is not None:
            words += f", at most {one.budget:.1%} false alarms, from {one.n} normal pictures"
            if one.confidence is not None:
                words += f", with {one.confidence:.0%} confidence"
        words += ")"
        return words if self.pixel is None else f"{words}; pixels {self.pixel.value:.6g}"


def write_thresholds(run_folder: Path, thresholds: Thresholds) -> None:
    """Write threshold.json; beside it first, then renamed."""
    content = json.dumps(thresholds.as_dict(), indent=1) + "\n"
    write_atomically(run_folder / THRESHOLD_FILE, content)


def read_thresholds(run_folder: Path, checkpoint: str) -> Thresholds | None:
    """The thresholds for a checkpoint; None where none were set, or for another checkpoint.

    Raises RunError where the file is damaged, or the weights have changed since.
    """
    file = run_folder / THRESHOLD_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_bytes())
        saved = Thresholds(**content)
        image, pixel = (_threshold(content[name]) for name in ("image", "pixel"))
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(
            "The thresholds cannot be read.",
            got=f"{type(error).__name__}: {error}".splitlines()[0],
            where=file,
            remedy="set them anew: sightline threshold RUN",
        ) from error
    if saved.checkpoint != checkpoint:
        return None
    if saved.sha256 != file_hash(run_folder / "ckpt" / checkpoint):
        raise RunError(
            "The thresholds were set for other weights than the run has now.",
            where=file,
            remedy="set them anew: sightline threshold RUN",
        )
    return replace(saved, image=image, pixel=pixel)


def require_both_kinds(normal: int, anomalous: int) -> None:
    """Raise DataError where validation cannot choose the best F1."""
    if normal and anomalous:
        return
    raise DataError(
        "Validation does not have both normal and anomalous pictures, so no F1 can be chosen.",
        got=f"{normal} normal and {anomalous} anomalous pictures",
        where="threshold.method=f1",
        remedy="use data.synthetic_defects=true, give defects the split val, or use method "
        "conformal, which needs normal pictures only",
    )


def _threshold(content: dict[str, Any] | None) -> Threshold | None:
    return None if content is None else Threshold(**content)
