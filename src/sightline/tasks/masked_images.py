"""Heat maps beside the masks they are judged by, at each picture's own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.heat_maps import map_to_image
from sightline.data.manifest import Manifest
from sightline.data.masks import Mask, image_size, picture_mask
from sightline.data.views import Fit

HeatMap = npt.NDArray[np.float32]


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
        mask = picture_mask(self.heat_maps.samples, row)
        assert mask is not None, "defects without a mask are left out before"
        return self.heat_maps[place], mask
