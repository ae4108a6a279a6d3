"""A smaller batch for a trial that ran out of memory, with the same effective batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.config import read_yaml


@dataclass(frozen=True)
class SmallerBatch:
    """The keys to set, and the change in words of numbers."""

    flags: dict[str, int]
    change: dict[str, int]


def smaller_batch(config: str, flags: Mapping[str, Any]) -> SmallerBatch | None:
    """Half the micro-batch and twice the accumulated steps; None when it cannot be halved.

    `config` is the file all trials begin with. Where the batch is odd, the next smaller divisor
    takes the place of the half, so that images per optimizer step stay what they were.
    """
    train = read_yaml(Path(config).read_text(encoding="utf-8"), config)[0]["train"]
    size = flags.get("train.batch_size", train["batch_size"])
    steps = flags.get("train.accumulate_steps", train["accumulate_steps"])
    if not isinstance(size, int) or size < 2:
        return None
    part = max(number for number in range(1, size // 2 + 1) if size % number == 0)
    more = steps * (size // part)
    return SmallerBatch(
        {"train.batch_size": part, "train.accumulate_steps": more},
        {"batch_size": part, "accumulate_steps": more, "instead_of": size},
    )
