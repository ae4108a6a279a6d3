"""The page of a search: what was tried, what came of it and what mattered, in one file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.reports.canvas import figure_uri
from sightline.reports.rendering import render_page
from sightline.reports.search_figures import search_figures
from sightline.reports.search_trials import STATES, Trial, Trials, plain, read_trials
from sightline.reports.wording import time_span
from sightline.runs.files import write_atomically

SHOWN = 1000
"""Rows of the table of trials; the figures and their CSV files have all of them."""
_PASSWORD = re.compile(r"//[^/@\s]*@")
_ALWAYS = ("search_progress", "search_summary")
_WIDE = ("search_top", "search_summary", "search_slices")
_SAID = {
    "search_progress": "Value of each trial, by how it ended",
    "search_best": "Best value up to each trial",
    "search_importance": "Importance of each parameter",
    "search_convergence": "Value of each trial by epoch",
    "search_top": "The best trials and their settings",
    "search_summary": "Trials in each state, and seconds of each trial",
    "search_slices": "Value of each finished trial against each parameter",
}
"""Figure -> what it shows, in the order of the page."""


def write_search_page(
    folder: Path,
    summary: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    *,
    importance: Mapping[str, float],
    higher_is_better: bool = True,
) -> Path:
    """Write ``search.html`` into ``folder`` and return its path.

    ``summary`` may hold ``name`` (or ``study``) and ``metric``; every other plain entry is shown
    as a fact under its own name, an address without the user and password in it. Trials are those
    of ``write_search_figures``; a failed one may have ``error``.
    """
    read = read_trials(trials, higher_is_better=higher_is_better)
    page = render_page("search.html.j2", _page(summary, read, importance))
    target = folder / "search.html"
    write_atomically(target, page)
    return target


def _page(
    summary: Mapping[str, Any], trials: Trials, importance: Mapping[str, float]
) -> dict[str, Any]:
    ranked = trials.ranked()
    rows = _most_telling(trials, ranked)
    return {
        "name": str(summary.get("name") or summary.get("study") or "search"),
        "metric": str(summary.get("metric") or "value"),
        "direction": "highest" if trials.higher_is_better else "lowest",
        "best": _row(ranked[0]) if ranked else None,
        "counts": {state: n for state, n in trials.counts().items() if n},
        "total": len(trials.all),
        "time": time_span(sum(trial.seconds or 0.0 for trial in trials.all)),
        "pictures": _pictures(trials, importance),
        "failures": _failures(trials),
        "parameters": trials.parameters(),
        "rows": [_row(trial) for trial in rows],
        "facts": _facts(summary),
    }


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    """The plain entries that the page does not show elsewhere, without a password in an address."""
    shown = {"name", "study", "metric", "direction", "n_trials", *STATES}
    return {
        str(name).replace("_", " "): _PASSWORD.sub("//", plain(value))
        for name, value in summary.items()
        if name not in shown and isinstance(value, str | int | float)
    }


def _pictures(trials: Trials, importance: Mapping[str, float]) -> list[dict[str, Any]]:
    figures = search_figures(trials, importance) if trials.all else {}
    return [
        {"title": said, "uri": figure_uri(figures[name]), "wide": name in _WIDE}
        for name, said in _SAID.items()
        if name in figures and (name in _ALWAYS or trials.scored)
    ]


def _failures(trials: Trials) -> list[dict[str, Any]]:
    """The errors of failed trials, equal ones together, the most frequent first."""
    groups: dict[str, list[int]] = {}
    for trial in trials.all:
        if trial.state == "failed":
            groups.setdefault(trial.error or "no error was recorded", []).append(trial.number)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[1][0]))
    return [{"error": error, "trials": numbers} for error, numbers in ordered]


def _most_telling(trials: Trials, ranked: Sequence[Trial]) -> list[Trial]:
    """The scored trials from the best down, then the others by number."""
    scored = {trial.number for trial in ranked}
    return [*ranked, *(trial for trial in trials.all if trial.number not in scored)][:SHOWN]


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "last": trial.height if trial.value is None else None,
        "seconds": trial.seconds,
        "epochs": len(trial.intermediate),
        "params": {name: plain(value) for name, value in trial.params.items()},
    }
