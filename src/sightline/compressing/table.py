"""What a search found, as rows for JSON and as lines for the terminal.

D numbers of a vector before; recalls are fractions.
"""

from __future__ import annotations

from typing import Any

from sightline.compressing.judging import Judged, Trial, difference
from sightline.compressing.outcome import Search
from sightline.metrics.intervals import Estimate, plural


def report_rows(search: Search, trial: Trial | None) -> list[dict[str, Any]]:
    """One row for each form that was judged on test (without one: on val), by bytes, then recall.

    `trial` is the test, for paired differences of learned forms from the best other form of the
    same bytes: that of the highest recall on val, so that test chooses nothing.
    """
    found = search.test or search.val
    k = search.target.k
    ordered = sorted(found, key=lambda one: (one.bytes, -found[one].estimates[k].value, one))
    rows = []
    for spec in ordered:
        row = _row(search, found[spec])
        if spec.transform == "learned" and trial is not None and search.test:
            row["against"] = _against(search, found[spec], trial)
        rows.append(row)
    return rows


def says_of(search: Search) -> str:
    """The outcome in one sentence: the form, how much smaller it is, and what test says of it."""
    assert search.best is not None
    spec, k, found = search.best.spec, search.target.k, search.test or search.val
    judged = found[spec]
    kept = f"keeps {_numbers(judged.estimates[k])} of recall@{k} on {judged.split}"
    if search.chosen is None:
        return f"no form was shown to keep {search.target}; the best, {spec.name}, {kept}"
    smaller = 4 * search.dimension / spec.bytes
    first = f"{spec.name}: {spec.bytes} bytes a vector, {smaller:.1f} times smaller; {kept}"
    words = {
        "confirmed": f", at least {judged.lower[k]:.4f}: {search.target} is confirmed",
        "open": f", which alone does not prove {search.target}, as val did; hold out more rows, "
        "or ask for a little more",
        "contradicted": f", LESS than {search.target}, which val had promised: ask for a little "
        "more, or hold out more rows",
    }
    return first + words.get(str(search.verdict), "")


def table_lines(rows: list[dict[str, Any]], k: int, *, most: int = 4) -> list[str]:
    """The best rows of each size and every PCA as lines of text, with the pool first.

    >>> table_lines([], 10)
    ['no form was judged']
    """
    if not rows:
        return ["no form was judged"]
    pool = rows[0]["pool"]
    parts = (
        f" ({pool['held_out']:,} held out, {pool['others']:,} not)" if "held_out" in pool else ""
    )
    first = rows[0]["recall"][str(k)]
    lines = [
        f"{rows[0]['split']}: {first['n']:,} {plural(first['unit'], first['n'])}, "
        f"pool of {pool['rows']:,} rows{parts}",
        f"{'form':<22}{'bytes':>7}{'smaller':>9}  {f'recall@{k} [95 %]':<24}{'at least':>9}"
        f"{'build s':>9}{'us/vector':>11}",
    ]
    shown = [row for row in rows if _is_shown(row, rows, most)]
    lines += [_line(row, k) for row in shown]
    if len(shown) < len(rows):
        lines.append(f"and {len(rows) - len(shown)} forms of the same sizes that keep less")
    return [*lines, *(row["against"]["says"] for row in rows if row.get("against"))]


def _is_shown(row: dict[str, Any], rows: list[dict[str, Any]], most: int) -> bool:
    same = [one for one in rows if one["bytes"] == row["bytes"]]
    is_pca = row["transform"] == "pca" and row["quantizer"] == "int8"
    return row["chosen"] or is_pca or same.index(row) < most


def _line(row: dict[str, Any], k: int) -> str:
    one = row["recall"][str(k)]
    value = f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"
    return (
        f"{row['form']:<22}{row['bytes']:>7}{row['ratio']:>8.1f}x  {value:<24}"
        f"{one['lower']:>9.4f}{row['build_seconds']:>9.2f}{row['encode_microseconds']:>11.1f}"
        f"{'  <- chosen' if row['chosen'] else ''}"
    )


def _numbers(one: Estimate) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"


def _row(search: Search, judged: Judged) -> dict[str, Any]:
    spec, target = judged.spec, search.target
    return {
        "form": spec.name,
        "transform": spec.transform,
        "quantizer": spec.quantizer,
        "numbers": spec.size,
        "bytes": spec.bytes,
        "ratio": 4 * search.dimension / spec.bytes,
        "split": judged.split,
        "recall": {
            str(k): estimate.as_dict() | {"lower": judged.lower[k]}
            for k, estimate in judged.estimates.items()
        },
        "pool": judged.pool,
        "build_seconds": judged.build_seconds,
        "encode_microseconds": judged.encode_microseconds,
        "meets": judged.meets(target.k, target.recall),
        "chosen": search.chosen is not None and spec == search.chosen.spec,
    }


def _against(search: Search, judged: Judged, trial: Trial) -> dict[str, Any] | None:
    """The best other form of the same bytes, and how much more the learned one keeps."""
    k, size = search.target.k, judged.spec.bytes
    others = [one for one in search.test if one.bytes == size and one.transform != "learned"]
    if not others:
        return None
    # Those of a size that val was not asked about are compared by test: against the learned form.
    known = search.val if all(one in search.val for one in others) else search.test
    best = max(others, key=lambda one: known[one].estimates[k].value)
    gain = difference(judged, search.test[best], k, trial)
    numbers = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] of recall@{k}"
    if gain.low > 0:
        verdict = f"keeps more than {best.name}, the best other form of {size} bytes"
    elif gain.high < 0:
        verdict = f"keeps less than {best.name}, another form of {size} bytes"
    else:
        verdict = f"is not shown to be better than {best.name}, another form of {size} bytes"
    return {
        "form": best.name,
        "difference": gain.as_dict(),
        "says": f"{judged.spec.name} {verdict}: {numbers}",
    }
