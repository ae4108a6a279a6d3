"""Which part a row plays when leaks are looked for: what is trained on counts as one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import SPLITS, Manifest

ROLE_NAMES = ("train", "val", "test", "query", "gallery")
TRAIN_ROLE = 0
_ROLE_OF_SPLIT = np.asarray(
    [ROLE_NAMES.index(name) if name in ROLE_NAMES else TRAIN_ROLE for name in SPLITS], np.int8
)


def roles(manifest: Manifest) -> npt.NDArray[np.int8]:
    """A code (N,) into ROLE_NAMES; fit, train and rows without split are train."""
    return np.asarray(_ROLE_OF_SPLIT[manifest.split])
