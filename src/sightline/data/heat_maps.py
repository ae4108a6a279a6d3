"""Brings a heat map of what a model saw back onto the whole picture, at its own resolution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sightline.data.views import Fit, central_view, scaled_span

HeatMap = npt.NDArray[np.float32]


def map_to_image(heat_map: HeatMap, height: int, width: int, fit: Fit) -> HeatMap:
    """The map (height, width) of a picture from that of the square (S, S) made of it by `fit`.

    It undoes central_view, bilinearly (half-pixel centres, no antialiasing, so that peaks stay).
    With crop, what the model did not see takes the map's minimum: it can raise no alarm. With pad
    the margins are cut off. `height` and `width` are those of the upright picture; that
    it was shrunk before it was cut moves nothing by more than a pixel of the square.

    >>> map_to_image(np.array([[0, 1], [2, 3]], np.float32), 2, 4, "stretch")[0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    >>> map_to_image(np.array([[1, 1], [2, 3]], np.float32), 2, 4, "crop")[1].tolist()
    [1.0, 2.0, 3.0, 1.0]
    """
    size = len(heat_map)
    box = central_view(height, width, fit).box
    if fit == "pad":
        rows = scaled_span(-box.top, height - box.top, size / box.height)
        columns = scaled_span(-box.left, width - box.left, size / box.width)
        return _resized(heat_map[rows, columns], height, width)
    part = _resized(heat_map, box.height, box.width)
    if part.shape == (height, width):
        return part
    whole = np.full((height, width), heat_map.min(), np.float32)
    whole[box.top : box.top + box.height, box.left : box.left + box.width] = part
    return whole


def _resized(part: HeatMap, height: int, width: int) -> HeatMap:
    values = torch.from_numpy(np.ascontiguousarray(part, np.float32))[None, None]
    result: HeatMap = torch.nn.functional.interpolate(
        values, size=(height, width), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    return result
