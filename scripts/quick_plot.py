#!/usr/bin/env python3
"""Draws the newest run, finished or not; needs no option.

    scripts/quick_plot.py

The picture is figures/quick_plot.png in the run's folder, or the file of --save. The same as
`sightline plot RUN --save FILE`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sightline.cli import main as sightline
from sightline.console import show_error
from sightline.errors import SightlineError
from sightline.runs.listing import choose_runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Find the newest run and draw it; the exit code is that of the command."""
    parser = argparse.ArgumentParser(description="Draw the newest run, finished or not.")
    parser.add_argument("--exp-dir", type=Path, default=Path("experiments/train"))
    parser.add_argument("--save", metavar="FILE", help="a .png or .html file")
    chosen = parser.parse_args(arguments)
    try:
        folder = Path(choose_runs([], chosen.exp_dir)[0]["path"])
    except SightlineError as error:
        show_error(error)
        sys.exit(error.exit_code)
    file = chosen.save or str(folder / "figures" / "quick_plot.png")
    sys.argv = ["sightline", "plot", str(folder), "--save", file]
    sightline()


if __name__ == "__main__":
    main()
