"""What both PatchCore contestants are given: images, weights of a backbone, features and a bank.

A folder holds images.npy (uint8, n x 3 x 256 x 256), weights.pth (resnet18 up to layer3),
features.npy (candidates x components, projected), bank.npy and the number of the first centre.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

LAYERS = ["layer2", "layer3"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCORED = 16


def tensor(folder: Path, name: str) -> torch.Tensor:
    """An array of the folder."""
    return torch.from_numpy(np.load(folder / f"{name}.npy"))


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time, which a busy machine does not lengthen, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def report(value: float, **others: float) -> None:
    """Print the line that is read by the benchmark."""
    print(json.dumps({"value": value, **others}))
