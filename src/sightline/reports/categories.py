"""What came of training every category of a data set: a row for each, and means that say over what.

A mean of categories counts each category once, however many images it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, isfinite
from pathlib import Path
from typing import Any

from sightline.errors import RunError

SCORES = ("image_auroc", "pixel_auroc", "pixel_aupro")
MEAN, COUNTED = "mean", "categories in the mean"


@dataclass(frozen=True, slots=True)
class Category:
    """One category; ``result`` is its metrics file, empty where there is none.

    ``run`` and ``report`` are paths relative to the folder of the page, "" where there is none.
    """

    name: str
    run: str
    report: str
    status: str
    error: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether it finished and its result could be read: only then it is in a mean."""
        return self.status == "finished" and bool(self.result)

    def estimate(self, score: str) -> Mapping[str, Any]:
        """Return the value of a headline score with its interval; empty where it has none."""
        headline = self.result.get("headline")
        found = headline.get(score) if self.finished and isinstance(headline, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def score(self, score: str) -> float | None:
        """Return the value of a headline score; None where there is none."""
        value = self.estimate(score).get("value")
        return float(value) if isinstance(value, int | float) and isfinite(value) else None

    @property
    def alarms(self) -> Mapping[str, Any]:
        """The realised false alarms; empty where there was no threshold."""
        found = self.result.get("false_alarms") if self.finished else None
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a score over the finished categories that have it, and its ends by name."""

    score: str
    value: float | None
    categories: int
    lowest: tuple[str, float] | None = None
    highest: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Categories:
    """Every category in the order it was trained."""

    info: Mapping[str, Any]
    all: list[Category]

    @property
    def finished(self) -> list[Category]:
        """Those that finished with a result."""
        return [one for one in self.all if one.finished]

    def means(self) -> list[Mean]:
        """Return the mean of each score."""
        return [_mean(score, self.finished) for score in SCORES]

    def alarms(self) -> tuple[int, int, int] | None:
        """Return false alarms, normal images and categories with a threshold; None without any."""
        counted = [one.alarms for one in self.finished if one.alarms.get("n")]
        if not counted:
            return None
        count, n = (sum(int(alarms[key]) for alarms in counted) for key in ("count", "n"))
        return count, n, len(counted)

    def table(self) -> dict[str, list[Any]]:
        """Return the columns of summary.csv: a row for each category, then the means.

        The last row says over how many categories each mean is. False alarms and images of the
        row of means are sums.
        """
        means, alarms = self.means(), self.alarms() or (None, None, 0)
        names: list[Any] = [one.name for one in self.all]
        table: dict[str, list[Any]] = {"category": [*names, MEAN, COUNTED]}
        ways: dict[str, Callable[[Category], Any]] = {
            "run": lambda one: one.run,
            "status": lambda one: one.status,
            "error": lambda one: one.error,
        }
        said = f"{len(self.finished)} of {len(self.all)} categories"
        for name, value in ways.items():
            table[name] = [*map(value, self.all), said if name == "status" else None, None]
        for mean in means:
            column = [one.score(mean.score) for one in self.all]
            table[mean.score] = [*column, mean.value, mean.categories]
            if mean.score == "image_auroc":
                for end in ("low", "high"):
                    ends = [one.estimate(mean.score).get(end) for one in self.all]
                    table[f"{mean.score}_{end}"] = [*ends, None, None]
        for place, (name, key) in enumerate((("false_alarms", "count"), ("n_normal", "n"))):
            counts = [one.alarms.get(key) for one in self.all]
            table[name] = [*counts, alarms[place], alarms[2]]
        tested = [one.result.get("n") if one.finished else None for one in self.all]
        table["n_test"] = [*tested, sum(n or 0 for n in tested), len(self.finished)]
        return table


def read_categories(folder: Path) -> Categories:
    """Return what ``categories.json`` of the folder says, with the metrics files that it names.

    RunError where the file is missing or is not of this form. A finished category whose metrics
    file cannot be read keeps its place, with that as its error, and is in no mean.
    """
    file = folder / "categories.json"
    content = _json(file)
    rows = content.get("rows") if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise RunError(
            "The categories cannot be read.",
            expected='an object with "rows", a list of objects',
            got="no such file" if not file.is_file() else "something else",
            where=file,
            remedy="name the folder that a command over all categories wrote",
        )
    return Categories(content, [_category(folder, row) for row in rows])


def _category(folder: Path, row: Mapping[str, Any]) -> Category:
    texts = {key: str(row.get(key) or "") for key in ("run", "report", "status")}
    error, named = row.get("error"), row.get("metrics_file")
    result = _json(folder / str(named)) if named else None
    readable = isinstance(result, Mapping) and bool(result)
    if texts["status"] == "finished" and not readable:
        error = error or f"no result: {named or 'metrics file'} is missing or cannot be read"
    return Category(
        name=str(row.get("category") or ""),
        run=texts["run"],
        report=texts["report"],
        status=texts["status"] or "unknown",
        error=None if error is None else str(error),
        result=result if isinstance(result, Mapping) else {},
    )


def _mean(score: str, categories: Sequence[Category]) -> Mean:
    values = [(one.name, value) for one in categories if (value := one.score(score)) is not None]
    if not values:
        return Mean(score, None, 0)
    ordered = sorted(values, key=lambda pair: (pair[1], pair[0]))
    mean = fsum(value for _, value in values) / len(values)
    return Mean(score, mean, len(values), ordered[0], ordered[-1])


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return None
