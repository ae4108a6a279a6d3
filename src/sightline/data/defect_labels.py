"""What every file of anomaly detection calls the normal pictures, and which rows they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest

NORMAL = "good"
"""The label of normal pictures in every manifest, whatever the data calls them."""


def is_normal(manifest: Manifest) -> npt.NDArray[np.bool_]:
    """Which rows (N,) are normal; every other label is a type of defect."""
    named = np.asarray([str(name) == NORMAL for name in manifest.label.names] + [False], np.bool_)
    rows: npt.NDArray[np.bool_] = named[manifest.label.codes]
    return rows
