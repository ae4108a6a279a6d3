"""Heat maps beside the masks they are judged by, at each picture's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.heat_maps import map_to_image
from sightline.data.manifest import Manifest
from sightline.data.masks import image_size, read_mask
from sightline.data.views import Fit

HeatMap = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeatMaps(Sequence[HeatMap]):
    """The heat maps of some rows at their pictures' own size, each made when it is asked for."""

    samples: Manifest
    maps: Sequence[npt.NDArray[Any]]
    """One (S, S) for each sample."""
    rows: npt.NDArray[np.int64]
    fit: Fit

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        row = int(self.rows[place])
        size = image_size(self.samples.file(row))
        return map_to_image(np.array(self.maps[row], np.float32), *size, self.fit)


@dataclass(frozen=True)
class MaskedImages(Sequence[tuple[HeatMap, Mask]]):
    """The same with the masks they are judged by."""

    heat_maps: HeatMaps

    def __len__(self) -> int:
        return len(self.heat_maps)

    def __getitem__(self, place: Any) -> Any:
        row = int(self.heat_maps.rows[place])
        return self.heat_maps[place], mask_of(self.heat_maps.samples, row)


def mask_of(samples: Manifest, row: int) -> Mask:
    """The mask (H, W) of a picture, all False for one without."""
    size = image_size(samples.file(row))
    name = str(samples.mask[row])
    return read_mask(samples.root / name, size) if name else np.zeros(size, bool)
