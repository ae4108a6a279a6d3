"""Heat maps over pictures, all in one colour scale, with the outline of the true mask.

H W are pixels of a drawn picture, S those of the model's square, K maps.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from sightline.reports.mask_outlines import draw_outline, find_file, read_mask
from sightline.reports.pictures import open_thumbnail

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from PIL import Image

    from sightline.data.views import Fit
    from sightline.reports.anomaly_rows import ScoredImage

Map = npt.NDArray[np.float32]

COLOURS = "inferno"
"""Evenly spaced to the eye and in lightness alone, so it holds without colour vision and in print
(van der Walt and Smith, A Better Default Colormap for Matplotlib, SciPy 2015)."""
SIDE = 224
"""Pixels of a drawn picture's longer side."""
_DARKEST = 0.22
"""Where on the colour map the scale begins: its black would look like a shadow on the picture."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """The map values of no colour and of the brightest one; what lies beyond is clipped."""

    low: float
    high: float

    def strength(self, values: Map) -> Map:
        """Return values as 0 to 1; 0 where there is no finite value."""
        span = self.high - self.low
        shares = (values - self.low) / span if span > 0 else np.zeros_like(values)
        shares = np.nan_to_num(shares, nan=0.0, posinf=0.0, neginf=0.0)
        return np.clip(shares, 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class HeatMaps:
    """Maps (K, S, S) of the model's square, found by id, and how a picture was made that square."""

    places: dict[str, int] = field(default_factory=dict)
    maps: Map = field(default_factory=lambda: np.zeros((0, 1, 1), np.float32))
    fit: Fit = "stretch"
    scale: ColourScale | None = None
    problem: str | None = None
    """Why there are none, in a sentence."""

    def of(self, identity: str) -> Map | None:
        """Return the map (S, S) of an image; None where none was kept."""
        place = self.places.get(identity)
        return None if place is None else self.maps[place]


@dataclass(frozen=True, slots=True)
class Panels:
    """A picture, the same with heat map and outline, and what is missing, in plain words."""

    picture: Image.Image | None
    heat: Image.Image | None
    remarks: list[str]
    outlined: bool = False


def read_heat_maps(file: Path) -> HeatMaps:
    """Return the maps of ``SPLIT.maps.npz``; none, with the reason, where it cannot be used."""
    from sightline.data.views import Fit

    if not file.is_file():
        return HeatMaps(problem="No heat maps were kept for this split.")
    try:
        # Opened here: of a torn file numpy would leave its handle open.
        with file.open("rb") as handle, np.load(handle, allow_pickle=False) as content:
            ids = [str(name) for name in content["ids"]]
            maps = np.asarray(content["maps"], dtype=np.float32)
            named = str(content["fit"]) if "fit" in content else "stretch"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return HeatMaps(problem=f"{file.name} could not be read, so no heat map is shown.")
    square = maps.ndim == 3 and maps.shape[1] == maps.shape[2] > 0
    fit: Fit | None = next((one for one in get_args(Fit) if one == named), None)
    if not square or len(maps) != len(ids) or fit is None:
        return HeatMaps(problem=f"{file.name} does not hold a square map for each id.")
    places = {identity: place for place, identity in enumerate(ids)}
    return HeatMaps(places, maps, fit, colour_scale(maps))


def colour_scale(maps: Iterable[Map]) -> ColourScale | None:
    """Return one scale for all maps; None where no value is finite.

    From the median of the maps' 90th percentiles, so that a calm surface stays without colour, to
    the upper quartile (an observed one, rounded down) of their 99.9th percentiles: with two maps or
    more, one wild map cannot take the colours from the others, nor can a few wild pixels or a few
    clear defects.
    """
    calm, tops = [], []
    for one in maps:
        finite = one[np.isfinite(one)]
        if finite.size:
            calm.append(float(np.quantile(finite, 0.9)))
            tops.append(float(np.quantile(finite, 0.999)))
    if not tops:
        return None
    low = float(np.median(calm))
    return ColourScale(low, max(low, float(np.quantile(tops, 0.75, method="lower"))))


def draw_panels(image: ScoredImage, maps: HeatMaps, roots: Sequence[Path]) -> Panels:
    """Return the picture of an image twice, plain and under its heat map with the mask's outline.

    Nothing is raised for a missing or unreadable picture, map or mask: the panel is None, or is
    drawn without it, and a remark says so.
    """
    from sightline.data.heat_maps import map_to_image

    file = find_file(image.path, roots)
    picture = open_thumbnail(file, side=SIDE) if file else None
    if file is None or picture is None:
        return Panels(None, None, ["picture not found or not readable"])
    picture = _enlarge(picture)
    remarks = []
    heat = maps.of(image.id)
    if heat is None or maps.scale is None:
        remarks.append("no heat map kept" if heat is None else "the heat map holds no number")
        drawn = np.asarray(picture)
    else:
        on_picture = map_to_image(heat, picture.height, picture.width, maps.fit)
        drawn = lay_over(np.asarray(picture), maps.scale.strength(on_picture))
    mask, remark = (
        (None, "") if image.is_normal else read_mask(image.mask, roots, file, picture.size)
    )
    if mask is not None:
        drawn = draw_outline(drawn, mask)
    remarks += [remark] if remark else []
    shown = _image(drawn) if heat is not None or mask is not None else None
    return Panels(picture, shown, remarks, outlined=mask is not None)


def lay_over(pixels: npt.NDArray[np.uint8], strength: Map) -> npt.NDArray[np.uint8]:
    """Return the picture (H, W, 3) in dimmed grey with the colours of ``strength`` (H, W) over it.

    The stronger, the more colour and the less picture (by the root, so that a weak one is seen);
    grey and dim, so that no colour of the picture is taken for heat and the brightest colours
    stand out on a white one too.
    """
    colours = colour_map()(strength)[..., :3]
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    ground = 0.12 + 0.5 * grey[..., None]
    share = (0.85 * np.sqrt(strength))[..., None]
    return np.rint(255 * (ground * (1 - share) + colours * share)).astype(np.uint8)


def colour_map() -> Colormap:
    """Return the colours of the scale, for 0 to 1."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps[COLOURS](np.linspace(_DARKEST, 1.0, 256)))


def scale_stops(count: int = 9) -> list[str]:
    """Return ``count`` colours of the scale from low to high, as CSS writes them."""
    from matplotlib.colors import to_hex

    colours = colour_map()
    return [to_hex(colours(place / (count - 1))) for place in range(count)]


def _enlarge(picture: Image.Image) -> Image.Image:
    """A small picture at the common size, so that its outline is as fine as the others'."""
    from PIL import Image

    times = SIDE / max(picture.size)
    if times <= 1:
        return picture
    width, height = (max(1, round(length * times)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _image(pixels: npt.NDArray[np.uint8]) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)
