"""What a comparison says in words and tables, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sightline.metrics.intervals import Estimate, plural
from sightline.reports.cells import finite_or_none
from sightline.reports.comparison import ComparedRun, Comparison
from sightline.reports.comparison_pairs import KEPT, MOST_RUNS, Pair
from sightline.reports.comparison_settings import ABSENT, loss_function
from sightline.reports.wording import metric_title, number, split_title, time_span
from sightline.runs import displayed_status
from sightline.runs.listing import best_of, run_seconds

MOST_SETTINGS = 8
"""Columns of the table of settings; the JSON has all of them."""


def runs_table(comparison: Comparison, *, recall: bool = True, most: int) -> list[list[str]]:
    """Return the head and a row for each of the first ``most`` runs: what it is, cost, scored."""
    metrics = comparison.metrics(recall=recall)
    with_loss = any(loss_function(run.settings) for run in comparison.runs)
    head = ["run", "status", *(["loss"] if with_loss else []), "epochs", "time", "best in training"]
    rivals = _rivals(comparison, metrics)
    heads = [f"{rival.upper()}'s {metric_title(name)}" for name, rival in rivals]
    rows = [[*head, *(metric_title(name) for name in metrics), *heads]]
    for run in comparison.runs[:most]:
        seconds, best = run_seconds(run.info), best_of(run.info)
        best = None if best and not recall and "recall_at" in best[0] else best
        cells = [run.label, displayed_status(run.info)]
        cells += [loss_function(run.settings) or ABSENT] if with_loss else []
        cells += [
            ABSENT if run.epochs is None else str(run.epochs),
            ABSENT if seconds is None else time_span(seconds),
            f"{best[0]} {number(best[1], 4)}" if best else ABSENT,
        ]
        found = [run.baseline(name) for name, _ in rivals]
        cells += [score_in_words(run, name) for name in metrics]
        rows.append([*cells, *(number(one[1]) if one else ABSENT for one in found)])
    return rows


def _rivals(comparison: Comparison, metrics: Sequence[str]) -> list[tuple[str, str]]:
    """Each metric that a simple method of the same size was judged by too, with that method."""
    found = [(name, run.baseline(name)) for name in metrics for run in comparison.runs]
    return list({name: (name, one[0]) for name, one in found if one is not None}.values())


def score_in_words(run: ComparedRun, name: str) -> str:
    """Return a headline score with its interval: ``0.912 [0.881, 0.940]``."""
    one = run.scores.get(name, {})
    value, low, high = (finite_or_none(one.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return ABSENT
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def judged_on(comparison: Comparison) -> str:
    """Return what the scores were measured on: the split, how many samples, and the pool."""
    counts = {one.get("n") for run in comparison.runs for one in run.scores.values()}
    units = {
        str(one.get("unit") or "sample") for run in comparison.runs for one in run.scores.values()
    }
    said = f"Scores on the {split_title(comparison.split)} split"
    if len(counts) == 1 and len(units) == 1 and isinstance(n := counts.pop(), int):
        said += f", {n:,} {plural(units.pop(), n)}"
    pools = {run.pool for run in comparison.runs if run.pool is not None}
    return said + (f", each searched in a pool of {pools.pop():,}" if len(pools) == 1 else "")


def settings_table(comparison: Comparison, *, most: int) -> list[list[str]]:
    """Return the head and a row for each run: the settings that differ, at most MOST_SETTINGS."""
    chosen = list(comparison.settings)[:MOST_SETTINGS]
    rows = [["run", *chosen]]
    for place, run in enumerate(comparison.runs[:most]):
        rows.append([run.label, *(_cell(comparison.settings[key][place]) for key in chosen)])
    return rows


def settings_sentence(comparison: Comparison) -> str:
    """Return how many settings differ, and that some are not shown."""
    n = len(comparison.settings)
    if not n:
        return "All runs have the same settings."
    more = f"; {MOST_SETTINGS} of them are shown, --json has all" if n > MOST_SETTINGS else ""
    return f"{n} {plural('setting', n)} {'differs' if n == 1 else 'differ'}{more}."


def pair_sentences(pair: Pair, *, named: int = 5) -> list[str]:
    """Return what two runs on the same samples say of each other, with at most ``named`` ids."""
    if pair.reason is not None:
        return [f"{pair.first} and {pair.second} cannot be paired: {pair.reason}."]
    said = [f"{pair.second} against {pair.first}, on the same {pair.n:,} samples:"]
    said += [
        f"  {metric_title(name)} {signed(one)} {_verdict(one)}"
        for name, one in pair.differences.items()
    ]
    if not pair.kind:
        return said
    down, up, test = _words_of(pair.kind)
    for word, ids in ((down, pair.lost), (up, pair.won)):
        shown = min(named, KEPT)
        more = f" and {len(ids) - shown:,} more" if len(ids) > shown else ""
        listed = f": {', '.join(ids[:shown])}{more}" if ids else ""
        said.append(f"  {word} {len(ids):,}{listed}")
    said.append(f"  {test} p = {pair.p:.3g}")
    return said


def pairs_note(comparison: Comparison, pairs: Sequence[Pair]) -> str | None:
    """Return what is to be known about the tests as a whole; None where nothing is."""
    if len(comparison.runs) > MOST_RUNS:
        return (
            f"Samples are compared one by one for at most {MOST_RUNS} runs: among many tests some "
            "succeed by chance."
        )
    if (tested := sum(pair.reason is None for pair in pairs)) > 1:
        return (
            f"{tested} tests, and p is not corrected for their number; one in twenty falls below "
            "0.05 where nothing differs."
        )
    return None


def signed(one: Estimate) -> str:
    """Return a difference with its interval, each number with its sign.

    >>> signed(Estimate(0.0312, -0.004, 0.07, n=50))
    '+0.031 [-0.004, +0.070]'
    """
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _verdict(one: Estimate) -> str:
    if one.value != one.value:
        return "(undefined)"
    unit = f"n={one.n:,} {plural(one.unit, one.n)}"
    if one.low <= 0 <= one.high:
        return f"({unit}; within chance)"
    return f"({unit}; {'higher' if one.value > 0 else 'lower'} beyond chance)"


def _words_of(kind: str) -> tuple[str, str, str]:
    if kind == "right":
        return "right before, wrong now:", "wrong before, right now:", "McNemar's exact test:"
    title = metric_title(kind)
    return f"{title} fell for", f"{title} rose for", "sign test:"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
