"""The page of a command that trained every category: one table, and means that say over what."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sightline.reports.anomaly_words import fraction
from sightline.reports.categories import SCORES, Categories, Category, Mean, read_categories
from sightline.reports.rendering import render_page
from sightline.reports.wording import metric_title, number
from sightline.runs.files import write_atomically


def write_category_report(folder: Path) -> Path:
    """Write ``report.html`` and ``summary.csv`` from ``categories.json``; return the page's path.

    That file holds ``name``, ``task``, ``command`` and ``rows``, each with category, run, report,
    status, error and metrics_file, paths relative to the folder. RunError where it is no such file.
    """
    read = read_categories(folder)
    table = read.table()
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    write_atomically(folder / "summary.csv", lines.getvalue())
    target = folder / "report.html"
    write_atomically(target, render_page("categories.html.j2", _page(read, folder)))
    return target


def _page(read: Categories, folder: Path) -> dict[str, Any]:
    command = read.info.get("command")
    return {
        "name": str(read.info.get("name") or folder.resolve().name),
        "task": str(read.info.get("task") or "categories"),
        "total": len(read.all),
        "left_out": [one.name for one in read.all if not one.finished],
        "finished": len(read.finished),
        "means": [_card(mean, len(read.all)) for mean in read.means()],
        "alarms": _alarms(read),
        "heads": [metric_title(score) for score in SCORES],
        "rows": [_row(one) for one in read.all],
        "command": " ".join(map(str, command)) if isinstance(command, list) else command,
    }


def _card(mean: Mean, total: int) -> dict[str, Any]:
    """A mean, over how many categories, and the two at its ends."""
    ends = ""
    if mean.lowest and mean.highest and mean.categories > 1:
        low, high = mean.lowest, mean.highest
        ends = f"{number(low[1])} ({low[0]}) to {number(high[1])} ({high[0]})"
    counted = str(total) if mean.categories == total else f"{mean.categories} of {total}"
    return {
        "title": "Mean " + metric_title(mean.score)[:1].lower() + metric_title(mean.score)[1:],
        "value": mean.value,
        "said": f"mean of {counted} {'category' if total == 1 else 'categories'}",
        "ends": ends,
    }


def _alarms(read: Categories) -> str:
    found = read.alarms()
    if found is None:
        return "No category has a threshold, so no false alarms were counted."
    count, n, categories = found
    said = (
        f"{number(count)} of {number(n)} normal test images raise an alarm ({fraction(count / n)})"
    )
    return f"{said}, over the {categories} of {len(read.all)} categories that have a threshold."


def _row(one: Category) -> dict[str, Any]:
    estimate = one.estimate("image_auroc")
    ends = [_decimals(estimate.get(end)) for end in ("low", "high")]
    return {
        "name": one.name,
        # Quoted, so that what a file says can be no address of another kind.
        "report": quote(one.report.replace("\\", "/")) if one.report else "",
        "run": one.run,
        "status": one.status,
        "error": one.error,
        "scores": [one.score(score) for score in SCORES],
        "interval": " to ".join(ends) if "–" not in ends else "",
        "alarms": f"{number(one.alarms['count'])} of {number(one.alarms['n'])}"
        if one.alarms.get("n")
        else "–",
        "n": one.result.get("n") if one.finished else None,
    }


def _decimals(value: Any) -> str:
    return number(float(value) if isinstance(value, int) else value)
