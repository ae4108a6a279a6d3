"""How far training has come: the counters a resume needs, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sightline.errors import CheckpointError


@dataclass(slots=True)
class Progress:
    """Counters of one training; all are saved with every checkpoint."""

    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches used in the epoch that is under way."""
    step: int = 0
    """Optimizer steps made since training began."""
    loss_sum: float = 0.0
    """Sum over the samples of this epoch of their loss, in this process."""
    samples: int = 0
    """Samples of this epoch used so far, in this process."""
    part_sums: dict[str, float] = field(default_factory=dict)
    """The same sums of the parts of the loss, by name."""
    best_value: float | None = None
    """Best monitored value so far; it names best_model.pth."""
    best_epoch: int | None = None
    """Epoch of the best value."""
    reference: float | None = None
    """Value that early stopping compares with."""
    epochs_without_improvement: int = 0
    """Epochs since the monitored value last improved by more than early_stopping_min_delta."""
    skipped_steps: int = 0
    """Steps in a row that the fp16 gradient scaler left out."""

    def add_parts(self, parts: Mapping[str, Any], samples: int) -> None:
        """Count the parts of the mean loss of so many samples."""
        for name, value in parts.items():
            self.part_sums[name] = self.part_sums.get(name, 0.0) + float(value) * samples

    def finish_epoch(self) -> int:
        """Count the epoch under way as finished and return its number, from 1."""
        self.epoch += 1
        self.batch, self.loss_sum, self.samples, self.part_sums = 0, 0.0, 0, {}
        return self.epoch

    def count_improvement(self, value: float | None, *, higher: bool, min_delta: float) -> None:
        """Update early stopping's counter with the epoch's monitored value (None: no value)."""
        if value is not None and is_improvement(value, self.reference, higher=higher, by=min_delta):
            self.reference, self.epochs_without_improvement = value, 0
        else:
            self.epochs_without_improvement += 1

    def state_dict(self) -> dict[str, Any]:
        """The counters as plain data."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved counters; raises CheckpointError unless exactly all are there."""
        names = {field.name for field in fields(self)}
        if set(state) != names:
            raise CheckpointError(
                "The checkpoint's progress does not fit this version of Sightline.",
                expected=sorted(names),
                got=sorted(state),
            )
        for name, value in state.items():
            setattr(self, name, value)


def is_improvement(value: float, reference: float | None, *, higher: bool, by: float = 0.0) -> bool:
    """Whether a value beats the reference by more than `by`; NaN never does.

    >>> is_improvement(0.9, 0.8, higher=True), is_improvement(0.9, 0.8, higher=False)
    (True, False)
    """
    if math.isnan(value):
        return False
    if reference is None:
        return True
    return value > reference + by if higher else value < reference - by
