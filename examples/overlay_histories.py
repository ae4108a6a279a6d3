#!/usr/bin/env python3
"""Draws the losses of several runs into one picture, from their train_history.json alone.

    python examples/overlay_histories.py RUN_FOLDER RUN_FOLDER [--save overlay.png]

Duration: a second or two. Expected result: one line "overlay.png: 2 runs", and the picture: a curve
for each run over its epochs on a logarithmic scale, zeros included.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def main() -> None:
    """Read the histories, draw them, and say where the picture is."""
    parser = argparse.ArgumentParser(description="Overlay the losses of several runs.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders with train_history.json")
    parser.add_argument("--save", type=Path, default=Path("overlay.png"))
    chosen = parser.parse_args()
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for folder in chosen.folders:
        epochs, losses = read_losses(folder / "train_history.json")
        axes.plot(epochs, losses, marker=".", label=folder.name)
    # Logarithmic, but linear near zero: a loss of exactly 0 has no logarithm.
    axes.set_yscale("symlog", linthresh=1e-6)
    axes.set_xlabel("epoch")
    axes.set_ylabel("total loss")
    axes.legend()
    figure.savefig(chosen.save, dpi=300)
    print(f"{chosen.save}: {len(chosen.folders)} runs")


def read_losses(file: Path) -> tuple[list[int], list[float]]:
    """Return epochs and the total loss of each; epochs without a loss are left out."""
    history = json.loads(file.read_text(encoding="utf-8"))
    epochs = history.get("epochs") or history.get("epoch") or []
    losses = history.get("total_loss") or history.get("train_loss") or [None] * len(epochs)
    known = [(one, loss) for one, loss in zip(epochs, losses, strict=True) if loss is not None]
    return [one for one, _ in known], [loss for _, loss in known]


if __name__ == "__main__":
    main()
