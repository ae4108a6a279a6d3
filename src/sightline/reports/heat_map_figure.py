"""Pictures of a split under their heat maps as one figure, and all figures of an anomaly split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.reports.anomaly_rows import (
    Examples,
    ScoredImage,
    choose_examples,
    read_scored_images,
)
from sightline.reports.canvas import INK, QUIET, new_figure, save_figure, say, short_name
from sightline.reports.heat_maps import HeatMaps, Panels, colour_map, draw_panels, read_heat_maps
from sightline.reports.record import RunRecord
from sightline.reports.split_figures import split_figures
from sightline.reports.wording import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

ACROSS, LEAST = 8, 2
TITLES = {"misses": "Worst misses", "false_alarms": "Worst false alarms", "hits": "Clear hits"}


def write_anomaly_figures(folder: Path, record: RunRecord, split: str) -> list[Path]:
    """Write the figures of an anomaly split into ``folder`` and return the files' paths.

    ``score_histogram_SPLIT``, ``roc_SPLIT``, ``pro_SPLIT`` and ``heat_maps_SPLIT``, those that
    there is data for. Pictures are looked for as the page does.
    """
    images = read_scored_images(record.predictions(split))
    files: list[Path] = []
    for name, (figure, columns) in split_figures(record.evaluations[split], images).items():
        files += save_figure(figure, folder / f"{name}_{split}", columns)
    examples = choose_examples(images)
    if examples.all():
        maps = read_heat_maps(record.folder / "predictions" / f"{split}.maps.npz")
        drawn = {one.id: draw_panels(one, maps, record.roots()) for one in examples.all()}
        figure = heat_map_figure(examples, drawn, maps)
        columns = _columns(examples, drawn)
        files += save_figure(figure, folder / f"heat_maps_{split}", columns)
    return files


def heat_map_figure(examples: Examples, drawn: dict[str, Panels], maps: HeatMaps) -> Figure:
    """Return each example plain and, below, under its heat map, in rows of a group each.

    ``drawn`` has the panels of each id. The bar at the right is the colour scale of all maps.
    """
    groups = [(title, getattr(examples, key)) for key, title in TITLES.items()]
    groups = [(title, shown) for title, shown in groups if shown]
    rows = max(1, len(groups))
    across = min(ACROSS, max([LEAST, *(len(shown) for _, shown in groups)]))
    figure = new_figure((1.45 * across + 0.8, 0.4 + 3.4 * rows))
    if not groups:
        return say(figure, maps.problem or "There are no pictures.")
    halves: Any = figure.subfigures(1, 2, width_ratios=[1.45 * across, 0.8])
    left, right = halves
    parts = left.subfigures(rows, 1, squeeze=False)
    for part, (title, shown) in zip(parts[:, 0], groups, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
        panels = part.subplots(2, across, squeeze=False)
        for axes in panels.flat:
            axes.set_axis_off()
        for column, one in enumerate(shown[:across]):
            _draw(panels[:, column], one, drawn[one.id])
    if maps.scale is not None:
        _colour_bar(right, maps)
    return figure


def _draw(pair: Sequence[Axes], image: ScoredImage, panels: Panels) -> None:
    caption = f"{short_name(image.target, 18)}\n{number(image.score)}"
    if image.alarm is not None:
        caption += ", alarm" if image.alarm else ", no alarm"
    pair[0].set_title(caption, fontsize=7.5, color=INK, parse_math=False)
    _show(pair[0], panels.picture, "picture\nnot found")
    _show(pair[1], panels.heat, "no heat map")
    if panels.remarks and panels.picture is not None:
        said = "\n".join(panels.remarks)
        pair[1].set_title(said, fontsize=6, color=QUIET, parse_math=False, y=-0.18)


def _show(axes: Axes, picture: Image.Image | None, otherwise: str) -> None:
    # All axes are squares, whatever the picture, so that captions and rows stand in line.
    axes.set_box_aspect(1)
    if picture is None:
        axes.text(0.5, 0.5, otherwise, ha="center", va="center", color=QUIET, fontsize=7)
        return
    axes.imshow(picture, aspect="equal")
    half = max(picture.size) / 2
    axes.set_xlim(picture.width / 2 - half, picture.width / 2 + half)
    axes.set_ylim(picture.height / 2 + half, picture.height / 2 - half)


def _colour_bar(part: Any, maps: HeatMaps) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    assert maps.scale is not None
    norm = Normalize(maps.scale.low, maps.scale.high)
    bar = part.colorbar(
        ScalarMappable(norm, colour_map()), cax=part.add_axes((0.1, 0.25, 0.22, 0.5))
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=QUIET, labelsize=8, length=0)
    bar.ax.set_title("map", fontsize=8, color=QUIET, loc="left")


def _columns(examples: Examples, drawn: dict[str, Panels]) -> dict[str, list[Any]]:
    rows = [
        (TITLES[key].lower(), place, one)
        for key in TITLES
        for place, one in enumerate(getattr(examples, key), start=1)
    ]
    return {
        "group": [group for group, _, _ in rows],
        "rank": [place for _, place, _ in rows],
        "id": [one.id for _, _, one in rows],
        "path": [one.path for _, _, one in rows],
        "target": [one.target for _, _, one in rows],
        "score": [one.score for _, _, one in rows],
        "alarm": [None if one.alarm is None else int(one.alarm) for _, _, one in rows],
        "remarks": ["; ".join(drawn[one.id].remarks) for _, _, one in rows],
    }
