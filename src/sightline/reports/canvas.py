"""What every figure is drawn on and how it is saved: one look, no pyplot, no global state."""

from __future__ import annotations

import base64
import csv
import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import DataError
from sightline.runs.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, QUIET, GRID, SOFT = "#1f2933", "#6b7785", "#e3e8ee", "#c9dcf2"
LINES = ("#2563b0", "#d9622b", "#2a8a63", "#8a4fb3", "#b0333f", "#8a6d1d", "#3f7f93", "#6b7785")
DPI = 300
"""Dots per inch of a written PNG: sharp in print."""
MOST_PIXELS = 16_000
"""Longest side of a written PNG; a longer figure (1,000 classes) gets fewer dots per inch."""


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of ``size`` inches, width first."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def say(figure: Figure, sentence: str) -> Figure:
    """Return the figure with a sentence in its middle, for one that has nothing to draw."""
    figure.text(0.5, 0.5, sentence, ha="center", va="center", color=QUIET)
    return figure


def dress(axes: Axes, *, title: str, x_label: str, y_label: str = "", grid: str = "") -> None:
    """Give the axes their title, labels and grid ("x", "y" or "both"), and take the frame away."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes.set_xlabel(x_label, color=QUIET, fontsize=9, parse_math=False)
    if y_label:
        axes.set_ylabel(y_label, color=QUIET, fontsize=9, parse_math=False)
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=8, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def key_of(axes: Axes, **place: Any) -> None:
    """Add the legend of the axes, by default beside them; names in it are text, no formulas."""
    asked = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} | place
    legend = axes.legend(frameon=False, fontsize=8, **asked)
    literal(legend.get_texts())
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)  # a faint line among hundreds still has a clear key


def whole_numbers(axis: Axis) -> None:
    """Let the ticks of an axis be whole numbers, a single one where there is one value."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def literal(labels: Iterable[Any]) -> None:
    """Make each label show its text as it is: a dollar sign in a name is no formula."""
    for label in labels:
        label.set_parse_math(False)


def short_name(name: str, limit: int = 24) -> str:
    """Return the name, its middle left out where it has more than ``limit`` characters.

    Long names often differ only at their end.

    >>> short_name("receipt from a taxi, page 12", 16)
    'receipt …page 12'
    """
    if len(name) <= limit:
        return name
    tail = (limit - 1) // 2
    return f"{name[: limit - 1 - tail]}…{name[len(name) - tail :]}"


def save_figure(figure: Figure, stem: Path, columns: Mapping[str, Sequence[Any]]) -> list[Path]:
    """Write ``stem.png`` and, beside it, ``stem.csv`` with the data it shows; return both paths.

    ``columns`` maps a heading to its values, all of one length; None becomes an empty cell. The
    PNG has 300 dots per inch. Each file is written beside its place and renamed, so a reader
    never meets half of one.
    """
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            "The data behind a figure does not form a table.",
            expected="columns of one length",
            got=lengths,
            where=stem,
        )
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".csv")]
    write_atomically(paths[0], png_bytes(figure, dpi=DPI))
    write_atomically(paths[1], table.getvalue())
    return paths


def figure_uri(figure: Figure, *, dpi: int = 110) -> str:
    """Return a figure as the data URI of a PNG on a clear ground, for a page."""
    content = png_bytes(figure, dpi=dpi, transparent=True)
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def png_bytes(figure: Figure, *, dpi: int, transparent: bool = False) -> bytes:
    """Return a figure as a PNG; of a very long one with fewer dots per inch."""
    picture = io.BytesIO()
    sharpness = min(dpi, int(MOST_PIXELS / max(figure.get_size_inches())))
    with warnings.catch_warnings():
        # A letter that no installed font has is drawn as a box; the CSV has it right.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format="png", dpi=sharpness, transparent=transparent)
    return picture.getvalue()
