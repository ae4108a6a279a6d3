"""Heat maps over whole pictures, one PNG each, for pictures that were not part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.heat_maps import map_to_image
from sightline.data.views import Fit
from sightline.reports.heat_maps import colour_scale, lay_over
from sightline.runs.files import replace_atomically


def write_overlays(
    folder: Path, files: Sequence[Path], maps: Sequence[npt.NDArray[Any]], fit: Fit
) -> list[Path]:
    """Write each picture under its heat map as NAME.png, and return the files in the same order.

    `maps` (N) are (S, S) of the model's square. All have one colour scale, so they can be compared
    with each other. Names that come twice get a number. RunError where nothing can be written.
    """
    from PIL import Image

    from sightline.data.decode import decode

    scale = colour_scale(np.asarray(maps[place], np.float32) for place in range(len(maps)))
    taken: set[str] = set()
    written = []
    for place, file in enumerate(files):
        picture = decode(file.read_bytes())
        drawn = picture
        if scale is not None:
            height, width = picture.shape[:2]
            heat = map_to_image(np.array(maps[place], np.float32), height, width, fit)
            drawn = lay_over(picture, scale.strength(heat))
        target = folder / _free_name(file.stem, taken)
        with replace_atomically(target) as handle:
            Image.fromarray(drawn).save(handle, format="PNG")
        written.append(target)
    return written


def _free_name(stem: str, taken: set[str]) -> str:
    """A name that no other picture has; it is taken then."""
    name, number = f"{stem}.png", 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}.png"
    taken.add(name)
    return name
