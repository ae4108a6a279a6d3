"""What the rows of metrics.jsonl are called at a tracker, and where on its step axis they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_PLACE = {"time", "event", "fold", "split", "step", "epoch", "checkpoint", "tta", "members", "n"}
"""Keys that say what a row is about; a number under one of them is no measure."""
_SPEED = {"time_s", "images_per_s", "mem_MiB", "gpu_mem_MiB"}
_WITHIN = {"loss": "train/step_loss", "lr": "train/step_lr"}
"""The numbers of one step, beside those of a whole epoch."""


def axis_of(row: Mapping[str, Any], *, folds: bool) -> str:
    """The beginning of every name of the row: of all folds in turn each counts its own steps.

    >>> axis_of({"fold": 2}, folds=True), axis_of({"fold": 2}, folds=False)
    ('fold2/', '')
    """
    fold = row.get("fold")
    return f"fold{fold}/" if folds and isinstance(fold, int) else ""


def curve_values(row: Mapping[str, Any], *, axis: str = "") -> dict[str, float]:
    """The numbers of the row of an epoch or a step by their names at a tracker, without nulls.

    `train_x` is train/x, `valid_x` and any other measure val/x (or the row's own split), learning
    rates keep their name, and what tells of the machine is under speed/. `epoch` counts from 1.

    >>> curve_values({"step": 6, "epoch": 1, "train_loss": 0.5, "mAP": 0.25, "images_per_s": 9.0})
    {'epoch': 1, 'train/loss': 0.5, 'val/mAP': 0.25, 'speed/images_per_s': 9.0}
    """
    named = {"epoch": row["epoch"]} if _is_number(row.get("epoch")) else {}
    measures = {key: value for key, value in row.items() if key not in _PLACE and _is_number(value)}
    if row.get("event") == "step":
        named |= {_WITHIN[key]: value for key, value in measures.items() if key in _WITHIN}
    else:
        split = row.get("split") or "val"
        named |= {_curve_name(key, split): value for key, value in measures.items()}
    return {f"{axis}{name}": value for name, value in named.items()}


def result_values(row: Mapping[str, Any], *, axis: str = "") -> dict[str, float]:
    """The numbers of any other row, as final results: test/x of the split test, threshold/x, ...

    >>> result_values({"event": "evaluate", "split": "test", "n": 18, "mAP": 0.25})
    {'test/mAP': 0.25, 'test/n': 18}
    """
    family = row.get("split") or row.get("event") or "result"
    named = {key: value for key, value in row.items() if key not in _PLACE and _is_number(value)}
    named |= {key: row[key] for key in ("n", "epoch") if _is_number(row.get(key))}
    return {f"{axis}{family}/{key}": value for key, value in named.items()}


def _curve_name(key: str, split: str) -> str:
    if key.startswith("lr"):
        return key
    if key in _SPEED:
        return f"speed/{key}"
    if key.startswith("train_"):
        return f"train/{key.removeprefix('train_')}"
    return f"{split}/{key.removeprefix('valid_')}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
