"""The files of a comparison: the picture, its numbers, and one page that needs nothing else."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.errors import UsageError
from sightline.reports.canvas import DPI, figure_uri, png_bytes
from sightline.reports.comparison import Comparison
from sightline.reports.comparison_bars import NAMED
from sightline.reports.comparison_figure import comparison_figure
from sightline.reports.comparison_pairs import Pair
from sightline.reports.comparison_words import (
    judged_on,
    pair_sentences,
    pairs_note,
    runs_table,
    settings_sentence,
    settings_table,
)
from sightline.reports.rendering import render_page
from sightline.runs.files import write_atomically

_MOST_ROWS = 1000
_MANY_DPI = 110
"""A picture of many thin lines gains nothing from more dots, and takes long to write."""


def write_comparison(
    comparison: Comparison,
    pairs: Sequence[Pair],
    target: Path,
    *,
    recall: bool = True,
    recall_history: bool = False,
) -> list[Path]:
    """Write picture, numbers and page as ``target`` with .png, .csv and .html; return the paths."""
    figure = comparison_figure(comparison, recall=recall, recall_history=recall_history)
    few = len(comparison.runs) <= NAMED
    picture = png_bytes(figure, dpi=DPI if few else _MANY_DPI)
    # The sharp picture would make a large page, and drawing many curves twice takes long.
    shown = figure_uri(figure) if few else f"data:image/png;base64,{b64encode(picture).decode()}"
    files = [target.with_suffix(ending) for ending in (".png", ".csv", ".html")]
    write_atomically(files[0], picture)
    write_atomically(files[1], _numbers(comparison, comparison.metrics(recall=recall)))
    page = _page(comparison, pairs, shown, recall=recall)
    write_atomically(files[2], render_page("comparison.html.j2", page))
    return files


def new_place(exp_dir: Path, now: datetime | None = None) -> Path:
    """Return a file name without suffix in a new folder for a comparison, beside the runs."""
    folder = exp_dir.absolute().parent / "comparisons"
    name = f"{now or datetime.now():%Y%m%d_%H%M%S}"
    place, number = folder / name, 2
    while place.exists():
        place, number = folder / f"{name}-{number}", number + 1
    return place / "comparison"


def checked_target(file: Path) -> Path:
    """Return the file of --save; UsageError where its ending is neither .png nor .html."""
    if file.suffix.lower() in (".png", ".html"):
        return file
    raise UsageError(
        f"{file.name} has no ending that can be written.",
        expected="a file that ends in .png or .html",
        got=file.suffix or "no ending",
        where="--save",
        remedy=f"for example --save {file.with_suffix('.png')}",
    )


def _numbers(comparison: Comparison, metrics: Sequence[str]) -> str:
    """A row for each run: what it is, its scores with their ends, and the settings that differ."""
    plain = ("run", "label", "status", "loss_function", "epochs", "seconds", "best_metric", "best")
    ends = ("value", "low", "high", "n")
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    scored = [f"{name}_{end}" for name in metrics for end in ends]
    writer.writerow([*plain, *scored, *comparison.settings])
    for place, run in enumerate(comparison.runs):
        facts = run.facts()
        cells = [run.scores.get(name, {}).get(end) for name in metrics for end in ends]
        settings = [values[place] for values in comparison.settings.values()]
        writer.writerow([*(facts[key] for key in plain), *cells, *settings])
    return text.getvalue()


def _page(
    comparison: Comparison, pairs: Sequence[Pair], picture: str, *, recall: bool
) -> dict[str, Any]:
    head, *rows = runs_table(comparison, recall=recall, most=_MOST_ROWS)
    keys, *settings = settings_table(comparison, most=_MOST_ROWS)
    runs = comparison.runs
    return {
        "name": f"{len(runs)} runs compared",
        "task": comparison.task or "runs",
        "judged": judged_on(comparison) if comparison.metrics(recall=recall) else None,
        "notes": comparison.notes,
        "picture": picture,
        "head": head,
        "rows": rows,
        "left_out": max(0, len(runs) - _MOST_ROWS),
        "ids": [str(run.info.get("id") or run.folder.name) for run in runs[:_MOST_ROWS]],
        "keys": keys,
        "settings": settings,
        "settings_said": settings_sentence(comparison),
        "pairs": [pair_sentences(pair, named=20) for pair in pairs],
        "pairs_note": pairs_note(comparison, pairs),
    }
