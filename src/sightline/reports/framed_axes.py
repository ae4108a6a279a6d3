"""A picture in a square of a figure, in a frame whose colour and line say what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sightline.reports.canvas import QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL import Image


def draw_framed(axes: Axes, picture: Image.Image | None, colour: str, line: Any) -> None:
    """Draw a picture, or that there is none, in a frame of this colour and matplotlib line style.

    All axes are squares, whatever the picture, so that captions and rows stand in line.
    """
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    axes.set_box_aspect(1)
    if picture is None:
        axes.text(
            0.5, 0.5, "picture\nnot found", ha="center", va="center", color=QUIET, fontsize=7,
            transform=axes.transAxes,
        )  # fmt: skip
    else:
        axes.imshow(picture, aspect="equal")
        # The middle of the first pixel is 0.
        across, down = ((side - 1) / 2 for side in picture.size)
        half = max(picture.size) / 2
        axes.set_xlim(across - half, across + half)
        axes.set_ylim(down + half, down - half)
    frame = Rectangle(
        (0, 0), 1, 1, transform=axes.transAxes, fill=False, edgecolor=colour, linewidth=1.8,
        linestyle=line, clip_on=False,
    )  # fmt: skip
    axes.add_patch(frame)


def caption(axes: Axes, text: str, colour: str) -> None:
    """Write a few words above a framed picture; a dollar sign in them is no formula."""
    axes.set_title(text, fontsize=7, color=colour, parse_math=False)
