"""Loads timm, which would otherwise load a tracker into the process that trains."""

from __future__ import annotations

import importlib
import sys

_TRACKER = "wandb"


def load_timm() -> None:
    """Import timm; for its own scripts it imports wandb where that is installed, and is kept off.

    A tracker's package takes a second, and what is wrong with it would be wrong with the training.
    """
    if "timm" in sys.modules or _TRACKER in sys.modules:
        return
    # Importing it is an ImportError now.
    sys.modules[_TRACKER] = None  # type: ignore[assignment]
    try:
        importlib.import_module("timm")
    finally:
        # Whoever wants it later in this process gets it.
        del sys.modules[_TRACKER]
