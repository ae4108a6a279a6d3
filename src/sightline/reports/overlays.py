"""Heat maps over whole pictures, one PNG each, for pictures that were not part of the data."""

from __future__ import annotations

from collections import Counter
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
    taken: Counter[str] = Counter()
    written = []
    for place, file in enumerate(files):
        picture = decode(file.read_bytes())
        drawn = picture
        if scale is not None:
            height, width = picture.shape[:2]
            heat = map_to_image(np.array(maps[place], np.float32), height, width, fit)
            drawn = lay_over(picture, scale.strength(heat))
        taken[file.stem] += 1
        number = "" if taken[file.stem] == 1 else f"_{taken[file.stem]}"
        target = folder / f"{file.stem}{number}.png"
        with replace_atomically(target) as handle:
            Image.fromarray(drawn).save(handle, format="PNG")
        written.append(target)
    return written
